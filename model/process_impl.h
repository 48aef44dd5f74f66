// What the two families of processes share, and their numbers in float64. Private to model/ and its
// tests.
#pragma once

#include "model/process.h"

// The schedule, [0..steps] each; entry 0 is the data itself: step_noise 0, keep 1, noise 0.
// noise is summed up, not 1 - keep: exact also where it is below 1e-4.
typedef struct {
    double *step_noise; // b_t = 1 - a_t
    double *keep;       // A_t = product of a_1..a_t
    double *noise;      // 1 - A_t
} NoiseTable;

typedef struct {
    const char *name;
    size_t level_bytes;
    bool target; // the pass needs room for a regression target
    // Checks the config against the shape, completes the shape, fills step_noise[1..steps].
    Status (*check)(const ProcessConfig *config, NetworkShape *shape);
    void (*fill)(const ProcessConfig *config, double *step_noise);
    void (*level)(const Process *process, int t, void *row); // one host row
    void (*corrupt)(const Process *process, Stream *stream, Pass *pass, int64_t samples,
                    RngKey key);
    void (*loss)(const Process *process, Stream *stream, Pass *pass, int64_t samples,
                 bool gradient);
    void (*bound_terms)(const Process *process, Stream *stream, Pass *pass, int64_t samples);
    double (*bound_prior)(const Process *process, const void *x_0);
    Status (*sampler_check)(const SamplerConfig *config);
    void (*begin)(const Sampler *sampler, Stream *stream, Pass *pass, int64_t samples, RngKey key);
    // From time t to s < t; s = 0 is the data.
    void (*advance)(const Sampler *sampler, Stream *stream, Pass *pass, int64_t samples, int t,
                    int s, RngKey key);
} ProcessFamily;

extern const ProcessFamily process_gaussian, process_multinomial;

struct Process {
    const ProcessFamily *family;
    ProcessConfig config;
    NoiseTable table;
    int64_t items;      // numbers or tokens of one sample
    int32_t vocabulary; // multinomial: K
    int32_t null_label;
    bool image;       // numbers in [-1,1] on 256 levels
    double numbers[]; // of the table
};

struct Sampler {
    const Process *process;
    SamplerConfig config;
    int steps;
    int time[]; // [steps + 1], falling; the last one is 0
};

// BAD_CONFIG unless `name` is one of the choices: "eps, x0, v".
Status process_check_choice(const char *key, const char *name, const char *choices);

// ---- gaussian ---------------------------------------------------------------------------------

// GaussianLevel in float64.
typedef struct {
    double keep, noise, target_x0, target_eps, hat_x, hat_out, std;
    double error_scale, error_offset;
    bool decode;
} GaussianNumbers;
GaussianNumbers gaussian_numbers(const Process *process, int t);

// x_s = by_x x_t + by_x0 x0_hat + std z
typedef struct {
    double by_x, by_x0, std;
} GaussianStep;
GaussianStep gaussian_step(const Process *process, const SamplerConfig *config, int t, int s);

// ---- multinomial ------------------------------------------------------------------------------

// The kernel from s to t > s, composed: step_keep = A_t / A_s, keep_before = A_s.
CategoricalLevel categorical_numbers(const Process *process, int t, int s);
