// dye status: what a run is doing, from any shell that sees its folder.
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "launch/blocks.h"
#include "launch/command.h"
#include "launch/console.h"
#include "launch/run_folder.h"
#include "launch/wall_clock.h"

enum {
    STATUS_BYTES_MOST = 4 << 20,
    SAMPLES_BYTES_MOST = 64 << 20,
    RANKS_PRINTED = 64,
    CURVE_COLUMNS = 60,
    WATCH_SECONDS = 2,
    SAMPLE_LINES = 16,
    TEXT_LINES = 3
};

static const char usage[] = "usage: dye status RUN [--json | --watch]";

static const char *text_of(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

static double number_of(const json_t *object, const char *key) {
    return json_number_value(json_object_get(object, key));
}

static void print_rank(const json_t *rank) {
    const char *waits_in = text_of(rank, "waits_in");
    char age[32], silent[64] = "";
    clock_format(number_of(rank, "seconds"), age, sizeof age);
    if (number_of(rank, "silent") > 4)
        snprintf(silent, sizeof silent, ", silent for %.0f s", number_of(rank, "silent"));
    printf("  %5.0f  %-16s %7.0f  %8.0f  %s%s%s%s for %s%s\n", number_of(rank, "rank"),
           text_of(rank, "host"), number_of(rank, "pid"), number_of(rank, "step"),
           text_of(rank, "phase"), waits_in[0] != '\0' ? ", waits in " : "", waits_in,
           waits_in[0] != '\0' ? "" : ",", age, silent);
}

static void print_state(const char *run_dir, const json_t *status) {
    char age[32];
    double seconds = fmax(clock_wall() - number_of(status, "written"), 0);
    RunState state = run_state_of(status);
    bool ended = state == RUN_ENDED, runs = state == RUN_RUNNING;
    clock_format(seconds, age, sizeof age);
    printf("%s: %s; %.0f ranks, told by rank %.0f on %s %s ago\n", run_dir,
           ended  ? "ended politely"
           : runs ? "running"
                  : "not running any more, or cut off",
           number_of(status, "world"), number_of(status, "speaker"), text_of(status, "host"), age);
    if (text_of(status, "line")[0] != '\0') printf("  %s\n", text_of(status, "line"));
    if (text_of(status, "good_checkpoint")[0] != '\0')
        printf("  last good checkpoint: %s\n", text_of(status, "good_checkpoint"));
    if (text_of(status, "cause")[0] != '\0') printf("  ALARM: %s\n", text_of(status, "cause"));
    if (!ended && !runs) printf("  how it ended: dye forensics %s\n", run_dir);
    if (!runs) return;
    const json_t *rank;
    size_t i;
    printf("   rank  host                 pid      step  doing\n");
    json_array_foreach(json_object_get(status, "ranks"), i, rank) {
        if (i < RANKS_PRINTED) print_rank(rank);
    }
}

// A curve of at most `columns` signs, each the mean of the points that it stands for.
static void print_curve(const char *run_dir, const char *title, const char *name, const char *key,
                        int columns) {
    static const char *const bars[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    int count;
    double *value = run_folder_curve(run_dir, name, key, &count), least = INFINITY,
           most = -INFINITY;
    if (count < columns) columns = count;
    for (int i = 0; i < columns; ++i) { // the means take the first places
        int64_t begin = (int64_t)count * i / columns, end = (int64_t)count * (i + 1) / columns;
        double sum = 0;
        for (int64_t k = begin; k < end; ++k) sum += value[k];
        value[i] = sum / (double)(end - begin);
        least = fmin(least, value[i]), most = fmax(most, value[i]);
    }
    if (columns > 1) printf("  %-9s ", title);
    for (int i = 0; i < columns && columns > 1; ++i)
        fputs(bars[most > least ? (int)fmin((value[i] - least) / (most - least) * 8, 7) : 0],
              stdout);
    if (columns > 1) printf("  %.4g to %.4g\n", most, least);
    free(value);
}

// The newest file of RUN/samples with this ending; "": there is none.
static void find_newest(const char *run_dir, const char *end, char path[PATH_BYTES]) {
    char folder[PATH_BYTES], **names;
    int count;
    path[0] = '\0';
    if (path_format(folder, "%s/samples", run_dir) != STATUS_OK ||
        folder_names(folder, &names, &count) != STATUS_OK) {
        error_clear();
        return;
    }
    for (int i = 0; i < count; ++i) {
        size_t length = strlen(names[i]), most = strlen(end);
        bool fits = strncmp(names[i], "step-", 5) == 0 && length > most &&
                    strcmp(names[i] + length - most, end) == 0;
        if (fits && path_format(path, "%s/%s", folder, names[i]) != STATUS_OK) path[0] = '\0';
    }
    folder_names_free(names, count);
}

// The last samples: pictures as blocks, the first lines of text.
static void print_samples(const char *run_dir) {
    char path[PATH_BYTES], *text;
    size_t bytes;
    int columns = console_width(stdout) - 4;
    find_newest(run_dir, ".png", path);
    if (path[0] != '\0') {
        printf("  %s\n", path);
        if (blocks_print(path, columns, SAMPLE_LINES, stdout) != STATUS_OK) error_clear();
    }
    find_newest(run_dir, ".txt", path);
    if (path[0] == '\0') return;
    if (file_read(path, SAMPLES_BYTES_MOST, &text, &bytes) != STATUS_OK) {
        error_clear();
        return;
    }
    printf("  %s\n", path);
    const char *line = text;
    for (int i = 0; i < TEXT_LINES && *line != '\0'; ++i) {
        int length = (int)strcspn(line, "\n");
        printf("  | %.*s\n", length < columns ? length : columns, line);
        line += length + (line[length] == '\n');
    }
    free(text);
}

static void print_curves(const char *run_dir) {
    print_curve(run_dir, "loss", "metrics.jsonl", "loss", CURVE_COLUMNS);
    print_curve(run_dir, "held out", "eval.jsonl", "loss", CURVE_COLUMNS);
    print_curve(run_dir, "samples/s", "metrics.jsonl", "samples_per_s", CURVE_COLUMNS);
}

typedef struct {
    bool json, watch;
    const char *run_dir;
} StatusCommand;

static Status parse(int argc, char **argv, StatusCommand *out) {
    static const struct option options[] = {
        {"json", no_argument, NULL, 'j'}, {"watch", no_argument, NULL, 'w'}, {0}};
    optind = 1;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        FAIL_IF(option != 'j' && option != 'w', BAD_USAGE, "%s", usage);
        *(option == 'j' ? &out->json : &out->watch) = true;
    }
    FAIL_IF(optind != argc - 1 || (out->json && out->watch), BAD_USAGE, "%s", usage);
    out->run_dir = argv[optind];
    return STATUS_OK;
}

// *runs: it is running.
static Status show(const StatusCommand *command, bool *runs) {
    char path[PATH_BYTES], *text;
    size_t bytes;
    TRY(path_format(path, "%s/status.json", command->run_dir));
    FAIL_IF(!file_exists(path), NOT_FOUND,
            "%s holds no status.json: nothing has been trained there yet", command->run_dir);
    TRY(file_read(path, STATUS_BYTES_MOST, &text, &bytes));
    json_t *status = NULL;
    Status parsed = json_parse(text, bytes, path, &status);
    if (parsed == STATUS_OK && command->watch && isatty(STDOUT_FILENO))
        fputs("\033[H\033[2J", stdout); // from the top of an empty screen
    if (parsed == STATUS_OK && command->json)
        fputs(text, stdout);
    else if (parsed == STATUS_OK)
        print_state(command->run_dir, status);
    if (parsed == STATUS_OK && !command->json) {
        print_curves(command->run_dir);
        print_samples(command->run_dir);
    }
    fflush(stdout);
    *runs = parsed == STATUS_OK && run_state_of(status) == RUN_RUNNING;
    json_decref(status);
    free(text);
    return parsed;
}

Status cmd_status(int argc, char **argv) {
    StatusCommand command = {0};
    bool runs;
    TRY(parse(argc, argv, &command));
    TRY(show(&command, &runs));
    while (command.watch && runs) {
        sleep(WATCH_SECONDS);
        TRY(show(&command, &runs));
    }
    return STATUS_OK;
}
