// dye plan: what a run would take of a GPU, and the largest grain that fits, without a GPU.
#include <ctype.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "launch/command.h"
#include "launch/forecast.h"
#include "launch/options.h"
#include "launch/run_config.h"

#define USAGE                                                                                      \
    "usage: dye plan CONFIG.yaml [key=value ...] --gpus N [--per-host 8] [--memory 80G]"           \
    " [--backend cuda|cpu] [--rank R] [--json]"

// In the makers' gigabytes.
static const struct {
    const char *name;
    double bytes;
} gpus[] = {{"80 GB (A100, H100)", 80e9}, {"141 GB (H200)", 141e9}};
enum { GPUS = sizeof gpus / sizeof *gpus };

typedef struct {
    const char *config_path, *backend;
    char **overrides;
    int override_count;
    int64_t world, rank; // rank -1: the one that takes most
    int64_t per_host;    // ranks of a host
    double memory;       // bytes; 0: those of the table
    bool json;
} PlanCommand;

static Status parse_memory(const char *text, double *out) {
    char *unit;
    double number = strtod(text, &unit);
    double scale = toupper(*unit) == 'T' ? 1e12 : toupper(*unit) == 'G' ? 1e9 : 1e6;
    bool known = unit != text && strchr("TGM", toupper(*unit)) != NULL && *unit != '\0' &&
                 (unit[1] == '\0' || (toupper(unit[1]) == 'B' && unit[2] == '\0'));
    FAIL_IF(!known || !(number > 0 && number < 1e9), BAD_USAGE,
            "--memory wants megabytes, gigabytes or terabytes of a GPU, such as 80G, not '%s'",
            text);
    *out = number * scale;
    return STATUS_OK;
}

static Status parse(int argc, char **argv, PlanCommand *command) {
    static const struct option options[] = {{"gpus", required_argument, NULL, 'g'},
                                            {"memory", required_argument, NULL, 'm'},
                                            {"backend", required_argument, NULL, 'b'},
                                            {"rank", required_argument, NULL, 'r'},
                                            {"json", no_argument, NULL, 'j'},
                                            {"per-host", required_argument, NULL, 'h'},
                                            {0}};
    optind = 1;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (option) {
        case 'g': TRY(option_i64("--gpus", optarg, 1, 65536, &command->world)); break;
        case 'h': TRY(option_i64("--per-host", optarg, 1, 65536, &command->per_host)); break;
        case 'r': TRY(option_i64("--rank", optarg, 0, 65535, &command->rank)); break;
        case 'm': TRY(parse_memory(optarg, &command->memory)); break;
        case 'b':
            command->backend = optarg;
            FAIL_IF(strcmp(optarg, "cuda") != 0 && strcmp(optarg, "cpu") != 0, BAD_USAGE,
                    "--backend wants cuda or cpu, not '%s'", optarg);
            break;
        case 'j': command->json = true; break;
        default: FAIL(BAD_USAGE, USAGE);
        }
    }
    FAIL_IF(optind >= argc, BAD_USAGE, "which configuration? " USAGE);
    FAIL_IF(command->world == 0, BAD_USAGE, "for how many GPUs? " USAGE);
    FAIL_IF(command->rank >= command->world, BAD_USAGE, "--rank %d: there are ranks 0 to %d",
            (int)command->rank, (int)command->world - 1);
    bool even = command->per_host > 1 && command->world % command->per_host == 0;
    if (!even) command->per_host = command->world; // as comm_group
    command->config_path = argv[optind];
    command->overrides = argv + optind + 1;
    command->override_count = argc - optind - 1;
    return STATUS_OK;
}

// ---- for people -------------------------------------------------------------------------------

static void print_row(const char *purpose, double device, double host, const char *note) {
    char text[2][24] = {"", ""};
    if (device > 0) snprintf(text[0], sizeof text[0], "%.1f", device / 1e6);
    if (host > 0) snprintf(text[1], sizeof text[1], "%.1f", host / 1e6);
    printf("%-24s %12s %12s%s%s\n", purpose, text[0], text[1], note[0] != '\0' ? "  " : "", note);
}

static void print_rows(const Forecast *forecast, const ForecastRank *rank) {
    const Plan *plan = &rank->plan;
    double device = (double)plan_device_bytes(plan), host = (double)plan_host_bytes(plan);
    double workspace = (double)forecast->streams * MATMUL_WORKSPACE_BYTES;
    printf("%-24s %12s %12s\n", "purpose", forecast->on_host ? "" : "GPU MB", "host MB");
    for (int i = 0; i < plan->items; ++i)
        if (plan->item[i].device + plan->item[i].host > 0)
            print_row(plan->item[i].purpose, (double)plan_item_bytes(plan, i, false),
                      (double)plan_item_bytes(plan, i, true), "");
    print_row("planned", device, host, "");
    if (forecast->on_host) return;
    print_row("workspace of cuBLASLt", workspace, 0, "each stream has 33.6 MB");
    print_row("context of the driver", FORECAST_CONTEXT_BYTES, 0, "assumed, outside the plan");
    print_row("in all", device + (double)forecast_outside(forecast), host, "");
}

// The fewest blocks whose activations, computed again, let it fit; 0: it does, or none do.
static Status find_recompute(const PlanCommand *command, const Forecast *forecast, double taken,
                             double bytes, int *out) {
    *out = 0;
    if (taken <= bytes) return STATUS_OK;
    return forecast_recompute(forecast, (int)command->rank, (size_t)bytes, out);
}

static Status print_fit(const PlanCommand *command, const Forecast *forecast,
                        const ForecastRank *rank, const char *name, double bytes) {
    int recompute, depth = forecast->settings.model.depth;
    int64_t batch = forecast->settings.train.batch;
    double taken = (double)plan_device_bytes(&rank->plan) + (double)forecast_outside(forecast);
    int64_t grain = forecast_largest_grain(forecast, (size_t)bytes);
    printf("%s: %s %.1f GB", name, taken <= bytes ? "fits, leaving" : "does not fit, lacking",
           fabs(bytes - taken) / 1e9);
    if (grain > 0)
        printf("; the largest grain%s is %" PRId64 " samples (train.grains=%" PRId64 ")\n",
               grain == forecast_next_grain(forecast, 0) ? " of this batch fits: it" : " that fits",
               grain, batch / grain);
    else
        printf("; no grain fits%s\n", forecast->world == 1 ? ": take more GPUs" : "");
    TRY(find_recompute(command, forecast, taken, bytes, &recompute));
    if (recompute > 0)
        printf("%s: device.recompute=%d lets it fit: %d of %d blocks are computed twice\n", name,
               recompute, recompute - 1, depth);
    return STATUS_OK;
}

static Status print_plan(const PlanCommand *command, const Forecast *forecast,
                         const ForecastRank *rank) {
    const TrainConfig *train = &forecast->settings.train;
    int64_t grain = train->batch / train->grains;
    printf("model: %s, %.2f M parameters in %d parts; %.2f GFLOP a training sample\n",
           forecast->settings.model.family, (double)forecast->model.params.size / 1e6,
           forecast->model.params.parts, 3 * network_forward_flops(forecast->model.network) / 1e9);
    printf("rank %d of %d: %d grains of %" PRId64 " samples on %d stream%s\n", rank->rank,
           forecast->world, rank->grains, grain, rank->streams, rank->streams == 1 ? "" : "s");
    print_rows(forecast, rank);
    printf("a sample of a grain takes %.1f MB\n", (double)forecast_sample_bytes(forecast) / 1e6);
    if (forecast->on_host) return STATUS_OK;
    if (command->memory > 0) {
        char name[32];
        snprintf(name, sizeof name, "%g GB", command->memory / 1e9);
        return print_fit(command, forecast, rank, name, command->memory);
    }
    for (int i = 0; i < GPUS; ++i)
        TRY(print_fit(command, forecast, rank, gpus[i].name, gpus[i].bytes));
    return STATUS_OK;
}

// ---- for scripts ------------------------------------------------------------------------------

static void put_bytes(json_t *object, const char *purpose, size_t bytes) {
    if (bytes > 0) json_object_set_new(object, purpose, json_integer((json_int_t)bytes));
}

static Status put_fit(const PlanCommand *command, const Forecast *forecast, size_t taken,
                      double bytes, json_t *list) {
    int recompute;
    int64_t grain = forecast_largest_grain(forecast, (size_t)bytes);
    TRY(find_recompute(command, forecast, (double)taken, bytes, &recompute));
    json_array_append_new(list, json_pack("{s:I, s:b, s:I, s:i}", "bytes", (json_int_t)bytes,
                                          "fits", (double)taken <= bytes, "largest_grain",
                                          (json_int_t)grain, "recompute", recompute));
    return STATUS_OK;
}

static Status put_fits(const PlanCommand *command, const Forecast *forecast, size_t taken,
                       json_t *list) {
    if (command->memory > 0) return put_fit(command, forecast, taken, command->memory, list);
    for (int i = 0; i < GPUS && !forecast->on_host; ++i)
        TRY(put_fit(command, forecast, taken, gpus[i].bytes, list));
    return STATUS_OK;
}

static Status print_json(const PlanCommand *command, const Forecast *forecast,
                         const ForecastRank *rank) {
    const Plan *plan = &rank->plan;
    const TrainConfig *train = &forecast->settings.train;
    size_t device = plan_device_bytes(plan), outside = forecast_outside(forecast);
    json_t *memory = json_array();
    Status status = put_fits(command, forecast, device + outside, memory);
    if (status != STATUS_OK) {
        json_decref(memory);
        return status;
    }
    json_t *on_device = json_object(), *on_host = json_object();
    for (int i = 0; i < plan->items; ++i) {
        put_bytes(on_device, plan->item[i].purpose, plan_item_bytes(plan, i, false));
        put_bytes(on_host, plan->item[i].purpose, plan_item_bytes(plan, i, true));
    }
    json_t *largest = json_object_get(json_array_get(memory, 0), "largest_grain");
    json_t *all = json_pack(
        "{s:I, s:i, s:i, s:i, s:I, s:o, s:I, s:o, s:I, s:I, s:I, s:O*, s:o}", "parameters",
        (json_int_t)forecast->model.params.size, "gpus", forecast->world, "rank", rank->rank,
        "streams", rank->streams, "grain", (json_int_t)(train->batch / train->grains), "bytes",
        on_device, "total", (json_int_t)device, "host_bytes", on_host, "host_total",
        (json_int_t)plan_host_bytes(plan), "outside", (json_int_t)outside, "in_all",
        (json_int_t)(device + outside), "largest_grain", largest, "memory", memory);
    FAIL_IF(all == NULL, NO_MEMORY, "no memory for the plan");
    json_dumpf(all, stdout, JSON_INDENT(2));
    puts("");
    json_decref(all);
    return STATUS_OK;
}

static Status run(const PlanCommand *command, Forecast *forecast) {
    RunSettings settings;
    ForecastRank rank;
    TRY(run_config_read(command->config_path, command->overrides, command->override_count,
                        &settings));
    TRY(forecast_open(&settings, (int)command->world, (int)command->per_host,
                      strcmp(command->backend, "cpu") == 0, forecast));
    forecast_rank(forecast, settings.train.batch / settings.train.grains, (int)command->rank,
                  &rank);
    if (command->json) return print_json(command, forecast, &rank);
    return print_plan(command, forecast, &rank);
}

Status cmd_plan(int argc, char **argv) {
    PlanCommand command = {.backend = "cuda", .rank = -1, .per_host = 8};
    Forecast forecast = {0};
    TRY(parse(argc, argv, &command));
    Status status = run(&command, &forecast);
    forecast_close(&forecast);
    return status;
}
