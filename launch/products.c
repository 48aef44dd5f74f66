// The choice of products' algorithms behind launch/products.h.
#include "launch/products.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "launch/checkpoint_view.h"
#include "launch/console.h"

enum { CHOICE_BYTES_MOST = 64 << 20 };

// ---- measuring ----------------------------------------------------------------------------------

typedef struct {
    void *x;
    int32_t *label;
    uint64_t *sample;
} Blank;

// A grain of nothing: products take their time whatever is in them.
static void queue_blank(const RunView *view, const Blank *blank) {
    Engine *engine = view->engine;
    EngineLane *lane = &engine->lane[0];
    Pass *pass = &lane->pass;
    NetworkInput input;
    NetworkMemory memory = engine_memory(engine, 0);
    int64_t samples = engine->capacity;
    GrainBatch batch = {.seed = view->settings->train.seed,
                        .samples = samples,
                        .x_0 = blank->x,
                        .label = blank->label,
                        .sample = blank->sample};
    process_corrupt(engine->process, engine->network, lane->stream, pass, &batch);
    process_network_input(engine->process, pass, &batch, view->settings->model.dropout > 0, &input);
    for (int number = 0; number < process_passes(engine->process); ++number) {
        if (number > 0) process_next_pass(engine->process, lane->stream, pass, samples);
        network_forward(engine->network, lane->stream, &memory, &input, pass->out);
        if (!process_has_gradient(engine->process, number)) continue;
        process_loss(engine->process, lane->stream, pass, samples, true);
        network_backward(engine->network, lane->stream, &memory, &input, pass->dout, view->average,
                         false, pass->dx);
    }
}

static Status measure(const RunView *view) {
    Device *device = view->engine->device;
    size_t samples = (size_t)view->engine->capacity;
    Blank blank = {calloc(samples, (size_t)engine_item(view->engine) * sizeof(float)),
                   calloc(samples, sizeof *blank.label), calloc(samples, sizeof *blank.sample)};
    Status status = STATUS_OK;
    if (blank.x == NULL || blank.label == NULL || blank.sample == NULL)
        FAIL_OR(done, status, NO_MEMORY, "no memory for a grain that is measured");
    for (size_t i = 0; i < samples; ++i) blank.sample[i] = i;
    TRY_OR(done, status, device->backend->measure(device, true));
    queue_blank(view, &blank);
    TRY_OR(done, status, stream_wait(view->engine->lane[0].stream));
    status = device->backend->measure(device, false);
done:
    free(blank.x);
    free(blank.label);
    free(blank.sample);
    return status;
}

// ---- what there is ------------------------------------------------------------------------------

// *taken: it is of this device. A damaged text is a failure, one of another device is none.
static Status take(Device *device, const char *choice, const char *what, const char *advice,
                   bool *taken) {
    char why[ERROR_TEXT_BYTES];
    Status status = device->backend->choose(device, choice);
    *taken = status == STATUS_OK;
    if (status != STATUS_BAD_DATA && status != STATUS_BAD_CONFIG) return status;
    snprintf(why, sizeof why, "%s", error_get()->text);
    error_clear();
    FAIL_IF(status == STATUS_BAD_DATA, BAD_DATA, "%s %s; %s", what, why, advice);
    return STATUS_OK;
}

static Status take_file(const RunView *view) {
    char path[PATH_BYTES], *text;
    size_t bytes;
    bool taken = false;
    TRY(path_format(path, "%s/products.txt", view->settings->run.dir));
    if (!file_exists(path)) return STATUS_OK;
    TRY(file_read(path, CHOICE_BYTES_MOST, &text, &bytes));
    Status status =
        take(view->engine->device, text, path, "remove it, and products are measured anew", &taken);
    free(text);
    return status;
}

// Up to a semicolon a description decides bits.
static bool is_same_device(const char *a, const char *b) {
    size_t bytes = strcspn(a, ";");
    return strcspn(b, ";") == bytes && strncmp(a, b, bytes) == 0;
}

// What the checkpoint `facts` has to say. *settled: nothing is to be measured.
static Status go_on(const RunView *view, const json_t *facts, const char *folder, bool *settled) {
    Device *device = view->engine->device;
    const char *was = json_string_value(json_object_get(facts, "device"));
    const json_t *choice = json_object_get(facts, "products");
    bool measures = strcmp(view->settings->device.products, "measured") == 0;
    *settled =
        !measures || (choice == NULL && was != NULL && is_same_device(was, device->description));
    if (choice == NULL) return STATUS_OK;
    if (!measures)
        console_say("the checkpoint's products were measured, device.products=heuristic gives"
                    " others: equal only statistically from here");
    if (!measures) return STATUS_OK;
    const char *text = json_is_string(choice) ? json_string_value(choice) : "";
    char what[PATH_BYTES + 40];
    snprintf(what, sizeof what, "the choice of products in %s", folder);
    return take(device, text, what, "look at the checkpoint with `dye verify`", settled);
}

// Rank 0.
static Status settle(const RunView *view) {
    char folder[PATH_BYTES];
    bool settled = strcmp(view->settings->device.products, "measured") != 0;
    TRY(path_format(folder, "%s/step-%09" PRId64, view->settings->run.dir, view->step));
    if (file_exists(folder)) {
        CheckpointMeta meta = {0};
        TRY(checkpoint_read_meta(folder, &meta));
        Status status = go_on(view, meta.facts, folder, &settled);
        json_decref(meta.facts);
        TRY(status);
    }
    if (settled) return STATUS_OK;
    TRY(take_file(view));
    return measure(view);
}

// ---- all ranks ----------------------------------------------------------------------------------

// Rank 0's choice for everybody. Whoever takes it anew plans all products anew, rank 0 too.
static Status share(const RunView *view, size_t bytes) {
    Device *device = view->engine->device;
    Comm *comm = view->comm;
    char *text = calloc(1, bytes + 1);
    Status status = STATUS_OK;
    if (text == NULL) FAIL_OR(done, status, NO_MEMORY, "no memory for a choice of products");
    if (comm_rank(comm) == 0) memcpy(text, device->choice, bytes);
done:
    status = comm_share_status(comm, status);
    if (status == STATUS_OK) status = comm_broadcast(comm, text, bytes, 0);
    if (status == STATUS_OK)
        status = comm_share_status(comm, device->backend->choose(device, text));
    free(text);
    return status;
}

Status products_settle(const RunView *view) {
    const Device *device = view->engine->device;
    Comm *comm = view->comm;
    if (device->backend->choose == NULL) return STATUS_OK;
    TRY(comm_share_status(comm, comm_rank(comm) == 0 ? settle(view) : STATUS_OK));
    uint64_t bytes = comm_rank(comm) == 0 && device->choice != NULL ? strlen(device->choice) : 0;
    TRY(comm_broadcast(comm, &bytes, sizeof bytes, 0));
    return bytes > 0 ? share(view, (size_t)bytes) : STATUS_OK;
}

bool products_describe(const Device *device, char *out, size_t bytes) {
    const char *text = device->choice;
    if (text == NULL) return false;
    const char *end = text + strlen(text) - 1, *line = end; // of a last line that is closed
    while (line > text && line[-1] != '\n') --line;
    snprintf(out, bytes, "%.*s", (int)(end - line), line);
    return true;
}

Status products_keep(const Device *device, const char *run_dir) {
    char path[PATH_BYTES];
    if (device->choice == NULL) return STATUS_OK;
    TRY(path_format(path, "%s/products.txt", run_dir));
    return file_write_atomic(path, device->choice, strlen(device->choice));
}
