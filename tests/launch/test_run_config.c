// The table of keys: shipped configurations load, what is stored reads back, rules speak.
#include "launch/run_config.h"

#include "base/file.h"
#include "tests/test.h"

static char work[PATH_BYTES];

static const char *source_path(const char *name) {
    static char path[2 * PATH_BYTES];
    const char *source = getenv("DYE_SOURCE");
    snprintf(path, sizeof path, "%s/%s", source != NULL ? source : ".", name);
    return path;
}

static RunSettings read_words(const char *const *words, int count) {
    RunSettings settings;
    char path[PATH_BYTES];
    EXPECT_OK(path_format(path, "%s/one.yaml", work));
    EXPECT_OK(file_write_atomic(path, "data: {path: somewhere}\n", 24));
    EXPECT_OK(run_config_read(path, (char *const *)(uintptr_t)words, count, &settings));
    return settings;
}

static Status read_text(const char *text, RunSettings *out) {
    char path[PATH_BYTES];
    TRY(path_format(path, "%s/text.yaml", work));
    TRY(file_write_atomic(path, text, strlen(text)));
    return run_config_read(path, NULL, 0, out);
}

static void test_shipped_configurations_load(void) {
    char **names;
    int count, loaded = 0;
    RunSettings settings;
    if (!file_exists(source_path("configs"))) SKIP("the source folder is not known (DYE_SOURCE)");
    EXPECT_OK(folder_names(source_path("configs"), &names, &count));
    for (int i = 0; i < count; ++i) {
        char name[PATH_BYTES];
        if (strstr(names[i], ".yaml") == NULL) continue;
        EXPECT_OK(path_format(name, "configs/%s", names[i]));
        EXPECT_OK(run_config_read(source_path(name), NULL, 0, &settings));
        EXPECT(strncmp(settings.run.dir, "runs/", 5) == 0);
        EXPECT(strncmp(settings.run.dir + 5, names[i], strlen(settings.run.dir + 5)) == 0);
        ++loaded;
    }
    folder_names_free(names, count);
    EXPECT(loaded >= 16);
}

static void test_what_is_stored_reads_back(void) {
    const char *words[] = {"train.batch=96", "train.grains=12", "optim.lr=0.000123",
                           "checkpoint.every=7m", "train.seed=18446744073709551615"};
    RunSettings settings = read_words(words, 5), again;
    char *text;
    EXPECT_OK(run_config_format(&settings, &text));
    EXPECT_OK(read_text(text, &again));
    EXPECT(memcmp(&settings, &again, sizeof settings) == 0);
    EXPECT(settings.train.seed == UINT64_MAX);
    EXPECT_NEAR(settings.checkpoint.every.seconds, 420, 0);
    free(text);
}

static void test_a_later_word_wins(void) {
    const char *words[] = {"optim.lr=1", "optim.lr=2"};
    EXPECT_NEAR(read_words(words, 2).optim.lr, 2, 0);
}

static void test_rules_speak(void) {
    RunSettings settings;
    EXPECT_FAIL(read_text("train: {batch: 10, grains: 4}\ndata: {path: x}\n", &settings),
                BAD_CONFIG, "train.batch = 10 is not a multiple of train.grains = 4");
    EXPECT_FAIL(read_text("train: {batch: 16}\n", &settings), BAD_CONFIG, "data.path is not given");
    EXPECT_FAIL(
        read_text("data: {path: x}\nsampler: {steps: 60}\nprocess: {steps: 50}\n", &settings),
        BAD_CONFIG, "sampler.steps = 60 is more than process.steps = 50");
    EXPECT_OK(
        read_text("data: {path: x}\nsampler: {steps: 60}\nprocess: {name: score-sde, steps: 50}\n",
                  &settings));
    EXPECT_FAIL(read_text("data: {path: x}\ntrain:\n  stepps: 3\n", &settings), BAD_CONFIG,
                "text.yaml:3: unknown key 'train.stepps' (nearest: 'train.steps')");
}

// Which keys name what a run is: two runs that differ in one of them must not be mixed.
// A number that the chosen system does not read is no silent wish.
static void test_keys_of_other_systems_speak(void) {
    RunSettings settings;
    EXPECT_FAIL(
        read_text("data: {path: x}\nprocess: {name: multinomial, aux: 0.1}\n", &settings),
        BAD_CONFIG,
        "process.aux is 0.1, but it is for vq, d3pm, mdlm alone, and process.name is multinomial:"
        " leave it at -1");
    EXPECT_FAIL(read_text("data: {path: x}\nprocess: {name: sedd, schedule: uniform}\n"
                          "sampler: {truncation: 0.9}\n",
                          &settings),
                BAD_CONFIG, "gives ratios");
    EXPECT_FAIL(read_text("data: {path: x}\nprocess: {name: score-sde, unroll: 3}\n", &settings),
                BAD_CONFIG, "process.unroll is 3, but it is for sundae alone");
    EXPECT_FAIL(
        read_text("data: {path: x}\nprocess: {name: ddpm}\nsampler: {lambda: 1}\n", &settings),
        BAD_CONFIG, "for score-sde, variational-sde, flow alone, and process.name is ddpm");
    EXPECT_OK(read_text("data: {path: x}\nprocess: {name: variational-sde}\nsampler: {lambda: 1}\n",
                        &settings));
    EXPECT_OK(
        read_text("data: {path: x}\nprocess: {name: score-sde}\nsampler: {snr: 1}\n", &settings));
    EXPECT_OK(read_text("data: {path: x}\nprocess: {name: ddpm, aux: -1}\n", &settings));
}

static void test_hash_knows_fixed_keys_only(void) {
    const char *none[] = {"train.steps=10"};
    RunSettings settings = read_words(none, 1);
    uint64_t hash = run_config_fixed_hash(&settings);
    static const char *const free_words[] = {"train.steps=999",    "run.dir=x",
                                             "checkpoint.every=1", "device.threads=2",
                                             "optim.bucket=1M",    "log.every=3"};
    static const char *const fixed_words[] = {
        "train.batch=512", "train.seed=1",     "optim.lr=0.5",     "model.width=64",
        "data.length=8",   "process.steps=77", "train.grains=128", "model.dropout=0.5"};
    for (size_t i = 0; i < sizeof free_words / sizeof *free_words; ++i) {
        settings = read_words(&free_words[i], 1);
        EXPECT(run_config_fixed_hash(&settings) == hash);
    }
    for (size_t i = 0; i < sizeof fixed_words / sizeof *fixed_words; ++i) {
        settings = read_words(&fixed_words[i], 1);
        EXPECT(run_config_fixed_hash(&settings) != hash);
    }
}

static void test_resume_lists_what_may_not_change(void) {
    char dir[PATH_BYTES + 16], path[PATH_BYTES];
    snprintf(dir, sizeof dir, "run.dir=%s/run", work);
    const char *before_words[] = {dir, "optim.lr=0.25"};
    const char *after_words[] = {dir, "optim.lr=0.5", "train.seed=3", "train.steps=77"};
    RunSettings before = read_words(before_words, 2), after = read_words(after_words, 4);
    EXPECT_OK(run_config_check_resume(&after)); // no run yet
    EXPECT_OK(path_format(path, "%s/run/step-000000010", work));
    EXPECT_OK(folder_make(path));
    EXPECT_OK(path_format(path, "%s/run/config.yaml", work));
    char *text;
    EXPECT_OK(run_config_format(&before, &text));
    EXPECT_OK(file_write_atomic(path, text, strlen(text)));
    free(text);
    EXPECT_OK(run_config_check_resume(&before));
    EXPECT_FAIL(run_config_check_resume(&after), BAD_CONFIG, "optim.lr: was 0.25, now 0.5");
    EXPECT_FAIL(run_config_check_resume(&after), BAD_CONFIG, "train.seed: was 0, now 3");
    EXPECT(strstr(error_get()->text, "train.steps") == NULL);
}

// Orders were full before there was a choice; what is left to the data is what the run has.
static void test_order_of_a_run_that_goes_on(void) {
    char dir[PATH_BYTES + 16], path[PATH_BYTES];
    snprintf(dir, sizeof dir, "run.dir=%s/old", work);
    const char *words[] = {dir}, *window_words[] = {dir, "data.order=window"};
    RunSettings now = read_words(words, 1), window = read_words(window_words, 2);
    EXPECT_TEXT(now.data.order, "auto");
    EXPECT_OK(run_config_keep_order(&now));
    EXPECT_TEXT(now.data.order, "auto"); // there is no run yet
    EXPECT_OK(path_format(path, "%s/old/step-000000010", work));
    EXPECT_OK(folder_make(path));
    EXPECT_OK(path_format(path, "%s/old/config.yaml", work));
    static const char text[] = "data:\n  order: full\n";
    EXPECT_OK(file_write_atomic(path, text, sizeof text - 1));
    EXPECT_OK(run_config_keep_order(&now));
    EXPECT_TEXT(now.data.order, "full");
    EXPECT_OK(run_config_check_resume(&now));
    EXPECT_OK(run_config_keep_order(&window));
    EXPECT_FAIL(run_config_check_resume(&window), BAD_CONFIG, "data.order: was full, now window");
}

int main(void) {
    snprintf(work, sizeof work, "%s", test_folder("run-config"));
    RUN(test_shipped_configurations_load);
    RUN(test_what_is_stored_reads_back);
    RUN(test_a_later_word_wins);
    RUN(test_rules_speak);
    RUN(test_keys_of_other_systems_speak);
    RUN(test_hash_knows_fixed_keys_only);
    RUN(test_resume_lists_what_may_not_change);
    RUN(test_order_of_a_run_that_goes_on);
    return test_report();
}
