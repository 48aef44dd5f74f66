// A test program is a list of functions: int main(void) { RUN(test_x); return test_report(); }
// A failed EXPECT prints one line and the test goes on; exit code 1 if any failed, 77 if SKIPped.
#pragma once

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/status.h"

static int test_failures, test_checks, test_skips;

#define TEST_FAIL(...)                                                                             \
    do {                                                                                           \
        ++test_failures;                                                                           \
        fprintf(stderr, "  %s:%d: ", __FILE__, __LINE__);                                          \
        fprintf(stderr, __VA_ARGS__);                                                              \
        fputc('\n', stderr);                                                                       \
    } while (0)

#define EXPECT(condition)                                                                          \
    do {                                                                                           \
        ++test_checks;                                                                             \
        if (!(condition)) TEST_FAIL("expected: %s", #condition);                                   \
    } while (0)

#define EXPECT_EQ(actual, expected)                                                                \
    do {                                                                                           \
        ++test_checks;                                                                             \
        int64_t a_ = (int64_t)(actual), e_ = (int64_t)(expected);                                  \
        if (a_ != e_)                                                                              \
            TEST_FAIL("%s is %" PRId64 " (%" PRIx64 "), expected %" PRId64 " (%" PRIx64 ")",       \
                      #actual, a_, (uint64_t)a_, e_, (uint64_t)e_);                                \
    } while (0)

#define EXPECT_NEAR(actual, expected, tolerance)                                                   \
    do {                                                                                           \
        ++test_checks;                                                                             \
        double a_ = (actual), e_ = (expected), t_ = (tolerance);                                   \
        if (!(fabs(a_ - e_) <= t_))                                                                \
            TEST_FAIL("%s is %.12g, expected %.12g +- %.3g", #actual, a_, e_, t_);                 \
    } while (0)

#define EXPECT_TEXT(actual, expected)                                                              \
    do {                                                                                           \
        ++test_checks;                                                                             \
        const char *a_ = (actual), *e_ = (expected);                                               \
        if (strcmp(a_, e_) != 0) TEST_FAIL("%s is \"%s\", expected \"%s\"", #actual, a_, e_);      \
    } while (0)

#define EXPECT_OK(call)                                                                            \
    do {                                                                                           \
        ++test_checks;                                                                             \
        Status s_ = (call);                                                                        \
        if (s_ != STATUS_OK)                                                                       \
            TEST_FAIL("%s: %s: %s", #call, status_info(s_)->name, error_get()->text);              \
    } while (0)

// The call fails with this code and its message holds this text: messages are an interface.
#define EXPECT_FAIL(call, code, part)                                                              \
    do {                                                                                           \
        ++test_checks;                                                                             \
        Status s_ = (call);                                                                        \
        if (s_ != STATUS_##code)                                                                   \
            TEST_FAIL("%s: is %s, expected " #code, #call, status_info(s_)->name);                 \
        else if (strstr(error_get()->text, part) == NULL)                                          \
            TEST_FAIL("%s: message \"%s\" lacks \"%s\"", #call, error_get()->text, part);          \
    } while (0)

// |a[i] - b[i]| <= tolerance * (1 + |b[i]|) for all i; prints the count and the worst place only.
#define EXPECT_ALL_NEAR(actual, expected, n, tolerance)                                            \
    test_all_near(__FILE__, __LINE__, #actual, actual, expected, n, tolerance)

static inline void test_all_near(const char *file, int line, const char *name, const float *actual,
                                 const double *expected, int64_t n, double tolerance) {
    int64_t bad = 0, worst = -1;
    double most = -1;
    ++test_checks;
    for (int64_t i = 0; i < n; ++i) {
        double error = fabs((double)actual[i] - expected[i]) / (1 + fabs(expected[i]));
        if (!(error <= tolerance)) ++bad;
        if (!(error <= most)) most = error, worst = i;
    }
    if (bad == 0) return;
    ++test_failures;
    fprintf(stderr,
            "  %s:%d: %s: %" PRId64 " of %" PRId64 " are off by more than %.3g; worst at %" PRId64
            ": %.9g, expected %.9g\n",
            file, line, name, bad, n, tolerance, worst, (double)actual[worst], expected[worst]);
}

#define RUN(test)                                                                                  \
    do {                                                                                           \
        int before_ = test_failures;                                                               \
        test();                                                                                    \
        printf("%s %s\n", test_failures == before_ ? "ok  " : "FAIL", #test);                      \
        fflush(stdout);                                                                            \
    } while (0)

// Leaves the current test function: what it needs is not on this machine.
#define SKIP(why)                                                                                  \
    do {                                                                                           \
        ++test_skips;                                                                              \
        printf("skip %s: %s\n", __func__, why);                                                    \
        return;                                                                                    \
    } while (0)

static inline int test_report(void) {
    printf("%d checks, %d failures\n", test_checks, test_failures);
    if (test_failures != 0) return 1;
    return test_checks == 0 && test_skips > 0 ? 77 : 0;
}

// A fresh folder below the build's temporary place; the caller need not remove it.
static inline const char *test_folder(const char *name) {
    static char path[512];
    const char *base = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/dye-%s-XXXXXX", base != NULL ? base : "/tmp", name);
    if (mkdtemp(path) == NULL) {
        perror(path);
        exit(1);
    }
    return path;
}
