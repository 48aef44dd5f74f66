// dye diff: in which keys two configurations differ, of runs or of files.
#include <getopt.h>
#include <stdio.h>

#include "base/file.h"
#include "base/json.h"
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

static void put_key(void *context, const char *key, const char *a, const char *b) {
    json_object_set_new(context, key, json_pack("[s, s]", a, b));
}

// {"optim.lr": ["0.001", "0.002"]}
static Status print_json(const RunSettings *a, const RunSettings *b) {
    json_t *keys = json_object();
    FAIL_IF(keys == NULL, NO_MEMORY, "no memory for keys");
    run_config_diff(a, b, put_key, keys);
    json_dumpf(keys, stdout, JSON_INDENT(2));
    puts("");
    json_decref(keys);
    return STATUS_OK;
}

Status cmd_diff(int argc, char **argv) {
    static const struct option options[] = {{"json", no_argument, NULL, 'j'}, {0}};
    static const char usage[] = "usage: dye diff RUN_A|A.yaml RUN_B|B.yaml [--json]";
    RunSettings a, b;
    bool json = false;
    int count = 0;
    optind = 1;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1; json = true)
        FAIL_IF(option != 'j', BAD_USAGE, "%s", usage);
    FAIL_IF(argc - optind != 2, BAD_USAGE, "%s", usage);
    TRY(read_side(argv[optind], &a));
    TRY(read_side(argv[optind + 1], &b));
    if (json) return print_json(&a, &b);
    run_config_diff(&a, &b, print_key, &count);
    if (count == 0) puts("the same configuration");
    return STATUS_OK;
}
