// The best rates that this device reaches: large products and copies, by the operations of a step;
// and multiply-adds in a processor's registers.
#include <immintrin.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/rng.h"
#include "base/thread.h"
#include "launch/bench/bench.h"

double bench_op_seconds(const Engine *engine, int op) {
    double seconds = 0;
    for (int i = 0; i < engine->lanes; ++i) seconds += engine->lane[i].stream->seconds[op];
    return seconds;
}

// `bytes` of numbers that are neither zeros nor all alike, which a GPU would multiply with less
// power, hence faster; as bf16 they are numbers, too.
static Status fill(Stream *stream, void *to, size_t bytes) {
    enum { NUMBERS = 1 << 20 };
    float *host = malloc(NUMBERS * sizeof *host);
    FAIL_IF(host == NULL, NO_MEMORY, "no memory for numbers to multiply");
    RngKey key = rng_key(0, RNG_DATA, 0);
    for (uint32_t i = 0; i < NUMBERS; i += 4) {
        uint32_t bits[4];
        rng_block(key, 0, i / 4, bits);
        for (int k = 0; k < 4; ++k) {
            // Both halves of a number are a bf16 between 1/2 and 2.
            uint32_t pair = (bits[k] & 0x80ff80ff) | 0x3f003f00;
            memcpy(&host[i + (uint32_t)k], &pair, sizeof pair);
        }
    }
    for (size_t at = 0, piece = NUMBERS * sizeof *host; at < bytes; at += piece)
        stream_upload(stream, (char *)to + at, host, bytes - at < piece ? bytes - at : piece);
    Status status = stream_wait(stream);
    free(host);
    return status;
}

// ---- large products ---------------------------------------------------------------------------

// A processor's small one fits between the turns of others on its cores; a GPU's tells what the
// larger ones will take.
enum { SIDES = 3 };
static const int64_t host_sides[SIDES] = {512, 1024, 2048}, gpu_sides[SIDES] = {512, 2048, 8192};

typedef struct {
    Bench *bench;
    bool half;
    int64_t side;
    void *x, *w, *y; // y: one for each stream
} Square;

static Status square_open(Square *square) {
    const Engine *engine = square->bench->engine;
    size_t bytes = (size_t)(square->side * square->side) * (square->half ? 2 : sizeof(float));
    TRY(device_alloc(engine->device, bytes, &square->x));
    TRY(device_alloc(engine->device, bytes, &square->w));
    TRY(device_alloc(engine->device, bytes * (size_t)engine->lanes, &square->y));
    TRY(fill(engine->lane[0].stream, square->x, bytes));
    return fill(engine->lane[0].stream, square->w, bytes);
}

static void square_close(Square *square) {
    Device *device = square->bench->engine->device;
    device_release(device, square->x);
    device_release(device, square->w);
    device_release(device, square->y);
}

// FLOP/s of a stream while all execute one product.
static Status square_rate(const Square *square, double *rate) {
    const Engine *engine = square->bench->engine;
    int64_t side = square->side, bytes = side * side * (square->half ? 2 : 4);
    double flops = 2 * (double)side * (double)side * (double)side;
    double before = bench_op_seconds(engine, OP_linear_forward);
    for (int i = 0; i < engine->lanes; ++i)
        linear_forward(engine->lane[i].stream, (LinearLayer){.x = square->x,
                                                             .w = square->w,
                                                             .y = (char *)square->y + i * bytes,
                                                             .rows = side,
                                                             .in = side,
                                                             .out = side,
                                                             .half = square->half});
    TRY(engine_wait(engine));
    *rate = flops * engine->lanes / (bench_op_seconds(engine, OP_linear_forward) - before);
    return STATUS_OK;
}

static Status square_measure(const Square *square, double seconds) {
    double *best = &square->bench->peak[square->half], rate;
    TRY(square_rate(square, &rate)); // the kernel is made here
    double until = clock_now() + seconds;
    do {
        TRY(square_rate(square, &rate));
        if (rate > *best) *best = rate;
    } while (clock_now() < until && !bench_asked());
    return STATUS_OK;
}

Status bench_peak(Bench *bench, bool half, double seconds) {
    const int64_t *sides = bench->engine->device->on_host ? host_sides : gpu_sides;
    for (int i = 0; i < SIDES; ++i) {
        Square square = {.bench = bench, .half = half, .side = sides[i]};
        double volume = (double)(sides[i] * sides[i] * sides[i]);
        // A side that cannot be measured twice in its time is left out, on all ranks.
        double skip = bench_asked() || (i > 0 && 4 * volume / bench->peak[half] > seconds / SIDES);
        TRY(bench_sum(bench, &skip, 1));
        if (skip > 0) continue;
        Status status = square_open(&square);
        if (status == STATUS_OK) status = square_measure(&square, seconds / SIDES);
        square_close(&square);
        TRY(status);
    }
    return STATUS_OK;
}

// ---- copies -----------------------------------------------------------------------------------

// Of all streams of a rank, what is read and what is written together. The small ones tell what the
// larger ones will take; caches hold less than the last.
enum { COPIES = 3 };
static const size_t host_copies[COPIES] = {4 << 20, 64 << 20, 256 << 20},
                    gpu_copies[COPIES] = {4 << 20, 64 << 20, (size_t)2 << 30};
static const double copy_most = 1; // seconds of one

// Bytes a second of a stream while all copy their share.
static Status copy_rate(const Bench *bench, const void *from, void *to, size_t bytes,
                        double *rate) {
    const Engine *engine = bench->engine;
    int64_t n = (int64_t)(bytes / 2 / sizeof(float)) / engine->lanes;
    double before = bench_op_seconds(engine, OP_axpby);
    for (int i = 0; i < engine->lanes; ++i)
        axpby(engine->lane[i].stream,
              (Elementwise){
                  .x = (const float *)from + i * n, .y = (float *)to + i * n, .n = n, .a = 1});
    TRY(engine_wait(engine));
    *rate = 2 * sizeof(float) * (double)n * engine->lanes /
            (bench_op_seconds(engine, OP_axpby) - before);
    return STATUS_OK;
}

static Status copy_measure(const Bench *bench, const void *from, void *to, size_t bytes,
                           double seconds, double *best) {
    double rate;
    TRY(fill(bench->engine->lane[0].stream, (void *)(uintptr_t)from, bytes / 2));
    TRY(copy_rate(bench, from, to, bytes, &rate)); // pages
    *best = 0;
    double until = clock_now() + seconds;
    do {
        TRY(copy_rate(bench, from, to, bytes, &rate));
        if (rate > *best) *best = rate;
    } while (clock_now() < until && !bench_asked());
    return STATUS_OK;
}

// Of one size, unless it has no room or a rank would take too long. *rate: of the size before.
static Status copy_size(Bench *bench, size_t bytes, double seconds, double *rate) {
    Device *device = bench->engine->device;
    void *from = NULL, *to = NULL;
    double skip =
        bench_asked() || (*rate > 0 && (double)bytes / bench->engine->lanes / *rate > copy_most);
    Status status = skip > 0 ? STATUS_OK : device_alloc(device, bytes / 2, &from);
    if (status == STATUS_OK && skip == 0) status = device_alloc(device, bytes / 2, &to);
    if (status == STATUS_NO_MEMORY) {
        error_clear();
        status = STATUS_OK;
        skip = 1;
    }
    if (status == STATUS_OK) status = bench_sum(bench, &skip, 1);
    if (status == STATUS_OK && skip == 0)
        status = copy_measure(bench, from, to, bytes, seconds, rate);
    device_release(device, from);
    device_release(device, to);
    return status;
}

Status bench_bandwidth(Bench *bench, double seconds) {
    bool on_host = bench->engine->device->on_host;
    double rate = 0;
    for (int i = 0; i < COPIES; ++i)
        TRY(copy_size(bench, on_host ? host_copies[i] : gpu_copies[i], i + 1 < COPIES ? 0 : seconds,
                      &rate));
    if (rate > bench->bandwidth) bench->bandwidth = rate;
    return STATUS_OK;
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
