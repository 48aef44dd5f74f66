// dye diff: in which keys two configurations differ, of runs or of files.
#include <stdio.h>

#include "base/file.h"
#include "launch/command.h"
#include "launch/run_config.h"
#include "launch/run_folder.h"

static Status read_side(const char *word, RunSettings *out) {
    char path[PATH_BYTES];
    TRY(path_format(path, run_folder_is(word) ? "%s/config.yaml" : "%s", word));
    FAIL_IF(!file_exists(path), NOT_FOUND, "%s is neither a run folder nor a configuration", word);
    return run_config_read(path, NULL, 0, out);
}

static void print_key(void *context, const char *key, const char *a, const char *b) {
    int *count = context;
    if ((*count)++ == 0) printf("%-26s %-32s %s\n", "key", "a", "b");
    printf("%-26s %-32s %s\n", key, a, b);
}

Status cmd_diff(int argc, char **argv) {
    FAIL_IF(argc != 3, BAD_USAGE, "usage: dye diff RUN_A|A.yaml RUN_B|B.yaml");
    RunSettings a, b;
    int count = 0;
    TRY(read_side(argv[1], &a));
    TRY(read_side(argv[2], &b));
    run_config_diff(&a, &b, print_key, &count);
    if (count == 0) puts("the same configuration");
    return STATUS_OK;
}
