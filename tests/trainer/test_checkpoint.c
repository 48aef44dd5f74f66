// Checkpoints of one process: round trips, names, what is kept, what is refused, and an outside
// reader.
#include <fcntl.h>
#include <sys/stat.h>

#include "launch/checkpoint_view.h"
#include "tests/test.h"
#include "tests/trainer/support_state.h"
#include "trainer/checkpoint_impl.h"

static Comm *comm;
static char warned[4096];

static void warn(const char *message) {
    size_t n = strlen(warned);
    snprintf(warned + n, sizeof warned - n, "%s\n", message);
}

static const char *in(const char *folder, const char *name) {
    static char path[8][PATH_BYTES];
    static int turn;
    char *out = path[turn++ % 8];
    snprintf(out, PATH_BYTES, "%s/%s", folder, name);
    return out;
}

static char *fresh(const char *name) {
    static char path[8][PATH_BYTES];
    static int turn;
    char *out = path[turn++ % 8];
    snprintf(out, PATH_BYTES, "%s", test_folder(name));
    return out;
}

static Status load(const char *run, State *state, CheckpointMeta *meta, bool *found) {
    Ownership ownership;
    CheckpointRun lent = state_lend(state, comm, run, &ownership);
    warned[0] = 0;
    return checkpoint_load(&lent, warn, meta, found);
}

// Loads and returns the step, after checking that the state is that of the step.
static int64_t load_step(const char *run, State *state) {
    CheckpointMeta meta;
    bool found = false;
    EXPECT_OK(load(run, state, &meta, &found));
    if (!found) return -1;
    EXPECT(state_is(state, (uint64_t)meta.step));
    EXPECT_EQ(meta.samples, 64 * meta.step);
    CheckpointMeta wanted = state_meta(state, meta.step);
    EXPECT(json_equal(meta.facts, wanted.facts));
    EXPECT(meta.fingerprint == wanted.fingerprint);
    json_decref(wanted.facts);
    json_decref(meta.facts);
    return meta.step;
}

// "step-1 step-2 ..." of what lies in the folder, hidden things too.
static const char *listing(const char *run) {
    static char text[1024];
    char **names;
    int count;
    text[0] = 0;
    EXPECT_OK(folder_names(run, &names, &count));
    for (int i = 0; i < count; ++i) {
        if (i > 0) strcat(text, " ");
        strncat(text, names[i], 100);
    }
    folder_names_free(names, count);
    return text;
}

static void test_names(void) {
    char name[STEP_NAME_BYTES];
    int64_t step;
    step_name(500, name);
    EXPECT_TEXT(name, "step-000000500");
    EXPECT(step_of_name("step-000000500", &step) && step == 500);
    step_name(12345678901, name);
    EXPECT(step_of_name(name, &step) && step == 12345678901);
    static const char *const bad[] = {
        "step-",          "step-500",        "step-000000500.bak",
        "step--00000500", "step-0000005000", ".saving-step-000000500",
        "step-+00000500", "Step-000000500",  "step-99999999999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; ++i) EXPECT(!step_of_name(bad[i], &step));
    EXPECT_TEXT(state_kind_name(STATE_WEIGHT), "weight");
    EXPECT_TEXT(state_kind_name(STATE_EMA_1), "ema_1");
}

static void test_round_trip(void) {
    static const struct {
        int64_t elements, part_size;
    } sizes[] = {{8, 65536}, {250, 96}, {96, 96}, {97, 96}, {1200, 60}, {1100050, 1100000}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; ++i) {
        State state;
        const char *run = fresh("round");
        state_make(&state, sizes[i].elements, sizes[i].part_size);
        EXPECT_OK(state_save_step(comm, run, &state, 3, 1));
        EXPECT_TEXT(listing(run), "step-000000003");
        EXPECT_OK(checkpoint_verify(in(run, "step-000000003")));
        EXPECT_OK(checkpoint_verify(in(run, "step-000000003/")));
        state_fill(&state, 99);
        EXPECT_EQ(load_step(run, &state), 3);
        EXPECT_TEXT(warned, "");
        float *numbers = malloc((size_t)state.params.size * sizeof *numbers);
        for (StateKind kind = 0; kind < STATE_KINDS; ++kind) {
            EXPECT_OK(
                checkpoint_read_kind(in(run, "step-000000003"), &state.params, kind, numbers));
            EXPECT(memcmp(numbers, state.kind[kind], (size_t)state.params.size * 4) == 0);
        }
        free(numbers);
        state_free(&state);
        EXPECT_OK(folder_remove(run));
    }
}

static void test_meta(void) {
    State state;
    CheckpointMeta meta;
    const char *run = fresh("meta");
    state_make(&state, 250, 96);
    EXPECT_OK(state_save_step(comm, run, &state, 7, 1));
    EXPECT_OK(checkpoint_read_meta(in(run, "step-000000007"), &meta));
    CheckpointMeta wanted = state_meta(&state, 7);
    EXPECT(meta.step == 7 && meta.samples == 448 && meta.fingerprint == wanted.fingerprint);
    EXPECT(json_equal(meta.facts, wanted.facts));
    json_decref(meta.facts);
    json_decref(wanted.facts);
    EXPECT_FAIL(checkpoint_read_meta(in(run, "step-000000008"), &meta), NOT_FOUND,
                "no such checkpoint folder");
    EXPECT_FAIL(checkpoint_verify(in(run, "step-000000008")), NOT_FOUND, "step-000000008");
    state_free(&state);
}

// Saving the same state again gives the same bytes: nothing of when or where is in them.
static void test_same_bytes(void) {
    State state;
    const char *a = fresh("same"), *b = fresh("same");
    state_make(&state, 250, 96);
    EXPECT_OK(state_save_step(comm, a, &state, 7, 1));
    EXPECT_OK(state_save_step(comm, b, &state, 7, 1));
    EXPECT(folders_equal(in(a, "step-000000007"), in(b, "step-000000007")));
    EXPECT_OK(state_save_step(comm, b, &state, 8, 1));
    EXPECT(!folders_equal(in(a, "step-000000007"), in(b, "step-000000008")));
    state_free(&state);
}

static void test_keep(void) {
    State state;
    const char *run = fresh("keep");
    state_make(&state, 250, 96);
    EXPECT_OK(folder_make(in(run, "samples")));
    EXPECT_OK(folder_make(in(run, "step-000000001.bak")));
    for (int step = 1; step <= 4; ++step) EXPECT_OK(state_save_step(comm, run, &state, step, 3));
    EXPECT_TEXT(listing(run), "samples step-000000001.bak step-000000002 step-000000003"
                              " step-000000004");
    // A damaged one does not count as one to fall back to.
    EXPECT(unlink(in(run, "step-000000003/part-001.safetensors.zst")) == 0);
    EXPECT_OK(state_save_step(comm, run, &state, 5, 3));
    EXPECT_TEXT(listing(run), "samples step-000000001.bak step-000000002 step-000000003"
                              " step-000000004 step-000000005");
    EXPECT_OK(state_save_step(comm, run, &state, 6, 3));
    EXPECT_TEXT(listing(run), "samples step-000000001.bak step-000000004 step-000000005"
                              " step-000000006");
    // Trained past a newer, damaged one: it is left, and nothing good is removed for it.
    EXPECT(truncate(in(run, "step-000000006/manifest.json"), 10) == 0);
    EXPECT_EQ(load_step(run, &state), 5);
    EXPECT(strstr(warned, "step-000000006 is damaged and skipped") != NULL);
    EXPECT_OK(state_save_step(comm, run, &state, 5, 1));
    EXPECT_TEXT(listing(run), "samples step-000000001.bak step-000000005 step-000000006");
    EXPECT_OK(state_save_step(comm, run, &state, 6, 1));
    EXPECT_TEXT(listing(run), "samples step-000000001.bak step-000000006");
    EXPECT_EQ(load_step(run, &state), 6);
    state_free(&state);
}

static void test_list(void) {
    State state;
    char **names;
    int count;
    const char *run = fresh("list");
    state_make(&state, 8, 96);
    EXPECT_OK(state_save_step(comm, run, &state, 1234567890, 5));
    EXPECT_OK(state_save_step(comm, run, &state, 999999999, 5));
    EXPECT_OK(checkpoint_list(run, &names, &count));
    EXPECT_EQ(count, 2);
    EXPECT_TEXT(names[0], "step-999999999");
    EXPECT_TEXT(names[1], "step-1234567890");
    folder_names_free(names, count);
    EXPECT_EQ(load_step(run, &state), 1234567890);
    EXPECT_FAIL(checkpoint_list(in(run, "nowhere"), &names, &count), NOT_FOUND, "nowhere");
    state_free(&state);
}

static void test_nothing(void) {
    State state;
    CheckpointMeta meta;
    bool found = true;
    const char *run = fresh("nothing");
    state_make(&state, 8, 96);
    EXPECT_OK(folder_make(in(run, ".saving-step-000000009")));
    EXPECT_OK(load(run, &state, &meta, &found));
    EXPECT(!found && meta.facts == NULL && state.calls == 0);
    EXPECT_TEXT(listing(run), "");
    // A step folder of whatever content is something that must not be started over silently.
    EXPECT_OK(folder_make(in(run, "step-000000009")));
    EXPECT_FAIL(load(run, &state, &meta, &found), BAD_DATA, "none of 1 checkpoints is good");
    EXPECT_FAIL(load(run, &state, &meta, &found), BAD_DATA, "step-000000009");
    EXPECT_OK(folder_remove(run));
    EXPECT_FAIL(load(run, &state, &meta, &found), NOT_FOUND, run);
    state_free(&state);
}

// A whole checkpoint of another model is a wrong configuration: older ones are not tried.
static void test_other_model(void) {
    State state, other;
    CheckpointMeta meta;
    bool found;
    const char *run = fresh("model");
    state_make(&state, 250, 96);
    state_make(&other, 250, 96);
    EXPECT_OK(state_save_step(comm, run, &state, 1, 3));
    EXPECT_OK(state_save_step(comm, run, &state, 2, 3));
    other.params.list[1].name[0] = 'o';
    EXPECT_FAIL(load(run, &other, &meta, &found), BAD_CONFIG,
                "tensor 1 as 'in.bias' [1], the configured model has 'on.bias' [1]");
    EXPECT_EQ(other.calls, 0);
    EXPECT_TEXT(warned, "");
    other.params.list[1].name[0] = 'i';
    other.params.list[0].dims = 1;
    other.params.list[0].dim[0] = 124;
    EXPECT_FAIL(load(run, &other, &meta, &found), BAD_CONFIG, "'in.weight' [62, 2]");
    float number;
    EXPECT_FAIL(checkpoint_read_kind(in(run, "step-000000001"), &other.params, 0, &number),
                BAD_CONFIG, "[124]");
    state_free(&other);
    state_make(&other, 250, 96);
    other.params.count = 2;
    EXPECT_FAIL(load(run, &other, &meta, &found), BAD_CONFIG, "first one more is 'out.\"quoted\"'");
    state_free(&other);
    state_make(&other, 250, 128);
    EXPECT_FAIL(load(run, &other, &meta, &found), BAD_CONFIG, "parts of 96 elements");
    state_free(&other);
    state_free(&state);
}

static Status save_meta(const char *run, State *state, const CheckpointMeta *meta) {
    Ownership ownership;
    CheckpointRun lent = state_lend(state, comm, run, &ownership);
    return checkpoint_save(&lent, meta, 2);
}

static void test_failed_save(void) {
    State state;
    const char *run = fresh("failed");
    state_make(&state, 250, 96);
    EXPECT_OK(folder_make(in(run, ".saving-step-000000099/x")));
    EXPECT_OK(state_save_step(comm, run, &state, 1, 2));
    EXPECT_TEXT(listing(run), "step-000000001");
    state.fail_part = 2;
    EXPECT_FAIL(state_save_step(comm, run, &state, 2, 2), IO, "part 2 cannot be fetched");
    EXPECT_TEXT(listing(run), "step-000000001");
    state.fail_part = -1;
    state_fill(&state, 3);
    CheckpointMeta meta = state_meta(&state, 3);
    meta.fingerprint ^= 1;
    EXPECT_FAIL(save_meta(run, &state, &meta), FAILED, "suspect the memory");
    json_decref(meta.facts);
    EXPECT_TEXT(listing(run), "step-000000001");
    EXPECT_FAIL(state_save_step(comm, in(run, "nowhere"), &state, 2, 2), NOT_FOUND, "nowhere");
    EXPECT_EQ(load_step(run, &state), 1);
    state_free(&state);
}

// The manifest says so when the format is newer, but only if it is whole.
static void test_version(void) {
    State state;
    CheckpointMeta meta;
    bool found;
    char *text;
    size_t bytes;
    const char *run = fresh("version"), *path = in(run, "step-000000001/manifest.json");
    state_make(&state, 250, 96);
    EXPECT_OK(state_save_step(comm, run, &state, 1, 2));
    EXPECT_OK(file_read(path, 1 << 20, &text, &bytes));
    char *version = strstr(text, "\"version\": 1");
    EXPECT(version != NULL);
    version[strlen("\"version\": ")] = '2';
    EXPECT_OK(file_write_atomic(path, text, bytes));
    EXPECT_FAIL(load(run, &state, &meta, &found), BAD_DATA, "is damaged");
    size_t body = bytes - strlen("  \"hash\": \"0123456789abcdef\"\n}\n");
    snprintf(text + body, bytes - body + 1, "  \"hash\": \"%016" PRIx64 "\"\n}\n",
             codec_hash(text, body));
    EXPECT_OK(file_write_atomic(path, text, bytes));
    EXPECT_FAIL(load(run, &state, &meta, &found), BAD_CONFIG, "version 2 of the format");
    free(text);
    state_free(&state);
}

// tests/tools/read_checkpoint.py reads with NumPy and the zstd program what was written here.
static void test_outside_reader(void) {
    const char *source = getenv("DYE_SOURCE"); // set by ctest
    char command[3 * PATH_BYTES];
    if (source == NULL) SKIP("DYE_SOURCE does not say where the sources are");
    if (system("/usr/bin/python3 -c 'import numpy' 2>/dev/null && zstd --version >/dev/null") != 0)
        SKIP("no /usr/bin/python3 with numpy, or no zstd program");
    State state;
    const char *run = fresh("outside");
    state_make(&state, 250, 96);
    EXPECT_OK(state_save_step(comm, run, &state, 5, 1));
    snprintf(command, sizeof command,
             "/usr/bin/python3 '%s/tests/tools/read_checkpoint.py' '%s/step-000000005' '%s'",
             source, run, run);
    EXPECT_EQ(system(command), 0);
    for (StateKind kind = 0; kind < STATE_KINDS; ++kind) {
        char name[64], *raw = NULL;
        size_t bytes = 0;
        snprintf(name, sizeof name, "%s.f32", state_kind_name(kind));
        EXPECT_OK(file_read(in(run, name), 1 << 20, &raw, &bytes));
        EXPECT(bytes == 1000 && memcmp(raw, state.kind[kind], bytes) == 0);
        free(raw);
    }
    state_free(&state);
}

int main(void) {
    EXPECT_OK(comm_open("local", &comm));
    RUN(test_names);
    RUN(test_round_trip);
    RUN(test_meta);
    RUN(test_same_bytes);
    RUN(test_keep);
    RUN(test_list);
    RUN(test_nothing);
    RUN(test_other_model);
    RUN(test_failed_save);
    RUN(test_version);
    RUN(test_outside_reader);
    comm_close(comm);
    return test_report();
}
