// Figures behind launch/report/chart.h. A figure is an SVG without a viewBox, so that text keeps
// its size; within it one that is stretched holds the curves, in whole units of a fine grid.
#include "launch/report/chart.h"

#include <math.h>
#include <string.h>

#include "launch/report/html.h"

enum {
    COLUMN_UNITS = 20,
    X_UNITS = CHART_COLUMNS * COLUMN_UNITS,
    Y_UNITS = 20000,
    TICKS_WANTED = 5,
    DOTS_MOST = 40, // points of a series that are marked one by one, if they stand so many columns
    DOTS_APART = 6  // apart
};

static const double LARGEST = 1e300; // beyond it margins are not finite

// ---- numbers ----------------------------------------------------------------------------------

void chart_number(double value, char out[24]) {
    double size = fabs(value);
    if (!isfinite(value))
        snprintf(out, 24, "-");
    else if (size >= 999.5e6 || (size < 1e-4 && size > 0))
        snprintf(out, 24, "%.3g", value);
    else if (size >= 999.5e3)
        snprintf(out, 24, "%.3gM", value / 1e6);
    else if (size >= 9999.5)
        snprintf(out, 24, "%.3gk", value / 1e3);
    else
        snprintf(out, 24, "%.4g", value);
}

// So many decimals that neighbours differ.
static void format_tick(double value, double step, double most, char out[24]) {
    double unit = most >= 999.5e3 ? 1e6 : most >= 9999.5 ? 1e3 : 1;
    double decimals = fmax(0, -floor(log10(step / unit) + 1e-9));
    if (fabs(value) < step / 2) value = 0;
    if (value == 0)
        snprintf(out, 24, "0");
    else if (most >= 999.5e6 || decimals > 5)
        snprintf(out, 24, "%.3g", value);
    else
        snprintf(out, 24, "%.*f%s", (int)decimals, value / unit,
                 unit == 1    ? ""
                 : unit > 1e3 ? "M"
                              : "k");
}

int chart_ticks(double least, double most, int wanted, double tick[CHART_TICKS_MOST],
                double *step) {
    int count = 0;
    double rough = (most - least) / wanted, power = pow(10, floor(log10(rough)));
    double digit = rough / power;
    *step = (digit < 1.5 ? 1 : digit < 3.5 ? 2 : digit < 7.5 ? 5 : 10) * power;
    for (double i = ceil(least / *step - 1e-9); i * *step <= most + *step * 1e-9; ++i)
        if (count < CHART_TICKS_MOST) tick[count++] = i * *step + 0.0; // no -0
    return count;
}

int chart_ticks_log(double least, double most, double tick[CHART_TICKS_MOST]) {
    double decades = log10(most / least), step;
    int count = 0;
    if (decades < 0.7) return chart_ticks(least, most, TICKS_WANTED, tick, &step);
    double every = fmax(1, ceil(decades / 6));
    for (double power = floor(log10(least)); power <= log10(most); power += every)
        for (int digit = 1; digit <= 5; digit += digit == 1 ? 1 : 3) { // 1, 2, 5
            double value = digit * pow(10, power);
            if (digit > 1 && decades >= 2) break;
            if (value >= least * (1 - 1e-9) && value <= most * (1 + 1e-9) &&
                count < CHART_TICKS_MOST)
                tick[count++] = value;
        }
    return count;
}

void chart_thin(const ChartSeries *series, double x_least, double x_most,
                ChartColumn column[CHART_COLUMNS]) {
    memset(column, 0, CHART_COLUMNS * sizeof *column);
    for (int64_t i = 0; i < series->count; ++i) {
        double place = (series->x[i] - x_least) / (x_most - x_least) * CHART_COLUMNS;
        if (!(place >= 0 && place <= CHART_COLUMNS)) continue;
        ChartColumn *at = &column[(int)fmin(place, CHART_COLUMNS - 1)];
        double y = series->y[i];
        if (!(fabs(y) < LARGEST)) {
            ++at->missing;
            continue;
        }
        at->least = at->count == 0 ? y : fmin(at->least, y);
        at->most = at->count == 0 ? y : fmax(at->most, y);
        ++at->count;
        at->mean += (y - at->mean) / (double)at->count;
        at->x += (series->x[i] - at->x) / (double)at->count;
    }
}

// ---- what is seen -----------------------------------------------------------------------------

typedef struct {
    double x_least, x_most, least, most; // of y
    bool log, any;                       // any: there is a finite point
    double lowest, highest;              // of y, before the margins
    int64_t missing;
} Frame;

// The columns of series i; stacked: on top of `base`, which rises by them.
static void take_columns(const Chart *chart, const Frame *frame, int i, double *base,
                         ChartColumn column[CHART_COLUMNS]) {
    chart_thin(&chart->series[i], frame->x_least, frame->x_most, column);
    for (int k = 0; k < CHART_COLUMNS && chart->stacked; ++k) {
        base[k] += column[k].mean;
        column[k].mean = column[k].least = column[k].most = base[k];
    }
}

static Frame measure(const Chart *chart) {
    Frame frame = {
        .x_least = INFINITY, .x_most = -INFINITY, .lowest = INFINITY, .highest = -INFINITY};
    double base[CHART_COLUMNS] = {0};
    ChartColumn column[CHART_COLUMNS];
    for (int i = 0; i < chart->count; ++i)
        for (int64_t k = 0; k < chart->series[i].count; ++k) {
            frame.x_least = fmin(frame.x_least, chart->series[i].x[k]);
            frame.x_most = fmax(frame.x_most, chart->series[i].x[k]);
        }
    frame.x_least = fmin(frame.x_least, 0);
    frame.x_most = fmax(frame.x_most, chart->x_most);
    if (!(frame.x_most > frame.x_least)) frame.x_most = frame.x_least + 1;
    for (int i = 0; i < chart->count; ++i) {
        take_columns(chart, &frame, i, base, column);
        for (int k = 0; k < CHART_COLUMNS; ++k) {
            frame.missing += column[k].missing;
            if (column[k].count == 0) continue;
            frame.any = true;
            frame.lowest = fmin(frame.lowest, column[k].least);
            frame.highest = fmax(frame.highest, column[k].most);
        }
    }
    return frame;
}

static void set_scale(Frame *frame, bool zero, bool log) {
    double low = frame->lowest, high = frame->highest;
    frame->log = log;
    if (log) {
        double margin = fmax(pow(high / low, 0.04), 1.02);
        frame->least = low / margin, frame->most = high * margin;
        return;
    }
    double span = high - low, size = fmax(fabs(high), fabs(low));
    double margin = span > 1e-9 * size ? 0.05 * span : fmax(0.1 * size, 1e-12);
    frame->least = low - margin, frame->most = high + margin;
    if (zero) {
        frame->least = low < 0 ? frame->least : 0;
        frame->most = high > 0 ? frame->most : 0;
        if (!(frame->most > frame->least)) frame->most = frame->least + 1;
    }
}

// From the left, from the top: 0 to 1.
static double right_of(const Frame *frame, double x) {
    return (x - frame->x_least) / (frame->x_most - frame->x_least);
}

static double below_top(const Frame *frame, double y) {
    return frame->log ? log(frame->most / y) / log(frame->most / frame->least)
                      : (frame->most - y) / (frame->most - frame->least);
}

static int x_unit(const Frame *frame, double x) {
    return (int)lround(right_of(frame, x) * X_UNITS);
}

static int y_unit(const Frame *frame, double y) {
    return (int)lround(below_top(frame, y) * Y_UNITS);
}

// ---- paths ------------------------------------------------------------------------------------

// Columns from `from` on up to a gap; false: there are none left. Columns in which nothing was
// recorded are none.
static bool next_stretch(const ChartColumn *column, int from, int *begin, int *end) {
    for (*begin = from; *begin < CHART_COLUMNS && column[*begin].count == 0;) ++*begin;
    for (*end = *begin; *end < CHART_COLUMNS; ++*end)
        if (column[*end].count == 0 && column[*end].missing > 0) break;
    return *begin < CHART_COLUMNS;
}

// Relative to the point before, which makes them short.
static void print_point(FILE *out, bool first, int x, int y, int at[2]) {
    if (first)
        fprintf(out, "M%d %d", x, y);
    else
        fprintf(out, "l%d %d", x - at[0], y - at[1]);
    at[0] = x, at[1] = y;
}

// A point alone, between gaps too, is a dot: a line without length, with round ends.
static void print_line(FILE *out, const Frame *frame, const ChartColumn *column, bool dots) {
    int begin, end, at[2] = {0};
    fprintf(out, "<path class=\"%s\" d=\"", dots ? "dots" : "line");
    for (int from = 0; next_stretch(column, from, &begin, &end); from = end) {
        int points = 0;
        for (int k = begin; k < end; ++k) {
            if (column[k].count == 0) continue;
            print_point(out, dots || points == 0, x_unit(frame, column[k].x),
                        y_unit(frame, column[k].mean), at);
            ++points;
            if (dots) fputs("h0", out);
        }
        if (points == 1 && !dots) fputs("h0", out);
    }
    fputs("\"/>", out);
}

static void print_area(FILE *out, const Frame *frame, const ChartColumn *column,
                       const double *floor, const char *style) {
    int begin, end, at[2] = {0};
    fprintf(out, "<path class=\"%s\" d=\"", style);
    for (int from = 0; next_stretch(column, from, &begin, &end); from = end) {
        for (int k = begin; k < end; ++k)
            if (column[k].count > 0)
                print_point(out, k == begin, x_unit(frame, column[k].x),
                            y_unit(frame, column[k].most), at);
        for (int k = end - 1; k >= begin; --k)
            if (column[k].count > 0)
                print_point(out, false, x_unit(frame, column[k].x),
                            y_unit(frame, floor != NULL ? floor[k] : column[k].least), at);
        fputc('Z', out);
    }
    fputs("\"/>", out);
}

static void print_missing(FILE *out, const ChartColumn *column) {
    fputs("<path class=\"gap\" d=\"", out);
    for (int k = 0; k < CHART_COLUMNS; ++k)
        if (column[k].missing > 0)
            fprintf(out, "M%d %dv%d", k * COLUMN_UNITS + COLUMN_UNITS / 2, Y_UNITS - 400, 400);
    fputs("\"/>", out);
}

static void print_series(FILE *out, const Chart *chart, const Frame *frame, int i, double *base) {
    ChartColumn column[CHART_COLUMNS];
    double floor[CHART_COLUMNS];
    int full = 0, first = CHART_COLUMNS, last = 0;
    bool thinned = false;
    int64_t missing = 0;
    memcpy(floor, base, sizeof floor);
    take_columns(chart, frame, i, base, column);
    for (int k = 0; k < CHART_COLUMNS; ++k) {
        if (column[k].count > 0) {
            ++full;
            last = k;
            if (first > k) first = k;
        }
        thinned = thinned || column[k].count > 1;
        missing += column[k].missing;
    }
    fprintf(out, "<g class=\"%s\" data-name=\"", chart->series[i].style);
    html_text(out, chart->series[i].name);
    fputs("\">", out);
    if (chart->stacked)
        print_area(out, frame, column, floor, "area");
    else if (thinned)
        print_area(out, frame, column, NULL, "band");
    print_line(out, frame, column, false);
    bool sparse = full <= DOTS_MOST && last - first >= DOTS_APART * (full - 1);
    if (sparse && !chart->stacked) print_line(out, frame, column, true);
    if (missing > 0) print_missing(out, column);
    fputs("</g>\n", out);
}

// ---- figures ----------------------------------------------------------------------------------

static void print_axes(FILE *out, const Chart *chart, const Frame *frame) {
    double tick[CHART_TICKS_MOST], step = 1;
    char text[24];
    int count = frame->log ? chart_ticks_log(frame->least, frame->most, tick)
                           : chart_ticks(frame->least, frame->most, TICKS_WANTED, tick, &step);
    fputs("<g class=\"axes\">", out);
    for (int i = 0; i < count; ++i) {
        double y = 100 * below_top(frame, tick[i]);
        if (frame->log)
            chart_number(tick[i], text);
        else
            format_tick(tick[i], step, fmax(fabs(frame->most), fabs(frame->least)), text);
        fprintf(out, "<line x2=\"100%%\" y1=\"%.2f%%\" y2=\"%.2f%%\"/>", y, y);
        fprintf(out, "<text class=\"y\" x=\"-8\" y=\"%.2f%%\" dy=\"4\">%s</text>", y, text);
    }
    count = chart_ticks(frame->x_least, frame->x_most, TICKS_WANTED, tick, &step);
    for (int i = 0; i < count; ++i) {
        format_tick(tick[i], step, frame->x_most, text);
        fprintf(out, "<text class=\"x\" x=\"%.2f%%\" y=\"100%%\" dy=\"18\">%s</text>",
                100 * right_of(frame, tick[i]), text);
    }
    fputs("<line class=\"floor\" x2=\"100%\" y1=\"100%\" y2=\"100%\"/>"
          "<text class=\"axis\" x=\"100%\" y=\"100%\" dy=\"34\">",
          out);
    html_text(out, chart->x_name);
    fputs("</text></g>\n", out);
}

static void print_picture(FILE *out, const Chart *chart, const Frame *frame) {
    double base[CHART_COLUMNS] = {0};
    fprintf(out, "<svg class=\"%s\" role=\"img\" aria-label=\"", frame->log ? "log" : "even");
    html_text(out, chart->title);
    fprintf(out, "\" data-x=\"%.9g %.9g\" data-y=\"%.9g %.9g\" data-unit=\"", frame->x_least,
            frame->x_most, frame->least, frame->most);
    html_text(out, chart->unit);
    fputs("\" data-at=\"", out);
    html_text(out, chart->x_name);
    fputs("\">\n", out);
    print_axes(out, chart, frame);
    fprintf(out, "<svg class=\"curves\" viewBox=\"0 0 %d %d\" preserveAspectRatio=\"none\">\n",
            X_UNITS, Y_UNITS);
    for (int i = 0; i < chart->count; ++i) print_series(out, chart, frame, i, base);
    fputs("</svg></svg>\n", out);
}

static void print_caption(FILE *out, const Chart *chart, const Frame *frame) {
    fputs("<figcaption><h3>", out);
    html_text(out, chart->title);
    if (chart->unit[0] != '\0') {
        fputs(" <small>", out);
        html_text(out, chart->unit);
        fputs("</small>", out);
    }
    fputs("</h3>", out);
    if (chart->note[0] != '\0') {
        fputs("<p>", out);
        html_text(out, chart->note);
        fputs("</p>", out);
    }
    if (frame->any && frame->missing > 0)
        fprintf(out, "<p class=\"bad\">%lld %s no number: gaps, marked below the axis</p>",
                (long long)frame->missing, frame->missing == 1 ? "record has" : "records have");
    if (chart->key && frame->any) {
        fputs("<ul class=\"key\">", out);
        for (int i = 0; i < chart->count; ++i) {
            fprintf(out, "<li class=\"%s\">", chart->series[i].style);
            html_text(out, chart->series[i].name);
            fputs("</li>", out);
        }
        fputs("</ul>", out);
    }
    fputs("</figcaption>\n", out);
}

void chart_print(FILE *out, const Chart *chart) {
    Frame frame = measure(chart);
    bool both = frame.any && chart->log && frame.lowest > 0 && frame.highest > 1.5 * frame.lowest;
    fprintf(out, "<figure class=\"chart%s%s\">\n", chart->stacked ? " stacked" : "",
            chart->wide ? " wide" : "");
    if (both)
        fprintf(out,
                "<input type=\"checkbox\" class=\"scale\" id=\"log-%s\"%s>"
                "<label for=\"log-%s\">log</label>\n",
                chart->id, frame.highest >= 10 * frame.lowest ? " checked" : "", chart->id);
    print_caption(out, chart, &frame);
    if (!frame.any) {
        fputs("<p class=\"none\">", out);
        html_text(out, chart->missing);
        fputs("</p></figure>\n", out);
        return;
    }
    fputs("<div class=\"plot\">\n", out);
    set_scale(&frame, chart->zero, false);
    print_picture(out, chart, &frame);
    if (both) {
        set_scale(&frame, false, true);
        print_picture(out, chart, &frame);
    }
    fputs("</div></figure>\n", out);
}
