// One opened split of one folder: a cache of decoded groups that several threads share. Its memory
// is taken at open. A group is decoded once, outside the lock, by the thread that needs it first;
// others that need it wait.
#include "data/single_set.h"

#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "data/dataset_index.h"
#include "data/filter.h"
#include "data/shard_store.h"

enum { NONE = -1, READS_MOST = 64, CHECKED_AT_OPEN = 4096 };

// A place for one decoded group, in a list from most to least recently used.
typedef struct {
    int32_t group; // NONE: empty
    int32_t newer, older;
    int32_t users; // that copy from it, or wait for it
    bool ready;    // else it is being decoded
} Slot;

typedef struct Loss {
    struct Loss *next;
    int32_t group;
    ErrorRecord why;
} Loss;

typedef struct {
    const Column *column;
    int64_t item_bytes;
    const IndexShard *shard; // [shards], one behind the other
    int32_t *first_group;    // [shards + 1]
    int shards, first_shard; // first_shard: of the store
    atomic_bool *closed;     // [shards] it could not be opened, after all tries
    int32_t groups;
    int32_t *slot_of; // [groups], NONE: not here
    int32_t slots, newest, oldest;
    Slot *slot;
    size_t slot_bytes;
    uint8_t *memory; // [slots][slot_bytes]
    Loss *lost;
} ColumnCache;

// A thread that decodes.
typedef struct {
    BlockDecoder *decoder;
    uint8_t *scratch; // a group before its filter is undone
    bool busy;
    double since;
    const ColumnCache *cache;
    int32_t group;
} Read;

struct SingleSet {
    DatasetConfig config; // its texts are the caller's: not used after open
    char path[PATH_BYTES];
    DatasetIndex index;
    int split;
    ShardStore *store;
    IndexShard *shard; // of this split, column after column
    int shards;
    size_t scratch_bytes;
    pthread_mutex_t mutex; // guards what follows, and slots and losses
    pthread_cond_t changed;
    ColumnCache cache[DATASET_COLUMNS_MOST];
    Read read[READS_MOST];
};

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

// ---- opening ------------------------------------------------------------------------------------

// Shards of the split, and where their groups begin: they are counted anew in each shard.
static Status list_shards(SingleSet *set) {
    const DatasetIndex *index = &set->index;
    set->shard = calloc((size_t)index->shards, sizeof *set->shard);
    FAIL_IF(set->shard == NULL, NO_MEMORY, "%s: no memory for %d shards", set->path, index->shards);
    for (int c = 0; c < index->info.columns; ++c) {
        ColumnCache *cache = &set->cache[c];
        cache->column = &index->info.column[c];
        cache->item_bytes = column_item_bytes(cache->column);
        cache->first_shard = set->shards;
        cache->shard = &set->shard[set->shards];
        for (int i = 0; i < index->shards; ++i)
            if (index->shard[i].split == set->split && index->shard[i].column == c)
                set->shard[set->shards++] = index->shard[i];
        cache->shards = set->shards - cache->first_shard;
        cache->first_group = malloc((size_t)(cache->shards + 1) * sizeof *cache->first_group);
        cache->closed = calloc((size_t)cache->shards, sizeof *cache->closed);
        FAIL_IF(cache->first_group == NULL || cache->closed == NULL, NO_MEMORY,
                "%s: no memory for %d shards", set->path, cache->shards);
        int64_t groups = 0;
        for (int i = 0; i <= cache->shards; ++i) {
            FAIL_IF(groups > INT32_MAX, BAD_DATA, "%s: more groups than this program can count",
                    set->path);
            cache->first_group[i] = (int32_t)groups;
            if (i < cache->shards) groups += cache->shard[i].file_info.blocks;
        }
        cache->groups = (int32_t)groups;
    }
    return STATUS_OK;
}

// Takes at most `budget` bytes, but a group at least; *used becomes what it took.
static Status take_memory(SingleSet *set, ColumnCache *cache, size_t budget, size_t *used) {
    int64_t items = set->index.info.items, group_items = cache->column->group_items;
    cache->slot_bytes = (size_t)(least(items, group_items) * cache->item_bytes);
    int64_t slots = (int64_t)(budget / cache->slot_bytes);
    cache->slots = (int32_t)least(slots < 1 ? 1 : slots, cache->groups);
    cache->slot_of = malloc((size_t)cache->groups * sizeof *cache->slot_of);
    cache->slot = malloc((size_t)cache->slots * sizeof *cache->slot);
    cache->memory = malloc((size_t)cache->slots * cache->slot_bytes);
    FAIL_IF(cache->slot_of == NULL || cache->slot == NULL || cache->memory == NULL, NO_MEMORY,
            "%s: no memory for a cache of %lld groups of %zu bytes; lower its budget", set->path,
            (long long)cache->slots, cache->slot_bytes);
    for (int32_t g = 0; g < cache->groups; ++g) cache->slot_of[g] = NONE;
    for (int32_t s = 0; s < cache->slots; ++s)
        cache->slot[s] = (Slot){.group = NONE,
                                .newer = s - 1,
                                .older = s + 1 < cache->slots ? s + 1 : NONE,
                                .ready = true};
    cache->newest = 0;
    cache->oldest = cache->slots - 1;
    *used = (size_t)cache->slots * cache->slot_bytes;
    return STATUS_OK;
}

// Small columns first, so that what they leave goes to the large ones.
static Status take_all_memory(SingleSet *set, size_t budget) {
    int order[DATASET_COLUMNS_MOST], columns = set->index.info.columns;
    for (int c = 0; c < columns; ++c) {
        int at = c;
        for (; at > 0 && set->cache[order[at - 1]].item_bytes > set->cache[c].item_bytes; --at)
            order[at] = order[at - 1];
        order[at] = c;
    }
    for (int i = 0; i < columns; ++i) {
        ColumnCache *cache = &set->cache[order[i]];
        size_t used = 0;
        TRY(take_memory(set, cache, budget / (size_t)(columns - i), &used));
        budget = budget > used ? budget - used : 0;
        if (cache->slot_bytes > set->scratch_bytes) set->scratch_bytes = cache->slot_bytes;
    }
    return STATUS_OK;
}

static Status find_split(SingleSet *set, const char *split) {
    const DatasetIndex *index = &set->index;
    set->split = dataset_index_find_split(index, split);
    if (set->split >= 0) return STATUS_OK;
    char names[INDEX_SPLITS_MOST * 20] = "";
    for (int s = 0; s < index->splits; ++s)
        snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", s > 0 ? ", " : "",
                 index->split[s].name);
    FAIL(NOT_FOUND, "%s: has no split \"%s\"; it has %s", set->path, split, names);
}

// Where all is on this node, a shard that is missing is told before training starts.
static Status look_for_shards(SingleSet *set) {
    bool looks =
        !set->config.lost_later && set->config.fetch == NULL && set->shards <= CHECKED_AT_OPEN;
    for (int i = 0; i < set->shards && looks; ++i)
        TRY(shard_store_look(set->store, &set->shard[i]));
    return STATUS_OK;
}

Status single_set_open(const DatasetConfig *config, SingleSet **out) {
    Status status = STATUS_OK;
    SingleSet *set = calloc(1, sizeof *set);
    FAIL_IF(set == NULL, NO_MEMORY, "%s: no memory to open it", config->path);
    pthread_mutex_init(&set->mutex, NULL);
    pthread_cond_init(&set->changed, NULL);
    set->config = *config;
    TRY_OR(fail, status, path_format(set->path, "%s", config->path));
    TRY_OR(fail, status,
           shard_store_open(config->path, config->fetch, config->warn, &set->index, &set->store));
    TRY_OR(fail, status, find_split(set, config->split));
    set->index.info.items = set->index.split[set->split].items;
    TRY_OR(fail, status, list_shards(set));
    TRY_OR(fail, status, shard_store_take(set->store, set->shard, set->shards));
    TRY_OR(fail, status, look_for_shards(set));
    TRY_OR(fail, status, take_all_memory(set, config->cache_bytes));
    *out = set;
    return STATUS_OK;
fail:
    single_set_close(set);
    return status;
}

void single_set_close(SingleSet *set) {
    if (set == NULL) return;
    for (int c = 0; c < DATASET_COLUMNS_MOST; ++c) {
        ColumnCache *cache = &set->cache[c];
        while (cache->lost != NULL) {
            Loss *loss = cache->lost;
            cache->lost = loss->next;
            free(loss);
        }
        free(cache->first_group);
        free(cache->closed);
        free(cache->slot_of);
        free(cache->slot);
        free(cache->memory);
    }
    for (int i = 0; i < READS_MOST; ++i) {
        block_decoder_close(set->read[i].decoder);
        free(set->read[i].scratch);
    }
    shard_store_close(set->store);
    free(set->shard);
    dataset_index_close(&set->index);
    pthread_mutex_destroy(&set->mutex);
    pthread_cond_destroy(&set->changed);
    free(set);
}

const DatasetInfo *single_set_info(const SingleSet *set) {
    return &set->index.info;
}

// ---- groups -------------------------------------------------------------------------------------

static int find_shard(const ColumnCache *cache, int64_t item) {
    int low = 0, high = cache->shards - 1;
    while (low < high) {
        int middle = (low + high + 1) / 2;
        if (cache->shard[middle].first <= item)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

typedef struct {
    int shard; // of the column
    int block;
    int32_t group;
    int64_t first, items; // of the group
} Place;

static Place place_of(const ColumnCache *cache, int64_t item) {
    int64_t group_items = cache->column->group_items;
    Place place = {.shard = find_shard(cache, item)};
    const IndexShard *shard = &cache->shard[place.shard];
    place.block = (int)((item - shard->first) / group_items);
    place.group = cache->first_group[place.shard] + place.block;
    place.first = shard->first + place.block * group_items;
    place.items = least(group_items, shard->first + shard->items - place.first);
    return place;
}

// Numbers that later code uses as an index, or that would spoil every sum: NONE if all are good,
// else the first that is not.
static int64_t find_bad_value(const DatasetInfo *info, const Column *column, const void *group,
                              int64_t numbers) {
    const uint8_t *byte = group;
    int32_t limit = strcmp(column->name, "label") == 0 ? info->classes
                    : info->symbols > 0                ? info->symbols
                                                       : 65536;
    for (int64_t i = 0; i < numbers; ++i) {
        uint16_t half;
        float number;
        switch (column->dtype) {
        case DTYPE_U8:
            if (limit >= 256) return NONE;
            if (byte[i] >= limit) return i;
            break;
        case DTYPE_U16:
            memcpy(&half, byte + 2 * i, 2);
            if (half >= limit) return i;
            break;
        case DTYPE_F16: // an exponent of ones is infinite or no number
            memcpy(&half, byte + 2 * i, 2);
            if ((half & 0x7C00) == 0x7C00) return i;
            break;
        case DTYPE_BF16:
            memcpy(&half, byte + 2 * i, 2);
            if ((half & 0x7F80) == 0x7F80) return i;
            break;
        case DTYPE_F32:
            memcpy(&number, byte + 4 * i, 4);
            if (!isfinite(number)) return i;
        }
    }
    return NONE;
}

// What the blocks of a shard must decode to, against what index.json says.
static Status check_block(const SingleSet *set, const ColumnCache *cache, const Place *place,
                          const BlockReader *reader) {
    const IndexShard *shard = &cache->shard[place->shard];
    FAIL_IF(block_reader_count(reader) != (int)shard->file_info.blocks, BAD_DATA,
            "%s/%s: holds %d groups, but index.json says %d", set->path, shard->file,
            block_reader_count(reader), (int)shard->file_info.blocks);
    int64_t bytes = place->items * cache->item_bytes;
    FAIL_IF(block_reader_raw_bytes(reader, place->block) != (size_t)bytes, BAD_DATA,
            "%s/%s: group %d decodes to %zu bytes, but index.json says %lld", set->path,
            shard->file, place->block, block_reader_raw_bytes(reader, place->block),
            (long long)bytes);
    return STATUS_OK;
}

static Status decode_from(SingleSet *set, const ColumnCache *cache, const Place *place,
                          const BlockReader *reader, Read *read, uint8_t *out) {
    const DatasetInfo *info = &set->index.info;
    bool plain = cache->column->filter == FILTER_NONE;
    TRY(check_block(set, cache, place, reader));
    TRY(block_reader_read_with(reader, read->decoder, place->block, plain ? out : read->scratch));
    if (!plain) filter_undo(cache->column, read->scratch, place->items, out);
    int64_t numbers = place->items * cache->item_bytes / dtype_bytes(cache->column->dtype);
    int64_t bad = find_bad_value(info, cache->column, out, numbers);
    FAIL_IF(bad != NONE, BAD_DATA,
            "%s/%s: group %d (items %lld to %lld): number %lld of column \"%s\" is not allowed "
            "(%d classes, %d symbols, floats must be finite)",
            set->path, cache->shard[place->shard].file, place->block, (long long)place->first,
            (long long)(place->first + place->items - 1), (long long)bad, cache->column->name,
            (int)info->classes, (int)info->symbols);
    return STATUS_OK;
}

// *opened: the shard itself was.
static Status decode_once(SingleSet *set, const ColumnCache *cache, const Place *place, Read *read,
                          uint8_t *out, bool *opened) {
    const BlockReader *reader;
    int shard = cache->first_shard + place->shard;
    *opened = false;
    TRY(shard_store_lend(set->store, shard, &reader));
    *opened = true;
    Status status = decode_from(set, cache, place, reader, read, out);
    shard_store_return(set->store, reader, status != STATUS_OK);
    return status;
}

static void tell_failure(const SingleSet *set, const ColumnCache *cache, const Place *place,
                         double wait) {
    char line[ERROR_TEXT_BYTES + 200];
    if (set->config.warn == NULL) return;
    snprintf(line, sizeof line,
             "%s, group %d (items %lld to %lld) cannot be read: %s; next try in %.1f s",
             cache->shard[place->shard].file, place->block, (long long)place->first,
             (long long)(place->first + place->items - 1), error_get()->text, wait);
    set->config.warn(line);
}

// What has failed once as a whole is not waited for again.
static Status decode_group(SingleSet *set, ColumnCache *cache, const Place *place, Read *read,
                           uint8_t *out) {
    bool opened;
    double wait = set->config.wait;
    int tries = cache->closed[place->shard] ? 1 : set->config.tries;
    Status status = decode_once(set, cache, place, read, out, &opened);
    for (int try = 1; try < tries && status != STATUS_OK; ++try) {
        tell_failure(set, cache, place, wait);
        error_clear();
        usleep((useconds_t)(wait * 1e6));
        wait *= 5;
        status = decode_once(set, cache, place, read, out, &opened);
    }
    if (!opened) cache->closed[place->shard] = true;
    return status;
}

// ---- the cache, under the lock ------------------------------------------------------------------

static void unlink_slot(ColumnCache *cache, int32_t s) {
    Slot *slot = &cache->slot[s];
    if (slot->newer != NONE)
        cache->slot[slot->newer].older = slot->older;
    else
        cache->newest = slot->older;
    if (slot->older != NONE)
        cache->slot[slot->older].newer = slot->newer;
    else
        cache->oldest = slot->newer;
}

static void make_newest(ColumnCache *cache, int32_t s) {
    if (cache->newest == s) return;
    unlink_slot(cache, s);
    cache->slot[s].newer = NONE;
    cache->slot[s].older = cache->newest;
    if (cache->newest != NONE) cache->slot[cache->newest].newer = s;
    cache->newest = s;
    if (cache->oldest == NONE) cache->oldest = s;
}

static const Loss *find_loss(const ColumnCache *cache, int32_t group) {
    const Loss *loss = cache->lost;
    while (loss != NULL && loss->group != group) loss = loss->next;
    return loss;
}

static void note_loss(ColumnCache *cache, int32_t group) {
    Loss *loss = malloc(sizeof *loss);
    if (loss == NULL) return; // it is tried again, which is slow and no worse
    *loss = (Loss){.next = cache->lost, .group = group, .why = *error_get()};
    cache->lost = loss;
}

// The least recently used slot that nobody uses; NONE: all are in use.
static int32_t find_victim(const ColumnCache *cache) {
    int32_t s = cache->oldest;
    while (s != NONE && cache->slot[s].users > 0) s = cache->slot[s].newer;
    return s;
}

// Memory to decode with; NULL where there is none.
static Read *take_read(SingleSet *set, const ColumnCache *cache, int32_t group) {
    for (int i = 0; i < READS_MOST; ++i) {
        Read *read = &set->read[i];
        if (read->busy) continue;
        if (read->decoder == NULL && block_decoder_open(&read->decoder) != STATUS_OK) return NULL;
        if (read->scratch == NULL) read->scratch = malloc(set->scratch_bytes);
        if (read->scratch == NULL) return NULL;
        read->busy = true;
        read->since = clock_now();
        read->cache = cache;
        read->group = group;
        return read;
    }
    return NULL;
}

// Decodes into slot s, which is this thread's until it is ready. The lock is given up meanwhile.
static Status fill_slot(SingleSet *set, ColumnCache *cache, const Place *place, int32_t s) {
    Slot *slot = &cache->slot[s];
    Read *read = take_read(set, cache, place->group);
    FAIL_IF(read == NULL, NO_MEMORY, "%s: no memory to decode a group", set->path);
    if (slot->group != NONE) cache->slot_of[slot->group] = NONE;
    *slot = (Slot){place->group, slot->newer, slot->older, 1, false};
    cache->slot_of[place->group] = s;
    pthread_mutex_unlock(&set->mutex);
    Status status =
        decode_group(set, cache, place, read, cache->memory + (size_t)s * cache->slot_bytes);
    pthread_mutex_lock(&set->mutex);
    read->busy = false;
    slot->ready = true;
    if (status != STATUS_OK) {
        --slot->users;
        slot->group = NONE;
        cache->slot_of[place->group] = NONE;
        note_loss(cache, place->group);
    }
    pthread_cond_broadcast(&set->changed);
    return status;
}

// Finds or makes the slot of a group and counts this thread as its user.
static Status use_group(SingleSet *set, ColumnCache *cache, const Place *place, int32_t *out) {
    for (;;) {
        int32_t s = cache->slot_of[place->group];
        if (s != NONE && cache->slot[s].ready) {
            ++cache->slot[s].users;
            make_newest(cache, s);
            *out = s;
            return STATUS_OK;
        }
        const Loss *loss = s == NONE ? find_loss(cache, place->group) : NULL;
        if (loss != NULL) return error_restore(&loss->why);
        if (s == NONE && (s = find_victim(cache)) != NONE) {
            make_newest(cache, s);
            *out = s;
            return fill_slot(set, cache, place, s);
        }
        pthread_cond_wait(&set->changed, &set->mutex);
    }
}

static void leave_group(SingleSet *set, ColumnCache *cache, int32_t s) {
    pthread_mutex_lock(&set->mutex);
    if (--cache->slot[s].users == 0) pthread_cond_broadcast(&set->changed);
    pthread_mutex_unlock(&set->mutex);
}

// ---- reading ------------------------------------------------------------------------------------

Status single_set_read(SingleSet *set, int column, int64_t first, int64_t count, void *out) {
    REQUIRE(column >= 0 && column < set->index.info.columns);
    REQUIRE(first >= 0 && count >= 0 && first <= set->index.info.items - count);
    ColumnCache *cache = &set->cache[column];
    uint8_t *to = out;
    while (count > 0) {
        int32_t s = NONE;
        Place place = place_of(cache, first);
        int64_t within = first - place.first, part = least(count, place.items - within);
        pthread_mutex_lock(&set->mutex);
        Status status = use_group(set, cache, &place, &s);
        pthread_mutex_unlock(&set->mutex);
        TRY(status);
        size_t bytes = (size_t)(part * cache->item_bytes);
        memcpy(to, cache->memory + (size_t)s * cache->slot_bytes + within * cache->item_bytes,
               bytes);
        leave_group(set, cache, s);
        to += bytes;
        first += part;
        count -= part;
    }
    return STATUS_OK;
}

bool single_set_lost_range(SingleSet *set, int column, int64_t item, int64_t *first,
                           int64_t *count) {
    ColumnCache *cache = &set->cache[column];
    Place place = place_of(cache, item);
    *first = place.first;
    *count = place.items;
    pthread_mutex_lock(&set->mutex);
    bool lost = find_loss(cache, place.group) != NULL;
    pthread_mutex_unlock(&set->mutex);
    if (lost && cache->closed[place.shard]) {
        *first = cache->shard[place.shard].first;
        *count = cache->shard[place.shard].items;
    }
    return lost;
}

bool single_set_busy(SingleSet *set, char *out, size_t bytes) {
    const Read *oldest = NULL;
    pthread_mutex_lock(&set->mutex);
    for (int i = 0; i < READS_MOST; ++i) {
        const Read *read = &set->read[i];
        if (read->busy && (oldest == NULL || read->since < oldest->since)) oldest = read;
    }
    if (oldest != NULL) {
        const ColumnCache *cache = oldest->cache;
        int shard = 0;
        while (cache->first_group[shard + 1] <= oldest->group) ++shard;
        snprintf(out, bytes, "%s/%s, group %d, for %.0f s", set->path, cache->shard[shard].file,
                 oldest->group - cache->first_group[shard], clock_now() - oldest->since);
    }
    pthread_mutex_unlock(&set->mutex);
    return oldest != NULL;
}
