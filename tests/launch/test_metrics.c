// metrics.jsonl: what a record looks like, and how a resumed run cuts it back.
#include "launch/metrics.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>

#include "base/file.h"
#include "base/json.h"
#include "launch/stragglers.h"
#include "tests/test.h"

static char warnings[4096];

static void keep_warning(const char *line) {
    size_t used = strlen(warnings);
    snprintf(warnings + used, sizeof warnings - used, "%s\n", line);
}

static Params two_tensors(void) {
    Params params;
    params_init(&params);
    params_add(&params, (Param){.dims = 1, .dim = {3}}, "a.weight");
    params_add(&params, (Param){.dims = 1, .dim = {2}}, "b.bias");
    params_finish(&params);
    return params;
}

static void write_steps(const char *folder, int64_t first, int64_t last) {
    Params params = two_tensors();
    uint64_t tensors[2] = {0x0123456789abcdef, 7};
    Lines *lines;
    EXPECT_OK(metrics_open(folder, "metrics.jsonl", first - 1, keep_warning, &lines));
    for (int64_t step = first; step <= last; ++step) {
        MetricsRecord record = {.step = step,
                                .samples = step * 8,
                                .loss = step == 2 ? NAN : 0.5,
                                .grad_norm = 1.25,
                                .has_fingerprint = step % 2 == 0,
                                .fingerprint = 0xfedcba9876543210,
                                .tensors = tensors};
        metrics_write(lines, &params, &record);
    }
    lines_close(lines);
    params_close(&params);
}

static char *read_all(const char *folder) {
    char path[PATH_BYTES], *text = NULL;
    size_t bytes;
    EXPECT_OK(path_format(path, "%s/metrics.jsonl", folder));
    EXPECT_OK(file_read(path, 1 << 20, &text, &bytes));
    return text;
}

static int count_lines(const char *text) {
    int lines = 0;
    for (; *text != '\0'; ++text) lines += *text == '\n';
    return lines;
}

static void test_record_is_json(void) {
    const char *folder = test_folder("metrics");
    write_steps(folder, 2, 2);
    char *text = read_all(folder);
    json_t *object = NULL;
    EXPECT_OK(json_parse(text, strlen(text), "metrics", &object));
    int64_t step = 0;
    uint64_t print = 0;
    EXPECT_OK(json_get_i64(object, "step", "metrics", 0, 100, &step));
    EXPECT_EQ(step, 2);
    EXPECT(json_is_null(json_object_get(object, "loss"))); // NaN is not JSON
    EXPECT_OK(json_get_hex64(object, "fingerprint", "metrics", &print));
    EXPECT(print == 0xfedcba9876543210);
    EXPECT_OK(json_get_hex64(json_object_get(object, "tensors"), "a.weight", "metrics", &print));
    EXPECT(print == 0x0123456789abcdef);
    json_decref(object);
    free(text);
}

static void test_resume_leaves_no_doubled_step(void) {
    const char *folder = test_folder("metrics");
    write_steps(folder, 1, 6);
    write_steps(folder, 4, 8); // resumed at step 3
    char *text = read_all(folder);
    EXPECT_EQ(count_lines(text), 8);
    const char *at = text;
    for (int64_t step = 1; step <= 8; ++step) {
        char expected[32];
        snprintf(expected, sizeof expected, "{\"step\": %d,", (int)step);
        EXPECT(strncmp(at, expected, strlen(expected)) == 0);
        at = strchr(at, '\n') + 1;
    }
    free(text);
}

static void test_half_written_line_goes(void) {
    const char *folder = test_folder("metrics");
    write_steps(folder, 1, 2);
    char path[PATH_BYTES];
    EXPECT_OK(path_format(path, "%s/metrics.jsonl", folder));
    FILE *file = fopen(path, "a");
    fputs("{\"step\": 2, \"sam", file);
    fclose(file);
    write_steps(folder, 3, 3);
    char *text = read_all(folder);
    EXPECT_EQ(count_lines(text), 3);
    EXPECT(strstr(text, "\"sam{") == NULL);
    free(text);
}

// A broken line in the midst of others goes without them.
static void test_broken_line_goes(void) {
    const char *folder = test_folder("metrics");
    write_steps(folder, 1, 2);
    char path[PATH_BYTES];
    EXPECT_OK(path_format(path, "%s/metrics.jsonl", folder));
    FILE *file = fopen(path, "a");
    fputs("nonsense\n{\"step\": 3}\n", file);
    fclose(file);
    write_steps(folder, 4, 4);
    char *text = read_all(folder);
    EXPECT_EQ(count_lines(text), 4);
    EXPECT(strstr(text, "nonsense") == NULL);
    free(text);
}

// ---- a disk that refuses ------------------------------------------------------------------------

// The disk takes no file beyond `bytes`; RLIM_INFINITY: any.
static void limit_files(rlim_t bytes) {
    struct rlimit limit;
    EXPECT(getrlimit(RLIMIT_FSIZE, &limit) == 0);
    limit.rlim_cur = bytes < limit.rlim_max ? bytes : limit.rlim_max;
    EXPECT(setrlimit(RLIMIT_FSIZE, &limit) == 0);
}

static void add(Lines *lines, const char *format, int number) {
    char line[2048];
    int bytes = snprintf(line, sizeof line, format, number);
    lines_add(lines, line, (size_t)bytes);
}

static Lines *open_lines(const char *folder) {
    char path[PATH_BYTES];
    Lines *lines;
    warnings[0] = 0;
    EXPECT_OK(path_format(path, "%s/metrics.jsonl", folder));
    EXPECT_OK(lines_open(path, "precious", keep_warning, &lines));
    return lines;
}

static int count_warnings(const char *part) {
    int count = 0;
    for (const char *at = warnings; (at = strstr(at, part)) != NULL; ++at) ++count;
    return count;
}

static void test_lines_wait_for_room(void) {
    const char *folder = test_folder("lines");
    Lines *lines = open_lines(folder);
    add(lines, "line %d\n", 1);
    limit_files(10); // line 2 fits in part
    for (int i = 2; i < 5; ++i) add(lines, "line %d\n", i);
    char *text = read_all(folder);
    EXPECT_TEXT(text, "line 1\n");
    free(text);
    EXPECT_EQ(count_warnings("cannot be written"), 1);
    limit_files(RLIM_INFINITY);
    add(lines, "line %d\n", 5);
    EXPECT_EQ(count_warnings("is written again; no line is lost"), 1);
    limit_files(10);
    add(lines, "line %d\n", 6);
    EXPECT_EQ(count_warnings("cannot be written"), 2);
    limit_files(RLIM_INFINITY);
    lines_close(lines); // tries a last time
    text = read_all(folder);
    EXPECT_TEXT(text, "line 1\nline 2\nline 3\nline 4\nline 5\nline 6\n");
    free(text);
}

// More waits than is kept: the oldest go, precious ones last.
static void test_oldest_lines_are_dropped(void) {
    enum { LINES = 2000, PRECIOUS = 7 }; // of 1 KB
    const char *folder = test_folder("lines");
    Lines *lines = open_lines(folder);
    char *text;
    limit_files(0);
    for (int i = 0; i < LINES; ++i)
        add(lines, i == PRECIOUS ? "%1000d precious\n" : "%1000d of many\n", i);
    EXPECT_EQ(count_warnings("the oldest are dropped"), 1);
    limit_files(RLIM_INFINITY);
    lines_close(lines);
    EXPECT_EQ(count_warnings("some lines were lost"), 1);
    size_t bytes;
    char path[PATH_BYTES];
    EXPECT_OK(path_format(path, "%s/metrics.jsonl", folder));
    EXPECT_OK(file_read(path, LINES_PENDING_MOST, &text, &bytes));
    EXPECT(bytes > LINES_PENDING_MOST - 2048);
    EXPECT_EQ(atoi(text), PRECIOUS);
    EXPECT(strstr(text, "1999 of many\n") != NULL);
    free(text);
}

// The folder comes late, or goes for a while.
static void test_folder_is_away(void) {
    char folder[PATH_BYTES], away[PATH_BYTES];
    EXPECT_OK(path_format(folder, "%s/run", test_folder("lines")));
    EXPECT_OK(path_format(away, "%s-away", folder));
    Lines *lines = open_lines(folder);
    add(lines, "line %d\n", 1);
    EXPECT_EQ(count_warnings("No such file"), 1);
    EXPECT_OK(folder_make(folder));
    add(lines, "line %d\n", 2);
    char *text = read_all(folder);
    EXPECT_TEXT(text, "line 1\nline 2\n");
    free(text);
    EXPECT_OK(folder_remove(folder));
    limit_files(0); // the open file too
    add(lines, "line %d\n", 3);
    limit_files(RLIM_INFINITY);
    lines_close(lines);
    EXPECT_EQ(count_warnings("are lost"), 1);
}

// ---- slow ranks ---------------------------------------------------------------------------------

// A record of steps of 100 ms.
static void watch(int rank, double excess, SlowCause cause) {
    MetricsRecord record = {.step = 10,
                            .samples = 80,
                            .samples_per_s = 80,
                            .slowest_rank = rank,
                            .slowest_host = rank == 3 ? "n2" : "n1",
                            .slowest_excess_s = excess,
                            .slowest_cause = cause};
    stragglers_watch(&record, keep_warning);
}

static void test_straggler_is_told_once(void) {
    warnings[0] = 0;
    for (int i = 0; i < 5; ++i) watch(3, 0.019, SLOW_DATA); // less than a fifth
    for (int i = 0; i < 2; ++i) watch(3, 0.03, SLOW_DATA);
    watch(3, 0.03, SLOW_COMPUTE);
    for (int i = 0; i < 2; ++i) watch(3, 0.03, SLOW_DATA);
    EXPECT_TEXT(warnings, ""); // never three in a row
    for (int i = 0; i < 4; ++i) watch(3, 0.03, SLOW_DATA);
    EXPECT_EQ(count_warnings("rank 3 on n2 makes all others wait: +30 ms a step (data)"), 1);
    EXPECT_EQ(count_warnings("storage"), 1);
    for (int i = 0; i < 2; ++i) watch(1, 0.001, SLOW_SAVE);
    EXPECT_EQ(count_warnings("no longer"), 0);
    watch(1, 0.001, SLOW_SAVE);
    EXPECT_EQ(count_warnings("rank 3 on n2 is no longer slow (data)"), 1);
    for (int i = 0; i < 4; ++i) watch(3, 0.03, SLOW_DATA);
    for (int i = 0; i < 4; ++i) watch(3, 0.001, SLOW_DATA);
    EXPECT_EQ(count_warnings("rank 3"), 2); // once for a rank and cause
    for (int i = 0; i < 3; ++i) watch(3, 0.06, SLOW_SAVE);
    EXPECT_EQ(count_warnings("+60 ms a step (save); look at the disk"), 1);
}

static void test_live_line(void) {
    char line[512];
    MetricsRecord record = {.step = 300,
                            .steps = 400,
                            .samples = 2400,
                            .samples_left = 800,
                            .world = 1,
                            .loss = 0.25,
                            .grad_norm = 2,
                            .samples_per_s = 20,
                            .data_wait_each_s = 0.0015,
                            .saved_s = NAN};
    metrics_format(&record, line, sizeof line);
    EXPECT(strcmp(line,
                  "step 300 of 400, 2400 samples, 75.0 %, ETA 40 s | 20 samples/s"
                  " | loss 0.25000 | grad norm 2.000 | data wait 1.5 ms | no checkpoint yet") == 0);
    record.world = 2, record.lost = 3, record.saved_s = 61;
    record.slowest_rank = 1, record.slowest_host = "b", record.slowest_excess_s = 0.25;
    record.slowest_cause = SLOW_COMPUTE;
    metrics_format(&record, line, sizeof line);
    EXPECT(strstr(line, " | 3 samples lost | slowest rank 1 on b +250 ms (compute) | saved ") !=
           NULL);
}

// A held-out loss that is not finite is a record all the same, which a resume keeps.
static void test_held_out_that_is_not_finite(void) {
    const char *folder = test_folder("held-out");
    HeldOutLoss result = {.samples = 8, .loss = NAN, .level_loss = {0.5, INFINITY, NAN}};
    char path[PATH_BYTES], *text = NULL;
    size_t bytes = 0;
    json_t *record = NULL;
    EXPECT_OK(process_metrics_open(folder, 0));
    process_metrics_held_out(3, &result);
    process_metrics_close();
    EXPECT_OK(process_metrics_open(folder, 3));
    process_metrics_close();
    EXPECT_OK(path_format(path, "%s/eval.jsonl", folder));
    EXPECT_OK(file_read(path, 1 << 20, &text, &bytes));
    EXPECT_OK(json_parse(text, bytes, path, &record));
    const json_t *levels = json_object_get(record, "loss_by_level");
    EXPECT(json_is_null(json_object_get(record, "loss")));
    EXPECT_NEAR(json_number_value(json_array_get(levels, 0)), 0.5, 0);
    EXPECT(json_is_null(json_array_get(levels, 1)) && json_is_null(json_array_get(levels, 2)));
    EXPECT_EQ(json_array_size(levels), EVAL_LEVELS);
    json_decref(record);
    free(text);
}

int main(void) {
    RUN(test_held_out_that_is_not_finite);
    RUN(test_live_line);
    signal(SIGXFSZ, SIG_IGN);
    RUN(test_record_is_json);
    RUN(test_resume_leaves_no_doubled_step);
    RUN(test_half_written_line_goes);
    RUN(test_broken_line_goes);
    RUN(test_lines_wait_for_room);
    RUN(test_oldest_lines_are_dropped);
    RUN(test_folder_is_away);
    RUN(test_straggler_is_told_once);
    return test_report();
}
