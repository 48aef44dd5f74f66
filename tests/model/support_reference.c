// The float64 network that the fp32 one is compared with.
#include "tests/model/support_reference.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"

static const double *weight(const Reference *r, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static const double *weight(const Reference *r, const char *format, ...) {
    char name[128];
    va_list list;
    va_start(list, format);
    vsnprintf(name, sizeof name, format, list);
    va_end(list);
    const Param *param = params_find(r->params, name);
    REQUIRE(param != NULL);
    return r->weights + param->offset;
}

static double *numbers(int64_t n) {
    double *p = calloc((size_t)n, sizeof *p);
    REQUIRE(p != NULL);
    return p;
}

// y[rows,out] = x[rows,in] w^T + b of the layer `name`.
static void linear(const Reference *r, const char *name, const double *x, int64_t rows, int64_t in,
                   int64_t out, double *y) {
    const double *w = weight(r, "%s.weight", name), *b = weight(r, "%s.bias", name);
    for (int64_t i = 0; i < rows; ++i)
        for (int64_t o = 0; o < out; ++o) {
            double sum = b[o];
            for (int64_t k = 0; k < in; ++k) sum += x[i * in + k] * w[o * in + k];
            y[i * out + o] = sum;
        }
}

static void block_linear(const Reference *r, int block, const char *name, const double *x,
                         int64_t rows, const int64_t size[2], double *y) {
    char full[128];
    snprintf(full, sizeof full, "blocks.%d.%s", block, name);
    linear(r, full, x, rows, size[0], size[1], y);
}

static double silu(double x) {
    return x / (1 + exp(-x));
}
static double gelu(double x) {
    return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}

static void apply(double (*function)(double), double *x, int64_t n) {
    for (int64_t i = 0; i < n; ++i) x[i] = function(x[i]);
}

static void dropped(const Reference *r, int64_t s, int site, double *x, int64_t n) {
    double rate = (double)r->config->dropout;
    if (!r->dropout_on || rate == 0) return;
    RngKey key = r->dropout;
    key.step = key.step * 256 + (uint64_t)site;
    for (int64_t e = 0; e < n; ++e) {
        uint32_t bits[4];
        rng_block(key, r->sample[s], (uint32_t)(e / 4), bits);
        x[e] = rng_uniform(bits[e % 4]) >= r->config->dropout ? x[e] / (1 - rate) : 0;
    }
}

// SiLU of the conditioning vector of sample s.
static void condition(const Reference *r, int64_t s, double *c) {
    int64_t width = r->config->width;
    const double *label = weight(r, "y_embedder.embedding_table.weight") + r->label[s] * width;
    if (r->shape->time_input) {
        double features[256];
        double divisor = strcmp(r->config->timestep_freq, "div-128") == 0 ? 128 : 127;
        for (int k = 0; k < 128; ++k) {
            double f = pow(10000, -k / divisor);
            features[k] = cos(r->time[s] * f);
            features[128 + k] = sin(r->time[s] * f);
        }
        double *hidden = numbers(width);
        linear(r, "t_embedder.mlp.0", features, 1, 256, width, hidden);
        apply(silu, hidden, width);
        linear(r, "t_embedder.mlp.2", hidden, 1, width, width, c);
        free(hidden);
    }
    for (int64_t i = 0; i < width; ++i) c[i] = silu(c[i] + label[i]);
}

// ---- DiT --------------------------------------------------------------------------------------

static double position_1d(int64_t position, int64_t channel, int64_t channels) {
    int64_t j = channel % (channels / 2);
    double angle = (double)position / pow(10000, (double)j / ((double)channels / 2));
    return channel < channels / 2 ? sin(angle) : cos(angle);
}

// p neighbouring symbols, each looked up in a table of width / p, side by side, then one matrix.
static void embed_tokens(const Reference *r, const int32_t *ids, double *h) {
    int64_t width = r->config->width, p = r->config->patch, each = width / p;
    int64_t length = r->shape->length;
    const double *table = weight(r, "x_embedder.table.weight");
    const double *w = weight(r, "x_embedder.proj.weight"), *b = weight(r, "x_embedder.proj.bias");
    for (int64_t t = 0; t < length / p; ++t)
        for (int64_t d = 0; d < width; ++d) {
            double sum = b[d];
            for (int64_t symbol = 0; symbol < p; ++symbol)
                for (int64_t k = 0; k < each; ++k)
                    sum += w[d * width + symbol * each + k] * table[ids[t * p + symbol] * each + k];
            h[t * width + d] = sum + position_1d(t, d, width);
        }
}

// A convolution with kernel = stride = patch.
static void embed_image(const Reference *r, int64_t s, double *h) {
    const NetworkShape *shape = r->shape;
    int64_t width = r->config->width, p = r->config->patch, columns = shape->width / p;
    int64_t item = (int64_t)shape->channels * shape->height * shape->width;
    const double *w = weight(r, "x_embedder.proj.weight"), *b = weight(r, "x_embedder.proj.bias");
    for (int64_t t = 0; t < columns * (shape->height / p); ++t)
        for (int64_t d = 0; d < width; ++d) {
            double sum = b[d];
            for (int64_t k = 0; k < shape->channels * p * p; ++k) {
                int64_t c = k / (p * p), y = t / columns * p + k / p % p;
                int64_t x = t % columns * p + k % p;
                sum += w[d * shape->channels * p * p + k] *
                       r->x[s * item + (c * shape->height + y) * shape->width + x];
            }
            int64_t half = width / 2;
            sum += d < half ? position_1d(t % columns, d, half)
                            : position_1d(t / columns, d - half, half);
            h[t * width + d] = sum;
        }
}

static void modulated_norm(const double *x, int64_t rows, int64_t width, const double *shift,
                           const double *scale, double *y) {
    for (int64_t i = 0; i < rows; ++i) {
        const double *row = x + i * width;
        double mean = 0, variance = 0;
        for (int64_t d = 0; d < width; ++d) mean += row[d] / (double)width;
        for (int64_t d = 0; d < width; ++d)
            variance += (row[d] - mean) * (row[d] - mean) / (double)width;
        for (int64_t d = 0; d < width; ++d)
            y[i * width + d] = (row[d] - mean) / sqrt(variance + 1e-6) * (1 + scale[d]) + shift[d];
    }
}

// Blocks: tokens 0..n-1 are being drawn, tokens n.. are finished, at the same places.
static bool reads(const Reference *r, int64_t t, int64_t u, int64_t tokens) {
    int64_t n = tokens / 2, block = r->shape->block / r->config->patch;
    if (block == 0) return true;
    int64_t from = t % n / block, to = u % n / block;
    if (t < n) return u < n ? from == to : to < from;
    return u >= n && to <= from;
}

// out[tokens,width] of one sample from qkv [tokens,3,heads,head_dim].
static void attention(const Reference *r, const double *qkv, int64_t tokens, double *out) {
    int64_t width = r->config->width, heads = r->config->heads, size = width / heads;
    double *p = numbers(tokens);
    for (int64_t row = 0; row < tokens * heads; ++row) {
        int64_t t = row / heads, head = row % heads;
        const double *q = qkv + t * 3 * width + head * size;
        double sum = 0;
        for (int64_t u = 0; u < tokens; ++u) {
            const double *k = qkv + u * 3 * width + width + head * size;
            double dot = 0;
            for (int64_t d = 0; d < size; ++d) dot += q[d] * k[d];
            p[u] = reads(r, t, u, tokens) ? exp(dot / sqrt((double)size)) : 0;
            sum += p[u];
        }
        for (int64_t d = 0; d < size; ++d) {
            double mix = 0;
            for (int64_t u = 0; u < tokens; ++u)
                mix += p[u] / sum * qkv[u * 3 * width + 2 * width + head * size + d];
            out[t * width + head * size + d] = mix;
        }
    }
    free(p);
}

static void add_gated(double *h, const double *branch, const double *gate, int64_t rows,
                      int64_t width) {
    for (int64_t i = 0; i < rows * width; ++i) h[i] += gate[i % width] * branch[i];
}

static void block(const Reference *r, int64_t s, int i, const double *c, int64_t tokens,
                  double *h) {
    int64_t width = r->config->width, hidden = width * r->config->mlp_ratio, n = tokens * width;
    double *mod = numbers(6 * width), *norm = numbers(n), *branch = numbers(n);
    double *qkv = numbers(3 * n), *mixed = numbers(n), *wide = numbers(tokens * hidden);
    block_linear(r, i, "adaLN_modulation.1", c, 1, (int64_t[]){width, 6 * width}, mod);

    modulated_norm(h, tokens, width, mod, mod + width, norm);
    block_linear(r, i, "attn.qkv", norm, tokens, (int64_t[]){width, 3 * width}, qkv);
    attention(r, qkv, tokens, mixed);
    block_linear(r, i, "attn.proj", mixed, tokens, (int64_t[]){width, width}, branch);
    dropped(r, s, 2 * i, branch, n);
    add_gated(h, branch, mod + 2 * width, tokens, width);

    modulated_norm(h, tokens, width, mod + 3 * width, mod + 4 * width, norm);
    block_linear(r, i, "mlp.fc1", norm, tokens, (int64_t[]){width, hidden}, wide);
    apply(gelu, wide, tokens * hidden);
    block_linear(r, i, "mlp.fc2", wide, tokens, (int64_t[]){hidden, width}, branch);
    dropped(r, s, 2 * i + 1, branch, n);
    add_gated(h, branch, mod + 5 * width, tokens, width);

    free(mod), free(norm), free(branch), free(qkv), free(mixed), free(wide);
}

// Token numbers [h][w][p_y][p_x][o] -> image [o][h p_y][w p_x].
static void unpatchify(const Reference *r, const double *tokens, double *image) {
    const NetworkShape *shape = r->shape;
    int64_t p = r->config->patch, columns = shape->width / p, channels = shape->out_channels;
    for (int64_t o = 0; o < channels; ++o)
        for (int64_t y = 0; y < shape->height; ++y)
            for (int64_t x = 0; x < shape->width; ++x) {
                int64_t t = y / p * columns + x / p, inside = y % p * p + x % p;
                image[(o * shape->height + y) * shape->width + x] =
                    tokens[(t * p * p + inside) * channels + o];
            }
}

static void dit_sample(const Reference *r, int64_t s, const double *c, double *out) {
    const NetworkShape *shape = r->shape;
    int64_t width = r->config->width, p = r->config->patch;
    int64_t tokens =
        shape->tokens ? shape->length / p : (int64_t)shape->height * shape->width / (p * p);
    int64_t size = shape->out_channels * p * (shape->tokens ? 1 : p), places = tokens;
    if (shape->block > 0) tokens *= 2;
    double *h = numbers(tokens * width), *norm = numbers(tokens * width);
    double *mod = numbers(2 * width), *last = numbers(tokens * size);
    if (shape->tokens)
        embed_tokens(r, r->ids + s * shape->length, h);
    else
        embed_image(r, s, h);
    if (shape->block > 0) embed_tokens(r, r->context + s * shape->length, h + places * width);
    for (int i = 0; i < r->config->depth; ++i) block(r, s, i, c, tokens, h);
    if (r->stream != NULL)
        memcpy(r->stream + s * tokens * width, h, (size_t)(tokens * width) * sizeof *h);
    linear(r, "final_layer.adaLN_modulation.1", c, 1, width, 2 * width, mod);
    modulated_norm(h, tokens, width, mod, mod + width, norm);
    linear(r, "final_layer.linear", norm, tokens, width, size, last);
    if (shape->tokens)
        memcpy(out, last, (size_t)(places * size) * sizeof *out);
    else
        unpatchify(r, last, out);
    free(h), free(norm), free(mod), free(last);
}

// ---- MLP --------------------------------------------------------------------------------------

static void mlp_sample(const Reference *r, int64_t s, const double *c, double *out) {
    int64_t width = r->config->width, in = r->shape->channels;
    double *h = numbers(width), *inner = numbers(width), *branch = numbers(width);
    linear(r, "x_embedder.proj", r->x + s * in, 1, in, width, h);
    for (int i = 0; i < r->config->depth; ++i) {
        char name[64];
        snprintf(name, sizeof name, "layers.%d.modulation", i);
        linear(r, name, c, 1, width, width, inner);
        for (int64_t d = 0; d < width; ++d) inner[d] = silu(h[d] + inner[d]);
        snprintf(name, sizeof name, "layers.%d.linear", i);
        linear(r, name, inner, 1, width, width, branch);
        dropped(r, s, i, branch, width);
        for (int64_t d = 0; d < width; ++d) h[d] += branch[d];
    }
    apply(silu, h, width);
    linear(r, "final_layer.linear", h, 1, width, r->shape->out_channels, out);
    free(h), free(inner), free(branch);
}

// x, and sin and cos of 64 and 128 turns of it, one after the other in each sample.
static double *fourier_features(const Reference *r, int64_t item) {
    double *y = numbers(r->samples * 5 * item);
    for (int64_t i = 0; i < r->samples * item; ++i) {
        double *at = y + i / item * 5 * item + i % item, angle = 2 * M_PI * r->x[i];
        at[0] = r->x[i];
        at[item] = sin(64 * angle), at[2 * item] = cos(64 * angle);
        at[3 * item] = sin(128 * angle), at[4 * item] = cos(128 * angle);
    }
    return y;
}

static void forward_features(const Reference *r, double *out) {
    NetworkConfig config = *r->config;
    NetworkShape shape = *r->shape;
    Reference wide = *r;
    double *y = fourier_features(r, (int64_t)shape.channels * shape.height * shape.width);
    config.fourier = false;
    shape.channels *= 5;
    wide.config = &config, wide.shape = &shape, wide.x = y;
    reference_forward(&wide, out);
    free(y);
}

void reference_forward(const Reference *r, double *out) {
    if (r->config->fourier) {
        forward_features(r, out);
        return;
    }
    const NetworkShape *shape = r->shape;
    int64_t item = shape->tokens ? (int64_t)shape->length * shape->out_channels
                                 : (int64_t)shape->out_channels * shape->height * shape->width;
    for (int64_t s = 0; s < r->samples; ++s) {
        double *c = numbers(r->config->width);
        condition(r, s, c);
        if (strcmp(r->config->family, "dit") == 0)
            dit_sample(r, s, c, out + s * item);
        else
            mlp_sample(r, s, c, out + s * item);
        free(c);
    }
}
