// Phase `checkpoint`: how long a save holds up training, and its rate and that of loading against
// plain files of the same bytes in the same folder.
#include "trainer/checkpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "launch/bench/bench.h"

enum { SAVES = 4, TRIES = 3, FILE_BYTES_MOST = 1 << 30 };

// Rank 0 alone: the bytes of the newest checkpoint's files, one behind the other.
typedef struct {
    char *data;
    size_t bytes;
} Content;

static Status add_file(const char *path, Content *content) {
    char *data, *longer;
    size_t bytes;
    TRY(file_read(path, FILE_BYTES_MOST, &data, &bytes));
    longer = realloc(content->data, content->bytes + bytes + 1);
    if (longer != NULL) {
        memcpy(longer + content->bytes, data, bytes);
        content->data = longer;
        content->bytes += bytes;
    }
    free(data);
    FAIL_IF(longer == NULL, NO_MEMORY, "no memory for the bytes of %s", path);
    return STATUS_OK;
}

static Status read_folder(const char *folder, Content *content) {
    char **names, path[PATH_BYTES];
    int count;
    *content = (Content){0};
    TRY(folder_names(folder, &names, &count));
    Status status = STATUS_OK;
    for (int i = 0; i < count && status == STATUS_OK; ++i) {
        status = path_format(path, "%s/%s", folder, names[i]);
        if (status == STATUS_OK) status = add_file(path, content);
    }
    folder_names_free(names, count);
    if (status != STATUS_OK) free(content->data);
    return status;
}

static Status find_newest(const char *run_dir, char folder[PATH_BYTES]) {
    char **names;
    int count;
    TRY(checkpoint_list(run_dir, &names, &count));
    Status status = count > 0 ? path_format(folder, "%s/%s", run_dir, names[count - 1]) : STATUS_OK;
    folder_names_free(names, count);
    FAIL_IF(count == 0, FAILED, "the run to measure has saved nothing");
    return status;
}

static Status write_plain(const char *path, const Content *content) {
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    FAIL_IF(file < 0, IO, "cannot write %s: %s", path, strerror(errno));
    Status status = file_put(file, path, content->data, content->bytes);
    if (status == STATUS_OK) status = file_flush(file, path);
    close(file);
    return status;
}

typedef struct {
    double bytes, write_seconds, read_seconds;
} Plain;

static Status measure_plain(const Bench *bench, Plain *out) {
    char folder[PATH_BYTES], path[PATH_BYTES];
    Content content = {0};
    double write[TRIES], read[TRIES];
    TRY(find_newest(bench->settings.run.dir, folder));
    TRY(path_format(path, "%s/plain", bench->settings.run.dir));
    TRY(read_folder(folder, &content));
    out->bytes = (double)content.bytes;
    Status status = STATUS_OK;
    for (int i = 0; i < TRIES && status == STATUS_OK; ++i) {
        double began = clock_now();
        status = write_plain(path, &content);
        write[i] = clock_now() - began;
        (void)unlink(path);
    }
    free(content.data);
    for (int i = 0; i < TRIES && status == STATUS_OK; ++i) {
        double began = clock_now();
        status = read_folder(folder, &content);
        read[i] = clock_now() - began;
        if (status == STATUS_OK) free(content.data);
    }
    TRY(status);
    out->write_seconds = bench_median(write, TRIES);
    out->read_seconds = bench_median(read, TRIES);
    return STATUS_OK;
}

static Status lend_nothing(void *context, StateKind kind, int part, const float **numbers) {
    (void)context, (void)kind, (void)part, (void)numbers;
    FAIL(FAILED, "a state to load cannot be saved");
}

static Status drop(void *context, StateKind kind, int part, const float *numbers) {
    (void)context, (void)kind, (void)part, (void)numbers;
    return STATUS_OK;
}

static Status measure_load(Bench *bench, double *seconds) {
    const Params *params = &bench->engine->params;
    Ownership ownership;
    double load[TRIES];
    ownership_init(&ownership, params, comm_world(bench->comm), comm_group(bench->comm),
                   (size_t)bench->settings.optim.bucket);
    CheckpointRun run = {
        bench->comm, bench->settings.run.dir, params, &ownership, {NULL, lend_nothing, drop}};
    for (int i = 0; i < TRIES; ++i) {
        CheckpointMeta meta = {0};
        bool found;
        double began = clock_now();
        TRY(checkpoint_load(&run, NULL, &meta, &found));
        load[i] = clock_now() - began;
        json_decref(meta.facts);
    }
    *seconds = bench_median(load, TRIES);
    return STATUS_OK;
}

static void tell(Bench *bench, const Stretch *stretch, const Plain *plain, double load) {
    double stall = stretch->save_step - stretch->step, mega = plain->bytes / 1e6;
    report_ratio(bench, "stall_over_step", stall > 0 ? stall / stretch->step : 0,
                 "what the step that saves takes longer, over a step");
    if (stretch->busy_step > 0)
        report_ratio(bench, "step_while_saving", stretch->busy_step / stretch->step,
                     "a step during a save over a quiet one");
    report_ratio(bench, "save_over_plain_write", plain->write_seconds / stretch->save_seconds,
                 "rate of a save over write and fsync of the same bytes");
    report_ratio(bench, "load_over_plain_read", plain->read_seconds / load,
                 "rate of a load over reading the same files");
    report_figure(bench, "saves", stretch->saves, "measured");
    report_figure(bench, "stall_ms", 1e3 * stall, "ms");
    report_figure(bench, "save_ms", 1e3 * stretch->save_seconds, "ms, until it is good");
    report_figure(bench, "checkpoint_mb", mega, "MB");
    report_figure(bench, "save_mb_per_s", mega / stretch->save_seconds, "MB/s");
    report_figure(bench, "plain_write_mb_per_s", mega / plain->write_seconds, "MB/s");
    report_figure(bench, "load_mb_per_s", mega / load, "MB/s");
}

Status bench_checkpoint(Bench *bench) {
    double steps = bench->seconds * 0.7 / bench->step_seconds, load = 0;
    int64_t every = steps / SAVES > 4 ? (int64_t)(steps / SAVES) : 4;
    // All ranks count the same steps; their medians differ.
    TRY(comm_broadcast(bench->comm, &every, sizeof every, 0));
    StretchRequest request = {.steps = every * 2 + 1, .save_every = every};
    request.seconds = bench->seconds * 0.7;
    Stretch stretch;
    Plain plain = {0};
    TRY(bench_train(bench, &request, &stretch));
    if (bench->interrupted) return STATUS_OK;
    FAIL_IF(stretch.saves == 0, FAILED, "the run to measure could not save");
    if (comm_rank(bench->comm) == 0) TRY(measure_plain(bench, &plain));
    TRY(bench_meet(bench));
    TRY(measure_load(bench, &load));
    tell(bench, &stretch, &plain, load);
    return STATUS_OK;
}
