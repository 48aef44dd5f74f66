// The formulas behind trainer/schedule.h.
#include "trainer/schedule.h"

#include <math.h>
#include <string.h>

double schedule_lr(const OptimConfig *optim, int64_t samples, int64_t total) {
    if (samples < optim->warmup) return optim->lr * (double)samples / (double)optim->warmup;
    if (strcmp(optim->schedule, "constant") == 0 || total <= optim->warmup) return optim->lr;
    double done = (double)(samples - optim->warmup) / (double)(total - optim->warmup);
    double wave = 0.5 * (1 + cos(M_PI * fmin(done, 1)));
    return optim->lr * (optim->lr_final + (1 - optim->lr_final) * wave);
}

double schedule_ema_exponent(double power) {
    double low = 0, high = 1e6;
    for (int i = 0; i < 80; ++i) {
        double e = 0.5 * (low + high), square = (e + 1) / ((e + 2) * (e + 2) * (e + 3));
        *(square > power * power ? &low : &high) = e;
    }
    return low;
}

double schedule_ema_rate(const OptimConfig *optim, int k, int64_t samples, int64_t batch) {
    double half_life = (double)optim->ema_halflife[k];
    if (optim->ema_power[k] > 0)
        return 1 - pow(fmax(0, 1 - (double)batch / (double)samples),
                       schedule_ema_exponent(optim->ema_power[k]) + 1);
    if (optim->ema_ramp > 0) half_life = fmin(half_life, optim->ema_ramp * (double)samples);
    if (half_life <= 0) return 1;
    return 1 - exp2(-(double)batch / half_life);
}
