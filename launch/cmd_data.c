// dye pack, inspect, verify: everything about files that needs no model.
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "data/dataset.h"
#include "data/pack.h"
#include "launch/command.h"
#include "launch/options.h"
#include "trainer/checkpoint.h"

// ---- pack -------------------------------------------------------------------------------------

static void show_progress(void *context, double fraction, const char *what) {
    double *last = context, now = clock_now();
    if (isatty(STDERR_FILENO) == 0 || (now - *last < 0.1 && fraction < 1)) return;
    *last = now;
    fprintf(stderr, "\r%3.0f %% %s\033[K%s", 100 * fraction, what, fraction >= 1 ? "\n" : "");
}

static Status parse_form(const char *text, TextForm *out) {
    if (strcmp(text, "letters27") == 0)
        *out = FORM_LETTERS27;
    else if (strcmp(text, "bytes") == 0)
        *out = FORM_BYTES;
    else
        FAIL(BAD_USAGE, "--form is 'letters27' or 'bytes', not '%s'", text);
    return STATUS_OK;
}

Status cmd_pack(int argc, char **argv) {
    static const struct option options[] = {{"out", required_argument, NULL, 'o'},
                                            {"form", required_argument, NULL, 'f'},
                                            {"name", required_argument, NULL, 'n'},
                                            {"items", required_argument, NULL, 'i'},
                                            {"seed", required_argument, NULL, 's'},
                                            {"force", no_argument, NULL, 'F'},
                                            {0}};
    double last = 0;
    PackConfig config = {.progress = show_progress, .context = &last};
    int64_t seed = 0;
    optind = 1;
    for (int option; (option = getopt_long(argc, argv, "o:", options, NULL)) != -1;) {
        switch (option) {
        case 'o': config.out = optarg; break;
        case 'f': TRY(parse_form(optarg, &config.form)); break;
        case 'n': config.name = optarg; break;
        case 'i':
            TRY(option_i64("--items", optarg, 1, INT64_C(1) << 40, &config.train_items));
            break;
        case 's': TRY(option_i64("--seed", optarg, 0, INT64_MAX, &seed)); break;
        case 'F': config.force = true; break;
        default: FAIL(BAD_USAGE, "see `dye help pack`");
        }
    }
    config.seed = (uint64_t)seed;
    FAIL_IF(argc - optind != 1 || config.out == NULL, BAD_USAGE,
            "which source, and where to? usage: dye pack SOURCE -o DIR");
    config.source = argv[optind];
    double started = clock_now();
    TRY(pack(&config));
    printf("packed %s into %s in %.1f s\n", config.source, config.out, clock_now() - started);
    return STATUS_OK;
}

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
    char **names;
    int count, broken = 0;
    TRY(checkpoint_list(run_dir, &names, &count));
    for (int i = 0; i < count; ++i) {
        char path[PATH_BYTES];
        Status status = path_format(path, "%s/%s", run_dir, names[i]);
        if (status == STATUS_OK) status = checkpoint_verify(path);
        if (status == STATUS_OK)
            printf("good: %s\n", path);
        else
            printf("BROKEN: %s: %s\n", path, error_get()->text), ++broken;
    }
    folder_names_free(names, count);
    FAIL_IF(count == 0, NOT_FOUND,
            "%s holds no data set (index.json), checkpoint (manifest.json) or run (step-*)",
            run_dir);
    FAIL_IF(broken > 0, BAD_DATA, "%d of %d checkpoints of %s are broken, named above", broken,
            count, run_dir);
    return STATUS_OK;
}

Status cmd_verify(int argc, char **argv) {
    FAIL_IF(argc != 2, BAD_USAGE, "usage: dye verify PATH");
    const char *path = argv[1];
    FAIL_IF(access(path, F_OK) != 0, NOT_FOUND, "%s is not there", path);
    const char *name = strrchr(path, '/') != NULL ? strrchr(path, '/') + 1 : path;
    if (holds(path, "index.json")) {
        TRY(dataset_verify(path));
    } else if (holds(path, "manifest.json") || strncmp(name, "step-", 5) == 0) {
        TRY(checkpoint_verify(path));
    } else {
        return verify_run(path);
    }
    printf("good: %s\n", path);
    return STATUS_OK;
}
