// Packing: a temporary folder, sources, units dealt to the ranks, and the change into the dataset.
#include "data/pack/pack.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "data/pack/pack_join.h"

static bool is_lead(const PackConfig *config) {
    return config->team.rank == 0;
}

// The end of a stage: all go on, or all leave.
static Status agree(const PackConfig *config, Status mine) {
    return config->team.agree == NULL ? mine : config->team.agree(config->team.context, mine);
}

// ---- the folder ---------------------------------------------------------------------------------

static Status check_target(const char *out, bool force) {
    char index[PATH_BYTES];
    if (!file_exists(out)) return STATUS_OK;
    FAIL_IF(!force, BAD_USAGE, "%s: exists already; choose another folder or replace it (--force)",
            out);
    TRY(path_format(index, "%s/index.json", out));
    FAIL_IF(!file_exists(index), BAD_USAGE,
            "%s: is not a dataset (no index.json), so it is not replaced", out);
    return STATUS_OK;
}

// Makes the temporary folder, alone in it: a lock on the folder itself keeps others out and goes
// away with this process. The stage of an interrupted pack is made anew.
static Status claim_folder(const Pack *pack, int *lock) {
    TRY(folder_make(pack->folder));
    *lock = open(pack->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    FAIL_IF(*lock < 0, IO, "%s: cannot be opened: %s", pack->folder, strerror(errno));
    FAIL_IF(flock(*lock, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK, BUSY,
            "%s: another pack is working on it", pack->folder);
    TRY(folder_remove(pack->options.stage));
    return folder_make(pack->options.stage);
}

// Everything but the stage.
static Status clear_folder(const Pack *pack) {
    const char *folders[2] = {pack->folder, pack->records};
    for (int f = 0; f < 2; ++f) {
        char **names;
        int count;
        TRY(folder_names(folders[f], &names, &count));
        Status status = STATUS_OK;
        for (int i = 0; i < count && status == STATUS_OK; ++i) {
            char path[PATH_BYTES];
            if (strcmp(names[i], "records") == 0 || strcmp(names[i], "stage") == 0) continue;
            status = path_format(path, "%s/%s", folders[f], names[i]);
            if (status == STATUS_OK && unlink(path) != 0 && errno != ENOENT)
                status = folder_remove(path);
        }
        folder_names_free(names, count);
        TRY(status);
    }
    return STATUS_OK;
}

static Status write_plan(const Pack *pack, const char *path, const json_t *plan) {
    if (file_exists(path)) {
        json_t *old;
        Status status = json_read(path, &old);
        bool same = status == STATUS_OK && json_equal(old, plan);
        if (status == STATUS_OK) json_decref(old);
        error_clear();
        if (same) return STATUS_OK;
    }
    TRY(clear_folder(pack));
    return json_write(path, plan);
}

// What the lead has seen of the sources' content is known to it alone.
static Status compare_plan(const char *path, json_t *plan) {
    json_t *lead, *theirs, *ours;
    size_t i;
    TRY(json_read(path, &lead));
    json_t *inputs = json_object_get(lead, "inputs"), *mine = json_object_get(plan, "inputs");
    json_array_foreach(inputs, i, theirs) {
        ours = json_array_get(mine, i);
        json_object_update_new(ours, json_pack("{s:O, s:O, s:O}", "files",
                                               json_object_get(theirs, "files"), "bytes",
                                               json_object_get(theirs, "bytes"), "content",
                                               json_object_get(theirs, "content")));
    }
    bool same = json_equal(lead, plan);
    json_decref(lead);
    FAIL_IF(!same, BAD_DATA,
            "this rank sees other sources than rank 0, or was started with other options");
    return STATUS_OK;
}

static Status check_plan(const Pack *pack) {
    char path[PATH_BYTES];
    TRY(path_format(path, "%s/plan.json", pack->records));
    json_t *plan = pack_plan_json(pack->config, pack->source, &pack->plan);
    FAIL_IF(plan == NULL, BAD_DATA, "the name of a source is not UTF-8");
    Status status = is_lead(pack->config) ? write_plan(pack, path, plan) : compare_plan(path, plan);
    json_decref(plan);
    return status;
}

// ---- packing ------------------------------------------------------------------------------------

static Status open_sources(Pack *pack) {
    const PackConfig *config = pack->config;
    pack->source = calloc((size_t)config->inputs, sizeof *pack->source);
    FAIL_IF(pack->source == NULL, NO_MEMORY, "no memory for %d sources", config->inputs);
    for (int i = 0; i < config->inputs; ++i) {
        const char *path = config->input[i].path;
        if (config->made != NULL)
            TRY(source_open_as(config->made, config->made_state, path, &pack->options,
                               &pack->source[i]));
        else
            TRY(source_open(path, &pack->options, &pack->source[i]));
    }
    return pack_plan_make(config, pack->source, &pack->plan);
}

static Status take_buffers(Pack *pack) {
    const DatasetInfo *info = &pack->plan.info;
    pack->room = info->column[0].group_items;
    for (int c = 0; c < info->columns; ++c) {
        size_t bytes = (size_t)(pack->room * column_item_bytes(&info->column[c]));
        pack->buffer[c] = malloc(bytes);
        FAIL_IF(pack->buffer[c] == NULL, NO_MEMORY, "no memory for %zu bytes of samples", bytes);
    }
    return STATUS_OK;
}

static bool is_mine(const Pack *pack, int64_t turn) {
    return turn % pack->config->team.world == pack->config->team.rank;
}

static int64_t unit_samples(const Pack *pack, int split, int64_t unit) {
    int64_t left = pack->plan.split[split].samples - unit * pack->plan.unit_samples;
    return left < pack->plan.unit_samples ? left : pack->plan.unit_samples;
}

// Reading back is work as well: each sample counts twice, for the rank that does it.
static void count_work(Pack *pack) {
    int64_t turn = 0, column = 0;
    for (int s = 0; s < pack->plan.splits; ++s) {
        for (int64_t u = 0; u < pack_plan_units(&pack->plan, s); ++u, ++turn)
            if (is_mine(pack, turn)) pack->total += unit_samples(pack, s, u);
        if (is_mine(pack, column)) pack->total += pack->plan.split[s].samples;
        column += pack->plan.info.columns;
    }
}

// What was packed before stays, but where samples were bad they are looked at again: somebody may
// have mended them.
static Status write_unit(Pack *pack, int split, int64_t unit) {
    UnitRecord record;
    bool found;
    TRY(pack_unit_read(pack, split, unit, &found, &record));
    bool good = found && json_array_size(record.bad) == 0;
    pack_unit_forget(&record);
    if (!good) return pack_unit_write(pack, split, unit);
    pack_progress(pack, unit_samples(pack, split, unit), "packed before");
    return STATUS_OK;
}

static Status write_units(Pack *pack) {
    int64_t turn = 0;
    for (int s = 0; s < pack->plan.splits; ++s)
        for (int64_t u = 0; u < pack_plan_units(&pack->plan, s); ++u, ++turn)
            if (is_mine(pack, turn)) TRY(write_unit(pack, s, u));
    return STATUS_OK;
}

// ---- the end ------------------------------------------------------------------------------------

// The finished folder takes the place of `out`.
static Status publish(const Pack *pack, const char *out) {
    char old[PATH_BYTES];
    TRY(folder_remove(pack->records));
    TRY(folder_sync(pack->folder));
    bool replace = file_exists(out);
    if (replace) {
        TRY(path_format(old, "%s.replaced", out));
        TRY(folder_remove(old));
        TRY(file_rename(out, old));
    }
    TRY(file_rename(pack->folder, out));
    if (replace) TRY(folder_remove(old));
    return STATUS_OK;
}

static Status name_index(const PackConfig *config, const char *out, DatasetIndex *index) {
    const char *name = config->name;
    if (name == NULL) {
        dataset_name_from_path(out, index->info.name, sizeof index->info.name);
        return STATUS_OK;
    }
    FAIL_IF(name[0] == '\0' || strlen(name) >= DATASET_NAME_BYTES, BAD_USAGE,
            "the name \"%s\" must have 1 to %d bytes", name, DATASET_NAME_BYTES - 1);
    snprintf(index->info.name, sizeof index->info.name, "%s", name);
    return STATUS_OK;
}

static Status finish(Pack *pack, const char *out) {
    DatasetIndex index;
    TRY(pack_join(pack, &index));
    Status status = name_index(pack->config, out, &index);
    if (status == STATUS_OK) status = dataset_index_save(pack->folder, &index);
    dataset_index_close(&index);
    TRY(status);
    return publish(pack, out);
}

// Stage by stage; between two all ranks agree that all is well.
static Status run_stages(Pack *pack, const char *out, int *lock) {
    const PackConfig *config = pack->config;
    Status status = STATUS_OK;
    if (is_lead(config)) {
        status = check_target(out, config->force);
        if (status == STATUS_OK) status = claim_folder(pack, lock);
        if (status == STATUS_OK) status = open_sources(pack);
        if (status == STATUS_OK) status = check_plan(pack);
    }
    TRY(agree(config, status));
    if (!is_lead(config)) {
        status = open_sources(pack);
        if (status == STATUS_OK) status = check_plan(pack);
    }
    count_work(pack);
    if (status == STATUS_OK) status = take_buffers(pack);
    TRY(agree(config, status));
    TRY(agree(config, write_units(pack)));
    TRY(agree(config, is_lead(config) ? pack_check_bad(pack) : STATUS_OK));
    TRY(agree(config, pack_read_back(pack)));
    return agree(config, is_lead(config) ? finish(pack, out) : STATUS_OK);
}

// A pack that got nowhere leaves nothing behind; one that has packed units can be resumed.
static void tidy(const Pack *pack) {
    char plan[PATH_BYTES];
    ErrorRecord record = error_take(); // the cleanup's own failure would hide the cause
    if (path_format(plan, "%s/plan.json", pack->records) == STATUS_OK && !file_exists(plan))
        (void)!folder_remove(pack->folder);
    else
        (void)!folder_remove(pack->options.stage);
    (void)error_restore(&record);
}

static void close_pack(Pack *pack) {
    for (int i = 0; pack->source != NULL && i < pack->config->inputs; ++i)
        source_close(&pack->source[i]);
    for (int c = 0; c < DATASET_COLUMNS_MOST; ++c) free(pack->buffer[c]);
    pack_plan_close(&pack->plan);
    free(pack->source);
    free(pack);
}

static Status pack_with(const PackConfig *config, const char *out) {
    char stage[PATH_BYTES];
    int lock = -1;
    Pack *work = calloc(1, sizeof *work);
    FAIL_IF(work == NULL, NO_MEMORY, "no memory to pack %s", config->input[0].path);
    work->config = config;
    Status status = path_format(work->folder, "%s.packing", out);
    if (status == STATUS_OK) status = path_format(work->records, "%s/records", work->folder);
    if (status == STATUS_OK) status = path_format(stage, "%s/stage", work->records);
    work->options = config->source;
    work->options.stage = stage;
    work->options.lead = is_lead(config);
    if (status == STATUS_OK) status = run_stages(work, out, &lock);
    if (status != STATUS_OK && lock >= 0 && status != STATUS_BUSY) tidy(work);
    if (lock >= 0) close(lock);
    close_pack(work);
    return status;
}

Status pack(const PackConfig *config) {
    char out[PATH_BYTES];
    PackConfig filled = *config;
    FAIL_IF(config->out[0] == '\0', BAD_USAGE, "the folder to make has no name");
    FAIL_IF(config->inputs < 1 || config->inputs > PACK_INPUTS_MOST, BAD_USAGE,
            "%d sources; 1 to %d can be packed at once", config->inputs, PACK_INPUTS_MOST);
    TRY(path_format(out, "%s", config->out));
    for (size_t end = strlen(out); end > 1 && out[end - 1] == '/'; --end) out[end - 1] = '\0';
    if (filled.team.world == 0) filled.team.world = 1;
    return pack_with(&filled, out);
}
