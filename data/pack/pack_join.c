// Joining records, reading back.
#include "data/pack/pack_join.h"

#include <stdlib.h>
#include <string.h>

#include "data/content_hash.h"
#include "data/filter.h"

enum { BAD_MOST = 1000 }; // of which the caller is told one by one

// Calls for each unit of a split in order.
typedef Status OnUnit(Pack *pack, int split, const UnitRecord *record, void *context);

static Status for_units(Pack *pack, int split, OnUnit *call, void *context) {
    int64_t units = pack_plan_units(&pack->plan, split);
    for (int64_t u = 0; u < units; ++u) {
        UnitRecord record;
        bool found;
        TRY(pack_unit_read(pack, split, u, &found, &record));
        FAIL_IF(!found, IO,
                "%s: unit %lld of split \"%s\" has gone away; do all ranks see this folder?",
                pack->folder, (long long)u, pack->plan.split[split].name);
        Status status = call(pack, split, &record, context);
        pack_unit_forget(&record);
        TRY(status);
    }
    return STATUS_OK;
}

// ---- bad samples --------------------------------------------------------------------------------

static Status tell_bad(Pack *pack, int split, const UnitRecord *record, void *context) {
    int64_t *told = context;
    size_t i;
    json_t *why;
    (void)split;
    json_array_foreach(record->bad, i, why) {
        if (++*told > BAD_MOST || pack->config->bad == NULL) continue;
        pack->config->bad(pack->config->context, json_string_value(why));
    }
    return STATUS_OK;
}

Status pack_check_bad(Pack *pack) {
    int64_t bad = 0;
    char more[96];
    for (int s = 0; s < pack->plan.splits; ++s) TRY(for_units(pack, s, tell_bad, &bad));
    snprintf(more, sizeof more, "and %lld more that cannot be packed", (long long)bad - BAD_MOST);
    if (bad > BAD_MOST && pack->config->bad != NULL) pack->config->bad(pack->config->context, more);
    FAIL_IF(bad > 0 && !pack->config->skip_bad, BAD_DATA,
            "%lld samples cannot be packed: mend them, or pack again with --skip-bad, which goes on"
            " from here and leaves them out",
            (long long)bad);
    return STATUS_OK;
}

// ---- reading back -------------------------------------------------------------------------------

typedef struct {
    int column;
    ContentHash hash;
    uint8_t *stored, *raw; // a group
} ReadBack;

static Status read_shard(Pack *pack, int split, const UnitRecord *record, void *context) {
    ReadBack *back = context;
    const Column *column = &pack->plan.info.column[back->column];
    char path[PATH_BYTES];
    BlockReader *reader;
    Status status = STATUS_OK;
    (void)split;
    if (record->samples == 0) return STATUS_OK;
    TRY(path_format(path, "%s/%s", pack->folder, record->file[back->column].name));
    TRY(block_reader_open(path, &reader));
    for (int b = 0; b < block_reader_count(reader); ++b) {
        size_t bytes = block_reader_raw_bytes(reader, b);
        TRY_OR(done, status, block_reader_read(reader, b, back->stored));
        filter_undo(column, back->stored, (int64_t)bytes / column_item_bytes(column), back->raw);
        content_hash_add(&back->hash, back->raw, bytes);
    }
    if (back->column == 0) pack_progress(pack, record->samples, "reading back");
done:
    block_reader_close(reader);
    return status;
}

static Status content_path(const Pack *pack, int split, int column, char out[PATH_BYTES]) {
    return path_format(out, "%s/content-%s-%s.json", pack->records, pack->plan.split[split].name,
                       pack->plan.info.column[column].name);
}

static Status read_column(Pack *pack, int split, int column, ReadBack *back) {
    char path[PATH_BYTES];
    back->column = column;
    content_hash_init(&back->hash);
    TRY(for_units(pack, split, read_shard, back));
    TRY(content_path(pack, split, column, path));
    json_t *root = json_pack("{s:o}", "content", json_hex64(content_hash_finish(&back->hash)));
    Status status = json_write(path, root);
    json_decref(root);
    return status;
}

Status pack_read_back(Pack *pack) {
    const DatasetInfo *info = &pack->plan.info;
    int64_t most = 0;
    int turn = 0;
    for (int c = 0; c < info->columns; ++c) {
        int64_t bytes = info->column[c].group_items * column_item_bytes(&info->column[c]);
        most = bytes > most ? bytes : most;
    }
    ReadBack *back = calloc(1, sizeof *back + 2 * (size_t)most);
    FAIL_IF(back == NULL, NO_MEMORY, "no memory for two groups of %lld bytes", (long long)most);
    back->stored = (uint8_t *)(back + 1);
    back->raw = back->stored + most;
    Status status = STATUS_OK;
    for (int s = 0; s < pack->plan.splits; ++s)
        for (int c = 0; c < info->columns && status == STATUS_OK; ++c, ++turn)
            if (turn % pack->config->team.world == pack->config->team.rank)
                status = read_column(pack, s, c, back);
    free(back);
    return status;
}

// ---- the index ----------------------------------------------------------------------------------

typedef struct {
    DatasetIndex *index;
    int column;
    int64_t first;
} Joining;

static Status join_unit(Pack *pack, int split, const UnitRecord *record, void *context) {
    Joining *joining = context;
    if (record->samples == 0) return STATUS_OK;
    IndexShard shard = {.split = split,
                        .column = joining->column,
                        .first = joining->first,
                        .items = record->samples,
                        .file_info = record->file[joining->column].info};
    snprintf(shard.file, sizeof shard.file, "%s", record->file[joining->column].name);
    joining->first += record->samples;
    (void)pack;
    return dataset_index_add_shard(joining->index, &shard);
}

static Status join_column(Pack *pack, int split, int column, DatasetIndex *index) {
    char path[PATH_BYTES];
    json_t *root;
    Joining joining = {.index = index, .column = column};
    TRY(for_units(pack, split, join_unit, &joining));
    FAIL_IF(joining.first == 0, BAD_DATA, "no sample of split \"%s\" can be packed",
            pack->plan.split[split].name);
    index->split[split].items = joining.first;
    TRY(content_path(pack, split, column, path));
    TRY(json_read(path, &root));
    Status status = json_get_hex64(root, "content", path, &index->split[split].content[column]);
    json_decref(root);
    return status;
}

static void add_sources(const Pack *pack, DatasetIndex *index) {
    for (int i = 0; i < pack->config->inputs; ++i) {
        const SourceContent *content = &pack->source[i].content;
        if (index->sources == INDEX_SOURCES_MOST || content->files == 0) continue;
        IndexSource *source = &index->source[index->sources++];
        dataset_name_from_path(pack->source[i].path, source->file, sizeof source->file);
        source->files = content->files;
        source->bytes = content->bytes;
        source->hash = content->hash;
    }
}

static Status add_class_names(const Pack *pack, DatasetIndex *index) {
    char **name = pack->source[0].class_name;
    if (name == NULL) return STATUS_OK;
    index->class_names = json_array();
    for (int i = 0; i < index->info.classes; ++i)
        FAIL_IF(json_array_append_new(index->class_names, json_string(name[i])) != 0, BAD_DATA,
                "%s: the name of class %d is not UTF-8", pack->source[0].path, i);
    return STATUS_OK;
}

Status pack_join(Pack *pack, DatasetIndex *out) {
    Status status = STATUS_OK;
    memset(out, 0, sizeof *out);
    out->info = pack->plan.info;
    out->splits = pack->plan.splits;
    out->utf8 = pack->config->source.form == FORM_ALPHABET;
    for (int s = 0; s < out->splits; ++s) {
        const PlanSplit *split = &pack->plan.split[s];
        snprintf(out->split[s].name, sizeof out->split[s].name, "%s", split->name);
        for (int c = 0; c < out->info.columns; ++c)
            TRY_OR(fail, status, join_column(pack, s, c, out));
    }
    add_sources(pack, out);
    TRY_OR(fail, status, add_class_names(pack, out));
    return STATUS_OK;
fail:
    dataset_index_close(out);
    return status;
}
