// The overview, what happened, configurations and versions of dye report.
#include "launch/report/page.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "launch/watch/blackbox.h"
#include "launch/report/chart.h"
#include "launch/console.h"
#include "launch/report/html.h"
#include "launch/run_config.h"

const char *page_run_style(int i) {
    static char styles[HISTORIES_MOST][32];
    snprintf(styles[i], sizeof styles[i], "run r%d c%d d%d", i, i % 8, i / 8);
    return styles[i];
}

void page_print_name(FILE *out, const RunHistories *runs, int i) {
    if (runs->count == 1) return;
    fprintf(out, "<p class=\"name d%d\">", i / 8);
    html_text(out, runs->run[i].name);
    fputs("</p>\n", out);
}

// ---- overview ---------------------------------------------------------------------------------

static const char *text_of(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

// A figure with its name, and what is to be said beside it.
static void print_fact(FILE *out, bool big, const char *name, const char *value,
                       const char *beside) {
    fprintf(out, "<div class=\"%s\"><dt>%s</dt><dd>", big ? "big" : "fine", name);
    html_text(out, value);
    if (beside[0] != '\0') {
        fputs(" <small>", out);
        html_text(out, beside);
        fputs("</small>", out);
    }
    fputs("</dd></div>\n", out);
}

static int compare_doubles(const void *a, const void *b) {
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

// Of the finite numbers; NAN without memory, or where there are none.
static double median(const double *value, int64_t count) {
    double *sorted = malloc((size_t)(count + 1) * sizeof *sorted), found = NAN;
    int64_t finite = 0;
    for (int64_t i = 0; i < count && sorted != NULL; ++i)
        if (isfinite(value[i])) sorted[finite++] = value[i];
    if (finite > 0) {
        qsort(sorted, (size_t)finite, sizeof *sorted, compare_doubles);
        found = sorted[finite / 2];
    }
    free(sorted);
    return found;
}

static double trained_seconds(const RunTable *table) {
    double sum = 0, before = 0;
    for (int64_t i = 0; i < table->count; ++i) {
        double each = table->column[METRIC_EACH][i], step = table->column[METRIC_STEP][i];
        if (isfinite(each)) sum += each * (step - before);
        before = step;
    }
    return sum;
}

static void format_day(double wall, char *out, size_t bytes) {
    time_t seconds = (time_t)wall;
    struct tm local;
    strftime(out, bytes, "%Y-%m-%d %H:%M", localtime_r(&seconds, &local));
}

static void print_progress_facts(FILE *out, const RunHistory *run) {
    const RunSummary *summary = &run->summary;
    char value[64], beside[64] = "";
    if (summary->step >= 0 && summary->steps > 0) {
        snprintf(value, sizeof value, "%" PRId64, summary->step);
        snprintf(beside, sizeof beside, "of %" PRId64, summary->steps);
    } else
        snprintf(value, sizeof value, summary->step >= 0 ? "%" PRId64 : "none yet", summary->step);
    print_fact(out, true, "step", value, beside);
    chart_number(summary->loss, value);
    print_fact(out, true, "loss, last record", value, "");
    chart_number(summary->held_out, value);
    snprintf(beside, sizeof beside, "at step %" PRId64, summary->held_out_step);
    if (isnan(summary->held_out)) snprintf(beside, sizeof beside, "none taken yet");
    print_fact(out, true, "least held-out loss", value, beside);
    chart_number(median(run->metrics.column[METRIC_SPEED], run->metrics.count), value);
    print_fact(out, true, "speed, median", value, "samples/s");
}

// told: the system too.
static void print_facts(FILE *out, const RunHistory *run, bool told) {
    char value[64] = "-", beside[64] = "";
    int64_t world = json_integer_value(json_object_get(run->status, "world"));
    double written = json_number_value(json_object_get(run->status, "written"));
    print_progress_facts(out, run);
    if (told) print_fact(out, false, "system", run->summary.system, "");
    print_fact(out, false, "data", run->configured ? run->settings.data.path : "-", "");
    if (world > 0) snprintf(value, sizeof value, "%" PRId64, world);
    print_fact(out, false, "ranks", value, text_of(run->status, "host"));
    clock_format(trained_seconds(&run->metrics), value, sizeof value);
    print_fact(out, false, "trained for", value, "");
    if (run->fingerprint[0] != '\0')
        snprintf(beside, sizeof beside, "at step %.0f", run->fingerprint_step);
    print_fact(out, false, "last fingerprint",
               run->fingerprint[0] != '\0' ? run->fingerprint : "none yet", beside);
    snprintf(value, sizeof value, "never");
    if (written > 0) format_day(written, value, sizeof value);
    print_fact(out, false, "last written", value, "");
    snprintf(value, sizeof value, "%d", run->summary.checkpoints);
    snprintf(beside, sizeof beside, "%.1f MB in all", (double)run->summary.bytes / 1e6);
    print_fact(out, false, "checkpoints", value, beside);
}

static void print_card(FILE *out, const RunHistories *runs, int i) {
    const RunHistory *run = &runs->run[i];
    static const char *const states[] = {"", " running", "", " cut"};
    const char *state = run_state_text(run->summary.state);
    double share = run->summary.steps > 0 && run->summary.step > 0
                       ? fmin((double)run->summary.step / (double)run->summary.steps, 1)
                       : 0;
    fprintf(out, "<section class=\"card %s\"><h3><span>", page_run_style(i));
    html_text(out, runs->count > 1 ? run->name : run->summary.system);
    fprintf(out, "</span><span class=\"state%s\">%s</span></h3>\n", states[run->summary.state],
            state[0] != '\0' ? state : "not started");
    fprintf(out, "<div class=\"way\"><i style=\"width:%.1f%%\"></i></div>\n<dl>\n", 100 * share);
    print_facts(out, run, runs->count > 1);
    fputs("</dl></section>\n", out);
}

void page_print_overview(FILE *out, const RunHistories *runs) {
    fprintf(out, "<div class=\"cards%s\" id=\"overview\">\n", runs->count == 1 ? " one" : "");
    for (int i = 0; i < runs->count; ++i) print_card(out, runs, i);
    fputs("</div>\n", out);
}

// ---- what happened ----------------------------------------------------------------------------

enum { EVENTS_MOST = 40, CAUSES_SHOWN = 8192 };

typedef struct {
    FILE *out;
    int count;
} Events;

static void print_event(Events *events, double step, const char *text) {
    ++events->count;
    if (step >= 0)
        fprintf(events->out, "<li><b>step %.0f</b><span>", step);
    else
        fputs("<li><b>run</b><span>", events->out);
    html_text(events->out, text);
    fputs("</span></li>\n", events->out);
}

// Where a count of metrics.jsonl rises.
static void print_rises(Events *events, const RunTable *table, Metric column, const char *one,
                        const char *many) {
    double before = 0;
    int rises = 0;
    char text[160];
    for (int64_t i = 0; i < table->count; ++i) {
        double now = table->column[column][i];
        if (!isfinite(now) || now == before) continue;
        snprintf(text, sizeof text, "%.0f %s, %.0f in all", now - before,
                 now - before == 1 ? one : many, now);
        if (now > before && rises++ < EVENTS_MOST)
            print_event(events, table->column[METRIC_STEP][i], text);
        before = now;
    }
    if (rises > EVENTS_MOST) {
        snprintf(text, sizeof text, "and %d times more, %.0f %s in all", rises - EVENTS_MOST,
                 before, many);
        print_event(events, -1, text);
    }
}

static void print_not_finite(Events *events, const RunTable *table, Metric column,
                             const char *name) {
    int64_t count = 0, first = 0;
    char text[160];
    for (int64_t i = table->count - 1; i >= 0; --i)
        if (!isfinite(table->column[column][i])) ++count, first = i;
    if (count == 1)
        snprintf(text, sizeof text, "the %s is not finite", name);
    else
        snprintf(text, sizeof text, "the first of %" PRId64 " records whose %s is not finite",
                 count, name);
    if (count > 0) print_event(events, table->column[METRIC_STEP][first], text);
}

static void print_starts(Events *events, const RunHistory *run) {
    char folder[PATH_BYTES], when[32], text[160], **names;
    int count, starts = 0;
    long long seconds;
    if (path_format(folder, "%s/tensorboard", run->path) != STATUS_OK ||
        folder_names(folder, &names, &count) != STATUS_OK) {
        error_clear();
        return;
    }
    for (int i = 0; i < count; ++i) {
        if (sscanf(names[i], "events.out.tfevents.%lld", &seconds) != 1) continue;
        format_day((double)seconds, when, sizeof when);
        snprintf(text, sizeof text, starts++ == 0 ? "started %s" : "went on %s", when);
        print_event(events, -1, text);
    }
    folder_names_free(names, count);
}

static void print_journals(Events *events, const RunHistory *run) {
    Blackboxes boxes;
    JournalEntry entry;
    char when[32], text[320];
    if (blackbox_read(run->path, console_warn, &boxes) != STATUS_OK) {
        error_clear();
        return;
    }
    for (int i = 0; i < boxes.count && run->summary.state != RUN_RUNNING; ++i) {
        const Journal *journal = boxes.journal[i];
        if (i == EVENTS_MOST || !journal_last(journal, &entry)) continue;
        format_day(entry.time + journal->wall, when, sizeof when);
        snprintf(text, sizeof text,
                 "rank %d on %.64s did not end politely: it was %s when its journal stops, %s",
                 journal->rank, journal->host, phase_text(entry.phase), when);
        print_event(events, (double)entry.step, text);
    }
    blackbox_free(&boxes);
}

static void print_causes(FILE *out, const RunHistory *run) {
    size_t bytes;
    char *text = run_folder_text(run->path, "forensics/causes.log", (size_t)1 << 30, &bytes);
    const char *from = text;
    if (text == NULL) return;
    if (bytes > CAUSES_SHOWN && (from = strchr(text + bytes - CAUSES_SHOWN, '\n')) == NULL)
        from = text;
    fputs("<details open><summary>what the watch found (forensics/causes.log", out);
    fprintf(out, "%s)</summary><pre>", from > text ? ", the end" : "");
    html_text(out, from);
    fputs("</pre></details>\n", out);
    free(text);
}

static void print_events_of(FILE *out, const RunHistory *run) {
    Events events = {.out = out};
    char text[ERROR_TEXT_BYTES + 64];
    fputs("<ul class=\"events\">\n", out);
    print_starts(&events, run);
    print_rises(&events, &run->metrics, METRIC_SKIPPED,
                "step was not finite and changed no weights",
                "steps were not finite and changed no weights");
    print_rises(&events, &run->metrics, METRIC_LEFT_OUT, "sample is left out from here on",
                "samples are left out from here on");
    print_rises(&events, &run->metrics, METRIC_LOST, "sample could not be read and is left out",
                "samples could not be read and are left out");
    print_not_finite(&events, &run->metrics, METRIC_LOSS, "loss");
    print_not_finite(&events, &run->metrics, METRIC_GRAD_NORM, "gradient norm");
    print_journals(&events, run);
    if (text_of(run->status, "cause")[0] != '\0') {
        snprintf(text, sizeof text, "alarm: %s", text_of(run->status, "cause"));
        print_event(&events, -1, text);
    }
    if (run->summary.state == RUN_CUT_OFF)
        print_event(&events, -1, "it does not run any more, and did not end politely");
    if (text_of(run->status, "good_checkpoint")[0] != '\0') {
        snprintf(text, sizeof text, "last good checkpoint: %s",
                 text_of(run->status, "good_checkpoint"));
        print_event(&events, -1, text);
    }
    if (run->config == NULL) print_event(&events, -1, "there is no config.yaml");
    if (run->metrics.count == 0) print_event(&events, -1, "metrics.jsonl has no record");
    if (run->status == NULL)
        print_event(&events, -1, "there is no status.json: ranks and state are not known");
    fputs("</ul>\n", out);
    if (events.count == 0) fputs("<p class=\"none\">Nothing out of the ordinary.</p>\n", out);
    print_causes(out, run);
}

void page_print_events(FILE *out, const RunHistories *runs) {
    fputs("<h2 id=\"events\">What happened</h2>\n<div class=\"panels\">\n", out);
    for (int i = 0; i < runs->count; ++i) {
        fprintf(out, "<div class=\"panel %s\">\n", page_run_style(i));
        page_print_name(out, runs, i);
        print_events_of(out, &runs->run[i]);
        fputs("</div>\n", out);
    }
    fputs("</div>\n", out);
}

// ---- configuration ----------------------------------------------------------------------------

enum { KEYS_MOST = 256 };

// Keys in which some run differs from the first that has a configuration, and the values of all.
typedef struct {
    char *key, *value[HISTORIES_MOST];
} KeyRow;

typedef struct {
    const RunHistories *runs;
    KeyRow row[KEYS_MOST];
    int count, first, now; // runs that are compared
    FILE *out;
} KeyTable;

static void keep_key(void *context, const char *key, const char *a, const char *b) {
    KeyTable *table = context;
    int at = 0;
    while (at < table->count && strcmp(table->row[at].key, key) != 0) ++at;
    if (at == KEYS_MOST) return;
    KeyRow *row = &table->row[at];
    if (at == table->count) {
        *row = (KeyRow){.key = strdup(key)};
        if (row->key == NULL) return;
        row->value[table->first] = strdup(a);
        ++table->count;
    }
    row->value[table->now] = strdup(b);
}

// A row of a table whose columns are runs; bold where it is not the first run's.
static void print_row(FILE *out, const RunHistories *runs, const char *key,
                      const char *const value[HISTORIES_MOST], bool mark) {
    fputs("<tr><th>", out);
    html_text(out, key);
    fputs("</th>", out);
    for (int i = 0; i < runs->count; ++i) {
        const char *text = value[i] != NULL ? value[i] : "-";
        bool odd = mark && value[0] != NULL && strcmp(text, value[0]) != 0;
        fprintf(out, "<td class=\"%s%s\">", page_run_style(i), odd ? " odd" : "");
        html_text(out, text);
        fputs("</td>", out);
    }
    fputs("</tr>\n", out);
}

static void print_table_head(FILE *out, const RunHistories *runs) {
    fputs("<div class=\"scroll\"><table><tr><th></th>", out);
    for (int i = 0; i < runs->count; ++i) {
        fprintf(out, "<th class=\"%s\">", page_run_style(i));
        html_text(out, runs->run[i].name);
        fputs("</th>", out);
    }
    fputs("</tr>\n", out);
}

// In the order of the table of keys.
static void print_key(void *context, const char *key, const char *usual, const char *help) {
    KeyTable *table = context;
    (void)usual, (void)help;
    for (int at = 0; at < table->count; ++at) {
        const KeyRow *row = &table->row[at];
        const char *value[HISTORIES_MOST] = {NULL};
        if (strcmp(row->key, key) != 0) continue;
        for (int i = 0; i < table->runs->count; ++i)
            if (table->runs->run[i].configured)
                value[i] = row->value[i] != NULL ? row->value[i] : row->value[table->first];
        print_row(table->out, table->runs, key, value, true);
    }
}

static void print_differences(FILE *out, const RunHistories *runs) {
    KeyTable *table = calloc(1, sizeof *table);
    if (table == NULL) return;
    *table = (KeyTable){.runs = runs, .first = -1, .out = out};
    for (int i = 0; i < runs->count; ++i) {
        if (!runs->run[i].configured) continue;
        table->now = i;
        if (table->first < 0)
            table->first = i;
        else
            run_config_diff(&runs->run[table->first].settings, &runs->run[i].settings, keep_key,
                            table);
    }
    fputs("<div class=\"panel\"><h3>Keys in which the runs differ</h3>\n", out);
    if (table->count == 0) fputs("<p class=\"none\">They do not differ.</p>\n", out);
    if (table->count > 0) {
        print_table_head(out, runs);
        run_config_keys(print_key, table);
        fputs("</table></div>\n", out);
    }
    fputs("</div>\n", out);
    for (int at = 0; at < table->count; ++at) {
        free(table->row[at].key);
        for (int i = 0; i < HISTORIES_MOST; ++i) free(table->row[at].value[i]);
    }
    free(table);
}

void page_print_config(FILE *out, const RunHistories *runs) {
    fputs("<h2 id=\"config\">Configuration</h2>\n<div class=\"stack\">\n", out);
    if (runs->count > 1) print_differences(out, runs);
    for (int i = 0; i < runs->count; ++i) {
        const RunHistory *run = &runs->run[i];
        fprintf(out, "<div class=\"panel %s\">", page_run_style(i));
        page_print_name(out, runs, i);
        if (!run->configured) {
            fputs("<p class=\"bad\">", out);
            html_text(out, run->why);
            fputs("</p>", out);
        }
        if (run->config != NULL) {
            fprintf(out, "<details%s><summary>config.yaml</summary><pre>",
                    runs->count == 1 ? " open" : "");
            html_text(out, run->config);
            fputs("</pre></details>", out);
        }
        fputs("</div>\n", out);
    }
    fputs("</div>\n", out);
}

// ---- versions ---------------------------------------------------------------------------------

// Whether a run before number `i` has the key too.
static bool told_before(const RunHistories *runs, int i, const char *key) {
    for (int k = 0; k < i; ++k)
        if (json_object_get(runs->run[k].facts, key) != NULL) return true;
    return false;
}

void page_print_versions(FILE *out, const RunHistories *runs) {
    const char *key;
    json_t *entry;
    bool any = false;
    for (int i = 0; i < runs->count; ++i) any = any || runs->run[i].facts != NULL;
    fputs("<h2 id=\"versions\">Versions</h2>\n<div class=\"panel\">\n", out);
    if (!any) fputs("<p class=\"none\">There is no run.json.</p>\n", out);
    if (any) print_table_head(out, runs);
    for (int i = 0; i < runs->count && any; ++i)
        json_object_foreach(runs->run[i].facts, key, entry) {
            const char *value[HISTORIES_MOST] = {NULL};
            if (told_before(runs, i, key)) continue;
            for (int k = 0; k < runs->count; ++k)
                value[k] = json_string_value(json_object_get(runs->run[k].facts, key));
            print_row(out, runs, key, value, true);
        }
    if (any) fputs("</table></div>\n", out);
    fputs("</div>\n", out);
}
