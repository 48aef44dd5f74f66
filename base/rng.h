// Counter-based random numbers: a number is a function of its key, never of who draws it or when.
//
// Philox4x32-10 (Salmon et al., SC'11, "Parallel random numbers: as easy as 1, 2, 3"). The 64-bit
// Philox key is a mix of (seed, purpose); the 128-bit counter is
//     { block, sample[31:0], step[15:0] << 16 | sample[47:32], step[47:16] }
// where `sample` is a global sample number and `step` the optimizer or sampler step, both below
// 2^48, and `block` counts groups of four 32-bit numbers within the sample. Every backend draws the
// same bits: only integer operations, IEEE add, multiply, fma and square root are used, with
// contraction switched off.
// Changing anything here breaks every stored run.
#pragma once

#include <math.h>
#include <stdint.h>

#include "base/mix.h"
#include "base/polynomial.h"

typedef enum {
    RNG_INIT = 1,       // initial weights: sample = tensor number, step = 0
    RNG_TIME = 2,       // diffusion times of a training batch
    RNG_NOISE = 3,      // corruption of a training batch
    RNG_LABEL_DROP = 4, // classifier-free guidance: which labels become the null class
    RNG_DROPOUT = 5,    // step = optimizer step << 8 | number of the dropout site
    RNG_PRIOR = 6,      // start of a generated sample: sample = its number, step = 0
    RNG_ANCESTRAL = 7,  // noise of sampler step `step`
    RNG_EVAL_TIME = 8,  // times and noise of held-out evaluation: step = draw number
    RNG_EVAL_NOISE = 9,
    RNG_DATA = 10,            // made-up data sets
    RNG_AUGMENT = 11,         // flips and crops of a training batch
    RNG_DEQUANTISE = 12,      // noise that makes levels of a training batch continuous
    RNG_EVAL_DEQUANTISE = 13, // the same of held-out evaluation: step = draw number
    RNG_HUTCHINSON = 14,      // signs that estimate a trace
    RNG_UNROLL = 15,      // what follows on a pass: step = optimizer step << 3 | number of the pass
    RNG_EVAL_UNROLL = 16, // the same of held-out evaluation: step = draw number << 3 | pass
} RngPurpose;

typedef struct {
    uint32_t key[2];
    uint64_t step;
} RngKey;

KERNEL_FN RngKey rng_key(uint64_t seed, RngPurpose purpose, uint64_t step) {
    uint64_t k = mix64(mix64(seed + MIX_GOLDEN) + (uint64_t)purpose);
    RngKey key = {{(uint32_t)k, (uint32_t)(k >> 32)}, step};
    return key;
}

KERNEL_FN void philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; ++round) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0;
        uint64_t p1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

// The four numbers of one block of one sample.
KERNEL_FN void rng_block(RngKey key, uint64_t sample, uint32_t block, uint32_t out[4]) {
    uint32_t counter[4] = {block, (uint32_t)sample,
                           (uint32_t)(key.step << 16) | (uint32_t)(sample >> 32 & 0xFFFFu),
                           (uint32_t)(key.step >> 16)};
    philox4x32(counter, key.key, out);
}

// Uniform in (0, 1), never 0 or 1: (top 23 bits + 1/2) / 2^23, exact in fp32.
KERNEL_FN float rng_uniform(uint32_t bits) {
    return ((float)(bits >> 9) + 0.5f) * 0x1p-23f;
}

// Uniform in (0, 1) in float64 from 52 bits of two numbers: (52 bits + 1/2) / 2^52, exact.
KERNEL_FN double rng_uniform_f64(uint32_t high, uint32_t low) {
    uint64_t bits = ((uint64_t)high << 32 | low) >> 12;
    return ((double)bits + 0.5) * 0x1p-52;
}

// Uniform integer in [0, n) by multiplication; the bias is below n / 2^32.
KERNEL_FN uint32_t rng_below(uint32_t bits, uint32_t n) {
    return (uint32_t)((uint64_t)bits * n >> 32);
}

// Natural logarithm of a normal, positive fp32 number, by an odd polynomial of our own in
// s = (m - 1) / (m + 1) with m in [sqrt(1/2), sqrt(2)): relative error below 3e-7.
KERNEL_FN float rng_log(float x) {
    F32Bits v = {x};
    int32_t e = (int32_t)(v.u - 0x3F3504F3u) >> 23; // 0x3F3504F3 = sqrt(1/2); arithmetic shift
    v.u -= (uint32_t)e << 23;
    float s = (v.f - 1.0f) / (v.f + 1.0f);
    float z = s * s;
    const float series[] = {0.22222222f, 0.28571429f, 0.4f, 0.66666667f}; // 2/9, 2/7, 2/5, 2/3
    float log_m = fmaf(s * z, polynomial_f32(series, 4, z), 2.0f * s);
    return fmaf((float)e, 0.69314718f, log_m);
}

// Standard normal deviate from one 32-bit number by the inverse distribution function at
// u = (bits + 1/2) / 2^32. With w = -log(4u(1-u)) the quotient deviate / (1 - 2 min(u, 1-u)) is a
// smooth function, here two polynomials of our own (least maximum relative error, fitted against
// Newton iterations on erfc in float64): one in w - 5/2 below w = 5, one in sqrt(w) - 3 above.
// |deviate| <= 6.34; error below 1e-6 of the deviate. No branches, so that loops vectorize.
KERNEL_FN float rng_normal(uint32_t bits) {
    uint32_t upper = bits >> 31;                            // which half
    uint32_t k = upper ? ~bits : bits;                      // distance to the nearer end, < 2^31
    float p = ((float)k + 0.5f) * 0x1p-32f;                 // tail probability, in (0, 1/2]
    float c = ((float)(0x7FFFFFFFu - k) + 0.5f) * 0x1p-31f; // 1 - 2p without cancellation
    float w = -rng_log(4.0f * p * (1.0f - p));
    w = w < 0.0f ? 0.0f : w;
    const float near[] = {4.035429412851954e-08f,  4.861034881287196e-07f,  -4.990561137674376e-06f,
                          -6.217987902346067e-06f, 0.00030915020033717155f, -0.0017730101244524121f,
                          -0.005908171180635691f,  0.3488026559352875f,     2.1233136653900146f};
    const float far[] = {-3.0224893635022454e-05f, -0.0001568693114677444f, 0.0016234761569648981f,
                         -0.004849228076636791f,   0.00822859164327383f,    -0.010895970277488232f,
                         0.013330241665244102f,    1.416590690612793f,      4.006434917449951f};
    float by_w = polynomial_f32(near, 9, w - 2.5f);
    float by_root = polynomial_f32(far, 9, sqrtf(w) - 3.0f);
    float magnitude = (w < 5.0f ? by_w : by_root) * c;
    return upper ? magnitude : -magnitude;
}
