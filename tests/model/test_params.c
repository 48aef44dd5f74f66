// The parameter table: offsets, parts, initial values.
#include <sys/wait.h>

#include "base/rng.h"
#include "model/params.h"
#include "tests/test.h"

static int64_t add(Params *params, int64_t rows, int64_t columns, InitKind init, float scale,
                   const char *name) {
    Param spec = {.dims = 2, .dim = {rows, columns}, .init = init, .scale = scale, .decay = true};
    return params_add(params, spec, "%s", name);
}

static void test_table(void) {
    Params params;
    params_init(&params);
    EXPECT_EQ(add(&params, 3, 5, INIT_ZERO, 0, "first"), 0);
    Param spec = {.dims = 4, .dim = {2, 3, 4, 5}, .init = INIT_NORMAL, .scale = 1};
    EXPECT_EQ(params_add(&params, spec, "blocks.%d.%s", 7, "w"), 15);
    EXPECT_EQ(add(&params, 1, 1, INIT_ZERO, 0, "last"), 135);
    params_finish(&params);
    EXPECT_EQ(params.count, 3);
    EXPECT_EQ(params.size, 136);
    EXPECT_EQ(params.parts, 1);
    EXPECT_EQ(params.part_size, PART_UNIT);

    const Param *found = params_find(&params, "blocks.7.w");
    EXPECT(found != NULL);
    if (found != NULL) {
        EXPECT_EQ(found->offset, 15);
        EXPECT_EQ(found->size, 120);
        EXPECT_EQ(found->dims, 4);
        EXPECT_EQ(found->dim[3], 5);
        EXPECT(!found->decay);
    }
    EXPECT(params_find(&params, "blocks.7") == NULL);
    int64_t begin, end;
    params_part(&params, 0, &begin, &end);
    EXPECT_EQ(begin, 0);
    EXPECT_EQ(end, 136);
    params_close(&params);
    params_close(&params);
}

// Parts cover [0, size) without gaps, are at most PARTS_MOST and no longer than needed.
static void expect_parts(int64_t size, int64_t part_size) {
    Params params;
    params_init(&params);
    add(&params, 1, size, INIT_ZERO, 0, "w");
    params_finish(&params);
    EXPECT_EQ(params.part_size, part_size);
    EXPECT(params.parts <= PARTS_MOST);
    int64_t at = 0;
    for (int i = 0; i < params.parts; ++i) {
        int64_t begin, end;
        params_part(&params, i, &begin, &end);
        EXPECT_EQ(begin, at);
        EXPECT(end > begin && end - begin <= part_size);
        at = end;
    }
    EXPECT_EQ(at, size);
    params_close(&params);
}

static void test_parts(void) {
    int64_t unit = PART_UNIT, most = unit * PARTS_MOST;
    expect_parts(1, unit);
    expect_parts(unit, unit);
    expect_parts(unit + 1, unit);
    expect_parts(most, unit);
    expect_parts(most + 1, 2 * unit);
    expect_parts(10 * most, 10 * unit);
    expect_parts(10 * most + 5, 11 * unit);
}

// Any cut of the vector draws the same numbers, and each is the documented function of its key.
static void test_draw_is_pure(void) {
    Params params;
    params_init(&params);
    add(&params, 7, 3, INIT_UNIFORM, 0.5f, "a");
    add(&params, 2, 2, INIT_ZERO, 0, "b");
    add(&params, 5, 9, INIT_NORMAL, 0.02f, "c");
    params_finish(&params);
    float whole[70], cut[70];
    params_draw(&params, 42, 0, params.size, whole);
    for (int64_t width = 1; width <= 13; ++width) {
        for (int64_t at = (params.size - 1) / width * width; at >= 0; at -= width) {
            int64_t end = at + width < params.size ? at + width : params.size;
            params_draw(&params, 42, at, end, cut + at);
        }
        EXPECT(memcmp(whole, cut, (size_t)params.size * sizeof(float)) == 0);
    }
    uint32_t bits[4];
    RngKey key = rng_key(42, RNG_INIT, 0);
    rng_block(key, 0, 18 / 4, bits);
    EXPECT_NEAR(whole[18], 0.5 * (2 * (double)rng_uniform(bits[18 % 4]) - 1), 1e-7);
    EXPECT_EQ(whole[21] == 0 && whole[24] == 0, 1);
    rng_block(key, 2, 44 / 4, bits);
    EXPECT_NEAR(whole[25 + 44], 0.02 * (double)rng_normal(bits[44 % 4]), 1e-8);

    params_draw(&params, 43, 0, params.size, cut);
    EXPECT(memcmp(whole, cut, sizeof(float) * 21) != 0);
    params_close(&params);
}

static void moments(const float *x, int64_t n, double *mean, double *square, double *most) {
    *mean = *square = *most = 0;
    for (int64_t i = 0; i < n; ++i) {
        *mean += (double)x[i] / (double)n;
        *square += (double)x[i] * (double)x[i] / (double)n;
        if (fabs((double)x[i]) > *most) *most = fabs((double)x[i]);
    }
}

static void test_distributions(void) {
    enum { N = 100000 };
    Params params;
    params_init(&params);
    add(&params, N / 10, 10, INIT_UNIFORM, 0.3f, "uniform");
    add(&params, N / 10, 10, INIT_NORMAL, 0.02f, "normal");
    params_finish(&params);
    float *x = malloc(sizeof(float) * 2 * N);
    params_draw(&params, 1, 0, params.size, x);
    double mean, square, most;
    moments(x, N, &mean, &square, &most);
    EXPECT_NEAR(mean, 0, 4 * 0.3 / sqrt(3.0 * N));
    EXPECT_NEAR(square, 0.09 / 3, 0.0005);
    EXPECT(most <= 0.3 && most > 0.2999);
    moments(x + N, N, &mean, &square, &most);
    EXPECT_NEAR(mean, 0, 4 * 0.02 / sqrt(N));
    EXPECT_NEAR(square, 0.0004, 0.0004 * 4 * sqrt(2.0 / N));
    EXPECT(most > 0.02 * 3.5 && most < 0.02 * 6);
    free(x);
    params_close(&params);
}

static int exit_code_of(void (*function)(void)) {
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        if (freopen("/dev/null", "w", stderr) == NULL) _exit(1);
        function();
        _exit(0);
    }
    int state = 0;
    if (child < 0 || waitpid(child, &state, 0) != child) return -1;
    return WIFEXITED(state) ? WEXITSTATUS(state) : -1;
}

static void name_twice(void) {
    Params params;
    params_init(&params);
    add(&params, 1, 1, INIT_ZERO, 0, "w");
    add(&params, 1, 1, INIT_ZERO, 0, "w");
}

static void add_after_finish(void) {
    Params params;
    params_init(&params);
    add(&params, 1, 1, INIT_ZERO, 0, "w");
    params_finish(&params);
    add(&params, 1, 1, INIT_ZERO, 0, "v");
}

static void test_bugs_end_the_process(void) {
    EXPECT_EQ(exit_code_of(name_twice), 70);
    EXPECT_EQ(exit_code_of(add_after_finish), 70);
}

int main(void) {
    RUN(test_table);
    RUN(test_parts);
    RUN(test_draw_is_pure);
    RUN(test_distributions);
    RUN(test_bugs_end_the_process);
    return test_report();
}
