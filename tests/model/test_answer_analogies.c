// What docs/how-to-think-of-diffusion.md claims: diffusion beside flows, variational autoencoders,
// adversaries and dye in water, each claim a number with a closed form.
#include "tests/model/support_gaussian.h"
#include "tests/model/support_process.h"
#include "tests/test.h"

static double entropy(double variance) {
    return 0.5 * log(2 * M_PI * M_E * variance);
}

// KL(N(0, variance) || N(0, 1))
static double kl_to_noise(double variance) {
    return 0.5 * (variance - 1 - log(variance));
}

// ---- flows: change of variables ---------------------------------------------------------------

enum { D = 4, HALF = D / 2 };

// Half of x scales and moves the other half.
static double coupling(const double x[D], double y[D], bool back) {
    double sum = 0;
    for (int i = 0; i < HALF; ++i) {
        double scale = 0.7 * tanh(x[0] - 0.5 * x[1] + i), shift = sin(x[1] + 2 * x[0]) - i;
        y[i] = x[i];
        y[HALF + i] = back ? (x[HALF + i] - shift) * exp(-scale) : x[HALF + i] * exp(scale) + shift;
        sum += scale;
    }
    return sum;
}

// log |det|, and m x = y solved in place of y if not NULL. m is destroyed.
static double eliminate(double m[D][D], double y[D]) {
    double sum = 0;
    for (int k = 0; k < D; ++k) {
        int best = k;
        for (int i = k; i < D; ++i) best = fabs(m[i][k]) > fabs(m[best][k]) ? i : best;
        for (int j = 0; j < D; ++j) {
            double kept = m[k][j];
            m[k][j] = m[best][j], m[best][j] = kept;
        }
        if (y != NULL) {
            double kept = y[k];
            y[k] = y[best], y[best] = kept;
        }
        sum += log(fabs(m[k][k]));
        for (int i = 0; i < D; ++i) {
            double factor = m[i][k] / m[k][k];
            if (i == k || (y == NULL && i < k)) continue;
            for (int j = k; j < D; ++j) m[i][j] -= factor * m[k][j];
            if (y != NULL) y[i] -= factor * y[k];
        }
    }
    for (int k = 0; y != NULL && k < D; ++k) y[k] /= m[k][k];
    return sum;
}

static const double mixing[D][D] = {
    {0.9, -0.4, 0.1, 0.3}, {0.2, 1.1, -0.5, 0.1}, {-0.3, 0.2, 0.8, 0.6}, {0.4, 0.1, -0.2, 1.2}};
static const double actnorm[D] = {0.5, 1.5, -2, 0.8};

// A step of Glow: scales, a mixing of channels, a coupling. log |det| of its Jacobian.
static double glow(const double x[D], double y[D]) {
    double mixed[D] = {0}, m[D][D], sum = 0;
    memcpy(m, mixing, sizeof m);
    for (int i = 0; i < D; ++i) {
        for (int j = 0; j < D; ++j) mixed[i] += mixing[i][j] * (actnorm[j] * x[j] + 0.1);
        sum += log(fabs(actnorm[i]));
    }
    return sum + eliminate(m, NULL) + coupling(mixed, y, false);
}

static void glow_back(const double y[D], double x[D]) {
    double m[D][D];
    memcpy(m, mixing, sizeof m);
    (void)coupling(y, x, true);
    (void)eliminate(m, x);
    for (int i = 0; i < D; ++i) x[i] = (x[i] - 0.1) / actnorm[i];
}

static double affine(const double x[D], double y[D]) {
    return coupling(x, y, false);
}

static void affine_back(const double y[D], double x[D]) {
    (void)coupling(y, x, true);
}

static void check_flow(double (*flow)(const double *, double *),
                       void (*back)(const double *, double *)) {
    double x[D] = {0.3, -1.1, 0.7, 2}, y[D], again[D], jacobian[D][D], h = 1e-5;
    double told = flow(x, y);
    back(y, again);
    for (int j = 0; j < D; ++j) {
        double up[D], down[D], kept = x[j];
        EXPECT_NEAR(again[j], x[j], 1e-10);
        x[j] = kept + h, (void)flow(x, up);
        x[j] = kept - h, (void)flow(x, down);
        x[j] = kept;
        for (int i = 0; i < D; ++i) jacobian[i][j] = (up[i] - down[i]) / (2 * h);
    }
    EXPECT_NEAR(told, eliminate(jacobian, NULL), 1e-6);
}

static void test_flows_change_variables(void) {
    check_flow(affine, affine_back);
    check_flow(glow, glow_back);
}

// x along the probability flow of the best score from `from` to `to`; the integral of its
// divergence comes on top of *sum. RK4 in even steps.
static double follow(const Process *process, double x, double from, double to, double s,
                     double *sum) {
    enum { STEPS = 20000 };
    double h = (to - from) / STEPS;
    for (int i = 0; i < STEPS; ++i) {
        double rate[3];
        for (int k = 0; k < 3; ++k) {
            double t = from + (i + 0.5 * k) * h;
            GaussianStep slope = gaussian_slope(process, t);
            rate[k] = slope.by_x + slope.by_x0 * best_gain(process, t, s);
        }
        double k_1 = rate[0], k_2 = rate[1] * (1 + h / 2 * k_1), k_3 = rate[1] * (1 + h / 2 * k_2);
        double k_4 = rate[2] * (1 + h * k_3);
        x *= 1 + h / 6 * (k_1 + 2 * k_2 + 2 * k_3 + k_4);
        *sum += h / 6 * (rate[0] + 4 * rate[1] + rate[2]);
    }
    return x;
}

static double log_normal(double x, double variance) {
    return -0.5 * (log(2 * M_PI * variance) + x * x / variance);
}

static double spread_at(const Process *process, double t, double s) {
    GaussianPoint at = gaussian_point(process, t);
    return at.keep * s * s + at.noise;
}

// The flow carries the density of the data, as they are at its begin, to that at its end.
static void test_probability_flow_is_a_flow(void) {
    static const char *const schedules[] = {"vp", "sub-vp", "ve"};
    for (int k = 0; k < 3; ++k) {
        ProcessConfig config = {.name = "score-sde", .steps = 1000};
        snprintf(config.schedule, sizeof config.schedule, "%s", schedules[k]);
        NetworkShape shape = shape_vector(1);
        Process *process;
        EXPECT_OK(process_open(&config, &shape, &process));
        double s = 0.5, begin = 1e-2;
        for (double x = -1.3; x < 2; x += 1) {
            double sum = 0, undone = 0;
            double end = follow(process, x, begin, 1, s, &sum);
            EXPECT_NEAR(log_normal(end, spread_at(process, 1, s)) + sum,
                        log_normal(x, spread_at(process, begin, s)), 1e-6);
            EXPECT_NEAR(follow(process, end, 1, begin, s, &undone), x, 1e-6);
        }
        process_close(process);
    }
}

// ---- variational autoencoders -----------------------------------------------------------------

// x = z + n, both N(0,1), the posterior N(gain x, variance): mean over the data, bits.
static double vae_bits(double gain, double variance) {
    double decoder = 0.5 * (log(2 * M_PI) + 2 * (1 - gain) * (1 - gain) + variance);
    double prior = 0.5 * (variance + 2 * gain * gain - 1 - log(variance));
    return (decoder + prior) / M_LN2;
}

static void test_bound_of_a_linear_vae(void) {
    double best = vae_bits(0.5, 0.5);
    EXPECT_NEAR(best, 2.547096, 1e-6);
    EXPECT_NEAR(best, entropy(2) / M_LN2, 1e-12);
    for (double gain = 0.1; gain < 1; gain += 0.1)
        for (double variance = 0.1; variance < 1; variance += 0.1)
            EXPECT(vae_bits(gain, variance) > best - 1e-12);
    EXPECT(vae_bits(0.5, 0.6) > best + 1e-3 && vae_bits(0.4, 0.5) > best + 1e-3);
}

static ProcessConfig ddpm_of(int steps, const char *variance, const char *loss) {
    ProcessConfig config = {.name = "ddpm", .steps = steps, .schedule = "cosine", .head = "eps"};
    snprintf(config.variance, sizeof config.variance, "%s", variance);
    snprintf(config.loss, sizeof config.loss, "%s", loss);
    return config;
}

// DDPM's bound in nats on N(0, s^2) with the best network. x_0 is the root of its mean square
// error and x_t, out are 0: a term is then its mean over data and noise.
static double ddpm_nats(int steps, double s) {
    enum { MOST = 64 };
    static const float zero[MOST];
    float x_0[MOST], out[MOST][2];
    ProcessConfig config = ddpm_of(steps, "learned", "vlb");
    ProcessCase c;
    process_case_open(&c, "cpu", &config, shape_vector(1), steps);
    GaussianLevel *row = c.pass.host_level;
    for (int t = 1; t <= steps; ++t) {
        GaussianNumbers n = gaussian_numbers(c.process, t);
        double error = best_error(c.process, t, s);
        x_0[t - 1] = (float)sqrt(error);
        double best = t > 1 ? exp(n.log_posterior) + n.slope * n.slope * error : error;
        out[t - 1][0] = 0;
        out[t - 1][1] = (float)log(best);
        c.process->system->family->level(c.process, t, 1, &row[t - 1]);
    }
    case_upload(&c, c.pass.x_0, x_0, steps * 4);
    case_upload(&c, c.pass.x_t, zero, steps * 4);
    case_upload(&c, c.pass.target, zero, steps * 4);
    case_upload(&c, c.pass.out, out, steps * 8);
    case_upload(&c, c.pass.level, row, steps * (int64_t)sizeof *row);
    process_bound_terms(c.process, c.stream, &c.pass, steps);
    double error[MOST], nats;
    float data = (float)s;
    case_download(&c, error, c.pass.error, steps * 8);
    nats = process_bound_prior(c.process, &data);
    for (int t = 0; t < steps; ++t) nats += error[t];
    process_case_close(&c);
    return nats;
}

// The same of a VAE with layers x_1..x_T over x_0, from nothing but its definition: the decoder's
// layers are the conditionals of the joint Gaussian, the encoder's add noise by the schedule.
static double markov_vae_nats(int steps, double s) {
    double variance = s * s, nats = 0;
    for (int t = 1; t <= steps; ++t) {
        double now = cos(((double)t / steps + 0.008) / 1.008 * M_PI_2);
        double before = cos(((double)(t - 1) / steps + 0.008) / 1.008 * M_PI_2);
        double noise = fmin(1 - now * now / (before * before), 0.999);
        double next = (1 - noise) * variance + noise; // of x_t
        nats += entropy(variance * noise / next);     // decoder: x_{t-1} given x_t
        nats -= entropy(noise);                       // encoder: x_t given x_{t-1}
        variance = next;
    }
    return nats + 0.5 * (log(2 * M_PI) + variance); // prior of the last layer
}

static void test_diffusion_is_a_vae_of_many_layers(void) {
    for (int steps = 1; steps <= 64; steps *= 4) {
        EXPECT_NEAR(ddpm_nats(steps, 0.5), markov_vae_nats(steps, 0.5), 2e-6 * steps);
        EXPECT_NEAR(ddpm_nats(steps, 1.7), markov_vae_nats(steps, 1.7), 2e-6 * steps);
    }
    // The best decoder leaves nothing but the last layer's distance from the prior.
    EXPECT(ddpm_nats(64, 0.5) > entropy(0.25) && ddpm_nats(64, 0.5) < entropy(0.25) + 1e-3);
}

// ---- adversaries ------------------------------------------------------------------------------

// E_p log D + E_q log(1 - D), p = N(0,1), q = N(shift,1), D the best answer plus `wrong` in logits.
static double gan_value(double shift, double wrong) {
    double sum = 0, h = 1e-3;
    for (double x = -12; x < 12; x += h) {
        double p = exp(log_normal(x, 1)), q = exp(log_normal(x - shift, 1));
        double logit = log_normal(x, 1) - log_normal(x - shift, 1) + wrong;
        sum -= h * (p * log1p(exp(-logit)) + q * log1p(exp(logit)));
    }
    return sum;
}

static void test_best_discriminator(void) {
    EXPECT_NEAR(gan_value(0, 0), -log(4), 1e-9); // D = 1/2 everywhere
    EXPECT(gan_value(0, 0.1) < -log(4) && gan_value(0, -0.1) < -log(4));
    double last = -log(4);
    for (double shift = 0.5; shift < 3; shift += 0.5) { // - log 4 + 2 JSD
        EXPECT(gan_value(shift, 0) > last && gan_value(shift, 0) < 0);
        EXPECT(gan_value(shift, 0.1) < gan_value(shift, 0));
        last = gan_value(shift, 0);
    }
}

// ---- dye in water -----------------------------------------------------------------------------

// Whatever begins, ends as noise: the distance to it falls with every step.
static void test_dye_spreads(void) {
    for (double s = 0.2; s < 4; s *= 2) {
        ProcessConfig config = ddpm_of(1000, "fixed-large", "simple");
        NetworkShape shape = shape_vector(1);
        Process *process;
        EXPECT_OK(process_open(&config, &shape, &process));
        double last = kl_to_noise(s * s);
        for (int t = 1; t <= 1000; ++t) {
            double now = kl_to_noise(spread_at(process, t, s));
            EXPECT(now < last);
            last = now;
        }
        EXPECT(last < 1e-6);
        process_close(process);
    }
}

// nats of the bound with the best mean and the variance of the forward step, b_t.
static double simple_reverse_nats(int steps, double s) {
    ProcessConfig config = ddpm_of(steps, "fixed-large", "simple");
    NetworkShape shape = shape_vector(1);
    Process *process;
    EXPECT_OK(process_open(&config, &shape, &process));
    float data = (float)s;
    double nats = process_bound_prior(process, &data);
    for (int t = 1; t <= steps; ++t) {
        GaussianNumbers n = gaussian_numbers(process, t);
        double error = best_error(process, t, s), precision = exp(-n.variance.add);
        if (t == 1)
            nats += 0.5 * (log(2 * M_PI) + n.variance.add + error * precision);
        else
            nats += 0.5 * (n.variance.add - n.log_posterior - 1 +
                           (exp(n.log_posterior) + n.slope * n.slope * error) * precision);
    }
    process_close(process);
    return nats;
}

// The smaller the steps, the more the way back is like the way there: what it costs to run it with
// the forward step's own noise vanishes. The same of symbols: answer-multinomial, answer-binomial.
static void test_small_steps_can_be_undone(void) {
    double last = INFINITY;
    for (int steps = 16; steps <= 65536; steps *= 4) {
        double gap = simple_reverse_nats(steps, 0.5) - entropy(0.25);
        EXPECT(gap > 0 && gap < last);
        last = gap;
    }
    EXPECT(last < 1e-3);
}

int main(void) {
    RUN(test_flows_change_variables);
    RUN(test_probability_flow_is_a_flow);
    RUN(test_bound_of_a_linear_vae);
    RUN(test_diffusion_is_a_vae_of_many_layers);
    RUN(test_best_discriminator);
    RUN(test_dye_spreads);
    RUN(test_small_steps_can_be_undone);
    return test_report();
}
