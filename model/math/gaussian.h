// What Gaussian diffusion computes for one number.
#pragma once

#include "model/math/f64.h"
#include "model/ops.h"

// The logarithm of x / (1 - x), and back.
KERNEL_FN float logit_number(float x, bool inverse) {
    double wide = (double)x, small = exp_f64(-fabs(wide)); // inverse alone
    if (inverse) return (float)((wide < 0 ? small : 1.0) / (1.0 + small));
    return (float)log_f64(wide / (1.0 - wide));
}

// ---- terms of the bound -----------------------------------------------------------------------

// libm is fine for the exact masses: none of their bits enter training.

// log of the upper tail of the standard normal at z >= 0, also where erfc underflows.
KERNEL_FN double log_upper_tail(double z) {
    if (z < 20.0) return log(0.5 * erfc(z * M_SQRT1_2));
    double y = 1.0 / (z * z); // Abramowitz and Stegun 26.2.12; next term 945 y^5 < 1e-10
    double series = 1.0 - y * (1.0 - 3.0 * y * (1.0 - 5.0 * y * (1.0 - 7.0 * y)));
    return -0.5 * z * z - log(z) - 0.91893853320467274 + log(series);
}

// log of the mass of the standard normal between low < high; either may be infinite.
KERNEL_FN double log_normal_mass(double low, double high) {
    if (low < 0.0 && high > 0.0) {
        double outside = 0.5 * erfc(-low * M_SQRT1_2) + 0.5 * erfc(high * M_SQRT1_2);
        return outside < 0.5 ? log1p(-outside)
                             : log(0.5 * (erf(high * M_SQRT1_2) - erf(low * M_SQRT1_2)));
    }
    if (high <= 0.0) {
        double mirrored = -low;
        low = -high;
        high = mirrored;
    }
    double near = log_upper_tail(low);
    return isinf(high) ? near : near + log1p(-exp(log_upper_tail(high) - near));
}

// A term, and its derivatives with respect to x0_hat and to the logarithm of the variance.
typedef struct {
    double nats, by_x0, by_log;
} TermValue;

// e^x, where 0 and infinity are as good as e^-700 and e^700.
KERNEL_FN double exp_any(double x) {
    return exp_f64(x > 700.0 ? 700.0 : x);
}

// The normal distribution function as in gaussian_terms: its argument of the logistic function, the
// value, and its slope.
typedef struct {
    double logit, value, slope;
} NormalLike;

KERNEL_FN NormalLike normal_like(double x) {
    const double scale = 0.79788456080286536; // sqrt(2/pi)
    double logit = 2.0 * scale * x * fma(0.044715 * x, x, 1.0);
    double e = exp_f64(logit < 0.0 ? logit : -logit), share = 1.0 / (1.0 + e);
    double slope = 2.0 * scale * fma(3.0 * 0.044715 * x, x, 1.0) * share * (e * share);
    return (NormalLike){logit, logit < 0.0 ? e * share : share, slope};
}

// log sigm(x) and, in *slope, its derivative 1 - sigm(x).
KERNEL_FN double log_logistic(double x, double *slope) {
    double e = exp_f64(x < 0.0 ? x : -x), below = x < 0.0 ? x : 0.0;
    *slope = x < 0.0 ? 1.0 / (1.0 + e) : e / (1.0 + e);
    return below - log_f64(1.0 + e);
}

// Both bounds of a bin in units of the standard deviation; infinite for the outer two.
KERNEL_FN void bin_of(double x_0, double mean, double inverse, double *low, double *high) {
    double level = nearbyint((x_0 + 1.0) * 127.5), center = level / 127.5 - 1.0, half = 1.0 / 255.0;
    *low = level <= 0.0 ? -INFINITY : (center - half - mean) * inverse;
    *high = level >= 255.0 ? INFINITY : (center + half - mean) * inverse;
}

KERNEL_FN TermValue decoder_term(double x_0, double mean, double log_variance) {
    double low, high, inverse = exp_any(-0.5 * log_variance), slope;
    bin_of(x_0, mean, inverse, &low, &high);
    NormalLike below = {0.0, 0.0, 0.0}, above = {0.0, 1.0, 0.0};
    if (!isinf(low)) below = normal_like(low);
    if (!isinf(high)) above = normal_like(high);
    if (isinf(low) || isinf(high)) { // one tail: log sigm(+-logit)
        double sign = isinf(low) ? 1.0 : -1.0, at = isinf(low) ? high : low;
        const NormalLike *side = isinf(low) ? &above : &below;
        double nats = -log_logistic(sign * side->logit, &slope);
        // d logit / dx = slope of the value / (value (1 - value)), without dividing by it
        double by_at =
            -sign * slope * 2.0 * 0.79788456080286536 * fma(3.0 * 0.044715 * at, at, 1.0);
        return (TermValue){nats, -inverse * by_at, -0.5 * at * by_at};
    }
    // Beyond the mean, masses of the other tail: differences of small numbers.
    double mass =
        low > 0.0 ? normal_like(-low).value - normal_like(-high).value : above.value - below.value;
    if (!(mass > 1e-12)) return (TermValue){-log_f64(mass < 1e-12 ? 1e-12 : mass), 0.0, 0.0};
    double per_mass = 1.0 / mass;
    return (TermValue){-log_f64(mass), (above.slope - below.slope) * inverse * per_mass,
                       0.5 * (above.slope * high - below.slope * low) * per_mass};
}

// The level f = (v + 1/2)/128 - 1 next to x.
KERNEL_FN double nearest_level(double x) {
    return fmin(fmax(nearbyint(128.0 * (x + 1.0) - 0.5), 0.0), 255.0);
}

// Shares of levels by their squared distances in deviations; what is 9 deviations farther away than
// the nearest has less than 1e-17.
KERNEL_FN TermValue levels_term(double x_0, double mean, double log_variance) {
    double inverse = exp_any(-0.5 * log_variance), step = inverse / 128.0, reach = 9.0 / step + 1.0;
    double at = 128.0 * (mean + 1.0) - 0.5, own = nearest_level(x_0);
    double nearest = nearest_level(mean), base = (at - nearest) * step;
    double last = fmin(nearest + reach, 255.0), sum = 0.0, gaps = 0.0, squares = 0.0;
    for (double v = nearbyint(fmax(nearest - reach, 0.0)); v <= last; v += 1.0) {
        double gap = (at - v) * step, mass = exp_any(0.5 * (base * base - gap * gap));
        sum += mass;
        gaps += mass * gap;
        squares += mass * gap * gap;
    }
    double gap = (at - own) * step, square = gap * gap;
    return (TermValue){log_f64(sum) + 0.5 * (square - base * base), inverse * (gap - gaps / sum),
                       0.5 * (squares / sum - square)};
}

KERNEL_FN TermValue term_value(const GaussianLevel *level, double x_0, double mean,
                               double log_variance) {
    double error = mean - x_0;
    switch ((GaussianTerm)level->term) {
    case GAUSSIAN_KL: {
        double precision = exp_any(-log_variance), gap = level->slope * error;
        double ratio = exp_any(level->log_posterior - log_variance);
        double square = gap * gap * precision;
        double nats = 0.5 * (log_variance - level->log_posterior + ratio + square - 1.0);
        return (TermValue){nats, level->slope * gap * precision, 0.5 * (1.0 - ratio - square)};
    }
    case GAUSSIAN_DENSITY: {
        double precision = exp_any(-log_variance), square = error * error * precision;
        double nats = 0.5 * (1.8378770664093453 + log_variance + square); // log(2 pi)
        return (TermValue){nats, error * precision, 0.5 * (1.0 - square)};
    }
    case GAUSSIAN_DECODER: return decoder_term(x_0, mean, log_variance);
    case GAUSSIAN_LEVELS: return levels_term(x_0, mean, log_variance);
    case GAUSSIAN_NOTHING: break;
    }
    return (TermValue){0.0, 0.0, 0.0};
}

// The logarithm of the variance, and its derivative with respect to v.
KERNEL_FN double log_variance_of(const GaussianVariance *variance, double v, double *slope) {
    double z = fma(variance->mul, v, variance->add);
    *slope = variance->mul;
    if (!variance->logistic) return z;
    double log_value = log_logistic(z, slope);
    *slope *= variance->mul;
    return log_value;
}

KERNEL_FN float hat_of(float hat_x, float x, float hat_out, float out, bool clip) {
    float hat = fmaf(hat_x, x, hat_out * out);
    if (clip) hat = hat < -1.0f ? -1.0f : hat > 1.0f ? 1.0f : hat;
    return hat;
}

// x0_hat as gaussian_hat and gaussian_huber round it, and what it is away from target.
KERNEL_FN float level_hat(const GaussianLevel *level, float x_t, float out) {
    return fmaf(level->hat_out, out, level->hat_x * x_t);
}
KERNEL_FN float huber_gap(const Gaussian *a, const GaussianLevel *level, int64_t i) {
    return level_hat(level, a->x_t[i], a->out[i]) - a->target[i];
}

// The deviation of a sampler's noise where the network gives v.
KERNEL_FN float deviation_of(const GaussianVariance *variance, float v) {
    double slope, log_variance = log_variance_of(variance, (double)v, &slope);
    return (float)exp_any(0.5 * log_variance);
}

// What a number adds to the sums of gaussian_terms' loss, and its gradient.
typedef struct {
    double square, nats;
    float dout, dv;
} LossValue;

KERNEL_FN LossValue loss_value(const GaussianLevel *level, float x_0, float hat, float v, float out,
                               float target) {
    double by_v, log_variance = log_variance_of(&level->variance, (double)v, &by_v);
    TermValue term = term_value(level, (double)x_0, (double)hat, log_variance);
    double by_out = level->mean_stops ? 0.0 : term.by_x0 * (double)level->hat_out;
    float gap = out - target;
    return (LossValue){(double)gap * (double)gap, term.nats,
                       2.0f * level->weight * gap + (float)(level->term_weight * by_out),
                       (float)(level->term_weight * term.by_log * by_v)};
}

KERNEL_FN double error_value(const GaussianLevel *level, float x_0, float hat, float v) {
    double low, high, by_v, log_variance = log_variance_of(&level->variance, (double)v, &by_v);
    if (level->term != GAUSSIAN_DECODER)
        return term_value(level, (double)x_0, (double)hat, log_variance).nats;
    bin_of((double)x_0, (double)hat, exp(-0.5 * log_variance), &low, &high);
    return -log_normal_mass(low, high);
}

// What number i of all adds to by_g of schedule_grad; *gap = out - target.
KERNEL_FN double schedule_value(const ScheduleGrad *a, const GaussianLevel *level, int64_t i,
                                double *gap) {
    double keep = (double)level->keep, noise = (double)level->noise, by_x = (double)a->by_x;
    double target = (double)a->target[i], eps = target + by_x * (double)a->x_t[i];
    double rise = 0.5 * keep * noise * (keep * eps - noise * (double)a->x_0[i]);
    *gap = (double)a->out[i] - target;
    return ((double)a->dx[i] + 2.0 * (double)level->weight * by_x * *gap) * rise;
}
