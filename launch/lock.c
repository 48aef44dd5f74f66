// The lock of a run folder: taken by a hard link, kept alive by a thread, taken over from the dead.
#include "launch/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/thread.h"
#include "launch/console.h"
#include "launch/wall_clock.h"

enum {
    RENEW_SECONDS = 10,
    STALE_SECONDS = 60,
    TAKE_TRIES = 250, // with naps of 20 ms between: others may be taking over at the same time
    PROC_BYTES_MOST = 4096,
};
#define LOCK_NAME        "lock.json"
#define CANDIDATE_PREFIX ".lock-"
// job, host, machine, pid, process_start (clock ticks since boot, so that a pid may recur), taken
// (seconds since 1970).
#define HOLDER_FORMAT "{s:s, s:s, s:s, s:I, s:I, s:I}"

struct RunLock {
    char path[PATH_BYTES];      // RUN/lock.json
    char candidate[PATH_BYTES]; // our file under its first name
    char guard[PATH_BYTES];     // held while a stale lock is being replaced
    int fd;                     // our file, under whatever name
    ino_t inode;                // and its number, should a server forget the open file
    double created;             // by the clock of the file system
    bool renewing;
    pthread_t thread;
};

// ---- who is who ---------------------------------------------------------------------------------

// Start time of a process: field 22 of /proc/PID/stat, counted behind the name, which may hold
// anything. -1: there is no such process (a zombie holds nothing any more).
static int64_t process_start(int64_t pid) {
    char path[64], *text, state = 0;
    size_t bytes;
    int64_t start;
    snprintf(path, sizeof path, "/proc/%" PRId64 "/stat", pid);
    if (file_read(path, PROC_BYTES_MOST, &text, &bytes) != STATUS_OK) {
        error_clear();
        return -1;
    }
    const char *behind_name = strrchr(text, ')');
    int known = sscanf(behind_name != NULL ? behind_name : "",
                       ") %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s"
                       " %*s %" SCNd64,
                       &state, &start);
    free(text);
    return known != 2 || state == 'Z' || state == 'X' ? -1 : start;
}

static void name_job(char *out, size_t bytes) {
    static const char *const systems[][2] = {
        {"SLURM_JOB_ID", "slurm"}, {"PBS_JOBID", "pbs"}, {"LSB_JOBID", "lsf"}};
    bool launched = getenv("OMPI_COMM_WORLD_SIZE") != NULL;
    snprintf(out, bytes, "%s %d", launched ? "mpirun" : "shell", (int)getppid());
    for (size_t i = 0; i < sizeof systems / sizeof *systems; ++i) {
        const char *id = getenv(systems[i][0]);
        if (id != NULL) snprintf(out, bytes, "%s %s", systems[i][1], id);
    }
}

// Where process numbers mean the same: one boot of one machine, one name space of processes. Empty
// if that cannot be told.
static void name_machine(char *out, size_t bytes) {
    char space[64] = "", *boot;
    size_t n;
    out[0] = 0;
    if (readlink("/proc/self/ns/pid", space, sizeof space - 1) > 0 &&
        file_read("/proc/sys/kernel/random/boot_id", PROC_BYTES_MOST, &boot, &n) == STATUS_OK) {
        snprintf(out, bytes, "%.*s %s", (int)strcspn(boot, "\n"), boot, space);
        free(boot);
    }
    error_clear();
}

// ---- the file -----------------------------------------------------------------------------------

static json_t *describe_myself(void) {
    char job[128], host[128] = "localhost", machine[128];
    name_job(job, sizeof job);
    gethostname(host, sizeof host - 1);
    name_machine(machine, sizeof machine);
    return json_pack(HOLDER_FORMAT, "job", job, "host", host, "machine", machine, "pid",
                     (json_int_t)getpid(), "process_start", (json_int_t)process_start(getpid()),
                     "taken", (json_int_t)clock_wall());
}

static double file_time(const struct stat *info) {
    return (double)info->st_mtim.tv_sec + 1e-9 * (double)info->st_mtim.tv_nsec;
}

// Our file, complete before it gets its name, so that nobody ever reads half of it.
static Status make_candidate(RunLock *lock, const char *run_dir) {
    TRY(path_format(lock->path, "%s/%s", run_dir, LOCK_NAME));
    TRY(path_format(lock->guard, "%s/%s.takeover", run_dir, LOCK_NAME));
    TRY(path_format(lock->candidate, "%s/%sXXXXXX", run_dir, CANDIDATE_PREFIX));
    lock->fd = mkostemp(lock->candidate, O_CLOEXEC);
    FAIL_IF(lock->fd < 0, IO, "cannot create %s: %s", lock->candidate, strerror(errno));
    json_t *me = describe_myself();
    struct stat info;
    bool written = fchmod(lock->fd, 0644) == 0 && json_dumpfd(me, lock->fd, JSON_INDENT(2)) == 0 &&
                   write(lock->fd, "\n", 1) == 1 && fsync(lock->fd) == 0 &&
                   fstat(lock->fd, &info) == 0;
    json_decref(me);
    FAIL_IF(!written, IO, "cannot write %s: %s", lock->candidate, strerror(errno));
    lock->created = file_time(&info);
    lock->inode = info.st_ino;
    return STATUS_OK;
}

// ---- judging a lock that is there ---------------------------------------------------------------

typedef struct {
    bool stale;
    ino_t inode;
    double age;      // seconds since it was renewed
    char text[640];  // who holds it, for people
    char reason[96]; // why it is stale
} Verdict;

// Reads who holds it; *here: by a process of this machine, which lives or does not. BAD_DATA: the
// file does not say.
static Status read_holder(const char *path, Verdict *verdict, bool *here) {
    json_t *root;
    json_error_t error;
    const char *job, *host, *machine;
    json_int_t pid, start, taken;
    TRY(json_read(path, &root));
    if (json_unpack_ex(root, &error, 0, HOLDER_FORMAT, "job", &job, "host", &host, "machine",
                       &machine, "pid", &pid, "process_start", &start, "taken", &taken) != 0) {
        json_decref(root);
        FAIL(BAD_DATA, "%s: %s", path, error.text);
    }
    time_t seconds = (time_t)taken;
    struct tm local;
    char since[32] = "?", ago[32], ours[128];
    if (localtime_r(&seconds, &local) != NULL)
        strftime(since, sizeof since, "%Y-%m-%d %H:%M:%S", &local);
    clock_format(fmax(verdict->age, 0), ago, sizeof ago);
    snprintf(verdict->text, sizeof verdict->text,
             "job %.128s, host %.128s, pid %" JSON_INTEGER_FORMAT ", since %s, renewed %s ago", job,
             host, pid, since, ago);
    name_machine(ours, sizeof ours);
    *here = ours[0] != 0 && strcmp(machine, ours) == 0;
    verdict->stale = *here && (start < 0 || process_start(pid) != start);
    json_decref(root);
    return STATUS_OK;
}

// Errors: NOT_FOUND if it is gone, IO.
static Status judge(const RunLock *lock, const char *path, Verdict *verdict) {
    struct stat info;
    bool here = false;
    FAIL_IF(stat(path, &info) != 0, NOT_FOUND, "%s: %s", path, strerror(errno));
    *verdict = (Verdict){.inode = info.st_ino, .age = lock->created - file_time(&info)};
    snprintf(verdict->reason, sizeof verdict->reason, "that process is gone");
    Status status = read_holder(path, verdict, &here);
    if (status == STATUS_BAD_DATA) {
        ErrorRecord record = error_take();
        snprintf(verdict->text, sizeof verdict->text, "somebody unknown (%.500s)", record.text);
    } else {
        TRY(status);
    }
    if (here) return STATUS_OK;
    verdict->stale = verdict->age > STALE_SECONDS;
    snprintf(verdict->reason, sizeof verdict->reason, "it was not renewed for %.0f s",
             verdict->age);
    return STATUS_OK;
}

// ---- taking -------------------------------------------------------------------------------------

static bool is_ours(const RunLock *lock, const char *path) {
    struct stat ours, there;
    if (stat(path, &there) != 0 || there.st_ino != lock->inode) return false;
    return fstat(lock->fd, &ours) != 0 || ours.st_dev == there.st_dev;
}

// *done: our file has this name now. Over NFS link() may say that it failed although it did not.
static Status link_to(const RunLock *lock, const char *path, bool *done) {
    int failed = link(lock->candidate, path) == 0 ? 0 : errno;
    *done = failed == 0 || is_ours(lock, path);
    FAIL_IF(!*done && failed != EEXIST, IO, "cannot make %s: %s", path, strerror(failed));
    return STATUS_OK;
}

// Removes the lock that was judged and no other: should a fresh one have come in between, it gets
// its name back.
static Status remove_judged(const RunLock *lock, const Verdict *verdict) {
    char grave[PATH_BYTES];
    struct stat info;
    TRY(path_format(grave, "%s.old", lock->candidate));
    bool gone = rename(lock->path, grave) != 0;
    FAIL_IF(gone && errno != ENOENT, IO, "cannot remove the stale %s: %s", lock->path,
            strerror(errno));
    if (gone) return STATUS_OK;
    bool judged = stat(grave, &info) == 0 && info.st_ino == verdict->inode &&
                  lock->created - file_time(&info) == verdict->age;
    FAIL_IF(!judged && link(grave, lock->path) != 0, IO, "cannot give %s back: %s", lock->path,
            strerror(errno));
    unlink(grave);
    return STATUS_OK;
}

// Under the guard nobody else removes a stale lock, so the one that is judged here is the one that
// is removed. Its name is free for a moment: whoever links first has it.
static Status take_over(const RunLock *lock, Verdict *verdict, bool *done) {
    bool guarded;
    *done = false;
    TRY(link_to(lock, lock->guard, &guarded));
    if (guarded) {
        Status status = judge(lock, lock->path, verdict);
        if (status == STATUS_OK && verdict->stale) status = remove_judged(lock, verdict);
        if (status == STATUS_NOT_FOUND) status = STATUS_OK;
        if (status == STATUS_OK) status = link_to(lock, lock->path, done);
        unlink(lock->guard);
        return status;
    }
    // Somebody else replaces it, in a moment; unless he died while doing so.
    Verdict other;
    Status status = judge(lock, lock->guard, &other);
    if (status == STATUS_NOT_FOUND) return STATUS_OK;
    TRY(status);
    if (other.stale) unlink(lock->guard);
    nanosleep(&(struct timespec){0, 20000000}, NULL);
    return STATUS_OK;
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
        char message[PATH_BYTES + sizeof verdict];
        snprintf(message, sizeof message, "took over %s from %s: %s", lock->path, verdict.text,
                 verdict.reason);
        if (notice != NULL) notice(message);
        return STATUS_OK;
    }
    FAIL(BUSY, "%s: others are taking it over all the time", lock->path);
}

// Candidates of killed processes: nobody looks at them again.
static void remove_litter(const RunLock *lock, const char *run_dir) {
    char **names = NULL, path[PATH_BYTES];
    int count = 0;
    struct stat info;
    (void)!folder_names(run_dir, &names, &count);
    for (int i = 0; i < count; ++i)
        if (strncmp(names[i], CANDIDATE_PREFIX, strlen(CANDIDATE_PREFIX)) == 0 &&
            path_format(path, "%s/%s", run_dir, names[i]) == STATUS_OK && stat(path, &info) == 0 &&
            lock->created - file_time(&info) > STALE_SECONDS)
            unlink(path);
    folder_names_free(names, count);
    error_clear();
}

// ---- keeping ------------------------------------------------------------------------------------

// Renews the file, not the name: should another process have taken over, its lock stays untouched.
static void *renew(void *context) {
    const RunLock *lock = context;
    for (;;) {
        sleep(RENEW_SECONDS); // run_lock_release cancels it here
        // What a full or read-only disk refuses now, it takes at another time.
        if (futimens(lock->fd, NULL) != 0 && errno == ESTALE && is_ours(lock, lock->path))
            utimensat(AT_FDCWD, lock->path, NULL, 0);
    }
    return NULL;
}

static Status start_renewing(RunLock *lock) {
    int failed = thread_start(&lock->thread, "dye-lock", NULL, renew, lock);
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
    struct stat info;
    int failed = stat(lock->path, &info) != 0 ? errno : 0;
    FAIL_IF(failed != 0 && failed != ENOENT, IO, "%s cannot be reached: %s", lock->path,
            strerror(failed));
    // Our file has a name still, but not in what is mounted here now.
    FAIL_IF(failed == ENOENT && fstat(lock->fd, &info) == 0 && info.st_nlink > 0, IO,
            "%s is not there any more, nor is it removed: was its file system unmounted?",
            lock->path);
    Verdict verdict;
    Status status = judge(lock, lock->path, &verdict);
    FAIL_IF(status == STATUS_OK, BUSY, "%s was taken over by %s", lock->path, verdict.text);
    if (status != STATUS_NOT_FOUND) return error_trail(status, __FILE__, __LINE__, __func__);
    FAIL(BUSY, "%s was removed while this run held it", lock->path);
}

void run_lock_release(RunLock *lock) {
    if (lock == NULL) return;
    if (lock->renewing) {
        pthread_cancel(lock->thread);
        pthread_join(lock->thread, NULL);
    }
    if (lock->fd >= 0) {
        if (is_ours(lock, lock->path)) unlink(lock->path);
        close(lock->fd);
    }
    free(lock);
}

// ---- of this process --------------------------------------------------------------------------

static RunLock *process_lock;

Status process_lock_take(const char *run_dir) {
    return run_lock_take(run_dir, console_warn, &process_lock);
}

Status process_lock_check(void) {
    return run_lock_check(process_lock);
}

void process_lock_release(void) {
    run_lock_release(process_lock);
    process_lock = NULL;
}
