// The late backend keeps its promises: same numbers as the CPU backend, and what it must notice.
#include "tests/model/support_late.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "tests/model/support_ops.h"
#include "tests/test.h"

enum { ROWS = 37, IN = 24, OUT = 40, TOKENS = 12, SCRATCH = 1 << 16 };

static Device *open_device(const char *backend, int streams) {
    Device *device = NULL;
    DeviceConfig config = {.backend = backend, .streams = streams, .scratch_bytes = SCRATCH};
    EXPECT_OK(device_open(&config, &device));
    if (device == NULL) exit(test_report());
    return device;
}

static float *device_numbers(Device *device, int64_t n) {
    void *memory = NULL;
    EXPECT_OK(device_alloc(device, (size_t)n * sizeof(float), &memory));
    return memory;
}

// A dense layer and an attention on each stream, all queued before the first wait.
static void compute(const char *backend, float *y, float *out) {
    Device *device = open_device(backend, 2);
    float *host_x = ops_numbers(ROWS * IN, 1), *host_w = ops_numbers(OUT * IN, 2);
    float *x = device_numbers(device, ROWS * IN), *w = device_numbers(device, OUT * IN);
    float *bias = device_numbers(device, OUT), *slope = device_numbers(device, ROWS * OUT);
    float *device_y = device_numbers(device, ROWS * OUT);
    float *lse = device_numbers(device, TOKENS), *device_out = device_numbers(device, TOKENS * 8);
    Stream *stream = device_stream(device, 1);
    stream_upload(stream, x, host_x, ROWS * IN * sizeof(float));
    stream_upload(stream, w, host_w, OUT * IN * sizeof(float));
    linear_forward(stream, (LinearLayer){.x = x,
                                         .w = w,
                                         .bias = bias,
                                         .slope = slope,
                                         .y = device_y,
                                         .rows = ROWS,
                                         .in = IN,
                                         .out = OUT,
                                         .act = ACT_GELU});
    attention_forward(stream, (Attention){.qkv = slope,
                                          .out = device_out,
                                          .lse = lse,
                                          .samples = 1,
                                          .tokens = TOKENS,
                                          .heads = 1,
                                          .head_dim = 8});
    stream_download(stream, y, device_y, ROWS * OUT * sizeof(float));
    stream_download(stream, out, device_out, TOKENS * 8 * sizeof(float));
    EXPECT_OK(stream_wait(stream));
    float *all[] = {x, w, bias, slope, device_y, lse, device_out};
    for (size_t i = 0; i < sizeof all / sizeof *all; ++i) device_release(device, all[i]);
    device_close(device);
    free(host_x), free(host_w);
}

static void test_numbers_are_those_of_the_cpu(void) {
    static float y[2][ROWS * OUT], out[2][TOKENS * 8];
    compute("cpu", y[0], out[0]);
    compute("late", y[1], out[1]);
    EXPECT(memcmp(y[0], y[1], sizeof y[0]) == 0);
    EXPECT(memcmp(out[0], out[1], sizeof out[0]) == 0);
    EXPECT(y[0][0] != 0 && out[0][0] != 0);
}

// The status of a child that runs `body` on device memory.
static int child_status(void (*body)(Device *device, volatile float *memory)) {
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        signal(SIGSEGV, SIG_DFL);
        if (freopen("/dev/null", "w", stderr) == NULL) _exit(3);
        Device *device = open_device("late", 1);
        body(device, device_numbers(device, 16));
        _exit(0);
    }
    int status = 0;
    EXPECT(waitpid(child, &status, 0) == child);
    return status;
}

static void body_nothing(Device *device, volatile float *memory) {
    (void)device, (void)memory;
}

static void body_read(Device *device, volatile float *memory) {
    (void)device;
    float first = memory[0];
    (void)first;
}

static void body_write(Device *device, volatile float *memory) {
    (void)device;
    memory[3] = 1;
}

static void body_host_argument(Device *device, volatile float *memory) {
    float host[16];
    activation_forward(device_stream(device, 0),
                       (Elementwise){.x = host, .y = (float *)memory, .n = 16});
}

static void body_host_upload(Device *device, volatile float *memory) {
    float host[16], other[16] = {0};
    (void)memory;
    stream_upload(device_stream(device, 0), host, other, sizeof host);
}

static void test_host_access_crashes(void) {
    int nothing = child_status(body_nothing), read = child_status(body_read);
    int write = child_status(body_write);
    EXPECT(WIFEXITED(nothing) && WEXITSTATUS(nothing) == 0);
    EXPECT(WIFSIGNALED(read) && WTERMSIG(read) == SIGSEGV);
    EXPECT(WIFSIGNALED(write) && WTERMSIG(write) == SIGSEGV);
    EXPECT_EQ(WEXITSTATUS(child_status(body_host_argument)), EXIT_BUG);
    EXPECT_EQ(WEXITSTATUS(child_status(body_host_upload)), EXIT_BUG);
}

// The mistake: a source is changed before the wait. A backend that copies at once would hide it.
static void test_reused_upload_buffer_is_noticed(void) {
    Device *device = open_device("late", 1);
    Stream *stream = device_stream(device, 0);
    float *memory = device_numbers(device, 1), host, back;
    for (int i = 0; i < 200; ++i) {
        host = 1;
        stream_upload(stream, memory, &host, sizeof host);
        host = 2;
        stream_download(stream, &back, memory, sizeof back);
        EXPECT_OK(stream_wait(stream));
        EXPECT(back == 2);
    }
    device_close(device);
}

static void test_early_read_of_a_download_is_noticed(void) {
    Device *device = open_device("late", 1);
    Stream *stream = device_stream(device, 0);
    float *memory = device_numbers(device, 1), host = 1;
    volatile float back = 5;
    for (int i = 0; i < 200; ++i) {
        back = 5;
        stream_upload(stream, memory, &host, sizeof host);
        stream_download(stream, (float *)&back, memory, sizeof back);
        EXPECT(back == 5);
        EXPECT_OK(stream_wait(stream));
        EXPECT(back == 1);
    }
    device_close(device);
}

static void test_memory_is_zeroed_when_used_again(void) {
    Device *device = open_device("late", 1);
    Stream *stream = device_stream(device, 0);
    float ones[8] = {1, 1, 1, 1, 1, 1, 1, 1}, back[8];
    float *first = device_numbers(device, 8);
    stream_upload(stream, first, ones, sizeof ones);
    EXPECT_OK(stream_wait(stream));
    device_release(device, first);
    float *second = device_numbers(device, 8);
    EXPECT(second == first);
    stream_download(stream, back, second, sizeof back);
    EXPECT_OK(stream_wait(stream));
    for (int i = 0; i < 8; ++i) EXPECT(back[i] == 0);
    void *much;
    EXPECT_FAIL(device_alloc(device, (size_t)LATE_ARENA_BYTES, &much), NO_MEMORY, "late device");
    device_close(device);
}

// More calls than a ring has places, without a wait.
static void test_many_calls(void) {
    enum { CALLS = 3000 };
    Device *device = open_device("late", 2);
    float *x = device_numbers(device, 4), *y = device_numbers(device, 4), back[4] = {0};
    float one[4] = {1, 1, 1, 1};
    Stream *stream = device_stream(device, 0);
    stream_upload(stream, x, one, sizeof one);
    for (int i = 0; i < CALLS; ++i)
        axpby(stream, (Elementwise){.x = x, .y = y, .n = 4, .a = 1, .b = 1});
    stream_download(stream, back, y, sizeof back);
    EXPECT_OK(stream_wait(stream));
    EXPECT_EQ(back[3], CALLS);
    device_close(device);
}

int main(void) {
    late_register();
    late_register();
    RUN(test_numbers_are_those_of_the_cpu);
    RUN(test_host_access_crashes);
    RUN(test_reused_upload_buffer_is_noticed);
    RUN(test_early_read_of_a_download_is_noticed);
    RUN(test_memory_is_zeroed_when_used_again);
    RUN(test_many_calls);
    return test_report();
}
