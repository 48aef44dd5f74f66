// Interfaces and probes behind launch/doctor/reach.h.
#include "launch/doctor/reach.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static bool starts_with_one_of(const char *name, const char *const *prefixes) {
    for (; *prefixes != NULL; ++prefixes)
        if (strncmp(name, *prefixes, strlen(*prefixes)) == 0) return true;
    return false;
}

// One word of an include list: an interface's name, or a subnet.
static bool word_takes(const char *word, const char *name, uint32_t ip) {
    unsigned a, b, c, d, bits;
    if (sscanf(word, "%u.%u.%u.%u/%u", &a, &b, &c, &d, &bits) != 5 || bits > 32)
        return strcmp(word, name) == 0;
    uint32_t mask = bits == 0 ? 0 : ~UINT32_C(0) << (32 - bits);
    return ((a << 24 | b << 16 | c << 8 | d) & mask) == (ip & mask);
}

static bool is_wanted(const char *name, uint32_t ip) {
    static const char *const bridges[] = {"docker", "virbr", "veth", "br-", "cni", "lxc", NULL};
    const char *list = getenv("OMPI_MCA_oob_tcp_if_include");
    if (list == NULL) list = getenv("OMPI_MCA_btl_tcp_if_include");
    if (list == NULL) return !starts_with_one_of(name, bridges);
    char words[512], *rest = words;
    snprintf(words, sizeof words, "%s", list);
    for (char *word; (word = strsep(&rest, ", ")) != NULL;)
        if (word_takes(word, name, ip)) return true;
    return false;
}

static uint32_t ip_of(const struct sockaddr *address) {
    struct sockaddr_in in;
    memcpy(&in, address, sizeof in);
    return ntohl(in.sin_addr.s_addr);
}

int addresses_list(Address out[ADDRESSES_MOST]) {
    struct ifaddrs *all;
    int count = 0;
    memset(out, 0, ADDRESSES_MOST * sizeof *out);
    if (getifaddrs(&all) != 0) return 0;
    for (const struct ifaddrs *a = all; a != NULL && count < ADDRESSES_MOST; a = a->ifa_next) {
        bool usable = a->ifa_addr != NULL && a->ifa_netmask != NULL &&
                      a->ifa_addr->sa_family == AF_INET && (a->ifa_flags & IFF_UP) != 0 &&
                      (a->ifa_flags & IFF_LOOPBACK) == 0;
        if (usable && is_wanted(a->ifa_name, ip_of(a->ifa_addr)))
            out[count++] = (Address){ip_of(a->ifa_addr), ip_of(a->ifa_netmask)};
    }
    freeifaddrs(all);
    return count;
}

static bool is_near(const Address ours[ADDRESSES_MOST], uint32_t ip) {
    for (int i = 0; i < ADDRESSES_MOST && ours[i].ip != 0; ++i)
        if ((ours[i].ip & ours[i].mask) == (ip & ours[i].mask)) return true;
    return false;
}

void addresses_prefer(const Address ours[ADDRESSES_MOST], Address theirs[ADDRESSES_MOST]) {
    Address sorted[ADDRESSES_MOST] = {0};
    int count = 0;
    for (int near = 1; near >= 0; --near)
        for (int i = 0; i < ADDRESSES_MOST && theirs[i].ip != 0; ++i)
            if (is_near(ours, theirs[i].ip) == (near == 1)) sorted[count++] = theirs[i];
    memcpy(theirs, sorted, sizeof sorted);
}

void address_text(uint32_t ip, char out[ADDRESS_TEXT_BYTES]) {
    snprintf(out, ADDRESS_TEXT_BYTES, "%u.%u.%u.%u", ip >> 24, ip >> 16 & 255, ip >> 8 & 255,
             ip & 255);
}

// ---- probes -------------------------------------------------------------------------------------

static ProbeResult result_of(int error) {
    return error == 0 ? PROBE_ACCEPTED : error == ECONNREFUSED ? PROBE_REFUSED : PROBE_UNREACHABLE;
}

ProbeResult probe_start(uint32_t ip, int port, int *fd) {
    *fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (*fd < 0) return PROBE_PENDING;
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(ip)};
    int error = connect(*fd, (struct sockaddr *)&to, sizeof to) == 0 ? 0 : errno;
    if (error == EINPROGRESS) return PROBE_PENDING;
    probe_cancel(fd);
    return result_of(error);
}

ProbeResult probe_poll(int *fd) {
    struct pollfd ready = {*fd, POLLOUT, 0};
    if (*fd < 0 || poll(&ready, 1, 0) == 0) return PROBE_PENDING;
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(*fd, SOL_SOCKET, SO_ERROR, &error, &size);
    probe_cancel(fd);
    return result_of(error);
}

void probe_cancel(int *fd) {
    if (*fd >= 0) close(*fd);
    *fd = -1;
}
