// The best denoiser of tests/model/support_gaussian.h.
#include "tests/model/support_gaussian.h"

#include <math.h>

double best_gain(const Process *process, double t, double s) {
    GaussianPoint at = gaussian_point(process, t);
    return sqrt(at.keep) * s * s / (at.keep * s * s + at.noise);
}

double best_error(const Process *process, double t, double s) {
    GaussianPoint at = gaussian_point(process, t);
    return s * s * at.noise / (at.keep * s * s + at.noise);
}
