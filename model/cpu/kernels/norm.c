// The residual stream and its modulated LayerNorm. A row of fp32 numbers stays in the first cache
// between the passes over it, so memory is read and written once.
#include <string.h>

#include "model/cpu/cpu_impl.h"
#include "model/cpu/kernels/half.h"

static void row_residual(const float *x, const float *restrict gate, const float *restrict branch,
                         float *sum, int64_t n) {
    LOOP_INDEPENDENT
    for (int64_t i = 0; i < n; ++i) sum[i] = fmaf(gate[i], branch[i], x[i]);
}

static float row_variance(const float *x, float mean, int64_t n) {
    v16 sum = v16_set(0), center = v16_set(mean);
    for (int64_t i = 0; i < n; i += 16) {
        v16 d = v16_sub(v16_load_or(x + i, n - i, mean), center);
        sum = v16_fma(d, d, sum);
    }
    return v16_sum(sum) / (float)n;
}

static void row_modulate(const float *restrict x, const float *restrict shift,
                         const float *restrict scale, const float stats[2], float *restrict y,
                         int64_t n) {
    float mean = stats[0], rstd = stats[1];
    for (int64_t i = 0; i < n; ++i) y[i] = fmaf((x[i] - mean) * rstd, 1.0f + scale[i], shift[i]);
}

void CPU_KERNEL(residual_norm_forward)(Stream *stream, const ResidualNorm *args) {
    int64_t width = args->width;
    float *room = cpu_scratch(stream, norm_scratch_bytes(width)), *y_room = room + width;
    for (int64_t s = 0; s < args->samples; ++s) {
        const float *shift = args->shift + s * args->mod_stride;
        const float *scale = args->scale + s * args->mod_stride;
        for (int64_t r = s * args->tokens; r < (s + 1) * args->tokens; ++r) {
            const float *sum = args->x + r * width;
            if (args->branch != NULL) {
                row_residual(sum, args->gate + s * args->gate_stride,
                             half_get(args->branch, args->branch_half, r * width, width, room),
                             args->sum + r * width, width);
                sum = args->sum + r * width;
            }
            float *stats = args->stats + 2 * r;
            float *y = half_room(args->y, args->half, r * width, y_room);
            stats[0] = row_sum(sum, width) / (float)width;
            stats[1] = 1.0f / sqrtf(row_variance(sum, stats[0], width) + NORM_EPS);
            row_modulate(sum, shift, scale, stats, y, width);
            half_put(args->y, args->half, r * width, width, y);
        }
    }
}

// One token's rows in the gradient; the last three collect over the tokens of a sample.
typedef struct {
    const float *sum, *dy, *scale, *branch, *gate;
    float *dsum, *dbranch, *dgate, *dshift, *dscale, mean, rstd;
    int64_t width;
} GradRow;

// The means over a row of g and of g x^, with g = dy (1 + scale) and x^ the normalised row.
static void row_grad_means(const GradRow *row, float means[2]) {
    v16 sum = v16_set(0), product = v16_set(0);
    v16 mean = v16_set(row->mean), rstd = v16_set(row->rstd), one = v16_set(1.0f);
    for (int64_t i = 0, n = row->width; i < n; i += 16) {
        v16 hat = v16_mul(v16_sub(v16_load(row->sum + i, n - i), mean), rstd);
        v16 g =
            v16_mul(v16_load(row->dy + i, n - i), v16_add(one, v16_load(row->scale + i, n - i)));
        sum = v16_add(sum, g);
        product = v16_fma(g, hat, product);
    }
    means[0] = v16_sum(sum) / (float)row->width;
    means[1] = v16_sum(product) / (float)row->width;
}

static void row_grad_norm(const GradRow *row, const float means[2]) {
    const float *sum = row->sum, *dy = row->dy, *scale = row->scale;
    float *dsum = row->dsum, *dshift = row->dshift, *dscale = row->dscale;
    float mean = row->mean, rstd = row->rstd, mean_g = means[0], mean_product = means[1];
    LOOP_INDEPENDENT
    for (int64_t i = 0; i < row->width; ++i) {
        float hat = (sum[i] - mean) * rstd;
        float g = dy[i] * (1.0f + scale[i]);
        dsum[i] = fmaf(fmaf(-hat, mean_product, g - mean_g), rstd, dsum[i]);
        dshift[i] += dy[i];
        dscale[i] = fmaf(dy[i], hat, dscale[i]);
    }
}

static void row_grad_branch(const GradRow *row) {
    const float *dsum = row->dsum, *gate = row->gate, *branch = row->branch;
    float *dbranch = row->dbranch, *dgate = row->dgate;
    LOOP_INDEPENDENT
    for (int64_t i = 0; i < row->width; ++i) {
        dbranch[i] = gate[i] * dsum[i];
        dgate[i] = fmaf(branch[i], dsum[i], dgate[i]);
    }
}

void CPU_KERNEL(residual_norm_grad)(Stream *stream, const ResidualNorm *args) {
    int64_t width = args->width;
    size_t bytes = (size_t)width * sizeof(float);
    float *dy_room = cpu_scratch(stream, norm_scratch_bytes(width)), *room = dy_room + width;
    for (int64_t s = 0; s < args->samples; ++s) {
        GradRow row = {.scale = args->scale + s * args->mod_stride,
                       .dshift = args->dshift + s * args->mod_stride,
                       .dscale = args->dscale + s * args->mod_stride,
                       .width = width};
        memset(row.dshift, 0, bytes);
        memset(row.dscale, 0, bytes);
        if (args->branch != NULL) {
            row.gate = args->gate + s * args->gate_stride;
            row.dgate = args->dgate + s * args->gate_stride;
            memset(row.dgate, 0, bytes);
        }
        for (int64_t r = s * args->tokens; r < (s + 1) * args->tokens; ++r) {
            float means[2];
            int64_t at = r * width;
            row.sum = args->sum + at;
            row.dy = half_get(args->dy, args->half, at, width, dy_room);
            row.dsum = args->dsum + at;
            row.mean = args->stats[2 * r], row.rstd = args->stats[2 * r + 1];
            row_grad_means(&row, means);
            row_grad_norm(&row, means);
            if (args->branch == NULL) continue;
            row.branch = half_get(args->branch, args->branch_half, at, width, room);
            row.dbranch = half_room(args->dbranch, args->branch_half, at, room + width);
            row_grad_branch(&row);
            half_put(args->dbranch, args->branch_half, at, width, row.dbranch);
        }
    }
}
