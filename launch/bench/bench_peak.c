// The best rates that this processor reaches: large products, and multiply-adds in registers.
#include <immintrin.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/thread.h"
#include "launch/bench/bench.h"

// ---- large products ---------------------------------------------------------------------------

// The small one for processors that others use too: it fits between their turns.
static const int64_t sides[] = {512, 1024, 2048};
enum { SIDES = sizeof sides / sizeof *sides, SIDE_MOST = 2048 };

typedef struct {
    Bench *bench;
    bool half;
    void *x, *w, *y; // y: one for each stream
} Square;

// 1.0 in fp32; in bf16 pairs of 0x3f80 and 0: no product overflows or is denormal.
static Status square_open(Bench *bench, bool half, Square *out) {
    const Engine *engine = bench->engine;
    int64_t numbers = SIDE_MOST * SIDE_MOST;
    size_t bytes = (size_t)numbers * sizeof(float);
    *out = (Square){.bench = bench, .half = half};
    TRY(device_alloc(engine->device, bytes, &out->x));
    TRY(device_alloc(engine->device, bytes, &out->w));
    TRY(device_alloc(engine->device, bytes * (size_t)engine->lanes, &out->y));
    float *host = malloc(bytes);
    FAIL_IF(host == NULL, NO_MEMORY, "no memory for %zu bytes of a matrix", bytes);
    for (int64_t i = 0; i < numbers; ++i) host[i] = 1;
    stream_upload(engine->lane[0].stream, out->x, host, bytes);
    stream_upload(engine->lane[0].stream, out->w, host, bytes);
    Status status = stream_wait(engine->lane[0].stream);
    free(host);
    return status;
}

static void square_close(Square *square) {
    Device *device = square->bench->engine->device;
    device_release(device, square->x);
    device_release(device, square->w);
    device_release(device, square->y);
}

// FLOP/s of a stream while all execute one product.
static Status square_rate(const Square *square, int64_t side, double *rate) {
    const Engine *engine = square->bench->engine;
    double flops = 2 * (double)side * (double)side * (double)side, seconds = 0;
    for (int i = 0; i < engine->lanes; ++i)
        seconds -= engine->lane[i].stream->seconds[OP_linear_forward];
    for (int i = 0; i < engine->lanes; ++i)
        linear_forward(engine->lane[i].stream,
                       (LinearLayer){.x = square->x,
                                     .w = square->w,
                                     .y = (float *)square->y + i * SIDE_MOST * SIDE_MOST,
                                     .rows = side,
                                     .in = side,
                                     .out = side,
                                     .half = square->half});
    TRY(engine_wait(engine));
    for (int i = 0; i < engine->lanes; ++i)
        seconds += engine->lane[i].stream->seconds[OP_linear_forward];
    *rate = flops * engine->lanes / seconds;
    return STATUS_OK;
}

static Status square_measure(const Square *square, double seconds) {
    double *best = &square->bench->peak[square->half];
    for (int i = 0; i < SIDES; ++i) {
        double rate = 0, volume = (double)(sides[i] * sides[i] * sides[i]);
        // A side that cannot be measured twice in its time is left out, on all ranks.
        double skip = i > 0 && 4 * volume / *best > seconds / SIDES;
        TRY(bench_sum(square->bench, &skip, 1));
        if (skip > 0) continue;
        TRY(square_rate(square, sides[i], &rate)); // the kernel is made here
        double until = clock_now() + seconds / SIDES;
        do {
            TRY(square_rate(square, sides[i], &rate));
            if (rate > *best) *best = rate;
        } while (clock_now() < until && !bench_asked());
    }
    return STATUS_OK;
}

Status bench_peak(Bench *bench, bool half, double seconds) {
    Square square;
    Status status = square_open(bench, half, &square);
    if (status == STATUS_OK) status = square_measure(&square, seconds);
    square_close(&square);
    return status;
}

// ---- multiply-adds in registers ---------------------------------------------------------------

enum { CHAINS = 12, LOOP_ROUNDS = 1 << 16 }; // latency 4 times two units, and some

#define FMA_LOOP(name, isa, Vector, set, fma)                                                      \
    __attribute__((target(isa))) static float name(void) {                                         \
        Vector sum[CHAINS], x = set(0.5f), y = set(1.0f);                                          \
        for (int k = 0; k < CHAINS; ++k) sum[k] = set((float)k);                                   \
        for (int i = 0; i < LOOP_ROUNDS; ++i)                                                      \
            for (int k = 0; k < CHAINS; ++k) sum[k] = fma(sum[k], x, y);                           \
        float total = 0;                                                                           \
        for (int k = 0; k < CHAINS; ++k) total += ((float *)&sum[k])[0];                           \
        return total;                                                                              \
    }
FMA_LOOP(loop_avx512, "avx512f", __m512, _mm512_set1_ps, _mm512_fmadd_ps)
FMA_LOOP(loop_avx2, "avx2,fma", __m256, _mm256_set1_ps, _mm256_fmadd_ps)
#undef FMA_LOOP

typedef struct {
    float (*loop)(void);
    int lanes, core;
    double seconds, rate;
    float total; // keeps the loop from being left out
} FmaThread;

static void *fma_main(void *argument) {
    FmaThread *thread = argument;
    double began = clock_now(), before = began, now;
    do {
        thread->total += thread->loop();
        now = clock_now();
        double rate = 2.0 * CHAINS * LOOP_ROUNDS * thread->lanes / (now - before);
        if (rate > thread->rate) thread->rate = rate;
        before = now;
    } while (now - began < thread->seconds);
    return NULL;
}

static bool fma_start(FmaThread *thread, pthread_t *id) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    if (thread->core >= 0) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET((size_t)thread->core, &set);
        pthread_attr_setaffinity_np(&attributes, sizeof set, &set);
    }
    int error = thread_start(id, "dye-peak", &attributes, fma_main, thread);
    pthread_attr_destroy(&attributes);
    return error == 0;
}

double bench_fma_peak(const Cores *cores, int threads, double seconds) {
    bool wide = __builtin_cpu_supports("avx512f");
    if (!wide && !(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))) return 0;
    static FmaThread thread[CORES_MOST];
    static pthread_t id[CORES_MOST];
    double rate = 0;
    int started = 0;
    for (; started < threads; ++started) {
        thread[started] = (FmaThread){.loop = wide ? loop_avx512 : loop_avx2,
                                      .lanes = wide ? 16 : 8,
                                      .core = cores->pinned ? cores->core[started] : -1,
                                      .seconds = seconds};
        if (!fma_start(&thread[started], &id[started])) break;
    }
    for (int i = 0; i < started; ++i) {
        pthread_join(id[i], NULL);
        rate += thread[i].rate;
    }
    return started > 0 ? rate / started : 0;
}
