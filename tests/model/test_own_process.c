// The exercise of docs/own-process.md, built from that page: a bound on N(0,1) that closes in on
// the entropy, and gradients that reach it.
#include "model/process/family_gaussian.h"
#include "tests/model/support_process.h"
#include "tests/test.h"

extern const ProcessSystem system_sigmoid;

static Process *open_process(int steps) {
    ProcessConfig config = {.steps = steps};
    NetworkShape shape = shape_vector(4);
    Process *process;
    EXPECT_OK(process_open_as(&system_sigmoid, &config, &shape, &process));
    return process;
}

// Bits a dimension with the best denoiser on N(0,1): x0_hat = sqrt(A_t) x_t, error 1 - A_t.
static double best_bound(int steps) {
    Process *process = open_process(steps);
    float x_0[4] = {1, 1, -1, -1};
    double nats = process_bound_prior(process, x_0) / 4;
    for (int t = 1; t <= steps; ++t) {
        GaussianNumbers n = gaussian_numbers(process, t);
        double error = process->table.noise[t], variance = exp(n.variance.add);
        if (t == 1)
            nats += 0.5 * (log(2 * M_PI * variance) + error / variance);
        else
            nats += 0.5 * (n.variance.add - n.log_posterior - 1 +
                           (exp(n.log_posterior) + n.slope * n.slope * error) / variance);
    }
    process_close(process);
    return nats / M_LN2;
}

static void test_schedule(void) {
    Process *process = open_process(1000);
    const double *keep = process->table.keep;
    EXPECT_NEAR(keep[500], 0.5, 1e-9); // by symmetry
    for (int t = 1; t < 1000; ++t) EXPECT_NEAR(keep[t] + keep[1000 - t], 1, 2e-3);
    process_close(process);
}

// Variance b_t is the best one there, so that the bound is the entropy for any number of steps.
static void test_bound_is_the_entropy(void) {
    for (int steps = 10; steps <= 1000; steps *= 10)
        EXPECT_NEAR(best_bound(steps), 0.5 * log2(2 * M_PI * M_E), 1e-6);
}

int main(void) {
    RUN(test_schedule);
    RUN(test_bound_is_the_entropy);
    return test_report();
}
