// The tensor work of Gaussian processes: numbers of a time, then a few operations. Samplers are
// those of DDPM (arXiv 2006.11239), DDIM (2010.02502) and score SDEs (2011.13456).
#include "model/process/family_gaussian.h"

#include <math.h>

static const GaussianSystem *system_of(const Process *process) {
    return process->system->own;
}

static bool has_variance(const ProcessSystem *system, const ProcessConfig *config) {
    return ((const GaussianSystem *)system->own)->has_variance || learns_variance(config);
}

static Status check(const ProcessSystem *system, const ProcessConfig *config, NetworkShape *shape) {
    shape->out_channels = shape->channels * (has_variance(system, config) ? 2 : 1);
    return STATUS_OK;
}

// ---- numbers ----------------------------------------------------------------------------------

GaussianPoint gaussian_point(const Process *process, double t) {
    if (t == 0) return (GaussianPoint){.keep = 1};
    if (is_continuous(process->system)) return system_of(process)->point(process, t);
    int step = (int)t;
    return (GaussianPoint){.keep = process->table.keep[step], .noise = process->table.noise[step]};
}

double gaussian_step_noise(const Process *process, double t, double s) {
    GaussianPoint at = gaussian_point(process, t), to = gaussian_point(process, s);
    if (is_continuous(process->system)) // by the difference of log SNR
        return -at.noise * expm1(log(to.noise / to.keep) - log(at.noise / at.keep));
    if (to.keep > 0.5) return (at.noise - to.noise) / to.keep;
    return 1 - at.keep / to.keep;
}

double gaussian_posterior_variance(const Process *process, double t, double s) {
    GaussianPoint at = gaussian_point(process, t), to = gaussian_point(process, s);
    return gaussian_step_noise(process, t, s) * to.noise / at.noise;
}

// g^2 = 2 sigma sigma' - 2 f sigma^2, f = alpha'/alpha.
static double diffusion(GaussianPoint at) {
    double sigma = sqrt(at.noise), f = at.keep_rate / sqrt(at.keep);
    return 2 * sigma * at.noise_rate - 2 * f * at.noise;
}

void gaussian_set_head(const char *head, GaussianNumbers *out) {
    double keep = out->keep, noise = out->noise, g = sqrt(out->diffusion);
    double data = sqrt(1 - noise * noise) / keep; // edm's sigma_data
    double square = keep * keep + noise * noise;  // often 1
    if (fabs(square - 1) < 1e-9) square = 1;
    const struct {
        const char *name;
        double target_x0, target_eps, hat_x, hat_out;
    } heads[] = {
        {"eps", 0, 1, 1 / keep, -noise / keep},
        {"x0", 1, 0, 0, 1},
        {"score", 0, -g / noise, 1 / keep, noise * noise / (g * keep)}, // g score = - g eps / noise
        {"velocity", -1, 1, 1 / (keep + noise), -noise / (keep + noise)},      // eps - x_0
        {"edm", noise / data, -data * keep, data * data * keep, data * noise}, // of D - c_skip x
        {"residual", -keep, 1 - noise, (1 - noise) / keep, -noise / keep},     // eps - x_t
        {"v", -noise, keep, keep / square, -noise / square},                   // arXiv 2202.00512
    };
    int i = 0;
    while (!word_is(heads[i].name, head)) ++i; // checked before: it is one of them
    out->target_x0 = heads[i].target_x0;
    out->target_eps = heads[i].target_eps;
    out->hat_x = heads[i].hat_x;
    out->hat_out = heads[i].hat_out;
}

// A loss of weight 1 on what the head predicts. Of the bound, half a square of eps: the KL of unit
// variances; in continuous time at the first time, and before, that of reading x_0 off x_t.
static void set_loss(const Process *process, double t, GaussianNumbers *out) {
    gaussian_set_head(process->config.head, out);
    out->term = GAUSSIAN_KL;
    out->weight = 1;
    if (t > process->system->begin) return;
    GaussianPoint at = gaussian_point(process, t);
    out->term = process->image ? GAUSSIAN_DECODER : GAUSSIAN_DENSITY;
    out->variance.add = log(at.noise / at.keep);
    out->hat_x = 1 / out->keep;
    out->hat_out = 0;
}

GaussianNumbers gaussian_numbers(const Process *process, double t) {
    GaussianPoint at = gaussian_point(process, t);
    GaussianNumbers numbers = {.keep = sqrt(at.keep), .noise = sqrt(at.noise)};
    if (is_continuous(process->system)) {
        // Of half a square of eps, per unit of log SNR: the KL of two unit variances.
        numbers.slope = numbers.keep / numbers.noise;
        numbers.diffusion = diffusion(at);
    } else if (t > 1) {
        GaussianPoint to = gaussian_point(process, t - 1);
        numbers.slope = sqrt(to.keep) * process->table.step_noise[(int)t] / at.noise;
        numbers.log_posterior = log(gaussian_posterior_variance(process, t, t - 1));
    }
    if (process->config.head[0] != 0) set_loss(process, t, &numbers);
    if (system_of(process)->numbers != NULL) system_of(process)->numbers(process, t, &numbers);
    return numbers;
}

static double weight(const Process *process, double t) {
    GaussianNumbers numbers = gaussian_numbers(process, t);
    return numbers.term_weight > 0 ? numbers.term_weight : numbers.weight;
}

static void level(const Process *process, double t, double scale, void *row) {
    GaussianNumbers n = gaussian_numbers(process, t);
    *(GaussianLevel *)row = (GaussianLevel){
        .keep = (float)n.keep,
        .noise = (float)n.noise,
        .target_x0 = (float)n.target_x0,
        .target_eps = (float)n.target_eps,
        .hat_x = (float)n.hat_x,
        .hat_out = (float)n.hat_out,
        .weight = (float)(scale * n.weight),
        .term = n.term,
        .mean_stops = n.mean_stops,
        .term_weight = scale * n.term_weight,
        .slope = n.slope,
        .log_posterior = n.log_posterior,
        .variance = n.variance,
    };
}

double gaussian_square_sum(const Process *process, const void *x_0) {
    const float *x = x_0;
    if (process->config.logit > 0) return logit_sum(process, process->logit_square, x);
    double mean = (double)process->config.data_mean, std = (double)process->config.data_std;
    double width = (double)process->width, sum = (double)process->items * width * width / 12;
    for (int64_t i = 0; i < process->items; ++i)
        sum += ((double)x[i] - mean) * ((double)x[i] - mean);
    return sum / (std * std);
}

// ---- tensors ----------------------------------------------------------------------------------

static Gaussian args_of(const Process *process, const Pass *pass, int64_t samples, RngKey key) {
    return (Gaussian){.x_0 = pass->x_0,
                      .out = pass->out,
                      .sample = pass->sample,
                      .level = pass->level,
                      .x_t = pass->x_t,
                      .target = pass->target,
                      .samples = samples,
                      .item = process->items,
                      .has_variance = has_variance(process->system, &process->config),
                      .key = key};
}

static void corrupt(const Process *process, Stream *stream, Pass *pass, int64_t samples,
                    RngKey key) {
    gaussian_corrupt(stream, args_of(process, pass, samples, key));
}

static void loss(const Process *process, Stream *stream, Pass *pass, int64_t samples,
                 bool gradient) {
    Gaussian args = args_of(process, pass, samples, (RngKey){0});
    args.dout = gradient ? pass->dout : NULL;
    args.loss = pass->loss;
    args.std = (float)(0.00054 * sqrt((double)process->items)); // iCT's c
    if (process->system->pairs)
        gaussian_huber(stream, args);
    else if (word_is(process->config.loss, "hybrid") || word_is(process->config.loss, "vlb"))
        gaussian_terms(stream, args);
    else // squares alone
        gaussian_loss(stream, args);
}

// Of a pair: what is said of the lower level is the target at the upper, which has the same noise.
static void next_pass(const Process *process, Stream *stream, Pass *pass, int64_t samples,
                      UNUSED RngKey key) {
    Gaussian args = args_of(process, pass, samples, pass->noise_key);
    gaussian_hat(stream, args);
    stream_upload(stream, pass->level, (GaussianLevel *)pass->host_level + pass->capacity,
                  (size_t)samples * sizeof(GaussianLevel));
    stream_upload(stream, pass->time, pass->host_time + pass->capacity * TIME_FEATURES,
                  (size_t)samples * TIME_FEATURES * sizeof *pass->time);
    args.target = NULL;
    gaussian_corrupt(stream, args);
}

static void bound_terms(const Process *process, Stream *stream, Pass *pass, int64_t samples) {
    Gaussian args = args_of(process, pass, samples, (RngKey){0});
    args.error = pass->error;
    args.clip = process->image;
    gaussian_terms(stream, args);
}

// ---- bound ------------------------------------------------------------------------------------

static double start_of(const Process *process) {
    const GaussianSystem *system = system_of(process);
    return system->start != NULL ? system->start(process) : 1;
}

double gaussian_prior_nats(const Process *process, const void *x_0) {
    double last = is_continuous(process->system) ? process->system->end : process->config.steps;
    GaussianPoint at = gaussian_point(process, last);
    double start = start_of(process) * start_of(process), noise = at.noise / start;
    double each = noise - 1 - log(noise);
    return 0.5 *
           (at.keep / start * gaussian_square_sum(process, x_0) + (double)process->items * each);
}

// log of noise over signal.
static double log_noise(const Process *process, double t) {
    GaussianPoint at = gaussian_point(process, t);
    return log(at.noise / at.keep);
}

// The time that lies so far between two in log SNR.
static double time_between(const Process *process, double low, double high, double share) {
    double first = log_noise(process, low);
    double goal = first + share * (log_noise(process, high) - first);
    for (int i = 0; i < 60; ++i) {
        double middle = 0.5 * (low + high);
        if (log_noise(process, middle) < goal)
            low = middle;
        else
            high = middle;
    }
    return 0.5 * (low + high);
}

// Uniform in log SNR, in which the bound is an integral of half a square of eps; or where that
// learns, and is dear to invert, in time.
static double bound_time(const Process *process, double point, double *weight) {
    double low = process->system->begin, high = process->system->end;
    if (process->grid > 0 || process->own_count > 0) {
        double t = process_time_at(process, point);
        *weight = 1; // a mean over times
        if (process->grid == 0) (void)vdm_g(process, t, weight);
        return t;
    }
    *weight = log_noise(process, high) - log_noise(process, low);
    return time_between(process, low, high, point);
}

// ---- sampling ---------------------------------------------------------------------------------

// Song et al. 2021, eq. 13, as (d alpha/dt) x0_hat + (d sigma/dt) eps_hat.
GaussianStep gaussian_slope(const Process *process, double t) {
    GaussianPoint at = gaussian_point(process, t);
    double by_x = at.noise_rate / sqrt(at.noise);
    return (GaussianStep){.by_x = by_x, .by_x0 = at.keep_rate - sqrt(at.keep) * by_x};
}

Status process_flow_check(const Process *process) {
    bool none = !is_continuous(process->system) || process->system->pairs;
    FAIL_IF(none || process_is_tokens(process), BAD_CONFIG,
            "%s has no probability flow, which takes numbers in continuous time; evaluate it as it"
            " is",
            process->system->name);
    FAIL_IF(process->image, BAD_CONFIG,
            "a density of images needs continuous pixels: train with process.dequantise=true");
    return STATUS_OK;
}

void process_flow_slope(const Process *process, double time, double *by_x, double *by_out) {
    GaussianStep slope = gaussian_slope(process, time);
    GaussianPoint at = gaussian_point(process, time);
    GaussianNumbers n = {
        .keep = sqrt(at.keep), .noise = sqrt(at.noise), .diffusion = diffusion(at)};
    gaussian_set_head(process->config.head, &n);
    *by_x = slope.by_x + slope.by_x0 * n.hat_x;
    *by_out = slope.by_x0 * n.hat_out;
}

double process_flow_nats(const Process *process, const float *x, const void *x_0_host) {
    double start = start_of(process), squares = 0, n = (double)process->items;
    for (int64_t i = 0; i < process->items; ++i) squares += (double)x[i] * (double)x[i];
    return 0.5 * (n * log(2 * M_PI * start * start) + squares / (start * start)) +
           process_scale_nats(process, x_0_host);
}

Status process_elbo_check(const Process *process) {
    FAIL_IF(process->system->density == NULL, BAD_CONFIG,
            "%s has no ELBO along its SDE, which is of variational-sde; evaluate it as it is",
            process->system->name);
    return process_flow_check(process);
}

double process_elbo_time(const Process *process, double point, double *weight) {
    double t = process->system->quantile(process, point);
    *weight = 1 / process->system->density(t);
    return t;
}

double process_elbo_term(const Process *process, double time, double square, double trace) {
    GaussianPoint at = gaussian_point(process, time);
    double f = at.keep_rate / sqrt(at.keep);
    return 0.5 * square + sqrt(diffusion(at)) * trace - f * (double)process->items;
}

// The mean of - log N(x_T; 0, I): the KL and the entropy of x_T given x_0.
double process_elbo_rest(const Process *process, const void *x_0) {
    double noise = gaussian_point(process, process->system->end).noise;
    return process_bound_prior(process, x_0) +
           0.5 * (double)process->items * log(2 * M_PI * M_E * noise);
}

// Euler and Maruyama backwards along one of the SDEs that have the same marginals (arXiv
// 2106.02808): the flow, (1 - lambda)/2 g^2 score h more, and sqrt(1 - lambda) g sqrt(h) z, score =
// (alpha x0_hat - x)/sigma^2.
static GaussianStep em_step(const Process *process, double lambda, double t, double s) {
    const GaussianSystem *system = system_of(process);
    GaussianPoint at = gaussian_point(process, t);
    GaussianStep slope = gaussian_slope(process, t);
    double h = t - s, g2 = system->stir != NULL ? system->stir(process, t) : diffusion(at);
    double pull = (1 - lambda) / 2 * g2 * h / at.noise;
    return (GaussianStep){.by_x = 1 - h * slope.by_x - pull,
                          .by_x0 = pull * sqrt(at.keep) - h * slope.by_x0,
                          .std = sqrt((1 - lambda) * g2 * h)};
}

GaussianStep gaussian_half(const Process *process, double t, double from, double to, double *keep) {
    GaussianStep slope = gaussian_slope(process, t);
    double h = (to - from) / 2;
    *keep = 1;
    if (!system_of(process)->straight)
        return (GaussianStep){.by_x = h * slope.by_x, .by_x0 = h * slope.by_x0};
    GaussianPoint at = gaussian_point(process, t), begin = gaussian_point(process, from),
                  end = gaussian_point(process, to);
    double ratio = sqrt(at.noise / at.keep);
    h = (sqrt(end.noise / end.keep) - sqrt(begin.noise / begin.keep)) / 2 * sqrt(end.keep) / ratio;
    *keep = sqrt(end.keep / begin.keep);
    return (GaussianStep){.by_x = h / sqrt(at.keep), .by_x0 = -h};
}

GaussianMultistep gaussian_multistep(const Process *process, const char *solver, const double *time,
                                     int known, double to) {
    GaussianPoint at = gaussian_point(process, time[0]), end = gaussian_point(process, to);
    if (to == 0) return (GaussianMultistep){.by_x0 = {1}};
    // h = log(alpha/sigma) gained; that of the steps before in its ratio.
    double here = -0.5 * log_noise(process, time[0]), h = -0.5 * log_noise(process, to) - here;
    double r[2] = {0}, alpha = sqrt(end.keep), by_x = sqrt(end.noise / at.noise),
           grows = -expm1(-h);
    for (int k = 0; k < 2 && k + 1 < known; ++k) {
        double before = -0.5 * log_noise(process, time[k + 1]);
        r[k] = (here - before) / h;
        here = before;
    }
    if (word_is(solver, "dpm-sde")) {
        double all = -expm1(-2 * h), half = known > 1 ? 0.5 / r[0] : 0;
        return (GaussianMultistep){
            by_x * exp(-h), {alpha * all * (1 + half), -alpha * all * half}, sqrt(end.noise * all)};
    }
    if (known < 2) return (GaussianMultistep){by_x, {alpha * grows}, 0};
    if (known < 3 || word_is(solver, "dpm-2m")) {
        double half = 0.5 / r[0];
        return (GaussianMultistep){by_x, {alpha * grows * (1 + half), -alpha * grows * half}, 0};
    }
    // In the differences (D_0 - D_1)/r_0 and (D_1 - D_2)/r_1. The second derivative has the factor
    // 2 of its Taylor term, which the released code lacks.
    double slope = 1 - grows / h, bend = 0.5 - slope / h, sum = r[0] + r[1];
    double late = alpha * (slope + (slope * r[0] + 2 * bend) / sum), early = alpha * slope - late;
    return (GaussianMultistep){
        by_x, {alpha * grows + late / r[0], early / r[1] - late / r[0], -early / r[1]}, 0};
}

GaussianStep gaussian_step(const Process *process, const SamplerConfig *config, double t,
                           double s) {
    GaussianPoint at = gaussian_point(process, t), to = gaussian_point(process, s);
    if (word_is(config->solver, "ddim")) {
        double std = 0; // upwards there is no posterior
        if (config->eta > 0)
            std = (double)config->eta * sqrt(gaussian_posterior_variance(process, t, s));
        double by_x = sqrt(fmax(to.noise - std * std, 0) / at.noise);
        return (GaussianStep){by_x, sqrt(to.keep) - by_x * sqrt(at.keep), .std = std};
    }
    if (word_is(config->solver, "consistency"))
        return (GaussianStep){.by_x0 = sqrt(to.keep), .std = sqrt(to.noise)};
    if (s > 0 && (word_is(config->solver, "em") || word_is(config->solver, "pc")))
        return em_step(process, (double)config->lambda, t, s);
    GaussianStep step = {
        .by_x = sqrt(at.keep / to.keep) * to.noise / at.noise,
        .by_x0 = sqrt(to.keep) * gaussian_step_noise(process, t, s) / at.noise,
    };
    if (s == 0) return step; // the last step gives the mean
    const GaussianSystem *system = system_of(process);
    step.variance.add = log(gaussian_posterior_variance(process, t, s));
    if (system->variance != NULL) step.variance = system->variance(process, t, s);
    step.has_variance = has_variance(process->system, &process->config);
    if (!step.has_variance) step.std = exp(0.5 * step.variance.add);
    return step;
}

static void begin(const Sampler *sampler, Stream *stream, Pass *pass, int64_t samples, RngKey key) {
    Gaussian args = args_of(sampler->process, pass, samples, key);
    args.std = (float)start_of(sampler->process);
    gaussian_prior(stream, args);
}

static void queue_step(const Sampler *sampler, Stream *stream, Pass *pass, int64_t samples,
                       double t, const GaussianStep *step, float *next, RngKey key) {
    const Process *process = sampler->process;
    GaussianNumbers numbers = gaussian_numbers(process, t);
    gaussian_advance(stream, (GaussianAdvance){.x = pass->x_t,
                                               .out = pass->out,
                                               .sample = pass->sample,
                                               .next = next,
                                               .samples = samples,
                                               .item = process->items,
                                               .out_item = process->out_item,
                                               .hat_x = numbers.hat_x,
                                               .hat_out = numbers.hat_out,
                                               .by_x = step->by_x,
                                               .by_x0 = step->by_x0,
                                               .std = step->std,
                                               .variance = step->variance,
                                               .has_variance = step->has_variance,
                                               .clip = sampler->config.clip && process->image,
                                               .key = key});
}

// Langevin (Song et al. 2021, alg. 4 and 5): x + e score + sqrt(2 e) z, e = 2 (snr |z| /
// |score|)^2. Both norms as expected of noise, sqrt(n) and sqrt(n) / sigma: those of a sample are
// far from that in few dimensions, where their ratio has no mean, and those of a batch would let
// samples know their company.
static void correct(const Sampler *sampler, Stream *stream, Pass *pass, int64_t samples, double t,
                    RngKey key) {
    GaussianPoint at = gaussian_point(sampler->process, t);
    double snr = (double)sampler->config.snr, pull = 2 * snr * snr;
    GaussianStep step = {
        .by_x = 1 - pull, .by_x0 = pull * sqrt(at.keep), .std = 2 * snr * sqrt(at.noise)};
    queue_step(sampler, stream, pass, samples, t, &step, pass->x_t, key);
}

// Heun's method on the ODE: x + h k_1 to be asked at, x + h/2 k_1 kept; then h/2 k_2 more.
static void heun(const Sampler *sampler, Stream *stream, Pass *pass, int64_t samples,
                 const SamplerStep *step, RngKey key) {
    bool second = step->kind == STEP_HEUN_2; // its time is where the step ends, `to` where it began
    double keep, from = second ? step->to : step->time, to = second ? step->time : step->to;
    GaussianStep half = gaussian_half(sampler->process, step->time, from, to, &keep);
    if (second) {
        queue_step(sampler, stream, pass, samples, step->time, &half, pass->x_t, key);
        axpby(stream, (Elementwise){.x = pass->target,
                                    .y = pass->x_t,
                                    .n = samples * sampler->process->items,
                                    .a = 1,
                                    .b = 1});
        return;
    }
    GaussianStep whole = {.by_x = keep + 2 * half.by_x, .by_x0 = 2 * half.by_x0};
    half.by_x += keep;
    queue_step(sampler, stream, pass, samples, step->time, &half, pass->target, key);
    queue_step(sampler, stream, pass, samples, step->time, &whole, pass->x_t, key);
}

// Before a step that begins above where this one has ended: fresh noise (arXiv 2206.00364, alg. 2).
static void stir(const Sampler *sampler, Stream *stream, Pass *pass, int64_t samples,
                 const SamplerStep *step, RngKey key) {
    if (step + 1 == sampler->step + sampler->steps || step[1].time <= step->time) return;
    double churned = gaussian_step_noise(sampler->process, step[1].time, step->time);
    GaussianPoint at = gaussian_point(sampler->process, step->time);
    GaussianPoint up = gaussian_point(sampler->process, step[1].time);
    GaussianStep noise = {.by_x = sqrt(up.keep / at.keep),
                          .std = (double)sampler->config.churn_noise * sqrt(churned)};
    queue_step(sampler, stream, pass, samples, step->time, &noise, pass->x_t, key);
}

// The x0_hat of the last two steps are kept in target and x_0, that of this one comes by dout.
static void multistep(const Sampler *sampler, Stream *stream, Pass *pass, int64_t samples,
                      const SamplerStep *step, RngKey key) {
    int64_t n = samples * sampler->process->items, i = step - sampler->step,
            left = sampler->steps - i;
    double time[3] = {step->time, i > 0 ? step[-1].time : 0, i > 1 ? step[-2].time : 0};
    int64_t known =
        i + 1 < left ? i + 1 : left; // the ends are of lower order: steps are uneven there
    GaussianMultistep multi = gaussian_multistep(sampler->process, sampler->config.solver, time,
                                                 known < 3 ? (int)known : 3, step->to);
    GaussianStep hat = {.by_x0 = 1},
                 first = {.by_x = multi.by_x, .by_x0 = multi.by_x0[0], .std = multi.std};
    queue_step(sampler, stream, pass, samples, step->time, &hat, pass->dout, key);
    queue_step(sampler, stream, pass, samples, step->time, &first, pass->x_t, key);
    float *kept[3] = {pass->dout, pass->target, pass->x_0};
    for (int k = 1; k < 3; ++k)
        if (multi.by_x0[k] != 0)
            axpby(stream,
                  (Elementwise){
                      .x = kept[k], .y = pass->x_t, .n = n, .a = (float)multi.by_x0[k], .b = 1});
    for (int k = 2; k > 0; --k)
        if (step->to > 0)
            axpby(stream, (Elementwise){.x = kept[k - 1], .y = kept[k], .n = n, .a = 1, .b = 0});
}

static void advance(const Sampler *sampler, Stream *stream, Pass *pass, int64_t samples,
                    const SamplerStep *step, RngKey key) {
    const Process *process = sampler->process;
    if (step->kind == STEP_CORRECT) {
        correct(sampler, stream, pass, samples, step->time, key);
    } else if (step->kind == STEP_MULTI) {
        multistep(sampler, stream, pass, samples, step, key);
    } else if (step->kind == STEP_HEUN_1 || step->kind == STEP_HEUN_2) {
        heun(sampler, stream, pass, samples, step, key);
        if (step->kind == STEP_HEUN_2) stir(sampler, stream, pass, samples, step, key);
    } else {
        GaussianStep solved = gaussian_step(process, &sampler->config, step->time, step->to);
        queue_step(sampler, stream, pass, samples, step->time, &solved, pass->x_t, key);
    }
    if (step->to > 0 || (process->config.data_mean == 0 && process->config.data_std == 1)) return;
    if (process->config.logit > 0)
        logit(stream,
              (Elementwise){
                  .x = pass->x_t, .y = pass->x_t, .n = samples * process->items, .inverse = true});
    rescale(stream, (Rescale){.x = pass->x_t,
                              .sample = pass->sample,
                              .y = pass->x_t,
                              .samples = samples,
                              .item = process->items,
                              .scale = process->config.data_std,
                              .shift = process->config.data_mean});
}

const ProcessFamily family_gaussian = {
    .level_bytes = sizeof(GaussianLevel),
    .check = check,
    .level = level,
    .weight = weight,
    .bound_time = bound_time,
    .time_between = time_between,
    .corrupt = corrupt,
    .loss = loss,
    .bound_terms = bound_terms,
    .next_pass = next_pass,
    .begin = begin,
    .advance = advance,
};
