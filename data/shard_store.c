// Readers of shards, lent and returned.
#include "data/shard_store.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "data/shard_cache.h"

enum { OPEN_MOST = 128, TOUCH_SECONDS = 5 };

// An open shard, or a place for one.
typedef struct {
    ShardStore *store;
    int shard; // -1: none
    int users;
    bool broken;
    uint64_t turn; // when it was lent last
    BlockReader *reader;
    int fd;                 // of the file here: the folder's or the cache's
    bool cached;            // the cache's: holes are filled
    _Atomic double touched; // by any reader
} Opened;

struct ShardStore {
    char path[PATH_BYTES];
    DatasetFetch fetch; // of it only what has_fetch tells
    bool has_fetch;
    ShardCache *cache; // NULL: nothing was fetched so far
    char cache_name[DATASET_NAME_BYTES + 24];
    void (*warn)(const char *line);
    const IndexShard *shard;
    int shards;
    uint64_t turn;
    pthread_mutex_t mutex;   // of the table
    pthread_mutex_t opening; // held over the opening of a shard
    Opened opened[OPEN_MOST];
};

// ---- bytes of a shard ---------------------------------------------------------------------------

// What is not there reads as zeros, which no hash fits: a cache may be emptied under its readers.
static Status read_here(void *context, uint64_t offset, void *out, size_t bytes) {
    Opened *opened = context;
    const IndexShard *shard = &opened->store->shard[opened->shard];
    size_t done = 0;
    while (done < bytes) {
        ssize_t n = pread(opened->fd, (char *)out + done, bytes - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR) continue;
        FAIL_IF(n < 0, IO, "cannot read %s/%s: %s", opened->store->path, shard->file,
                strerror(errno));
        if (n == 0) break;
        done += (size_t)n;
    }
    FAIL_IF(done < bytes && !opened->cached, BAD_DATA, "%s/%s ends early, at byte %llu",
            opened->store->path, shard->file, (unsigned long long)(offset + done));
    memset((char *)out + done, 0, bytes - done);
    double now = clock_now();
    if (opened->cached && now - opened->touched > TOUCH_SECONDS) {
        opened->touched = now;
        shard_cache_touch(opened->fd);
    }
    return STATUS_OK;
}

static Status read_there(void *context, uint64_t offset, void *out, size_t bytes) {
    Opened *opened = context;
    ShardStore *store = opened->store;
    const char *file = store->shard[opened->shard].file;
    TRY(store->fetch.fetch(store->fetch.context, store->path, file, offset, bytes, out));
    if (opened->cached) shard_cache_put(store->cache, opened->fd, offset, out, bytes);
    return STATUS_OK;
}

// ---- opening ------------------------------------------------------------------------------------

Status shard_store_look(const ShardStore *store, const IndexShard *shard) {
    char path[PATH_BYTES];
    uint64_t bytes;
    TRY(path_format(path, "%s/%s", store->path, shard->file));
    FAIL_IF(!file_exists(path), BAD_DATA, "%s: is missing; copy it again or pack again", path);
    TRY(file_size(path, &bytes));
    FAIL_IF(bytes != shard->file_info.bytes, BAD_DATA,
            "%s: has %llu bytes, but index.json says %llu", path, (unsigned long long)bytes,
            (unsigned long long)shard->file_info.bytes);
    return STATUS_OK;
}

static Status open_cached(ShardStore *store, const IndexShard *shard, Opened *opened) {
    if (store->cache == NULL)
        TRY(shard_cache_open(store->fetch.cache, store->fetch.cache_limit, store->cache_name,
                             store->warn, &store->cache));
    opened->cached = true;
    return shard_cache_file(store->cache, shard->file, shard->file_info.bytes, &opened->fd);
}

static Status open_here(ShardStore *store, const IndexShard *shard, Opened *opened) {
    char path[PATH_BYTES];
    Status status = shard_store_look(store, shard);
    if (status != STATUS_OK && store->has_fetch) {
        error_clear();
        return open_cached(store, shard, opened);
    }
    TRY(status);
    TRY(path_format(path, "%s/%s", store->path, shard->file));
    opened->fd = open(path, O_RDONLY | O_CLOEXEC);
    FAIL_IF(opened->fd < 0, IO, "%s: cannot be opened: %s", path, strerror(errno));
    return STATUS_OK;
}

static void close_opened(Opened *opened) {
    block_reader_close(opened->reader);
    if (opened->fd >= 0) close(opened->fd);
    opened->reader = NULL;
    opened->fd = -1;
    opened->shard = -1;
}

// The place is this thread's, but others look at what the lock guards: the reader comes by `out`.
static Status open_shard(ShardStore *store, int number, Opened *opened, BlockReader **out) {
    char name[PATH_BYTES];
    const IndexShard *shard = &store->shard[number];
    opened->cached = false;
    opened->touched = 0;
    TRY(path_format(name, "%s/%s", store->path, shard->file));
    TRY(open_here(store, shard, opened));
    BlockBytes from = {.context = opened,
                       .bytes = shard->file_info.bytes,
                       .read = read_here,
                       .renew = store->has_fetch ? read_there : NULL};
    return block_reader_open_bytes(name, &from, out);
}

// ---- lending ------------------------------------------------------------------------------------

// Under the lock: the shard, which gains a user, or NULL.
static Opened *find_opened(ShardStore *store, int shard) {
    for (int i = 0; i < OPEN_MOST; ++i) {
        Opened *opened = &store->opened[i];
        if (opened->shard != shard || opened->broken || opened->reader == NULL) continue;
        ++opened->users;
        opened->turn = ++store->turn;
        return opened;
    }
    return NULL;
}

// Under the lock: a place that nobody uses, empty or the least recently used.
static Opened *find_place(ShardStore *store) {
    Opened *best = NULL;
    for (int i = 0; i < OPEN_MOST; ++i) {
        Opened *opened = &store->opened[i];
        if (opened->users > 0) continue;
        if (opened->shard < 0) return opened;
        if (best == NULL || opened->turn < best->turn) best = opened;
    }
    return best;
}

// With `opening` held.
static Status open_and_lend(ShardStore *store, int shard, const BlockReader **out) {
    pthread_mutex_lock(&store->mutex);
    Opened *opened = find_opened(store, shard); // perhaps another thread was faster
    bool found = opened != NULL;
    if (!found) opened = find_place(store);
    REQUIRE(opened != NULL); // fewer threads read than there are places
    if (!found) {
        close_opened(opened);
        opened->users = 1;
        opened->shard = shard;
        opened->broken = false;
        opened->turn = ++store->turn;
    }
    *out = opened->reader;
    pthread_mutex_unlock(&store->mutex);
    if (found) return STATUS_OK;
    BlockReader *reader = NULL;
    Status status = open_shard(store, shard, opened, &reader);
    pthread_mutex_lock(&store->mutex);
    *out = opened->reader = reader;
    if (status != STATUS_OK) {
        opened->users = 0;
        close_opened(opened);
    }
    pthread_mutex_unlock(&store->mutex);
    return status == STATUS_OK ? status : error_trail(status, __FILE__, __LINE__, __func__);
}

Status shard_store_lend(ShardStore *store, int shard, const BlockReader **out) {
    REQUIRE(shard >= 0 && shard < store->shards);
    pthread_mutex_lock(&store->mutex);
    Opened *opened = find_opened(store, shard);
    pthread_mutex_unlock(&store->mutex);
    if (opened != NULL) {
        *out = opened->reader;
        return STATUS_OK;
    }
    pthread_mutex_lock(&store->opening);
    Status status = open_and_lend(store, shard, out);
    pthread_mutex_unlock(&store->opening);
    return status;
}

void shard_store_return(ShardStore *store, const BlockReader *reader, bool broken) {
    pthread_mutex_lock(&store->mutex);
    for (int i = 0; i < OPEN_MOST; ++i) {
        Opened *opened = &store->opened[i];
        if (opened->reader != reader) continue;
        opened->broken |= broken;
        if (--opened->users == 0 && opened->broken) close_opened(opened);
        break;
    }
    pthread_mutex_unlock(&store->mutex);
}

// ---- the store ----------------------------------------------------------------------------------

static Status load_index(const ShardStore *store, DatasetIndex *index) {
    char file[PATH_BYTES], *text;
    size_t bytes;
    TRY(path_format(file, "%s/index.json", store->path));
    if (!store->has_fetch || file_exists(file)) return dataset_index_load(store->path, index);
    TRY(store->fetch.index(store->fetch.context, store->path, &text, &bytes));
    Status status = dataset_index_parse(text, bytes, file, index);
    free(text);
    return status;
}

Status shard_store_open(const char *path, const DatasetFetch *fetch, void (*warn)(const char *line),
                        DatasetIndex *index, ShardStore **out) {
    ShardStore *store = calloc(1, sizeof *store);
    FAIL_IF(store == NULL, NO_MEMORY, "%s: no memory to open it", path);
    pthread_mutex_init(&store->mutex, NULL);
    pthread_mutex_init(&store->opening, NULL);
    for (int i = 0; i < OPEN_MOST; ++i)
        store->opened[i] = (Opened){.store = store, .shard = -1, .fd = -1};
    store->warn = warn;
    store->has_fetch = fetch != NULL;
    if (fetch != NULL) store->fetch = *fetch;
    Status status = path_format(store->path, "%s", path);
    if (status == STATUS_OK) status = load_index(store, index);
    if (status != STATUS_OK) {
        shard_store_close(store);
        return error_trail(status, __FILE__, __LINE__, __func__);
    }
    // A cache of other data never fits: its folder has another name.
    snprintf(store->cache_name, sizeof store->cache_name, "set-%016llx",
             (unsigned long long)index->check);
    *out = store;
    return STATUS_OK;
}

Status shard_store_take(ShardStore *store, const IndexShard *shard, int shards) {
    store->shard = shard;
    store->shards = shards;
    return STATUS_OK;
}

void shard_store_close(ShardStore *store) {
    if (store == NULL) return;
    for (int i = 0; i < OPEN_MOST; ++i) close_opened(&store->opened[i]);
    shard_cache_close(store->cache);
    pthread_mutex_destroy(&store->mutex);
    pthread_mutex_destroy(&store->opening);
    free(store);
}
