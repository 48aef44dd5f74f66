// Images by logit (after Dinh et al., arXiv 1605.08803): a level v of 256 made continuous by u, and
// y = logit(z), z = a + (1 - 2a) (v + u)/256. What bounds need of it is exact in the mean over u.
#include <math.h>

#include "model/process/process_impl.h"

Status logit_check(const ProcessConfig *config) {
    bool scaled = config->data_mean != 0 || (config->data_std != 0 && config->data_std != 1);
    bool right = config->logit >= 1e-4f && config->logit <= 0.4f && config->dequantise && !scaled;
    FAIL_IF(config->logit != 0 && !right, BAD_CONFIG,
            "process.logit is %g; choose 1e-4 to 0.4, for images with process.dequantise: true and"
            " without data_mean and data_std; or 0",
            (double)config->logit);
    return STATUS_OK;
}

// Integral of log.
static double log_integral(double z) {
    return z * log(z) - z;
}

// Mean of y^2 over z between two ends: Simpson's rule in y, whose density is z (1 - z).
static double mean_square(double low, double high) {
    enum { STEPS = 64 };
    double first = log(low / (1 - low)), h = (log(high / (1 - high)) - first) / STEPS, sum = 0;
    for (int i = 0; i <= STEPS; ++i) {
        double y = first + i * h, z = 1 / (1 + exp(-y));
        sum += (i == 0 || i == STEPS ? 1 : i % 2 == 1 ? 4 : 2) * y * y * z * (1 - z);
    }
    return sum * h / (3 * (high - low));
}

// x = (v + 1/2 + u - 1/2)/127.5 - 1 on its way in: z = 1/2 + (1 - 2a) 127.5/256 x.
void logit_fill(Process *process) {
    double a = (double)process->config.logit, width = (1 - 2 * a) / LOGIT_LEVELS;
    process->config.data_std = (float)(1 / (127.5 * width));
    process->config.data_mean = -0.5f * process->config.data_std;
    for (int v = 0; v < LOGIT_LEVELS; ++v) {
        double low = a + v * width, high = a + (v + 1) * width;
        process->logit_nats[v] = (log_integral(high) - log_integral(low) + log_integral(1 - low) -
                                  log_integral(1 - high)) /
                                 width;
        process->logit_square[v] = mean_square(low, high);
    }
}

double logit_sum(const Process *process, const double *table, const float *x_0) {
    double sum = 0;
    for (int64_t i = 0; i < process->items; ++i) {
        double level = rint(((double)x_0[i] + 1) * 127.5);
        sum += table[(int)fmin(fmax(level, 0), LOGIT_LEVELS - 1)];
    }
    return sum;
}
