// What is given of a sample, and how it is held.
#include "launch/infill.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "data/pack/image_file.h"
#include "launch/picture.h"

enum { PICTURE_BYTES_MOST = 64 << 20 };

// ---- text -------------------------------------------------------------------------------------

// -1: the alphabet lacks it.
static int32_t symbol_of(const char *alphabet, const char *character, int bytes) {
    int32_t symbol = 0;
    for (const char *at = alphabet; *at != 0; at += character_bytes(at), ++symbol)
        if (character_bytes(at) == bytes && memcmp(at, character, (size_t)bytes) == 0)
            return symbol;
    return -1;
}

// -1 where a symbol is to be drawn.
static Status put_symbols(const DatasetInfo *data, int64_t length, const char *text, int32_t *out) {
    int64_t n = 0;
    for (const char *at = text; *at != 0; at += character_bytes(at)) {
        int bytes = character_bytes(at);
        FAIL_IF(n == length, BAD_USAGE,
                "--infill: the text is longer than the %lld symbols of a sample (data.length)",
                (long long)length);
        out[n] = *at == '_' ? -1 : symbol_of(data->alphabet, at, bytes);
        FAIL_IF(out[n] < 0 && *at != '_', BAD_USAGE,
                "--infill: the alphabet of the data has no '%.*s' (character %lld); it is '%s', and"
                " _ is a gap",
                bytes, at, (long long)n + 1, data->alphabet);
        ++n;
    }
    while (n < length) out[n++] = -1;
    return STATUS_OK;
}

static Status read_text(const DatasetInfo *data, const char *text, int64_t length, Infill *out) {
    int32_t *symbol = out->x_0;
    TRY(put_symbols(data, length, text, symbol));
    for (int64_t i = 0; i < length; ++i) {
        out->known[i] = symbol[i] >= 0;
        if (symbol[i] < 0) symbol[i] = 0;
    }
    return STATUS_OK;
}

// ---- numbers ----------------------------------------------------------------------------------

static Status read_point(const char *text, int64_t dims, Infill *out) {
    float *number = out->x_0;
    const char *at = text;
    int64_t n = 0;
    for (char *end; *(at += strspn(at, " ,")) != 0; at = end, ++n) {
        FAIL_IF(n == dims, BAD_USAGE, "--infill: more than the %lld numbers of a point",
                (long long)dims);
        out->known[n] = *at != '_';
        end = (char *)(uintptr_t)at + 1;
        if (*at != '_') number[n] = strtof(at, &end);
        FAIL_IF(end == at || !isfinite(number[n]), BAD_USAGE,
                "--infill: '%s' is no number; numbers stand between spaces, and _ is to be drawn",
                at);
    }
    return STATUS_OK;
}

static Status read_picture(const NetworkShape *shape, const char *path, int32_t channels,
                           Image *out) {
    char *data;
    size_t bytes;
    TRY(file_read(path, PICTURE_BYTES_MOST, &data, &bytes));
    Status status = image_decode(path, data, bytes, channels, 0, out);
    free(data);
    TRY(status);
    if (out->height == shape->height && out->width == shape->width) return STATUS_OK;
    image_free(out);
    FAIL(BAD_USAGE, "%s is no picture of %d x %d pixels, which this run draws", path, shape->width,
         shape->height);
}

static Status read_image(const NetworkShape *shape, const char *path, const char *mask_path,
                         Infill *out) {
    int64_t pixels = (int64_t)shape->height * shape->width;
    Image picture = {0}, mask = {0};
    float *number = out->x_0;
    FAIL_IF(mask_path == NULL, BAD_USAGE,
            "--infill %s: and --mask PICTURE, white where something is to be drawn", path);
    Status status = read_picture(shape, path, shape->channels, &picture);
    if (status == STATUS_OK) status = read_picture(shape, mask_path, 1, &mask);
    for (int64_t i = 0; i < pixels * shape->channels && status == STATUS_OK; ++i) {
        number[i] = (float)picture.pixels[i] / 127.5f - 1;
        out->known[i] = mask.pixels[i % pixels] < 128;
    }
    image_free(&picture);
    image_free(&mask);
    return status;
}

// ---- what is given ----------------------------------------------------------------------------

// Masks for what is to be drawn, in each of `count` rows.
static Status make_start(int32_t mask, int64_t item, int64_t count, Infill *infill) {
    const int32_t *symbol = infill->x_0;
    infill->start = calloc((size_t)(count * item), sizeof *infill->start);
    FAIL_IF(infill->start == NULL, NO_MEMORY, "no memory for %lld symbols",
            (long long)(count * item));
    for (int64_t i = 0; i < count * item; ++i)
        infill->start[i] = infill->known[i % item] ? symbol[i % item] : mask;
    free(infill->x_0);
    free(infill->known);
    infill->x_0 = infill->known = NULL;
    return STATUS_OK;
}

static Status read_given(const DatasetInfo *data, const Engine *engine, const char *text,
                         const char *mask, Infill *out) {
    const NetworkShape *shape = &engine->shape;
    FAIL_IF(mask != NULL && data->kind != KIND_IMAGE, BAD_USAGE,
            "--mask is for pictures, and %s has none", data->name);
    if (data->kind == KIND_TEXT) return read_text(data, text, engine_item(engine), out);
    if (data->kind == KIND_VECTOR) return read_point(text, engine_item(engine), out);
    FAIL_IF(data->kind != KIND_IMAGE || shape->tokens || shape->latent, BAD_USAGE,
            "--infill is for text, points and pictures, and %s is none of these", data->name);
    return read_image(shape, text, mask, out);
}

Status infill_read(const DatasetInfo *data, const Engine *engine, const char *text,
                   const char *mask, int64_t count, Infill *out) {
    int64_t item = engine_item(engine);
    *out = (Infill){.x_0 = calloc((size_t)item, 4), .known = calloc((size_t)item, 1)};
    FAIL_IF(out->x_0 == NULL || out->known == NULL, NO_MEMORY, "no memory for %lld numbers",
            (long long)item);
    TRY(read_given(data, engine, text, mask, out));
    int32_t id = process_mask(engine->process);
    return id >= 0 ? make_start(id, item, count, out) : STATUS_OK;
}

void infill_close(Infill *infill) {
    free(infill->start);
    free(infill->x_0);
    free(infill->known);
    *infill = (Infill){0};
}

Status infill_solver(const Infill *infill, const Engine *engine, char solver[12]) {
    static const char *const good[] = {"ddim",    "ddpm", "dpm-2m",     "dpm-3m",
                                       "dpm-sde", "em",   "consistency"};
    bool symbols = process_is_tokens(engine->process);
    if (infill->start != NULL) return STATUS_OK;
    if (strcmp(solver, "auto") == 0) snprintf(solver, 12, "%s", symbols ? "ancestral" : "ddpm");
    bool fits = symbols && strcmp(solver, "ancestral") == 0;
    for (size_t i = 0; i < sizeof good / sizeof *good && !symbols; ++i)
        fits |= strcmp(solver, good[i]) == 0;
    FAIL_IF(!fits, BAD_USAGE,
            "--infill: solver %s does not go from time to time; choose %s (--solver)", solver,
            symbols ? "ancestral, or a system with masks" : "ddpm, ddim, dpm-2m, dpm-sde or em");
    return STATUS_OK;
}

// ---- holding ----------------------------------------------------------------------------------

typedef struct {
    Pass pass;
    void *memory, *host_rows;
    char *given, *known, *drawn; // [capacity, item]: x_0, at its time, of x_t as it is
    double *time;                // [capacity]
} HoldLane;

struct InfillHold {
    const Engine *engine;
    const Infill *infill;
    int64_t item;
    HoldLane *lane;
};

static Status open_lane(const Engine *engine, const Infill *infill, HoldLane *lane) {
    int64_t n = engine->capacity, item = engine_item(engine);
    const Process *process = engine->process;
    TRY(device_alloc(engine->device, process_pass_bytes(process, engine->network, n),
                     &lane->memory));
    lane->host_rows = malloc(process_pass_host_bytes(process, n));
    lane->given = calloc((size_t)(3 * n * item), 4);
    lane->time = calloc((size_t)n, sizeof *lane->time);
    FAIL_IF(lane->host_rows == NULL || lane->given == NULL || lane->time == NULL, NO_MEMORY,
            "no memory for %lld samples", (long long)n);
    lane->known = lane->given + 4 * n * item;
    lane->drawn = lane->known + 4 * n * item;
    for (int64_t i = 0; i < n; ++i)
        memcpy(lane->given + 4 * i * item, infill->x_0, (size_t)(4 * item));
    process_pass_place(process, engine->network, n, lane->memory, lane->host_rows, &lane->pass);
    return STATUS_OK;
}

Status infill_hold_open(const Engine *engine, const Infill *infill, InfillHold **out) {
    InfillHold *hold = calloc(1, sizeof *hold);
    *out = hold;
    FAIL_IF(hold == NULL, NO_MEMORY, "no memory for what is given");
    *hold = (InfillHold){engine, infill, engine_item(engine), NULL};
    hold->lane = calloc((size_t)engine->lanes, sizeof *hold->lane);
    FAIL_IF(hold->lane == NULL, NO_MEMORY, "no memory for what is given");
    for (int i = 0; i < engine->lanes; ++i) TRY(open_lane(engine, infill, &hold->lane[i]));
    return STATUS_OK;
}

void infill_hold_close(InfillHold *hold) {
    if (hold == NULL) return;
    for (int i = 0; i < hold->engine->lanes && hold->lane != NULL; ++i) {
        device_release(hold->engine->device, hold->lane[i].memory);
        free(hold->lane[i].host_rows);
        free(hold->lane[i].given);
        free(hold->lane[i].time);
    }
    free(hold->lane);
    free(hold);
}

void infill_hold_queue(InfillHold *hold, int index, uint64_t seed, double time, uint64_t draw) {
    const Engine *engine = hold->engine;
    HoldLane *lane = &hold->lane[index];
    Pass *pass = &engine->lane[index].pass;
    Stream *stream = engine->lane[index].stream;
    size_t bytes = (size_t)(4 * engine->capacity * hold->item);
    stream_download(stream, lane->drawn, pass->x_t, bytes);
    if (time == 0) {
        memcpy(lane->known, lane->given, bytes);
        return;
    }
    GrainBatch batch = {.seed = seed,
                        .samples = engine->capacity,
                        .x_0 = lane->given,
                        .label = pass->host_label,
                        .sample = pass->host_sample};
    for (int64_t i = 0; i < engine->capacity; ++i) lane->time[i] = time;
    process_corrupt_at(engine->process, engine->network, stream, &lane->pass, &batch, lane->time,
                       draw);
    stream_download(stream, lane->known, lane->pass.x_t, bytes);
}

void infill_hold_put(InfillHold *hold, int index) {
    const Engine *engine = hold->engine;
    HoldLane *lane = &hold->lane[index];
    int64_t n = engine->capacity * hold->item;
    for (int64_t i = 0; i < n; ++i)
        if (hold->infill->known[i % hold->item])
            memcpy(lane->drawn + 4 * i, lane->known + 4 * i, 4);
    stream_upload(engine->lane[index].stream, engine->lane[index].pass.x_t, lane->drawn,
                  (size_t)(4 * n));
}
