// The trainer that is measured, through what it tells of itself: the call for signals once a step.
#include "launch/bench/bench.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/journal.h"
#include "launch/bench/bench_replay.h"
#include "launch/bench/bench_resident.h"
#include "launch/metrics.h"
#include "launch/products.h"
#include "launch/view.h"
#include "launch/run_config.h"
#include "launch/signals.h"
#include "launch/version.h"

enum { WATCH_STEPS = 1 << 16, WATCH_SAVES = 64, SUMS_MOST = 64 };

// What the hooks of the one trainer see: hooks have no context.
static struct {
    bool rank_0;
    StretchRequest request;
    double began, last, saving; // clock_now(); saving: when the save under way began, or 0
    int64_t steps;
    double period[WATCH_STEPS], busy_period[WATCH_STEPS], save_period[WATCH_SAVES],
        save_seconds[WATCH_SAVES];
    int64_t periods, busy_periods;
    int save_periods, saves;
    Status status;     // of the recording
    bool recording;    // is under way
    bool saved_before; // the last step asked for a save
    Phase phase;
    double entered, waiting, data, exchange; // clock_now() of both; seconds so far
    Stretch first, newest; // what has been at the first and the newest step's point
} watch;
static bool asked_to_stop;
static RunStart run_start;

// ---- what the trainer tells -------------------------------------------------------------------

static void hear_phase(Phase phase, int64_t step) {
    (void)step;
    double now = clock_now();
    if (watch.phase == PHASE_DATA) watch.data += now - watch.entered;
    watch.phase = phase;
    watch.entered = now;
}

static void hear_wait(const char *what) {
    (void)what;
    watch.waiting = clock_now();
}

static void hear_proceed(void) {
    if (watch.waiting > 0) watch.exchange += clock_now() - watch.waiting;
    watch.waiting = 0;
}

static void watch_point(double now) {
    Stretch *point = &watch.newest;
    point->whole = watch.steps;
    point->whole_seconds = now;
    point->data = watch.data;
    point->exchange = watch.exchange;
    for (int op = 0; op < OPS; ++op) point->ops[op] = bench_op_seconds(run_start.engine, op);
    if (watch.steps == 1) watch.first = *point;
}

// From the second of two steps' points, where grains are done and the update is not queued yet, all
// of a step lies behind.
static void watch_recording(void) {
    Recording *recording = watch.request.recording;
    if (recording == NULL || watch.status != STATUS_OK) return;
    if (watch.steps == 1 && !asked_to_stop) {
        watch.status = recording_begin(recording, run_start.engine);
        watch.recording = watch.status == STATUS_OK;
    } else if (watch.recording) {
        watch.status = recording_end(recording);
        watch.recording = false;
    }
}

static void watch_period(double period) {
    if (watch.saved_before && watch.save_periods < WATCH_SAVES)
        watch.save_period[watch.save_periods++] = period;
    else if (watch.saving > 0 && watch.busy_periods < WATCH_STEPS)
        watch.busy_period[watch.busy_periods++] = period;
    else if (watch.saving == 0 && watch.periods < WATCH_STEPS)
        watch.period[watch.periods++] = period;
}

static int hear_step(double *seconds_left) {
    double now = clock_now();
    int actions = signals_pending(seconds_left);
    *seconds_left = 0; // nothing is to be saved before an end
    if (watch.steps++ > 0) watch_period(now - watch.last);
    watch.last = now;
    watch_point(now);
    watch.saved_before = false;
    asked_to_stop = asked_to_stop || (actions & ACTION_STOP);
    watch_recording();
    const StretchRequest *request = &watch.request;
    bool over = now - watch.began >= request->seconds && watch.steps >= request->steps;
    if (asked_to_stop || (watch.rank_0 && over && watch.saving == 0)) {
        *seconds_left = 1e-6; // too little for a save: the state is of no use
        return ACTION_STOP;
    }
    if (request->save_every == 0 || watch.steps % request->save_every != 0 || watch.saving > 0)
        return 0;
    watch.saved_before = true;
    watch.saving = now;
    return watch.rank_0 ? ACTION_SAVE : 0;
}

static void hear_saved(const char *path) {
    (void)path;
    if (watch.saving > 0 && watch.saves < WATCH_SAVES)
        watch.save_seconds[watch.saves++] = clock_now() - watch.saving;
    watch.saving = 0;
}

static void hear_start(const RunStart *start) {
    run_start = *start;
}

static void hear_line(const char *line) {
    (void)line;
}

static void hear_progress(const StepReport *report) {
    MetricsRecord record = metrics_sum_up(report);
    if (report->logged) process_metrics_record(&record, report->params);
}

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double bench_median(double *values, int64_t count) {
    if (count == 0) return 0;
    qsort(values, (size_t)count, sizeof *values, compare_doubles);
    return (values[(count - 1) / 2] + values[count / 2]) / 2;
}

// Of sorted values: the one that `share` of the others are below.
static double quantile(const double *values, int64_t count, double share) {
    return count == 0 ? 0 : values[(int64_t)(share * (double)(count - 1) + 0.5)];
}

Status bench_sum(Bench *bench, double *values, int count) {
    size_t bytes = (size_t)count * sizeof *values;
    int world = comm_world(bench->comm);
    REQUIRE(count <= SUMS_MOST);
    double *all = malloc((size_t)world * bytes);
    FAIL_IF(all == NULL, NO_MEMORY, "no memory for the figures of %d ranks", world);
    Status status = comm_gather(bench->comm, values, bytes, all);
    memset(values, 0, bytes);
    for (int i = 0; i < world * count; ++i) values[i % count] += all[i];
    free(all);
    return status;
}

bool bench_asked(void) {
    double left;
    asked_to_stop = signals_pending(&left) != 0 || asked_to_stop;
    return asked_to_stop;
}

Status bench_meet(Bench *bench) {
    double asked = bench_asked();
    TRY(bench_sum(bench, &asked, 1));
    bench->interrupted = bench->interrupted || asked > 0;
    return STATUS_OK;
}

static void read_watch(Stretch *out) {
    out->step = bench_median(watch.period, watch.periods);
    out->step_p10 = quantile(watch.period, watch.periods, 0.1);
    out->step_p90 = quantile(watch.period, watch.periods, 0.9);
    out->busy_step = bench_median(watch.busy_period, watch.busy_periods);
    out->saves = watch.saves;
    out->save_step = bench_median(watch.save_period, watch.save_periods);
    out->save_seconds = bench_median(watch.save_seconds, watch.saves);
    const Stretch *first = &watch.first, *last = &watch.newest;
    out->whole = last->whole - first->whole;
    out->whole_seconds = last->whole_seconds - first->whole_seconds;
    out->data = last->data - first->data;
    out->exchange = last->exchange - first->exchange;
    for (int op = 0; op < OPS; ++op) out->ops[op] = last->ops[op] - first->ops[op];
}

Status bench_train(Bench *bench, const StretchRequest *request, Stretch *out) {
    static const JournalSink sink = {hear_phase, hear_wait, hear_proceed};
    int64_t first = trainer_step(bench->trainer);
    *out = (Stretch){0};
    memset(&watch, 0, sizeof watch);
    watch.rank_0 = comm_rank(bench->comm) == 0;
    watch.request = *request;
    watch.began = clock_now();
    journal_set_sink(&sink);
    Status status = trainer_run(bench->trainer);
    journal_set_sink(NULL);
    // Another rank was asked to stop: half a step is of no use.
    if (watch.recording) watch.status = recording_end(request->recording);
    FAIL_IF(status == STATUS_OK, FAILED, "the run to measure ended by itself");
    if (status != STATUS_UNFINISHED) return error_trail(status, __FILE__, __LINE__, __func__);
    error_clear();
    TRY(watch.status);
    out->seconds = clock_now() - watch.began;
    out->steps = trainer_step(bench->trainer) - first;
    read_watch(out);
    return bench_meet(bench);
}

// ---- opening ----------------------------------------------------------------------------------

// A folder beside the run's own; the run's parent may be missing.
static Status choose_folder(Bench *bench) {
    RunSettings *s = &bench->settings;
    char folder[sizeof s->run.dir];
    int bytes = snprintf(folder, sizeof folder, "%s.bench-%d", s->run.dir, (int)getpid());
    FAIL_IF(bytes >= (int)sizeof folder, BAD_CONFIG, "run.dir is too long for a folder beside it");
    TRY(comm_broadcast(bench->comm, folder, sizeof folder, 0));
    const char *slash = strrchr(folder, '/');
    if (slash != NULL && slash > folder)
        snprintf(bench->parent, sizeof bench->parent, "%.*s", (int)(slash - folder), folder);
    if (file_exists(bench->parent)) bench->parent[0] = '\0';
    memcpy(s->run.dir, folder, sizeof folder);
    return STATUS_OK;
}

// Nothing but steps, unless a phase asks for more; far from the end.
static void settle(RunSettings *s) {
    s->log.fingerprint_every = 0;
    s->checkpoint.every = (Interval){.seconds = 1e9};
    s->checkpoint.keep = 1;
    s->eval.every = s->sample.every = (Interval){0};
    s->train.steps = (int64_t)1e12;
}

static Status open_trainer(Bench *bench) {
    const RunSettings *settings = &bench->settings;
    DeviceConfig device = cores_device(&bench->cores, &settings->device);
    device.timed = bench->timed;
    RunContext run = {
        .comm = bench->comm,
        .device = device,
        .fixed_hash = run_config_fixed_hash(settings),
        .fresh = true,
        .prepare = products_settle,
        .started = hear_start,
        .say = hear_line,
        .warn = hear_line,
        .progress = hear_progress,
        .signals = hear_step,
        .good_checkpoint = hear_saved,
        .records_open = process_metrics_open,
        .evaluate = view_evaluate,
        .preview = view_draw,
    };
    TRY(trainer_open(settings, &run, &bench->trainer));
    bench->engine = run_start.engine;
    bench->plan = run_start.plan;
    return STATUS_OK;
}

Status bench_open(Bench *bench) {
    bench->start.mpi = comm_init_seconds(bench->comm);
    bench->start.process = clock_now() - bench->started - bench->start.mpi;
    TRY(choose_folder(bench));
    settle(&bench->settings);
    double started = clock_now();
    bench->resident_before = resident_now();
    resident_forget();
    TRY(open_trainer(bench));
    bench->start.open = clock_now() - started;
    return recording_open(&bench->recording);
}

// The first step pays for what later ones find: pages, kernels that are compiled at first use.
Status bench_warm(Bench *bench) {
    Stretch stretch;
    double started = clock_now();
    TRY(bench_train(bench, &(StretchRequest){.steps = 1}, &stretch));
    if (bench->start.first_step == 0) bench->start.first_step = clock_now() - started;
    TRY(bench_train(bench, &(StretchRequest){.steps = 2, .recording = bench->recording}, &stretch));
    TRY(bench_train(bench, &(StretchRequest){.seconds = 0.2, .steps = 3}, &stretch));
    if (bench->step_seconds == 0) bench->step_seconds = stretch.step;
    return STATUS_OK;
}

Status bench_time_operations(Bench *bench, bool timed) {
    if (bench->engine->device->on_host || bench->timed == timed) return STATUS_OK;
    bench->timed = timed;
    trainer_close(bench->trainer);
    bench->trainer = NULL;
    TRY(open_trainer(bench));
    return bench_warm(bench);
}

void bench_clean(const Bench *bench) {
    if (bench->comm == NULL || comm_rank(bench->comm) != 0) return;
    if (strstr(bench->settings.run.dir, ".bench-") != NULL)
        (void)!folder_remove(bench->settings.run.dir);
    if (bench->parent[0] != '\0') (void)!rmdir(bench->parent);
}

void bench_close(Bench *bench) {
    recording_close(bench->recording);
    trainer_close(bench->trainer);
    process_metrics_close();
    bench_clean(bench);
}
