// The life of a run: open, resume, step, log, evaluate, draw, save, stop.
#include "trainer/trainer_impl.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/journal.h"

enum { SAVE_RETRY_SECONDS = 30 };

// ---- opening ----------------------------------------------------------------------------------

static Status check_settings(const RunSettings *s, int world) {
    FAIL_IF(s->train.batch % s->train.grains != 0, BAD_CONFIG,
            "train.batch = %" PRId64 " is not a multiple of train.grains = %d", s->train.batch,
            s->train.grains);
    FAIL_IF(world > s->train.grains, BAD_CONFIG,
            "%d ranks are more than train.grains = %d can feed: start at most %d ranks, or raise"
            " train.grains for a new run",
            world, s->train.grains, s->train.grains);
    return STATUS_OK;
}

static Status open_data(Trainer *t) {
    const DataConfig *data = &t->settings.data;
    size_t cache = (size_t)data->cache;
    TRY(dataset_open(data->path, "train", cache, &t->data));
    Status status = dataset_open(data->path, "valid", cache, &t->held_out);
    if (status == STATUS_NOT_FOUND) status = dataset_open(data->path, "test", cache, &t->held_out);
    if (status == STATUS_NOT_FOUND) {
        error_clear();
        status = STATUS_OK; // nothing held out: no evaluation
    }
    TRY(status);
    const DatasetInfo *info = dataset_info(t->data);
    FAIL_IF(info->kind == KIND_TEXT && data->length < 1, BAD_CONFIG,
            "data.length must be given for the text %s", data->path);
    FAIL_IF(loader_samples(info, data->length) < 1, BAD_CONFIG,
            "%s holds no whole sample of data.length = %d symbols", data->path, data->length);
    return STATUS_OK;
}

static Status open_engine(Trainer *t) {
    const RunSettings *s = &t->settings;
    Comm *comm = t->context.comm;
    grain_share(s->train.grains, comm_world(comm), comm_rank(comm), &t->grain_begin, &t->grain_end);
    t->grain_samples = s->train.batch / s->train.grains;
    EngineConfig config = {.network = &s->model,
                           .process = &s->process,
                           .data = dataset_info(t->data),
                           .length = s->data.length,
                           .device = t->context.device,
                           .capacity = t->grain_samples,
                           .backward = true};
    int grains = t->grain_end - t->grain_begin;
    if (config.device.streams > grains) config.device.streams = grains;
    TRY(engine_open(&config, &t->engine));
    t->batch_items = (double)(s->train.batch * process_loss_items(t->engine.process));
    return sampler_open(t->engine.process, &s->sampler, &t->sampler);
}

static Status open_loader(Trainer *t, int64_t step) {
    loader_close(t->loader);
    t->loader = NULL;
    const RunSettings *s = &t->settings;
    LoaderConfig config = {.dataset = t->data,
                           .seed = s->train.seed,
                           .length = s->data.length,
                           .batch = s->train.batch,
                           .share_begin = t->grain_begin * t->grain_samples,
                           .share_end = t->grain_end * t->grain_samples,
                           .step = step,
                           .depth = s->data.read_ahead};
    return loader_open(&config, &t->loader);
}

// Rank 0 only: folder, its lock, and with --fresh the old checkpoints out of the way.
static Status prepare_folder(Trainer *t) {
    const char *run_dir = t->settings.run.dir;
    char path[PATH_BYTES];
    TRY(path_format(path, "%s/samples", run_dir));
    TRY(folder_make(path));
    if (t->context.folder_take != NULL) TRY(t->context.folder_take(run_dir));
    return t->context.fresh ? checkpoint_remove_all(run_dir) : STATUS_OK;
}

// Rank 0 only, once the run is known to go on: what it is made of, and logs cut back to the step.
static Status write_records(Trainer *t) {
    const char *run_dir = t->settings.run.dir;
    char path[PATH_BYTES];
    TRY(path_format(path, "%s/config.yaml", run_dir));
    TRY(file_write_atomic(path, t->context.config_text, strlen(t->context.config_text)));
    TRY(path_format(path, "%s/run.json", run_dir));
    json_object_set_new(t->context.facts, "device", json_string(t->engine.device->description));
    TRY(json_write(path, t->context.facts));
    TRY(metrics_open(run_dir, "metrics.jsonl", t->step, &t->metrics));
    return metrics_open(run_dir, "eval.jsonl", t->step, &t->eval_log);
}

// A step that rank 0 alone takes: its failure becomes everybody's.
static Status on_rank_0(Trainer *t, Status (*step)(Trainer *t)) {
    int speaker;
    Status status = is_rank_0(t) ? step(t) : STATUS_OK;
    return comm_agree(t->context.comm, status, &speaker);
}

static void say_start(Trainer *t, bool found, double opened, double loaded) {
    const Params *params = &t->engine.params;
    report_say(t, "model: %s, %.2f M parameters in %d parts; %.2f GFLOP a training sample",
               t->settings.model.family, (double)params->size / 1e6, params->parts,
               3 * network_forward_flops(t->engine.network) / 1e9);
    report_say(t, "memory of a rank: %s = %.1f MB", t->plan.text, (double)t->plan.total / 1e6);
    if (found)
        report_say(t, "resumed from %s/step-%09" PRId64 " (fingerprint %016" PRIx64 ")",
                   t->settings.run.dir, t->step, t->fingerprint);
    double now = clock_now(), mpi = comm_init_seconds(t->context.comm);
    report_say(t, "start-up %.2f s = MPI_Init %.2f + program, data and model %.2f + %s %.2f",
               now - t->context.start_seconds, mpi, opened - t->context.start_seconds - mpi,
               found ? "checkpoint" : "initial weights", loaded - opened);
}

static Status open_all(Trainer *t) {
    TRY(check_settings(&t->settings, comm_world(t->context.comm)));
    TRY(on_rank_0(t, prepare_folder));
    TRY(open_data(t));
    TRY(open_engine(t));
    TRY(open_loader(t, 0));
    TRY(state_open(t));
    double opened = clock_now();
    bool found;
    journal_enter(PHASE_LOAD, 0);
    TRY(state_resume(t, &found));
    if (!found) TRY(state_draw(t));
    if (t->step > 0) TRY(open_loader(t, t->step));
    TRY(on_rank_0(t, write_records));
    say_start(t, found, opened, clock_now());
    t->last_save = t->last_eval = t->last_sample = clock_now();
    return STATUS_OK;
}

Status trainer_open(const RunSettings *settings, const RunContext *context, Trainer **out) {
    Trainer *t = calloc(1, sizeof *t);
    FAIL_IF(t == NULL, NO_MEMORY, "no memory for a trainer");
    t->settings = *settings;
    t->context = *context;
    Status status = open_all(t);
    if (status != STATUS_OK) {
        trainer_close(t);
        return error_trail(status, __FILE__, __LINE__, __func__);
    }
    *out = t;
    return STATUS_OK;
}

void trainer_close(Trainer *t) {
    if (t == NULL) return;
    if (t->metrics != NULL) fclose(t->metrics);
    if (t->eval_log != NULL) fclose(t->eval_log);
    loader_close(t->loader);
    state_close(t);
    sampler_close(t->sampler);
    engine_close(&t->engine);
    dataset_close(t->data);
    dataset_close(t->held_out);
    free(t);
}

int64_t trainer_step(const Trainer *t) {
    return t->step;
}

const Engine *trainer_engine(const Trainer *t) {
    return &t->engine;
}

const Plan *trainer_plan(const Trainer *t) {
    return &t->plan;
}

// ---- running ----------------------------------------------------------------------------------

// Whether something with this interval falls on the completed step: by steps alone, so that all
// ranks agree without a message. Intervals in seconds are proposed by rank 0, see propose().
static bool falls_on(const Trainer *t, Interval every) {
    return every.steps > 0 && t->step % every.steps == 0;
}

static bool is_due(Interval every, double last) {
    return every.seconds > 0 && clock_now() - last >= every.seconds;
}

static int propose(const Trainer *t) {
    if (!is_rank_0(t)) return 0;
    const RunSettings *s = &t->settings;
    bool save = t->save != NULL         ? false
                : t->save_failed_at > 0 ? clock_now() - t->save_failed_at >= SAVE_RETRY_SECONDS
                                        : is_due(s->checkpoint.every, t->last_save);
    return (save ? ACTION_SAVE : 0) | (is_due(s->eval.every, t->last_eval) ? ACTION_EVAL : 0) |
           (is_due(s->sample.every, t->last_sample) ? ACTION_SAMPLE : 0);
}

// mpirun leaves two seconds between its own SIGTERM and the end: is that enough for a save, after
// the one that is under way?
static bool save_fits(const Trainer *t) {
    double raw = (double)t->engine.params.size * STATE_KINDS * sizeof(float);
    // Never measured: a slow disk's rate.
    double seconds = t->save_seconds > 0 ? 2 * t->save_seconds : raw / 100e6;
    if (t->save != NULL) seconds *= 2;
    return t->seconds_left == 0 || seconds < t->seconds_left;
}

// A save on the way that fails because the disk does (the same on all ranks) ends no run: older
// checkpoints are intact, the reason is told, and it is tried again.
static Status save_on_the_way(Trainer *t, Status (*half)(Trainer *t)) {
    journal_enter(PHASE_SAVE, t->step);
    Status status = half(t);
    t->save_failed_at = status == STATUS_IO ? clock_now() : 0;
    if (status != STATUS_IO) return status;
    if (is_rank_0(t)) t->context.warn(error_get()->text);
    report_say(t,
               "step %" PRId64 " could not be saved; the last good checkpoint is step %" PRId64
               "; training goes on, next try in %d s",
               t->save_step, t->saved_step, SAVE_RETRY_SECONDS);
    error_clear();
    return STATUS_OK;
}

static Status finish_save(Trainer *t) {
    return t->save == NULL ? STATUS_OK : save_on_the_way(t, state_save_finish);
}

static Status save_now(Trainer *t) {
    TRY(finish_save(t));
    journal_enter(PHASE_SAVE, t->step);
    t->save_is_live = true;
    TRY(state_save_start(t));
    TRY(state_save_finish(t));
    t->save_is_live = false;
    return STATUS_OK;
}

static Status stop_early(Trainer *t) {
    if (save_fits(t)) TRY(save_now(t));
    TRY(finish_save(t));
    if (t->saved_step == t->step)
        FAIL(UNFINISHED,
             "stopped at step %" PRId64 " of %" PRId64 ", saved; run the same command"
             " again to go on",
             t->step, t->settings.train.steps);
    FAIL(UNFINISHED,
         "stopped at step %" PRId64 " without a save: %.1f s were left and a save takes"
         " about %.1f s; the last good checkpoint is step %" PRId64,
         t->step, t->seconds_left, t->save_seconds, t->saved_step);
}

// What follows a completed step, in the same order on all ranks.
static Status after_step(Trainer *t) {
    const RunSettings *s = &t->settings;
    bool last = t->step == s->train.steps;
    journal_enter(PHASE_LOG, t->step);
    TRY(report_step(t, last));
    if (last) TRY(save_now(t));
    if ((t->agreed & ACTION_STOP) && !last) return stop_early(t);
    bool due = (t->agreed & ACTION_SAVE) || falls_on(t, s->checkpoint.every);
    if (t->written || due) TRY(finish_save(t));
    if (due && !last) TRY(save_on_the_way(t, state_save_start));
    if ((t->agreed & ACTION_EVAL) || falls_on(t, s->eval.every)) TRY(report_held_out(t));
    if ((t->agreed & ACTION_SAMPLE) || falls_on(t, s->sample.every)) TRY(report_samples(t));
    return STATUS_OK;
}

Status trainer_run(Trainer *t) {
    int64_t steps = t->settings.train.steps;
    if (t->step >= steps) {
        report_say(t,
                   "step %" PRId64 " of %" PRId64
                   " is already there: nothing to do (raise train.steps"
                   " to go on)",
                   t->step, steps);
        return STATUS_OK;
    }
    report_reset(t);
    while (t->step < steps) {
        t->due = propose(t);
        TRY(step_run(t));
        TRY(after_step(t));
    }
    report_say(t, "finished: %" PRId64 " steps, fingerprint %016" PRIx64, t->step, t->fingerprint);
    return STATUS_OK;
}
