// The choice of products' algorithms on a GPU, real or emulated: measured, written down, taken by
// another device, refused when it is damaged.
#include "model/backend.h"

#include "tests/test.h"
#include "tests/model/support_ops.h"

enum { ROWS = 24, IN = 200, OUT = 36, EXIT_SKIPPED = 77 };
enum { X = 0, W = X + ROWS * IN, Y = W + OUT * IN, DW = Y + ROWS * OUT, NUMBERS = DW + OUT * IN };

typedef struct {
    Device *device;
    float *memory;                           // of the device: x, w, y, dw
    float y[ROWS * OUT], dw[OUT * IN + OUT]; // what the last products gave
} Rig;

static Rig *rig_open(void) {
    Rig *rig = ops_memory(1, sizeof *rig);
    *rig = (Rig){0};
    DeviceConfig config = {
        .backend = "cuda", .streams = 2, .scratch_bytes = 1 << 16, .wide_bytes = 1 << 20};
    float *numbers = ops_numbers(NUMBERS, 4);
    EXPECT_OK(device_open(&config, &rig->device));
    EXPECT_OK(device_alloc(rig->device, (NUMBERS + OUT) * sizeof(float), (void **)&rig->memory));
    stream_upload(device_stream(rig->device, 0), rig->memory, numbers, NUMBERS * sizeof(float));
    EXPECT_OK(stream_wait(device_stream(rig->device, 0)));
    free(numbers);
    return rig;
}

static void rig_close(Rig *rig) {
    device_release(rig->device, rig->memory);
    device_close(rig->device);
    free(rig);
}

// y = x w', and dw = y' x or dw += it.
static void multiply_both(Rig *rig, int stream_index, bool add) {
    Stream *stream = device_stream(rig->device, stream_index);
    float *memory = rig->memory;
    linear_forward(
        stream,
        (LinearLayer){
            .x = memory + X, .w = memory + W, .y = memory + Y, .rows = ROWS, .in = IN, .out = OUT});
    linear_grad(stream, (LinearLayer){.x = memory + X,
                                      .dy = memory + Y,
                                      .dw = memory + DW,
                                      .dbias = memory + NUMBERS,
                                      .rows = ROWS,
                                      .in = IN,
                                      .out = OUT,
                                      .accumulate = add});
    stream_download(stream, rig->y, memory + Y, sizeof rig->y);
    stream_download(stream, rig->dw, memory + DW, sizeof rig->dw);
    EXPECT_OK(stream_wait(stream));
}

static bool same_bits(const Rig *a, const Rig *b) {
    return memcmp(a->y, b->y, sizeof a->y) == 0 && memcmp(a->dw, b->dw, sizeof a->dw) == 0;
}

static Status measure(Rig *rig, const char *seed) {
    setenv("DYE_EMULATED_TIMES", seed, 1);
    TRY(rig->device->backend->measure(rig->device, true));
    multiply_both(rig, 0, false);
    return rig->device->backend->measure(rig->device, false);
}

static Status choose(Rig *rig, const char *text) {
    return rig->device->backend->choose(rig->device, text);
}

static bool is_emulated(const Rig *rig) {
    return strstr(rig->device->description, "emulated") != NULL;
}

static int lines_of(const char *text) {
    int lines = 0;
    for (; *text != '\0'; ++text) lines += *text == '\n';
    return lines;
}

// A seed by which not all proposals that come first are the fastest.
static void test_a_choice_decides_bits(void) {
    Rig *plain = rig_open(), *measured = rig_open(), *told = rig_open();
    multiply_both(plain, 0, false);
    EXPECT(plain->device->choice == NULL);
    EXPECT_OK(measure(measured, "1"));
    EXPECT_EQ(lines_of(measured->device->choice), 2 + 2 + 1);
    if (is_emulated(measured)) EXPECT(!same_bits(measured, plain));
    // Nobody else measures: not the second device, nor its other stream, by other times.
    setenv("DYE_EMULATED_TIMES", "2", 1);
    multiply_both(told, 0, false);
    EXPECT(same_bits(told, plain));
    EXPECT_OK(choose(told, measured->device->choice));
    EXPECT_TEXT(told->device->choice, measured->device->choice);
    for (int stream = 0; stream < 2; ++stream) {
        multiply_both(told, stream, false);
        EXPECT(same_bits(told, measured));
    }
    rig_close(plain);
    rig_close(measured);
    rig_close(told);
}

// A sum that is added to keeps what it had, and comes from the algorithm of the plain one.
static void test_a_sum_is_not_lost(void) {
    Rig *rig = rig_open();
    float *before = ops_numbers(NUMBERS, 4);
    EXPECT_OK(rig->device->backend->measure(rig->device, true));
    multiply_both(rig, 0, true);
    EXPECT_OK(rig->device->backend->measure(rig->device, false));
    EXPECT_EQ(lines_of(rig->device->choice), 2 + 1 + 1); // the forward product alone
    for (int o = 0; o < OUT; ++o)
        for (int i = 0; i < IN; ++i) {
            double sum = (double)before[DW + o * IN + i];
            for (int row = 0; row < ROWS; ++row)
                sum += (double)rig->y[row * OUT + o] * (double)before[X + row * IN + i];
            EXPECT_NEAR(rig->dw[o * IN + i], sum, 1e-4 * (1 + fabs(sum)));
        }
    free(before);
    rig_close(rig);
}

static void test_what_is_not_named_is_as_ever(void) {
    Rig *plain = rig_open(), *rig = rig_open();
    EXPECT_OK(rig->device->backend->measure(rig->device, true));
    EXPECT_OK(rig->device->backend->measure(rig->device, false));
    EXPECT(strstr(rig->device->choice, "\n0 measured, choice ") != NULL);
    EXPECT_OK(choose(rig, rig->device->choice));
    multiply_both(plain, 0, false);
    multiply_both(rig, 0, false);
    EXPECT(same_bits(rig, plain));
    rig_close(plain);
    rig_close(rig);
}

// Each byte changed, left out, or doubled, and each beginning: refused, and the choice stays.
static void test_damage_is_refused(void) {
    Rig *rig = rig_open();
    EXPECT_OK(measure(rig, "1"));
    size_t bytes = strlen(rig->device->choice);
    char *good = strdup(rig->device->choice), *bad = malloc(bytes + 2);
    REQUIRE(good != NULL && bad != NULL);
    int accepted = 0;
    for (size_t at = 0; at < bytes; ++at) {
        for (int kind = 0; kind < 4; ++kind) {
            memcpy(bad, good, bytes + 1);
            if (kind == 0) bad[at] ^= 1;
            if (kind == 1) bad[at] = '\0';
            if (kind == 2) memmove(bad + at, good + at + 1, bytes - at);
            if (kind == 3) memmove(bad + at + 1, good + at, bytes - at + 1);
            accepted += choose(rig, bad) != STATUS_BAD_DATA;
            error_clear();
        }
    }
    EXPECT_EQ(accepted, 0);
    EXPECT_TEXT(rig->device->choice, good);
    EXPECT_FAIL(choose(rig, ""), BAD_DATA, "does not begin with \"dye products 1 on \"");
    free(good);
    free(bad);
    rig_close(rig);
}

static void test_of_another_gpu(void) {
    Rig *rig = rig_open();
    if (!is_emulated(rig)) {
        rig_close(rig);
        return;
    }
    setenv("DYE_EMULATED_NAME", "other GPU", 1);
    Rig *other = rig_open();
    unsetenv("DYE_EMULATED_NAME");
    EXPECT_OK(measure(rig, "1"));
    EXPECT_FAIL(choose(other, rig->device->choice), BAD_CONFIG,
                "was made on cuda emulated GPU, sm_90");
    EXPECT(other->device->choice == NULL);
    rig_close(rig);
    rig_close(other);
}

int main(void) {
    Device *device;
    Status status = device_open(&(DeviceConfig){.backend = "cuda", .streams = 1}, &device);
    if (status != STATUS_OK) {
        printf("  %s\n", error_get()->text);
        return EXIT_SKIPPED;
    }
    device_close(device);
    RUN(test_a_choice_decides_bits);
    RUN(test_a_sum_is_not_lost);
    RUN(test_what_is_not_named_is_as_ever);
    RUN(test_damage_is_refused);
    RUN(test_of_another_gpu);
    return test_report();
}
