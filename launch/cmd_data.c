// dye inspect, verify: what packed data sets and checkpoints hold, and whether they are whole.
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "data/dataset.h"
#include "launch/checkpoint_view.h"
#include "launch/command.h"
#include "launch/console.h"
#include "launch/options.h"
#include "launch/session.h"

// ---- inspect ----------------------------------------------------------------------------------

Status cmd_inspect(int argc, char **argv) {
    static const struct option options[] = {
        {"split", required_argument, NULL, 's'}, {"item", required_argument, NULL, 'i'}, {0}};
    const char *split = "train";
    int64_t item = -1;
    optind = 1;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (option) {
        case 's': split = optarg; break;
        case 'i': TRY(option_i64("--item", optarg, 0, INT64_MAX, &item)); break;
        default: FAIL(BAD_USAGE, "see `dye help inspect`");
        }
    }
    FAIL_IF(argc - optind != 1, BAD_USAGE, "which data set? usage: dye inspect DIR [--item I]");
    return dataset_inspect(argv[optind], split, item, stdout);
}

// ---- verify -----------------------------------------------------------------------------------

static bool holds(const char *folder, const char *name) {
    char path[PATH_BYTES];
    return path_format(path, "%s/%s", folder, name) == STATUS_OK && file_exists(path);
}

// Goes through all checkpoints, so that one broken one does not hide the next.
static Status verify_run(const char *run_dir) {
    char **names, line[PATH_BYTES + ERROR_TEXT_BYTES + 16];
    int count, broken = 0;
    TRY(checkpoint_list(run_dir, &names, &count));
    for (int i = 0; i < count; ++i) {
        char path[PATH_BYTES];
        Status status = path_format(path, "%s/%s", run_dir, names[i]);
        if (status == STATUS_OK) status = checkpoint_verify(path);
        if (status == STATUS_OK)
            snprintf(line, sizeof line, "good: %s", path);
        else
            snprintf(line, sizeof line, "BROKEN: %s: %s", path, error_get()->text), ++broken;
        console_say(line);
    }
    folder_names_free(names, count);
    FAIL_IF(count == 0, NOT_FOUND,
            "%s holds no data set (index.json), checkpoint (manifest.json) or run (step-*)",
            run_dir);
    FAIL_IF(broken > 0, BAD_DATA, "%d of %d checkpoints of %s are broken, named above", broken,
            count, run_dir);
    return STATUS_OK;
}

// Ranks share the shards of a data set; what is smaller is for the first one.
static Status verify(void *context, Comm *comm) {
    const char *path = context;
    char line[PATH_BYTES + 16];
    int rank = comm_rank(comm), speaker;
    FAIL_IF(access(path, F_OK) != 0, NOT_FOUND, "%s is not there", path);
    const char *name = strrchr(path, '/') != NULL ? strrchr(path, '/') + 1 : path;
    Status status = STATUS_OK;
    bool run = false;
    if (holds(path, "index.json")) {
        status = dataset_verify(path, rank, comm_world(comm));
    } else if (holds(path, "manifest.json") || strncmp(name, "step-", 5) == 0) {
        if (rank == 0) status = checkpoint_verify(path);
    } else {
        run = true;
        if (rank == 0) status = verify_run(path);
    }
    TRY(comm_agree(comm, status, &speaker));
    snprintf(line, sizeof line, "good: %s", path);
    if (rank == 0 && !run) console_say(line);
    return STATUS_OK;
}

static Status nothing_to_start(void *context, Comm *comm) {
    (void)context;
    (void)comm;
    return STATUS_OK;
}

static void nothing_to_finish(void *context) {
    (void)context;
}

Status cmd_verify(int argc, char **argv) {
    FAIL_IF(argc != 2, BAD_USAGE, "usage: dye verify PATH");
    return session_run("auto", &(Session){argv[1], nothing_to_start, verify, nothing_to_finish});
}
