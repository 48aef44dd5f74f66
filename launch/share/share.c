// Who has which data set, and who gets it from whom: behind launch/share/share.h.
#include "launch/share/share.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "data/loader.h"
#include "launch/doctor/odd_ranks.h"

enum {
    PATHS = SHARE_FOLDERS_MOST,
    INDEX_BYTES_MOST = 1 << 26, // as base/json.h
    SERVERS_MOST = 64,          // of a data set; more would not be of use
    HOSTS_TOLD = 4,
    LOOKED_AT_MOST = 4096, // shards of a data set: of more, all are taken to be there
};
static const double patience = 10; // seconds without an answer until another server is asked

typedef enum {
    SIGHT_NOTHING,
    SIGHT_ALL,
    SIGHT_PARTS,   // index and some of the shards
    SIGHT_DAMAGED, // an index that is none: the rank is refused for it later
} SightState;

// What a rank tells all others.
typedef struct {
    SightState state[PATHS];
    uint64_t check[PATHS]; // names the index
} Sight;

struct Share {
    Comm *comm;
    const RunSettings *settings;
    char path[PATHS][SHARE_PATH_BYTES];
    int paths, world, rank;
    Sight *sight;        // [world]
    uint64_t *serves;    // [world], bit p
    bool *mark;          // [world], for whoever needs it
    int usual[PATHS];    // the lowest rank with the most frequent index; -1: nobody has one
    bool needed[PATHS];  // some have it, others get it from them
    char *text[PATHS];   // index.json of this rank, or from another one; NULL: none
    size_t bytes[PATHS]; // of it
    DatasetIndex index[PATHS];
    char cache[PATH_BYTES];
    DatasetFetch fetch;
    ShareServer *server;
    ShareClient *client;
};

// ---- what this rank sees ------------------------------------------------------------------------

Status share_split_paths(const char *list, char out[SHARE_FOLDERS_MOST][SHARE_PATH_BYTES],
                         int *count) {
    for (*count = 0; *count < SHARE_FOLDERS_MOST; ++*count)
        if (!dataset_part_path(list, *count, out[*count], SHARE_PATH_BYTES)) break;
    FAIL_IF(*count == 0, BAD_CONFIG, "data.path names no folder: %s", list);
    char next[SHARE_PATH_BYTES];
    FAIL_IF(dataset_part_path(list, *count, next, sizeof next), BAD_CONFIG,
            "data.path names more than %d data sets: %s", SHARE_FOLDERS_MOST, list);
    return STATUS_OK;
}

static Status read_check(const char *text, size_t bytes, const char *what, uint64_t *out) {
    json_t *root;
    TRY(json_parse(text, bytes, what, &root));
    Status status = json_get_hex64(root, "check", what, out);
    json_decref(root);
    return status;
}

static bool has_shards(const Share *share, int p) {
    const DatasetIndex *index = &share->index[p];
    char file[PATH_BYTES];
    uint64_t bytes;
    for (int i = 0; i < index->shards && index->shards <= LOOKED_AT_MOST; ++i) {
        Status status = path_format(file, "%s/%s", share->path[p], index->shard[i].file);
        if (status == STATUS_OK) status = file_size(file, &bytes);
        if (status == STATUS_OK && bytes == index->shard[i].file_info.bytes) continue;
        error_clear();
        return false;
    }
    return true;
}

static Status read_index(Share *share, int p, Sight *mine) {
    char file[PATH_BYTES];
    TRY(path_format(file, "%s/index.json", share->path[p]));
    if (!file_exists(file)) return STATUS_OK;
    mine->state[p] = SIGHT_DAMAGED;
    TRY(file_read(file, INDEX_BYTES_MOST, &share->text[p], &share->bytes[p]));
    TRY(dataset_index_parse(share->text[p], share->bytes[p], file, &share->index[p]));
    TRY(read_check(share->text[p], share->bytes[p], file, &mine->check[p]));
    mine->state[p] = has_shards(share, p) ? SIGHT_ALL : SIGHT_PARTS;
    return STATUS_OK;
}

// The cache's default place is a folder of this user on this node.
static Status choose_cache(Share *share) {
    const char *folder = share->settings->data.cache_dir, *base = getenv("TMPDIR");
    if (folder[0] != '\0') return path_format(share->cache, "%s", folder);
    return path_format(share->cache, "%s/dye-cache-%u",
                       base != NULL && base[0] != '\0' ? base : "/tmp", (unsigned)getuid());
}

static Status look(Share *share, Sight *mine) {
    size_t world = (size_t)share->world;
    share->sight = calloc(world, sizeof *share->sight);
    share->serves = calloc(world, sizeof *share->serves);
    share->mark = calloc(world, sizeof *share->mark);
    FAIL_IF(share->sight == NULL || share->serves == NULL || share->mark == NULL, NO_MEMORY,
            "no memory to compare the data sets of %d ranks", share->world);
    TRY(share_split_paths(share->settings->data.path, share->path, &share->paths));
    TRY(choose_cache(share));
    for (int p = 0; p < share->paths; ++p)
        if (read_index(share, p, mine) != STATUS_OK) error_clear(); // told by the doctor
    return STATUS_OK;
}

// ---- who serves whom ----------------------------------------------------------------------------

static bool is_lacking(const Sight *sight, int p) {
    return sight->state[p] == SIGHT_NOTHING || sight->state[p] == SIGHT_PARTS;
}

static Status find_usual(Share *share, int p) {
    uint64_t *key = calloc((size_t)share->world, sizeof *key);
    int *rank = calloc((size_t)share->world, sizeof *rank), count = 0, usual = 0;
    Status status = STATUS_OK;
    if (key == NULL || rank == NULL)
        FAIL_OR(done, status, NO_MEMORY, "no memory to compare the data of ranks");
    bool wanted = false;
    for (int i = 0; i < share->world; ++i) {
        wanted |= is_lacking(&share->sight[i], p);
        if (share->sight[i].state[p] != SIGHT_ALL) continue;
        rank[count] = i;
        key[count++] = share->sight[i].check[p];
    }
    if (count > 0) odd_ranks_find(key, count, share->mark, &usual);
    share->usual[p] = count > 0 ? rank[usual] : -1;
    share->needed[p] = count > 0 && wanted && share->settings->data.share;
done:
    free(key), free(rank);
    return status;
}

static bool is_on_host_of(const Share *share, int a, int b) {
    return strcmp(comm_host_of(share->comm, a), comm_host_of(share->comm, b)) == 0;
}

// On each host the lowest rank that has it.
static void choose_servers(Share *share, int p) {
    int count = 0;
    for (int i = 0; i < share->world && share->needed[p] && count < SERVERS_MOST; ++i) {
        bool good = share->sight[i].state[p] == SIGHT_ALL &&
                    share->sight[i].check[p] == share->sight[share->usual[p]].check[p];
        for (int k = 0; k < i && good; ++k)
            good = (share->serves[k] >> p & 1) == 0 || !is_on_host_of(share, i, k);
        if (!good) continue;
        share->serves[i] |= UINT64_C(1) << p;
        ++count;
    }
}

static bool lacks(const Share *share, int rank, int p) {
    return share->needed[p] && is_lacking(&share->sight[rank], p);
}

static Status take_index(Share *share, int p, char *text, size_t bytes) {
    uint64_t check;
    share->text[p] = text;
    share->bytes[p] = bytes;
    TRY(dataset_index_parse(text, bytes, share->path[p], &share->index[p]));
    TRY(read_check(text, bytes, share->path[p], &check));
    share->sight[share->rank].check[p] = check;
    return STATUS_OK;
}

// To all ranks; those that have one of their own keep that.
static Status broadcast_index(Share *share, int p) {
    Comm *comm = share->comm;
    int root = share->usual[p];
    bool mine = share->rank == root;
    uint64_t bytes = share->bytes[p];
    TRY(comm_broadcast(comm, &bytes, sizeof bytes, root));
    char *text = mine ? share->text[p] : calloc(1, (size_t)bytes + 1);
    bool room = text != NULL;
    Status status = room ? STATUS_OK : STATUS_NO_MEMORY;
    TRY(comm_share_status(comm, status));
    status = comm_broadcast(comm, text, (size_t)bytes, root);
    if (mine) return status;
    if (status == STATUS_OK && share->text[p] == NULL)
        status = take_index(share, p, text, (size_t)bytes);
    else
        free(text);
    return status;
}

static void drop_index(Share *share, int p) {
    dataset_index_close(&share->index[p]);
    free(share->text[p]);
    share->text[p] = NULL;
}

static Status survey(Share *share) {
    Sight mine = {0};
    TRY(comm_share_status(share->comm, look(share, &mine)));
    TRY(comm_gather(share->comm, &mine, sizeof mine, share->sight));
    Status status = STATUS_OK;
    for (int p = 0; p < share->paths && status == STATUS_OK; ++p) {
        status = find_usual(share, p);
        if (status == STATUS_OK) choose_servers(share, p);
    }
    TRY(comm_share_status(share->comm, status));
    for (int p = 0; p < share->paths; ++p)
        if (share->needed[p])
            TRY(comm_share_status(share->comm, broadcast_index(share, p)));
        else
            drop_index(share, p);
    return STATUS_OK;
}

Status share_survey(Comm *comm, const RunSettings *settings, Share **out) {
    Share *share = *out = calloc(1, sizeof *share);
    Status status = share == NULL ? STATUS_NO_MEMORY : STATUS_OK;
    int speaker;
    TRY(comm_agree(comm, status, &speaker));
    share->comm = comm;
    share->settings = settings;
    share->world = comm_world(comm);
    share->rank = comm_rank(comm);
    return survey(share);
}

// ---- servers and clients ------------------------------------------------------------------------

static int find_path(const Share *share, const char *path) {
    for (int p = 0; p < share->paths; ++p)
        if (strcmp(share->path[p], path) == 0 && share->needed[p]) return p;
    return -1;
}

static Status give_index(void *context, const char *path, char **text, size_t *bytes) {
    const Share *share = context;
    int p = find_path(share, path);
    FAIL_IF(p < 0, NOT_FOUND, "%s: no rank serves it", path);
    *text = malloc(share->bytes[p] + 1);
    FAIL_IF(*text == NULL, NO_MEMORY, "%s: no memory for its index", path);
    memcpy(*text, share->text[p], share->bytes[p]);
    (*text)[share->bytes[p]] = '\0';
    *bytes = share->bytes[p];
    return STATUS_OK;
}

static Status give_bytes(void *context, const char *path, const char *file, uint64_t offset,
                         size_t bytes, void *out) {
    const Share *share = context;
    int p = find_path(share, path);
    FAIL_IF(p < 0, NOT_FOUND, "%s/%s: no rank serves it", path, file);
    return share_client_fetch(share->client, p, path, file, offset, bytes, out);
}

static Status open_server(Share *share, WirePeer *me) {
    ShareFolder folder[PATHS] = {0};
    uint64_t serves = share->serves[share->rank];
    Comm *comm = share->comm;
    if (serves == 0) return STATUS_OK;
    for (int p = 0; p < share->paths; ++p)
        if ((serves >> p & 1) != 0) folder[p] = (ShareFolder){share->path[p], &share->index[p]};
    int port = share->settings->control.port, local = comm_local_world(comm);
    if (port != 0) port += local + comm_local_rank(comm); // behind those of the watch
    return share_server_open(folder, local == share->world, port, me, &share->server);
}

// Also where nothing lacks: what is damaged there is got from another host.
static Status open_client(Share *share, const WirePeer *peers) {
    bool lacking = false;
    int count = 0;
    for (int p = 0; p < share->paths; ++p) lacking |= lacks(share, share->rank, p);
    ShareSource *sources = calloc((size_t)share->world, sizeof *sources);
    FAIL_IF(sources == NULL, NO_MEMORY, "no memory to fetch from %d ranks", share->world);
    for (int i = 0; i < share->world; ++i) {
        bool sees_ours = !lacking && is_on_host_of(share, i, share->rank);
        if (share->serves[i] == 0 || sees_ours) continue;
        ShareSource *source = &sources[count++];
        *source = (ShareSource){.rank = i, .folders = share->serves[i], .peer = peers[i]};
        snprintf(source->host, sizeof source->host, "%s", comm_host_of(share->comm, i));
    }
    bool one_host = comm_local_world(share->comm) == share->world;
    Status status = STATUS_OK;
    if (count > 0) status = share_client_open(sources, count, one_host, patience, &share->client);
    free(sources);
    share->fetch = (DatasetFetch){.context = share,
                                  .index = give_index,
                                  .fetch = give_bytes,
                                  .cache = share->cache,
                                  .cache_limit = (uint64_t)share->settings->data.cache_limit};
    return status;
}

static bool is_any_needed(const Share *share) {
    bool any = false;
    for (int p = 0; p < share->paths; ++p) any |= share->needed[p];
    return any;
}

Status share_start(Share *share) {
    if (!is_any_needed(share)) return STATUS_OK;
    WirePeer me = {0}, *peers = calloc((size_t)share->world, sizeof *peers);
    Status status = peers == NULL ? STATUS_NO_MEMORY : open_server(share, &me);
    TRY_OR(done, status, comm_share_status(share->comm, status));
    TRY_OR(done, status, comm_gather(share->comm, &me, sizeof me, peers));
    status = open_client(share, peers);
    TRY_OR(done, status, comm_share_status(share->comm, status));
done:
    free(peers);
    return status;
}

Status share_end(Share *share, ShareTotals *totals) {
    *totals = (ShareTotals){0};
    if (!is_any_needed(share)) return STATUS_OK;
    share_client_stop(share->client);
    ShareTotals mine = share_client_totals(share->client);
    uint64_t sums[2] = {mine.blocks, mine.bytes};
    TRY(comm_sum_u64(share->comm, sums, 2)); // also: nobody fetches any more
    *totals = (ShareTotals){sums[0], sums[1]};
    return STATUS_OK;
}

void share_stop(Share *share) {
    if (share != NULL) share_client_stop(share->client);
}

void share_close(Share *share) {
    if (share == NULL) return;
    share_client_close(share->client);
    share_server_close(share->server);
    for (int p = 0; p < PATHS; ++p) drop_index(share, p);
    free(share->sight), free(share->serves), free(share->mark);
    free(share);
}

// ---- questions ----------------------------------------------------------------------------------

int share_paths(const Share *share) {
    return share->paths;
}

const char *share_path(const Share *share, int p) {
    return share->path[p];
}

const DatasetFetch *share_fetch(const Share *share) {
    return share->client == NULL ? NULL : &share->fetch;
}

bool share_is_needed(const Share *share, int p, uint64_t *check) {
    *check = share->sight[share->rank].check[p];
    return share->needed[p];
}

Status share_load(const Share *share, int p, DatasetIndex *out) {
    const char *path = share->path[p];
    *out = (DatasetIndex){0};
    if (lacks(share, share->rank, p))
        return dataset_index_parse(share->text[p], share->bytes[p], path, out);
    bool elsewhere = share->usual[p] >= 0;
    FAIL_IF(
        share->sight[share->rank].state[p] == SIGHT_NOTHING && elsewhere, NOT_FOUND,
        "%s: there is no dataset here (no index.json), but rank %d on %s has it: copy the folder"
        " to all hosts, or set data.share to true",
        path, share->usual[p], comm_host_of(share->comm, share->usual[p]));
    return dataset_index_load(path, out);
}

Status share_choose_order(const Share *share, char order[8]) {
    bool windows = false;
    if (strcmp(order, "auto") != 0) return STATUS_OK;
    for (int p = 0; p < share_paths(share); ++p) {
        DatasetIndex index;
        TRY(share_load(share, p, &index));
        int train = dataset_index_find_split(&index, "train");
        if (train >= 0) index.info.items = index.split[train].items;
        windows |= loader_usual_order(&index.info) == ORDER_WINDOW;
        dataset_index_close(&index);
    }
    snprintf(order, sizeof "window", "%s", windows ? "window" : "full");
    return STATUS_OK;
}

static Status keep_index(const Share *share, int p, const char *folder) {
    char path[PATH_BYTES], own[PATH_BYTES], *text = NULL;
    size_t bytes = share->bytes[p];
    TRY(path_format(path, "%s/%d", folder, p));
    TRY(folder_make(path));
    TRY(path_format(path, "%s/%d/index.json", folder, p));
    if (share->text[p] != NULL) return file_write_atomic(path, share->text[p], bytes);
    TRY(path_format(own, "%s/index.json", share->path[p]));
    TRY(file_read(own, INDEX_BYTES_MOST, &text, &bytes));
    Status status = file_write_atomic(path, text, bytes);
    free(text);
    return status;
}

Status share_keep_indexes(const Share *share, const char *folder) {
    char path[PATH_BYTES];
    for (int p = 0; p < share_paths(share); ++p) TRY(keep_index(share, p, folder));
    TRY(path_format(path, "%s/%d", folder, share_paths(share))); // of other data, before --fresh
    return folder_remove(path);
}

__attribute__((format(printf, 3, 4))) static void add(char *out, size_t bytes, const char *format,
                                                      ...) {
    va_list arguments;
    size_t used = strlen(out);
    va_start(arguments, format);
    vsnprintf(out + used, bytes - used, format, arguments);
    va_end(arguments);
}

// The hosts of the marked ranks, each once.
static void add_hosts(const Share *share, char *out, size_t bytes) {
    int told = 0;
    for (int i = 0; i < share->world; ++i) {
        bool fresh = share->mark[i];
        for (int k = 0; k < i && fresh; ++k) fresh = !share->mark[k] || !is_on_host_of(share, i, k);
        if (!fresh) continue;
        if (told < HOSTS_TOLD)
            add(out, bytes, "%s%s", told > 0 ? ", " : "", comm_host_of(share->comm, i));
        ++told;
    }
    if (told > HOSTS_TOLD) add(out, bytes, " and %d more", told - HOSTS_TOLD);
}

void share_describe(const Share *share, char *out, size_t bytes) {
    out[0] = '\0';
    for (int p = 0; p < share->paths; ++p) {
        if (!share->needed[p]) continue;
        if (out[0] != '\0') add(out, bytes, "; ");
        if (share->paths > 1) add(out, bytes, "%s ", share->path[p]);
        for (int i = 0; i < share->world; ++i) share->mark[i] = (share->serves[i] >> p & 1) != 0;
        add(out, bytes, "on ");
        add_hosts(share, out, bytes);
        for (int i = 0; i < share->world; ++i) share->mark[i] = lacks(share, i, p);
        add(out, bytes, "; served to ");
        add_hosts(share, out, bytes);
    }
}
