// Figures of dye report: curves of all runs together, noise levels and a step's time of each.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "launch/report/chart.h"
#include "launch/report/html.h"
#include "launch/metrics.h"
#include "launch/report/page.h"

// ---- curves -----------------------------------------------------------------------------------

// Of all runs: figures of the same page show the same steps.
static double last_step(const RunHistories *runs) {
    double last = 0;
    for (int i = 0; i < runs->count; ++i) {
        const RunTable *table = &runs->run[i].metrics;
        for (int64_t k = 0; k < table->count; ++k) last = fmax(last, table->column[METRIC_STEP][k]);
    }
    return last;
}

// One figure of all runs: a column of metrics.jsonl, or of eval.jsonl, over steps.
static void print_curve(FILE *out, const RunHistories *runs, Chart chart, bool eval, int column) {
    ChartSeries series[HISTORIES_MOST];
    for (int i = 0; i < runs->count; ++i) {
        const RunTable *table = eval ? &runs->run[i].evals : &runs->run[i].metrics;
        series[i] = (ChartSeries){.name = runs->run[i].name,
                                  .style = page_run_style(i),
                                  .x = table->column[eval ? EVAL_STEP : METRIC_STEP],
                                  .y = table->column[column],
                                  .count = table->count};
    }
    chart.x_name = "step";
    chart.x_most = last_step(runs);
    chart.series = series;
    chart.count = runs->count;
    chart_print(out, &chart);
}

void page_print_curves(FILE *out, const RunHistories *runs) {
    static const char nothing[] = "Nothing has been recorded yet: metrics.jsonl has no record.";
    fputs("<h2 id=\"curves\">Curves</h2>\n<div class=\"figures\">\n", out);
    print_curve(out, runs,
                (Chart){.id = "loss",
                        .title = "Training loss",
                        .unit = "",
                        .note = "mean over the steps of a record; the band is least to most",
                        .missing = nothing,
                        .log = true,
                        .wide = true},
                false, METRIC_LOSS);
    print_curve(out, runs,
                (Chart){.id = "held-out",
                        .title = "Held-out loss",
                        .unit = "",
                        .note = "of the averaged weights",
                        .missing = "No held-out loss has been taken yet (eval.every).",
                        .log = true},
                true, EVAL_LOSS);
    print_curve(out, runs,
                (Chart){.id = "grad-norm",
                        .title = "Gradient norm",
                        .unit = "",
                        .note = "before it is clipped",
                        .missing = nothing,
                        .log = true},
                false, METRIC_GRAD_NORM);
    print_curve(out, runs,
                (Chart){.id = "lr",
                        .title = "Learning rate",
                        .unit = "",
                        .note = "of the record's last step",
                        .missing = nothing,
                        .zero = true},
                false, METRIC_LR);
    print_curve(out, runs,
                (Chart){.id = "speed",
                        .title = "Speed",
                        .unit = "samples/s",
                        .note = "all ranks together, evaluations and saves included",
                        .missing = nothing,
                        .zero = true},
                false, METRIC_SPEED);
    fputs("</div>\n", out);
}

// ---- noise levels -----------------------------------------------------------------------------

static bool has_levels(const RunHistory *run) {
    const RunTable *evals = &run->evals;
    for (int i = 1; i < EVAL_LEVELS && evals->count > 0; ++i)
        if (isfinite(evals->column[EVAL_LEVEL + i][evals->count - 1])) return true;
    return false;
}

static void print_profile(FILE *out, const RunHistories *runs) {
    ChartSeries series[HISTORIES_MOST];
    double time[EVAL_LEVELS], loss[HISTORIES_MOST][EVAL_LEVELS];
    for (int level = 0; level < EVAL_LEVELS; ++level) time[level] = (level + 0.5) / EVAL_LEVELS;
    for (int i = 0; i < runs->count; ++i) {
        const RunTable *evals = &runs->run[i].evals;
        bool told = has_levels(&runs->run[i]);
        for (int level = 0; level < EVAL_LEVELS && told; ++level)
            loss[i][level] = evals->column[EVAL_LEVEL + level][evals->count - 1];
        series[i] = (ChartSeries){.name = runs->run[i].name,
                                  .style = page_run_style(i),
                                  .x = time,
                                  .y = loss[i],
                                  .count = told ? EVAL_LEVELS : 0};
    }
    chart_print(out, &(Chart){.id = "profile",
                              .title = "Held-out loss by noise level",
                              .unit = "",
                              .note = "the last evaluation, in tenths of the way from data (0) to"
                                      " noise (1)",
                              .x_name = "share of the way to noise",
                              .missing = "No held-out loss by noise level has been taken yet.",
                              .log = true,
                              .series = series,
                              .count = runs->count});
}

static void print_levels_of(FILE *out, const RunHistories *runs, int number) {
    static const char *const names[EVAL_LEVELS] = {"0-10 %",  "10-20 %", "20-30 %", "30-40 %",
                                                   "40-50 %", "50-60 %", "60-70 %", "70-80 %",
                                                   "80-90 %", "90-100 %"};
    static const char *const styles[EVAL_LEVELS] = {"l0", "l1", "l2", "l3", "l4",
                                                    "l5", "l6", "l7", "l8", "l9"};
    const RunHistory *run = &runs->run[number];
    ChartSeries series[EVAL_LEVELS];
    char id[32], title[PATH_BYTES + 64];
    snprintf(id, sizeof id, "levels-%d", number);
    snprintf(title, sizeof title, "Noise levels over steps%s%s", runs->count > 1 ? ": " : "",
             runs->count > 1 ? run->name : "");
    for (int i = 0; i < EVAL_LEVELS; ++i)
        series[i] = (ChartSeries){.name = names[i],
                                  .style = styles[i],
                                  .x = run->evals.column[EVAL_STEP],
                                  .y = run->evals.column[EVAL_LEVEL + i],
                                  .count = run->evals.count};
    fprintf(out, "<div class=\"%s\">", page_run_style(number));
    chart_print(out, &(Chart){.id = id,
                              .title = title,
                              .unit = "",
                              .note = "held-out loss; a line is a tenth of the way to noise",
                              .x_name = "step",
                              .x_most = last_step(runs),
                              .missing = "",
                              .log = true,
                              .key = true,
                              .series = series,
                              .count = EVAL_LEVELS});
    fputs("</div>\n", out);
}

void page_print_levels(FILE *out, const RunHistories *runs) {
    fputs("<h2 id=\"levels\">Noise levels</h2>\n<div class=\"figures\">\n", out);
    print_profile(out, runs);
    for (int i = 0; i < runs->count; ++i)
        if (has_levels(&runs->run[i]) && runs->run[i].evals.count > 1)
            print_levels_of(out, runs, i);
    fputs("</div>\n", out);
}

// ---- a step's time ----------------------------------------------------------------------------

enum { SLICES = 4 };

typedef struct {
    double *slice[SLICES]; // [count] of `memory`
    double *memory;
    double sum; // of the seconds per step
} StepTimes;

// Seconds per step: computing and what else the median rank did until it was ready, until the
// slowest one was, and all the rest.
static bool slice_times(const RunTable *table, StepTimes *out) {
    size_t count = (size_t)table->count;
    *out = (StepTimes){.memory = malloc(SLICES * (count + 1) * sizeof *out->memory)};
    if (out->memory == NULL) return false;
    for (size_t i = 0; i < SLICES; ++i) out->slice[i] = out->memory + i * count;
    for (size_t i = 0; i < count; ++i) {
        double each = table->column[METRIC_EACH][i], arrival = table->column[METRIC_ARRIVAL][i];
        double compute = table->column[METRIC_COMPUTE][i], excess = table->column[METRIC_EXCESS][i];
        out->slice[0][i] = compute;
        out->slice[1][i] = fmax(arrival - compute, 0);
        out->slice[2][i] = fmax(excess, 0);
        out->slice[3][i] = fmax(each - arrival - excess, 0);
        if (!isfinite(each + arrival + compute + excess))
            for (int k = 0; k < SLICES; ++k) out->slice[k][i] = NAN;
        else
            out->sum += each;
    }
    return true;
}

static void print_slices(FILE *out, const RunHistories *runs, int number) {
    static const char *const names[SLICES] = {"computing", "reading data, own saving",
                                              "waiting for the slowest rank",
                                              "sum of gradients, update, and the rest"};
    static const char *const styles[SLICES] = {"p0", "p1", "p2", "p3"};
    const RunHistory *run = &runs->run[number];
    StepTimes times;
    ChartSeries series[SLICES];
    char id[32], title[PATH_BYTES + 64];
    if (!slice_times(&run->metrics, &times)) return;
    bool short_steps = times.sum < (double)run->metrics.count;
    for (int64_t i = 0; short_steps && i < SLICES * run->metrics.count; ++i) times.memory[i] *= 1e3;
    for (int i = 0; i < SLICES; ++i)
        series[i] = (ChartSeries){.name = names[i],
                                  .style = styles[i],
                                  .x = run->metrics.column[METRIC_STEP],
                                  .y = times.slice[i],
                                  .count = run->metrics.count};
    snprintf(id, sizeof id, "times-%d", number);
    snprintf(title, sizeof title, "Where a step's time goes%s%s", runs->count > 1 ? ": " : "",
             runs->count > 1 ? run->name : "");
    chart_print(out, &(Chart){.id = id,
                              .title = title,
                              .unit = short_steps ? "ms per step" : "s per step",
                              .note = "of the median rank; evaluations, samples and saves are in"
                                      " the rest",
                              .x_name = "step",
                              .missing = "Nothing has been recorded yet.",
                              .zero = true,
                              .stacked = true,
                              .wide = runs->count == 1,
                              .key = true,
                              .series = series,
                              .count = SLICES});
    free(times.memory);
}

// ---- ranks ------------------------------------------------------------------------------------

enum { RANKS_SHOWN = 16 };

typedef struct {
    int rank;
    int64_t records, cause[SLOW_CAUSES];
    double excess, most; // sum and most of the seconds per step
} SlowRank;

static int compare_ranks(const void *a, const void *b) {
    const SlowRank *left = a, *right = b;
    if (left->excess != right->excess) return left->excess < right->excess ? 1 : -1;
    return left->rank - right->rank;
}

static int count_ranks(const RunTable *table) {
    double most = -1;
    for (int64_t i = 0; i < table->count; ++i) most = fmax(most, table->column[METRIC_RANK][i]);
    return most < 1e6 ? (int)most + 1 : 0;
}

static const char *host_of(const RunHistory *run, int rank) {
    const json_t *entry;
    size_t i;
    json_array_foreach(json_object_get(run->status, "ranks"), i, entry) {
        const char *host = json_string_value(json_object_get(entry, "host"));
        if (json_integer_value(json_object_get(entry, "rank")) == rank && host != NULL) return host;
    }
    return "";
}

static void format_seconds(double seconds, char out[32]) {
    char number[24];
    chart_number(seconds < 1 ? 1e3 * seconds : seconds, number);
    snprintf(out, 32, "%s %s", number, seconds < 1 ? "ms" : "s");
}

static void print_slow_rank(FILE *out, const RunHistory *run, const SlowRank *slow) {
    static const char *const styles[SLOW_CAUSES] = {"p1", "p0", "p2"};
    char mean[32], most[32];
    format_seconds(slow->excess / (double)slow->records, mean);
    format_seconds(slow->most, most);
    fprintf(out, "<tr><td class=\"r\">%d</td><td>", slow->rank);
    html_text(out, host_of(run, slow->rank));
    fprintf(
        out,
        "</td><td class=\"r\">%lld</td><td class=\"r\">%.0f %%</td><td class=\"r\">%s</td><td class=\"r\">%s</td><td><span class=\"share\">",
        (long long)slow->records, 100 * (double)slow->records / (double)run->metrics.count, mean,
        most);
    for (int i = 0; i < SLOW_CAUSES; ++i)
        fprintf(out, "<i class=\"%s\" style=\"width:%.1f%%\"></i>", styles[i],
                100 * (double)slow->cause[i] / (double)slow->records);
    fputs("</span> ", out);
    for (int i = 0, told = 0; i < SLOW_CAUSES; ++i)
        if (slow->cause[i] > 0)
            fprintf(out, "%s%s %lld", told++ > 0 ? ", " : "", slow_cause_name((SlowCause)i),
                    (long long)slow->cause[i]);
    fputs("</td></tr>\n", out);
}

static void print_ranks_of(FILE *out, const RunHistory *run) {
    const RunTable *table = &run->metrics;
    int ranks = count_ranks(table), shown = 0;
    SlowRank *slow = calloc((size_t)ranks + 1, sizeof *slow);
    for (int i = 0; i < ranks && slow != NULL; ++i) slow[i].rank = i;
    for (int64_t i = 0; i < table->count && slow != NULL; ++i) {
        double rank = table->column[METRIC_RANK][i], excess = table->column[METRIC_EXCESS][i];
        double cause = table->column[METRIC_CAUSE][i];
        if (!(rank >= 0 && rank < ranks && isfinite(excess))) continue;
        SlowRank *at = &slow[(int)rank];
        ++at->records;
        at->excess += excess;
        at->most = fmax(at->most, excess);
        if (isfinite(cause)) ++at->cause[(int)cause];
    }
    if (slow != NULL) qsort(slow, (size_t)ranks, sizeof *slow, compare_ranks);
    fputs("<div class=\"scroll\"><table class=\"slow\"><tr><th class=\"r\">rank</th><th>host</th>"
          "<th class=\"r\">records</th><th class=\"r\">share</th><th class=\"r\">mean lag</th>"
          "<th class=\"r\">most</th><th>because of</th></tr>\n",
          out);
    for (; slow != NULL && shown < ranks && shown < RANKS_SHOWN && slow[shown].records > 0; ++shown)
        print_slow_rank(out, run, &slow[shown]);
    fputs("</table></div>\n", out);
    free(slow);
}

void page_print_times(FILE *out, const RunHistories *runs) {
    fprintf(out, "<h2 id=\"times\">A step's time</h2>\n<div class=\"%s\">\n",
            runs->count > 1 ? "figures" : "stack");
    for (int i = 0; i < runs->count; ++i) {
        const RunHistory *run = &runs->run[i];
        int64_t world = json_integer_value(json_object_get(run->status, "world"));
        bool alone = world == 1 || (world == 0 && count_ranks(&run->metrics) <= 1);
        fprintf(out, "<div class=\"stack %s\">\n", page_run_style(i));
        print_slices(out, runs, i);
        fputs("<div class=\"panel\"><h3>Slowest ranks</h3>\n"
              "<p class=\"soft\">in how many records a rank was the last to be ready, and how long"
              " after the median one</p>\n",
              out);
        if (run->metrics.count == 0)
            fputs("<p class=\"none\">Nothing has been recorded yet.</p>\n", out);
        else if (alone)
            fputs("<p class=\"none\">A single rank: it waits for nobody.</p>\n", out);
        else
            print_ranks_of(out, run);
        fputs("</div></div>\n", out);
    }
    fputs("</div>\n", out);
}
