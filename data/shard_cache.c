// Sparse copies, and making room among them.
#include "data/shard_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

// The folder is looked through when so much was written since the last time, or a 32nd of the
// limit.
enum { LOOK_BYTES = 1 << 26, LOOKS = 32, DISK_BLOCK = 512 };

struct ShardCache {
    char folder[PATH_BYTES], set[PATH_BYTES];
    uint64_t limit;
    void (*warn)(const char *line);
    pthread_mutex_t mutex; // of what follows
    uint64_t unlooked;     // written since the last look
    bool told_full;
};

typedef struct {
    char path[PATH_BYTES];
    uint64_t taken; // on the disk
    struct timespec used;
} Copy;

typedef struct {
    Copy *list;
    int count, room;
    uint64_t taken;
} Copies;

Status shard_cache_open(const char *folder, uint64_t limit, const char *set,
                        void (*warn)(const char *line), ShardCache **out) {
    ShardCache *cache = calloc(1, sizeof *cache);
    FAIL_IF(cache == NULL, NO_MEMORY, "%s: no memory to use it", folder);
    pthread_mutex_init(&cache->mutex, NULL);
    cache->limit = limit;
    cache->warn = warn;
    Status status = path_format(cache->folder, "%s", folder);
    if (status == STATUS_OK) status = path_format(cache->set, "%s/%s", folder, set);
    if (status == STATUS_OK) status = folder_make(cache->set);
    if (status == STATUS_OK)
        *out = cache;
    else
        shard_cache_close(cache);
    return status;
}

void shard_cache_close(ShardCache *cache) {
    if (cache == NULL) return;
    pthread_mutex_destroy(&cache->mutex);
    free(cache);
}

Status shard_cache_file(ShardCache *cache, const char *file, uint64_t bytes, int *fd) {
    char path[PATH_BYTES];
    struct stat about;
    TRY(path_format(path, "%s/%s", cache->set, file));
    *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    FAIL_IF(*fd < 0, IO, "%s: the copy cannot be made: %s", path, strerror(errno));
    bool good = fstat(*fd, &about) == 0 &&
                ((uint64_t)about.st_size == bytes || ftruncate(*fd, (off_t)bytes) == 0);
    if (good) return STATUS_OK;
    Status status =
        error_raise(STATUS_IO, __FILE__, __LINE__, __func__,
                    "%s: the copy cannot be given its length: %s", path, strerror(errno));
    close(*fd);
    *fd = -1;
    return status;
}

void shard_cache_touch(int fd) {
    (void)futimens(fd, NULL);
}

// ---- making room --------------------------------------------------------------------------------

static void add_copy(Copies *copies, const char *path) {
    struct stat about;
    if (stat(path, &about) != 0 || !S_ISREG(about.st_mode)) return;
    if (copies->count == copies->room) {
        int room = copies->room == 0 ? 64 : 2 * copies->room;
        Copy *more = realloc(copies->list, (size_t)room * sizeof *more);
        if (more == NULL) return;
        copies->list = more;
        copies->room = room;
    }
    Copy *copy = &copies->list[copies->count++];
    *copy = (Copy){.taken = (uint64_t)about.st_blocks * DISK_BLOCK, .used = about.st_mtim};
    snprintf(copy->path, sizeof copy->path, "%s", path);
    copies->taken += copy->taken;
}

static void list_set(Copies *copies, const char *set) {
    char path[PATH_BYTES], **names;
    int count;
    if (folder_names(set, &names, &count) != STATUS_OK) {
        error_clear(); // a file, or gone
        return;
    }
    for (int i = 0; i < count; ++i)
        if (snprintf(path, sizeof path, "%s/%s", set, names[i]) < (int)sizeof path)
            add_copy(copies, path);
    folder_names_free(names, count);
}

static void list_copies(const ShardCache *cache, Copies *copies) {
    char path[PATH_BYTES], **names;
    int count;
    if (folder_names(cache->folder, &names, &count) != STATUS_OK) {
        error_clear();
        return;
    }
    for (int i = 0; i < count; ++i)
        if (strncmp(names[i], "set-", 4) == 0 &&
            snprintf(path, sizeof path, "%s/%s", cache->folder, names[i]) < (int)sizeof path)
            list_set(copies, path);
    folder_names_free(names, count);
}

static int compare_use(const void *a, const void *b) {
    const struct timespec *x = &((const Copy *)a)->used, *y = &((const Copy *)b)->used;
    if (x->tv_sec != y->tv_sec) return x->tv_sec < y->tv_sec ? -1 : 1;
    return x->tv_nsec < y->tv_nsec ? -1 : x->tv_nsec > y->tv_nsec;
}

// Readers that have it open see zeros from now on. A file of a set that nobody uses any more keeps
// its name and takes no room.
static void empty_copy(const Copy *copy) {
    struct stat about;
    int fd = open(copy->path, O_RDWR | O_CLOEXEC);
    if (fd < 0) return;
    if (fstat(fd, &about) == 0 && ftruncate(fd, 0) == 0) (void)!ftruncate(fd, about.st_size);
    close(fd);
}

// Empties what was not used for longest until all take a tenth less than the limit, or than what
// filled the disk. One process does that at a time.
static void make_room(const ShardCache *cache, bool disk_is_full) {
    char path[PATH_BYTES];
    Copies copies = {0};
    if (snprintf(path, sizeof path, "%s/lock", cache->folder) >= (int)sizeof path) return;
    int lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (lock < 0) return;
    if (flock(lock, LOCK_EX | LOCK_NB) == 0) {
        list_copies(cache, &copies);
        uint64_t limit = disk_is_full && copies.taken < cache->limit ? copies.taken : cache->limit;
        uint64_t aim = limit - limit / 10;
        qsort(copies.list, (size_t)copies.count, sizeof *copies.list, compare_use);
        bool must = disk_is_full || copies.taken > limit;
        for (int i = 0; i < copies.count && must && copies.taken > aim; ++i) {
            empty_copy(&copies.list[i]);
            copies.taken -= copies.list[i].taken;
        }
        free(copies.list);
    }
    close(lock);
}

// ---- keeping ------------------------------------------------------------------------------------

static bool write_all(int fd, uint64_t offset, const void *data, size_t bytes) {
    for (size_t done = 0; done < bytes;) {
        ssize_t n = pwrite(fd, (const char *)data + done, bytes - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        done += (size_t)n;
    }
    return true;
}

static void tell_full(ShardCache *cache, int error) {
    char line[PATH_BYTES + 300];
    uint64_t free_bytes = 0;
    if (cache->told_full || cache->warn == NULL) return;
    cache->told_full = true;
    if (folder_free_bytes(cache->folder, &free_bytes) != STATUS_OK) error_clear();
    snprintf(line, sizeof line,
             "%s: copies of shards cannot be kept: %s (%.1f MB free): blocks are fetched again when"
             " they are needed again; make room, or set data.cache_dir",
             cache->folder, strerror(error), (double)free_bytes / 1e6);
    cache->warn(line);
}

void shard_cache_put(ShardCache *cache, int fd, uint64_t offset, const void *data, size_t bytes) {
    pthread_mutex_lock(&cache->mutex);
    cache->unlooked += bytes;
    uint64_t often = cache->limit / LOOKS < LOOK_BYTES ? cache->limit / LOOKS : LOOK_BYTES;
    bool looks = cache->unlooked > often;
    if (looks) cache->unlooked = 0;
    bool kept = write_all(fd, offset, data, bytes);
    if (!kept && (errno == ENOSPC || errno == EDQUOT)) {
        make_room(cache, true);
        kept = write_all(fd, offset, data, bytes);
    }
    if (!kept) tell_full(cache, errno);
    if (looks) make_room(cache, false);
    pthread_mutex_unlock(&cache->mutex);
}
