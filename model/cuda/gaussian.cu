// Kernels of Gaussian diffusion, and all others that draw a number for each element: a thread takes
// the four elements of a sample that share a block of random numbers.
#include "model/cuda/launch.cuh"
#include "model/math/gaussian.h"

// ---- four elements ------------------------------------------------------------------------------

// Numbers [at, at + n) of an array are those from `e` on of sample s.
typedef struct {
    int64_t s, e, at;
    int n; // QUAD but at the end of a sample
} Four;

__device__ static inline Four four_of(int64_t s, int64_t e, int64_t item) {
    return {s, e, s * item + e, item - e < QUAD ? (int)(item - e) : QUAD};
}

// How many all samples have, each of which begins with a new one; number i of them.
__host__ __device__ static inline int64_t fours(int64_t samples, int64_t item) {
    return samples * ((item + QUAD - 1) / QUAD);
}
__device__ static inline Four four_at(int64_t i, int64_t item) {
    int64_t each = fours(1, item);
    return four_of(i / each, i % each * QUAD, item);
}

// Those of another array that begin at `from`.
__device__ static inline Quad four_get(const float *from, Four four) {
    return quad_get(from, false, 0, four.n, four.n == QUAD && quad_aligned(from));
}
__device__ static inline void four_put(float *to, Four four, const Quad &x) {
    quad_put(to, false, 0, four.n, four.n == QUAD && quad_aligned(to), x);
}

// The random numbers that these four share, of an operation's key and samples.
template <class Args> __device__ void four_bits(const Args &a, Four four, uint32_t bits[QUAD]) {
    rng_block(a.key, a.sample[four.s], (uint32_t)(four.e / QUAD), bits);
}
template <class Args> __device__ Quad four_normal(const Args &a, Four four) {
    uint32_t bits[QUAD];
    Quad eps;
    four_bits(a, four, bits);
    for (int k = 0; k < QUAD; ++k) eps[k] = rng_normal(bits[k]);
    return eps;
}

// ---- element by element -------------------------------------------------------------------------

// An operation on the elements of samples, as EACH_OPERATION is: the body is told `four` of them.
#define FOUR_OPERATION(name, Args)                                                                 \
    static __device__ void name##_four(const Args &a, Four four);                                  \
    EACH_OPERATION(name, Args, fours(a.samples, a.item)) {                                         \
        name##_four(a, four_at(i, a.item));                                                        \
    }                                                                                              \
    static __device__ void name##_four(const Args &a, Four four)

FOUR_OPERATION(rescale, Rescale) {
    Quad x = four_get(a.x + four.at, four);
    if (a.width != 0.0f) {
        uint32_t bits[QUAD];
        four_bits(a, four, bits);
        for (int k = 0; k < QUAD; ++k) x[k] = fmaf(a.width, rng_uniform(bits[k]) - 0.5f, x[k]);
    }
    for (int k = 0; k < QUAD; ++k) x[k] = fmaf(a.scale, x[k], a.shift);
    four_put(a.y + four.at, four, x);
}

FOUR_OPERATION(dropout, Dropout) {
    float scale = 1.0f / (1.0f - a.rate);
    uint32_t bits[QUAD];
    four_bits(a, four, bits);
    for (int k = 0; k < QUAD; ++k) {
        if (k >= four.n) break;
        float x = number_get(a.x, a.half, four.at + k);
        number_put(a.y, a.half, four.at + k, rng_uniform(bits[k]) >= a.rate ? x * scale : 0.0f);
    }
}

EACH_OPERATION(logit, Elementwise, a.n) {
    ((float *)a.y)[i] = logit_number(a.x[i], a.inverse);
}

FOUR_OPERATION(gaussian_corrupt, Gaussian) {
    const GaussianLevel *level = &a.level[four.s];
    Quad eps = four_normal(a, four), x = four_get(a.x_0 + four.at, four), y;
    for (int k = 0; k < QUAD; ++k) y[k] = fmaf(level->noise, eps[k], level->keep * x[k]);
    four_put(a.x_t + four.at, four, y);
    if (a.target == NULL) return;
    for (int k = 0; k < QUAD; ++k) y[k] = fmaf(level->target_eps, eps[k], level->target_x0 * x[k]);
    four_put(a.target + four.at, four, y);
}

FOUR_OPERATION(gaussian_prior, Gaussian) {
    Quad eps = four_normal(a, four);
    for (int k = 0; k < QUAD; ++k) eps[k] *= a.std;
    four_put(a.x_t + four.at, four, eps);
}

FOUR_OPERATION(gaussian_advance, GaussianAdvance) {
    float hat_x = (float)a.hat_x, hat_out = (float)a.hat_out, std = (float)a.std;
    float by_x = (float)a.by_x, by_x0 = (float)a.by_x0;
    const float *from = a.out + four.s * a.out_item + four.e;
    Quad x = four_get(a.x + four.at, four), out = four_get(from, four), v = {};
    for (int k = 0; k < QUAD; ++k)
        x[k] = fmaf(by_x, x[k], by_x0 * hat_of(hat_x, x[k], hat_out, out[k], a.clip));
    if (a.has_variance || std != 0.0f) {
        Quad eps = four_normal(a, four);
        if (a.has_variance) v = four_get(from + a.item, four);
        for (int k = 0; k < QUAD; ++k)
            x[k] = fmaf(a.has_variance ? deviation_of(&a.variance, v[k]) : std, eps[k], x[k]);
    }
    four_put(a.next + four.at, four, x);
}

EACH_OPERATION(gaussian_hat, Gaussian, (a.samples * a.item)) {
    a.target[i] = level_hat(&a.level[i / a.item], a.x_t[i], a.out[i]);
}

// ---- sums of a sample ---------------------------------------------------------------------------

// A block sums a piece of a sample, then a warp adds the pieces of each sample. The split depends
// on the size of a sample alone. `piece` adds what four elements give to so many sums, `whole` is
// told the sums of sample s, on all lanes of its warp.
enum { PIECE = 2048 };

template <class Args> struct Pieces {
    Args a;
    int64_t pieces;    // of a sample
    double *sum;       // [sums][samples][pieces]
    double *of_sample; // [2][samples]: what a later kernel of the operation needs
};

template <int sums, auto piece, class Args> __global__ void piece_kernel(Pieces<Args> p) {
    int64_t s = blockIdx.x / p.pieces, begin = blockIdx.x % p.pieces * PIECE;
    int64_t end = begin + PIECE < p.a.item ? begin + PIECE : p.a.item;
    double sum[sums] = {};
    for (int64_t e = begin + QUAD * threadIdx.x; e < end; e += QUAD * blockDim.x)
        piece(p.a, four_of(s, e, p.a.item), sum);
    for (int i = 0; i < sums; ++i) {
        double all = block_sum(sum[i]);
        if (threadIdx.x == 0) p.sum[i * p.a.samples * p.pieces + blockIdx.x] = all;
    }
}

template <int sums, auto whole, class Args> __global__ void whole_kernel(Pieces<Args> p) {
    int64_t s = warp_number();
    if (s >= p.a.samples) return;
    double sum[sums] = {};
    for (int k = 0; k < sums; ++k) {
        const double *of_piece = p.sum + (k * p.a.samples + s) * p.pieces;
        EACH_LANE(i, p.pieces) sum[k] += of_piece[i];
        sum[k] = warp_sum(sum[k]);
    }
    whole(p, s, sum);
}

template <int sums, auto piece, auto whole, class Args>
static Pieces<Args> sum_pieces(Stream *stream, const Args *args) {
    int64_t pieces = (args->item + PIECE - 1) / PIECE, samples = args->samples;
    size_t numbers = (size_t)(samples * (sums * pieces + 2));
    double *sum = (double *)cuda_scratch_of(stream, numbers * sizeof(double));
    Pieces<Args> p = {*args, pieces, sum, sum + sums * samples * pieces};
    int threads = BLOCK_THREADS;
    while (threads > WARP && args->item <= 2 * threads) threads /= 2; // none without elements
    launch(stream, piece_kernel<sums, piece, Args>, {samples * pieces, threads, REDUCE_BYTES}, p);
    launch(stream, whole_kernel<sums, whole, Args>, grid_of_warps(samples), p);
    return p;
}

static __device__ void loss_piece(const Gaussian &a, Four four, double *sum) {
    float twice = 2.0f * a.level[four.s].weight;
    Quad gap = four_get(a.out + four.at, four), target = four_get(a.target + four.at, four);
    for (int k = 0; k < QUAD; ++k) {
        gap[k] -= target[k];
        sum[0] += (double)gap[k] * (double)gap[k];
        gap[k] *= twice;
    }
    if (a.dout != NULL) four_put(a.dout + four.at, four, gap);
}
static __device__ void loss_whole(const Pieces<Gaussian> &p, int64_t s, const double *sum) {
    const GaussianLevel *level = &p.a.level[s];
    if (threadIdx.x % WARP != 0) return;
    p.a.loss[s] = (float)((double)level->weight * sum[0] + level->nats);
}
extern "C" void cuda_gaussian_loss(Stream *stream, const Gaussian *args) {
    sum_pieces<1, loss_piece, loss_whole>(stream, args);
}

static __device__ void huber_piece(const Gaussian &a, Four four, double *sum) {
    for (int k = 0; k < four.n; ++k) {
        double gap = (double)huber_gap(&a, &a.level[four.s], four.at + k);
        sum[0] += gap * gap;
    }
}
static __device__ void huber_whole(const Pieces<Gaussian> &p, int64_t s, const double *sum) {
    const GaussianLevel *level = &p.a.level[s];
    double c = (double)p.a.std, root = sqrt(sum[0] + c * c);
    if (threadIdx.x % WARP != 0) return;
    p.a.loss[s] = (float)((double)level->weight * (root - c));
    p.of_sample[s] = (double)level->weight * (double)level->hat_out / root;
}
static __global__ void huber_slope(Pieces<Gaussian> p) {
    EACH(i, p.a.samples * p.a.item) {
        int64_t s = i / p.a.item;
        p.a.dout[i] = huber_gap(&p.a, &p.a.level[s], i) * (float)p.of_sample[s];
    }
}
extern "C" void cuda_gaussian_huber(Stream *stream, const Gaussian *args) {
    Pieces<Gaussian> p = sum_pieces<1, huber_piece, huber_whole>(stream, args);
    if (args->dout != NULL)
        launch(stream, huber_slope, grid_of(stream, args->samples * args->item), p);
}

enum { TERM_SQUARE, TERM_NATS, TERM_ERROR, TERMS };

static __device__ void terms_piece(const Gaussian &a, Four four, double *sum) {
    const GaussianLevel *level = &a.level[four.s];
    int64_t from = four.s * a.item * (a.has_variance ? 2 : 1) + four.e;
    Quad x_0 = four_get(a.x_0 + four.at, four), x_t = four_get(a.x_t + four.at, four);
    Quad out = four_get(a.out + from, four), target = four_get(a.target + four.at, four);
    Quad v = {};
    if (a.has_variance) v = four_get(a.out + from + a.item, four);
    for (int k = 0; k < QUAD; ++k) {
        if (k >= four.n) break;
        float hat = hat_of(level->hat_x, x_t[k], level->hat_out, out[k],
                           a.clip && level->term != GAUSSIAN_LEVELS);
        if (a.error != NULL) sum[TERM_ERROR] += error_value(level, x_0[k], hat, v[k]);
        if (a.loss == NULL && a.dout == NULL) continue;
        LossValue value = loss_value(level, x_0[k], hat, v[k], out[k], target[k]);
        sum[TERM_SQUARE] += value.square, sum[TERM_NATS] += value.nats;
        if (a.dout == NULL) continue;
        a.dout[from + k] = value.dout;
        if (a.has_variance) a.dout[from + a.item + k] = value.dv;
    }
}
static __device__ void terms_whole(const Pieces<Gaussian> &p, int64_t s, const double *sum) {
    const GaussianLevel *level = &p.a.level[s];
    if (threadIdx.x % WARP != 0) return;
    if (p.a.error != NULL) p.a.error[s] = sum[TERM_ERROR];
    if (p.a.loss != NULL)
        p.a.loss[s] =
            (float)((double)level->weight * sum[TERM_SQUARE] + level->term_weight * sum[TERM_NATS]);
}
extern "C" void cuda_gaussian_terms(Stream *stream, const Gaussian *args) {
    sum_pieces<TERMS, terms_piece, terms_whole>(stream, args);
}

enum { SLOPE_G, SLOPE_SQUARE, SLOPES };

static __device__ void schedule_piece(const ScheduleGrad &a, Four four, double *sum) {
    for (int k = 0; k < four.n; ++k) {
        double gap;
        sum[SLOPE_G] += schedule_value(&a, &a.level[four.s], four.at + k, &gap);
        sum[SLOPE_SQUARE] += gap * gap;
    }
}
static __device__ void schedule_whole(const Pieces<ScheduleGrad> &p, int64_t s, const double *sum) {
    int64_t n = p.a.parameters, features = p.a.features;
    double by_feature = 0.0;
    const double *slopes = p.a.slopes + s * (3 * n + features) + 3 * n;
    EACH_LANE(k, features)
    by_feature += (double)p.a.dtime[s * features + k] * slopes[k];
    by_feature = warp_sum(by_feature);
    if (threadIdx.x % WARP != 0) return;
    p.of_sample[2 * s] = sum[SLOPE_G] + by_feature;
    p.of_sample[2 * s + 1] = sum[SLOPE_SQUARE];
}
static __global__ void schedule_samples(Pieces<ScheduleGrad> p) {
    int64_t n = p.a.parameters;
    EACH(k, n) {
        double sum = 0.0;
        for (int64_t s = 0; s < p.a.samples; ++s) {
            const double *slopes = p.a.slopes + s * (3 * n + p.a.features) + k;
            if (p.a.loss[s] != 0.0f)
                sum += p.of_sample[2 * s] * slopes[0] + p.of_sample[2 * s + 1] * slopes[n] +
                       slopes[2 * n];
        }
        p.a.room[k] = sum;
        p.a.grads[k] = (float)sum + (p.a.accumulate ? p.a.grads[k] : 0.0f);
    }
}
extern "C" void cuda_schedule_grad(Stream *stream, const ScheduleGrad *args) {
    Pieces<ScheduleGrad> p = sum_pieces<SLOPES, schedule_piece, schedule_whole>(stream, args);
    launch(stream, schedule_samples, grid_of(stream, args->parameters), p);
}
