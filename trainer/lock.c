// The lock of a run folder: taken by a hard link, kept alive by a thread, taken over from the dead.
#include "trainer/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"

enum {
    RENEW_SECONDS = 10,
    STALE_SECONDS = 60,
    TAKE_TRIES = 250, // with naps of 20 ms between: others may be taking over at the same time
    HOLDER_BYTES_MOST = 4096,
};
#define LOCK_NAME        "lock.json"
#define CANDIDATE_PREFIX ".lock-"

struct RunLock {
    char path[PATH_BYTES];      // RUN/lock.json
    char candidate[PATH_BYTES]; // our file under its first name
    char guard[PATH_BYTES];     // held while a stale lock is being replaced
    int fd;                     // our file, under whatever name
    double created;             // by the clock of the file system
    bool renewing;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t stop_asked;
    bool stop;
};

// What the file says about who holds it.
typedef struct {
    char job[128], host[128], machine[128];
    int64_t pid, start; // start of the process in clock ticks since boot, so that pids may recur
    int64_t taken;      // seconds since 1970
} Holder;

// ---- who is who ---------------------------------------------------------------------------------

// Start time of a process: field 22 of /proc/PID/stat, counted behind the name, which may hold
// anything. -1: there is no such process (a zombie holds nothing any more).
static int64_t process_start(int64_t pid) {
    char path[64], *text, *at, state = 0;
    size_t bytes;
    int64_t start = -1;
    snprintf(path, sizeof path, "/proc/%" PRId64 "/stat", pid);
    if (file_read(path, HOLDER_BYTES_MOST, &text, &bytes) != STATUS_OK) {
        error_clear();
        return -1;
    }
    at = strrchr(text, ')');
    if (at != NULL &&
        sscanf(at + 1,
               " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d"
               " %" SCNd64,
               &state, &start) != 2)
        start = -1;
    free(text);
    return state == 'Z' || state == 'X' ? -1 : start;
}

static void name_job(char *out, size_t bytes) {
    static const struct {
        const char *variable, *name;
    } system[] = {{"SLURM_JOB_ID", "slurm"}, {"PBS_JOBID", "pbs"}, {"LSB_JOBID", "lsf"}};
    for (size_t i = 0; i < sizeof system / sizeof *system; ++i) {
        const char *id = getenv(system[i].variable);
        if (id == NULL) continue;
        snprintf(out, bytes, "%s %s", system[i].name, id);
        return;
    }
    bool launched = getenv("OMPI_COMM_WORLD_SIZE") != NULL;
    snprintf(out, bytes, "%s %d", launched ? "mpirun" : "shell", (int)getppid());
}

// Where process numbers mean the same: one boot of one machine, one name space of processes. Empty
// if that cannot be told.
static void name_machine(char *out, size_t bytes) {
    char boot[64] = "", space[64] = "", *text;
    size_t n;
    if (file_read("/proc/sys/kernel/random/boot_id", HOLDER_BYTES_MOST, &text, &n) == STATUS_OK) {
        snprintf(boot, sizeof boot, "%.*s", (int)strcspn(text, "\n"), text);
        free(text);
    }
    bool known = readlink("/proc/self/ns/pid", space, sizeof space - 1) > 0 && boot[0] != 0;
    error_clear();
    snprintf(out, bytes, "%s%s%s", known ? boot : "", known ? " " : "", known ? space : "");
}

static Holder myself(void) {
    Holder me = {.pid = getpid(), .start = process_start(getpid()), .taken = (int64_t)clock_wall()};
    name_job(me.job, sizeof me.job);
    if (gethostname(me.host, sizeof me.host - 1) != 0) strcpy(me.host, "localhost");
    name_machine(me.machine, sizeof me.machine);
    return me;
}

static Status parse_holder(const char *path, const char *text, size_t bytes, Holder *holder) {
    json_t *root;
    TRY(json_parse(text, bytes, path, &root));
    Status status = json_get_text(root, "job", path, holder->job, sizeof holder->job);
    if (status == STATUS_OK)
        status = json_get_text(root, "host", path, holder->host, sizeof holder->host);
    if (status == STATUS_OK)
        status = json_get_text(root, "machine", path, holder->machine, sizeof holder->machine);
    if (status == STATUS_OK) status = json_get_i64(root, "pid", path, 1, INT32_MAX, &holder->pid);
    if (status == STATUS_OK)
        status = json_get_i64(root, "process_start", path, -1, INT64_MAX, &holder->start);
    if (status == STATUS_OK)
        status = json_get_i64(root, "taken", path, 0, (int64_t)1 << 40, &holder->taken);
    json_decref(root);
    return status;
}

// ---- judging a lock that is there ---------------------------------------------------------------

typedef struct {
    bool stale;
    ino_t inode;
    double age;      // seconds since it was renewed
    char text[640];  // who holds it, for people
    char reason[96]; // why it is stale
} Verdict;

static double file_time(const struct stat *info) {
    return (double)info->st_mtim.tv_sec + 1e-9 * (double)info->st_mtim.tv_nsec;
}

static void describe_holder(const Holder *holder, double age, char *out, size_t bytes) {
    time_t taken = (time_t)holder->taken;
    struct tm local;
    char since[32] = "?", ago[32];
    if (localtime_r(&taken, &local) != NULL)
        strftime(since, sizeof since, "%Y-%m-%d %H:%M:%S", &local);
    clock_format(age > 0 ? age : 0, ago, sizeof ago);
    snprintf(out, bytes, "job %s, host %s, pid %" PRId64 ", since %s, renewed %s ago", holder->job,
             holder->host, holder->pid, since, ago);
}

// Errors: NOT_FOUND if it is gone.
static Status judge(const RunLock *lock, const char *path, Verdict *verdict) {
    struct stat info;
    char *text;
    size_t bytes;
    Holder holder = {0}, me = myself();
    FAIL_IF(stat(path, &info) != 0, NOT_FOUND, "%s: %s", path, strerror(errno));
    TRY(file_read(path, HOLDER_BYTES_MOST, &text, &bytes));
    *verdict = (Verdict){.inode = info.st_ino, .age = lock->created - file_time(&info)};
    bool known = parse_holder(path, text, bytes, &holder) == STATUS_OK;
    free(text);
    if (known)
        describe_holder(&holder, verdict->age, verdict->text, sizeof verdict->text);
    else
        snprintf(verdict->text, sizeof verdict->text, "somebody unknown (%.500s)",
                 error_get()->text);
    error_clear();
    if (known && me.machine[0] != 0 && strcmp(holder.machine, me.machine) == 0) {
        verdict->stale = process_start(holder.pid) != holder.start || holder.start < 0;
        snprintf(verdict->reason, sizeof verdict->reason, "that process is gone");
    } else {
        verdict->stale = verdict->age > STALE_SECONDS;
        snprintf(verdict->reason, sizeof verdict->reason, "it was not renewed for %.0f s",
                 verdict->age);
    }
    return STATUS_OK;
}

// ---- taking -------------------------------------------------------------------------------------

static bool is_ours(const RunLock *lock, const char *path) {
    struct stat ours, there;
    return fstat(lock->fd, &ours) == 0 && stat(path, &there) == 0 && ours.st_ino == there.st_ino &&
           ours.st_dev == there.st_dev;
}

static void nap(void) {
    nanosleep(&(struct timespec){0, 20000000}, NULL);
}

// *done: our file has this name now. Over NFS link() may say that it failed although it did not.
static Status link_to(const RunLock *lock, const char *path, bool *done) {
    int failed = link(lock->candidate, path) == 0 ? 0 : errno;
    *done = failed == 0 || is_ours(lock, path);
    FAIL_IF(!*done && failed != EEXIST, IO, "cannot make %s: %s", path, strerror(failed));
    return STATUS_OK;
}

// Removes the lock that was judged and no other: should a fresh one have come in between, it gets
// its name back and *removed is false.
static Status remove_judged(const RunLock *lock, const Verdict *verdict, bool *removed) {
    char grave[PATH_BYTES];
    struct stat info;
    *removed = true;
    TRY(path_format(grave, "%s.old", lock->candidate));
    if (rename(lock->path, grave) != 0) {
        FAIL_IF(errno != ENOENT, IO, "cannot remove the stale %s: %s", lock->path, strerror(errno));
        return STATUS_OK;
    }
    *removed = stat(grave, &info) == 0 && info.st_ino == verdict->inode &&
               lock->created - file_time(&info) == verdict->age;
    if (!*removed && link(grave, lock->path) != 0)
        FAIL(IO, "cannot give %s back: %s", lock->path, strerror(errno));
    unlink(grave);
    return STATUS_OK;
}

// Holding the guard: nobody else removes a stale lock, so the one that is judged here is the one
// that is removed. The name is free for a moment; whoever links first has it.
static Status replace_stale(const RunLock *lock, Verdict *verdict, bool *done) {
    bool removed = true;
    Status status = judge(lock, lock->path, verdict);
    if (status != STATUS_OK && status != STATUS_NOT_FOUND) return status;
    if (status == STATUS_OK && !verdict->stale) return STATUS_OK;
    if (status == STATUS_OK) TRY(remove_judged(lock, verdict, &removed));
    return removed ? link_to(lock, lock->path, done) : STATUS_OK;
}

static Status take_over(const RunLock *lock, Verdict *verdict, bool *done) {
    bool guarded;
    *done = false;
    TRY(link_to(lock, lock->guard, &guarded));
    if (guarded) {
        Status status = replace_stale(lock, verdict, done);
        unlink(lock->guard);
        return status;
    }
    // Somebody else replaces it, in a moment; unless he died while doing so.
    Verdict other;
    Status status = judge(lock, lock->guard, &other);
    if (status == STATUS_OK && other.stale) unlink(lock->guard);
    if (status == STATUS_NOT_FOUND) status = STATUS_OK;
    if (status == STATUS_OK) nap();
    return status;
}

static void tell(void (*notice)(const char *message), const RunLock *lock, const Verdict *verdict) {
    char message[PATH_BYTES + sizeof verdict->text + sizeof verdict->reason + 64];
    snprintf(message, sizeof message, "took over %s from %s: %s", lock->path, verdict->text,
             verdict->reason);
    if (notice != NULL) notice(message);
}

static Status acquire(RunLock *lock, void (*notice)(const char *message)) {
    for (int i = 0; i < TAKE_TRIES; ++i) {
        bool done;
        Verdict verdict;
        TRY(link_to(lock, lock->path, &done));
        if (done) return STATUS_OK;
        Status status = judge(lock, lock->path, &verdict);
        if (status == STATUS_NOT_FOUND) continue;
        TRY(status);
        FAIL_IF(!verdict.stale, BUSY,
                "%s is held by %s; wait for it, stop it, or choose another run.dir (a lock that is"
                " not renewed for %d s is taken over)",
                lock->path, verdict.text, STALE_SECONDS);
        TRY(take_over(lock, &verdict, &done));
        if (!done) continue;
        tell(notice, lock, &verdict);
        return STATUS_OK;
    }
    FAIL(BUSY, "%s: others are taking it over all the time", lock->path);
}

// Candidates of killed processes: nobody looks at them again.
static void remove_litter(const RunLock *lock, const char *run_dir) {
    char **names, path[PATH_BYTES];
    int count;
    if (folder_names(run_dir, &names, &count) != STATUS_OK) {
        error_clear();
        return;
    }
    for (int i = 0; i < count; ++i) {
        struct stat info;
        if (strncmp(names[i], CANDIDATE_PREFIX, strlen(CANDIDATE_PREFIX)) != 0) continue;
        if (path_format(path, "%s/%s", run_dir, names[i]) == STATUS_OK && stat(path, &info) == 0 &&
            lock->created - file_time(&info) > STALE_SECONDS)
            unlink(path);
    }
    folder_names_free(names, count);
}

// Our file, complete before it gets its name, so that nobody ever reads half of it.
static Status make_candidate(RunLock *lock, const char *run_dir) {
    TRY(path_format(lock->path, "%s/%s", run_dir, LOCK_NAME));
    TRY(path_format(lock->guard, "%s/%s.takeover", run_dir, LOCK_NAME));
    TRY(path_format(lock->candidate, "%s/%sXXXXXX", run_dir, CANDIDATE_PREFIX));
    lock->fd = mkostemp(lock->candidate, O_CLOEXEC);
    FAIL_IF(lock->fd < 0, IO, "cannot create %s: %s", lock->candidate, strerror(errno));
    Holder me = myself();
    json_t *root = json_pack("{s:s, s:s, s:s, s:I, s:I, s:I}", "job", me.job, "host", me.host,
                             "machine", me.machine, "pid", (json_int_t)me.pid, "process_start",
                             (json_int_t)me.start, "taken", (json_int_t)me.taken);
    char *text = root != NULL ? json_dumps(root, JSON_INDENT(2)) : NULL;
    json_decref(root);
    FAIL_IF(text == NULL, NO_MEMORY, "no memory for %s", lock->path);
    size_t bytes = strlen(text);
    text[bytes] = '\n';
    bool written = fchmod(lock->fd, 0644) == 0 &&
                   write(lock->fd, text, bytes + 1) == (ssize_t)(bytes + 1) && fsync(lock->fd) == 0;
    free(text);
    struct stat info;
    FAIL_IF(!written || fstat(lock->fd, &info) != 0, IO, "cannot write %s: %s", lock->candidate,
            strerror(errno));
    lock->created = file_time(&info);
    return STATUS_OK;
}

// ---- keeping ------------------------------------------------------------------------------------

// Renews the file, not the name: should another process have taken over, its lock stays untouched.
static void *renew(void *context) {
    RunLock *lock = context;
    pthread_mutex_lock(&lock->mutex);
    while (!lock->stop) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += RENEW_SECONDS;
        int woken = 0;
        while (!lock->stop && woken != ETIMEDOUT)
            woken = pthread_cond_timedwait(&lock->stop_asked, &lock->mutex, &until);
        if (!lock->stop) futimens(lock->fd, NULL);
    }
    pthread_mutex_unlock(&lock->mutex);
    return NULL;
}

static Status start_renewing(RunLock *lock) {
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&lock->stop_asked, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&lock->mutex, NULL);
    // Signals are for the main thread.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&lock->thread, NULL, renew, lock);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    FAIL_IF(failed != 0, NO_MEMORY, "cannot start the thread that renews %s: %s", lock->path,
            strerror(failed));
    lock->renewing = true;
    return STATUS_OK;
}

Status run_lock_take(const char *run_dir, void (*notice)(const char *message), RunLock **out) {
    RunLock *lock = calloc(1, sizeof *lock);
    FAIL_IF(lock == NULL, NO_MEMORY, "no memory for a lock");
    lock->fd = -1;
    Status status = make_candidate(lock, run_dir);
    if (status == STATUS_OK) status = acquire(lock, notice);
    if (lock->fd >= 0) unlink(lock->candidate);
    if (status == STATUS_OK) {
        remove_litter(lock, run_dir);
        status = start_renewing(lock);
    }
    if (status != STATUS_OK) {
        run_lock_release(lock);
        return status;
    }
    *out = lock;
    return STATUS_OK;
}

Status run_lock_check(const RunLock *lock) {
    if (is_ours(lock, lock->path)) return STATUS_OK;
    Verdict verdict;
    Status status = judge(lock, lock->path, &verdict);
    FAIL_IF(status == STATUS_OK, BUSY, "%s was taken over by %s", lock->path, verdict.text);
    FAIL(BUSY, "%s was removed while this run held it", lock->path);
}

void run_lock_release(RunLock *lock) {
    if (lock == NULL) return;
    if (lock->renewing) {
        pthread_mutex_lock(&lock->mutex);
        lock->stop = true;
        pthread_cond_signal(&lock->stop_asked);
        pthread_mutex_unlock(&lock->mutex);
        pthread_join(lock->thread, NULL);
        pthread_mutex_destroy(&lock->mutex);
        pthread_cond_destroy(&lock->stop_asked);
    }
    if (lock->fd >= 0) {
        if (is_ours(lock, lock->path)) unlink(lock->path);
        close(lock->fd);
    }
    free(lock);
}
