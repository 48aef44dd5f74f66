// From sources to the shards of a unit.
#include "data/pack/pack_unit.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "data/pack/shard_writer.h"

typedef struct {
    ShardWriter *writer[DATASET_COLUMNS_MOST];
    UnitRecord record;
} Unit;

void pack_progress(Pack *pack, int64_t more, const char *what) {
    pack->done += more;
    if (pack->config->progress == NULL) return;
    pack->config->progress(pack->config->context, (double)pack->done / (double)pack->total, what);
}

// ---- records ------------------------------------------------------------------------------------

static Status record_path(const Pack *pack, int split, int64_t unit, char out[PATH_BYTES]) {
    return path_format(out, "%s/unit-%s-%05" PRId64 ".json", pack->records,
                       pack->plan.split[split].name, unit);
}

static void name_file(const Pack *pack, int split, int64_t unit, int column, UnitRecord *record) {
    snprintf(record->file[column].name, sizeof record->file[column].name, "%s-%s-%05" PRId64 ".zst",
             pack->plan.split[split].name, pack->plan.info.column[column].name, unit);
}

void pack_unit_forget(UnitRecord *record) {
    json_decref(record->bad);
    record->bad = NULL;
}

static Status parse_record(const Pack *pack, const json_t *root, const char *what, int split,
                           int64_t unit, UnitRecord *out) {
    json_t *files, *bad;
    TRY(json_get_i64(root, "samples", what, 0, pack->plan.unit_samples, &out->samples));
    TRY(json_get_array(root, "files", what, &files));
    TRY(json_get_array(root, "bad", what, &bad));
    for (int c = 0; c < pack->plan.info.columns; ++c) {
        const json_t *file = json_array_get(files, (size_t)c);
        BlockFileInfo *info = &out->file[c].info;
        int64_t bytes, raw, blocks;
        name_file(pack, split, unit, c, out);
        TRY(json_get_i64(file, "bytes", what, 0, INT64_MAX, &bytes));
        TRY(json_get_i64(file, "raw", what, 0, INT64_MAX, &raw));
        TRY(json_get_i64(file, "blocks", what, 0, INT32_MAX, &blocks));
        TRY(json_get_hex64(file, "hash", what, &info->hash));
        info->bytes = (uint64_t)bytes;
        info->raw = (uint64_t)raw;
        info->blocks = (uint32_t)blocks;
    }
    out->bad = json_incref(bad);
    return STATUS_OK;
}

static bool files_are_there(const Pack *pack, const UnitRecord *record) {
    for (int c = 0; c < pack->plan.info.columns && record->samples > 0; ++c) {
        char path[PATH_BYTES];
        uint64_t bytes = 0;
        Status status = path_format(path, "%s/%s", pack->folder, record->file[c].name);
        if (status == STATUS_OK) status = file_size(path, &bytes);
        if (status != STATUS_OK) error_clear();
        if (status != STATUS_OK || bytes != record->file[c].info.bytes) return false;
    }
    return true;
}

Status pack_unit_read(const Pack *pack, int split, int64_t unit, bool *found, UnitRecord *out) {
    char path[PATH_BYTES];
    json_t *root;
    memset(out, 0, sizeof *out);
    TRY(record_path(pack, split, unit, path));
    *found = file_exists(path);
    if (!*found) return STATUS_OK;
    TRY(json_read(path, &root));
    Status status = parse_record(pack, root, path, split, unit, out);
    json_decref(root);
    TRY(status);
    *found = files_are_there(pack, out);
    if (!*found) pack_unit_forget(out);
    return STATUS_OK;
}

static Status write_record(const Pack *pack, int split, int64_t unit, const UnitRecord *record) {
    char path[PATH_BYTES];
    json_t *files = json_array();
    TRY(record_path(pack, split, unit, path));
    for (int c = 0; c < pack->plan.info.columns; ++c) {
        const BlockFileInfo *info = &record->file[c].info;
        json_array_append_new(files,
                              json_pack("{s:I, s:I, s:I, s:o}", "bytes", (json_int_t)info->bytes,
                                        "raw", (json_int_t)info->raw, "blocks",
                                        (json_int_t)info->blocks, "hash", json_hex64(info->hash)));
    }
    json_t *root = json_pack("{s:I, s:o, s:O}", "samples", (json_int_t)record->samples, "files",
                             files, "bad", record->bad);
    Status status = json_write(path, root);
    json_decref(root);
    return status;
}

// ---- writing ------------------------------------------------------------------------------------

static Status open_writers(const Pack *pack, int split, int64_t unit, Unit *work) {
    const DatasetInfo *info = &pack->plan.info;
    for (int c = 0; c < info->columns; ++c) {
        char path[PATH_BYTES];
        name_file(pack, split, unit, c, &work->record);
        TRY(path_format(path, "%s/%s", pack->folder, work->record.file[c].name));
        FAIL_IF(unlink(path) != 0 && file_exists(path), IO, "%s: cannot be replaced", path);
        TRY(shard_writer_open(path, &info->column[c], shard_level(info), &work->writer[c]));
    }
    return STATUS_OK;
}

// Up to `most` samples from one place into the shards; those that are bad into the record.
static Status copy_samples(Pack *pack, const PlanPlace *place, Unit *work, int64_t *got) {
    const DatasetInfo *info = &pack->plan.info;
    int64_t most = place->run < pack->room ? place->run : pack->room;
    Status status = source_read(&pack->source[place->input], place->split, place->sample, most, got,
                                pack->buffer);
    if (status == STATUS_BAD_DATA || status == STATUS_NOT_FOUND) {
        json_array_append_new(work->record.bad, json_string(error_get()->text));
        error_clear();
        *got = 1;
        return STATUS_OK;
    }
    TRY(status);
    for (int64_t i = 0; i < *got && pack->plan.symbol != NULL; ++i)
        pack->buffer[0][i] = pack->plan.symbol[place->input][pack->buffer[0][i]];
    for (int c = 0; c < info->columns; ++c)
        TRY(shard_writer_add(work->writer[c], pack->buffer[c],
                             (size_t)(*got * column_item_bytes(&info->column[c]))));
    work->record.samples += *got;
    return STATUS_OK;
}

static Status fill_unit(Pack *pack, int split, int64_t unit, Unit *work) {
    int64_t samples = pack->plan.split[split].samples;
    int64_t at = unit * pack->plan.unit_samples, end = at + pack->plan.unit_samples;
    if (end > samples) end = samples;
    while (at < end) {
        PlanPlace place = pack_plan_place(&pack->plan, pack->source, split, at);
        int64_t got = 0;
        if (place.run > end - at) place.run = end - at;
        TRY(copy_samples(pack, &place, work, &got));
        at += got;
        pack_progress(pack, got, "packing");
    }
    return STATUS_OK;
}

static Status finish_writers(const Pack *pack, Unit *work) {
    for (int c = 0; c < pack->plan.info.columns; ++c) {
        ShardWriter *writer = work->writer[c];
        work->writer[c] = NULL; // gone also after a failure
        if (work->record.samples > 0)
            TRY(shard_writer_finish(writer, &work->record.file[c].info));
        else
            shard_writer_discard(writer);
    }
    return STATUS_OK;
}

Status pack_unit_write(Pack *pack, int split, int64_t unit) {
    Unit work = {.record.bad = json_array()};
    Status status = STATUS_OK;
    TRY_OR(done, status, open_writers(pack, split, unit, &work));
    TRY_OR(done, status, fill_unit(pack, split, unit, &work));
    TRY_OR(done, status, finish_writers(pack, &work));
    TRY_OR(done, status, write_record(pack, split, unit, &work.record));
done:
    for (int c = 0; c < DATASET_COLUMNS_MOST; ++c) shard_writer_discard(work.writer[c]);
    pack_unit_forget(&work.record);
    return status;
}
