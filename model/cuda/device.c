// Devices of the CUDA backend: one GPU, its memory, its streams. Built as libdye_cuda.so, which
// model/backend.c opens when this backend is asked for.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if __has_include(<nvtx3/nvToolsExt.h>)
#include <nvtx3/nvToolsExt.h>
#else
#define nvtxRangePushA(name) 0
#define nvtxRangePop()       0
#endif

#include "model/backend.h"
#include "model/cuda/attention_room.h"
#include "model/cuda/matmul.h"
#include "model/cuda/stream.h"

enum { STREAMS_MOST = 16, TIMINGS = 1024, LANDINGS = 2048, ROUNDS = 2 };
enum { STAGE_BYTES = 16 << 20, STAGED_MOST = 8 << 20 }; // of a round, of one copy

typedef struct {
    cudaEvent_t begin, end;
    int op;
} Timing;

// A download that has come as far as the stage.
typedef struct {
    void *to;
    const void *from;
    size_t bytes;
} Landing;

typedef struct {
    cudaEvent_t mark[STREAM_MARKS];
    char *stage; // pinned host memory that small copies go through, so that no call waits
    size_t staged;
    Landing landing[LANDINGS];
    int landings;
} Round;

typedef struct {
    Stream base;
    cudaStream_t queue;
    cudaEvent_t reached; // what other streams come after
    Round *round;        // [ROUNDS]
    int now;             // the one that is being queued; the other is under way, or over
    void *scratch;
    size_t scratch_bytes;
    MatmulRoom *products;
    AttentionRoom *attention;
    cudaError_t error; // the first of queued work
    const char *what;  // what failed
    const char *op;    // the operation that it belongs to, or NULL
    Timing *timing;    // [TIMINGS], or NULL: operations are not timed
    int timings;       // under way
} CudaStream;

typedef struct {
    Device base;
    int processors;
    CudaStream *streams;
    Stream **pointers;
    Choices choices; // of products
    char *choice;    // as text: base.choice
} CudaDevice;

static Status cuda_failure(cudaError_t error, const char *what) {
    bool memory = error == cudaErrorMemoryAllocation;
    FAIL_IF(memory, NO_MEMORY, "the GPU has no memory for %s (`dye plan` tells what takes it)",
            what);
    FAIL(FAILED, "%s: %s (%s)", what, cudaGetErrorString(error), cudaGetErrorName(error));
}

#define CUDA_TRY(call, what)                                                                       \
    do {                                                                                           \
        cudaError_t cuda_error_ = (call);                                                          \
        if (cuda_error_ != cudaSuccess) return cuda_failure(cuda_error_, what);                    \
    } while (0)

// ---- what kernels ask for -----------------------------------------------------------------------

cudaStream_t cuda_queue(Stream *stream) {
    return ((CudaStream *)stream)->queue;
}
int cuda_processors(Stream *stream) {
    return ((CudaDevice *)stream->device)->processors;
}
void *cuda_scratch(Stream *stream) {
    return ((CudaStream *)stream)->scratch;
}
size_t cuda_scratch_bytes(Stream *stream) {
    return ((CudaStream *)stream)->scratch_bytes;
}
MatmulRoom *cuda_matmul_room(Stream *stream) {
    return ((CudaStream *)stream)->products;
}
AttentionRoom *cuda_attention_room(Stream *stream) {
    return ((CudaStream *)stream)->attention;
}

void cuda_note(Stream *stream, cudaError_t error, const char *what) {
    CudaStream *cuda = (CudaStream *)stream;
    if (error == cudaSuccess || cuda->error != cudaSuccess) return;
    cuda->error = error;
    cuda->what = what;
}

bool cuda_failed(Stream *stream) {
    return ((CudaStream *)stream)->error != cudaSuccess;
}
void *cuda_scratch_of(Stream *stream, size_t bytes) {
    if (bytes > cuda_scratch_bytes(stream))
        cuda_note(stream, cudaErrorMemoryAllocation, "intermediate results");
    return cuda_scratch(stream);
}

// ---- memory and copies --------------------------------------------------------------------------

static Status cuda_alloc(Device *device, size_t bytes, void **out) {
    *out = NULL;
    CUDA_TRY(cudaSetDevice(device->gpu), "the choice of a GPU");
    cudaError_t error = cudaMalloc(out, bytes > 0 ? bytes : 1);
    if (error == cudaErrorMemoryAllocation) {
        size_t free_bytes = 0, all = 0;
        (void)cudaGetLastError();
        CUDA_TRY(cudaMemGetInfo(&free_bytes, &all), "the GPU's memory");
        FAIL(NO_MEMORY,
             "GPU %d has no room for %zu MB: %zu of %zu MB are free; make grains smaller (more"
             " train.grains), or see `dye plan`",
             device->gpu, bytes / 1000000, free_bytes / 1000000, all / 1000000);
    }
    CUDA_TRY(error, "memory of the GPU");
    CUDA_TRY(cudaMemset(*out, 0, bytes), "memory of the GPU");
    CUDA_TRY(cudaDeviceSynchronize(), "memory of the GPU"); // our streams do not wait for that one
    return STATUS_OK;
}

static void cuda_release(Device *device, void *memory) {
    (void)device;
    (void)cudaFree(memory);
}

// The GPU has come as far: what was downloaded goes where it belongs, and the stage is free again.
static void land(CudaStream *cuda, Round *round) {
    for (int i = 0; i < round->landings && cuda->error == cudaSuccess; ++i)
        memcpy(round->landing[i].to, round->landing[i].from, round->landing[i].bytes);
    round->landings = 0;
    round->staged = 0;
}

// Waits for all of the stream.
static void settle(CudaStream *cuda) {
    cuda_note(&cuda->base, cudaStreamSynchronize(cuda->queue), "work of the GPU");
    for (int i = 1; i <= ROUNDS && cuda->round != NULL; ++i)
        land(cuda, &cuda->round[(cuda->now + i) % ROUNDS]);
}

static void *stage_take(CudaStream *cuda, size_t bytes) {
    Round *round = &cuda->round[cuda->now];
    size_t rounded = (bytes + 63) / 64 * 64;
    if (round->staged + rounded > STAGE_BYTES || round->landings == LANDINGS) settle(cuda);
    round->staged += rounded;
    return round->stage + round->staged - rounded;
}

static void copy(Stream *stream, void *to, const void *from, size_t bytes,
                 enum cudaMemcpyKind kind) {
    cuda_note(stream, cudaMemcpyAsync(to, from, bytes, kind, cuda_queue(stream)), "a copy");
}

// Whether a download that has not landed goes to where an upload comes from.
static bool is_landing(const CudaStream *cuda, const char *from, size_t bytes) {
    for (const Round *round = cuda->round; round < cuda->round + ROUNDS; ++round)
        for (int i = 0; i < round->landings; ++i) {
            const char *to = round->landing[i].to;
            if (to < from + bytes && from < to + round->landing[i].bytes) return true;
        }
    return false;
}

// From pageable memory the driver would wait for all that was queued before: as large copies do.
static void cuda_upload(Stream *stream, void *to, const void *from, size_t bytes) {
    CudaStream *cuda = (CudaStream *)stream;
    if (bytes == 0 || cuda->error != cudaSuccess) return;
    if (is_landing(cuda, from, bytes)) settle(cuda);
    bool staged = bytes <= STAGED_MOST;
    if (staged) from = memcpy(stage_take(cuda, bytes), from, bytes);
    copy(stream, to, from, bytes, cudaMemcpyHostToDevice);
    if (!staged) settle(cuda);
}

static void cuda_download(Stream *stream, void *to, const void *from, size_t bytes) {
    CudaStream *cuda = (CudaStream *)stream;
    if (bytes == 0 || cuda->error != cudaSuccess) return;
    if (bytes <= STAGED_MOST) {
        void *room = stage_take(cuda, bytes);
        Round *round = &cuda->round[cuda->now];
        round->landing[round->landings++] = (Landing){to, room, bytes};
        to = room;
    }
    copy(stream, to, from, bytes, cudaMemcpyDeviceToHost);
}

// ---- operations ---------------------------------------------------------------------------------

static void read_timings(CudaStream *cuda) {
    for (int i = 0; i < cuda->timings; ++i) {
        Timing *timing = &cuda->timing[i];
        float ms = 0;
        if (cudaEventElapsedTime(&ms, timing->begin, timing->end) == cudaSuccess)
            cuda->base.seconds[timing->op] += (double)ms / 1000;
    }
    cuda->timings = 0;
}

static Timing *timing_begin(CudaStream *cuda, int op) {
    if (cuda->timing == NULL) return NULL;
    if (cuda->timings == TIMINGS) {
        settle(cuda);
        read_timings(cuda);
    }
    Timing *timing = &cuda->timing[cuda->timings++];
    timing->op = op;
    cuda_note(&cuda->base, cudaEventRecord(timing->begin, cuda->queue), "a time");
    return timing;
}

// After a failure nothing more is queued: what comes after would only fail too, or read garbage.
#define CALL(name, Args, pointers)                                                                 \
    static void queue_##name(Stream *stream, const Args *args) {                                   \
        CudaStream *cuda = (CudaStream *)stream;                                                   \
        if (cuda->error != cudaSuccess) return;                                                    \
        Timing *timing = timing_begin(cuda, OP_##name);                                            \
        (void)nvtxRangePushA(#name); /* for Nsight; else it costs nothing */                       \
        cuda_##name(stream, args);                                                                 \
        (void)nvtxRangePop();                                                                      \
        if (timing != NULL) cuda_note(stream, cudaEventRecord(timing->end, cuda->queue), #name);   \
        if (cuda->error != cudaSuccess) cuda->op = #name;                                          \
    }
BACKEND_OPS(CALL)
#undef CALL

static Status check(const CudaStream *cuda) {
    char what[256];
    if (cuda->error == cudaSuccess) return STATUS_OK;
    snprintf(what, sizeof what, "%s%s%s", cuda->op != NULL ? cuda->op : "",
             cuda->op != NULL ? ": " : "", cuda->what);
    return cuda_failure(cuda->error, what);
}

static Status cuda_wait(Stream *stream) {
    CudaStream *cuda = (CudaStream *)stream;
    settle(cuda);
    TRY(check(cuda));
    read_timings(cuda);
    return STATUS_OK;
}

static Status cuda_mark(Stream *stream, StreamMark mark) {
    CudaStream *cuda = (CudaStream *)stream;
    CUDA_TRY(cudaEventRecord(cuda->round[cuda->now].mark[mark], cuda->queue), "a mark");
    if (mark == MARK_END) cuda->now = (cuda->now + 1) % ROUNDS;
    return STATUS_OK;
}

static Status cuda_reach(Stream *stream, double *seconds) {
    CudaStream *cuda = (CudaStream *)stream;
    Round *round = &cuda->round[(cuda->now + 1) % ROUNDS];
    float ms = 0;
    cuda_note(stream, cudaEventSynchronize(round->mark[MARK_END]), "work of the GPU");
    land(cuda, round);
    TRY(check(cuda));
    CUDA_TRY(cudaEventElapsedTime(&ms, round->mark[MARK_BEGIN], round->mark[MARK_ARRIVAL]),
             "a time");
    *seconds = (double)ms / 1000;
    return STATUS_OK;
}

static Status cuda_after(Stream *stream, Stream *other) {
    CudaStream *before = (CudaStream *)other;
    CUDA_TRY(cudaEventRecord(before->reached, before->queue), "a place on a stream");
    CUDA_TRY(cudaStreamWaitEvent(cuda_queue(stream), before->reached, 0), "a wait of a stream");
    return STATUS_OK;
}

// ---- choices ------------------------------------------------------------------------------------

static Status write_choice(CudaDevice *device) {
    char *text;
    TRY(choices_write(&device->choices, device->base.description, &text));
    free(device->choice);
    device->base.choice = device->choice = text;
    return STATUS_OK;
}

static Status cuda_measure(Device *base, bool on) {
    CudaDevice *device = (CudaDevice *)base;
    device->choices.measures = on;
    return on ? STATUS_OK : write_choice(device);
}

static Status cuda_choose(Device *base, const char *choice) {
    CudaDevice *device = (CudaDevice *)base;
    TRY(choices_read(&device->choices, choice, base->description));
    for (int i = 0; i < base->streams; ++i) {
        settle(&device->streams[i]);
        matmul_room_forget(device->streams[i].products);
    }
    return write_choice(device);
}

// ---- open and close -----------------------------------------------------------------------------

static void stream_close(CudaStream *cuda) {
    if (cuda->queue != NULL) (void)cudaStreamSynchronize(cuda->queue);
    for (int i = 0; cuda->timing != NULL && i < TIMINGS; ++i) {
        (void)cudaEventDestroy(cuda->timing[i].begin);
        (void)cudaEventDestroy(cuda->timing[i].end);
    }
    free(cuda->timing);
    matmul_room_close(cuda->products);
    attention_room_close(cuda->attention);
    for (int i = 0; cuda->round != NULL && i < ROUNDS; ++i) {
        for (int mark = 0; mark < STREAM_MARKS; ++mark)
            if (cuda->round[i].mark[mark] != NULL)
                (void)cudaEventDestroy(cuda->round[i].mark[mark]);
        (void)cudaFreeHost(cuda->round[i].stage);
    }
    free(cuda->round);
    (void)cudaFree(cuda->scratch);
    if (cuda->reached != NULL) (void)cudaEventDestroy(cuda->reached);
    if (cuda->queue != NULL) (void)cudaStreamDestroy(cuda->queue);
}

static void cuda_close(Device *base) {
    CudaDevice *device = (CudaDevice *)base;
    for (int i = 0; device->streams != NULL && i <= base->streams; ++i)
        stream_close(&device->streams[i]);
    free(device->streams);
    free(device->pointers);
    choices_clear(&device->choices);
    free(device->choice);
    free(device);
}

static Status open_timings(CudaStream *cuda) {
    cuda->timing = calloc(TIMINGS, sizeof *cuda->timing);
    FAIL_IF(cuda->timing == NULL, NO_MEMORY, "no memory for the times of operations");
    for (int i = 0; i < TIMINGS; ++i) {
        CUDA_TRY(cudaEventCreate(&cuda->timing[i].begin), "an event");
        CUDA_TRY(cudaEventCreate(&cuda->timing[i].end), "an event");
    }
    return STATUS_OK;
}

static Status open_rounds(CudaStream *cuda) {
    cuda->round = calloc(ROUNDS, sizeof *cuda->round);
    FAIL_IF(cuda->round == NULL, NO_MEMORY, "no memory for copies from the GPU");
    for (int i = 0; i < ROUNDS; ++i) {
        CUDA_TRY(cudaMallocHost((void **)&cuda->round[i].stage, STAGE_BYTES), "pinned host memory");
        for (int mark = 0; mark < STREAM_MARKS; ++mark)
            CUDA_TRY(cudaEventCreate(&cuda->round[i].mark[mark]), "an event");
    }
    return STATUS_OK;
}

// The one behind the last is the side stream.
static Status stream_open(CudaDevice *device, int index, const DeviceConfig *config) {
    CudaStream *cuda = &device->streams[index];
    bool side = index == config->streams;
    *(side ? &device->base.side : &device->pointers[index]) = &cuda->base;
    cuda->base = (Stream){.backend = device->base.backend, .device = &device->base, .index = index};
    CUDA_TRY(cudaStreamCreateWithFlags(&cuda->queue, cudaStreamNonBlocking), "a stream");
    cuda->base.native = cuda->queue;
    CUDA_TRY(cudaEventCreateWithFlags(&cuda->reached, cudaEventDisableTiming), "an event");
    if (side) return STATUS_OK;
    TRY(open_rounds(cuda));
    cuda->scratch_bytes = config->wide_bytes;
    TRY(cuda_alloc(&device->base, config->wide_bytes, &cuda->scratch));
    TRY(matmul_room_open(&device->choices, &cuda->products));
    TRY(attention_room_open(config->attention, cuda->queue, &cuda->attention));
    if (config->timed) TRY(open_timings(cuda));
    return STATUS_OK;
}

// As nvidia-smi writes it.
static void write_identity(const cudaUUID_t *uuid, char *out, size_t bytes) {
    size_t used = (size_t)snprintf(out, bytes, "GPU");
    for (int i = 0; i < 16; ++i) {
        bool dash = i == 0 || (i >= 4 && i <= 10 && i % 2 == 0);
        used += (size_t)snprintf(out + used, bytes - used, "%s%02x", dash ? "-" : "",
                                 (unsigned char)uuid->bytes[i]);
    }
}

// Once its streams are open: the libraries that they use decide bits too.
static Status describe(CudaDevice *device) {
    char products[64], attention[32];
    int driver = 0;
    struct cudaDeviceProp gpu;
    CUDA_TRY(cudaGetDeviceProperties(&gpu, device->base.gpu), "properties of the GPU");
    matmul_describe(products, sizeof products);
    attention_describe(device->streams[0].attention, attention, sizeof attention);
    (void)cudaDriverGetVersion(&driver);
    snprintf(device->base.description, sizeof device->base.description,
             "cuda %.48s, sm_%d%d, %d SMs, %.32s%.16s; driver for CUDA %d.%d", gpu.name, gpu.major,
             gpu.minor, gpu.multiProcessorCount, products, attention, driver / 1000,
             driver % 1000 / 10);
    return STATUS_OK;
}

// Words that let cuBLASLt round fp32 products to fewer bits, whatever it is asked for.
static Status check_environment(void) {
    static const char *const names[] = {"NVIDIA_TF32_OVERRIDE", "CUBLAS_EMULATE_SINGLE_PRECISION"};
    for (size_t i = 0; i < sizeof names / sizeof *names; ++i) {
        const char *word = getenv(names[i]);
        FAIL_IF(word != NULL && strcmp(word, "0") != 0, BAD_CONFIG,
                "%s=%s in the environment changes the bits of fp32 products: unset it", names[i],
                word);
    }
    return STATUS_OK;
}

static Status choose_gpu(CudaDevice *device, int gpu) {
    int count = 0;
    cudaError_t error = cudaGetDeviceCount(&count);
    FAIL_IF(error != cudaSuccess || count == 0, NOT_FOUND,
            "there is no GPU that CUDA can use here (%s); `nvidia-smi` shows what the driver sees",
            error != cudaSuccess ? cudaGetErrorString(error) : "the driver lists none");
    gpu %= count;
    CUDA_TRY(cudaSetDevice(gpu), "the choice of a GPU");
    struct cudaDeviceProp properties;
    CUDA_TRY(cudaGetDeviceProperties(&properties, gpu), "properties of the GPU");
    FAIL_IF(properties.major < 8, BAD_CONFIG,
            "GPU %d is a %s of compute capability %d.%d; Dye needs 8.0 (A100) or later", gpu,
            properties.name, properties.major, properties.minor);
    device->base.gpu = gpu;
    write_identity(&properties.uuid, device->base.identity, sizeof device->base.identity);
    device->processors = properties.multiProcessorCount;
    return STATUS_OK;
}

static Status cuda_open(const DeviceConfig *config, Device **out) {
    *out = NULL;
    FAIL_IF(config->streams > STREAMS_MOST, BAD_CONFIG,
            "%d streams of a GPU are more than %d: set device.threads, one or two are enough",
            config->streams, STREAMS_MOST);
    CudaDevice *device = calloc(1, sizeof *device);
    FAIL_IF(device == NULL, NO_MEMORY, "no memory for a device");
    Status status;
    device->base.backend = &dye_backend;
    device->base.has_half = true;
    device->base.streams = config->streams;
    device->streams = calloc((size_t)config->streams + 1, sizeof *device->streams);
    device->pointers = calloc((size_t)config->streams, sizeof *device->pointers);
    if (device->streams == NULL || device->pointers == NULL)
        FAIL_OR(failed, status, NO_MEMORY, "no memory for %d streams", config->streams);
    device->base.stream = device->pointers;
    TRY_OR(failed, status, check_environment());
    TRY_OR(failed, status, choose_gpu(device, config->gpu));
    for (int i = 0; i <= config->streams; ++i)
        TRY_OR(failed, status, stream_open(device, i, config));
    TRY_OR(failed, status, describe(device));
    *out = &device->base;
    return STATUS_OK;
failed:
    cuda_close(&device->base);
    return status;
}

#define ENTRY(name, Args, pointers) .name = queue_##name,
const Backend dye_backend = {.name = "cuda",
                             .open = cuda_open,
                             .close = cuda_close,
                             .alloc = cuda_alloc,
                             .release = cuda_release,
                             .upload = cuda_upload,
                             .download = cuda_download,
                             .wait = cuda_wait,
                             .after = cuda_after,
                             .mark = cuda_mark,
                             .reach = cuda_reach,
                             .measure = cuda_measure,
                             .choose = cuda_choose,
                             BACKEND_OPS(ENTRY)};
#undef ENTRY
