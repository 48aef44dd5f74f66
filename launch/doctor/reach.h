// Addresses of this host, which of another host's to use, and whether a port there answers.
#pragma once

#include <stdint.h>

enum { ADDRESSES_MOST = 8, ADDRESS_TEXT_BYTES = 16 };

typedef struct {
    uint32_t ip, mask; // IPv4, of the host's byte order; ip 0: none
} Address;

// The addresses that other hosts may reach this one at, most likely first: interfaces that are up,
// without loopback and the bridges of containers; only those that the launcher was told to use
// (OMPI_MCA_oob_tcp_if_include or _btl_tcp_if_include: names, or subnets as 10.0.0.0/8).
int addresses_list(Address out[ADDRESSES_MOST]);
// Sorts another host's addresses: those in a subnet of ours come first.
void addresses_prefer(const Address ours[ADDRESSES_MOST], Address theirs[ADDRESSES_MOST]);
void address_text(uint32_t ip, char out[ADDRESS_TEXT_BYTES]); // "10.77.0.1"

// A connection under way, to find out what is at the other end.
typedef enum { PROBE_PENDING, PROBE_ACCEPTED, PROBE_REFUSED, PROBE_UNREACHABLE } ProbeResult;
// *fd is an open socket while it is PENDING; ask again with probe_poll. A probe that cannot even be
// tried (no descriptors left) stays PENDING with *fd = -1.
ProbeResult probe_start(uint32_t ip, int port, int *fd);
ProbeResult probe_poll(int *fd);
void probe_cancel(int *fd); // fine with -1
