// The sources put together, their splits, and the order of samples.
#include "data/pack/pack_plan.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "data/dataset_index.h"
#include "data/pack/shard_writer.h"

static const char *const share_names[3] = {"train", "valid", "test"};

// ---- one description for all sources ------------------------------------------------------------

static Status compare_columns(const Source *a, const Source *b) {
    FAIL_IF(a->info.kind != b->info.kind, BAD_USAGE, "%s is of kind %s, but %s of kind %s", b->path,
            dataset_kind_names[b->info.kind], a->path, dataset_kind_names[a->info.kind]);
    FAIL_IF(a->info.columns != b->info.columns, BAD_USAGE, "%s has labels, %s has none",
            a->info.columns > 1 ? a->path : b->path, a->info.columns > 1 ? b->path : a->path);
    for (int c = 0; c < a->info.columns; ++c) {
        const Column *x = &a->info.column[c], *y = &b->info.column[c];
        bool same = x->dtype == y->dtype && x->dims == y->dims &&
                    memcmp(x->dim, y->dim, (size_t)x->dims * sizeof x->dim[0]) == 0;
        FAIL_IF(!same, BAD_USAGE,
                "%s: its column \"%s\" differs in numbers or shape from that of %s", b->path,
                y->name, a->path);
    }
    return STATUS_OK;
}

static Status compare_classes(const Source *a, const Source *b) {
    if (a->class_name == NULL && b->class_name == NULL) return STATUS_OK;
    bool same =
        a->class_name != NULL && b->class_name != NULL && a->info.classes == b->info.classes;
    for (int i = 0; same && i < a->info.classes; ++i)
        same = strcmp(a->class_name[i], b->class_name[i]) == 0;
    FAIL_IF(!same, BAD_USAGE, "the classes of %s are not those of %s", b->path, a->path);
    return STATUS_OK;
}

// A character of valid UTF-8 that begins at `text`.
static size_t character_bytes(const char *text) {
    size_t bytes = 1;
    while ((text[bytes] & 0xC0) == 0x80) ++bytes;
    return bytes;
}

// The number of a character in an alphabet; -1: not there.
static int find_character(const char *alphabet, const char *wanted, size_t bytes) {
    int number = 0;
    for (const char *at = alphabet; *at != '\0'; at += character_bytes(at), ++number)
        if (character_bytes(at) == bytes && memcmp(at, wanted, bytes) == 0) return number;
    return -1;
}

// Adds the characters of `more` in the order of their code points, which is that of their bytes.
static void merge_alphabet(char *alphabet, const char *more) {
    char merged[2 * DATASET_ALPHABET_BYTES], *out = merged;
    const char *a = alphabet, *b = more;
    while (*a != '\0' || *b != '\0') {
        size_t x = *a != '\0' ? character_bytes(a) : 0, y = *b != '\0' ? character_bytes(b) : 0;
        int order = x == 0 ? 1 : y == 0 ? -1 : memcmp(a, b, x < y ? x : y);
        size_t bytes = order <= 0 ? x : y;
        memcpy(out, order <= 0 ? a : b, bytes);
        out += bytes;
        if (order <= 0) a += x;
        if (order >= 0) b += y;
    }
    *out = '\0';
    memcpy(alphabet, merged, (size_t)(out - merged) + 1);
}

// Alphabets of byte forms have at most 256 characters of two bytes in all, so the sum fits too.
static Status join_alphabets(const PackConfig *config, const Source *source, PackPlan *plan) {
    char *alphabet = plan->info.alphabet;
    for (int i = 1; i < config->inputs; ++i)
        if (strcmp(alphabet, source[i].info.alphabet) != 0)
            merge_alphabet(alphabet, source[i].info.alphabet);
    plan->info.symbols = 0;
    for (const char *at = alphabet; *at != '\0'; at += character_bytes(at)) ++plan->info.symbols;
    plan->symbol = calloc((size_t)config->inputs, sizeof *plan->symbol);
    FAIL_IF(plan->symbol == NULL, NO_MEMORY, "no memory for %d alphabets", config->inputs);
    for (int i = 0; i < config->inputs; ++i) {
        int number = 0;
        for (const char *at = source[i].info.alphabet; *at != '\0'; at += character_bytes(at))
            plan->symbol[i][number++] = (uint8_t)find_character(alphabet, at, character_bytes(at));
    }
    return STATUS_OK;
}

static Filter choose_filter(DatasetKind kind, const Column *column) {
    if (kind == KIND_IMAGE && column->dims == 3)
        return column->dim[0] == 3 ? FILTER_GREEN_LEFT : FILTER_ROW_DELTA;
    bool floats =
        column->dtype == DTYPE_F32 || column->dtype == DTYPE_F16 || column->dtype == DTYPE_BF16;
    return floats ? FILTER_PLANES : FILTER_NONE;
}

static Status describe(const PackConfig *config, const Source *source, PackPlan *plan) {
    DatasetInfo *info = &plan->info;
    *info = source[0].info;
    for (int i = 1; i < config->inputs; ++i) {
        TRY(compare_columns(&source[0], &source[i]));
        TRY(compare_classes(&source[0], &source[i]));
        if (source[i].info.classes > info->classes) info->classes = source[i].info.classes;
        if (source[i].info.symbols > info->symbols) info->symbols = source[i].info.symbols;
    }
    if (info->kind == KIND_TEXT) TRY(join_alphabets(config, source, plan));
    for (int c = 0; c < info->columns; ++c) {
        Column *column = &info->column[c];
        column->filter = choose_filter(info->kind, column);
        column->group_items = shard_group_items(column_item_bytes(column));
    }
    int64_t group = info->column[0].group_items * column_item_bytes(&info->column[0]);
    int64_t groups = SHARD_RAW_BYTES / group;
    plan->unit_samples = info->column[0].group_items * (groups < 1 ? 1 : groups);
    return STATUS_OK;
}

// ---- splits -------------------------------------------------------------------------------------

static Status add_piece(PlanPool *pool, const Source *source, int input, int split) {
    void *more = realloc(pool->piece, (size_t)(pool->pieces + 1) * sizeof *pool->piece);
    FAIL_IF(more == NULL, NO_MEMORY, "no memory for %d sources", pool->pieces + 1);
    pool->piece = more;
    pool->piece[pool->pieces].input = input;
    pool->piece[pool->pieces].split = split;
    pool->piece[pool->pieces].first = pool->samples;
    ++pool->pieces;
    pool->samples += source->split[split].samples;
    return STATUS_OK;
}

// The pool of the split of this name, made where there is none yet; "": the one that shares are cut
// from.
static Status find_pool(PackPlan *plan, const char *name, PlanPool **out) {
    for (int s = 0; s < plan->splits; ++s)
        if (strcmp(plan->split[s].name, name) == 0) {
            *out = &plan->pool[plan->split[s].pool];
            return STATUS_OK;
        }
    FAIL_IF(plan->splits == SOURCE_SPLITS_MOST, BAD_USAGE, "more than %d splits",
            SOURCE_SPLITS_MOST);
    PlanSplit *split = &plan->split[plan->splits++];
    snprintf(split->name, sizeof split->name, "%s", name);
    split->pool = plan->pools++;
    *out = &plan->pool[split->pool];
    return STATUS_OK;
}

static Status check_split_name(const char *name) {
    size_t letters = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_");
    FAIL_IF(letters == 0 || name[letters] != '\0' || letters > 15, BAD_USAGE,
            "\"%s\" is no name for a split: 1 to 15 of a-z, 0-9 and _", name);
    return STATUS_OK;
}

static Status fill_pools(const PackConfig *config, const Source *source, PackPlan *plan) {
    for (int i = 0; i < config->inputs; ++i)
        for (int s = 0; s < source[i].splits; ++s) {
            const char *name = source[i].split[s].name;
            PlanPool *pool = NULL;
            if (config->input[i].split != NULL) {
                name = config->input[i].split;
                TRY(check_split_name(name));
            }
            TRY(find_pool(plan, name, &pool));
            TRY(add_piece(pool, &source[i], i, s));
            pool->shuffled |= source[i].sorted;
        }
    return STATUS_OK;
}

static Status shuffle_pool(const PackConfig *config, const Source *source, PlanPool *pool, int p) {
    if (config->shuffle == SHUFFLE_NEVER) pool->shuffled = false;
    if (config->shuffle == SHUFFLE_ALWAYS) pool->shuffled = true;
    for (int i = 0; i < pool->pieces && pool->shuffled; ++i) {
        const Source *from = &source[pool->piece[i].input];
        FAIL_IF(from->info.kind == KIND_TEXT, BAD_USAGE,
                "%s: the characters of a text cannot be shuffled", from->path);
        FAIL_IF(from->sequential, BAD_USAGE,
                "%s: can be read in its own order only; pack without shuffling (--shuffle none)",
                from->path);
    }
    order_init(&pool->order, (uint64_t)pool->samples, config->shuffle_seed, (uint64_t)p);
    return STATUS_OK;
}

// The split without a name is cut in three; those of its name that are there already keep apart.
static Status cut_shares(const PackConfig *config, PackPlan *plan, int number) {
    const double *share = config->share;
    PlanSplit whole = plan->split[number];
    int64_t samples = plan->pool[whole.pool].samples, begin = 0;
    bool usual = share[0] == 0 && share[1] == 0 && share[2] == 0;
    FAIL_IF(usual && samples < 20, BAD_DATA, "%s: %lld %s are too few to split",
            config->input[0].path, (long long)samples,
            plan->info.kind == KIND_TEXT ? "characters" : "samples");
    int64_t count[3];
    if (usual) {
        count[0] = samples / 10 * 9 + samples % 10 * 9 / 10;
        count[1] = (samples - count[0]) / 2;
    } else {
        count[0] = (int64_t)(share[0] * (double)samples);
        count[1] = (int64_t)(share[1] * (double)samples);
        if (share[1] == 0) count[0] = samples - (int64_t)(share[2] * (double)samples);
        if (share[2] == 0) count[1] = samples - count[0];
    }
    count[2] = samples - count[0] - count[1];
    memmove(&plan->split[number], &plan->split[number + 1],
            (size_t)(plan->splits - number - 1) * sizeof plan->split[0]);
    --plan->splits;
    for (int k = 0; k < 3; ++k) {
        if (count[k] == 0) continue;
        FAIL_IF(plan->splits == SOURCE_SPLITS_MOST, BAD_USAGE, "more than %d splits",
                SOURCE_SPLITS_MOST);
        for (int s = 0; s < plan->splits; ++s)
            FAIL_IF(strcmp(plan->split[s].name, share_names[k]) == 0, BAD_USAGE,
                    "%s knows no splits, but others have a split \"%s\" already: say where it goes"
                    " (--split NAME before it)",
                    config->input[plan->pool[whole.pool].piece[0].input].path, share_names[k]);
        PlanSplit *split = &plan->split[plan->splits++];
        *split = (PlanSplit){.pool = whole.pool, .begin = begin, .samples = count[k]};
        snprintf(split->name, sizeof split->name, "%s", share_names[k]);
        begin += count[k];
    }
    return STATUS_OK;
}

static Status choose_splits(const PackConfig *config, const Source *source, PackPlan *plan) {
    int unnamed = -1;
    TRY(fill_pools(config, source, plan));
    for (int p = 0; p < plan->pools; ++p) {
        FAIL_IF(plan->pool[p].samples == 0, BAD_DATA, "%s: holds no samples",
                config->input[0].path);
        TRY(shuffle_pool(config, source, &plan->pool[p], p));
    }
    for (int s = 0; s < plan->splits; ++s) {
        plan->split[s].samples = plan->pool[plan->split[s].pool].samples;
        if (plan->split[s].name[0] == '\0') unnamed = s;
    }
    if (unnamed >= 0) TRY(cut_shares(config, plan, unnamed));
    for (int s = 0; s < plan->splits && config->limit > 0; ++s)
        if (plan->split[s].samples > config->limit) plan->split[s].samples = config->limit;
    return STATUS_OK;
}

Status pack_plan_make(const PackConfig *config, const Source *source, PackPlan *out) {
    memset(out, 0, sizeof *out);
    Status status = describe(config, source, out);
    if (status == STATUS_OK) status = choose_splits(config, source, out);
    if (status == STATUS_OK) return STATUS_OK;
    pack_plan_close(out);
    return error_trail(status, __FILE__, __LINE__, __func__);
}

void pack_plan_close(PackPlan *plan) {
    for (int p = 0; p < plan->pools; ++p) free(plan->pool[p].piece);
    free(plan->symbol);
    memset(plan, 0, sizeof *plan);
}

// ---- places -------------------------------------------------------------------------------------

PlanPlace pack_plan_place(const PackPlan *plan, const Source *source, int split, int64_t position) {
    const PlanSplit *from = &plan->split[split];
    const PlanPool *pool = &plan->pool[from->pool];
    int64_t at = from->begin + position;
    if (pool->shuffled) at = (int64_t)order_at(&pool->order, (uint64_t)at);
    int low = 0, high = pool->pieces - 1;
    while (low < high) {
        int middle = (low + high + 1) / 2;
        if (pool->piece[middle].first <= at)
            low = middle;
        else
            high = middle - 1;
    }
    PlanPlace place = {.input = pool->piece[low].input,
                       .split = pool->piece[low].split,
                       .sample = at - pool->piece[low].first,
                       .run = 1};
    int64_t rest = source[place.input].split[place.split].samples - place.sample;
    int64_t left = from->samples - position;
    if (!pool->shuffled) place.run = rest < left ? rest : left;
    return place;
}

int64_t pack_plan_units(const PackPlan *plan, int split) {
    return (plan->split[split].samples - 1) / plan->unit_samples + 1;
}

static json_t *input_json(const PackConfig *config, const Source *source, int i) {
    json_t *splits = json_array();
    for (int s = 0; s < source[i].splits; ++s)
        json_array_append_new(splits, json_integer(source[i].split[s].samples));
    const char *split = config->input[i].split;
    return json_pack("{s:s, s:s, s:s*, s:o, s:i, s:I, s:o}", "path", source[i].path, "type",
                     source[i].type->name, "split", split, "samples", splits, "files",
                     source[i].content.files, "bytes", (json_int_t)source[i].content.bytes,
                     "content", json_hex64(source[i].content.hash));
}

json_t *pack_plan_json(const PackConfig *config, const Source *source, const PackPlan *plan) {
    const SourceOptions *options = &config->source;
    json_t *inputs = json_array(), *splits = json_array();
    for (int i = 0; i < config->inputs; ++i)
        json_array_append_new(inputs, input_json(config, source, i));
    for (int s = 0; s < plan->splits; ++s)
        json_array_append_new(splits,
                              json_pack("{s:s, s:I, s:I, s:b}", "name", plan->split[s].name,
                                        "begin", (json_int_t)plan->split[s].begin, "samples",
                                        (json_int_t)plan->split[s].samples, "shuffled",
                                        plan->pool[plan->split[s].pool].shuffled));
    return json_pack("{s:s, s:o, s:o, s:o, s:i, s:s*, s:i, s:i, s:i, s:s*, s:s*, s:I, s:o}", "zstd",
                     codec_version(), "inputs", inputs, "splits", splits, "seed",
                     json_hex64(config->shuffle_seed), "form", (int)options->form, "alphabet",
                     options->alphabet, "size", options->size, "channels", options->channels,
                     "levels", options->levels, "image", options->image, "label", options->label,
                     "items", (json_int_t)options->toy_items, "toy_seed",
                     json_hex64(options->toy_seed));
}
