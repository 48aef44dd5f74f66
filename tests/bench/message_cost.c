// message_cost [RANKS [REPORTS_A_SECOND [SECONDS]]]: what a report costs the centre that receives
// it: processor time of its process (deciphering by ZeroMQ's thread, waking, reading, noting in the
// watch) over the number of reports. A child plays all other ranks, each with a key and a
// connection of its own, on the loopback interface. The last two lines are arguments of
// tests/bench/controller_load.py: the cost of a report, and that of accepting a connection (with
// its handshake).
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "launch/watch/wire.h"

enum { RANKS_MOST = 512 };

static void must(bool good, const char *what) {
    if (good) return;
    fprintf(stderr, "message_cost: %s: %s\n", what, error_get()->text);
    exit(1);
}

static void move(int fd, void *data, size_t size, bool writes) {
    for (size_t done = 0; done < size;) {
        char *at = (char *)data + done;
        ssize_t n = writes ? write(fd, at, size - done) : read(fd, at, size - done);
        must(n > 0, "pipe");
        done += (size_t)n;
    }
}

static double cpu_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static const int centre[WIRE_CENTRES] = {0, -1};

// All ranks but 0, one after the other at an even pace, until killed.
static void play_others(int ranks, double rate, int from, int to) {
    static Wire *wire[RANKS_MOST];
    static WirePeer peer[RANKS_MOST];
    for (int i = 1; i < ranks; ++i)
        must(wire_open(true, 0, &peer[i], &wire[i]) == STATUS_OK, "opening a rank");
    move(to, peer, sizeof peer, true);
    move(from, peer, sizeof peer, false);
    for (int i = 1; i < ranks; ++i)
        must(wire_connect(wire[i], peer, i, centre) == STATUS_OK, "connecting a rank");
    double due = clock_now();
    for (int i = 1;; i = i + 1 < ranks ? i + 1 : 1) {
        Letter letter = {.kind = LETTER_REPORT, .from = i};
        letter.report = watch_report(journal_mine(), clock_now());
        letter.report.rank = i;
        wire_to_centre(wire[i], 0, &letter);
        due += 1 / rate;
        for (double wait; (wait = due - clock_now()) > 0;) usleep((useconds_t)(1e6 * wait));
    }
}

static int64_t receive_for(Wire *wire, Watch *watch, double seconds) {
    int64_t count = 0;
    Letter letter;
    for (double end = clock_now() + seconds; clock_now() < end;) {
        wire_wait(wire, 20);
        for (; wire_receive(wire, &letter); ++count) watch_hear(watch, &letter.report, clock_now());
    }
    return count;
}

static int met(const Watch *watch) {
    int count = 0;
    for (int i = 0; i < watch->world; ++i) count += watch->rank[i].is_met;
    return count;
}

int main(int argc, char **argv) {
    int ranks = argc > 1 ? atoi(argv[1]) : 64;
    double rate = argc > 2 ? atof(argv[2]) : 2000, seconds = argc > 3 ? atof(argv[3]) : 10;
    must(ranks > 1 && ranks <= RANKS_MOST && rate > 0, "arguments: 2 to 512 ranks, a rate");
    int down[2], up[2], host[RANKS_MOST] = {0};
    must(pipe(down) == 0 && pipe(up) == 0, "pipe");
    pid_t child = fork();
    if (child == 0) play_others(ranks, rate, down[0], up[1]);

    static WirePeer peer[RANKS_MOST];
    WirePeer me;
    Wire *wire;
    must(wire_open(true, 0, &me, &wire) == STATUS_OK, "opening");
    move(up[0], peer, sizeof peer, false);
    peer[0] = me;
    must(wire_connect(wire, peer, 0, centre) == STATUS_OK, "connecting");
    Watch *watch = watch_open(ranks, 0, host, 2, 5, clock_now());
    must(watch != NULL, "no memory");
    double before = cpu_seconds();
    move(down[1], peer, sizeof peer, true);
    int64_t first = 0;
    while (met(watch) < ranks - 1) first += receive_for(wire, watch, 0.1);
    double start = cpu_seconds() - before;

    before = cpu_seconds();
    int64_t count = receive_for(wire, watch, seconds);
    double each = (cpu_seconds() - before) / (double)count;
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    printf("%d ranks, %lld reports in %g s: %.2f %% of a core\n", ranks, (long long)count, seconds,
           1e2 * each * (double)count / seconds);
    printf("--message-us %.1f\n", 1e6 * each);
    printf("--connect-us %.0f\n", 1e6 * (start - each * (double)first) / (ranks - 1));
    watch_close(watch);
    wire_close(wire);
    return 0;
}
