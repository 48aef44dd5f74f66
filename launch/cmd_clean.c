// dye clean: old checkpoints go, the last good ones stay.
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "launch/checkpoint_view.h"
#include "launch/command.h"
#include "launch/console.h"
#include "launch/lock.h"
#include "launch/options.h"
#include "launch/run_folder.h"

static const char usage[] = "usage: dye clean RUN ... [--keep N] [--dry-run]";

typedef struct {
    int64_t keep; // good ones
    bool dry;
} Cleaning;

// The number of the oldest one that stays: behind it stand `keep` good ones, itself among them, and
// the broken ones between, which are told.
static Status find_oldest(const char *run_dir, char *const *names, int count,
                          const Cleaning *cleaning, int *oldest) {
    char path[PATH_BYTES];
    int64_t good = 0;
    *oldest = 0;
    for (int i = count - 1; i >= 0 && good < cleaning->keep; --i) {
        TRY(path_format(path, "%s/%s", run_dir, names[i]));
        Status status = checkpoint_verify(path);
        if (status == STATUS_OK) ++good;
        if (status != STATUS_OK) console_warn(error_get()->text);
        error_clear();
        *oldest = i;
    }
    FAIL_IF(good == 0 && count > 0, BAD_DATA,
            "%s: none of its %d checkpoints is good; nothing is removed", run_dir, count);
    return STATUS_OK;
}

static Status remove_before(const char *run_dir, char *const *names, int oldest,
                            const Cleaning *cleaning) {
    RunSummary before, after;
    TRY(run_folder_read(run_dir, &before));
    for (int i = 0; i < oldest; ++i) {
        if (cleaning->dry)
            printf("%s/%s would be removed\n", run_dir, names[i]);
        else
            TRY(checkpoint_remove(run_dir, names[i]));
    }
    if (cleaning->dry) {
        if (oldest == 0) printf("%s: nothing to remove\n", run_dir);
        return STATUS_OK;
    }
    TRY(run_folder_read(run_dir, &after));
    printf("%s: %d checkpoint%s removed, %d left, %.1f MB freed\n", run_dir, oldest,
           oldest == 1 ? "" : "s", after.checkpoints, (double)(before.bytes - after.bytes) / 1e6);
    return STATUS_OK;
}

static Status clean_run(const char *run_dir, const Cleaning *cleaning) {
    char **names;
    int count, oldest;
    FAIL_IF(!run_folder_is(run_dir), NOT_FOUND, "%s is no run folder", run_dir);
    TRY(process_lock_take(run_dir)); // nobody saves meanwhile
    Status status = checkpoint_list(run_dir, &names, &count);
    if (status == STATUS_OK) {
        status = find_oldest(run_dir, names, count, cleaning, &oldest);
        if (status == STATUS_OK) status = remove_before(run_dir, names, oldest, cleaning);
        folder_names_free(names, count);
    }
    process_lock_release();
    return status;
}

Status cmd_clean(int argc, char **argv) {
    static const struct option options[] = {
        {"keep", required_argument, NULL, 'k'}, {"dry-run", no_argument, NULL, 'd'}, {0}};
    Cleaning cleaning = {.keep = 1};
    optind = 1;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (option) {
        case 'k': TRY(option_i64("--keep", optarg, 1, 1000000, &cleaning.keep)); break;
        case 'd': cleaning.dry = true; break;
        default: FAIL(BAD_USAGE, "%s", usage);
        }
    }
    FAIL_IF(optind >= argc, BAD_USAGE, "%s", usage);
    for (int i = optind; i < argc; ++i) TRY(clean_run(argv[i], &cleaning));
    return STATUS_OK;
}
