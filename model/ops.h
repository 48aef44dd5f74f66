// The operations of a backend: argument structs and the one list that every table is made from.
//
// Rules that all backends keep:
// - An operation is queued on a Stream and executed in queue order; the host must not read or write
//   memory that a queued operation touches before stream_wait() has returned.
// - Arrays are row-major fp32 in device memory unless said otherwise. No output overlaps an input
//   unless the comment allows it. In every struct all pointers come first, and BACKEND_OPS gives
//   their number: a backend that moves memory translates them without knowing the operation.
// - Each result is a function of the arguments only: same bits for any number of streams and ranks.
//   Sums run in a fixed order over a fixed number of lanes.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/rng.h"

// ---- dense layers -----------------------------------------------------------------------------

typedef enum { ACT_NONE, ACT_SILU, ACT_GELU } Activation; // GELU is the tanh form

// Arrays declared void hold fp32, or bf16 where the operation says `half`. Arithmetic and sums are
// fp32 in both cases; a result is rounded once, to nearest even, when it is stored.

// linear_forward: y[rows,out] = act(x[rows,in] w[out,in]^T + bias[out]), bias NULL: 0; `slope`
// [rows,out] receives what the gradient of act needs (NULL when act is NONE; never y): act' at the
// same argument, but for GELU a backend may keep the argument instead. Where `half`, a backend may
// round the bias as well before it is added.
//
// linear_grad: dw[out,in] = dy^T x and dbias[out] = column sums of dy[rows,out], each sum added in
// one rounding to what is there if `accumulate` (which takes grad_scratch_bytes); dx[rows,in] = (dy
// w) * slope, or dx NULL. slope [rows,in] is what this backend's linear_forward has left of the
// activation `act` that gave x, and stands for act' there; or NULL: 1.
typedef struct {
    const void *x, *w, *dy;
    const float *bias;
    void *slope, *y, *dx;
    float *dw, *dbias;
    int64_t rows, in, out;
    Activation act;
    bool accumulate, half;
} LinearLayer;

// Room for the sums of a tensor of `size` numbers before they are added.
static inline size_t grad_scratch_bytes(int64_t size) {
    return (size_t)size * sizeof(float);
}

// n numbers, each for itself; y may be x.
//   activation_forward: y = act(x), slope = act'(x) or NULL; either may be x.
//   multiply:           y *= x
//   halve:              y = x rounded to bf16; every other y holds fp32
//   logit:              y = log(x / (1 - x)) of numbers in (0,1), in float64; inverse: 1/(1 + e^-x)
//   axpby:              y = a x + b y (b = 0 ignores what y holds, NaN included)
typedef struct {
    const float *x;
    float *slope;
    void *y;
    int64_t n;
    float a, b;
    Activation act;
    bool inverse;
} Elementwise;

// ---- transformer ------------------------------------------------------------------------------

// One step of the residual stream and the modulated LayerNorm behind it (DiT's adaLN-zero):
//   sum = x + gate * branch          (branch NULL: sum = x, and nothing is written to `sum`)
//   y   = LN(sum) (1 + scale) + shift,   LN without weights, with NORM_EPS
// x, branch, sum, y [samples*tokens, width]; shift, scale: row s at offset s*mod_stride, one for
// each sample; gate likewise at s*gate_stride, because it belongs to the layer before; stats
// [samples*tokens][2] = mean, 1/std. `sum` may be x. `half` is about y and dy, `branch_half` about
// branch and dbranch.
//   The gradient reads sum, stats, scale, branch, gate, dy. dsum holds the gradient with respect to
// `sum` that came from later layers and receives the total, which is also the gradient with respect
// to x. dbranch = gate * dsum; dgate (stride gate_stride), dshift, dscale (stride mod_stride) are
// sums over tokens: written, not added. branch, gate, dbranch, dgate are NULL together.
#define NORM_EPS 1e-6f
typedef struct {
    const float *x;
    const void *branch;
    const float *gate, *shift, *scale;
    float *sum;
    void *y;
    float *stats;
    const void *dy;
    float *dsum;
    void *dbranch;
    float *dgate, *dshift, *dscale;
    int64_t samples, tokens, width, mod_stride, gate_stride;
    bool half, branch_half;
} ResidualNorm;

// Room for the rows of the two operations above.
static inline size_t norm_scratch_bytes(int64_t width) {
    return 3 * (size_t)width * sizeof(float);
}

// Attention: softmax(q k^T / sqrt(head_dim)) v for each sample and head.
// qkv [samples,tokens,3,heads,head_dim]; out [samples,tokens,heads*head_dim];
// lse [samples,heads,tokens] = log of the softmax's denominator, kept for the gradient: dqkv from
// qkv, out, lse, dout.
// block 0: every token reads all. Else (block diffusion, arXiv 2503.09573) the first half of the
// tokens are in blocks of `block`, the second half stand at the same places, finished: a token of
// the first half reads its own block and the finished ones before it; one of the second half the
// finished ones up to its own. cached: the tokens are the places once, and those of the block that
// begins at `from` read all up to its end; out and lse are of that block alone, and there is no
// gradient.
// The tokens x tokens matrix exists for one head at a time, in the stream's scratch: a device that
// executes attention is opened with scratch_bytes of at least attention_scratch_bytes. One that
// executes a whole operation at once has as many matrices there as wide_bytes hold.
typedef struct {
    const void *qkv;
    void *out;
    float *lse;
    const void *dout;
    void *dqkv;
    int64_t samples, tokens, heads, head_dim, block, from;
    bool cached, half;
} Attention;

// Whether token t reads token u; cached, t counts from the first of the block.
KERNEL_FN bool attention_reads(const Attention *args, int64_t t, int64_t u) {
    int64_t block = args->block, half = args->tokens / 2;
    if (block == 0) return true;
    if (args->cached) return u < args->from + block;
    int64_t first = t % half / block * block;
    if (u < half) return t < half && u >= first && u < first + block;
    return u - half < first + (t < half ? 0 : block);
}

// Four matrices of tokens rows, each row rounded up to 16 numbers; two of them bf16.
static inline size_t attention_scratch_bytes(int64_t tokens) {
    return 12 * (size_t)tokens * (size_t)((tokens + 15) / 16 * 16);
}

// The same for wide_bytes: of one head of all samples or all heads of one sample, whichever are
// more, or of as many as 512 MiB hold.
static inline size_t attention_wide_bytes(int64_t samples, int64_t tokens, int64_t heads) {
    size_t one = attention_scratch_bytes(tokens), all = (size_t)(samples > heads ? samples : heads);
    size_t most = one > 0 && one <= (size_t)512 << 20 ? ((size_t)512 << 20) / one : 1;
    return one * (all < most ? all : most);
}

// ---- inputs and outputs of a network ----------------------------------------------------------

// y[r] = table[ids[r]] + add[r % add_rows]; rows of `width`; add NULL: nothing is added; ids NULL:
// row r itself, and y may be `table`. Gradient: dtable[id] = the sum of dy[r] with ids[r] = id, in
// row order; dtable [entries,width], `accumulate` as in LinearLayer. each > 0: ids come in runs of
// so many, which begin `stride` apart, and before the next a run of `other` (NULL: none).
typedef struct {
    const int32_t *ids, *other;
    const float *table, *add, *dy;
    float *y, *dtable;
    int64_t rows, width, add_rows, entries, each, stride;
    bool accumulate;
} Embed;

enum { FOURIER_PLANES = 5 };

// y [samples,5,item] = x, sin(2 pi 64 x), cos(2 pi 64 x), and both of 128 x (VDM). Gradient:
// dx [samples,item] of dy.
typedef struct {
    const float *x, *dy;
    float *y, *dx;
    int64_t samples, item;
} Fourier;

// patch_forward: image [samples,channels,height,width] -> tokens [samples,
// (height/patch)*(width/patch), channels*patch*patch], tokens row-major. Within a token the channel
// is the slowest index (C, py, px: a convolution's order), or the fastest (py, px, C) if
// `channel_last` (DiT's output). patch_back: the inverse.
typedef struct {
    const float *from;
    float *to;
    int64_t samples, channels, height, width, patch;
    bool channel_last;
} Patches;

// Finite scalar quantisation: x is bounded to tanh(x/2), and y is the middle of the one of
// CODE_LEVELS equal stretches of [-1,1] that it falls into. Level k_d of digit d makes the id, the
// sum of k_d CODE_LEVELS^d. x, y, slope [samples,digits,places]; slope is that of the bounded
// number; ids [samples,places], or NULL.
enum { CODE_LEVELS = 4 };
typedef struct {
    const float *x;
    float *y, *slope;
    int32_t *ids;
    int64_t samples, digits, places;
} Quantise;

// y of these ids.
typedef struct {
    const int32_t *ids;
    float *y;
    int64_t samples, digits, places;
} CodeValues;

// y = x * mask / (1 - rate), mask drawn by `key` for element e of sample[s] (block e/4, number e%4;
// kept when rng_uniform >= rate). The same call on a gradient is the gradient. y may be x.
typedef struct {
    const void *x;
    const uint64_t *sample;
    void *y;
    int64_t samples, item; // item: elements of one sample
    float rate;
    bool half;
    RngKey key;
} Dropout;

// ---- Gaussian diffusion -----------------------------------------------------------------------

// y = scale (x + width (u - 1/2)) + shift, u = rng_uniform of number e%4 of block e/4 of sample[s]
// (not drawn where width is 0). y may be x.
typedef struct {
    const float *x;
    const uint64_t *sample;
    float *y;
    int64_t samples, item;
    float scale, width, shift;
    RngKey key;
} Rescale;

// The logarithm of a variance from the network's number v: add + mul v, or that of
// sigm(add + mul v) where it is `logistic`.
typedef struct {
    double add, mul;
    bool logistic;
} GaussianVariance;

// A sample's term of the bound at its time; e = x_0 - x0_hat, summed over dimensions, nats.
typedef enum {
    GAUSSIAN_NOTHING, // 0
    GAUSSIAN_KL,      // KL(N(mu, b~) || N(mu - slope e, var)), b~ = exp(log_posterior)
    GAUSSIAN_DENSITY, // - log N(x_0; x0_hat, var)
    // - log P of the discretised Gaussian over the 256 levels x = v/127.5 - 1: bins of half-width
    // 1/255, the outer two open (DDPM, arXiv 2006.11239, eq. 13)
    GAUSSIAN_DECODER,
    // - log of the share of x_0 in exp(-(f - x0_hat)^2 / (2 var)) over the 256 levels
    // f = (v + 1/2)/128 - 1 (VDM, arXiv 2107.00630); x0_hat is not limited
    GAUSSIAN_LEVELS
} GaussianTerm;

// Numbers of one sample at its noise level, computed in float64 on the host.
//   x_t = keep x_0 + noise eps;   target = target_x0 x_0 + target_eps eps
//   x0_hat = hat_x x_t + hat_out out
// weight: of (out - target)^2 in the loss; the rest serves gaussian_terms only.
typedef struct {
    float keep, noise, target_x0, target_eps, hat_x, hat_out, weight;
    int32_t term;       // GaussianTerm
    double term_weight; // of the term in the loss
    double nats;        // of the loss that need no network, gaussian_loss only
    double slope, log_posterior;
    GaussianVariance variance;
    bool mean_stops; // the term's gradient reaches the variance alone
} GaussianLevel;

// What operations on numbers take; what each reads and writes is told here. All arrays are
// [samples,item] but level, loss, error [samples], and out, dout [samples,2,item] with the
// network's variance: prediction, then v.
//
// gaussian_corrupt: x_t and target of x_0. eps of element e: rng_normal of block e/4, number e%4 of
// sample[s] under `key`. target may be NULL.
//
// gaussian_loss: loss[s] = weight * sum (out - target)^2 + nats; dout = 2 weight (out - target), or
// dout NULL.
//
// gaussian_terms: loss[s] = weight * sum (out - target)^2 + term_weight * term, and its gradient in
// dout; error[s] = term (float64) with x0_hat limited to [-1,1] if `clip`. dout, loss and error may
// each be NULL. In the loss the decoder takes the normal distribution function as 1/(1 + exp(-2y)),
// y = sqrt(2/pi) (x + 0.044715 x^3), and a mass of 1e-12 at least, as DDPM's code does; the error
// is exact.
//
// gaussian_hat: target = x0_hat of x_t and out.
//
// gaussian_huber: of the distance between x0_hat and target, loss[s] = weight (sqrt(sum of squares
// + std^2) - std), and its gradient in dout, or dout NULL.
//
// gaussian_prior: x_t = std * normal, keyed as eps: the start of a sampler.
typedef struct {
    const float *x_0, *out;
    const uint64_t *sample;
    const GaussianLevel *level;
    float *x_t, *target, *dout, *loss;
    double *error;
    int64_t samples, item;
    float std;
    bool has_variance, clip;
    RngKey key;
} Gaussian;

// The gradient of gaussian_loss with respect to the parameters of a schedule of g, the logarithm of
// noise over signal; the target is eps - by_x x_t. With dx_t/dg = keep noise (keep eps - noise
// x_0)/2 a sample gives
//   by_g      = sum (dx + 2 weight by_x (out - target)) dx_t/dg + sum dtime slope
//   by_weight = sum (out - target)^2
// and grads[k] (+)= sum over samples of by_g dg/dk + by_weight d weight/dk + d nats/dk. These three
// are slopes [samples, 3 parameters + features], behind them that of the features by g. A sample
// whose loss is 0 was left out, and gives nothing.
// dx, out, target, x_t, x_0 [samples,item]; dtime [samples,features]; room [parameters] to work in.
typedef struct {
    const float *dx, *out, *target, *x_t, *x_0, *dtime, *loss;
    const GaussianLevel *level;
    const double *slopes;
    double *room;
    float *grads;
    int64_t samples, item, features, parameters;
    float by_x;
    bool accumulate;
} ScheduleGrad;

// One sampler step, the same for all samples of the call:
//   x0_hat = hat_x x + hat_out out, limited to [-1,1] if clip
//   next   = by_x x + by_x0 x0_hat + std z,   z keyed as in gaussian_corrupt (skipped if std is 0)
// has_variance: std^2 is `variance` of the second half of out, which is `out_item` = 2 item long.
// `x` may be `next`.
typedef struct {
    const float *x, *out;
    const uint64_t *sample;
    float *next;
    int64_t samples, item, out_item;
    double hat_x, hat_out, by_x, by_x0, std; // rounded to fp32 by the backend
    GaussianVariance variance;
    bool has_variance, clip;
    RngKey key;
} GaussianAdvance;

// ---- categorical diffusion --------------------------------------------------------------------

// What the network's distribution p over the K classes of a token stands for.
typedef enum {
    CATEGORICAL_PLUG_IN, // for x_0 in the posterior: multinomial diffusion, D3PM
    CATEGORICAL_DIRECT,  // for x_{t-1} itself: binomial diffusion
    CATEGORICAL_MIXTURE, // for x_0, over which the posterior is averaged: VQ-Diffusion
    CATEGORICAL_DENSE,  // as plug-in, of kernels that are any matrices; from 1 to 0, for x_0 itself
    CATEGORICAL_GUESS,  // for x_0, and the loss is - log p(x_0)
    CATEGORICAL_SCORE,  // nothing: e^logit is a ratio of probabilities
    CATEGORICAL_NOTHING // it is not asked: the step is the forward kernel backwards, the loss is 0
} CategoricalForm;

// Numbers of one sample at its time: q(x_t|x_0) = A_t x_0 + (1 - A_t) base (arXiv 2102.05379, eq.
// 10-15), with a base distribution over the classes; where an operation's `base` [classes] is NULL
// it is uniform.
//   keep = A_t, step_keep = a_t, keep_before = A_{t-1}; weight of the loss.
// float64, because a_t differs from 1 by less than 1e-5 and the difference is what counts.
// With a mask, id `classes` of x_t alone, a class is kept (A), drawn from the base (U) or masked
// (C), A + U + C = 1, and a mask stays (arXiv 2111.14822). The mixture form reads U of the step and
// before it in `step_spread`, `spread_before`; aux: weight of the cross-entropy of x_0 in its loss.
// masks > 0: exactly so many tokens are masked, in the place of each with probability C.
// stay: of a guess, the probability that a step leaves a token; `step`: of x_t from x_{t-1}.
// Dense: its kernels are those of the step from time `to` to `at`, from 0 to `to`, from 0 to `at`.
typedef struct {
    double keep, step_keep, keep_before, weight;
    double mask, step_mask, mask_before, step_spread, spread_before, aux, stay;
    int32_t form, masks; // CategoricalForm
    int32_t at, to;
} CategoricalLevel;

enum { CATEGORICAL_CLASSES_MOST = 1024 }; // what kernels have room for

// Ways of a sampler that guesses x_0, p = softmax(logits / temperature).
typedef enum {
    // Each token becomes, with probability `share`, a draw from p. A sample that a step, from
    // key.step = 10 on, leaves as it was stays so: memory [samples] is 1 then (step 0 clears it).
    REFRESH_FRACTION,
    REFRESH_ARGMAX,    // every token becomes the likeliest class; memory [samples,item] = p of it
    REFRESH_UNCERTAIN, // the same but for the `share` of tokens with the largest memory: they stay
    // Masked tokens of a sample with m of them become classes: m/steps of them, rounded up, ...
    REVEAL_DRAWN, // ... drawn without replacement by their score, the largest of softmax(logits)
    REVEAL_SUREST // ... those whose draw from p has the most of softmax(logits)
} RefreshKind;

// What all operations on symbols take; what each reads and writes is told at BACKEND_OPS.
typedef struct {
    const float *logits; // [samples,item,classes]
    const int32_t *x_0;  // [samples,item]: ids in [0, classes)
    const uint64_t *sample;
    const CategoricalLevel *level; // [samples]
    const double *base; // or of dense levels [samples,3,classes,classes], rows add up to 1
    int32_t *x_t;       // [samples,item]: ids in [0, classes), and the mask
    float *dlogits, *loss, *memory;
    double *error, *race;                     // race [samples,item]: room
    int64_t samples, item, begin, end, block; // of the tokens [begin, end) samplers draw
    int32_t classes, steps;
    RefreshKind kind;
    bool accumulate;
    double temperature, share, purity, truncation;
    RngKey key;
} Categorical;

// categorical_corrupt: x_t from x_0. Token e draws block e/2 of sample[s]: numbers 2(e%2),
// 2(e%2)+1 = (stay, class). It stays when (stay + 1/2) / 2^32 < keep in float64, is masked when
// that is >= 1 - mask > keep, else becomes rng_below(class, classes), or the first class at which
// the running sum of base passes (class + 1/2) / 2^32. keep = 0: x_0 is not read. With `masks`, a
// token is masked when (stay + 1/2) / 2^32 times the tokens from it on is below the masks left; so
// many in each block, where there are blocks.
//
// categorical_loss: loss[s] = weight * sum over tokens of KL(theta(x_t, x_0) || theta_p), where
//   theta(x_t, v) = normalise( [a_t x_t + (1-a_t) base(x_t)] * [A_{t-1} v + (1-A_{t-1}) base] )
// and theta_p is theta(x_t, p), p itself or sum over v of p(v) theta(x_t, v) by the form, p =
// softmax(logits). In the first form and the mixture A_0 = 1 makes the first step the decoder
// -log theta_p[x_0]. The mixture takes an x_t for x_0 if no noise can have made it (U_t = 0).
// dlogits [samples,item,classes] is its gradient; error = the sum in float64, without weight. The
// loss, but not error, has aux times - log p(x_0) in the sum. It is added to what is in `loss` if
// `accumulate`. dlogits, loss and error may each be NULL.
//   With a mask, a guess and a score are of masked tokens alone; others have 0, but for aux.
//   guess   - log p(x_0). Without a mask that is the loss, and error has - log p(x_0) - p(x_t), or
//           1 - p(x_0) where x_t is x_0: the rate of the bound of a flow whose tokens jump to draws
//           from p (arXiv 2412.03487)
//   score   score entropy (arXiv 2310.16834, eq. 5). Of a masked token the ratios to the mask are
//           e^logit/K in units of what all classes have: sum of q - 1 - log q(x_0), q = e^logit/K.
//           Else e^logit(y) is q_t(y)/q_t(x_t), 1 for x_t itself, r_y is that given x_0, and the
//           term is the sum over y != x_t of (s_y - r_y log s_y + r_y (log r_y - 1))/K
//
// categorical_advance: x_t becomes a draw from theta_p by inversion with rng_uniform_f64 of the
// numbers 2(e%2), 2(e%2)+1 of block e/2 of sample[s]. truncation in (0, 1): p is left its likeliest
// classes only, the fewest that have this share of it. Of a guess, p with what `stay` leaves; of a
// score, the same with a mask, else the analytic step (2310.16834, sec. 4.2).
//
// categorical_refresh: one step by `kind`. Token e draws block e of sample[s]: numbers 0 and 1 the
// class, by inversion, 2 whether.
//
// categorical_reveal: one step by `kind`, p truncated as above; the numbers of categorical_advance
// make a class. REVEAL_DRAWN: class from p^(1 + purity score / highest score of the sample) at
// temperature 1; the order takes block item + e. Tokens of the first `block` that has masks come
// before all others.
//
// categorical_prior: x_t of the base distribution, the start of a sampler: number e%4 of block e/4,
// used as `class` above.

// The mean over the places of out [samples,classes,places] is a sample's logits: loss[s] = - log of
// what their softmax gives label[s], and its gradient in dout; wrong[s] = 1 where another class is
// the likeliest (the first of equals), else 0. dout may be NULL.
typedef struct {
    const float *out;
    const int32_t *label;
    float *dout, *loss;
    double *wrong;
    int64_t samples, places;
    int32_t classes;
} ClassLoss;

// ---- vectors, optimizer -----------------------------------------------------------------------

// sum[i] = sum of squares of x[i*chunk, min(n, (i+1)*chunk)) in float64.
typedef struct {
    const float *x;
    double *sum;
    int64_t n, chunk;
} SumSquares;

// sum[0] = sum modulo 2^64 of mix_element(first + i, bits of x[i]).
typedef struct {
    const float *x;
    uint64_t *sum;
    int64_t n;
    uint64_t first;
} Fingerprint;

// sum[i] = sum of x[i*chunk, min(n, (i+1)*chunk)) in their order, in float64.
typedef struct {
    const void *x; // float64 or fp32
    double *sum;
    int64_t n, chunk;
    bool wide; // x is float64
} AddUp;

// What a step's sums come to: of losses [losses], of squares of the gradient [squares], of samples
// that are lost [ranks], one every `stride` numbers.
//   items = max(1, samples - lost) * terms
//   norm  = sqrt(sum of squares) / items
//   scale = 1 / items, times clip / norm where that is less than 1 (clip 0: never); 0 where the
//           norm or the sum of losses is not finite
enum { GRAD_SCALE, GRAD_NORM, GRAD_LOSS, GRAD_ITEMS, GRAD_RESULTS };
typedef struct {
    const double *loss, *square, *lost;
    double *result; // [GRAD_RESULTS]: scale, norm, sum of losses, items
    int64_t losses, squares, ranks, stride;
    double samples, terms, clip;
} GradScale;

// AdamW with decoupled decay (arXiv 1711.05101) and two averages of the weights in one pass; where
// grad_scale, rounded to fp32, is 0 nothing changes:
//   g = grad_scale grad;  m = beta1 m + (1-beta1) g;  v = beta2 v + (1-beta2) g^2
//   w -= lr (m correct1 / (sqrt(v correct2) + eps) + decay w);  correct_i = 1/(1 - beta_i^step)
//   ema_k = ema_k + ema_rate_k (w - ema_k)
typedef struct {
    const float *grad;
    float *w, *m, *v, *ema_0, *ema_1;
    void *half; // w rounded to bf16; NULL: nobody wants it
    const double *grad_scale;
    int64_t n;
    float lr, beta1, beta2, eps, decay, correct1, correct2, ema_rate_0, ema_rate_1;
} AdamwEma;

//      name, argument struct, number of leading pointers
#define BACKEND_OPS(X)                                                                             \
    X(linear_forward, LinearLayer, 9)                                                              \
    X(linear_grad, LinearLayer, 9)                                                                 \
    X(activation_forward, Elementwise, 3)                                                          \
    X(multiply, Elementwise, 3)                                                                    \
    X(halve, Elementwise, 3)                                                                       \
    X(residual_norm_forward, ResidualNorm, 14)                                                     \
    X(residual_norm_grad, ResidualNorm, 14)                                                        \
    X(attention_forward, Attention, 5)                                                             \
    X(attention_grad, Attention, 5)                                                                \
    X(embed_forward, Embed, 7)                                                                     \
    X(embed_grad, Embed, 7)                                                                        \
    X(fourier_forward, Fourier, 4)                                                                 \
    X(fourier_grad, Fourier, 4)                                                                    \
    X(patch_forward, Patches, 2)                                                                   \
    X(patch_back, Patches, 2)                                                                      \
    X(quantise, Quantise, 4)                                                                       \
    X(code_values, CodeValues, 2)                                                                  \
    X(dropout, Dropout, 3)                                                                         \
    X(rescale, Rescale, 3)                                                                         \
    X(logit, Elementwise, 3)                                                                       \
    X(gaussian_corrupt, Gaussian, 9)                                                               \
    X(gaussian_loss, Gaussian, 9)                                                                  \
    X(gaussian_hat, Gaussian, 9)                                                                   \
    X(gaussian_huber, Gaussian, 9)                                                                 \
    X(gaussian_terms, Gaussian, 9)                                                                 \
    X(schedule_grad, ScheduleGrad, 11)                                                             \
    X(gaussian_advance, GaussianAdvance, 4)                                                        \
    X(gaussian_prior, Gaussian, 9)                                                                 \
    X(categorical_corrupt, Categorical, 11)                                                        \
    X(categorical_loss, Categorical, 11)                                                           \
    X(categorical_advance, Categorical, 11)                                                        \
    X(categorical_prior, Categorical, 11)                                                          \
    X(categorical_refresh, Categorical, 11)                                                        \
    X(categorical_reveal, Categorical, 11)                                                         \
    X(class_loss, ClassLoss, 5)                                                                    \
    X(axpby, Elementwise, 3)                                                                       \
    X(sum_squares, SumSquares, 2)                                                                  \
    X(add_up, AddUp, 2)                                                                            \
    X(fingerprint, Fingerprint, 2)                                                                 \
    X(grad_scale, GradScale, 4)                                                                    \
    X(adamw_ema, AdamwEma, 8)

#define BACKEND_NUMBER(name, Args, pointers) OP_##name,
enum { BACKEND_OPS(BACKEND_NUMBER) OPS };
#undef BACKEND_NUMBER
