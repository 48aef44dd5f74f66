// A diffusion process: how data is corrupted, what the network is asked, how samples are drawn and
// how good the model is in bits. Two families do the tensor work once over backend operations,
// `gaussian` and `categorical`; everything that tells members apart is plain float64 numbers here.
//
// Times are integers t in 1..T for the discrete-time members of today; they travel as doubles so
// that continuous-time members fit.
#pragma once

#include "model/backend.h"
#include "model/network.h"

typedef struct {
    char name[16];     // "gaussian" (DDPM, arXiv 2006.11239) or "multinomial" (2102.05379)
    int32_t steps;     // T
    char schedule[12]; // gaussian: "cosine", "linear"; multinomial: "cosine" (without the square)
    char head[8];      // gaussian: what the network predicts: "eps", "x0", "v"
    char variance[12]; // gaussian: "fixed-small", "fixed-large"
    float label_drop;  // share of labels replaced by the null class in training
} ProcessConfig;

typedef struct {
    char solver[12]; // gaussian: "ddpm", "ddim"; multinomial: "ancestral"
    int32_t steps;   // sampler steps, at most T; 0: T
    float guidance;  // 1: none. out = null + guidance (cond - null)
    float eta;       // ddim: 0 deterministic, 1 as ancestral with the small variance
    bool clip;       // gaussian, images: limit x0_hat to [-1,1]
} SamplerConfig;

typedef struct Process Process;

// One grain on one stream, all in device memory; sized by process_pass_bytes and laid out by
// process_pass_place. `host_*` are host rows that uploads read from: untouched until stream_wait.
typedef struct {
    int64_t capacity;  // samples
    void *x_0, *x_t;   // float or int32, [capacity, in_item]
    float *target;     // gaussian
    float *out, *dout; // [capacity, out_item]
    void *level;       // GaussianLevel or CategoricalLevel [capacity]
    float *time;       // [capacity, TIME_FEATURES]
    int32_t *label;    // [capacity]
    uint64_t *sample;  // [capacity]
    float *loss;       // [capacity] numerators
    double *error;     // [capacity]
    void *host_level;  // the host rows
    float *host_time;
    int32_t *host_label;
    uint64_t *host_sample;
} Pass;

// Fills `shape` from the data (tokens/channels/.../classes set by the caller) with what this
// process wants out of the network (out_channels, time_input), and makes the float64 tables.
// Errors: BAD_CONFIG with the key and its choices.
Status process_open(const ProcessConfig *config, NetworkShape *shape, Process **out);
void process_close(Process *process);
bool process_is_tokens(const Process *process);
int process_steps(const Process *process); // T

// The unit in which bounds are told: "bits_per_dim" or "bits_per_token".
const char *process_bound_unit(const Process *process);

size_t process_pass_bytes(const Process *process, const Network *network, int64_t capacity);
size_t process_pass_host_bytes(const Process *process, int64_t capacity);
void process_pass_place(const Process *process, const Network *network, int64_t capacity,
                        void *device_memory, void *host_memory, Pass *out);

// ---- training ---------------------------------------------------------------------------------

typedef struct {
    uint64_t seed, step;
    int64_t samples;        // of this grain
    const void *x_0;        // host [samples, in_item], float or int32; lent until stream_wait
    const int32_t *label;   // host [samples]
    const uint64_t *sample; // host [samples]: global sample numbers
} GrainBatch;

// Draws times, drops labels, uploads and corrupts one grain: afterwards pass->x_t, time, label hold
// the network's input (process_network_input) on the stream.
void process_corrupt(const Process *process, const Network *network, Stream *stream, Pass *pass,
                     const GrainBatch *batch);
// Queues loss rows into pass->loss (numerators; the denominator is samples *
// process_loss_items()) and their gradient into pass->dout.
void process_loss(const Process *process, Stream *stream, Pass *pass, int64_t samples,
                  bool gradient);
// Row `row` contributes nothing: after process_loss, its loss and gradient become 0.
void process_leave_out(const Network *network, Stream *stream, Pass *pass, int64_t row);
// Summed terms of one sample's numerator: dims or tokens, which the bound is divided by, too.
int64_t process_loss_items(const Process *process);
void process_network_input(const Process *process, const Pass *pass, const GrainBatch *batch,
                           bool dropout_on, NetworkInput *out);

// The time t of a training sample: a pure function of (seed, step, sample number).
double process_draw_time(const Process *process, uint64_t seed, uint64_t step, uint64_t sample);

// Held-out corruption: as process_corrupt, but at the given times [samples] and with keys of draw
// number `draw` that training never uses; labels as they are.
void process_corrupt_at(const Process *process, const Network *network, Stream *stream, Pass *pass,
                        const GrainBatch *batch, const double *time, uint64_t draw);

// ---- bound ------------------------------------------------------------------------------------

// The variational bound of one sample over the full time range is
//     prior + sum over t of term(t)     nats
// Given process_corrupt_at and a forward pass at the samples' times, process_bound_terms queues
// term(t) into pass->error (float64, nats per sample). process_bound_prior gives the closed-form
// part of a sample on the host: KL(q(x_T|x_0) || p(x_T)).
//
// gaussian: the reverse variance is config.variance for t >= 2 and b_1 at t = 1 for both choices
// (the variance of x_0 given x_1 wherever data is smooth at that scale; b~_2, which the released
// code takes, costs 0.16 bits a dimension on Gaussian data). At t = 1 images are decoded into their
// 256 levels, x0_hat limited to [-1,1]; vectors have a density, and the bound is one of its
// logarithm. multinomial: the code's decoder at t = 1 (plug-in posterior with A_0 = 1).
void process_bound_terms(const Process *process, Stream *stream, Pass *pass, int64_t samples);
double process_bound_prior(const Process *process, const void *x_0_host);

// ---- sampling ---------------------------------------------------------------------------------

// Plan of one sampler run: which times, which numbers. Step i = 0..sampler_steps()-1. With fewer
// steps than T the kept times are spread evenly and steps are composed; "ddim" keeps the paper's
// 1, 1 + T/n, ... which begins T/n short of T, the others keep 1 and T. A sample is a function of
// its number and the seed. Guidance is the caller's: it is mixed into pass->out before a step.
typedef struct Sampler Sampler;
Status sampler_open(const Process *process, const SamplerConfig *config, Sampler **out);
void sampler_close(Sampler *sampler);
int sampler_steps(const Sampler *sampler);
double sampler_time(const Sampler *sampler, int i); // the time the network is asked at
// Draws the start of samples pass->sample[0..samples) into pass->x_t.
void sampler_begin(const Sampler *sampler, Stream *stream, Pass *pass, int64_t samples,
                   uint64_t seed);
// pass->x_t <- one step, given pass->out at sampler_time(i).
void sampler_advance(const Sampler *sampler, Stream *stream, Pass *pass, int64_t samples, int i,
                     uint64_t seed);
