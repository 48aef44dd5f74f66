// metrics.jsonl: what a record looks like, and how a resumed run cuts it back.
#include "trainer/metrics.h"

#include "base/file.h"
#include "base/json.h"
#include "tests/test.h"

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
    FILE *file;
    EXPECT_OK(metrics_open(folder, "metrics.jsonl", first - 1, &file));
    for (int64_t step = first; step <= last; ++step) {
        MetricsRecord record = {.step = step,
                                .samples = step * 8,
                                .loss = step == 2 ? NAN : 0.5,
                                .grad_norm = 1.25,
                                .has_fingerprint = step % 2 == 0,
                                .fingerprint = 0xfedcba9876543210,
                                .tensors = tensors};
        EXPECT_OK(metrics_write(file, &params, &record));
    }
    fclose(file);
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

int main(void) {
    RUN(test_record_is_json);
    RUN(test_resume_leaves_no_doubled_step);
    RUN(test_half_written_line_goes);
    return test_report();
}
