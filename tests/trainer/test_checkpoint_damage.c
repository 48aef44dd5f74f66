// Every damaged byte, missing file or extra file of a checkpoint is found and named, by verify and
// by load, which goes back to the checkpoint before.
#include <fcntl.h>
#include <sys/stat.h>

#include "base/mix.h"
#include "launch/checkpoint_view.h"
#include "tests/test.h"
#include "tests/trainer/support_state.h"

enum { ELEMENTS = 200, PART_SIZE = 96 }; // three parts, two of one size

static Comm *comm;
static char run[PATH_BYTES], warned[4096];
static State state;

static void warn(const char *message) {
    size_t n = strlen(warned);
    snprintf(warned + n, sizeof warned - n, "%s\n", message);
}

static const char *const files[] = {"manifest.json", "part-000.safetensors.zst",
                                    "part-001.safetensors.zst", "part-002.safetensors.zst"};
enum { FILES = 4 };

// Two checkpoints, steps 1 and 2.
static void make_run(void) {
    snprintf(run, sizeof run, "%s", test_folder("damage"));
    EXPECT_OK(state_save_step(comm, run, &state, 1, 2));
    EXPECT_OK(state_save_step(comm, run, &state, 2, 2));
}

static const char *path_of(int step, const char *name) {
    static char path[4][PATH_BYTES + 64];
    static int turn;
    char *out = path[turn++ % 4];
    snprintf(out, sizeof path[0], "%s/step-%09d%s%s", run, step, name[0] != 0 ? "/" : "", name);
    return out;
}

static Status load(int64_t *step) {
    Ownership ownership;
    CheckpointMeta meta;
    bool found;
    CheckpointRun lent = state_lend(&state, comm, run, &ownership);
    warned[0] = 0;
    Status status = checkpoint_load(&lent, warn, &meta, &found);
    *step = status == STATUS_OK && found ? meta.step : -1;
    json_decref(meta.facts);
    return status;
}

// Step 2 is damaged in `name`: load says so and takes step 1.
static void expect_fallback(const char *name) {
    int64_t step;
    EXPECT_OK(load(&step));
    EXPECT_EQ(step, 1);
    EXPECT(state_is(&state, 1));
    if (strstr(warned, "step-000000002") == NULL || strstr(warned, name) == NULL)
        TEST_FAIL("warning \"%s\" does not name %s", warned, name);
}

static void change_byte(const char *path, off_t at, uint8_t mask) {
    uint8_t byte = 0;
    int fd = open(path, O_RDWR);
    bool good = fd >= 0 && pread(fd, &byte, 1, at) == 1;
    byte ^= mask;
    EXPECT(good && pwrite(fd, &byte, 1, at) == 1);
    close(fd);
}

// All bytes, one bit in each; every bit of every 16th.
static void test_flips(void) {
    make_run();
    for (int i = 0; i < FILES; ++i) {
        char path[PATH_BYTES + 64];
        uint64_t bytes = 0;
        snprintf(path, sizeof path, "%s", path_of(2, files[i]));
        EXPECT_OK(file_size(path, &bytes));
        EXPECT(bytes > 500);
        for (uint64_t at = 0; at < bytes; ++at)
            for (int bit = 0; bit < (at % 16 == 0 ? 8 : 1); ++bit) {
                uint8_t mask = (uint8_t)(1u << (at % 16 == 0 ? (uint64_t)bit : mix64(at) % 8));
                change_byte(path, (off_t)at, mask);
                EXPECT_FAIL(checkpoint_verify(path_of(2, "")), BAD_DATA, files[i]);
                if (at % 7 == 0 && bit == 0) expect_fallback(files[i]);
                change_byte(path, (off_t)at, mask);
            }
        EXPECT_OK(checkpoint_verify(path_of(2, "")));
    }
    int64_t step;
    EXPECT_OK(load(&step));
    EXPECT_EQ(step, 2);
    EXPECT_TEXT(warned, "");
}

static void test_truncated(void) {
    for (int i = 0; i < FILES; ++i) {
        make_run();
        uint64_t bytes = 0;
        EXPECT_OK(file_size(path_of(2, files[i]), &bytes));
        for (off_t left = (off_t)bytes - 1; left >= 0; left -= 1 + left / 20) {
            EXPECT(truncate(path_of(2, files[i]), left) == 0);
            EXPECT_FAIL(checkpoint_verify(path_of(2, "")), BAD_DATA, files[i]);
            expect_fallback(files[i]);
        }
    }
}

static void test_grown(void) {
    for (int i = 0; i < FILES; ++i) {
        make_run();
        int fd = open(path_of(2, files[i]), O_WRONLY | O_APPEND);
        EXPECT(write(fd, "\n", 1) == 1);
        close(fd);
        EXPECT_FAIL(checkpoint_verify(path_of(2, "")), BAD_DATA, files[i]);
        expect_fallback(files[i]);
    }
}

static void test_missing(void) {
    for (int i = 0; i < FILES; ++i) {
        make_run();
        EXPECT(unlink(path_of(2, files[i])) == 0);
        EXPECT_FAIL(checkpoint_verify(path_of(2, "")), BAD_DATA, files[i]);
        expect_fallback(files[i]);
        EXPECT(mkdir(path_of(2, files[i]), 0777) == 0);
        EXPECT_FAIL(checkpoint_verify(path_of(2, "")), BAD_DATA, files[i]);
        expect_fallback(files[i]);
    }
}

static void test_extra(void) {
    make_run();
    EXPECT_OK(file_write_atomic(path_of(2, "part-003.safetensors.zst"), "", 0));
    EXPECT_FAIL(checkpoint_verify(path_of(2, "")), BAD_DATA,
                "part-003.safetensors.zst does not belong");
    EXPECT(unlink(path_of(2, "part-003.safetensors.zst")) == 0);
    EXPECT(mkdir(path_of(2, "notes"), 0777) == 0);
    EXPECT_FAIL(checkpoint_verify(path_of(2, "")), BAD_DATA, "notes does not belong");
}

// Files that are good in themselves but not where they lie.
static void test_swapped(void) {
    make_run();
    char other[PATH_BYTES + 64];
    snprintf(other, sizeof other, "%s", path_of(1, files[1]));
    EXPECT_OK(file_rename(other, path_of(2, files[1])));
    EXPECT_FAIL(checkpoint_verify(path_of(2, "")), BAD_DATA, files[1]);
    float numbers[ELEMENTS];
    EXPECT_FAIL(checkpoint_read_kind(path_of(2, ""), &state.params, STATE_WEIGHT, numbers),
                BAD_DATA, "fingerprint");
    make_run();
    EXPECT(unlink(path_of(2, files[1])) == 0);
    EXPECT(link(path_of(2, files[2]), path_of(2, files[1])) == 0);
    EXPECT_FAIL(checkpoint_verify(path_of(2, "")), BAD_DATA, files[1]);
    EXPECT_FAIL(checkpoint_read_kind(path_of(2, ""), &state.params, STATE_ADAM_M, numbers),
                BAD_DATA, "its header is not that of part 0");
    make_run();
    EXPECT_OK(file_rename(path_of(2, ""), path_of(9, "")));
    EXPECT_FAIL(checkpoint_verify(path_of(9, "")), BAD_DATA, "says step 2");
    int64_t step;
    EXPECT_OK(load(&step));
    EXPECT_EQ(step, 1);
}

// A part of the same step and weights, whole in every block, but with another run's moments.
static void test_other_moments(void) {
    char ours[PATH_BYTES], theirs[PATH_BYTES + 64];
    make_run();
    snprintf(ours, sizeof ours, "%s", run);
    snprintf(run, sizeof run, "%s", test_folder("damage"));
    Ownership ownership;
    state_fill(&state, 2);
    state.kind[STATE_ADAM_M][0] += 1;
    CheckpointMeta meta = state_meta(&state, 2);
    CheckpointRun lent = state_lend(&state, comm, run, &ownership);
    EXPECT_OK(checkpoint_save(&lent, &meta, 2));
    json_decref(meta.facts);
    snprintf(theirs, sizeof theirs, "%s", path_of(2, files[1]));
    snprintf(run, sizeof run, "%s", ours);
    EXPECT_OK(file_rename(theirs, path_of(2, files[1])));
    EXPECT_FAIL(checkpoint_verify(path_of(2, "")), BAD_DATA, files[1]);
    expect_fallback(files[1]);
}

static void test_none_good(void) {
    int64_t step;
    make_run();
    EXPECT(truncate(path_of(1, files[0]), 0) == 0);
    EXPECT(truncate(path_of(2, files[2]), 50) == 0);
    EXPECT_FAIL(load(&step), BAD_DATA, "none of 2 checkpoints is good");
    EXPECT(strstr(error_get()->text, path_of(1, files[0])) != NULL);
    EXPECT(strstr(error_get()->text, path_of(2, files[2])) != NULL);
    EXPECT(file_exists(path_of(1, "")) && file_exists(path_of(2, "")));
}

int main(void) {
    EXPECT_OK(comm_open("local", &comm));
    state_make(&state, ELEMENTS, PART_SIZE);
    RUN(test_flips);
    RUN(test_truncated);
    RUN(test_grown);
    RUN(test_missing);
    RUN(test_extra);
    RUN(test_swapped);
    RUN(test_other_moments);
    RUN(test_none_good);
    state_free(&state);
    comm_close(comm);
    return test_report();
}
