// Every key of a run in one table, and the rules between keys.
#include "launch/run_config.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "launch/schema.h"

#define NUMBER(field, text, least, most, unit, resume, help)                                       \
    SCHEMA_NUMBER(RunSettings, field, text, least, most, UNIT_##unit, SCHEMA_##resume, help)
#define CHOICE(field, text, choices, resume, help)                                                 \
    SCHEMA_CHOICE(RunSettings, field, text, choices, SCHEMA_##resume, help)
#define TEXT(field, text, resume, help) SCHEMA_TEXT(RunSettings, field, text, SCHEMA_##resume, help)
#define INTERVAL(field, text, resume, help)                                                        \
    SCHEMA_INTERVAL(RunSettings, field, text, SCHEMA_##resume, help)

static const SchemaRow rows[] = {
    TEXT(run.dir, "runs/unnamed", FREE, "folder of this run: checkpoints, metrics, samples"),

    TEXT(data.path, "", FREE,
         "data set folder, made by dye pack, or several that are mixed: A, B; at a resume the same"
         " data"),
    TEXT(data.weights, "", FIXED, "of several data sets: 0.7, 0.3; without: by their samples"),
    NUMBER(data.length, "0", 0, 65536, NONE, FIXED, "text: symbols of a sample"),
    CHOICE(data.order, "auto", "auto|full|window", FIXED,
           "a full permutation each epoch, or one in windows of groups, for disks; auto: full for"
           " what decodes to 1 GiB or less, and what a run that goes on has"),
    NUMBER(data.window, "64", 1, 1e6, NONE, FIXED, "groups (of 256 KiB) of a window"),
    SCHEMA_SWITCH(RunSettings, data.flip, "false", SCHEMA_FIXED,
                  "images: half of them mirrored in training"),
    NUMBER(data.crop, "0", 0, 1024, NONE, FIXED,
           "images: shifted by up to so many pixels in training, black beyond the edge"),
    CHOICE(data.held_out, "auto", "auto|valid|test|none", FREE,
           "split of the held-out loss; auto: valid, else test"),
    CHOICE(data.lost, "stop", "stop|skip", FREE,
           "a part of the data that cannot be read ends the run, or is left out"),
    NUMBER(data.cache, "1G", 0, 0x1p50, BYTES, FREE, "memory for decoded groups"),
    NUMBER(data.read_ahead, "4", 1, 1024, NONE, FREE, "batches read ahead of the step"),
    NUMBER(data.threads, "1", 1, 64, NONE, FREE, "threads of a rank that read them"),
    SCHEMA_SWITCH(RunSettings, data.share, "true", SCHEMA_FREE,
                  "hosts without the data set get what they need of it from those that have it"),
    TEXT(data.cache_dir, "", FREE,
         "folder on each host for what it got; empty: dye-cache-UID in $TMPDIR or /tmp"),
    NUMBER(data.cache_limit, "64G", 0, 0x1p50, BYTES, FREE, "size of that folder at most"),

    CHOICE(model.family, "dit", "dit|mlp|fsq", FIXED,
           "backbone: transformer, MLP for vectors, or two transformers with codes between them"),
    NUMBER(model.width, "192", 4, 65536, NONE, FIXED, "width of the residual stream"),
    NUMBER(model.depth, "6", 1, 127, NONE, FIXED, "number of blocks (mlp: hidden layers)"),
    NUMBER(model.heads, "6", 1, 1024, NONE, FIXED, "attention heads"),
    NUMBER(model.patch, "4", 1, 256, NONE, FIXED,
           "side of an image patch, or symbols of a text, that make one token"),
    NUMBER(model.mlp_ratio, "4", 1, 16, NONE, FIXED, "hidden width of a block's MLP over width"),
    NUMBER(model.codes, "256", 4, 1024, NONE, FIXED, "fsq: symbols that a patch may become"),
    NUMBER(model.dropout, "0", 0, 0.9, NONE, FIXED, "dropout on both branches of each block"),
    CHOICE(model.precision, "fp32", "fp32|bf16", FIXED,
           "dit: bf16 rounds the operands of the blocks' products and their activations"),
    SCHEMA_SWITCH(RunSettings, model.fourier, "false", SCHEMA_FIXED,
                  "numbers: sin and cos of 64 and 128 turns of each besides itself"),
    CHOICE(model.timestep_freq, "div-127", "div-127|div-128", FIXED,
           "time frequencies as in diffusers (127) or the original DiT (128)"),

    CHOICE(
        process.name, "ddpm",
        "ddpm|gaussian2015|score-sde|variational-sde|vdm|flow|edm|consistency|multinomial|binomial|vq|sundae|"
        "d3pm|mdlm|sedd|discrete-flow|autoencoder|classifier",
        FIXED, "diffusion system: docs/systems.md"),
    NUMBER(process.steps, "1000", 1, 100000, NONE, FIXED, "diffusion steps T"),
    CHOICE(
        process.schedule, "auto",
        "auto|cosine|linear|scalar|net|vp|ve|sub-vp|gvp|released|paper|absorbing|uniform|gaussian",
        FIXED, "noise schedule; auto, here and below: the system's own choice"),
    CHOICE(process.head, "auto", "auto|eps|x0|v|score|residual|velocity|edm", FIXED,
           "what the network predicts"),
    CHOICE(process.variance, "auto", "auto|fixed-small|fixed-large|learned|learned-range", FIXED,
           "ddpm: variance of the reverse steps"),
    CHOICE(
        process.loss, "auto", "auto|simple|hybrid|vlb|likelihood|continuous|discrete", FIXED,
        "squares, with the bound for a learned variance, the bound itself; score-sde: g^2/sigma^2"),
    CHOICE(process.times, "auto",
           "auto|uniform|stratified|importance|second-moment|debiased|lognormal", FIXED,
           "law of the times in training: uniform, evenly over a batch, by what losses they gave"),
    NUMBER(process.rate, "0.5", 1e-6, 0.999999, NONE, FIXED,
           "binomial: share of ones that the noise ends at"),
    NUMBER(process.unroll, "2", 1, 8, NONE, FIXED, "sundae: passes of the loss"),
    NUMBER(process.block, "0", 0, 65536, NONE, FIXED,
           "mdlm: symbols of a block, one drawn after the other (block diffusion); 0: all is one"),
    NUMBER(
        process.aux, "-1", -1, 1e6, NONE, FIXED,
        "vq, d3pm, mdlm: weight of the cross-entropy of the data beside the bound; -1: its own, 5e-4,"
        " 0.01, 0"),
    SCHEMA_SWITCH(RunSettings, process.aux_adaptive, "true", SCHEMA_FIXED,
                  "vq: that weight falls with t, from twice its size to once"),
    NUMBER(process.data_mean, "0", -1e6, 1e6, NONE, FIXED,
           "numbers: subtracted from the data before anything else"),
    NUMBER(process.data_std, "1", 1e-6, 1e6, NONE, FIXED,
           "numbers: what the data are divided by then"),
    SCHEMA_SWITCH(RunSettings, process.dequantise, "false", SCHEMA_FIXED,
                  "images: noise of a level's width, which makes the data continuous"),
    NUMBER(
        process.logit, "0", 0, 0.4, NONE, FIXED,
        "images, with dequantise: the process sees the logit of levels within [a, 1 - a]; 0: off"),
    NUMBER(process.level_mean, "0", -10, 10, NONE, FIXED,
           "edm, consistency: mean of ln sigma in training (EDM2: -0.4), where level_std is not 0"),
    NUMBER(process.level_std, "0", 0, 10, NONE, FIXED,
           "edm, consistency: its deviation (EDM2: 1); 0: the system's own law"),
    NUMBER(process.label_drop, "0.1", 0, 1, NONE, FIXED,
           "share of labels that training replaces by the null class"),

    NUMBER(train.steps, "10000", 1, 1e15, NONE, FREE, "optimizer steps of the whole run"),
    NUMBER(train.batch, "256", 1, 1e9, SAMPLES, FIXED, "global batch, over all ranks"),
    NUMBER(train.grains, "16", 1, 65536, NONE, FIXED,
           "equal pieces that the batch is cut into, shared by ranks and threads"),
    NUMBER(train.seed, "0", 0, 0x1p64, NONE, FIXED, "seed of weights, order, times and noise"),

    NUMBER(optim.lr, "1e-3", 0, 10, NONE, FIXED, "peak learning rate of AdamW"),
    CHOICE(optim.schedule, "cosine", "cosine|constant", FIXED, "learning rate after warm-up"),
    NUMBER(optim.lr_final, "0.05", 0, 1, NONE, FIXED, "share of lr that cosine ends at"),
    NUMBER(optim.warmup, "20k", 0, 1e15, SAMPLES, FIXED, "linear warm-up"),
    NUMBER(optim.beta1, "0.9", 0, 0.99999, NONE, FIXED, "AdamW: decay of the mean"),
    NUMBER(optim.beta2, "0.99", 0, 0.99999, NONE, FIXED, "AdamW: decay of the square"),
    NUMBER(optim.eps, "1e-8", 1e-20, 1, NONE, FIXED, "AdamW: added to the root"),
    NUMBER(optim.decay, "0.01", 0, 10, NONE, FIXED, "decoupled weight decay of matrices"),
    NUMBER(optim.clip, "1", 0, 1e9, NONE, FIXED, "limit of the global gradient norm; 0: none"),
    SCHEMA_NUMBER_AS("optim.ema_halflife", RunSettings, optim.ema_halflife[0], "50k", 0, 1e15,
                     UNIT_SAMPLES, SCHEMA_FIXED, "half-life of the first average of the weights"),
    SCHEMA_NUMBER_AS("optim.ema_halflife_2", RunSettings, optim.ema_halflife[1], "200k", 0, 1e15,
                     UNIT_SAMPLES, SCHEMA_FIXED, "half-life of the second average"),
    NUMBER(optim.ema_ramp, "0.05", 0, 1, NONE, FIXED,
           "half-lives are at most this share of the samples seen; 0: no limit"),
    SCHEMA_NUMBER_AS(
        "optim.ema_power", RunSettings, optim.ema_power[0], "0", 0, 0.28, UNIT_NONE, SCHEMA_FIXED,
        "width of the first average as a power function (EDM2: 0.05); 0: by half-life"),
    SCHEMA_NUMBER_AS("optim.ema_power_2", RunSettings, optim.ema_power[1], "0", 0, 0.28, UNIT_NONE,
                     SCHEMA_FIXED, "the same of the second (EDM2: 0.1)"),
    NUMBER(optim.skips_most, "10", 1, 1e6, NONE, FREE,
           "steps in a row that are not finite until the run goes back and leaves samples out"),
    NUMBER(optim.left_out_most, "1000", 0, 1e12, NONE, FREE,
           "samples that may be left out because they gave steps that were not finite"),
    NUMBER(optim.bucket, "16M", 1, 0x1p31, BYTES, FREE, "gradient bytes reduced at a time"),

    INTERVAL(checkpoint.every, "10m", FREE, "when to save: steps, or time"),
    NUMBER(checkpoint.keep, "3", 1, 1000000, NONE, FREE, "checkpoints that are kept"),
    NUMBER(checkpoint.retry, "30s", 0.1, 86400, SECONDS, FREE,
           "time between tries to save while the disk refuses"),

    NUMBER(log.every, "10", 0, 1e15, NONE, FREE, "steps between records in metrics.jsonl"),
    NUMBER(log.fingerprint_every, "100", 0, 1e15, NONE, FREE,
           "steps between fingerprints of the weights"),
    NUMBER(log.plain_seconds, "10", 0, 1e6, SECONDS, FREE,
           "time between progress lines where there is no terminal"),
    SCHEMA_SWITCH(RunSettings, log.tensorboard, "true", SCHEMA_FREE,
                  "event files for TensorBoard in RUN/tensorboard"),

    INTERVAL(eval.every, "0", FREE, "when to take the held-out loss: steps, or time"),
    NUMBER(eval.samples, "1000", 0, 1e12, SAMPLES, FREE, "held-out samples; 0: all"),
    NUMBER(eval.draws, "1", 1, 10000, NONE, FREE, "times drawn for each held-out sample"),

    INTERVAL(sample.every, "0", FREE, "when to draw samples: steps, or time"),
    NUMBER(sample.count, "16", 1, 65536, NONE, FREE, "samples drawn during training"),

    CHOICE(sampler.solver, "auto",
           "auto|ddim|ddpm|dpm-2m|dpm-3m|dpm-sde|em|pc|heun|consistency|"
           "ancestral|purity|remask|fraction|argmax",
           FREE,
           "numbers: ddim, ddpm, dpm-2m, dpm-3m, dpm-sde; in continuous time also em, pc, heun;"
           " symbols: ancestral; vq, d3pm, mdlm also purity, remask; sundae: fraction, argmax"),
    NUMBER(sampler.steps, "50", 0, 100000, NONE, FREE,
           "network evaluations of a sample; 0: process.steps"),
    NUMBER(sampler.guidance, "1", 0, 100, NONE, FREE, "classifier-free guidance; 1: none"),
    NUMBER(sampler.guide_from, "0", 0, 1, NONE, FREE,
           "guidance acts at times from this share of the way to noise on, ..."),
    NUMBER(sampler.guide_to, "1", 1e-6, 1, NONE, FREE, "... to this share; beyond there is none"),
    NUMBER(sampler.eta, "0", 0, 1, NONE, FREE, "ddim: 0 deterministic, 1 as much noise as ddpm"),
    NUMBER(sampler.snr, "0.16", 1e-6, 1e3, NONE, FREE, "pc: noise to step of the corrector"),
    NUMBER(sampler.temperature, "0.8", 1e-3, 1e3, NONE, FREE, "sundae, remask: of the draws"),
    NUMBER(sampler.block, "0", 0, 65536, NONE, FREE,
           "remask: symbols that are drawn before all behind them; 0: all together"),
    NUMBER(sampler.share, "0.3", 0, 1, NONE, FREE,
           "sundae: share of tokens that a step draws (fraction), or that are certain (argmax)"),
    NUMBER(sampler.lambda, "0", 0, 1, NONE, FREE, "em: 0 the reverse SDE, 1 the ODE"),
    NUMBER(sampler.churn, "0", 0, 1e4, NONE, FREE,
           "heun of edm: fresh noise in all, S_churn; 0: none"),
    NUMBER(sampler.churn_noise, "1", 0, 2, NONE, FREE, "its size, S_noise"),
    NUMBER(sampler.churn_from, "0", 0, 1e4, NONE, FREE, "least sigma at which it is added"),
    NUMBER(sampler.churn_to, "1e4", 0, 1e4, NONE, FREE, "largest sigma"),
    NUMBER(sampler.truncation, "1", 1e-6, 1, NONE, FREE,
           "symbols: share of its probability that a token's likeliest classes keep; 1: all"),
    NUMBER(sampler.purity, "0", 0, 1e3, NONE, FREE,
           "solver purity: how much sharper the distribution of the surest token is"),
    SCHEMA_SWITCH(RunSettings, sampler.clip, "true", SCHEMA_FREE,
                  "numbers: limit predicted pixels to their range"),

    TEXT(device.backend, "cpu", FREE,
         "where the arithmetic runs: cpu, or cuda, where libdye_cuda.so is built"),
    NUMBER(
        device.threads, "0", 0, 1024, NONE, FREE,
        "threads of a rank, 0: its share of the cores that it may use; of a GPU: streams, 0: one"),
    CHOICE(
        device.exchange, "auto", "auto|nccl|nccl-sum|host", FREE,
        "gradients and weights of GPUs travel by NCCL, or over MPI through the host's memory;"
        " auto: nccl where each rank has a GPU of its own; nccl-sum: NCCL adds up, too, with other"
        " bits for another number of ranks"),
    CHOICE(
        device.attention, "auto", "auto|products|cudnn", FREE,
        "attention of GPUs in bf16 by matrix products and softmax, or by cuDNN; auto: cuDNN where it"
        " is installed"),
    SCHEMA_NUMBER_AS("device.recompute", RunSettings, model.recompute, "0", 0, 127, UNIT_NONE,
                     SCHEMA_FREE,
                     "dit, fsq: leading blocks whose activations are computed again in backward, to"
                     " the same bits, instead of kept: less memory, more time"),
    SCHEMA_SWITCH(RunSettings, device.share_gpu, "false", SCHEMA_FREE,
                  "several ranks of a host may use one GPU"),
    CHOICE(
        device.products, "measured", "measured|heuristic", FREE,
        "algorithms of a GPU's matrix products: the fastest when a run begins, which it keeps and"
        " shares (RUN/products.txt), or the library's first proposal"),

    NUMBER(
        control.port, "0", 0, 64000, NONE, FREE,
        "TCP port of the watch over the ranks, plus a rank's number on its host; data.share takes as"
        " many behind them; 0: any"),
    NUMBER(control.patience, "10", 1, 1e6, SECONDS, FREE,
           "a rank that others wait for is named after this time at the earliest"),
    NUMBER(control.grace, "120", 0, 1e9, SECONDS, FREE,
           "time from naming a rank that hangs to the end of the job; 0: never"),
};

static const Schema schema = SCHEMA(RunSettings, rows);

// Keys that only these systems read: set for another, they would be passed over in silence.
static const struct {
    const char *key, *systems;
} own_keys[] = {
    {"process.rate", "binomial"},
    {"process.unroll", "sundae"},
    {"process.block", "mdlm"},
    {"process.aux", "vq, d3pm, mdlm"},
    {"process.aux_adaptive", "vq"},
    {"process.level_mean", "edm, consistency"},
    {"process.level_std", "edm, consistency"},
    {"sampler.churn", "edm"},
    {"sampler.churn_noise", "edm"},
    {"sampler.churn_from", "edm"},
    {"sampler.churn_to", "edm"},
    {"model.codes", "autoencoder"},
    {"sampler.snr", "score-sde, variational-sde, flow, edm"},
    {"sampler.lambda", "score-sde, variational-sde, flow"},
    {"sampler.temperature", "sundae, vq, d3pm, mdlm"},
    {"sampler.block", "vq, d3pm, mdlm"},
    {"sampler.share", "sundae"},
    {"sampler.purity", "vq, d3pm, mdlm"},
};

static bool is_among(const char *name, const char *names) {
    for (size_t length = strlen(name); names != NULL; names = strchr(names, ' ')) {
        names += *names == ' ';
        if (strncmp(names, name, length) == 0 && (names[length] == '\0' || names[length] == ','))
            return true;
    }
    return false;
}

typedef struct {
    const char *system;
    char text[ERROR_TEXT_BYTES]; // "": all is well
} Unread;

static void find_unread(void *context, const SchemaRow *row, const char *was, const char *now) {
    Unread *unread = context;
    for (size_t i = 0; i < sizeof own_keys / sizeof *own_keys; ++i)
        if (strcmp(row->key, own_keys[i].key) == 0 &&
            !is_among(unread->system, own_keys[i].systems))
            snprintf(unread->text, sizeof unread->text,
                     "%s is %s, but it is for %s alone, and process.name is %s: leave it at %s",
                     row->key, now, own_keys[i].systems, unread->system, was);
}

static Status check_read(const RunSettings *s) {
    RunSettings defaults;
    TRY(schema_defaults(&schema, &defaults));
    Unread unread = {.system = s->process.name};
    schema_diff(&schema, &defaults, s, find_unread, &unread);
    FAIL_IF(unread.text[0] != '\0', BAD_CONFIG, "%s", unread.text);
    return STATUS_OK;
}

// Rules between keys that hold whatever the number of ranks.
static Status check(const RunSettings *s) {
    FAIL_IF(s->data.path[0] == '\0', BAD_CONFIG,
            "data.path is not given: the folder that dye pack made");
    FAIL_IF(s->train.batch % s->train.grains != 0, BAD_CONFIG,
            "train.batch = %lld is not a multiple of train.grains = %d", (long long)s->train.batch,
            s->train.grains);
    FAIL_IF(s->sampler.steps > s->process.steps && process_has_steps(s->process.name), BAD_CONFIG,
            "sampler.steps = %d is more than process.steps = %d", s->sampler.steps,
            s->process.steps);
    FAIL_IF(strcmp(s->process.name, "sedd") == 0 && strcmp(s->process.schedule, "uniform") == 0 &&
                s->sampler.truncation < 1,
            BAD_CONFIG,
            "sampler.truncation is of probabilities, and sedd with process.schedule: uniform gives"
            " ratios; leave it away");
    for (int i = 0; i < 2; ++i)
        FAIL_IF(s->optim.ema_power[i] > 0 && s->optim.ema_power[i] < 0.01, BAD_CONFIG,
                "optim.ema_power%s is %g; it must be 0, or 0.01 to 0.28", i == 0 ? "" : "_2",
                s->optim.ema_power[i]);
    FAIL_IF(s->model.recompute > 0 && strcmp(s->model.family, "mlp") == 0, BAD_CONFIG,
            "device.recompute is %d, but it is for blocks of dit and fsq, and model.family is mlp:"
            " leave it at 0",
            s->model.recompute);
    FAIL_IF(s->model.recompute > s->model.depth, BAD_CONFIG,
            "device.recompute is %d; there are model.depth = %d blocks", s->model.recompute,
            s->model.depth);
    return check_read(s);
}

Status run_config_read(const char *path, char *const *overrides, int count, RunSettings *out) {
    TRY(schema_defaults(&schema, out));
    TRY(schema_load_yaml(&schema, path, out));
    for (int i = 0; i < count; ++i) TRY(schema_set(&schema, overrides[i], out));
    out->process.batch = out->train.batch;
    out->process.train_steps = out->train.steps;
    return check(out);
}

Status run_config_format(const RunSettings *settings, char **text) {
    return schema_format(&schema, settings, true, text);
}

bool run_config_print_help(const char *prefix, FILE *out) {
    return schema_print_help(&schema, prefix, out);
}

void run_config_print_markdown(FILE *out) {
    schema_print_markdown(&schema, out);
}

void run_config_keys(void (*tell)(void *context, const char *key, const char *usual,
                                  const char *help),
                     void *context) {
    for (int i = 0; i < schema.rows; ++i)
        tell(context, schema.row[i].key, schema.row[i].text, schema.row[i].help);
}

void run_config_fixed(const RunSettings *settings,
                      void (*tell)(void *context, const char *key, const char *value),
                      void *context) {
    schema_fixed(&schema, settings, tell, context);
}

uint64_t run_config_fixed_hash(const RunSettings *settings) {
    return schema_hash(&schema, settings);
}

typedef struct {
    void (*tell)(void *context, const char *key, const char *a, const char *b);
    void *context;
} DiffTeller;

static void tell_key(void *context, const SchemaRow *row, const char *a, const char *b) {
    const DiffTeller *teller = context;
    teller->tell(teller->context, row->key, a, b);
}

void run_config_diff(const RunSettings *a, const RunSettings *b,
                     void (*tell)(void *context, const char *key, const char *a, const char *b),
                     void *context) {
    DiffTeller teller = {tell, context};
    schema_diff(&schema, a, b, tell_key, &teller);
}

// ---- resume -----------------------------------------------------------------------------------

typedef struct {
    char text[ERROR_TEXT_BYTES];
    size_t used;
} Changes;

static void list_change(void *context, const SchemaRow *row, const char *was, const char *now) {
    Changes *changes = context;
    if (row->resume == SCHEMA_FREE || changes->used >= sizeof changes->text) return;
    changes->used +=
        (size_t)snprintf(changes->text + changes->used, sizeof changes->text - changes->used,
                         "%s%s: was %s, now %s", changes->used > 0 ? "; " : "", row->key, was, now);
}

static Status holds_checkpoint(const char *run_dir, bool *out) {
    *out = false;
    if (!file_exists(run_dir)) return STATUS_OK;
    char **names;
    int count;
    TRY(checkpoint_list(run_dir, &names, &count));
    folder_names_free(names, count);
    *out = count > 0;
    return STATUS_OK;
}

// What the run folder's checkpoints were made with; *resumes false: it holds none.
static Status read_before(const char *run_dir, bool *resumes, RunSettings *before) {
    char path[PATH_BYTES];
    TRY(holds_checkpoint(run_dir, resumes));
    TRY(path_format(path, "%s/config.yaml", run_dir));
    *resumes = *resumes && file_exists(path);
    if (!*resumes) return STATUS_OK;
    TRY(schema_defaults(&schema, before));
    return schema_load_yaml(&schema, path, before);
}

Status run_config_keep_order(RunSettings *settings) {
    bool resumes;
    RunSettings before;
    if (strcmp(settings->data.order, "auto") != 0) return STATUS_OK;
    TRY(read_before(settings->run.dir, &resumes, &before));
    if (resumes) memcpy(settings->data.order, before.data.order, sizeof before.data.order);
    return STATUS_OK;
}

Status run_config_check_resume(const RunSettings *settings) {
    bool resumes;
    RunSettings before;
    TRY(read_before(settings->run.dir, &resumes, &before));
    if (!resumes) return STATUS_OK;
    Changes changes = {0};
    schema_diff(&schema, &before, settings, list_change, &changes);
    FAIL_IF(changes.used > 0, BAD_CONFIG,
            "%s goes on from a checkpoint, and these keys may not change: %s. Put them back, choose"
            " another run.dir, or start over with --fresh",
            settings->run.dir, changes.text);
    return STATUS_OK;
}
