// Mixtures of checkpoints behind launch/average.h.
#include "launch/average.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "launch/checkpoint_view.h"
#include "trainer/schedule.h"

// ---- profiles ---------------------------------------------------------------------------------

// The integral of the product of two, each of integral 1.
static double overlap(Profile a, Profile b) {
    if (a.samples > b.samples) return overlap(b, a);
    return (a.exponent + 1) * (b.exponent + 1) / (a.exponent + b.exponent + 1) *
           pow(a.samples / b.samples, b.exponent) / b.samples;
}

static double cosine(Profile a, Profile b) {
    return overlap(a, b) / sqrt(overlap(a, a) * overlap(b, b));
}

// Solves matrix x = x by Cholesky's decomposition, in place; n x n.
static void solve(double *matrix, int n, double *x) {
    for (int i = 0; i < n; ++i)
        for (int k = 0; k <= i; ++k) {
            double sum = matrix[i * n + k];
            for (int j = 0; j < k; ++j) sum -= matrix[i * n + j] * matrix[k * n + j];
            matrix[i * n + k] = i == k ? sqrt(sum) : sum / matrix[k * n + k];
        }
    for (int i = 0; i < n; ++i) {
        for (int k = 0; k < i; ++k) x[i] -= matrix[i * n + k] * x[k];
        x[i] /= matrix[i * n + i];
    }
    for (int i = n - 1; i >= 0; --i) {
        for (int k = i + 1; k < n; ++k) x[i] -= matrix[k * n + i] * x[k];
        x[i] /= matrix[i * n + i];
    }
}

double average_mix(const Profile *profile, int count, Profile goal, double *weight) {
    double *matrix = malloc((size_t)(count * count) * sizeof *matrix), left = 1, sum = 0;
    if (matrix == NULL) return NAN;
    for (int i = 0; i < count; ++i) {
        weight[i] = cosine(profile[i], goal);
        for (int k = 0; k < count; ++k) matrix[i * count + k] = cosine(profile[i], profile[k]);
        matrix[i * count + i] += 1e-11; // neighbours are nearly the same
    }
    solve(matrix, count, weight);
    free(matrix);
    for (int i = 0; i < count; ++i) {
        left -= 2 * weight[i] * cosine(profile[i], goal);
        for (int k = 0; k < count; ++k)
            left += weight[i] * weight[k] * cosine(profile[i], profile[k]);
    }
    for (int i = 0; i < count; ++i)
        sum += weight[i] *= sqrt(overlap(goal, goal) / overlap(profile[i], profile[i]));
    for (int i = 0; i < count; ++i) weight[i] /= sum;
    return sqrt(fmax(left, 0));
}

// ---- checkpoints ------------------------------------------------------------------------------

static Status read_newest(const char *run_dir, const Params *params, StateKind kind,
                          void (*warn)(const char *line), float *numbers, int64_t *step) {
    char **names;
    int count;
    TRY(checkpoint_list(run_dir, &names, &count));
    Status status = STATUS_NOT_FOUND;
    for (int i = count - 1; i >= 0 && status != STATUS_OK; --i) {
        char path[PATH_BYTES];
        CheckpointMeta meta = {0};
        status = path_format(path, "%s/%s", run_dir, names[i]);
        if (status == STATUS_OK) status = checkpoint_read_meta(path, &meta);
        json_decref(meta.facts);
        *step = meta.step;
        if (status == STATUS_OK) status = checkpoint_read_kind(path, params, kind, numbers);
        if (status == STATUS_BAD_DATA) warn(error_get()->text);
        if (status != STATUS_OK && status != STATUS_BAD_DATA) break;
    }
    folder_names_free(names, count);
    FAIL_IF(count == 0, NOT_FOUND, "%s holds no checkpoint yet", run_dir);
    if (status != STATUS_OK) return error_trail(status, __FILE__, __LINE__, __func__);
    return STATUS_OK;
}

// What a checkpoint gives to the mixture: one average or two.
typedef struct {
    char path[PATH_BYTES];
    int64_t step;
    double samples;
} Snapshot;

typedef struct {
    const Params *params;
    const OptimConfig *optim;
    void (*warn)(const char *line);
    Snapshot *snapshot;
    int count;
    Profile *profile; // [2 count]
    double *weight;   // [2 count]
    double *sum;      // [params->size]
} Mixture;

// The checkpoints whose manifests are good.
static Status find_snapshots(const char *run_dir, char *const *names, int count, Mixture *mixture) {
    for (int i = 0; i < count; ++i) {
        Snapshot *snapshot = &mixture->snapshot[mixture->count];
        CheckpointMeta meta = {0};
        TRY(path_format(snapshot->path, "%s/%s", run_dir, names[i]));
        Status status = checkpoint_read_meta(snapshot->path, &meta);
        json_decref(meta.facts);
        if (status != STATUS_OK) mixture->warn(error_get()->text);
        *snapshot = (Snapshot){.step = meta.step, .samples = (double)meta.samples};
        TRY(path_format(snapshot->path, "%s/%s", run_dir, names[i]));
        mixture->count += status == STATUS_OK && meta.samples > 0;
    }
    error_clear();
    return STATUS_OK;
}

// Adds its averages with their weights. numbers: room.
static Status add_snapshot(const Mixture *mixture, const Snapshot *snapshot, const double *weight,
                           float *numbers) {
    for (int k = 0; k < 2 && mixture->optim->ema_power[k] > 0; ++k) {
        TRY(checkpoint_read_kind(snapshot->path, mixture->params,
                                 k == 0 ? STATE_EMA_0 : STATE_EMA_1, numbers));
        for (int64_t i = 0; i < mixture->params->size; ++i)
            mixture->sum[i] += weight[k] * (double)numbers[i];
    }
    return STATUS_OK;
}

// Mixes what is there; *broken: the number of a checkpoint that cannot be read, else -1.
static Status mix_snapshots(Mixture *mixture, double width, float *numbers, int *broken) {
    const OptimConfig *optim = mixture->optim;
    int each = optim->ema_power[1] > 0 ? 2 : 1, last = mixture->count - 1;
    *broken = -1;
    FAIL_IF(last < 0, NOT_FOUND, "there is no good checkpoint to take an average of");
    for (int i = 0; i < each * mixture->count; ++i)
        mixture->profile[i] = (Profile){mixture->snapshot[i / each].samples,
                                        schedule_ema_exponent(optim->ema_power[i % each])};
    Profile goal = {mixture->snapshot[last].samples, schedule_ema_exponent(width)};
    double left = average_mix(mixture->profile, each * mixture->count, goal, mixture->weight);
    FAIL_IF(isnan(left), NO_MEMORY, "no memory to mix %d checkpoints", mixture->count);
    memset(mixture->sum, 0, (size_t)mixture->params->size * sizeof *mixture->sum);
    for (int i = 0; i < mixture->count && *broken < 0; ++i) {
        Status status =
            add_snapshot(mixture, &mixture->snapshot[i], mixture->weight + each * i, numbers);
        if (status != STATUS_BAD_DATA && status != STATUS_NOT_FOUND) TRY(status);
        if (status != STATUS_OK) *broken = i;
    }
    if (*broken >= 0) return STATUS_OK;
    for (int64_t i = 0; i < mixture->params->size; ++i) numbers[i] = (float)mixture->sum[i];
    char line[160];
    snprintf(line, sizeof line,
             "the average of width %g is %.0f %% off, mixed from %d checkpoints: keep more of them"
             " (checkpoint.every, checkpoint.keep)",
             width, 100 * left, mixture->count);
    if (left > 0.05) mixture->warn(line);
    return STATUS_OK;
}

static Status read_mixture(const char *run_dir, Mixture *mixture, double width, float *numbers,
                           int64_t *step) {
    char **names;
    int count, broken = 0;
    TRY(checkpoint_list(run_dir, &names, &count));
    mixture->snapshot = calloc((size_t)count + 1, sizeof *mixture->snapshot);
    mixture->profile = calloc((size_t)count + 1, 2 * sizeof *mixture->profile);
    mixture->weight = calloc((size_t)count + 1, 2 * sizeof *mixture->weight);
    mixture->sum = calloc((size_t)mixture->params->size, sizeof *mixture->sum);
    bool room = mixture->snapshot != NULL && mixture->profile != NULL && mixture->weight != NULL &&
                mixture->sum != NULL;
    Status status = room ? find_snapshots(run_dir, names, count, mixture) : STATUS_NO_MEMORY;
    folder_names_free(names, count);
    FAIL_IF(!room, NO_MEMORY, "no memory to mix %d checkpoints", count);
    while (status == STATUS_OK && broken >= 0) {
        status = mix_snapshots(mixture, width, numbers, &broken);
        if (status != STATUS_OK || broken < 0) break;
        mixture->warn(error_get()->text);
        error_clear();
        memmove(&mixture->snapshot[broken], &mixture->snapshot[broken + 1],
                (size_t)(--mixture->count - broken) * sizeof *mixture->snapshot);
    }
    if (status == STATUS_OK) *step = mixture->snapshot[mixture->count - 1].step;
    return status;
}

Status average_read(const char *run_dir, const OptimConfig *optim, const Params *params,
                    double average, void (*warn)(const char *line), float *numbers, int64_t *step) {
    StateKind kind = average == 0 ? STATE_EMA_0 : average == 1 ? STATE_EMA_1 : STATE_WEIGHT;
    if (kind != STATE_WEIGHT || average == AVERAGE_RAW)
        return read_newest(run_dir, params, kind, warn, numbers, step);
    FAIL_IF(!(average >= 0.01 && average <= 0.28), BAD_USAGE,
            "--average is %g; it must be 0 or 1, which training kept, or a width from 0.01 to 0.28",
            average);
    FAIL_IF(optim->ema_power[0] == 0, BAD_CONFIG,
            "--average %g is made of power functions, and this run kept none: train with"
            " optim.ema_power=0.05 optim.ema_power_2=0.1, and checkpoint.keep as many as it takes",
            average);
    Mixture mixture = {.params = params, .optim = optim, .warn = warn};
    Status status = read_mixture(run_dir, &mixture, average, numbers, step);
    free(mixture.snapshot);
    free(mixture.profile);
    free(mixture.weight);
    free(mixture.sum);
    return status;
}
