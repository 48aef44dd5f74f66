// Flow matching (Lipman et al., arXiv 2210.02747; SiT, 2401.08740): x_t = (1 - t) x_0 + t eps, and
// the network is asked for the velocity eps - x_0. Times run as everywhere here: 0 is the data,
// which is t = 1 in both papers. GVP: x_t = cos(pi t/2) x_0 + sin(pi t/2) eps, whose velocity is v
// pi/2.
#include <math.h>

#include "model/process/family_gaussian.h"

static GaussianPoint point(const Process *process, double t) {
    if (word_is(process->config.schedule, "linear"))
        return (GaussianPoint){(1 - t) * (1 - t), t * t, -1, 1};
    double keep = cos(M_PI_2 * t), noise = sin(M_PI_2 * t);
    return (GaussianPoint){keep * keep, noise * noise, -M_PI_2 * noise, M_PI_2 * keep};
}

// SiT's choice for its SDE, of those with the same marginals: g^2 = 2 sigma. That of x_t itself has
// no bound where nothing of x_0 is left.
static double stir(const Process *process, double t) {
    return 2 * sqrt(point(process, t).noise);
}

static Status check(const ProcessConfig *config, UNUSED const NetworkShape *shape) {
    FAIL_IF(
        word_is(config->schedule, "gvp") && word_is(config->head, "velocity"), BAD_CONFIG,
        "process.head is \"velocity\", eps - x_0, which is that of the linear schedule; with gvp"
        " choose v");
    return STATUS_OK;
}

static const GaussianSystem own = {.point = point, .stir = stir};

const ProcessSystem system_flow = {
    .name = "flow",
    .family = &family_gaussian,
    .choices = {.schedule = "linear, gvp",
                .head = "velocity, v, x0, eps",
                .loss = "simple",
                .solver = "heun, ddim, em, dpm-2m, dpm-3m, dpm-sde, pc, ddpm"},
    .begin = 1e-3, // what is left of x_0 or eps at the ends is a millionth of the variance
    .end = 1 - 1e-3,
    .sample_end = 2e-3,
    .check = check,
    .prior = gaussian_prior_nats,
    .own = &own,
};
