// Held-out loss and samples of a run on the way.
#include "launch/view.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/file.h"
#include "launch/console.h"
#include "launch/evaluate.h"
#include "launch/generate.h"
#include "launch/metrics.h"
#include "launch/picture.h"
#include "launch/tensorboard.h"

Status view_evaluate(const RunView *view) {
    double started = clock_now();
    if (view->held_out == NULL) return STATUS_OK;
    EvalRequest request = {.data = view->held_out,
                           .length = view->settings->data.length,
                           .samples = view->settings->eval.samples,
                           .draws = view->settings->eval.draws,
                           .seed = view->settings->train.seed,
                           .weights = view->average};
    HeldOutLoss result;
    TRY(evaluate_loss(view->engine, view->comm, &request, &result));
    result.seconds = clock_now() - started;
    if (comm_rank(view->comm) == 0) process_metrics_held_out(view->step, &result);
    return STATUS_OK;
}

// A picture is not worth a run.
static Status write_samples(const RunView *view, const void *samples, double started) {
    int32_t count = view->settings->sample.count;
    const DatasetInfo *info = dataset_info(view->data);
    char path[PATH_BYTES], line[PATH_BYTES + 64];
    TRY(path_format(path, "%s/samples/step-%09" PRId64 ".%s", view->settings->run.dir, view->step,
                    dataset_is_drawn(info) ? "png" : "txt"));
    Status status = picture_write(info, &view->engine->shape, samples, count, path);
    if (status != STATUS_IO && status != STATUS_NOT_FOUND) TRY(status);
    snprintf(line, sizeof line, "%d samples in %s (%.1f s)", count, path, clock_now() - started);
    if (status == STATUS_OK)
        console_say(line);
    else
        console_warn(error_get()->text);
    if (status == STATUS_OK) tensorboard_samples(view->step, path);
    error_clear();
    return STATUS_OK;
}

Status view_draw(const RunView *view) {
    double started = clock_now();
    GenerateRequest request = {.sampler = view->sampler,
                               .weights = view->average,
                               .seed = view->settings->train.seed,
                               .count = view->settings->sample.count,
                               .label = LABEL_CYCLE};
    void *samples;
    TRY(generate(view->engine, view->comm, &request, &samples));
    Status status = comm_rank(view->comm) == 0 ? write_samples(view, samples, started) : STATUS_OK;
    free(samples);
    return status;
}
