// A discrete autoencoder as a system of one step without noise: the network sees the image itself,
// lets it through codes (model.family fsq), and gives mean and log variance of each pixel.
//
// The bound is that of a VAE whose q(codes|x) is certain and whose prior over codes is uniform:
// - log p(x|codes) + codes log(model.codes) nats.
#include "model/process/family_gaussian.h"

static Status check(const ProcessConfig *config, const NetworkShape *shape) {
    FAIL_IF(config->steps != 1, BAD_CONFIG,
            "process.steps is %d; an autoencoder has one step: set it to 1, and sampler.steps to 0",
            config->steps);
    FAIL_IF(config->data_mean != 0 || (config->data_std != 0 && config->data_std != 1) ||
                config->dequantise,
            BAD_CONFIG,
            "process.data_mean, data_std and dequantise say nothing to an autoencoder, which gives"
            " pixels their 256 levels; leave them away");
    FAIL_IF(shape->height * shape->width < 2, BAD_CONFIG,
            "process.name is \"autoencoder\", which is for images; the data are vectors");
    return STATUS_OK;
}

static void numbers(UNUSED const Process *process, UNUSED double t, GaussianNumbers *out) {
    out->hat_out = 1;
    out->term = GAUSSIAN_DECODER;
    out->variance = (GaussianVariance){.mul = 1};
    out->term_weight = 1;
}

static const GaussianSystem own = {.numbers = numbers, .has_variance = true};

const ProcessSystem system_autoencoder = {
    .name = "autoencoder",
    .family = &family_gaussian,
    .choices = {.loss = "vlb"},
    .autoencoder = true,
    .check = check,
    .own = &own,
};
