// Consistency training (arXiv 2303.01469) as improved (iCT, 2310.14189): the network's f(x, sigma)
// is to be x_0 wherever along the probability flow x lies, f(x, EDM_LEAST) = x by construction. Two
// neighbouring levels of a grid have the same noise; f at the lower, without a gradient, is what f
// at the upper is pulled to. The grid becomes finer eight times; sampling takes one evaluation, or
// a few with fresh noise between them. There is no likelihood.
#include <math.h>

#include "model/process/edm.h"

enum { CELLS_FIRST = 10, DOUBLINGS = 7 };

// Doubled each eighth of the training.
int consistency_cells(const Process *process, uint64_t step) {
    int64_t each = process->config.train_steps / (DOUBLINGS + 1);
    int64_t times = each > 0 ? (int64_t)step / each : DOUBLINGS;
    return CELLS_FIRST << (times < DOUBLINGS ? times : DOUBLINGS);
}

// The ends of the cell that t lies in, on the grid of a sampler with so many steps.
double consistency_cell(double t, int cells, double *lower, double *upper) {
    int low = 0, high = cells; // grid(low / cells) >= t >= grid(high / cells)
    while (high - low > 1) {
        int middle = (low + high) / 2;
        if (edm_grid((double)middle / cells) >= t)
            low = middle;
        else
            high = middle;
    }
    *upper = edm_grid((double)low / cells);
    *lower = edm_grid((double)high / cells);
    return 1 / (edm_sigma(*upper) - edm_sigma(*lower));
}

// c_skip and c_out are 1 and 0 at EDM_LEAST; x is x_t sqrt(sigma^2 + sigma_data^2).
static void numbers(const Process *process, double t, GaussianNumbers *out) {
    double s = edm_sigma(t), data = edm_sigma_data(process), above = fmax(s - EDM_LEAST, 0);
    double scale = sqrt(s * s + data * data);
    out->hat_x = data * data / (above * above + data * data) * scale;
    out->hat_out = above * data / scale;
    out->weight = 1;
}

static const GaussianSystem own = {.numbers = numbers, .point = edm_point, .start = edm_start};

const ProcessSystem system_consistency = {
    .name = "consistency",
    .family = &family_gaussian,
    .choices = {.times = "lognormal, uniform, stratified", .solver = "consistency"},
    .begin = EDM_FIRST,
    .end = 1,
    .sample_end = 2 * EDM_FIRST,
    .pairs = true,
    .grid = edm_grid,
    .quantile = edm_quantile,
    .distribution = edm_distribution,
    .log_mean = -1.1,
    .log_std = 2,
    .own = &own,
};
