// What a run folder holds after a kill, a full disk, a write that fails, a folder that is
// read-only: always a complete checkpoint.
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "base/clock.h"
#include "base/mix.h"
#include "launch/checkpoint_view.h"
#include "tests/test.h"
#include "tests/trainer/support_state.h"

static Comm *comm;
static State state;

static Status load(const char *run, int64_t *step) {
    Ownership ownership;
    CheckpointMeta meta;
    bool found;
    CheckpointRun lent = state_lend(&state, comm, run, &ownership);
    Status status = checkpoint_load(&lent, NULL, &meta, &found);
    *step = status == STATUS_OK && found ? meta.step : -1;
    json_decref(meta.facts);
    return status;
}

static void expect_step(const char *run, int64_t wanted) {
    int64_t step;
    EXPECT_OK(load(run, &step));
    EXPECT_EQ(step, wanted);
    if (step >= 0) EXPECT(state_is(&state, (uint64_t)step));
}

// Runs `body` in a process of its own; its failures count here. False if it says that it cannot.
static bool in_child(void (*body)(void)) {
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        test_failures = 0;
        body();
        _exit(test_failures > 0 ? 1 : 0);
    }
    int ended = 0;
    EXPECT(child > 0 && waitpid(child, &ended, 0) == child && WIFEXITED(ended));
    bool able = WEXITSTATUS(ended) != 77;
    if (able) EXPECT_EQ(WEXITSTATUS(ended), 0);
    return able;
}

// ---- killed -------------------------------------------------------------------------------------

// Every checkpoint in the folder is whole, and nothing else is left.
static void expect_clean(const char *run, int most) {
    char **names, path[PATH_BYTES];
    int count;
    EXPECT_OK(folder_names(run, &names, &count));
    EXPECT(count >= 1 && count <= most);
    for (int i = 0; i < count; ++i) {
        EXPECT_OK(path_format(path, "%s/%s", run, names[i]));
        EXPECT(strncmp(names[i], "step-", 5) == 0);
        EXPECT_OK(checkpoint_verify(path));
    }
    folder_names_free(names, count);
}

static void test_kill(void) {
    const char *run = test_folder("kill");
    int64_t last = 1;
    int saved = 0;
    double started = clock_now(); // the moments fit the disk: three saves, or less
    EXPECT_OK(state_save_step(comm, run, &state, 1, 2));
    uint64_t most = (uint64_t)(3e6 * (clock_now() - started)) + 1;
    for (uint64_t i = 0; i < 50; ++i) {
        pid_t child = fork();
        if (child == 0)
            for (int64_t step = last;; ++step) // first the step that is there: it is replaced
                if (state_save_step(comm, run, &state, step, 2) != STATUS_OK) _exit(1);
        usleep((useconds_t)(mix64(i) % most));
        int ended = 0;
        EXPECT(child > 0 && kill(child, SIGKILL) == 0 && waitpid(child, &ended, 0) == child);
        EXPECT(WIFSIGNALED(ended));
        int64_t step;
        EXPECT_OK(load(run, &step));
        EXPECT(step >= last && state_is(&state, (uint64_t)step));
        // One more than `keep`: killed between the new one's rename and the old one's removal.
        expect_clean(run, 3);
        saved += step > last;
        last = step;
    }
    EXPECT(saved > 0);
    EXPECT_OK(state_save_step(comm, run, &state, last + 1, 2));
    expect_clean(run, 2);
}

// ---- no room ------------------------------------------------------------------------------------

static char filler[PATH_BYTES];
static StateAccess inner;

// Lends numbers as ever, but fills the disk once three kinds are on it.
static Status get_and_fill(void *context, StateKind kind, int part, const float **numbers) {
    if (kind == STATE_EMA_0) {
        static char block[65536];
        memset(block, 1, sizeof block);
        int fd = open(filler, O_WRONLY | O_CREAT, 0666);
        while (write(fd, block, sizeof block) > 0) continue;
        close(fd);
    }
    return inner.get(context, kind, part, numbers);
}

static Status save_while_filling(const char *run, int64_t step) {
    Ownership ownership;
    CheckpointRun lent = state_lend(&state, comm, run, &ownership);
    state_fill(&state, (uint64_t)step);
    CheckpointMeta meta = state_meta(&state, step);
    inner = lent.access;
    lent.access.get = get_and_fill;
    Status status = checkpoint_save(&lent, &meta, 3);
    json_decref(meta.facts);
    return status;
}

// A small disk of our own, seen by this process only.
static bool mount_small(const char *path) {
    return unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("tmpfs", path, "tmpfs", 0, "size=6m") == 0;
}

static void full_disk(void) {
    const char *run = test_folder("full");
    if (!mount_small(run)) _exit(77);
    state_free(&state);
    state_make(&state, 100000, 60000); // 2 MB raw
    EXPECT_OK(state_save_step(comm, run, &state, 1, 3));
    EXPECT_OK(path_format(filler, "%s/filler", run));
    EXPECT_FAIL(save_while_filling(run, 2), IO, "No space left on device");
    EXPECT(strstr(error_get()->text, "part-000.safetensors.zst") != NULL);
    EXPECT(strstr(error_get()->text, " MB more may be needed)") != NULL);
    EXPECT_FAIL(state_save_step(comm, run, &state, 3, 3), IO,
                "no room for a checkpoint: it may need 2.0 MB");
    EXPECT(strstr(error_get()->text, " MB are missing") != NULL);
    char path[PATH_BYTES];
    EXPECT_OK(path_format(path, "%s/.saving-step-000000002", run));
    EXPECT(!file_exists(path));
    expect_step(run, 1);
    EXPECT(unlink(filler) == 0);
    EXPECT_OK(state_save_step(comm, run, &state, 4, 3));
    expect_step(run, 4);
}

static void test_full_disk(void) {
    if (!in_child(full_disk)) SKIP("cannot mount a small disk here");
}

// The same without a disk of our own: the system refuses files of more than 1000 bytes.
static void short_files(void) {
    const char *run = test_folder("short");
    EXPECT_OK(state_save_step(comm, run, &state, 1, 3));
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit before, limit;
    EXPECT(getrlimit(RLIMIT_FSIZE, &before) == 0);
    limit = before;
    limit.rlim_cur = 1000;
    EXPECT(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    EXPECT_FAIL(state_save_step(comm, run, &state, 2, 3), IO, "part-000.safetensors.zst");
    EXPECT(setrlimit(RLIMIT_FSIZE, &before) == 0);
    expect_clean(run, 1);
    expect_step(run, 1);
    EXPECT_OK(state_save_step(comm, run, &state, 2, 3));
    expect_step(run, 2);
}

static void test_short_files(void) {
    in_child(short_files);
}

static void read_only(void) {
    const char *run = test_folder("read-only");
    EXPECT_OK(state_save_step(comm, run, &state, 1, 3));
    EXPECT(chmod(run, 0555) == 0);
    if (geteuid() == 0 && setuid(65534) != 0) _exit(77);
    EXPECT_FAIL(state_save_step(comm, run, &state, 2, 3), IO, "Permission denied");
    expect_step(run, 1);
}

static void test_read_only(void) {
    if (!in_child(read_only)) SKIP("cannot become an ordinary user here");
}

int main(void) {
    EXPECT_OK(comm_open("local", &comm));
    state_make(&state, 250, 96);
    RUN(test_kill);
    RUN(test_full_disk);
    RUN(test_short_files);
    RUN(test_read_only);
    state_free(&state);
    comm_close(comm);
    return test_report();
}
