// Opening devices, memory, queues and errors of the CPU backend.
#include "model/backend.h"

#include <dirent.h>
#include <sched.h>

#include "tests/test.h"

static Device *open_cpu(int streams) {
    Device *device = NULL;
    DeviceConfig config = {.backend = "cpu", .streams = streams, .scratch_bytes = 4096};
    EXPECT_OK(device_open(&config, &device));
    return device;
}

static void test_description_names_what_runs(void) {
    Device *device = open_cpu(1);
    if (device == NULL) return;
    printf("     %s\n", device->description);
    EXPECT(strncmp(device->description, "cpu v", 5) == 0);
    EXPECT(strstr(device->description, "oneDNN 2.") != NULL);
    bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (wide) EXPECT(strstr(device->description, " avx512_core") != NULL);
    device_close(device);
}

static int thread_count(void) {
    int count = -2; // . and ..
    DIR *folder = opendir("/proc/self/task");
    if (folder == NULL) return 0;
    while (readdir(folder) != NULL) ++count;
    closedir(folder);
    return count;
}

// The matrix library must not start threads of its own, whatever the environment wishes.
static void test_products_stay_on_their_thread(void) {
    enum { SIDE = 300, STREAMS = 2 };
    Device *device = open_cpu(STREAMS);
    if (device == NULL) return;
    float *memory = NULL;
    EXPECT_OK(device_alloc(device, 3 * SIDE * SIDE * sizeof *memory, (void **)&memory));
    linear_forward(device_stream(device, 1), (LinearLayer){.x = memory,
                                                           .w = memory + SIDE * SIDE,
                                                           .bias = memory,
                                                           .y = memory + 2 * SIDE * SIDE,
                                                           .rows = SIDE,
                                                           .in = SIDE,
                                                           .out = SIDE});
    EXPECT_OK(stream_wait(device_stream(device, 1)));
    EXPECT_EQ(thread_count(), 1 + STREAMS);
    device_release(device, memory);
    device_close(device);
}

static void test_memory_is_zeroed_and_aligned(void) {
    static const size_t sizes[] = {0, 1, 64, 1000, 3 << 20};
    Device *device = open_cpu(1);
    if (device == NULL) return;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; ++i) {
        unsigned char *memory = NULL;
        EXPECT_OK(device_alloc(device, sizes[i], (void **)&memory));
        EXPECT_EQ((uintptr_t)memory % 64, 0);
        size_t set = 0;
        for (size_t k = 0; k < sizes[i]; ++k) set += memory[k] != 0;
        EXPECT_EQ(set, 0);
        memset(memory, 0xFF, sizes[i]); // the next one of this size may get the same memory
        device_release(device, memory);
    }
    void *memory;
    EXPECT_FAIL(device_alloc(device, SIZE_MAX / 4 * 3, &memory), NO_MEMORY, "bytes");
    EXPECT_FAIL(device_alloc(device, SIZE_MAX, &memory), NO_MEMORY, "bytes");
    device_close(device);
}

// Far more calls than a ring has places, on three streams at once.
static void test_more_calls_than_places(void) {
    enum { CALLS = 5000, STREAMS = 3, WIDTH = 40 };
    Device *device = open_cpu(STREAMS);
    if (device == NULL) return;
    float *y[STREAMS], one[WIDTH], result[STREAMS][WIDTH];
    void *x = NULL;
    for (int i = 0; i < WIDTH; ++i) one[i] = 1;
    EXPECT_OK(device_alloc(device, sizeof one, &x));
    stream_upload(device_stream(device, 0), x, one, sizeof one);
    EXPECT_OK(stream_wait(device_stream(device, 0)));
    for (int s = 0; s < STREAMS; ++s) EXPECT_OK(device_alloc(device, sizeof one, (void **)&y[s]));
    for (int i = 0; i < CALLS; ++i)
        for (int s = 0; s < STREAMS; ++s)
            axpby(device_stream(device, s),
                  (Elementwise){.x = x, .y = y[s], .n = WIDTH, .a = 1, .b = 1});
    for (int s = 0; s < STREAMS; ++s) {
        stream_download(device_stream(device, s), result[s], y[s], sizeof one);
        EXPECT_OK(stream_wait(device_stream(device, s)));
        for (int i = 0; i < WIDTH; ++i) EXPECT_EQ(result[s][i], CALLS);
        device_release(device, y[s]);
    }
    device_release(device, x);
    device_close(device);
}

// Waits of all lengths between calls: a lost wake-up would hang here.
static void test_waits_of_all_lengths(void) {
    Device *device = open_cpu(1);
    if (device == NULL) return;
    Stream *stream = device_stream(device, 0);
    int32_t *counter = NULL, host = 0;
    EXPECT_OK(device_alloc(device, sizeof *counter, (void **)&counter));
    for (int32_t i = 0; i < 3000; ++i) {
        for (volatile int pause = 0; pause < i % 97 * 300; ++pause) continue;
        stream_upload(stream, counter, &i, sizeof i);
        stream_download(stream, &host, counter, sizeof host);
        EXPECT_OK(stream_wait(stream));
        if (host != i) TEST_FAIL("call %d left %d", i, host);
    }
    device_release(device, counter);
    device_close(device);
}

static void test_close_executes_what_is_queued(void) {
    Device *device = open_cpu(2);
    if (device == NULL) return;
    float from = 3, to = 0;
    for (int i = 0; i < 50; ++i) stream_upload(device_stream(device, 1), &to, &from, sizeof from);
    device_close(device);
    EXPECT_EQ(to, 3);
    device_close(NULL);
}

static void test_streams_can_be_pinned(void) {
    cpu_set_t allowed;
    EXPECT_EQ(sched_getaffinity(0, sizeof allowed, &allowed), 0);
    int first = 0, outside = 0;
    while (!CPU_ISSET((size_t)first, &allowed)) ++first;
    while (CPU_ISSET((size_t)outside, &allowed)) ++outside;
    Device *device = NULL;
    DeviceConfig config = {.backend = "cpu", .streams = 2, .core = (int[]){first, first}};
    EXPECT_OK(device_open(&config, &device));
    device_close(device);
    config.core = (int[]){first, outside};
    EXPECT_FAIL(device_open(&config, &device), BAD_CONFIG, "core");
    EXPECT(device == NULL);
}

static void test_bad_configs_are_refused(void) {
    Device *device = NULL;
    DeviceConfig config = {.backend = "tpu", .streams = 1};
    EXPECT_FAIL(device_open(&config, &device), BAD_CONFIG,
                "\"tpu\" in this build; choose one of: cpu");
    config = (DeviceConfig){.backend = "cpu", .streams = 0};
    EXPECT_FAIL(device_open(&config, &device), BAD_CONFIG, "at least one stream");
    config = (DeviceConfig){.backend = "cpu", .streams = 100000};
    EXPECT_FAIL(device_open(&config, &device), BAD_CONFIG, "100000 streams");
    config = (DeviceConfig){.backend = "cpu", .streams = 1, .isa = "v9"};
    EXPECT_FAIL(device_open(&config, &device), BAD_CONFIG, "\"v9\"");
}

int main(void) {
    RUN(test_description_names_what_runs);
    RUN(test_products_stay_on_their_thread);
    RUN(test_memory_is_zeroed_and_aligned);
    RUN(test_more_calls_than_places);
    RUN(test_waits_of_all_lengths);
    RUN(test_close_executes_what_is_queued);
    RUN(test_streams_can_be_pinned);
    RUN(test_bad_configs_are_refused);
    return test_report();
}
