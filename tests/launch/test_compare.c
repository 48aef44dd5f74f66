// dye compare on logs written by hand: equal, different, and nothing in common.
#include "base/file.h"
#include "launch/command.h"
#include "launch/options.h"
#include "tests/test.h"

static char work[PATH_BYTES];

static char *run_folder(const char *name, const char *metrics) {
    static char paths[8][PATH_BYTES + 32];
    static int used;
    char *path = paths[used++ % 8], file[PATH_BYTES];
    snprintf(path, sizeof paths[0], "%s/%s", work, name);
    EXPECT_OK(folder_make(path));
    EXPECT_OK(path_format(file, "%s/metrics.jsonl", path));
    EXPECT_OK(file_write_atomic(file, metrics, strlen(metrics)));
    return path;
}

static Status compare(char *a, char *b) {
    char name[] = "compare", *words[] = {name, a, b};
    return cmd_compare(3, words);
}

#define STEP(n, loss, print)                                                                       \
    "{\"step\": " #n ", \"samples\": 8, \"loss\": " #loss                                          \
    ", \"samples_per_s\": 1, \"fingerprint\": \"" print                                            \
    "\", \"tensors\": {\"a\": \"1\", \"b\": \"" print "\"}}\n"
#define PLAIN(n, loss) "{\"step\": " #n ", \"samples\": 8, \"loss\": " #loss "}\n"

static void test_equal_runs(void) {
    char *a = run_folder("a", STEP(1, 0.5, "aa") PLAIN(2, 0.25) STEP(3, 0.1, "bb"));
    char *b = run_folder("b", STEP(1, 0.5, "aa") STEP(3, 0.1, "bb")); // logs less often
    EXPECT_OK(compare(a, a));
    EXPECT_OK(compare(a, b));
}

static void test_different_runs(void) {
    char *a = run_folder("a", STEP(1, 0.5, "aa") PLAIN(2, 0.25) STEP(3, 0.1, "bb"));
    char *loss = run_folder("loss", STEP(1, 0.5, "aa") PLAIN(2, 0.26) STEP(3, 0.1, "cc"));
    char *print = run_folder("print", STEP(1, 0.5, "aa") PLAIN(2, 0.25) STEP(3, 0.1, "cc"));
    EXPECT_FAIL(compare(a, loss), FAILED, "differ");
    EXPECT_FAIL(compare(a, print), FAILED, "differ");
}

static void test_nothing_in_common_proves_nothing(void) {
    char *a = run_folder("a", STEP(1, 0.5, "aa"));
    char *b = run_folder("b", STEP(2, 0.5, "aa"));
    char *plain = run_folder("plain", PLAIN(1, 0.5));
    EXPECT_FAIL(compare(a, b), FAILED, "nothing is proved");
    EXPECT_FAIL(compare(a, plain), FAILED, "nothing is proved");
}

static void test_broken_logs(void) {
    char *a = run_folder("a", STEP(1, 0.5, "aa"));
    char *broken = run_folder("broken", "{\"step\": 1, \"loss\n");
    char nowhere[] = "/nowhere";
    EXPECT_FAIL(compare(a, nowhere), NOT_FOUND, "/nowhere/metrics.jsonl");
    EXPECT_FAIL(compare(a, broken), BAD_DATA, "broken/metrics.jsonl");
    char name[] = "compare", *words[] = {name, a};
    EXPECT_FAIL(cmd_compare(2, words), BAD_USAGE, "usage");
}

static void test_options_are_checked(void) {
    int64_t n = 0;
    double x = 0;
    EXPECT_OK(option_i64("-n", "64", 1, 100, &n));
    EXPECT_EQ(n, 64);
    EXPECT_FAIL(option_i64("-n", "64x", 1, 100, &n), BAD_USAGE, "-n wants a whole number");
    EXPECT_FAIL(option_i64("-n", "101", 1, 100, &n), BAD_USAGE, "from 1 to 100");
    EXPECT_FAIL(option_i64("-n", "99999999999999999999", 1, INT64_MAX, &n), BAD_USAGE, "-n");
    EXPECT_OK(option_f64("--guidance", "1.5", 0, 10, &x));
    EXPECT_NEAR(x, 1.5, 0);
    EXPECT_FAIL(option_f64("--guidance", "nan", 0, 10, &x), BAD_USAGE, "not 'nan'");
}

int main(void) {
    snprintf(work, sizeof work, "%s", test_folder("compare"));
    RUN(test_equal_runs);
    RUN(test_different_runs);
    RUN(test_nothing_in_common_proves_nothing);
    RUN(test_broken_logs);
    RUN(test_options_are_checked);
    return test_report();
}
