// What dye bench tells: lines for people, and one JSON object a phase with the machine's facts.
#include "launch/bench/bench.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "launch/console.h"
#include "launch/version.h"
#include "launch/wall_clock.h"

enum { NAME_WIDTH = 34 };
enum { TICKS_BUSY, TICKS_STOLEN, TICKS_ALL };

// ---- the machine ------------------------------------------------------------------------------

static void read_cpu_model(char *out, size_t bytes) {
    char line[256];
    FILE *file = fopen("/proc/cpuinfo", "r");
    snprintf(out, bytes, "unknown");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || colon == NULL) continue;
        line[strcspn(line, "\n")] = '\0';
        snprintf(out, bytes, "%s", colon + 2);
        break;
    }
    if (file != NULL) fclose(file);
}

static double read_load(void) {
    double load = 0;
    FILE *file = fopen("/proc/loadavg", "r");
    if (file == NULL) return 0;
    if (fscanf(file, "%lf", &load) != 1) load = 0;
    fclose(file);
    return load;
}

// The first line of /proc/stat: user nice system idle iowait irq softirq steal.
static void read_stat(double out[3]) {
    double ticks[8] = {0};
    memset(out, 0, 3 * sizeof *out);
    FILE *file = fopen("/proc/stat", "r");
    if (file == NULL) return;
    if (fscanf(file, "cpu %lf %lf %lf %lf %lf %lf %lf %lf", &ticks[0], &ticks[1], &ticks[2],
               &ticks[3], &ticks[4], &ticks[5], &ticks[6], &ticks[7]) == 8) {
        out[TICKS_BUSY] = ticks[0] + ticks[1] + ticks[2] + ticks[5] + ticks[6];
        out[TICKS_STOLEN] = ticks[7];
        out[TICKS_ALL] = out[TICKS_BUSY] + ticks[3] + ticks[4] + ticks[7];
    }
    fclose(file);
}

// Processor seconds of all ranks on rank 0's host.
static Status read_used(Bench *bench, double *out) {
    struct rusage usage;
    *out = 0;
    if (getrusage(RUSAGE_SELF, &usage) == 0 &&
        strcmp(comm_host(bench->comm), comm_host_of(bench->comm, 0)) == 0)
        *out = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
               1e-6 * (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
    return bench_sum(bench, out, 1);
}

static json_t *machine_facts(const Bench *bench) {
    char cpu[128], date[32];
    time_t now = (time_t)clock_wall();
    read_cpu_model(cpu, sizeof cpu);
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", gmtime(&now));
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:i, s:i, s:s}", "commit", version_text(), "date",
                     date, "host", comm_host(bench->comm), "cpu", cpu, "device",
                     bench->engine->device->description, "ranks", comm_world(bench->comm),
                     "threads", bench->engine->lanes, "cores", bench->cores.description);
}

// ---- records ----------------------------------------------------------------------------------

static bool is_silent(const Bench *bench) {
    return comm_rank(bench->comm) != 0;
}

void report_line(const Bench *bench, const char *format, ...) {
    char line[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (!is_silent(bench)) console_say(line);
}

Status report_open(Bench *bench, const char *json_path) {
    if (is_silent(bench)) return STATUS_OK;
    if (json_path != NULL) {
        bench->report.json = fopen(json_path, "w");
        FAIL_IF(bench->report.json == NULL, IO, "cannot write %s: %s", json_path, strerror(errno));
    }
    return STATUS_OK;
}

void report_close(Bench *bench) {
    BenchReport *report = &bench->report;
    if (report->json != NULL) fclose(report->json);
    json_decref(report->record);
    json_decref(report->machine);
    *report = (BenchReport){0};
}

Status report_begin(Bench *bench, const BenchPhase *phase) {
    BenchReport *report = &bench->report;
    TRY(read_used(bench, &report->used));
    if (is_silent(bench)) return STATUS_OK;
    if (report->machine == NULL) {
        report->machine = machine_facts(bench);
        report_line(bench, "%s, %s", bench->engine->device->description, bench->cores.description);
    }
    read_stat(report->stat);
    report->record = json_pack("{s:s, s:o, s:f, s:{}, s:{}}", "phase", phase->name, "machine",
                               json_deep_copy(report->machine), "load_average", read_load(),
                               "ratios", "figures");
    report_line(bench, "\n%s: %s", phase->name, phase->help);
    return STATUS_OK;
}

// Shares of all of this host's processor time during the phase.
static void tell_load(Bench *bench, double used) {
    BenchReport *report = &bench->report;
    double stat[3], ticks = (double)sysconf(_SC_CLK_TCK);
    read_stat(stat);
    double all = stat[TICKS_ALL] - report->stat[TICKS_ALL];
    json_object_set_new(report->record, "steal", json_null());
    json_object_set_new(report->record, "foreign_load", json_null());
    if (all <= 0) return; // over within a tick
    double stolen = (stat[TICKS_STOLEN] - report->stat[TICKS_STOLEN]) / all;
    double busy = (stat[TICKS_BUSY] - report->stat[TICKS_BUSY]) / all;
    double foreign = busy - (used - report->used) * ticks / all;
    if (foreign < 0) foreign = 0;
    json_object_set_new(report->record, "steal", json_real(stolen));
    json_object_set_new(report->record, "foreign_load", json_real(foreign));
    report_line(bench, "  others used %.1f %% of the host's cores meanwhile, %.1f %% were stolen",
                100 * foreign, 100 * stolen);
}

Status report_end(Bench *bench) {
    BenchReport *report = &bench->report;
    double used;
    TRY(read_used(bench, &used));
    if (is_silent(bench)) return STATUS_OK;
    tell_load(bench, used);
    bool bad =
        report->json != NULL && (json_dumpf(report->record, report->json, JSON_COMPACT) != 0 ||
                                 fputc('\n', report->json) == EOF || fflush(report->json) != 0);
    json_decref(report->record);
    report->record = NULL;
    FAIL_IF(bad, IO, "cannot write the --json file");
    return STATUS_OK;
}

static void keep(Bench *bench, const char *section, const char *name, double value) {
    json_t *object = json_object_get(bench->report.record, section);
    json_object_set_new(object, name, isfinite(value) ? json_real(value) : json_null());
}

void report_ratio(Bench *bench, const char *name, double value, const char *meaning) {
    if (is_silent(bench)) return;
    keep(bench, "ratios", name, value);
    report_line(bench, "  %-*s %10.3f  %s", NAME_WIDTH, name, value, meaning);
}

void report_figure(Bench *bench, const char *name, double value, const char *unit) {
    if (is_silent(bench)) return;
    keep(bench, "figures", name, value);
    report_line(bench, "  %-*s %10.4g  %s", NAME_WIDTH, name, value, unit);
}

// ---- tables -----------------------------------------------------------------------------------

// At least room for a number of five digits before the point.
static int column_width(const BenchColumn *column) {
    int least = 6 + column->digits, length = (int)strlen(column->name);
    return length > least ? length : least;
}

void report_table(Bench *bench, const char *title, const BenchColumn *columns, int count) {
    if (is_silent(bench)) return;
    bench->report.column = columns;
    bench->report.columns = count;
    json_object_set_new(bench->report.record, "rows", json_array());
    char line[512];
    int used = snprintf(line, sizeof line, "  %-*s", NAME_WIDTH, title);
    for (int i = 0; i < count && used < (int)sizeof line; ++i)
        used += snprintf(line + used, sizeof line - (size_t)used, "  %*s",
                         column_width(&columns[i]), columns[i].name);
    report_line(bench, "%s", line);
}

void report_row(Bench *bench, const char *name, const double *values) {
    if (is_silent(bench)) return;
    const BenchReport *report = &bench->report;
    json_t *row = json_pack("{s:s}", "name", name);
    char line[512];
    int used = snprintf(line, sizeof line, "  %-*s", NAME_WIDTH, name);
    for (int i = 0; i < report->columns && used < (int)sizeof line; ++i) {
        const BenchColumn *column = &report->column[i];
        int width = column_width(column);
        if (isfinite(values[i])) {
            used += snprintf(line + used, sizeof line - (size_t)used, "  %*.*f", width,
                             column->digits, values[i]);
            json_object_set_new(row, column->name, json_real(values[i]));
        } else {
            used += snprintf(line + used, sizeof line - (size_t)used, "  %*s", width, "-");
        }
    }
    json_array_append_new(json_object_get(report->record, "rows"), row);
    report_line(bench, "%s", line);
}
