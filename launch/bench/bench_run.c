// The trainer that is measured, through what it tells of itself: the call for signals once a step.
#include "launch/stragglers.h"
#include "launch/bench/bench.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "launch/bench/bench_replay.h"
#include "launch/bench/bench_resident.h"
#include "launch/metrics.h"
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
    bool saved_before; // the last step asked for a save
} watch;
static bool asked_to_stop;

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
    // The grains are done, the update is not queued yet.
    if (watch.request.recording != NULL && watch.steps == 1)
        watch.status = recording_end(watch.request.recording);
    watch.saved_before = false;
    asked_to_stop = asked_to_stop || (actions & ACTION_STOP);
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

static RunStart run_start;

static void hear_start(const RunStart *start) {
    run_start = *start;
}

static void hear_line(const char *line) {
    (void)line;
}

static void hear_progress(const MetricsRecord *record) {
    (void)record;
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

static void read_ops(const Engine *engine, double sign, double ops[OPS]) {
    for (int i = 0; i < engine->lanes; ++i)
        for (int op = 0; op < OPS; ++op) ops[op] += sign * engine->lane[i].stream->seconds[op];
}

Status bench_train(Bench *bench, const StretchRequest *request, Stretch *out) {
    int64_t first = trainer_step(bench->trainer);
    *out = (Stretch){0};
    read_ops(bench->engine, -1, out->ops);
    memset(&watch, 0, sizeof watch);
    watch.rank_0 = comm_rank(bench->comm) == 0;
    watch.request = *request;
    watch.began = clock_now();
    Status status = trainer_run(bench->trainer);
    FAIL_IF(status == STATUS_OK, FAILED, "the run to measure ended by itself");
    if (status != STATUS_UNFINISHED) return error_trail(status, __FILE__, __LINE__, __func__);
    error_clear();
    TRY(watch.status);
    out->seconds = clock_now() - watch.began;
    out->steps = trainer_step(bench->trainer) - first;
    read_ops(bench->engine, 1, out->ops);
    out->step = bench_median(watch.period, watch.periods);
    out->busy_step = bench_median(watch.busy_period, watch.busy_periods);
    out->saves = watch.saves;
    out->save_step = bench_median(watch.save_period, watch.save_periods);
    out->save_seconds = bench_median(watch.save_seconds, watch.saves);
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
        .started = hear_start,
        .say = hear_line,
        .warn = hear_line,
        .judge = stragglers_judge,
        .progress = hear_progress,
        .signals = hear_step,
        .good_checkpoint = hear_saved,
        .records_open = process_metrics_open,
        .record = process_metrics_record,
        .evaluate = view_evaluate,
        .preview = view_draw,
    };
    double started = clock_now();
    bench->resident_before = resident_now();
    resident_forget();
    TRY(trainer_open(settings, &run, &bench->trainer));
    bench->engine = run_start.engine;
    bench->plan = run_start.plan;
    bench->start.open = clock_now() - started;
    return STATUS_OK;
}

Status bench_open(Bench *bench) {
    bench->start.mpi = comm_init_seconds(bench->comm);
    bench->start.process = clock_now() - bench->started - bench->start.mpi;
    TRY(choose_folder(bench));
    settle(&bench->settings);
    TRY(open_trainer(bench));
    return recording_open(&bench->recording);
}

// The first step pays for what later ones find: pages, kernels that are compiled at first use.
Status bench_warm(Bench *bench) {
    Stretch stretch;
    double started = clock_now();
    TRY(bench_train(bench, &(StretchRequest){.steps = 1}, &stretch));
    bench->start.first_step = clock_now() - started;
    TRY(recording_begin(bench->recording, bench->engine));
    TRY(bench_train(bench, &(StretchRequest){.steps = 1, .recording = bench->recording}, &stretch));
    TRY(bench_train(bench, &(StretchRequest){.seconds = 0.2, .steps = 3}, &stretch));
    bench->step_seconds = stretch.step;
    return STATUS_OK;
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
