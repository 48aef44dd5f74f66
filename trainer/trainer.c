// The life of a run: open, resume, step, log, evaluate, draw, save, stop.
#include "trainer/trainer_impl.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"

// While training pauses: how often the ranks agree on going on, how often people are told, and how
// long the copies of one signal may take to reach all ranks.
static const double pause_nap = 0.25, pause_tell = 60, pause_grace = 2;

// ---- opening ----------------------------------------------------------------------------------

static Status open_split(Trainer *t, const char *split, Dataset **out) {
    const DataConfig *data = &t->settings.data;
    return dataset_open(&(DatasetConfig){.path = data->path,
                                         .split = split,
                                         .cache_bytes = (size_t)data->cache,
                                         .fetch = t->context.fetch,
                                         .tries = 3,
                                         .wait = 0.2,
                                         .lost_later = strcmp(data->lost, "skip") == 0,
                                         .warn = t->context.warn},
                        out);
}

static Status open_held_out(Trainer *t) {
    const char *wanted = t->settings.data.held_out;
    bool any = strcmp(wanted, "auto") == 0;
    if (strcmp(wanted, "none") == 0) return STATUS_OK;
    Status status = open_split(t, any ? "valid" : wanted, &t->held_out);
    if (any && status == STATUS_NOT_FOUND) status = open_split(t, "test", &t->held_out);
    if (!any || status != STATUS_NOT_FOUND) return status;
    error_clear(); // nothing held out: no evaluation
    return STATUS_OK;
}

static Status open_data(Trainer *t) {
    const DataConfig *data = &t->settings.data;
    TRY(open_split(t, "train", &t->data));
    TRY(open_held_out(t));
    const DatasetInfo *info = dataset_info(t->data);
    FAIL_IF(info->kind == KIND_TEXT && data->length < 1, BAD_CONFIG,
            "data.length must be given for the text %s", data->path);
    FAIL_IF(loader_samples(t->data, data->length) < 1, BAD_CONFIG,
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
    bool draws = s->sample.every.steps > 0 || s->sample.every.seconds > 0;
    bool mute = t->engine.shape.autoencoder || process_is_classifier(t->engine.process);
    if (mute && !draws) return STATUS_OK;
    return sampler_open(t->engine.process, &s->sampler, &t->sampler);
}

Status trainer_open_loader(Trainer *t, int64_t step) {
    loader_close(t->loader);
    t->loader = NULL;
    const RunSettings *s = &t->settings;
    SampleSet not_read = {0};
    LoaderConfig config = {.dataset = t->data,
                           .seed = s->train.seed,
                           .length = s->data.length,
                           .batch = s->train.batch,
                           .share_begin = t->grain_begin * t->grain_samples,
                           .share_end = t->grain_end * t->grain_samples,
                           .step = step,
                           .depth = s->data.read_ahead,
                           .threads = s->data.threads,
                           .order = loader_order(s->data.order, dataset_info(t->data)),
                           .window = s->data.window,
                           .weights = t->settings.data.weights,
                           .augment = {s->data.flip, s->data.crop},
                           .left_out = &not_read,
                           .skip_lost = strcmp(s->data.lost, "skip") == 0,
                           .tell = t->context.warn};
    Status status = sample_set_join(&not_read, &t->left_out);
    if (status == STATUS_OK) status = sample_set_join(&not_read, &t->lost);
    if (status == STATUS_OK) status = loader_open(&config, &t->loader);
    sample_set_clear(&not_read);
    return status;
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

// Rank 0 only, once the run is known to go on.
static Status open_records(Trainer *t) {
    return t->context.records_open(t->settings.run.dir, t->step);
}

// A step that rank 0 alone takes: its failure becomes everybody's.
static Status on_rank_0(Trainer *t, Status (*step)(Trainer *t)) {
    int speaker;
    Status status = is_rank_0(t) ? step(t) : STATUS_OK;
    return comm_agree(t->context.comm, status, &speaker);
}

// What a rank may fail in alone.
static Status open_own(Trainer *t) {
    TRY(open_data(t));
    TRY(open_engine(t));
    TRY(trainer_open_loader(t, 0));
    return state_open(t);
}

static Status open_all(Trainer *t) {
    Comm *comm = t->context.comm;
    int world = comm_world(comm), grains = t->settings.train.grains;
    FAIL_IF(world > grains, BAD_CONFIG,
            "%d ranks are more than train.grains = %d can feed: start at most %d ranks, or raise"
            " train.grains for a new run",
            world, grains, grains);
    TRY(on_rank_0(t, prepare_folder));
    TRY(comm_share_status(comm, open_own(t)));
    TRY(reducer_open(comm, t->engine.device, t->settings.device.exchange, &t->ownership, grains,
                     &t->reducer));
    double opened = clock_now();
    bool found;
    journal_enter(PHASE_LOAD, 0);
    TRY(state_resume(t, &found));
    if (!found) TRY(state_draw(t));
    if (t->step > 0 || t->left_out.count + t->lost.count > 0) TRY(trainer_open_loader(t, t->step));
    if (t->context.prepare != NULL) {
        TRY(engine_use(&t->engine, t->weights));
        TRY(report_show(t, t->context.prepare));
    }
    TRY(on_rank_0(t, open_records));
    t->last_save = t->last_eval = t->last_sample = clock_now();
    RunStart start = {&t->engine,  &t->plan, t->data,        reducer_describe(t->reducer),
                      found,       t->step,  t->fingerprint, opened,
                      t->last_save};
    t->context.started(&start);
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

// ---- running ----------------------------------------------------------------------------------

static bool is_due(Interval every, double last) {
    return every.seconds > 0 && clock_now() - last >= every.seconds;
}

// Seconds to allow for a save, after the one that is under way.
static double save_allowance(const Trainer *t) {
    double raw = (double)t->engine.params.size * STATE_KINDS * sizeof(float);
    // Never measured: a slow disk's rate.
    double seconds = t->save_seconds > 0 ? 2 * t->save_seconds : raw / 100e6;
    return t->save != NULL ? 2 * seconds : seconds;
}

static bool save_fits(const Trainer *t) {
    return t->seconds_left == 0 || save_allowance(t) < t->seconds_left;
}

// Twice the interval has passed since the last good save, and trying again did not help.
static bool is_overdue(const Trainer *t) {
    Interval every = t->settings.checkpoint.every;
    return t->save == NULL && t->save_failures >= 2 &&
           (every.steps > 0 ? t->step + 1 - t->saved_step >= 2 * every.steps
                            : is_due((Interval){.seconds = 2 * every.seconds}, t->last_save));
}

int due_actions(const Trainer *t, double seconds_left, double step_seconds) {
    double steps = step_is_ahead(t) ? 4 : 2; // until it ends, and some
    bool ends = seconds_left > 0 && seconds_left < save_allowance(t) + steps * step_seconds;
    int actions = ends ? ACTION_STOP : 0;
    if (!is_rank_0(t)) return actions;
    const RunSettings *s = &t->settings;
    bool save = t->save != NULL         ? false
                : t->save_failed_at > 0 ? clock_now() - t->save_failed_at >= s->checkpoint.retry
                                        : is_due(s->checkpoint.every, t->last_save);
    return actions | (save ? ACTION_SAVE : 0) | (is_overdue(t) ? ACTION_PAUSE : 0) |
           (is_due(s->eval.every, t->last_eval) ? ACTION_EVAL : 0) |
           (is_due(s->sample.every, t->last_sample) ? ACTION_SAMPLE : 0);
}

// A save on the way that fails because the disk does (the same on all ranks) ends no run: older
// checkpoints are intact, the reason is told, and it is tried again.
static Status save_on_the_way(Trainer *t, Status (*half)(Trainer *t)) {
    journal_enter(PHASE_SAVE, t->step);
    Status status = half(t);
    if (!is_of_disk(status)) return status;
    t->save_failed_at = clock_now();
    ++t->save_failures;
    if (is_rank_0(t)) t->context.warn(error_get()->text);
    report_say(t,
               "step %" PRId64 " could not be saved; the last good checkpoint is step %" PRId64
               "; training goes on, next try in %.3g s",
               t->save_step, t->saved_step, t->settings.checkpoint.retry);
    error_clear();
    return STATUS_OK;
}

static Status finish_save(Trainer *t) {
    return t->save == NULL ? STATUS_OK : save_on_the_way(t, state_save_finish);
}

static Status save_live(Trainer *t) {
    t->save_is_live = true;
    Status status = state_save_start(t);
    if (status == STATUS_OK) status = state_save_finish(t);
    t->save_is_live = false;
    return status;
}

static void say_pause(const Trainer *t, double seconds) {
    char line[ERROR_TEXT_BYTES + 256], passed[32];
    clock_format(seconds, passed, sizeof passed);
    snprintf(line, sizeof line,
             "paused at step %" PRId64
             "%s%s: %s; goes on by itself once it can be saved, tried each"
             " %.3g s; SIGUSR1 stops the job, the last good checkpoint is step %" PRId64,
             t->step, seconds < pause_tell ? "" : " since ", seconds < pause_tell ? "" : passed,
             error_get()->text, t->settings.checkpoint.retry, t->saved_step);
    if (is_rank_0(t)) t->context.warn(line);
}

// All ranks wait together for the next try. *over: somebody was asked to stop, or the end is near.
static Status wait_to_retry(Trainer *t, double since, bool *over) {
    double retry = t->settings.checkpoint.retry, nap = fmin(retry, pause_nap);
    for (double waited = 0; waited < retry && !*over; waited += nap) {
        double left;
        int speaker;
        nanosleep(&(struct timespec){0, (long)(nap * 1e9)}, NULL);
        bool stop = (t->context.signals(&left) & ACTION_STOP) != 0;
        if ((t->agreed & ACTION_STOP) && clock_now() - since < pause_grace) stop = false;
        stop = stop || (left > 0 && left < save_allowance(t) + pause_nap);
        Status status = comm_agree(t->context.comm, stop ? STATUS_UNFINISHED : STATUS_OK, &speaker);
        *over = status == STATUS_UNFINISHED;
        if (!*over) TRY(status);
    }
    return STATUS_OK;
}

// Training waits for this save. A disk that refuses it pauses the run until it does not, or until
// somebody wants to stop: then it is tried a last time.
static Status save_now(Trainer *t) {
    TRY(finish_save(t));
    double since = clock_now(), told = 0;
    journal_enter(PHASE_SAVE, t->step);
    for (bool over = false;;) {
        Status status = save_live(t);
        if (status == STATUS_OK && told > 0)
            report_say(t, "step %" PRId64 " is saved: the pause is over", t->step);
        if (!is_of_disk(status)) return status;
        FAIL_IF(over, UNFINISHED,
                "stopped at step %" PRId64 " without a save: %s; the last good checkpoint is step"
                " %" PRId64,
                t->step, error_get()->text, t->saved_step);
        if (told == 0 || clock_now() - told >= pause_tell) {
            told = clock_now();
            say_pause(t, told - since);
        }
        error_clear();
        TRY(wait_to_retry(t, since, &over));
    }
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

// ---- going back -------------------------------------------------------------------------------

// To the last good checkpoint, or the start, as if nothing had been trained since.
static Status go_back(Trainer *t) {
    bool found;
    TRY(finish_save(t));
    TRY(state_resume(t, &found));
    if (!found) TRY(state_draw(t));
    TRY(trainer_open_loader(t, t->step));
    TRY(on_rank_0(t, open_records));
    report_reset(t);
    return STATUS_OK;
}

// The samples that are to blame are left out from the last good checkpoint on, which is saved again
// with their numbers, so that every resume knows them.
static Status leave_samples_out(Trainer *t) {
    char blamed[256], what[128];
    int64_t bad_step = t->step, most = t->settings.optim.left_out_most;
    const char *advice = "lower optim.lr or optim.clip, or look at the samples (`dye inspect`); the"
                         " limits are optim.skips_most and optim.left_out_most";
    sample_set_text(&t->suspects, blamed, sizeof blamed);
    snprintf(what, sizeof what, "%d step%s not finite", t->skips_in_row,
             t->skips_in_row == 1 ? " was" : "s in a row were");
    TRY(sample_set_join(&t->left_out, &t->suspects));
    FAIL_IF(t->back_from > 0, NUMERIC,
            "%s up to step %" PRId64 ", near %s (%s to blame), and going back from step %" PRId64
            " has not helped; %s",
            what, bad_step, t->bad_near, blamed, t->back_from, advice);
    FAIL_IF(t->left_out.count > most, NUMERIC,
            "%s up to step %" PRId64 ", near %s (%s to blame): %" PRId64
            " samples would be left out, at most %" PRId64 " may be; %s",
            what, bad_step, t->bad_near, blamed, t->left_out.count, most, advice);
    TRY(go_back(t));
    t->back_from = bad_step;
    t->skips_in_row = 0;
    sample_set_clear(&t->suspects);
    report_say(t, "step %" PRId64 ": %s; back to step %" PRId64 "; %s left out from here", bad_step,
               what, t->step, blamed);
    return save_on_the_way(t, state_save_start);
}

static Status restore_replicas(Trainer *t) {
    char text[sizeof t->astray_text];
    int64_t step = t->step;
    memcpy(text, t->astray_text, sizeof text);
    FAIL_IF(t->astray == t->astray_before, FAILED,
            "step %" PRId64 ": %s; for the second time: leave that host out and start again", step,
            text);
    t->astray_before = t->astray;
    t->astray = 0;
    TRY(go_back(t));
    report_say(t, "step %" PRId64 ": %s; back to step %" PRId64, step, text, t->step);
    return STATUS_OK;
}

// What follows a completed step, in the same order on all ranks.
static Status after_step(Trainer *t) {
    const RunSettings *s = &t->settings;
    bool last = t->step == s->train.steps;
    journal_enter(PHASE_LOG, t->step);
    bool due = (t->agreed & ACTION_SAVE) || falls_on(t, s->checkpoint.every.steps);
    bool stops = (t->agreed & ACTION_STOP) && !last;
    if (t->skips_in_row >= s->optim.skips_most) {
        TRY(leave_samples_out(t));
        return stops ? stop_early(t) : STATUS_OK;
    }
    if (due) TRY(state_fingerprint(t));
    TRY(report_step(t, last));
    if (t->astray != 0) {
        TRY(restore_replicas(t));
        return stops ? stop_early(t) : STATUS_OK;
    }
    if (stops) return stop_early(t);
    if (last || (t->agreed & ACTION_PAUSE)) TRY(save_now(t));
    if (t->written || due) TRY(finish_save(t));
    if (due && t->saved_step != t->step) TRY(save_on_the_way(t, state_save_start));
    if ((t->agreed & ACTION_EVAL) || falls_on(t, s->eval.every.steps))
        TRY(report_view(t, PHASE_EVALUATE, t->context.evaluate));
    if ((t->agreed & ACTION_SAMPLE) || falls_on(t, s->sample.every.steps))
        TRY(report_view(t, PHASE_SAMPLE, t->context.preview));
    return STATUS_OK;
}

// Whether the host has something to do at this step, by counts that all ranks have: then it is read
// at once.
static bool is_looked_at(const Trainer *t, int64_t first) {
    const RunSettings *s = &t->settings;
    return !step_is_ahead(t) || t->step == first || t->step == s->train.steps || t->agreed != 0 ||
           t->written || falls_on(t, s->checkpoint.every.steps) ||
           falls_on(t, s->eval.every.steps) || falls_on(t, s->sample.every.steps) ||
           falls_on(t, s->log.every) || falls_on(t, s->log.fingerprint_every);
}

static void warn_of_end(const Trainer *t) {
    char line[160], left[32];
    if (t->seconds_left == 0 || t->seconds_left > 3 * save_allowance(t)) return;
    clock_format(t->seconds_left, left, sizeof left);
    snprintf(line, sizeof line,
             "this job ends in %s, and a save may take %.1f s: ask for more time", left,
             save_allowance(t));
    if (is_rank_0(t)) t->context.warn(line);
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
    for (int64_t first = t->step + 1; t->step < steps;) {
        t->agreed = 0;
        TRY(step_run(t));
        if (t->pending && !is_looked_at(t, first)) continue;
        TRY(step_settle(t));
        if (t->step == first) warn_of_end(t);
        TRY(after_step(t));
    }
    report_say(t, "finished: %" PRId64 " steps, fingerprint %016" PRIx64, t->step, t->fingerprint);
    return STATUS_OK;
}
