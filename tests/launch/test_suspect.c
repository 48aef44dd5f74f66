// What /proc, a probe and a journal tell of a process that does not speak for itself.
#include "launch/watch/suspect.h"

#include <arpa/inet.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "launch/watch/blackbox.h"
#include "launch/doctor/reach.h"
#include "tests/test.h"

static pid_t sleeper(void) {
    pid_t pid = fork();
    while (pid == 0) pause();
    return pid;
}

static bool becomes(pid_t pid, char state) {
    for (int i = 0; i < 200 && process_state(pid) != state; ++i) usleep(10000);
    return process_state(pid) == state;
}

static void test_process(void) {
    char text[600];
    pid_t pid = sleeper();
    EXPECT(becomes(pid, 'S'));
    EXPECT(strncmp(process_describe(pid, text, sizeof text), "sleeps (state S", 15) == 0);
    kill(pid, SIGSTOP);
    EXPECT(becomes(pid, 'T'));
    EXPECT(strstr(process_describe(pid, text, sizeof text), "stopped by a signal") != NULL);
    kill(pid, SIGKILL);
    EXPECT(becomes(pid, 0)); // a zombie is not there
    EXPECT(strstr(process_describe(pid, text, sizeof text), "not there any more") != NULL);
    waitpid(pid, NULL, 0);
    EXPECT_EQ(process_state(pid), 0);
}

static void test_file_named(void) {
    char text[600];
    int ends[2];
    EXPECT(pipe(ends) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        char byte;
        while (read(ends[0], &byte, 1) < 0) {
        }
        _exit(0);
    }
    EXPECT(becomes(pid, 'S'));
    process_describe(pid, text, sizeof text);
    // Where this user may see it.
    if (strstr(text, ", in ") != NULL) EXPECT(strstr(text, "in read of pipe:") != NULL);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

static ProbeResult probe(uint32_t ip, int port) {
    int fd;
    ProbeResult result = probe_start(ip, port, &fd);
    for (int i = 0; i < 100 && result == PROBE_PENDING; ++i) {
        usleep(10000);
        result = probe_poll(&fd);
    }
    probe_cancel(&fd);
    return result;
}

static void test_probe(void) {
    int door = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    EXPECT(bind(door, (struct sockaddr *)&at, size) == 0 && listen(door, 1) == 0 &&
           getsockname(door, (struct sockaddr *)&at, &size) == 0);
    int port = ntohs(at.sin_port);
    EXPECT_EQ(probe(INADDR_LOOPBACK, port), PROBE_ACCEPTED); // though nobody calls accept
    close(door);
    EXPECT_EQ(probe(INADDR_LOOPBACK, port), PROBE_REFUSED);
}

static void test_addresses(void) {
    Address ours[ADDRESSES_MOST] = {{10u << 24 | 5, 0xff000000}};
    Address theirs[ADDRESSES_MOST] = {{172u << 24 | 17 << 16 | 1, 0xffff0000},
                                      {10u << 24 | 7, 0xff000000}};
    char text[ADDRESS_TEXT_BYTES];
    addresses_prefer(ours, theirs);
    address_text(theirs[0].ip, text);
    EXPECT_TEXT(text, "10.0.0.7");
    address_text(theirs[1].ip, text);
    EXPECT_TEXT(text, "172.17.0.1");
    EXPECT_EQ(theirs[2].ip, 0);

    // Only what the launcher was told to use.
    Address all[ADDRESSES_MOST], some[ADDRESSES_MOST];
    int count = addresses_list(all);
    setenv("OMPI_MCA_btl_tcp_if_include", "203.0.113.0/24,nosuch0", 1);
    EXPECT_EQ(addresses_list(some), 0);
    setenv("OMPI_MCA_btl_tcp_if_include", "0.0.0.0/0", 1);
    EXPECT(addresses_list(some) >= count);
    unsetenv("OMPI_MCA_btl_tcp_if_include");
}

static int warned;
static void warn(const char *line) {
    (void)line;
    ++warned;
}

// The journal of a killed process is found, by a neighbour and at the next start.
static void test_blackbox(void) {
    char run_dir[600], path[PATH_BYTES];
    snprintf(run_dir, sizeof run_dir, "%s/run", test_folder("blackbox"));
    pid_t pid = fork();
    if (pid == 0) {
        recorder_start();
        if (blackbox_open(run_dir, 1, 2, "here") != STATUS_OK) _exit(1);
        journal_enter(PHASE_DATA, 33);
        journal_wait("board");
        kill(getpid(), SIGKILL);
    }
    int how;
    waitpid(pid, &how, 0);
    if (WIFEXITED(how)) SKIP("no memory of the node to write to");
    JournalEntry entry;
    EXPECT(blackbox_last(run_dir, 1, pid, &entry));
    EXPECT_EQ(entry.step, 33);
    EXPECT_TEXT(entry.what, "board");
    EXPECT(!blackbox_last(run_dir, 0, pid, &entry));

    Blackboxes boxes;
    EXPECT_OK(blackbox_read(run_dir, warn, &boxes));
    EXPECT_EQ(boxes.count, 1);
    blackbox_free(&boxes);
    EXPECT_OK(blackbox_open(run_dir, 0, 2, "here")); // collects
    EXPECT(!blackbox_last(run_dir, 1, pid, &entry));
    snprintf(path, sizeof path, "%s/forensics/rank-00001.journal", run_dir);
    EXPECT(file_exists(path));
    journal_enter(PHASE_LOAD, 1);
    EXPECT_OK(blackbox_read(run_dir, warn, &boxes));
    EXPECT_EQ(boxes.count, 2); // rank 0's from memory, rank 1's from the run folder
    if (boxes.count == 2) EXPECT_EQ(boxes.journal[1]->pid, pid);
    blackbox_free(&boxes);
    blackbox_close();
    EXPECT_EQ(warned, 0);
    EXPECT_OK(file_write_atomic(path, "damaged", 7));
    EXPECT_OK(blackbox_read(run_dir, warn, &boxes));
    EXPECT_EQ(boxes.count, 0);
    EXPECT_EQ(warned, 1);
    blackbox_free(&boxes);
}

int main(void) {
    RUN(test_process);
    RUN(test_file_named);
    RUN(test_probe);
    RUN(test_addresses);
    RUN(test_blackbox);
    return test_report();
}
