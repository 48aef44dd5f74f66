// A diffusion process: how data is corrupted, what the network is asked, how samples are drawn and
// how good the model is in bits. Two families do the tensor work once over backend operations,
// `gaussian` and `categorical` (model/process/); a system is a member of one of them: a file of
// plain float64 numbers and a name in PROCESS_SYSTEMS of model/process/process_impl.h.
//
// Times are integers t in 1..T for the discrete-time members of today; they travel as doubles so
// that continuous-time members fit.
#pragma once

#include "model/backend.h"
#include "model/network.h"

// Words that are "auto" are the system's own choice; docs/systems.md has the words of each system.
// Numbers here and below are within the ranges of a run's keys (launch/run_config.c).
typedef struct {
    char name[20];       // the system: "ddpm", "multinomial", ... (process_names)
    int32_t steps;       // T
    char schedule[16];   // ddpm: "cosine", "linear"
    char head[16];       // ddpm: what the network predicts: "eps", "x0", "v"
    char variance[16];   // ddpm: "fixed-small", "fixed-large", "learned", "learned-range"
    char loss[12];       // ddpm: "simple", "hybrid", "vlb"
    char times[16];      // law of t in training: "uniform", "stratified", "importance", ...
    int64_t batch;       // stratified: samples of a step, numbered batch step, batch step + 1, ...
    int64_t train_steps; // consistency: of the whole training
    float rate;          // binomial: share of ones that the noise ends at
    int32_t unroll;      // sundae: passes of the loss
    int32_t block;       // mdlm: tokens of a block, one drawn after the other; 0: all is one
    // Numbers: the process sees (data - data_mean) / data_std, and samples are scaled back.
    float data_mean, data_std; // 0 stands for 1
    float aux;         // vq, d3pm: weight of the cross-entropy of x_0; below 0: the system's own
    bool aux_adaptive; // vq: that weight falls from twice its size to once
    bool dequantise;   // images: uniform noise of a level's width makes data continuous
    // And the process sees logit(logit + (1 - 2 logit) x), x in [0,1] continuous; 0: x as above.
    float logit;
    float level_mean, level_std; // edm, consistency: law of ln sigma; level_std 0: the system's own
    float label_drop;            // share of labels replaced by the null class in training
} ProcessConfig;

typedef struct {
    // Numbers: "ddim", "ddpm"; in continuous time also "em", "pc", "heun". Symbols: "ancestral",
    // with a mask also "purity", "remask"; sundae: "fraction", "argmax".
    char solver[12];
    int32_t steps;  // sampler steps, at most T; 0: T
    float guidance; // 1: none. out = null + guidance (cond - null)
    // Times in which it acts, as shares of the way to noise; guide_to 0: all.
    float guide_from, guide_to;
    bool invert;       // ddim: from data, which are taken for x at the first time, to noise
    float eta;         // ddim: 0 deterministic, 1 as ancestral with the small variance
    bool clip;         // images: limit x0_hat to [-1,1]
    float snr;         // pc: of the corrector's noise to its step
    float temperature; // of the draws of fraction and remask
    float share;       // of tokens that a step draws (fraction) or that are certain (argmax)
    int32_t block;     // remask: tokens that are drawn before all behind them; 0: all at once
    // heun of edm: S_churn, S_noise, and the sigmas between which it acts, S_tmin and S_tmax.
    float churn, churn_noise, churn_from, churn_to;
    float lambda;     // em: 0 the reverse SDE, 1 the ODE, between: less noise of the SDE
    float truncation; // symbols: share of p that its likeliest classes keep; 0 or 1: all
    float purity;     // purity: how much sharper the surest token's p is; 0: none
} SamplerConfig;

typedef struct Process Process;

// One grain on one stream, all in device memory; sized by process_pass_bytes and laid out by
// process_pass_place. `host_*` are host rows that uploads read from: untouched until stream_wait.
typedef struct {
    int64_t capacity;  // samples
    void *x_0, *x_t;   // float or int32, [capacity, in_item]
    void *context;     // blocks: what the finished ones are, in training x_0, in sampling x_t
    float *target;     // [capacity, in_item]; symbols: what a sampler remembers
    float *out, *dout; // [capacity, out_item]
    double *base;      // symbols: the distribution that noise draws from, [vocabulary], or kernels
    void *level;       // GaussianLevel or CategoricalLevel [capacity]
    float *time;       // [capacity, TIME_FEATURES]
    int32_t *label;    // [capacity]; a classifier's network is told `level`, the null label
    uint64_t *sample;  // [capacity]
    float *loss;       // [capacity] numerators
    double *error;     // [capacity]
    void *host_level;  // the host rows
    float *host_time;
    int32_t *host_label;
    uint64_t *host_sample;
    double *host_base;
    // Where the process has parameters of its own, else NULL: gradients of the network's input, and
    // what else process_learn reads (ScheduleGrad).
    float *dx, *dtime;
    double *slopes, *host_slopes, *room;
    int number;        // evaluations of the network before this one, from the same corruption
    RngKey unroll_key; // of the next
    RngKey noise_key;  // of the corruption
} Pass;

// Fills `shape` from the data (tokens/channels/.../classes set by the caller) with what this
// process wants out of the network (out_channels, time_input), and makes the float64 tables.
// Errors: BAD_CONFIG with the key and its choices.
Status process_open(const ProcessConfig *config, NetworkShape *shape, Process **out);
void process_close(Process *process);
bool process_is_tokens(const Process *process);
const char *process_names(void);          // of all systems: "ddpm, multinomial, ..."
bool process_has_steps(const char *name); // false: this system's time is continuous

// Host numbers as the process sees them become numbers as they were stored, for pictures.
void process_restore(const Process *process, float *x, int64_t n);

// The unit in which bounds are told: "bits_per_dim" or "bits_per_token"; NULL: this system gives no
// likelihood, and what is told of bounds below must not be asked.
const char *process_bound_unit(const Process *process);

// A classifier's loss is the cross entropy of the label; in the place of its one term of the bound
// (process_bound_terms) stands whether it is wrong: 0 or 1.
bool process_is_classifier(const Process *process);

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
// Summed terms of one sample's numerator in one pass: dims or tokens, which the bound is divided
// by, too; 1 of a classifier.
int64_t process_loss_items(const Process *process);
// The loss is the mean over so many passes: network, process_loss, and between them
// process_next_pass, which makes the next x_t of what the network gave for the last one (without a
// gradient through that). With a gradient, pass->loss is the sum over the passes so far, else that
// of this pass. More than 1 for unrolled systems.
enum { PROCESS_PASSES_MOST = 8 };
int process_passes(const Process *process);
bool process_has_gradient(const Process *process, int number); // of pass 0, 1, ...
void process_next_pass(const Process *process, Stream *stream, Pass *pass, int64_t samples);
void process_network_input(const Process *process, const Pass *pass, const GrainBatch *batch,
                           bool dropout_on, NetworkInput *out);

// ---- parameters of its own --------------------------------------------------------------------

// A schedule that learns (vdm) has parameters behind those of the network, trained with them. Adds
// their tensors; between network_open and params_finish.
void process_add_params(Process *process, Params *params);
bool process_has_params(const Process *process);
// Reads them from the device's flat vector; whenever they have changed, before anything that needs
// a time. The stream must be at rest, and is afterwards.
Status process_use(Process *process, Stream *stream, const float *weights);
// After network_backward, which was given pass->dx and process_network_input: their gradient into
// `grads` of all parameters, as network_backward puts it. Nothing where there are none.
void process_learn(const Process *process, Stream *stream, const Pass *pass, int64_t samples,
                   float *grads, bool accumulate);

// ---- times ------------------------------------------------------------------------------------

// The time t of a training sample: a function of (seed, step, sample number) and of what
// process_learn_times was told before.
double process_draw_time(const Process *process, uint64_t seed, uint64_t step, uint64_t sample);
// What the network is told of t: 0 to 1000.
double process_time_label(const Process *process, double time);
// The time at a point of [0, 1) as training draws them where it draws them without learning; and
// back: the point at which a time's stretch begins.
double process_time_at(const Process *process, double point);
double process_time_point(const Process *process, double time);

// Whether times are drawn by what losses they gave. After each step that counts, all ranks tell
// the losses [samples] of the whole batch in the order of its samples, whose numbers are first,
// first + 1, ...: as process_loss gave them, NaN: did not count. Equal on all ranks.
bool process_learns_times(const Process *process);
void process_learn_times(Process *process, uint64_t seed, uint64_t step, uint64_t first,
                         const double *loss, int64_t samples);
// The state behind it, to be kept in checkpoints: `count` numbers, none NaN or infinite; and back,
// NULL: nothing was learned.
const double *process_times(const Process *process, int64_t *count);
void process_set_times(Process *process, const double *state);

// Held-out corruption: as process_corrupt, but at the given times [samples] and with keys of draw
// number `draw` that training never uses; labels as they are.
void process_corrupt_at(const Process *process, const Network *network, Stream *stream, Pass *pass,
                        const GrainBatch *batch, const double *time, uint64_t draw);

// ---- bound ------------------------------------------------------------------------------------

// The variational bound of one sample over the full time range is
//     prior + term(1) + sum over t = 2..T of term(t)     nats
// where 1 is process_first_time, and in continuous time the sum is an integral over log SNR.
// Given process_corrupt_at and a forward pass at the samples' times, process_bound_terms queues
// term(t) into pass->error (float64, nats per sample), after which pass->loss may be that of
// process_loss without a gradient. process_bound_prior gives what needs no network, on the host.
void process_bound_terms(const Process *process, Stream *stream, Pass *pass, int64_t samples);
double process_bound_prior(const Process *process, const void *x_0_host);
// The network lets a sample through so many codes, each one of `codes`: part of the prior.
void process_set_code(Process *process, int64_t places, int32_t codes);
double process_first_time(const Process *process);
// A time of 2..T for a point of (0, 1), and by what its term is multiplied so that its mean over
// uniform points is the sum. The proposal behind it is half uniform, half proportional to 1/t:
// small t carry most of the sum and of its variance. T = 1: weight 0.
double process_bound_time(const Process *process, double point, double *weight);
// Nats of the sample under the system's null model; NaN where it has none.
double process_null_nats(const Process *process, const void *x_0_host);

// ---- probability flow ---------------------------------------------------------------------------

// Of Gaussian processes in continuous time: dx/dt = by_x x + by_out out.
Status process_flow_check(const Process *process); // BAD_CONFIG: this one has none, or no density
void process_flow_slope(const Process *process, double time, double *by_x, double *by_out);
// - log density of x, where the flow from x_0 ends, with the nats of the data's scale.
double process_flow_nats(const Process *process, const float *x, const void *x_0_host);

// ---- ELBO ---------------------------------------------------------------------------------------

// Of processes whose network gives a = g score (arXiv 2106.02808): -log p(x_0) is at most
//     rest + integral over t in (0,1] of the mean over x_t of 0.5 |a|^2 + g div a - div f    nats
// with what needs no network in `rest`. A time for a point of (0,1), drawn with the weight that
// makes the mean the integral; and the integrand from |a|^2 and the trace of da/dx.
Status process_elbo_check(const Process *process); // BAD_CONFIG: this one has none, or no density
double process_elbo_time(const Process *process, double point, double *weight);
double process_elbo_term(const Process *process, double time, double square, double trace);
double process_elbo_rest(const Process *process, const void *x_0_host);

// ---- sampling ---------------------------------------------------------------------------------

// pass->out <- null + guidance (out - null), for the part of `out` that predicts; `null` is
// another pass's out [samples, out_item].
void process_guide(const Process *process, Stream *stream, Pass *pass, float *null, int64_t samples,
                   float guidance);

// Plan of one sampler run: which times, which numbers. Step i = 0..sampler_steps()-1. With fewer
// steps than T the kept times are spread evenly and steps are composed; "ddim" keeps the paper's
// 1, 1 + T/n, ... which begins T/n short of T, the others keep 1 and T. Blocks are drawn one after
// the other, each in equally many steps. A sample is a function of its number and the seed. The
// caller guides pass->out before a step.
typedef struct Sampler Sampler;
Status sampler_open(const Process *process, const SamplerConfig *config, Sampler **out);
void sampler_close(Sampler *sampler);
int sampler_steps(const Sampler *sampler);
double sampler_time(const Sampler *sampler, int i); // the time the network is asked at
float sampler_guidance(const Sampler *sampler, int i);
int sampler_block(const Sampler *sampler, int i); // the block that is drawn; 0 where there are none
// Draws the start of samples pass->sample[0..samples) into pass->x_t.
void sampler_begin(const Sampler *sampler, Stream *stream, Pass *pass, int64_t samples,
                   uint64_t seed);
// The id in x_t of a token that is masked, where samplers change masked tokens alone: others, put
// there after sampler_begin, stay, and what is drawn fits them. -1: this process has no such masks.
int32_t process_mask(const Process *process);
// pass->x_t <- one step, given pass->out at sampler_time(i).
void sampler_advance(const Sampler *sampler, Stream *stream, Pass *pass, int64_t samples, int i,
                     uint64_t seed);
