// The residual stream and its modulated LayerNorm: a warp takes a row, four numbers a lane at a
// time. What a lane has written it reads again itself, from the first cache.
#include "model/cuda/launch.cuh"

enum { ROW_STEP = WARP * QUAD, ROWS_MOST = 32 }; // rows of a sample that a block adds up

// This lane's quads of a row: c = column, left = columns from c on.
#define EACH_QUAD(c, width)                                                                        \
    for (int64_t c = threadIdx.x % WARP * QUAD, left = (width)-c; left > 0;                        \
         c += ROW_STEP, left -= ROW_STEP)

static __global__ void residual_norm_forward_kernel(ResidualNorm a) {
    int64_t row = warp_number(), at = row * a.width;
    if (row >= a.samples * a.tokens) return; // a whole warp
    int64_t sample = row / a.tokens, mod = sample * a.mod_stride, gate = sample * a.gate_stride;
    bool whole = a.width % QUAD == 0 && a.mod_stride % QUAD == 0 && a.gate_stride % QUAD == 0;
    const float *sum = a.branch != NULL ? a.sum : a.x;
    float total = 0.0f, squares = 0.0f, width = (float)a.width;
    EACH_QUAD(c, a.width) {
        Quad x = quad_get(a.x, false, at + c, left, whole);
        if (a.branch != NULL) {
            Quad by = quad_get(a.branch, a.branch_half, at + c, left, whole);
            Quad g = quad_get(a.gate, false, gate + c, left, whole);
            for (int i = 0; i < QUAD; ++i) x[i] = fmaf(g[i], by[i], x[i]);
            quad_put(a.sum, false, at + c, left, whole, x);
        }
        for (int i = 0; i < QUAD; ++i) total += x[i];
    }
    float mean = warp_sum(total) / width;
    EACH_QUAD(c, a.width) {
        Quad x = quad_get(sum, false, at + c, left, whole);
        for (int i = 0; i < QUAD && i < left; ++i)
            squares = fmaf(x[i] - mean, x[i] - mean, squares);
    }
    float rstd = 1.0f / sqrtf(warp_sum(squares) / width + NORM_EPS);
    EACH_QUAD(c, a.width) {
        Quad x = quad_get(sum, false, at + c, left, whole);
        Quad scale = quad_get(a.scale, false, mod + c, left, whole);
        Quad shift = quad_get(a.shift, false, mod + c, left, whole);
        for (int i = 0; i < QUAD; ++i) x[i] = fmaf((x[i] - mean) * rstd, 1.0f + scale[i], shift[i]);
        quad_put(a.y, a.half, at + c, left, whole, x);
    }
    if (threadIdx.x % WARP == 0) a.stats[2 * row] = mean, a.stats[2 * row + 1] = rstd;
}

OPERATION(residual_norm_forward, ResidualNorm, grid_of_warps(args->samples * args->tokens))

// ---- gradient -----------------------------------------------------------------------------------

// Sums over tokens are made in two steps: a block adds up to ROWS_MOST rows of a sample, of each
// warp apart, then its warps in their order; a second kernel adds the blocks of a sample in theirs.
enum { SUM_SHIFT, SUM_SCALE, SUM_GATE, SUMS };

struct NormGrad {
    ResidualNorm a;
    float *part;          // [samples, groups, SUMS, width]
    int64_t groups, rows; // groups of so many rows of a sample
};

// A row's gradient of `sum` and branch; adds what it gives to this warp's sums in shared memory.
static __device__ void norm_grad_row(const ResidualNorm &a, int64_t row, float *sums, bool whole) {
    int64_t sample = row / a.tokens, at = row * a.width, mod = sample * a.mod_stride;
    float mean = a.stats[2 * row], rstd = a.stats[2 * row + 1], total = 0.0f, product = 0.0f;
    EACH_QUAD(c, a.width) {
        Quad x = quad_get(a.sum, false, at + c, left, whole);
        Quad dy = quad_get(a.dy, a.half, at + c, left, whole);
        Quad scale = quad_get(a.scale, false, mod + c, left, whole);
        for (int i = 0; i < QUAD; ++i) {
            float g = dy[i] * (1.0f + scale[i]);
            total += g;
            product = fmaf(g, (x[i] - mean) * rstd, product);
        }
    }
    float mean_g = warp_sum(total) / (float)a.width;
    float mean_product = warp_sum(product) / (float)a.width;
    EACH_QUAD(c, a.width) {
        Quad x = quad_get(a.sum, false, at + c, left, whole);
        Quad dy = quad_get(a.dy, a.half, at + c, left, whole);
        Quad scale = quad_get(a.scale, false, mod + c, left, whole);
        Quad dsum = quad_get(a.dsum, false, at + c, left, whole), branch = {}, gate = {};
        if (a.branch != NULL) {
            branch = quad_get(a.branch, a.branch_half, at + c, left, whole);
            gate = quad_get(a.gate, false, sample * a.gate_stride + c, left, whole);
        }
        for (int i = 0; i < QUAD && i < left; ++i) {
            float hat = (x[i] - mean) * rstd, g = dy[i] * (1.0f + scale[i]);
            float *shift = sums + SUM_SHIFT * a.width + c + i;
            dsum[i] = fmaf(fmaf(-hat, mean_product, g - mean_g), rstd, dsum[i]);
            shift[0] += dy[i];
            shift[SUM_SCALE * a.width] = fmaf(dy[i], hat, shift[SUM_SCALE * a.width]);
            shift[SUM_GATE * a.width] = fmaf(branch[i], dsum[i], shift[SUM_GATE * a.width]);
            gate[i] *= dsum[i];
        }
        quad_put(a.dsum, false, at + c, left, whole, dsum);
        if (a.branch != NULL) quad_put(a.dbranch, a.branch_half, at + c, left, whole, gate);
    }
}

static __global__ void norm_grad_kernel(NormGrad n) {
    const ResidualNorm &a = n.a;
    bool whole = a.width % QUAD == 0 && a.mod_stride % QUAD == 0 && a.gate_stride % QUAD == 0;
    int64_t warps = blockDim.x / WARP, warp = threadIdx.x / WARP, size = SUMS * a.width;
    int64_t sample = blockIdx.x / n.groups, first = blockIdx.x % n.groups * n.rows;
    int64_t last = first + n.rows < a.tokens ? first + n.rows : a.tokens;
    float *room = (float *)kernel_room, *mine = room + warp * size;
    EACH_LANE(i, size) mine[i] = 0.0f;
    __syncwarp();
    for (int64_t t = first + warp; t < last; t += warps)
        norm_grad_row(a, sample * a.tokens + t, mine, whole);
    __syncthreads();
    for (int64_t i = threadIdx.x; i < size; i += blockDim.x) {
        float sum = 0.0f;
        for (int64_t w = 0; w < warps; ++w) sum += room[w * size + i];
        n.part[blockIdx.x * size + i] = sum;
    }
}

static __global__ void norm_grad_sum_kernel(NormGrad n) {
    const ResidualNorm &a = n.a;
    int64_t size = SUMS * a.width;
    EACH(i, a.samples * size) {
        int64_t sample = i / size, kind = i % size / a.width, c = i % a.width;
        const float *part = n.part + sample * n.groups * size + i % size;
        float sum = 0.0f;
        for (int64_t g = 0; g < n.groups; ++g) sum += part[g * size];
        if (kind == SUM_SHIFT) a.dshift[sample * a.mod_stride + c] = sum;
        if (kind == SUM_SCALE) a.dscale[sample * a.mod_stride + c] = sum;
        if (kind == SUM_GATE && a.branch != NULL) a.dgate[sample * a.gate_stride + c] = sum;
    }
}

// Warps of a block: as many as have their sums side by side in shared memory.
extern "C" void cuda_residual_norm_grad(Stream *stream, const ResidualNorm *args) {
    size_t sums = SUMS * (size_t)args->width * sizeof(float);
    int warps = BLOCK_THREADS / WARP;
    while (warps > 1 && (size_t)warps * sums > ROOM_MOST) warps /= 2;
    NormGrad n = {*args, NULL, 0, ROWS_MOST};
    do {
        n.groups = (args->tokens + n.rows - 1) / n.rows;
        n.rows *= 2;
    } while (n.groups > 1 &&
             (size_t)(args->samples * n.groups) * sums > cuda_scratch_bytes(stream));
    n.rows /= 2;
    n.part = (float *)cuda_scratch_of(stream, (size_t)(args->samples * n.groups) * sums);
    launch(stream, norm_grad_kernel, {args->samples * n.groups, warps * WARP, (size_t)warps * sums},
           n);
    launch(stream, norm_grad_sum_kernel, grid_of(stream, args->samples * SUMS * args->width), n);
}
