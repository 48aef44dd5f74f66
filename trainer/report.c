// What a run tells of its steps, and when it shows more.
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

void report_progress(const Trainer *t, bool logged, bool print) {
    if (!is_rank_0(t)) return;
    t->context.progress(
        &(StepReport){.settings = &t->settings,
                      .comm = t->context.comm,
                      .params = &t->engine.params,
                      .totals = &t->totals,
                      .logged = logged,
                      .step = t->step,
                      .lr = t->last_lr,
                      .saved = t->saved_step > 0 || t->step == 0 ? t->last_save : NAN,
                      .skipped = t->skipped,
                      .left_out = t->left_out.count,
                      .lost = t->lost.count,
                      .fingerprints = print ? t->tensor_print : NULL,
                      .fingerprint = t->fingerprint});
}

Status report_step(Trainer *t, bool last) {
    const LogConfig *log = &t->settings.log;
    bool stops = last || (t->agreed & ACTION_STOP) != 0;
    bool print = stops || falls_on(t, log->fingerprint_every);
    if (print) TRY(state_fingerprint(t));
    bool logged = print || falls_on(t, log->every);
    report_progress(t, logged, print);
    if (logged) report_reset(t);
    return STATUS_OK;
}

// ---- views ------------------------------------------------------------------------------------

Status report_show(Trainer *t, Status (*show)(const RunView *view)) {
    return show(&(RunView){.settings = &t->settings,
                           .comm = t->context.comm,
                           .engine = &t->engine,
                           .data = t->data,
                           .held_out = t->held_out,
                           .sampler = t->sampler,
                           .average = t->average,
                           .step = t->step});
}

Status report_view(Trainer *t, Phase phase, Status (*show)(const RunView *view)) {
    *(phase == PHASE_EVALUATE ? &t->last_eval : &t->last_sample) = clock_now();
    journal_enter(phase, t->step);
    TRY(state_gather_average(t, STATE_EMA_0));
    return report_show(t, show);
}
