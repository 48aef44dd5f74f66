// Files of journals behind launch/watch/blackbox.h.
#include "launch/watch/blackbox.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "data/codec.h"

enum { WEEKS = 14 * 24 * 3600 };
#define NODE_FOLDER "/dev/shm"
#define SUFFIX      ".journal"

static char own_path[PATH_BYTES]; // of this process; empty: none

// "dye-0-89abcdef01234567-": the files of this user and run.
static Status make_prefix(const char *run_dir, char out[64]) {
    char real[PATH_MAX];
    FAIL_IF(realpath(run_dir, real) == NULL, IO, "%s: %s", run_dir, strerror(errno));
    snprintf(out, 64, "dye-%u-%016" PRIx64 "-", (unsigned)getuid(), codec_hash(real, strlen(real)));
    return STATUS_OK;
}

static Status make_path(const char *prefix, int rank, int pid, char out[PATH_BYTES]) {
    return path_format(out, NODE_FOLDER "/%s%d-%d" SUFFIX, prefix, rank, pid);
}

static bool has_ends(const char *name, const char *prefix) {
    size_t length = strlen(name), end = strlen(SUFFIX);
    return strncmp(name, prefix, strlen(prefix)) == 0 && length > end &&
           strcmp(name + length - end, SUFFIX) == 0;
}

static Status read_journal(const char *path, Journal **out) {
    size_t bytes;
    char *data;
    *out = NULL;
    TRY(file_read(path, sizeof(Journal), &data, &bytes));
    *out = (Journal *)data;
    Status status = journal_check(*out, bytes, path);
    if (status == STATUS_OK) return STATUS_OK;
    free(data);
    *out = NULL;
    return status;
}

// ---- files of this host -------------------------------------------------------------------------

// Calls `each` for the journal files of this host with this prefix.
static Status for_each(const char *folder, const char *prefix,
                       Status (*each)(void *context, const char *path), void *context) {
    char **names, path[PATH_BYTES];
    int count;
    if (!file_exists(folder)) return STATUS_OK;
    TRY(folder_names(folder, &names, &count));
    Status status = STATUS_OK;
    for (int i = 0; i < count && status == STATUS_OK; ++i) {
        if (!has_ends(names[i], prefix)) continue;
        status = path_format(path, "%s/%s", folder, names[i]);
        if (status == STATUS_OK) status = each(context, path);
    }
    folder_names_free(names, count);
    return status;
}

static Status remove_if_old(void *context, const char *path) {
    (void)context;
    struct stat info;
    if (stat(path, &info) == 0 && info.st_mtime + WEEKS < time(NULL)) unlink(path);
    return STATUS_OK;
}

// Files that are damaged, or go while we look, are nobody's evidence.
static Status copy_to_run(void *context, const char *path) {
    const char *run_dir = context;
    char to[PATH_BYTES];
    Journal *journal;
    if (read_journal(path, &journal) != STATUS_OK) {
        error_clear();
        return STATUS_OK;
    }
    Status status = path_format(to, "%s/forensics/rank-%05d" SUFFIX, run_dir, journal->rank);
    if (status == STATUS_OK) status = file_write_atomic(to, journal, sizeof *journal);
    free(journal);
    return status;
}

Status blackbox_collect(const char *run_dir) {
    char prefix[64], folder[PATH_BYTES];
    TRY(path_format(folder, "%s/forensics", run_dir));
    TRY(folder_make(folder));
    TRY(make_prefix(run_dir, prefix));
    return for_each(NODE_FOLDER, prefix, copy_to_run, (void *)run_dir);
}

static Status collect_dead(void *context, const char *path) {
    int pid = atoi(strrchr(path, '-') + 1);
    char proc[64];
    snprintf(proc, sizeof proc, "/proc/%d", pid);
    if (file_exists(proc)) return STATUS_OK;
    TRY(copy_to_run(context, path));
    unlink(path); // of several ranks of a host one does it
    return STATUS_OK;
}

Status blackbox_open(const char *run_dir, int rank, int world, const char *host) {
    char prefix[64], forensics[PATH_BYTES], path[PATH_BYTES];
    Journal owner = {.rank = rank, .world = world};
    TRY(path_format(forensics, "%s/forensics", run_dir));
    TRY(folder_make(forensics));
    TRY(make_prefix(run_dir, prefix));
    TRY(for_each(NODE_FOLDER, "dye-", remove_if_old, NULL));
    TRY(for_each(NODE_FOLDER, prefix, collect_dead, (void *)run_dir));
    TRY(make_path(prefix, rank, getpid(), path));
    snprintf(owner.host, sizeof owner.host, "%s", host);
    snprintf(owner.run, sizeof owner.run, "%s", run_dir);
    TRY(journal_open(path, &owner));
    memcpy(own_path, path, sizeof own_path);
    return STATUS_OK;
}

bool blackbox_last(const char *run_dir, int rank, int pid, JournalEntry *out) {
    char prefix[64], path[PATH_BYTES];
    Journal *journal = NULL;
    bool found = make_prefix(run_dir, prefix) == STATUS_OK &&
                 make_path(prefix, rank, pid, path) == STATUS_OK &&
                 read_journal(path, &journal) == STATUS_OK && journal_last(journal, out);
    error_clear();
    free(journal);
    return found;
}

void blackbox_close(void) {
    journal_close();
    if (own_path[0] != '\0') unlink(own_path);
    own_path[0] = '\0';
}

// ---- reading ------------------------------------------------------------------------------------

typedef struct {
    Blackboxes *boxes;
    void (*warn)(const char *line);
} Reading;

static double last_time(const Journal *journal) {
    JournalEntry entry;
    return journal_last(journal, &entry) ? entry.time + journal->wall : 0;
}

// Of two journals of a rank the later one counts.
static Status add(Blackboxes *boxes, Journal *journal) {
    for (int i = 0; i < boxes->count; ++i) {
        if (boxes->journal[i]->rank != journal->rank) continue;
        bool later = last_time(journal) > last_time(boxes->journal[i]);
        free(later ? boxes->journal[i] : journal);
        if (later) boxes->journal[i] = journal;
        return STATUS_OK;
    }
    Journal **more = realloc(boxes->journal, ((size_t)boxes->count + 1) * sizeof *boxes->journal);
    if (more == NULL) {
        free(journal);
        FAIL(NO_MEMORY, "no memory for the journals of %d ranks", boxes->count + 1);
    }
    boxes->journal = more;
    boxes->journal[boxes->count++] = journal;
    return STATUS_OK;
}

static Status read_one(void *context, const char *path) {
    const Reading *reading = context;
    Journal *journal;
    if (read_journal(path, &journal) == STATUS_OK) return add(reading->boxes, journal);
    reading->warn(error_get()->text);
    error_clear();
    return STATUS_OK;
}

static int compare_ranks(const void *a, const void *b) {
    return (*(Journal *const *)a)->rank - (*(Journal *const *)b)->rank;
}

Status blackbox_read(const char *run_dir, void (*warn)(const char *line), Blackboxes *out) {
    char prefix[64], folder[PATH_BYTES];
    Reading reading = {out, warn};
    *out = (Blackboxes){0};
    TRY(make_prefix(run_dir, prefix));
    TRY(path_format(folder, "%s/forensics", run_dir));
    Status status = for_each(folder, "rank-", read_one, &reading);
    if (status == STATUS_OK) status = for_each(NODE_FOLDER, prefix, read_one, &reading);
    if (status != STATUS_OK) {
        blackbox_free(out);
        return status;
    }
    if (out->count > 0)
        qsort(out->journal, (size_t)out->count, sizeof *out->journal, compare_ranks);
    return STATUS_OK;
}

void blackbox_free(Blackboxes *boxes) {
    for (int i = 0; i < boxes->count; ++i) free(boxes->journal[i]);
    free(boxes->journal);
    *boxes = (Blackboxes){0};
}
