// Laws of the time t in training. `uniform` and `stratified` have no state. The others draw a time
// the more often the larger its losses were, which makes the weighted loss less noisy, and remember
// losses; until they know enough of every time they are uniform.
//
//   stratified     uniform for each sample, and even over a batch: frac(u + j/B) for its sample j,
//                  one u a step (arXiv 2107.00630)
//   importance     of the code of arXiv 2102.05379: H_t = 0.9 H_t + 0.1 L_t^2, and p_t in the ratio
//                  of sqrt(H_t + 1e-10) + 1e-4 once every t was seen more than 10 times; the first
//                  time takes its neighbour's, as its loss is of another kind
//   second-moment  improved DDPM (2102.09672, eq. 18): p_t in proportion to the root of the mean of
//                  the last 10 squares, mixed with 0.001 of a uniform law
#include <math.h>
#include <stdlib.h>

#include "model/process/process_impl.h"

enum { SEEN_LEAST = 10, HISTORY = 10 };

typedef struct {
    const char *name;
    int numbers; // of state, for each time
    void (*learn)(TimeLaw *law, int i, double loss);
    bool (*weights)(const TimeLaw *law, double *weight); // false: not yet
} LawKind;

struct TimeLaw {
    const LawKind *kind;
    int first, count;   // times first .. first + count - 1
    double *state;      // [numbers][count]; the last number is how often a time was seen
    double *cumulative; // [count] of p_t; meant only if `warm`
    bool warm;
    double memory[];
};

// ---- kinds ------------------------------------------------------------------------------------

static void learn_average(TimeLaw *law, int i, double loss) {
    law->state[i] = 0.9 * law->state[i] + 0.1 * loss * loss;
    ++law->state[law->count + i];
}

static bool weigh_by_average(const TimeLaw *law, double *weight) {
    for (int i = 0; i < law->count; ++i) {
        if (law->state[law->count + i] <= SEEN_LEAST) return false;
        weight[i] = sqrt(law->state[i] + 1e-10) + 1e-4;
    }
    if (law->count > 1) weight[0] = weight[1];
    return true;
}

static void learn_history(TimeLaw *law, int i, double loss) {
    double *seen = &law->state[HISTORY * law->count + i];
    law->state[((int64_t)*seen % HISTORY) * law->count + i] = loss * loss;
    ++*seen;
}

static bool weigh_by_history(const TimeLaw *law, double *weight) {
    double sum = 0;
    for (int i = 0; i < law->count; ++i) {
        double squares = 0;
        if (law->state[HISTORY * law->count + i] < HISTORY) return false;
        for (int k = 0; k < HISTORY; ++k) squares += law->state[k * law->count + i];
        sum += weight[i] = sqrt(squares / HISTORY);
    }
    if (!(sum > 0)) return false;
    for (int i = 0; i < law->count; ++i) weight[i] = 0.999 * weight[i] / sum + 0.001 / law->count;
    return true;
}

static const LawKind kinds[] = {
    {"importance", 2, learn_average, weigh_by_average},
    {"second-moment", HISTORY + 1, learn_history, weigh_by_history},
    {0}, // any other, without a state: nothing is learned
};

// ---- the law ----------------------------------------------------------------------------------

Status time_law_open(const char *name, int first, int steps, TimeLaw **out) {
    int kind = 0, count = steps - first + 1;
    while (kinds[kind].name != NULL && !word_is(kinds[kind].name, name)) ++kind;
    size_t numbers = ((size_t)kinds[kind].numbers + 1) * (size_t)count;
    TimeLaw *law = calloc(1, sizeof *law + numbers * sizeof *law->memory);
    FAIL_IF(law == NULL, NO_MEMORY, "no memory for a law of %d times", count);
    law->kind = &kinds[kind];
    law->first = first;
    law->count = count;
    law->cumulative = law->memory;
    law->state = law->memory + count;
    *out = law;
    return STATUS_OK;
}

// Sums in one order on every rank.
static void set_cumulative(TimeLaw *law) {
    law->warm = law->kind->weights != NULL && law->kind->weights(law, law->cumulative);
    for (int i = 1; i < law->count && law->warm; ++i) law->cumulative[i] += law->cumulative[i - 1];
}

// A time for u in [0,1), and the probability of a uniform draw over that of this one.
static int law_draw(const TimeLaw *law, double u, double *scale) {
    *scale = 1;
    if (!law->warm) return law->first + (int)floor(u * law->count);
    double total = law->cumulative[law->count - 1], goal = u * total;
    int low = first_above(law->cumulative, 0, law->count - 1, goal);
    double mass = law->cumulative[low] - (low > 0 ? law->cumulative[low - 1] : 0);
    *scale = total / (mass * law->count);
    return law->first + low;
}

// ---- of a process -----------------------------------------------------------------------------

static double uniform_of(const Process *process, uint64_t seed, uint64_t step, uint64_t sample) {
    uint32_t bits[4];
    bool stratified = word_is(process->config.times, "stratified");
    rng_block(rng_key(seed, RNG_TIME, step), stratified ? 0 : sample, 0, bits);
    double u = rng_uniform_f64(bits[0], bits[1]);
    if (!stratified) return u;
    uint64_t batch = (uint64_t)process->config.batch;
    u += (double)(sample % batch) / (double)batch; // a step's first sample is a multiple of it
    return u < 1 ? u : u - 1;
}

double process_draw_weighted(const Process *process, uint64_t seed, uint64_t step, uint64_t sample,
                             double *scale) {
    double u = uniform_of(process, seed, step, sample);
    if (!is_continuous(process->system)) return law_draw(process->law, u, scale);
    *scale = 1;
    return process_time_at(process, u);
}

double process_draw_time(const Process *process, uint64_t seed, uint64_t step, uint64_t sample) {
    double scale;
    return process_draw_weighted(process, seed, step, sample, &scale);
}

bool process_learns_times(const Process *process) {
    return process->law->kind->numbers > 0;
}

void process_learn_times(Process *process, uint64_t seed, uint64_t step, uint64_t first,
                         const double *loss, int64_t samples) {
    TimeLaw *law = process->law;
    for (int64_t i = 0; i < samples; ++i) {
        double scale;
        double t = process_draw_weighted(process, seed, step, first + (uint64_t)i, &scale);
        if (isnan(loss[i])) continue;
        double weight = scale * process->system->family->weight(process, t);
        law->kind->learn(law, (int)t - law->first, loss[i] / weight);
    }
    set_cumulative(law);
}

const double *process_times(const Process *process, int64_t *count) {
    *count = (int64_t)process->law->kind->numbers * process->law->count;
    return process->law->state;
}

void process_set_times(Process *process, const double *state) {
    int64_t count;
    (void)process_times(process, &count);
    for (int64_t i = 0; i < count; ++i) process->law->state[i] = state == NULL ? 0 : state[i];
    set_cumulative(process->law);
}

static bool has_own_law(const Process *process) {
    const char *times = process->config.times;
    return word_is(times, "debiased") || word_is(times, "lognormal");
}

double process_time_at(const Process *process, double point) {
    const ProcessSystem *system = process->system;
    if (has_own_law(process)) return system->quantile(process, point);
    if (process->grid > 0) return fmax(1, ceil(point * process->grid)) / process->grid;
    if (is_continuous(system)) return system->begin + point * (system->end - system->begin);
    return process->law->first + floor(point * process->law->count);
}

double process_time_point(const Process *process, double time) {
    const ProcessSystem *system = process->system;
    if (has_own_law(process)) return system->distribution(process, time);
    if (is_continuous(system)) return (time - system->begin) / (system->end - system->begin);
    return (time - process->law->first) / process->law->count;
}

double process_time_label(const Process *process, double time) {
    double rate;
    if (process->own_count > 0)
        return (vdm_g(process, time, &rate) - vdm_g_min) * 1000 / (vdm_g_max - vdm_g_min);
    return time * 1000 / (is_continuous(process->system) ? 1 : process->config.steps);
}
