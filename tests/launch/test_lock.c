// The lock of a run folder: held by the living, taken over from the dead, by one at a time.
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "base/file.h"
#include "base/json.h"
#include "launch/lock.h"
#include "launch/wall_clock.h"
#include "tests/test.h"

static char noticed[2048];

static void notice(const char *message) {
    snprintf(noticed, sizeof noticed, "%s", message);
}

static const char *in(const char *run, const char *name) {
    static char path[4][PATH_BYTES];
    static int turn;
    char *out = path[turn++ % 4];
    snprintf(out, PATH_BYTES, "%.900s/%s", run, name);
    return out;
}

static int entries(const char *run) {
    char **names;
    int count;
    EXPECT_OK(folder_names(run, &names, &count));
    folder_names_free(names, count);
    return count;
}

// Sets the time of the last renewal.
static void set_age(const char *path, double seconds) {
    double then = clock_wall() - seconds;
    struct timespec times[2] = {{(time_t)then, 0}, {(time_t)then, 0}};
    EXPECT(utimensat(AT_FDCWD, path, times, 0) == 0);
}

static double age_of(const char *path) {
    struct stat info;
    EXPECT(stat(path, &info) == 0);
    return clock_wall() - (double)info.st_mtim.tv_sec;
}

// A child that does not outlive this process.
static pid_t start_child(void) {
    pid_t child = fork();
    if (child == 0) prctl(PR_SET_PDEATHSIG, SIGKILL);
    return child;
}

// A child that takes the lock and keeps it until it is killed.
static pid_t start_holder(const char *run) {
    int ready[2];
    char byte;
    EXPECT(pipe(ready) == 0);
    pid_t child = start_child();
    if (child == 0) {
        RunLock *lock;
        if (run_lock_take(run, NULL, &lock) != STATUS_OK) _exit(1);
        if (write(ready[1], "!", 1) != 1) _exit(1);
        for (;;) pause();
    }
    close(ready[1]);
    EXPECT(read(ready[0], &byte, 1) == 1);
    close(ready[0]);
    return child;
}

static void stop_holder(pid_t child) {
    int ended;
    EXPECT(kill(child, SIGKILL) == 0 && waitpid(child, &ended, 0) == child);
}

// Changes one key of RUN/lock.json.
static void edit(const char *run, const char *key, json_t *value) {
    json_t *root;
    EXPECT_OK(json_read(in(run, "lock.json"), &root));
    EXPECT(json_object_set_new(root, key, value) == 0);
    EXPECT_OK(json_write(in(run, "lock.json"), root));
    json_decref(root);
}

static void test_take_and_release(void) {
    const char *run = test_folder("lock");
    RunLock *lock, *second;
    char wanted[64];
    setenv("SLURM_JOB_ID", "4711", 1);
    EXPECT_OK(run_lock_take(run, notice, &lock));
    unsetenv("SLURM_JOB_ID");
    EXPECT_OK(run_lock_check(lock));
    EXPECT_EQ(entries(run), 1);
    snprintf(wanted, sizeof wanted, "pid %d, since ", (int)getpid());
    EXPECT_FAIL(run_lock_take(run, notice, &second), BUSY, wanted);
    EXPECT_FAIL(run_lock_take(run, notice, &second), BUSY, "lock.json is held by job slurm 4711");
    EXPECT_EQ(entries(run), 1);
    run_lock_release(lock);
    EXPECT_EQ(entries(run), 0);
    EXPECT_OK(run_lock_take(run, notice, &lock));
    run_lock_release(lock);
    run_lock_release(NULL);
    EXPECT_TEXT(noticed, "");
    EXPECT_FAIL(run_lock_take(in(run, "nowhere"), notice, &lock), IO, "nowhere");
}

static void test_dead_holder(void) {
    const char *run = test_folder("lock");
    RunLock *lock;
    char wanted[64];
    pid_t child = start_holder(run);
    snprintf(wanted, sizeof wanted, "pid %d,", (int)child);
    EXPECT_FAIL(run_lock_take(run, notice, &lock), BUSY, wanted);
    set_age(in(run, "lock.json"), 1000); // alive here: its age does not matter
    EXPECT_FAIL(run_lock_take(run, notice, &lock), BUSY, "renewed 16 min 4");
    stop_holder(child);
    EXPECT_OK(run_lock_take(run, notice, &lock));
    EXPECT(strstr(noticed, wanted) != NULL && strstr(noticed, "that process is gone") != NULL);
    EXPECT_OK(run_lock_check(lock));
    EXPECT_EQ(entries(run), 1);
    run_lock_release(lock);
    EXPECT_EQ(entries(run), 0);
    // Killed, but its parent has not asked yet.
    child = start_holder(run);
    EXPECT(kill(child, SIGKILL) == 0);
    siginfo_t info;
    EXPECT(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT) == 0);
    EXPECT_OK(run_lock_take(run, NULL, &lock));
    run_lock_release(lock);
    EXPECT(waitpid(child, NULL, 0) == child);
}

// A process of the same number that was started at another time is another process.
static void test_pid_used_again(void) {
    const char *run = test_folder("lock");
    RunLock *lock;
    pid_t child = start_holder(run);
    edit(run, "process_start", json_integer(12345));
    EXPECT_OK(run_lock_take(run, notice, &lock));
    run_lock_release(lock);
    stop_holder(child);
}

static void test_elsewhere(void) {
    const char *run = test_folder("lock"), *path = in(run, "lock.json");
    RunLock *lock;
    stop_holder(start_holder(run));
    edit(run, "machine", json_string("another one"));
    edit(run, "host", json_string("node7"));
    EXPECT_FAIL(run_lock_take(run, notice, &lock), BUSY, "host node7, pid");
    set_age(path, 50);
    EXPECT_FAIL(run_lock_take(run, notice, &lock), BUSY, "not renewed for 60 s is taken over");
    set_age(path, 63);
    EXPECT_OK(run_lock_take(run, notice, &lock));
    EXPECT(strstr(noticed, "host node7") != NULL && strstr(noticed, "not renewed for 6") != NULL);
    run_lock_release(lock);
}

static void test_unreadable(void) {
    const char *run = test_folder("lock"), *path = in(run, "lock.json");
    RunLock *lock;
    EXPECT_OK(file_write_atomic(path, "{", 1));
    EXPECT_FAIL(run_lock_take(run, notice, &lock), BUSY, "somebody unknown");
    set_age(path, 63);
    EXPECT_OK(run_lock_take(run, notice, &lock));
    run_lock_release(lock);
}

// The one who slept while another took over finds out, and does not remove the other's lock.
static void test_lost(void) {
    const char *run = test_folder("lock"), *path = in(run, "lock.json");
    RunLock *lock, *other;
    EXPECT_OK(run_lock_take(run, notice, &lock));
    edit(run, "machine", json_string("another one"));
    set_age(path, 63);
    EXPECT_OK(run_lock_take(run, notice, &other));
    EXPECT_FAIL(run_lock_check(lock), BUSY, "was taken over by job");
    EXPECT_OK(run_lock_check(other));
    run_lock_release(lock);
    EXPECT_OK(run_lock_check(other));
    EXPECT(file_exists(path));
    EXPECT(unlink(path) == 0);
    EXPECT_FAIL(run_lock_check(other), BUSY, "was removed");
    run_lock_release(other);
}

// A run folder that is away is not lost: it may come back.
static void test_away(void) {
    char run[PATH_BYTES], away[PATH_BYTES];
    RunLock *lock;
    EXPECT_OK(path_format(run, "%s", test_folder("lock")));
    EXPECT_OK(path_format(away, "%s-away", run));
    EXPECT_OK(run_lock_take(run, notice, &lock));
    EXPECT_OK(file_rename(run, away));
    EXPECT_FAIL(run_lock_check(lock), IO, "was its file system unmounted");
    EXPECT_OK(file_write_atomic(run, "", 0)); // not even a folder
    EXPECT_FAIL(run_lock_check(lock), IO, "cannot be reached");
    EXPECT(unlink(run) == 0);
    EXPECT_OK(file_rename(away, run));
    EXPECT_OK(run_lock_check(lock));
    run_lock_release(lock);
}

enum { RUNNERS = 6, ROUNDS = 15 };
static pid_t runner[RUNNERS];

// Waits until all are there, tries, says how it went, and stays until it is killed.
_Noreturn static void run_runner(const char *run, int start, int result) {
    RunLock *lock;
    char byte;
    if (read(start, &byte, 1) != 0) _exit(1);
    Status status = run_lock_take(run, NULL, &lock);
    byte = status == STATUS_OK ? 'w' : status == STATUS_BUSY ? 'b' : '?';
    if (write(result, &byte, 1) != 1) _exit(1);
    for (;;) pause();
}

// Several start at the same time; returns how many got the lock.
static int race(const char *run) {
    int start[2], result[2], winners = 0;
    EXPECT(pipe(start) == 0 && pipe(result) == 0);
    for (int i = 0; i < RUNNERS; ++i) {
        runner[i] = start_child();
        if (runner[i] != 0) continue;
        close(start[1]);
        run_runner(run, start[0], result[1]);
    }
    close(start[0]);
    close(start[1]);
    for (int i = 0; i < RUNNERS; ++i) {
        char byte = 0;
        EXPECT(read(result[0], &byte, 1) == 1);
        EXPECT(byte == 'w' || byte == 'b');
        winners += byte == 'w';
    }
    close(result[0]);
    close(result[1]);
    return winners;
}

static void end_race(void) {
    for (int i = 0; i < RUNNERS; ++i) stop_holder(runner[i]);
}

static void test_race(void) {
    for (int round = 0; round < ROUNDS; ++round) {
        const char *run = test_folder("race");
        EXPECT_EQ(race(run), 1);
        EXPECT_EQ(entries(run), 1);
        end_race(); // leaves the lock of a dead one
        EXPECT_EQ(race(run), 1);
        EXPECT_EQ(entries(run), 1);
        end_race();
        // And one that died while taking over.
        EXPECT(link(in(run, "lock.json"), in(run, "lock.json.takeover")) == 0);
        EXPECT_EQ(race(run), 1);
        EXPECT_EQ(entries(run), 1);
        end_race();
    }
}

static void test_litter(void) {
    const char *run = test_folder("lock");
    RunLock *lock;
    EXPECT_OK(file_write_atomic(in(run, ".lock-old000"), "x", 1));
    EXPECT_OK(file_write_atomic(in(run, ".lock-new000"), "x", 1));
    set_age(in(run, ".lock-old000"), 100);
    EXPECT_OK(run_lock_take(run, notice, &lock));
    EXPECT(!file_exists(in(run, ".lock-old000")));
    EXPECT(file_exists(in(run, ".lock-new000")));
    run_lock_release(lock);
}

// Taken at the start of all tests, since a renewal takes 10 s.
static RunLock *renewed;
static char renewed_path[PATH_BYTES];

static void start_renewal(void) {
    const char *run = test_folder("renew");
    EXPECT_OK(run_lock_take(run, NULL, &renewed));
    snprintf(renewed_path, sizeof renewed_path, "%s", in(run, "lock.json"));
    set_age(renewed_path, 500);
}

static void test_renewal(void) {
    for (int i = 0; i < 110 && age_of(renewed_path) > 400; ++i) usleep(100000);
    EXPECT(age_of(renewed_path) < 100);
    run_lock_release(renewed);
}

int main(void) {
    start_renewal();
    RUN(test_take_and_release);
    RUN(test_dead_holder);
    RUN(test_pid_used_again);
    RUN(test_elsewhere);
    RUN(test_unreadable);
    RUN(test_lost);
    RUN(test_away);
    RUN(test_litter);
    RUN(test_race);
    RUN(test_renewal);
    return test_report();
}
