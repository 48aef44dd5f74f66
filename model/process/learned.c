// Schedules of variational diffusion that learn (arXiv 2107.00630, and the authors' code):
// g(t) = b + |w| t, and with `net` a monotone network on top of that. All of the bound then depends
// on parameters, so the loss is all of it, and what needs no network is taken exactly: no draw of
// z_0 or z_1.
#include <math.h>

#include "model/process/family_gaussian.h"

void process_add_params(Process *process, Params *params) {
    const Param tensor[] = {
        {"l1.weight", 1, {1}, .init = INIT_CONSTANT, .scale = (float)(vdm_g_max - vdm_g_min)},
        {"l1.bias", 1, {1}, .init = INIT_CONSTANT, .scale = (float)vdm_g_min},
        {"l2.weight", 1, {LEARNED_UNITS}, .init = INIT_NORMAL, .scale = 0.01f},
        {"l2.bias", 1, {LEARNED_UNITS}, .init = INIT_ZERO},
        {"l3.weight", 1, {LEARNED_UNITS}, .init = INIT_NORMAL, .scale = 0.01f},
    };
    bool net = word_is(process->config.schedule, "net");
    int tensors = net ? 5 : word_is(process->config.schedule, "scalar") ? 2 : 0;
    process->own_offset = params->size;
    for (int i = 0; i < tensors; ++i) params_add(params, tensor[i], "schedule.%s", tensor[i].name);
    process->own_count = params->size - process->own_offset;
    process->own_slopes = tensors > 0 ? 3 * process->own_count + TIME_FEATURES : 0;
}

bool process_has_params(const Process *process) {
    return process->own_count > 0;
}

// With u = 2t - 1, a unit adds |w_3| (2 sigm(|w_2| u + b_2) - 1) / LEARNED_UNITS.
double vdm_g(const Process *process, double t, double *rate) {
    *rate = vdm_g_max - vdm_g_min;
    if (process->own_count == 0) return vdm_g_min + *rate * t;
    int64_t units = (process->own_count - 2) / 3;
    const float *w_1 = process->own, *w_2 = w_1 + 2, *b_2 = w_2 + units, *w_3 = b_2 + units;
    *rate = fabs((double)*w_1);
    double g = (double)w_1[1] + *rate * t;
    for (int64_t j = 0; j < units; ++j) {
        double in = fabs((double)w_2[j]), out = fabs((double)w_3[j]) / LEARNED_UNITS;
        double y = 1 / (1 + exp(-(in * (2 * t - 1) + (double)b_2[j])));
        g += out * (2 * y - 1);
        *rate += 4 * out * in * y * (1 - y);
    }
    return g;
}

static double sign_of(float w) {
    return (w > 0) - (w < 0);
}

// row[k] += by_g dg/dk + by_rate dg'/dk.
static void add_slopes(const Process *process, double t, double by_g, double by_rate, double *row) {
    int64_t units = (process->own_count - 2) / 3;
    const float *w_1 = process->own, *w_2 = w_1 + 2, *b_2 = w_2 + units, *w_3 = b_2 + units;
    row[0] += sign_of(*w_1) * (by_g * t + by_rate);
    row[1] += by_g;
    row += 2;
    for (int64_t j = 0; j < units; ++j) {
        double in = fabs((double)w_2[j]), out = fabs((double)w_3[j]) / LEARNED_UNITS, u = 2 * t - 1;
        double y = 1 / (1 + exp(-(in * u + (double)b_2[j]))), bump = 2 * y * (1 - y);
        double by_sum = out * bump * (by_g + 2 * by_rate * in * (1 - 2 * y));
        double by_out = by_g * (2 * y - 1) + 2 * by_rate * in * bump;
        row[j] += sign_of(w_2[j]) * (by_sum * u + 2 * by_rate * out * bump);
        row[units + j] += by_sum;
        row[2 * units + j] += sign_of(w_3[j]) * by_out / LEARNED_UNITS;
    }
}

// ---- ends -------------------------------------------------------------------------------------

// The mean over eps of - log p(level v | z_0), levels `gap` deviations apart, and by the logarithm
// of the variance. Level v + k is eps - k gap away; the trapezoidal rule is exact to 1e-9.
static void read_off(int v, double gap, double *nats, double *slope) {
    *nats = *slope = 0;
    for (double eps = -10; eps <= 10; eps += 0.125) {
        double nearest = fmin(fmax(rint(eps / gap), -v), 255 - v), base = eps - nearest * gap;
        double reach = rint(9 / gap + 1), sum = 0, turn = 0;
        for (double k = fmax(nearest - reach, -v); k <= fmin(nearest + reach, 255 - v); ++k) {
            double off = eps - k * gap, mass = exp(0.5 * (base * base - off * off));
            sum += mass;
            turn -= mass * 0.5 * k * gap * off;
        }
        double share = 0.125 / sqrt(2 * M_PI) * exp(-0.5 * eps * eps);
        *nats += share * (log(sum) + 0.5 * (eps * eps - base * base));
        *slope += share * turn / sum;
    }
}

Status process_use(Process *process, Stream *stream, const float *weights) {
    if (process->own_count == 0) return STATUS_OK;
    stream_download(stream, process->own, weights + process->own_offset,
                    (size_t)process->own_count * sizeof *process->own);
    TRY(stream_wait(stream));
    double rate, g = vdm_g(process, process->system->begin, &rate), gap = exp(-0.5 * g) / 128;
    double *nats = process->level_nats, *slope = process->level_slope;
    for (int v = 0; v < 256; ++v) {
        if (!process->image) // no levels: the entropy of the noise
            nats[v] = 0.5 * (log(2 * M_PI) + 1 + g), slope[v] = 0.5;
        else if (v > 127 || (v - 1) * gap > 20) // a mirrored level; both edges are out of sight
            nats[v] = nats[v > 127 ? 255 - v : v - 1], slope[v] = slope[v > 127 ? 255 - v : v - 1];
        else
            read_off(v, gap, &nats[v], &slope[v]);
    }
    return STATUS_OK;
}

// ---- training ---------------------------------------------------------------------------------

void learned_level(const Process *process, const float *x_0, void *row) {
    ((GaussianLevel *)row)->nats =
        logit_sum(process, process->level_nats, x_0) + process_bound_prior(process, x_0);
}

void learned_row(const Process *process, const Network *network, double t, const float *x_0,
                 double *row) {
    double begin = process->system->begin, end = process->system->end, T = process->grid, rate;
    int64_t n = process->own_count;
    memset(row, 0, (size_t)process->own_slopes * sizeof *row);
    add_slopes(process, t, 1, 0, row);
    if (T > 0) { // the weight is T/2 (e^(g_t - g_s) - 1)
        double by = 0.5 * T * exp(vdm_g(process, t, &rate) - vdm_g(process, t - 1 / T, &rate));
        add_slopes(process, t, by, 0, row + n);
        add_slopes(process, t - 1 / T, -by, 0, row + n);
    } else { // g'/2
        add_slopes(process, t, 0, 0.5, row + n);
    }
    GaussianPoint last = gaussian_point(process, end);
    double by_last =
        last.noise * gaussian_square_sum(process, x_0) + last.keep * (double)process->items;
    add_slopes(process, begin, logit_sum(process, process->level_slope, x_0), 0, row + 2 * n);
    add_slopes(process, end, -0.5 * last.keep * by_last, 0, row + 2 * n);
    float slope[TIME_FEATURES];
    network_time_slope(network, process_time_label(process, t), slope);
    for (int k = 0; k < TIME_FEATURES; ++k)
        row[3 * n + k] = (double)slope[k] * 1000 / (vdm_g_max - vdm_g_min);
}

void process_learn(const Process *process, Stream *stream, const Pass *pass, int64_t samples,
                   float *grads, bool accumulate) {
    if (process->own_count == 0) return;
    schedule_grad(stream, (ScheduleGrad){.dx = pass->dx,
                                         .out = pass->out,
                                         .target = pass->target,
                                         .x_t = pass->x_t,
                                         .x_0 = pass->x_0,
                                         .dtime = pass->dtime,
                                         .loss = pass->loss,
                                         .level = pass->level,
                                         .slopes = pass->slopes,
                                         .room = pass->room,
                                         .grads = grads + process->own_offset,
                                         .samples = samples,
                                         .item = process->items,
                                         .features = TIME_FEATURES,
                                         .parameters = process->own_count,
                                         .by_x = word_is(process->config.head, "residual"),
                                         .accumulate = accumulate});
}
