// Attention by a library or by products: which of them is taken, that plans are built once, and
// that a scratch which is too small for all samples changes no bit. Of the emulated GPU, whose
// library counts what it does; that both ways compute the same is what test_ops_half.c tells.
#include <dlfcn.h>

#include "model/math/f32.h"
#include "tests/model/support_ops.h"
#include "tests/test.h"

typedef struct {
    int64_t samples, tokens, heads, head_dim;
} Shape;

typedef struct {
    Device *device;
    int64_t packed, joined, stats;
    uint16_t *qkv, *out, *dout, *dqkv; // device
    float *lse;
} Setting;

static int (*plans)(void), (*executions)(void); // of the emulated library

static Status open_device(const char *attention, size_t scratch, Device **out) {
    return device_open(
        &(DeviceConfig){
            .backend = "cuda", .streams = 1, .wide_bytes = scratch, .attention = attention},
        out);
}

// The library that the device has opened.
static void find_library(void) {
    Device *device;
    if (open_device("auto", 1 << 20, &device) != STATUS_OK) return;
    bool emulated = strstr(device->description, "emulated") != NULL;
    device_close(device);
    char path[1000];
    snprintf(path, sizeof path, "%s/libcudnn.so.9", getenv("DYE_BACKENDS"));
    void *library = emulated ? dlopen(path, RTLD_NOW | RTLD_NOLOAD) : NULL;
    if (library == NULL) return;
    *(void **)&plans = dlsym(library, "dye_emulated_plans");
    *(void **)&executions = dlsym(library, "dye_emulated_executions");
}

#define NEEDS_LIBRARY()                                                                            \
    if (plans == NULL || executions == NULL) SKIP("no emulated GPU with cuDNN here")

static void *half_numbers(Device *device, int64_t n, uint64_t seed) {
    float *x = ops_numbers(n, seed);
    uint16_t *y = ops_memory(n, sizeof *y), *memory;
    for (int64_t i = 0; i < n; ++i) y[i] = half_round(x[i]);
    REQUIRE(device_alloc(device, (size_t)n * sizeof *y, (void **)&memory) == STATUS_OK);
    stream_upload(device_stream(device, 0), memory, y, (size_t)n * sizeof *y);
    REQUIRE(stream_wait(device_stream(device, 0)) == STATUS_OK);
    free(x), free(y);
    return memory;
}

static Setting setting_open(const Shape *s, const char *attention, size_t scratch) {
    int64_t joined = s->samples * s->tokens * s->heads * s->head_dim;
    Setting set = {
        .packed = 3 * joined, .joined = joined, .stats = s->samples * s->heads * s->tokens};
    EXPECT_OK(open_device(attention, scratch, &set.device));
    set.qkv = half_numbers(set.device, set.packed, 1);
    set.dout = half_numbers(set.device, set.joined, 2);
    set.out = half_numbers(set.device, set.joined, 3);
    set.dqkv = half_numbers(set.device, set.packed, 4);
    EXPECT_OK(device_alloc(set.device, (size_t)set.stats * sizeof(float), (void **)&set.lse));
    return set;
}

static void setting_close(Setting *set) {
    void *memory[] = {set->qkv, set->out, set->dout, set->dqkv, set->lse};
    for (int i = 0; i < 5; ++i) device_release(set->device, memory[i]);
    device_close(set->device);
}

static Attention args_of(const Setting *set, const Shape *s) {
    return (Attention){.qkv = set->qkv,
                       .out = set->out,
                       .lse = set->lse,
                       .dout = set->dout,
                       .dqkv = set->dqkv,
                       .samples = s->samples,
                       .tokens = s->tokens,
                       .heads = s->heads,
                       .head_dim = s->head_dim,
                       .half = true};
}

// Forward and gradient; `out` and `dqkv`, of the host, become what they give.
static Status both(const Setting *set, const Shape *s, uint16_t *out, uint16_t *dqkv) {
    Stream *stream = device_stream(set->device, 0);
    attention_forward(stream, args_of(set, s));
    attention_grad(stream, args_of(set, s));
    if (out != NULL) stream_download(stream, out, set->out, (size_t)set->joined * sizeof *out);
    if (dqkv != NULL) stream_download(stream, dqkv, set->dqkv, (size_t)set->packed * sizeof *dqkv);
    return stream_wait(stream);
}

// How many plans it builds, and executes.
static void expect_work(const Setting *set, const Shape *s, int built, int executed) {
    int plans_before = plans(), executions_before = executions();
    EXPECT_OK(both(set, s, NULL, NULL));
    EXPECT_EQ(plans() - plans_before, built);
    EXPECT_EQ(executions() - executions_before, executed);
}

static void test_plans_are_kept(void) {
    NEEDS_LIBRARY();
    Shape s = {2, 20, 2, 16}, other = {1, 77, 2, 72};
    Setting set = setting_open(&s, "cudnn", 1 << 20);
    expect_work(&set, &s, 2, 2);
    expect_work(&set, &s, 0, 2);
    expect_work(&set, &s, 0, 2);
    setting_close(&set);
    set = setting_open(&other, "cudnn", 1 << 20);
    expect_work(&set, &other, 2, 2);
    expect_work(&set, &s, 2, 2);
    expect_work(&set, &other, 0, 2);
    setting_close(&set);
}

static void test_what_is_not_taken(void) {
    NEEDS_LIBRARY();
    static const Shape shapes[] = {{2, 20, 2, 12}, {1, 8, 1, 264}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; ++i) {
        Setting set = setting_open(&shapes[i], "cudnn", 1 << 20);
        expect_work(&set, &shapes[i], 0, 0);
        setting_close(&set);
    }
    Shape s = {1, 16, 1, 16};
    Setting set = setting_open(&s, "products", 1 << 20);
    expect_work(&set, &s, 0, 0);
    EXPECT(strstr(set.device->description, "cuDNN") == NULL);
    setting_close(&set);
    set = setting_open(&s, "auto", 1 << 20);
    const char *named = strstr(set.device->description, "cuDNN 9.");
    EXPECT(named != NULL && named < strchr(set.device->description, ';'));
    Attention args = args_of(&set, &s);
    Stream *stream = device_stream(set.device, 0);
    int before = executions();
    args.block = 4;
    attention_forward(stream, args);
    args.cached = true, args.from = 4;
    attention_forward(stream, args);
    args = args_of(&set, &s), args.half = false, args.samples = 1, args.tokens = 4;
    attention_forward(stream, args);
    args = args_of(&set, &s), args.tokens = 4, args.qkv = (const uint16_t *)args.qkv + 4;
    attention_forward(stream, args);
    EXPECT_OK(stream_wait(stream));
    EXPECT_EQ(executions(), before);
    setting_close(&set);
}

// A gradient wants 64 x 128 bf16 a head: with a small scratch samples go through it in `runs`, with
// the same bits, and not at all where it is smaller still.
static void small_scratch_case(const Shape *s, size_t scratch, int runs, size_t too_small) {
    Setting set = setting_open(s, "cudnn", 1 << 20);
    uint16_t *out[2], *dqkv[2];
    for (int i = 0; i < 2; ++i) {
        out[i] = ops_memory(set.joined, sizeof **out);
        dqkv[i] = ops_memory(set.packed, sizeof **dqkv);
    }
    int before = executions();
    EXPECT_OK(both(&set, s, out[0], dqkv[0]));
    EXPECT_EQ(executions() - before, 2);
    setting_close(&set);
    set = setting_open(s, "cudnn", scratch);
    before = executions();
    EXPECT_OK(both(&set, s, out[1], dqkv[1]));
    EXPECT_EQ(executions() - before, 1 + runs);
    EXPECT_EQ(memcmp(out[0], out[1], (size_t)set.joined * sizeof **out), 0);
    EXPECT_EQ(memcmp(dqkv[0], dqkv[1], (size_t)set.packed * sizeof **dqkv), 0);
    expect_work(&set, s, 0, 1 + runs);
    setting_close(&set);
    set = setting_open(s, "cudnn", too_small); // products do
    expect_work(&set, s, 1, 1);
    setting_close(&set);
    for (int i = 0; i < 2; ++i) free(out[i]), free(dqkv[i]);
}

static void test_small_scratch(void) {
    NEEDS_LIBRARY();
    small_scratch_case(&(Shape){11, 20, 2, 16}, 7 << 15, 2, 1 << 15); // 6 + 5
    // lse of 21 numbers a sample is aligned at each fourth: 4 + 4 + 3, where there is room for six
    small_scratch_case(&(Shape){11, 21, 1, 16}, 7 << 14, 3, 3 << 14);
}

static void test_libraries_that_are_not_of_use(void) {
    NEEDS_LIBRARY();
    Shape s = {1, 16, 1, 16};
    Device *device;
    static const char *const words[][2] = {
        {"old", "device.attention is cudnn: cuDNN is 9.15, attention needs 9.16 or later"},
        {"none", "device.attention is cudnn: cuDNN proposes no attention on this GPU"}};
    for (int i = 0; i < 2; ++i) {
        setenv("DYE_EMULATED_CUDNN", words[i][0], 1);
        EXPECT_FAIL(open_device("cudnn", 1 << 20, &device), BAD_CONFIG, words[i][1]);
        Setting set = setting_open(&s, "auto", 1 << 20);
        EXPECT(strstr(set.device->description, "cuDNN") == NULL);
        expect_work(&set, &s, 0, 0);
        setting_close(&set);
    }
    setenv("DYE_EMULATED_CUDNN", "forward", 1); // gradients by products
    Setting set = setting_open(&s, "auto", 1 << 20);
    expect_work(&set, &s, 1, 1);
    setting_close(&set);
    // What breaks, as opposed to what is refused, must not make this rank go another way.
    setenv("DYE_EMULATED_CUDNN", "broken", 1);
    set = setting_open(&s, "auto", 1 << 20);
    EXPECT_FAIL(both(&set, &s, NULL, NULL), FAILED,
                "attention_forward: 1 x 16 x 1 x 16, cuDNN says"
                " CUDNN_STATUS_INTERNAL_ERROR_COMPILATION_FAILED; device.attention=products");
    setting_close(&set);
    unsetenv("DYE_EMULATED_CUDNN");
}

int main(void) {
    find_library();
    RUN(test_plans_are_kept);
    RUN(test_what_is_not_taken);
    RUN(test_small_scratch);
    RUN(test_libraries_that_are_not_of_use);
    return test_report();
}
