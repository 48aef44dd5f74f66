// Kernels of a network's inputs and outputs: tables, patches, Fourier features, codes.
#include "model/cuda/launch.cuh"
#include "model/math/input.h"

// A loop over rows that the warps of the grid share.
#define EACH_WARP(row, n)                                                                          \
    for (int64_t row = warp_number(); row < (n); row += (int64_t)gridDim.x * blockDim.x / WARP)

// ---- tables -------------------------------------------------------------------------------------

static __global__ void embed_forward_kernel(Embed a) {
    EACH_WARP(r, a.rows) {
        const float *row = a.table + embed_id(&a, r) * a.width;
        const float *add = a.add != NULL ? a.add + r % a.add_rows * a.width : NULL;
        EACH_LANE(c, a.width)
        a.y[r * a.width + c] = add != NULL ? row[c] + add[c] : row[c];
    }
}
OPERATION(embed_forward, Embed, grid_of(stream, (args->rows * WARP)))

// The gradient: rows are put in order of their ids, those of one id as they come; a block then adds
// up RUN_ROWS rows in this order, which are of one id or of several; last, each entry adds up what
// these blocks found of it. So neither few entries nor one that most rows have leaves the device
// idle, and room is needed for less than a table and a RUN_ROWSth of dy. What a run finds of an
// entry has place run + entry in `found`: both only grow from one sum to the next, hence no two
// have the same.
enum { RUN_ROWS = 64, RUN_COLUMNS = 128, AT_ONCE = 8 };

typedef struct {
    Embed a;
    int64_t runs, slices;    // slices: blocks that share the columns of a run or an entry
    float *found;            // [entries + runs, width]
    int32_t *begin;          // [entries]: where the rows of an entry begin, in order
    int32_t *row_at, *id_at; // [rows], in order
} EmbedGrad;

// The sum of x over all lanes up to this one.
__device__ static inline int warp_sum_to(int x) {
    int lane = threadIdx.x % WARP;
    for (int by = 1; by < WARP; by *= 2) {
        int y = __shfl_sync(~0u, x, lane < by ? lane : lane - by);
        x += lane < by ? 0 : y;
    }
    return x;
}

// A block finds the rows of an entry: each warp counts those of its part, then writes them.
static __global__ void order_kernel(EmbedGrad g) {
    int *of_warp = (int *)(kernel_room + REDUCE_BYTES);
    int64_t entry = blockIdx.x, lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    int64_t part = (g.a.rows + blockDim.x - 1) / blockDim.x * WARP, first = warp * part;
    int64_t end = first + part < g.a.rows ? first + part : g.a.rows;
    int less = 0, equal = 0;
    for (int64_t r = first + lane; r < end; r += WARP) {
        int64_t id = embed_id(&g.a, r);
        less += id < entry;
        equal += id == entry;
    }
    equal = warp_sum(equal);
    if (lane == 0) of_warp[warp] = equal;
    int at = block_sum(less); // its barriers are of_warp's too
    if (threadIdx.x == 0) g.begin[entry] = at;
    for (int64_t w = 0; w < warp; ++w) at += of_warp[w];
    for (int64_t r = first; r < end && equal > 0; r += WARP) {
        int is = r + lane < end && embed_id(&g.a, r + lane) == entry, to = warp_sum_to(is);
        if (is) {
            g.row_at[at + to - 1] = (int32_t)(r + lane);
            g.id_at[at + to - 1] = (int32_t)entry;
        }
        at += __shfl_sync(~0u, to, WARP - 1);
    }
}

static __global__ void run_kernel(EmbedGrad g) {
    int64_t run = blockIdx.x / g.slices, width = g.a.width, first = run * RUN_ROWS;
    int64_t column = blockIdx.x % g.slices * RUN_COLUMNS + threadIdx.x;
    int64_t end = first + RUN_ROWS < g.a.rows ? first + RUN_ROWS : g.a.rows;
    if (column >= width) return;
    int32_t id = g.id_at[first];
    float sum = 0.0f;
    for (int64_t i = first; i < end; i += AT_ONCE) {
        float x[AT_ONCE]; // loads that do not wait for each other
        for (int k = 0; k < AT_ONCE; ++k)
            x[k] = i + k < end ? g.a.dy[g.row_at[i + k] * width + column] : 0.0f;
        for (int k = 0; k < AT_ONCE && i + k < end; ++k) {
            if (g.id_at[i + k] != id) {
                g.found[(run + id) * width + column] = sum;
                sum = 0.0f;
                id = g.id_at[i + k];
            }
            sum += x[k];
        }
    }
    g.found[(run + id) * width + column] = sum;
}

// Warps add every eighth run of an entry, then the first adds theirs in their order.
static __global__ void entry_kernel(EmbedGrad g) {
    float *of_warp = (float *)(kernel_room + REDUCE_BYTES);
    int64_t entry = blockIdx.x / g.slices, width = g.a.width, warps = blockDim.x / WARP;
    int64_t column = blockIdx.x % g.slices * WARP + threadIdx.x % WARP;
    int64_t begin = g.begin[entry], end = entry + 1 < g.a.entries ? g.begin[entry + 1] : g.a.rows;
    int64_t last = begin < end ? (end - 1) / RUN_ROWS : -1;
    float sum = 0.0f;
    for (int64_t run = begin / RUN_ROWS + threadIdx.x / WARP; run <= last; run += warps)
        if (column < width) sum += g.found[(run + entry) * width + column];
    of_warp[threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.x >= WARP || column >= width) return;
    for (int64_t w = 1; w < warps; ++w) sum += of_warp[w * WARP + threadIdx.x];
    float *to = &g.a.dtable[entry * width + column];
    *to = sum + (g.a.accumulate ? *to : 0.0f);
}

extern "C" void cuda_embed_grad(Stream *stream, const Embed *args) {
    int64_t rows = args->rows, entries = args->entries, width = args->width;
    int64_t runs = (rows + RUN_ROWS - 1) / RUN_ROWS;
    int64_t slices = (width + RUN_COLUMNS - 1) / RUN_COLUMNS;
    size_t numbers = (size_t)((entries + runs) * width + entries + 2 * rows);
    float *found = (float *)cuda_scratch_of(stream, numbers * sizeof(float));
    int32_t *begin = (int32_t *)(found + (entries + runs) * width);
    EmbedGrad g = {*args, runs, slices, found, begin, begin + entries, begin + entries + rows};
    size_t room = REDUCE_BYTES + BLOCK_THREADS * sizeof(float);
    launch(stream, order_kernel, {entries, BLOCK_THREADS, room}, g);
    launch(stream, run_kernel, {runs * slices, RUN_COLUMNS, 0}, g);
    g.slices = (width + WARP - 1) / WARP;
    launch(stream, entry_kernel, {entries * g.slices, BLOCK_THREADS, room}, g);
}

// ---- patches ------------------------------------------------------------------------------------

// A warp copies a row of an image.
static __global__ void patch_forward_kernel(Patches a) {
    EACH_WARP(row, a.samples * a.channels * a.height)
    EACH_LANE(x, a.width) a.to[patch_place(&a, row, x)] = a.from[row * a.width + x];
}
static __global__ void patch_back_kernel(Patches a) {
    EACH_WARP(row, a.samples * a.channels * a.height)
    EACH_LANE(x, a.width) a.to[row * a.width + x] = a.from[patch_place(&a, row, x)];
}
static Grid patch_grid(Stream *stream, const Patches *args) {
    return grid_of(stream, args->samples * args->channels * args->height * WARP);
}
OPERATION(patch_forward, Patches, patch_grid(stream, args))
OPERATION(patch_back, Patches, patch_grid(stream, args))

// ---- features, codes ----------------------------------------------------------------------------

EACH_OPERATION(fourier_forward, Fourier, (a.samples * a.item)) {
    fourier_planes(a.x[i], a.y + fourier_place(i, a.item), a.item);
}
EACH_OPERATION(fourier_grad, Fourier, (a.samples * a.item)) {
    a.dx[i] = fourier_slope(a.x[i], a.dy + fourier_place(i, a.item), a.item);
}
EACH_OPERATION(quantise, Quantise, (a.samples * a.places)) {
    quantise_place(&a, i);
}
EACH_OPERATION(code_values, CodeValues, (a.samples * a.places)) {
    code_place(&a, i);
}
