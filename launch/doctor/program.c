// The hash of the running file, and its comparison over ranks.
#include "launch/doctor/program.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "data/codec.h"
#include "base/file.h"
#include "launch/doctor/odd_ranks.h"

static const char self[] = "/proc/self/exe";

static uint64_t hash_self(void) {
    static uint64_t hash; // asked for twice at a start
    char *content;
    size_t bytes;
    if (hash != 0) return hash;
    if (file_read(self, (size_t)1 << 30, &content, &bytes) == STATUS_OK) {
        hash = codec_hash(content, bytes);
        free(content);
    }
    error_clear();
    return hash;
}

void program_describe(Program *out) {
    char path[200] = "", written[32] = "unknown time";
    struct stat info;
    struct tm utc;
    *out = (Program){.hash = hash_self()};
    if (readlink(self, path, sizeof path - 1) < 0) path[0] = '\0';
    if (stat(self, &info) == 0 && gmtime_r(&info.st_mtime, &utc) != NULL)
        strftime(written, sizeof written, "%Y-%m-%d %H:%M UTC", &utc);
    snprintf(out->text, sizeof out->text, "%016llx, %s of %s", (unsigned long long)out->hash, path,
             written);
}

typedef struct {
    uint64_t *hash;
    bool *odd;
    const char **host;
    Program *program;
} Table;

// The texts travel only where they are needed.
static Status tell_odd(Comm *comm, const Program *mine, Table *table) {
    int world = comm_world(comm), usual;
    int count = odd_ranks_find(table->hash, world, table->odd, &usual), first = 0;
    char ranks[160];
    if (count == 0) return STATUS_OK;
    TRY(comm_gather(comm, mine, sizeof *mine, table->program));
    for (int rank = 0; rank < world; ++rank) table->host[rank] = comm_host_of(comm, rank);
    while (!table->odd[first]) ++first;
    odd_ranks_text(table->host, table->odd, world, ranks, sizeof ranks);
    FAIL(BAD_CONFIG,
         "%s run%s another program (%s) than the others (%s): copy the same file to all"
         " hosts",
         ranks, count == 1 ? "s" : "", table->program[first].text, table->program[usual].text);
}

Status program_check(Comm *comm) {
    int world = comm_world(comm);
    if (world == 1) return STATUS_OK;
    Program mine;
    program_describe(&mine);
    Table table = {.hash = calloc((size_t)world, sizeof *table.hash),
                   .odd = calloc((size_t)world, sizeof *table.odd),
                   .host = calloc((size_t)world, sizeof *table.host),
                   .program = calloc((size_t)world, sizeof *table.program)};
    bool good =
        table.hash != NULL && table.odd != NULL && table.host != NULL && table.program != NULL;
    Status status = STATUS_OK;
    if (good) status = comm_gather(comm, &mine.hash, sizeof mine.hash, table.hash);
    if (good && status == STATUS_OK) status = tell_odd(comm, &mine, &table);
    free(table.hash), free(table.odd), free(table.host), free(table.program);
    FAIL_IF(!good, NO_MEMORY, "no memory to compare %d ranks", world);
    return status;
}
