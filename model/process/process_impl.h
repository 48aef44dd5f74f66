// What the two families of processes share, and what a system must tell. Private to model/process/
// and its tests.
#pragma once

#include <string.h>

#include "model/process.h"

// The schedule, [0..steps] each; entry 0 is the data itself: step_noise 0, keep 1, noise 0.
// noise is summed up, not 1 - keep: exact also where it is below 1e-4.
typedef struct {
    double *step_noise; // b_t = 1 - a_t
    double *keep;       // A_t = product of a_1..a_t
    double *noise;      // 1 - A_t
} NoiseTable;

// Which words a key may have, the first is what "auto" stands for; NULL: the key says nothing to
// this system, and must be "auto".
typedef struct {
    const char *schedule, *head, *variance, *loss, *times, *solver;
} ProcessChoices;

typedef struct ProcessFamily ProcessFamily;
typedef struct ProcessSystem ProcessSystem;

// One evaluation of the network in a sampler run, and what follows from it.
typedef enum {
    STEP_SOLVER,  // from time to `to` by the solver; to = 0 is the data
    STEP_CORRECT, // Langevin at this time
    STEP_HEUN_1,  // the ODE, Euler to `to`, ...
    STEP_HEUN_2,  // ... where this evaluation is: mean of both slopes
    STEP_MULTI,   // by what the evaluations before gave as well
    STEP_UNROLLED // of what the evaluation before gave
} StepKind;
typedef struct {
    StepKind kind;
    double time, to;
} SamplerStep;

// A system. Numbers are float64 and about one time.
struct ProcessSystem {
    const char *name;
    const ProcessFamily *family;
    ProcessChoices choices;
    bool starts_late; // training draws times from 2 on: the first step has nothing to be learned
    // Continuous time: training draws from [begin, end], samplers walk from end to sample_end and
    // take the mean there. All 0: times 1..T.
    double begin, end, sample_end;
    double (*grid)(double share); // the way of a sampler from end to sample_end; NULL: even
    // The time up to which the step of `steps` that begins at t is stirred first (heun); NULL: t.
    double (*churn)(const SamplerConfig *config, int steps, double t);
    // The law of the time "debiased" or "lognormal" that training may draw from in continuous time:
    // the time at a point of (0,1), the point of a time, and its density. NULL: there is none.
    double (*quantile)(const Process *process, double point);
    double (*distribution)(const Process *process, double t);
    double (*density)(double t);
    double log_mean, log_std; // of the law of ln sigma
    bool one_step;            // a reverse step is known between neighbouring times only
    bool timeless;            // the network is told no time
    bool unrolled;            // several passes make a loss; there is no likelihood
    bool blocks;              // process.block may be given
    bool pairs;               // a loss between two levels of the same noise; there is no likelihood
    bool autoencoder;         // the network answers through codes
    bool classifier;          // of the data's labels: nothing is drawn, and there is no likelihood
    bool level_centers; // images: levels are (v + 1/2)/128 - 1, a width from the outer two to +-1
    // Rules beyond the choices, with all "auto" resolved. NULL: none.
    Status (*check)(const ProcessConfig *config, const NetworkShape *shape);
    // [1..steps], zeros at first; NULL: no noise, continuous time, or numbers that a family asks
    // for elsewhere.
    void (*fill)(const ProcessConfig *config, double *step_noise);
    // Numbers of its own, process->dense: how many, and where out is not NULL, they themselves.
    int64_t (*tables)(const ProcessConfig *config, int classes, double *out);
    // Nats of a sample that need no network. NULL: 0.
    double (*prior)(const Process *process, const void *x_0);
    double (*null_nats)(const Process *process, const void *x_0); // NULL: no null model
    const void *own; // what the family asks: GaussianSystem, CategoricalSystem
};

// The tensor work of a family.
struct ProcessFamily {
    size_t level_bytes;
    Status (*check)(const ProcessSystem *system, const ProcessConfig *config, NetworkShape *shape);
    // One host row; the loss is weighted by `scale` times the system's weight for a uniform t.
    void (*level)(const Process *process, double t, double scale, void *row);
    double (*weight)(const Process *process, double t); // of the loss, for a uniform t
    // Continuous time: process_bound_time.
    double (*bound_time)(const Process *process, double point, double *weight);
    // The time that lies so far between two, in what multistep solvers walk along evenly.
    double (*time_between)(const Process *process, double low, double high, double share);
    void (*corrupt)(const Process *process, Stream *stream, Pass *pass, int64_t samples,
                    RngKey key);
    void (*loss)(const Process *process, Stream *stream, Pass *pass, int64_t samples,
                 bool gradient);
    // NULL: `loss` without a gradient leaves them in pass->error as well.
    void (*bound_terms)(const Process *process, Stream *stream, Pass *pass, int64_t samples);
    void (*next_pass)(const Process *process, Stream *stream, Pass *pass, int64_t samples,
                      RngKey key); // of unrolled systems
    void (*begin)(const Sampler *sampler, Stream *stream, Pass *pass, int64_t samples, RngKey key);
    void (*advance)(const Sampler *sampler, Stream *stream, Pass *pass, int64_t samples,
                    const SamplerStep *step, RngKey key);
};

extern const ProcessFamily family_gaussian, family_categorical;

// All systems: of numbers, then of symbols.
#define PROCESS_SYSTEMS(X)                                                                         \
    X(ddpm), X(gaussian2015), X(score_sde), X(variational_sde), X(vdm), X(flow), X(edm),           \
        X(consistency), X(autoencoder), X(classifier), X(multinomial), X(binomial), X(vq),         \
        X(d3pm), X(mdlm), X(sedd), X(discrete_flow), X(sundae)
#define PROCESS_SYSTEM(name) system_##name
extern const ProcessSystem PROCESS_SYSTEMS(PROCESS_SYSTEM);

// As process_open, of a system that need not be in the table.
Status process_open_as(const ProcessSystem *system, const ProcessConfig *config,
                       NetworkShape *shape, Process **out);

typedef struct TimeLaw TimeLaw; // times.c

enum { LEARNED_UNITS = 1024, LEARNED_MOST = 2 + 3 * LEARNED_UNITS }; // learned.c

struct Process {
    const ProcessSystem *system;
    ProcessConfig config; // no "auto" in it
    NoiseTable table;
    TimeLaw *law;
    int grid;           // continuous time: T, where t is a multiple of 1/T; 0: it is any
    double harmonic;    // sum of 1/t over 2..T
    double *proposal;   // [T + 1] of the bound: its distribution function, without the first step
    int64_t items;      // numbers or tokens of one sample
    int64_t out_item;   // numbers of the network's answer
    int32_t vocabulary; // categorical: K, without a mask
    int32_t mask;       // categorical: K where x_t may have masks, else -1
    int32_t null_label;
    double code_nats; // of a sample's codes
    double *dense;    // NULL: the system has no tables
    bool image;       // the process sees numbers in [-1,1] on 256 levels
    float width;      // of the noise that makes levels continuous; 0: none
    // process.logit, [256] of a level: means over the noise of log z(1-z) and of logit(z)^2.
    double *logit_nats, *logit_square;
    // A schedule that learns: its parameters as process_use found them, from own_offset of all on.
    // own_slopes: numbers of a sample's row of ScheduleGrad. All 0: there are none.
    int64_t own_count, own_offset, own_slopes;
    float own[LEARNED_MOST];
    double level_nats[256], level_slope[256]; // of a level read off z_0: nats, d nats / dg(0)
    double numbers[];                         // of the tables
};

struct Sampler {
    const Process *process;
    SamplerConfig config;
    int steps, block_steps; // in all, and of each block
    SamplerStep step[];     // [steps]
};

static inline bool is_continuous(const ProcessSystem *system) {
    return system->end > 0;
}

static inline int first_time(const ProcessSystem *system) {
    return system->starts_late ? 2 : 1;
}

static inline bool word_is(const char *text, const char *choice) {
    return strcmp(text, choice) == 0;
}

// The first of low..high whose sum, which rises, is above the goal; else the last.
static inline int first_above(const double *sum, int low, int high, double goal) {
    while (low < high) {
        int middle = (low + high) / 2;
        if (sum[middle] > goal)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

// Checks the word of a key against the choices, "eps, x0, v", and puts the first in the place of
// "auto". choices NULL: the key says nothing to the system. Errors: BAD_CONFIG.
Status process_resolve_choice(const char *system, const char *key, const char *choices, char *word,
                              size_t bytes);

// A density is of data as they were stored, and where levels were made continuous it bounds the
// probability of a level: nats to be added for the scale, and the logit's, which is of the sample.
double process_scale_nats(const Process *process, const void *x_0);

// ---- logit.c ----------------------------------------------------------------------------------

enum { LOGIT_LEVELS = 256 };

// process.logit: makes data_mean and data_std those with which (x - data_mean)/data_std is
// z = logit + (1 - 2 logit) (v + u)/256, and fills the tables. Errors: BAD_CONFIG.
Status logit_check(const ProcessConfig *config);
void logit_fill(Process *process);
// Sum of a table over the levels of a sample.
double logit_sum(const Process *process, const double *table, const float *x_0);

// ---- learned.c --------------------------------------------------------------------------------

// g(t), log of noise over signal, and dg/dt, of vdm; and the ends that its schedules begin with.
extern const double vdm_g_min, vdm_g_max;
double vdm_g(const Process *process, double t, double *rate);
// Nats of the loss that need no network, into the sample's level.
void learned_level(const Process *process, const float *x_0, void *row);
// The slopes of ScheduleGrad of one sample at time t.
void learned_row(const Process *process, const Network *network, double t, const float *x_0,
                 double *row);

// ---- consistency.c ----------------------------------------------------------------------------

// Cells of the grid in a step of training; the two times of the one that t lies in, and the weight
// of its loss.
int consistency_cells(const Process *process, uint64_t step);
double consistency_cell(double t, int cells, double *lower, double *upper);
enum { CONSISTENCY_CELLS_MOST = 1280 };

// ---- times.c ----------------------------------------------------------------------------------

// Times first..steps by the law of a name, to be freed. Errors: NO_MEMORY.
Status time_law_open(const char *name, int first, int steps, TimeLaw **out);
// process_draw_time, and the probability of a uniform draw over that of this one.
double process_draw_weighted(const Process *process, uint64_t seed, uint64_t step, uint64_t sample,
                             double *scale);
