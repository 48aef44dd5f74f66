// What a run tells of its steps: the live line and metrics; and when it shows more.
#include "trainer/trainer_impl.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "base/clock.h"

void report_say(const Trainer *t, const char *format, ...) {
    char line[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (is_rank_0(t)) t->context.say(line);
}

void report_reset(Trainer *t) {
    double *time = t->totals.time;
    memset(time, 0, (size_t)comm_world(t->context.comm) * SLOW_CAUSES * sizeof *time);
    t->totals = (StepTotals){.started = clock_now(), .time = time};
}

// ---- metrics and the live line ----------------------------------------------------------------

static MetricsRecord make_record(const Trainer *t) {
    MetricsRecord record = {
        .step = t->step,
        .steps = t->settings.train.steps,
        .samples = t->step * t->settings.train.batch,
        .samples_left = (double)((t->settings.train.steps - t->step) * t->settings.train.batch),
        .world = comm_world(t->context.comm),
        .saved_s = t->saved_step > 0 || t->step == 0 ? clock_now() - t->last_save : NAN,
        .loss = t->totals.loss_sum / t->totals.loss_items,
        .grad_norm = t->totals.grad_norm / (double)t->totals.steps,
        .lr = t->last_lr,
        .data_wait_s = t->totals.data_wait,
        .data_wait_each_s = t->totals.data_wait / (double)t->totals.steps,
        .skipped = t->skipped,
        .left_out = t->left_out.count,
        .lost = t->lost.count,
    };
    double seconds = clock_now() - t->totals.started;
    record.samples_per_s = (double)(t->totals.steps * t->settings.train.batch) / seconds;
    t->context.judge(t->context.comm, t->totals.time, t->totals.steps, &record);
    return record;
}

Status report_step(Trainer *t, bool last) {
    const LogConfig *log = &t->settings.log;
    bool stops = last || (t->agreed & ACTION_STOP) != 0;
    bool print = stops || (log->fingerprint_every > 0 && t->step % log->fingerprint_every == 0);
    if (print) TRY(state_fingerprint(t));
    bool logged = print || (log->every > 0 && t->step % log->every == 0);
    MetricsRecord record = make_record(t);
    record.has_fingerprint = print;
    record.fingerprint = t->fingerprint;
    record.tensors = t->tensor_print;
    if (is_rank_0(t)) {
        t->context.progress(&record);
        if (logged) t->context.record(&record, &t->engine.params);
    }
    if (logged) report_reset(t);
    return STATUS_OK;
}

// ---- views ------------------------------------------------------------------------------------

Status report_view(Trainer *t, Phase phase, Status (*show)(const RunView *view)) {
    *(phase == PHASE_EVALUATE ? &t->last_eval : &t->last_sample) = clock_now();
    journal_enter(phase, t->step);
    TRY(state_gather_average(t, STATE_EMA_0));
    return show(&(RunView){.settings = &t->settings,
                           .comm = t->context.comm,
                           .engine = &t->engine,
                           .data = t->data,
                           .held_out = t->held_out,
                           .sampler = t->sampler,
                           .average = t->average,
                           .step = t->step});
}
