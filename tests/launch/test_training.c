// Whole runs in one process: the same bits on any number of streams and on a backend that executes
// late over memory that the host may not touch; exact resume; no allocation inside the loop.
#include <signal.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/file.h"
#include "data/pack/pack.h"
#include "launch/checkpoint_view.h"
#include "launch/lock.h"
#include "launch/metrics.h"
#include "launch/view.h"
#include "launch/run_config.h"
#include "tests/model/support_late.h"
#include "tests/test.h"
#include "trainer/trainer_impl.h"

static char work[PATH_BYTES];

// ---- the outside world of a run ---------------------------------------------------------------

static int signals_after = -1, signals_asked; // stop proposed at the so-many-th step
static char lock_to_lose[PATH_BYTES];         // removed at the fifth step
static char last_warning[2048];

static Trainer *trainer;
static int64_t steps_beside; // most steps that a checkpoint was behind when it was complete

static void hear(const char *line) {
    (void)line;
}
static void hear_progress(const StepReport *report) {
    MetricsRecord record = metrics_sum_up(report);
    if (report->logged) process_metrics_record(&record, report->params);
}
static void hear_good(const char *path) {
    int64_t saved = 0, step = trainer == NULL ? 0 : trainer_step(trainer);
    EXPECT(sscanf(strrchr(path, '/'), "/step-%" SCNd64, &saved) == 1);
    if (step - saved > steps_beside) steps_beside = step - saved;
}
// The disk takes no file beyond `bytes`; RLIM_INFINITY: any.
static void limit_files(rlim_t bytes) {
    struct rlimit limit;
    EXPECT(getrlimit(RLIMIT_FSIZE, &limit) == 0);
    limit.rlim_cur = bytes < limit.rlim_max ? bytes : limit.rlim_max;
    EXPECT(setrlimit(RLIMIT_FSIZE, &limit) == 0);
}
static int disk_full_at = -1; // from this step on, until the save of step 8 has failed

static void keep_warning(const char *line) {
    snprintf(last_warning, sizeof last_warning, "%s", line);
    if (strstr(line, "step-000000008") != NULL) limit_files(RLIM_INFINITY);
}

static int raise_signal(double *seconds_left) {
    *seconds_left = 0;
    if (signals_asked + 1 == disk_full_at) limit_files(4096);
    if (signals_asked == 4 && lock_to_lose[0] != 0) EXPECT(unlink(lock_to_lose) == 0);
    return ++signals_asked == signals_after ? ACTION_STOP : 0;
}

static void hear_start(const RunStart *start) {
    (void)start;
}

// A sample whose loss or gradient is made a number that is not finite, whenever it is trained on.
static struct {
    bool is_on;
    DrillPoint point;
    int64_t sample; // -1: the first of step 3
} bad;

static void disturb(const DrillPlace *place) {
    static const float infinite = INFINITY;
    if (bad.sample < 0 && place->step == 3) bad.sample = (int64_t)place->sample;
    if (place->point == bad.point && (int64_t)place->sample == bad.sample)
        stream_upload(place->stream, place->number, &infinite, sizeof infinite);
}

typedef struct {
    Status status;
    int64_t step;
    uint64_t fingerprint;
    double items;
    float loss[24]; // of the last step's first samples
} Outcome;

static Outcome run_settings(const RunSettings *settings, bool fresh) {
    Comm *comm;
    trainer = NULL;
    steps_beside = 0;
    EXPECT_OK(comm_open("local", &comm));
    RunContext context = {
        .comm = comm,
        .device = {.backend = settings->device.backend, .streams = settings->device.threads},
        .fixed_hash = run_config_fixed_hash(settings),
        .fresh = fresh,
        .started = hear_start,
        .say = hear,
        .warn = keep_warning,
        .progress = hear_progress,
        .signals = raise_signal,
        .folder_take = process_lock_take,
        .folder_check = process_lock_check,
        .good_checkpoint = hear_good,
        .records_open = process_metrics_open,
        .evaluate = view_evaluate,
        .preview = view_draw,
        .drill = bad.is_on ? disturb : NULL,
    };
    signals_asked = 0;
    Outcome outcome = {.status = trainer_open(settings, &context, &trainer)};
    if (outcome.status == STATUS_OK) {
        outcome.status = trainer_run(trainer);
        outcome.step = trainer_step(trainer);
        outcome.fingerprint = trainer->fingerprint;
        outcome.items = (double)process_loss_items(trainer->engine.process);
        for (int i = 0; i < 24 && i < settings->train.batch; ++i)
            outcome.loss[i] = trainer->host_loss[i];
    }
    if (outcome.status != STATUS_OK && outcome.status != STATUS_UNFINISHED)
        fprintf(stderr, "  %s\n", error_get()->text);
    trainer_close(trainer);
    process_metrics_close();
    process_lock_release();
    comm_close(comm);
    return outcome;
}

static RunSettings read_settings(const char *name, const char *const *words, int count) {
    char path[PATH_BYTES], dir[PATH_BYTES + 16];
    RunSettings settings;
    EXPECT_OK(path_format(path, "%s/%s.yaml", work, name));
    char text[2048];
    bool tokens = strcmp(name, "text") == 0;
    int bytes = snprintf(text, sizeof text,
                         "data: {path: %s/%s, length: %d}\n"
                         "model: {family: %s, width: 32, depth: 2, heads: 2, patch: %d}\n"
                         "process: {name: %s, steps: 50}\n"
                         "train: {steps: 12, batch: 24, grains: 6}\n"
                         "optim: {warmup: 48, lr: 1e-3}\n"
                         "checkpoint: {every: 0}\n"
                         "log: {every: 1, fingerprint_every: 1}\n"
                         "sampler: {solver: %s, steps: 5}\n"
                         "device: {threads: 1}\n",
                         work, name, tokens ? 16 : 0, tokens ? "dit" : "mlp", tokens ? 1 : 4,
                         tokens ? "multinomial" : "ddpm", tokens ? "ancestral" : "ddim");
    EXPECT_OK(file_write_atomic(path, text, (size_t)bytes));
    snprintf(dir, sizeof dir, "run.dir=%s/run-%s", work, name);
    char *overrides[16] = {dir};
    for (int i = 0; i < count; ++i) overrides[i + 1] = (char *)(uintptr_t)words[i];
    EXPECT_OK(run_config_read(path, overrides, count + 1, &settings));
    return settings;
}

static void make_data(void) {
    snprintf(work, sizeof work, "%s", test_folder("training"));
    char out[PATH_BYTES], source[PATH_BYTES];
    EXPECT_OK(path_format(out, "%s/points", work));
    PackConfig points = {.input = &(PackInput){"swiss-roll", NULL},
                         .inputs = 1,
                         .out = out,
                         .source.toy_items = 500};
    EXPECT_OK(pack(&points));
    EXPECT_OK(path_format(source, "%s/source.txt", work));
    char text[8192];
    for (size_t i = 0; i < sizeof text; ++i) text[i] = "the quick brown fox "[i % 20];
    EXPECT_OK(file_write_atomic(source, text, sizeof text));
    EXPECT_OK(path_format(out, "%s/text", work));
    PackConfig letters = {.input = &(PackInput){source, NULL},
                          .inputs = 1,
                          .out = out,
                          .source.form = FORM_LETTERS27};
    EXPECT_OK(pack(&letters));
}

// ---- the same bits ----------------------------------------------------------------------------

static void expect_same_bits(const char *name) {
    uint64_t expected = 0;
    static const char *const ways[][2] = {
        {"device.threads=1", "device.backend=cpu"},  {"device.threads=2", "device.backend=cpu"},
        {"device.threads=5", "device.backend=cpu"},  {"device.threads=1", "device.backend=late"},
        {"device.threads=2", "device.backend=late"}, {"device.threads=1", "device.backend=ahead"},
        {"device.threads=2", "device.backend=ahead"}};
    for (size_t i = 0; i < sizeof ways / sizeof *ways; ++i) {
        RunSettings settings = read_settings(name, ways[i], 2);
        if (i >= 5) settings.log.every = settings.log.fingerprint_every = 5;
        Outcome outcome = run_settings(&settings, true);
        EXPECT_EQ(outcome.status, STATUS_OK);
        EXPECT_EQ(outcome.step, 12);
        if (i == 0) expected = outcome.fingerprint;
        EXPECT_EQ(outcome.fingerprint, expected);
    }
    static const char *const other[] = {"train.seed=1"};
    RunSettings settings = read_settings(name, other, 1);
    EXPECT(run_settings(&settings, true).fingerprint != expected); // the print sees a difference
}

static void test_points_same_bits(void) {
    expect_same_bits("points");
}
static void test_text_same_bits(void) {
    expect_same_bits("text");
}

// ---- resume -----------------------------------------------------------------------------------

static void test_resume_is_exact(void) {
    static const char *const words[] = {"eval.every=4", "sample.every=6", "sample.count=3"};
    RunSettings settings = read_settings("points", words, 3);
    Outcome straight = run_settings(&settings, true);
    EXPECT_EQ(straight.status, STATUS_OK);
    signals_after = 5;
    Outcome first = run_settings(&settings, true);
    signals_after = -1;
    EXPECT_EQ(first.status, STATUS_UNFINISHED);
    EXPECT_EQ(first.step, 5);
    Outcome second = run_settings(&settings, false);
    EXPECT_EQ(second.status, STATUS_OK);
    EXPECT_EQ(second.fingerprint, straight.fingerprint);
    Outcome third = run_settings(&settings, false); // nothing left to do
    EXPECT_EQ(third.status, STATUS_OK);
    EXPECT_EQ(third.step, 12);
}

// What a save beside the training writes is the state of its step, although the weights go on.
static void test_saves_beside_the_training(void) {
    // Large enough to be written during several steps.
    static const char *const words[] = {"checkpoint.every=5", "model.width=256", "train.batch=6"};
    char beside[PATH_BYTES], straight[PATH_BYTES];
    RunSettings settings = read_settings("points", words, 3);
    EXPECT_OK(path_format(straight, "%s/step-000000005", settings.run.dir));
    EXPECT_OK(path_format(beside, "%s/beside", work));
    EXPECT_EQ(run_settings(&settings, true).status, STATUS_OK);
    EXPECT(steps_beside >= 1);
    EXPECT_OK(file_rename(straight, beside));
    settings.checkpoint.every.steps = 0;
    signals_after = 5;
    EXPECT_EQ(run_settings(&settings, true).status, STATUS_UNFINISHED);
    signals_after = -1;
    EXPECT_EQ(steps_beside, 0);
    char command[2 * PATH_BYTES + 16];
    snprintf(command, sizeof command, "diff -r '%s' '%s'", beside, straight);
    EXPECT_EQ(system(command), 0);
}

// A run whose lock was taken ends before it writes another checkpoint: that of step 2 was complete
// when that of step 4 began.
static void test_lost_lock_ends_the_run(void) {
    static const char *const words[] = {"checkpoint.every=2"};
    RunSettings settings = read_settings("points", words, 1);
    char **names;
    int count;
    EXPECT_OK(path_format(lock_to_lose, "%s/lock.json", settings.run.dir));
    Outcome outcome = run_settings(&settings, true);
    lock_to_lose[0] = 0;
    EXPECT_EQ(outcome.status, STATUS_BUSY);
    EXPECT(outcome.step == 5 || outcome.step == 6);
    EXPECT(strstr(error_get()->text, "was removed while this run held it") != NULL);
    EXPECT_OK(checkpoint_list(settings.run.dir, &names, &count));
    EXPECT_EQ(count, 1);
    if (count == 1) EXPECT_TEXT(names[0], "step-000000002");
    folder_names_free(names, count);
}

// ---- not finite -------------------------------------------------------------------------------

static json_t *read_last(const RunSettings *settings, const char *name) {
    char path[PATH_BYTES], *text = NULL;
    size_t bytes;
    json_t *object = NULL;
    EXPECT_OK(path_format(path, "%s/%s", settings->run.dir, name));
    EXPECT_OK(file_read(path, 1 << 20, &text, &bytes));
    char *last = text; // a whole file, or its last line
    if (strstr(name, ".jsonl") != NULL) {
        text[bytes - 1] = '\0';
        last = strrchr(text, '\n') == NULL ? text : strrchr(text, '\n') + 1;
    }
    EXPECT_OK(json_parse(last, strlen(last), name, &object));
    free(text);
    return object;
}

// At step 3, in which the sample is first trained on: the mean is over the others, which lose as
// much as they would without it.
static void expect_mean_of_the_others(const char *name) {
    static const char *const words[] = {"train.steps=3", "optim.skips_most=1"};
    RunSettings settings = read_settings(name, words, 2);
    bad.is_on = false;
    Outcome plain = run_settings(&settings, true);
    bad.is_on = true;
    Outcome outcome = run_settings(&settings, true);
    EXPECT(plain.status == STATUS_OK && outcome.status == STATUS_OK && outcome.step == 3);
    double sum = 0;
    for (int i = 0; i < 24; ++i) sum += (double)outcome.loss[i];
    EXPECT(outcome.loss[0] == 0 && plain.loss[0] > 0);
    EXPECT(memcmp(outcome.loss + 1, plain.loss + 1, 23 * sizeof *plain.loss) == 0);
    json_t *record = read_last(&settings, "metrics.jsonl");
    double loss = json_number_value(json_object_get(record, "loss"));
    EXPECT_NEAR(loss, sum / (23 * outcome.items), 1e-8 * loss);
    EXPECT_EQ(json_integer_value(json_object_get(record, "left_out")), 1);
    EXPECT_EQ(json_integer_value(json_object_get(record, "skipped")), 0);
    json_decref(record);
}

// Found by its loss or its gradient, on any number of streams: the same run without it. A resume
// knows it from the checkpoint.
static void expect_left_out(const char *name) {
    static const char *const ways[][2] = {{"device.threads=1", "device.backend=cpu"},
                                          {"device.threads=5", "device.backend=cpu"},
                                          {"device.threads=2", "device.backend=late"},
                                          {"device.threads=1", "device.backend=ahead"}};
    uint64_t expected = 0;
    for (size_t i = 0; i < 4; ++i) {
        const char *words[] = {ways[i][0], ways[i][1], "optim.skips_most=1"};
        RunSettings settings = read_settings(name, words, 3);
        if (i == 3) settings.log.every = settings.log.fingerprint_every = 100;
        bad.is_on = true;
        bad.point = i == 0 ? DRILL_LOSS : DRILL_GRADIENT;
        bad.sample = -1;
        last_warning[0] = 0;
        Outcome outcome = run_settings(&settings, true);
        if (i == 0) expected = outcome.fingerprint;
        EXPECT(outcome.status == STATUS_OK && outcome.step == 12);
        EXPECT_EQ(outcome.fingerprint, expected);
        EXPECT(strstr(last_warning, i == 0 ? "the loss of grain 0" : "the gradient of grain 0"));
        char tail[32];
        snprintf(tail, sizeof tail, "(at times): %" PRId64 " (", bad.sample);
        EXPECT(strstr(last_warning, tail) != NULL); // and no other
        json_t *manifest = read_last(&settings, "step-000000012/manifest.json"), *list = NULL;
        EXPECT_OK(json_get_array(json_object_get(manifest, "facts"), "left_out", "", &list));
        EXPECT_EQ(json_array_size(list), 1);
        EXPECT_EQ(json_integer_value(json_array_get(list, 0)), bad.sample);
        json_decref(manifest);
        if (i > 0) continue;
        signals_after = 8; // steps 1 to 3, and 1 to 5 again
        outcome = run_settings(&settings, true);
        signals_after = -1;
        EXPECT(outcome.status == STATUS_UNFINISHED && outcome.step == 5);
        bad.is_on = false;
        EXPECT_EQ(run_settings(&settings, false).fingerprint, expected);
    }
    expect_mean_of_the_others(name);
    bad.is_on = false;
}

static void test_bad_point_is_left_out(void) {
    expect_left_out("points");
}
static void test_bad_text_is_left_out(void) {
    expect_left_out("text");
}

// ---- a full disk ------------------------------------------------------------------------------

static void test_full_disk_ends_no_run(void) {
    static const char *const words[] = {"checkpoint.every=2", "checkpoint.keep=9", "log.every=0",
                                        "log.fingerprint_every=0"};
    RunSettings settings = read_settings("points", words, 4);
    Outcome straight = run_settings(&settings, true);
    EXPECT_EQ(straight.status, STATUS_OK);
    signal(SIGXFSZ, SIG_IGN);
    disk_full_at = 8;
    last_warning[0] = 0;
    Outcome outcome = run_settings(&settings, true);
    disk_full_at = -1;
    limit_files(RLIM_INFINITY);
    EXPECT_EQ(outcome.status, STATUS_OK);
    EXPECT_EQ(outcome.fingerprint, straight.fingerprint);
    EXPECT(strstr(last_warning, "step-000000008") != NULL);
    char path[PATH_BYTES];
    EXPECT_OK(path_format(path, "%s/step-000000004", settings.run.dir));
    EXPECT_OK(checkpoint_verify(path)); // complete before the disk was full: that of 6 began then
    EXPECT_OK(path_format(path, "%s/step-000000008", settings.run.dir));
    EXPECT(!file_exists(path));
    EXPECT_OK(path_format(path, "%s/step-000000012", settings.run.dir));
    EXPECT_OK(checkpoint_verify(path));
}

static void test_exploding_run_stops_with_a_reason(void) {
    static const char *const words[] = {"optim.lr=10",    "optim.clip=0",       "optim.warmup=0",
                                        "optim.decay=10", "optim.skips_most=3", "train.steps=4000"};
    RunSettings settings = read_settings("points", words, 6);
    settings.optim.lr = 1e30; // beyond the table: weights overflow at once
    Outcome outcome = run_settings(&settings, true);
    EXPECT_EQ(outcome.status, STATUS_NUMERIC);
    EXPECT(strstr(error_get()->text, "optim.skips_most") != NULL);
    EXPECT(strstr(last_warning, "not finite") != NULL);
}

// ---- allocations ------------------------------------------------------------------------------

// Of the main thread, which queues the steps. The matrix library takes and frees some bytes on the
// workers for each product.
static long allocations;
static _Thread_local bool is_counted;

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif

#ifndef SANITIZED
enum { COUNTS_ALLOCATIONS = 1 };
extern void *__libc_malloc(size_t bytes);
extern void *__libc_calloc(size_t n, size_t bytes);
void *malloc(size_t bytes) {
    allocations += is_counted;
    return __libc_malloc(bytes);
}
void *calloc(size_t n, size_t bytes) {
    allocations += is_counted;
    return __libc_calloc(n, bytes);
}
#else
enum { COUNTS_ALLOCATIONS = 0 };
#endif

static long allocations_of(const char *steps) {
    const char *words[] = {steps, "log.every=0", "log.fingerprint_every=0", "train.batch=24",
                           "optim.schedule=constant"};
    RunSettings settings = read_settings("text", words, 5);
    long before = allocations;
    is_counted = true;
    EXPECT_EQ(run_settings(&settings, true).status, STATUS_OK);
    is_counted = false;
    return allocations - before;
}

// Two runs that differ in their number of steps only allocate equally often.
static void test_nothing_is_allocated_in_the_loop(void) {
    if (!COUNTS_ALLOCATIONS) SKIP("the sanitizer owns malloc");
    allocations_of("train.steps=5"); // folders, and what libraries take once
    long few = allocations_of("train.steps=5"), many = allocations_of("train.steps=40");
    EXPECT(few > 0);
    EXPECT_EQ(many, few);
}

int main(void) {
    late_register();
    make_data();
    RUN(test_points_same_bits);
    RUN(test_text_same_bits);
    RUN(test_resume_is_exact);
    RUN(test_saves_beside_the_training);
    RUN(test_lost_lock_ends_the_run);
    RUN(test_full_disk_ends_no_run);
    RUN(test_bad_point_is_left_out);
    RUN(test_bad_text_is_left_out);
    RUN(test_exploding_run_stops_with_a_reason);
    RUN(test_nothing_is_allocated_in_the_loop);
    return test_report();
}
