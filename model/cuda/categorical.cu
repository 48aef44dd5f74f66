// Categorical diffusion: a warp takes a token, its lanes the classes. The arithmetic is that of the
// CPU, to the last bit.
#include "model/cuda/lanes.cuh"
#include "model/math/token_draw.h"

// Blocks have a sample each, or `groups` of them share one. Their shared memory, after
// REDUCE_BYTES: what all tokens of a sample need, then each warp's room for one.
enum { SAMPLE_ARRAYS = 3, TOKEN_ARRAYS = 5 };

struct Tokens {
    Categorical a;
    int64_t first, groups; // the first sample
    double *parts;         // [samples from first, item][2]: of the loss
};

static size_t room_bytes(int32_t classes, int warps) {
    size_t arrays = SAMPLE_ARRAYS + (size_t)warps * TOKEN_ARRAYS;
    return REDUCE_BYTES + arrays * ((size_t)classes + 1) * sizeof(double);
}

// As many warps as have room.
static Grid token_grid(int64_t samples, int32_t classes) {
    int warps = BLOCK_THREADS / WARP;
    while (warps > 1 && room_bytes(classes, warps) > ROOM_MOST) warps /= 2;
    return {samples, warps * WARP, room_bytes(classes, warps)};
}

// A few tokens a warp, `item` tokens in all.
static int64_t groups_of(int64_t item, Grid grid) {
    int64_t tokens = 4 * (grid.threads / WARP);
    return item > tokens ? (item + tokens - 1) / tokens : 1;
}

static __device__ TokenRoom warp_room(int32_t classes) {
    TokenRoom k = {};
    int n = classes + 1;
    k.rest = (double *)(kernel_room + REDUCE_BYTES);
    k.v_rest = k.rest + n;
    k.log_v_rest = k.v_rest + n;
    k.p = k.log_v_rest + n + (int)(threadIdx.x / WARP) * TOKEN_ARRAYS * n;
    k.q = k.p + n;
    k.r = k.q + n;
    k.w = k.r + n;
    k.slope = k.w + n;
    k.warm = (float *)k.r;
    k.classes = classes;
    return k;
}

// Each warp fills in the same numbers.
static __device__ TokenRoom sample_room(const Categorical &a, int64_t s) {
    TokenRoom k = warp_room(a.classes);
    token_sample(&k, &a, s);
    __syncthreads();
    return k;
}

// Tokens [begin, end) of a block's sample, each of one of the warps that `groups` blocks have.
#define EACH_TOKEN(e, begin, end, group, groups)                                                   \
    for (int64_t e = (begin) + ((group)*blockDim.x + threadIdx.x) / WARP; e < (end);               \
         e += (groups)*blockDim.x / WARP)

// ---- loss ---------------------------------------------------------------------------------------

static __global__ void token_loss_kernel(Tokens t) {
    const Categorical &a = t.a;
    int64_t s = t.first + blockIdx.x / t.groups;
    TokenRoom k = sample_room(a, s);
    EACH_TOKEN(e, s * a.item, (s + 1) * a.item, blockIdx.x % t.groups, t.groups) {
        double extra, part = token_loss(&k, &a, e, &extra);
        double *parts = t.parts + 2 * (e - t.first * a.item);
        if (TOKEN_LANE == 0) parts[0] = part, parts[1] = extra;
    }
}

// A block of one warp a sample adds in the order of tokens.
static __global__ void loss_sum_kernel(Tokens t) {
    const Categorical &a = t.a;
    int64_t s = t.first + blockIdx.x;
    const double *parts = t.parts + 2 * blockIdx.x * a.item;
    double sum = 0.0, extras = 0.0;
    for (int64_t from = 0; from < a.item; from += WARP) {
        int64_t e = from + TOKEN_LANE;
        double part = e < a.item ? parts[2 * e] : 0.0, extra = e < a.item ? parts[2 * e + 1] : 0.0;
        for (int i = 0; i < WARP; ++i) {
            sum += __shfl_sync(~0u, part, i);
            extras += __shfl_sync(~0u, extra, i);
        }
    }
    if (TOKEN_LANE > 0) return;
    double before = a.accumulate ? (double)a.loss[s] : 0.0;
    if (a.loss != NULL) a.loss[s] = (float)(before + a.level[s].weight * (sum + extras));
    if (a.error != NULL) a.error[s] = sum;
}

extern "C" void cuda_categorical_loss(Stream *stream, const Categorical *args) {
    int64_t most = (int64_t)(cuda_scratch_bytes(stream) / (2 * sizeof(double))) / args->item;
    if (most == 0) cuda_note(stream, cudaErrorMemoryAllocation, "categorical_loss");
    for (int64_t s = 0; s < args->samples && most > 0; s += most) {
        int64_t samples = args->samples - s < most ? args->samples - s : most;
        Grid grid = token_grid(samples, args->classes);
        Tokens t = {*args, s, groups_of(args->item, grid), (double *)cuda_scratch(stream)};
        grid.blocks *= t.groups;
        launch(stream, token_loss_kernel, grid, t);
        launch(stream, loss_sum_kernel, {samples, WARP, 0}, t);
    }
}

static __global__ void class_loss_kernel(ClassLoss a) {
    TokenRoom k = warp_room(a.classes);
    token_class_loss(&k, &a, blockIdx.x);
}

OPERATION(class_loss, ClassLoss, (Grid{args->samples, WARP, room_bytes(args->classes, 1)}))

// ---- draws --------------------------------------------------------------------------------------

// A thread takes a token; where masks are counted it takes a block of them, and others none.
EACH_OPERATION(categorical_corrupt, Categorical, (a.samples * a.item)) {
    int64_t block = a.block > 0 ? a.block : a.item;
    int64_t s = i / a.item, first = i % a.item, last = first + 1, left = 0;
    if (a.level[s].masks > 0) last = first % block > 0 ? first : first + block;
    for (int64_t e = first; e < last && e < a.item; ++e) {
        uint32_t bits[4];
        rng_block(a.key, a.sample[s], (uint32_t)(e / 2), bits);
        a.x_t[s * a.item + e] = token_corrupt(&a, s, e, bits + 2 * (e % 2), &left);
    }
}

EACH_OPERATION(categorical_prior, Categorical, (a.samples * a.item)) {
    int64_t e = i % a.item;
    uint32_t bits[4];
    rng_block(a.key, a.sample[i / a.item], (uint32_t)(e / 4), bits);
    a.x_t[i] = base_draw(a.base, a.classes, bits[e % 4]);
}

static __global__ void advance_kernel(Tokens t) {
    const Categorical &a = t.a;
    int64_t s = blockIdx.x / t.groups;
    TokenRoom k = sample_room(a, s);
    EACH_TOKEN(e, a.begin, a.end, blockIdx.x % t.groups, t.groups) token_advance(&k, &a, s, e);
}

extern "C" void cuda_categorical_advance(Stream *stream, const Categorical *args) {
    Grid grid = token_grid(args->samples, args->classes);
    Tokens t = {*args, 0, groups_of(args->end - args->begin, grid), NULL};
    grid.blocks *= t.groups;
    launch(stream, advance_kernel, grid, t);
}

// ---- guesses: a block a sample ------------------------------------------------------------------

static __global__ void categorical_refresh_kernel(Categorical a) {
    int64_t s = blockIdx.x, changed = 0;
    TokenRoom k = warp_room(a.classes);
    EACH_TOKEN(e, 0, a.item, 0, 1)
    changed |= token_refresh(&k, &a, s, e);
    changed = block_sum(changed); // and all have read what is noted
    if (threadIdx.x == 0) refresh_end(&a, s, changed > 0);
}

OPERATION(categorical_refresh, Categorical, token_grid(args->samples, args->classes))

// All warps tell their tokens' times, the first of them reveals.
static __global__ void categorical_reveal_kernel(Categorical a) {
    int64_t s = blockIdx.x, masked = 0;
    double highest = 0.0, *highest_of = (double *)kernel_room + WARP; // behind those of block_sum
    TokenRoom k = warp_room(a.classes);
    EACH_TOKEN(e, 0, a.item, 0, 1) masked += reveal_time(&k, &a, s, e, &highest);
    if (TOKEN_LANE == 0) highest_of[threadIdx.x / WARP] = highest;
    masked = block_sum(TOKEN_LANE == 0 ? masked : 0);
    if (threadIdx.x >= WARP) return;
    for (unsigned i = 0; i < blockDim.x / WARP; ++i)
        highest = highest_of[i] > highest ? highest_of[i] : highest;
    sample_reveal(&k, &a, s, masked, highest);
}

OPERATION(categorical_reveal, Categorical, token_grid(args->samples, args->classes))
