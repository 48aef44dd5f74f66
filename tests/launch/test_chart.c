// Figures: ticks, thinning, gaps, and what the page does with text from outside.
#include "launch/report/chart.h"

#include "launch/report/html.h"
#include "tests/test.h"

// ---- numbers ----------------------------------------------------------------------------------

static void expect_ticks(double least, double most, const char *expected) {
    double tick[CHART_TICKS_MOST], step;
    char text[512] = "";
    int count = chart_ticks(least, most, 5, tick, &step);
    for (int i = 0; i < count; ++i)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%.10g", i > 0 ? " " : "",
                 tick[i]);
    EXPECT_TEXT(text, expected);
}

static void test_ticks_are_round(void) {
    expect_ticks(0, 1300, "0 200 400 600 800 1000 1200");
    expect_ticks(0, 1, "0 0.2 0.4 0.6 0.8 1");
    expect_ticks(0.1471, 0.1529, "0.148 0.149 0.15 0.151 0.152");
    expect_ticks(-3, 3, "-3 -2 -1 0 1 2 3");
    expect_ticks(0, 2.1e9, "0 500000000 1000000000 1500000000 2000000000");
    expect_ticks(0, 3e-5, "0 5e-06 1e-05 1.5e-05 2e-05 2.5e-05 3e-05");
}

static void expect_ticks_log(double least, double most, const char *expected) {
    double tick[CHART_TICKS_MOST];
    char text[512] = "";
    int count = chart_ticks_log(least, most, tick);
    for (int i = 0; i < count; ++i)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%.10g", i > 0 ? " " : "",
                 tick[i]);
    EXPECT_TEXT(text, expected);
}

static void test_ticks_of_decades(void) {
    expect_ticks_log(0.009, 12, "0.01 0.1 1 10");
    expect_ticks_log(0.15, 0.9, "0.2 0.5");
    expect_ticks_log(0.009, 0.25, "0.01 0.02 0.05 0.1 0.2");
    expect_ticks_log(2, 4, "2 2.5 3 3.5 4");
    expect_ticks_log(1e-9, 1e9, "1e-09 1e-06 0.001 1 1000 1000000 1000000000");
    expect_ticks_log(1e-6, 1e-2, "1e-06 1e-05 0.0001 0.001 0.01");
}

static void expect_number(double value, const char *expected) {
    char text[24];
    chart_number(value, text);
    EXPECT_TEXT(text, expected);
}

static void test_numbers_are_short(void) {
    expect_number(0.148701714, "0.1487");
    expect_number(1300, "1300");
    expect_number(9999.7, "10k");
    expect_number(12540, "12.5k");
    expect_number(999700, "1M");
    expect_number(2.5e9, "2.5e+09");
    expect_number(0.00002, "2e-05");
    expect_number(0, "0");
    expect_number(-3.5, "-3.5");
    expect_number(NAN, "-");
}

// ---- thinning ---------------------------------------------------------------------------------

// A million points: every one is in one column, and extremes survive.
static void test_thinning_loses_nothing(void) {
    enum { POINTS = 1000000 };
    double *x = malloc(POINTS * sizeof *x), *y = malloc(POINTS * sizeof *y);
    ChartColumn column[CHART_COLUMNS];
    int64_t count = 0, missing = 0;
    double sum = 0, least = INFINITY, most = -INFINITY;
    for (int i = 0; i < POINTS; ++i) {
        x[i] = i + 1;
        y[i] = sin(i * 0.001);
    }
    y[123456] = 50, y[777777] = -40, y[500000] = NAN, y[500001] = INFINITY;
    chart_thin(&(ChartSeries){.x = x, .y = y, .count = POINTS}, 0, POINTS, column);
    for (int k = 0; k < CHART_COLUMNS; ++k) {
        count += column[k].count;
        missing += column[k].missing;
        sum += column[k].mean * (double)column[k].count;
        least = fmin(least, column[k].least), most = fmax(most, column[k].most);
        EXPECT(column[k].least <= column[k].mean && column[k].mean <= column[k].most);
        EXPECT(column[k].x >= (double)POINTS * k / CHART_COLUMNS &&
               column[k].x <= (double)POINTS * (k + 1) / CHART_COLUMNS);
    }
    EXPECT_EQ(count, POINTS - 2);
    EXPECT_EQ(missing, 2);
    EXPECT_NEAR(least, -40, 0);
    EXPECT_NEAR(most, 50, 0);
    double expected = 0;
    for (int i = 0; i < POINTS; ++i)
        if (isfinite(y[i])) expected += y[i];
    EXPECT_NEAR(sum, expected, 1e-6);
    free(x);
    free(y);
}

// ---- figures ----------------------------------------------------------------------------------

static char *print(const double *y, int64_t count, Chart chart) {
    double x[64];
    char *text;
    size_t bytes;
    FILE *file = open_memstream(&text, &bytes);
    for (int i = 0; i < 64; ++i) x[i] = 10 * (i + 1);
    ChartSeries series[2] = {{.name = "a<b", .style = "r0", .x = x, .y = y, .count = count},
                             {.name = "c", .style = "r1", .x = x, .y = y, .count = count}};
    chart.id = "test", chart.title = "Loss", chart.note = "", chart.unit = "",
    chart.x_name = "step";
    chart.missing = "Nothing yet.";
    chart.series = series;
    chart.count = chart.stacked ? 2 : 1;
    chart_print(file, &chart);
    fclose(file);
    return text;
}

// Of the path of this class: how often a letter of its commands stands there.
static int letters(const char *text, const char *style, char letter) {
    char opening[64];
    int count = 0;
    snprintf(opening, sizeof opening, "<path class=\"%s\" d=\"", style);
    const char *at = strstr(text, opening);
    if (at == NULL) return -1;
    for (at += strlen(opening); *at != '"'; ++at) count += *at == letter;
    return count;
}

static void test_gaps_break_the_line(void) {
    double y[9] = {1, 2, NAN, 3, 4, INFINITY, NAN, 5, 6};
    char *text = print(y, 9, (Chart){0});
    EXPECT_EQ(letters(text, "line", 'M'), 3);
    EXPECT_EQ(letters(text, "line", 'l'), 3);
    EXPECT_EQ(letters(text, "dots", 'M'), 6);
    EXPECT_EQ(letters(text, "gap", 'M'), 3);
    EXPECT(strstr(text, "3 records have no number") != NULL);
    EXPECT(strstr(text, "nan") == NULL && strstr(text, "inf") == NULL);
    EXPECT(strstr(text, "data-name=\"a&lt;b\"") != NULL);
    free(text);
}

// Points of which some stand alone between gaps, too close to each other to be marked.
static void test_points_alone_are_dots(void) {
    double y[8] = {1, NAN, 2, NAN, 3, 4, NAN, 5};
    char *text = print(y, 8, (Chart){.x_most = 2400});
    EXPECT_EQ(letters(text, "dots", 'M'), -1);
    EXPECT_EQ(letters(text, "line", 'M'), 4);
    EXPECT_EQ(letters(text, "line", 'h'), 3);
    free(text);
    text = print(y, 8, (Chart){0});
    EXPECT_EQ(letters(text, "dots", 'M'), 5);
    EXPECT_EQ(letters(text, "line", 'M'), 4);
    EXPECT_EQ(letters(text, "line", 'h'), 3);
    free(text);
}

static void test_single_points_and_none(void) {
    double one = 0.25, none[2] = {NAN, NAN};
    char *text = print(&one, 1, (Chart){.log = true});
    EXPECT_EQ(letters(text, "line", 'M'), 1);
    EXPECT_EQ(letters(text, "dots", 'h'), 1);
    EXPECT(strstr(text, "nan") == NULL && strstr(text, "Nothing yet.") == NULL);
    EXPECT(strstr(text, "type=\"checkbox\"") == NULL); // no logarithm of one number
    free(text);
    text = print(none, 2, (Chart){0});
    EXPECT(strstr(text, "Nothing yet.") != NULL && strstr(text, "<svg") == NULL);
    free(text);
    text = print(NULL, 0, (Chart){.stacked = true});
    EXPECT(strstr(text, "Nothing yet.") != NULL);
    free(text);
}

// Figures end, and are numbers, whatever a file says.
static void test_extremes(void) {
    double huge[4] = {1e305, -1e305, 1, 2}, close[2] = {1e20, 1e20 + 16384}, same[2] = {-7, -7};
    char *text = print(huge, 4, (Chart){.log = true});
    EXPECT(strstr(text, "2 records have no number") != NULL);
    EXPECT(strstr(text, "nan") == NULL && strstr(text, "inf") == NULL);
    free(text);
    text = print(close, 2, (Chart){.log = true});
    EXPECT(strstr(text, ">1e+20</text>") != NULL);
    free(text);
    text = print(same, 2, (Chart){.zero = true});
    EXPECT(strstr(text, ">-6</text>") != NULL && strstr(text, "nan") == NULL);
    free(text);
}

// Logarithmic at first where numbers span a decade, and only where all are above 0.
static void test_logarithms(void) {
    double wide[3] = {0.01, 0.5, 3}, narrow[3] = {1, 2, 3}, zero[3] = {0, 1, 100};
    char *text = print(wide, 3, (Chart){.log = true});
    EXPECT(strstr(text, "id=\"log-test\" checked") != NULL);
    EXPECT(strstr(text, "<svg class=\"even\"") != NULL &&
           strstr(text, "<svg class=\"log\"") != NULL);
    free(text);
    text = print(narrow, 3, (Chart){.log = true});
    EXPECT(strstr(text, "id=\"log-test\">") != NULL);
    free(text);
    text = print(zero, 3, (Chart){.log = true});
    EXPECT(strstr(text, "<svg class=\"log\"") == NULL);
    free(text);
}

// The upper of two equal bands ends at twice the lower one, which stands on the floor.
static void test_bands_stand_on_each_other(void) {
    double y[2] = {2, 2};
    char *text = print(y, 2, (Chart){.stacked = true, .zero = true});
    const char *upper = strstr(text, "data-name=\"c\"");
    int x, top = 0, low = 0;
    EXPECT(upper != NULL);
    if (upper != NULL) {
        EXPECT_EQ(sscanf(strstr(upper, "d=\"M") + 4, "%d %d", &x, &top), 2);
        EXPECT_EQ(sscanf(strstr(text, "d=\"M") + 4, "%d %d", &x, &low), 2);
        EXPECT_NEAR(20000 - top, 2 * (20000 - low), 2);
    }
    free(text);
}

// A column of several points is their mean, before a band from the least to the most.
static void test_band_behind_the_mean(void) {
    enum { POINTS = 4000 };
    static double x[POINTS], y[POINTS];
    char *text;
    size_t bytes;
    for (int i = 0; i < POINTS; ++i) x[i] = i, y[i] = i % 2;
    FILE *file = open_memstream(&text, &bytes);
    chart_print(file, &(Chart){.id = "test",
                               .title = "t",
                               .note = "",
                               .unit = "",
                               .x_name = "step",
                               .missing = "",
                               .series = &(ChartSeries){"s", "r0", x, y, POINTS},
                               .count = 1});
    fclose(file);
    EXPECT_EQ(letters(text, "band", 'Z'), 1);
    EXPECT_EQ(letters(text, "line", 'l'), CHART_COLUMNS - 1);
    EXPECT(strlen(text) < 40000);
    free(text);
}

// ---- text -------------------------------------------------------------------------------------

static void expect_html(const char *text, const char *expected) {
    char *got;
    size_t bytes;
    FILE *file = open_memstream(&got, &bytes);
    html_text(file, text);
    fclose(file);
    EXPECT_TEXT(got, expected);
    free(got);
}

static void expect_base64(const char *data, const char *expected) {
    char *got;
    size_t bytes;
    FILE *file = open_memstream(&got, &bytes);
    html_base64(file, data, strlen(data));
    fclose(file);
    EXPECT_TEXT(got, expected);
    free(got);
}

static void test_text_is_escaped(void) {
    expect_html("<script>alert(\"1\" && '2')</script>",
                "&lt;script&gt;alert(&quot;1&quot; &amp;&amp; &#39;2&#39;)&lt;/script&gt;");
    expect_html("Gr\xc3\xb6\xc3\x9f\x65 \xe2\x82\xac \xf0\x9f\x8e\xa8\n\t.",
                "Gr\xc3\xb6\xc3\x9f\x65 \xe2\x82\xac \xf0\x9f\x8e\xa8\n\t.");
    expect_html("a\x01z\x7f", "a\xef\xbf\xbdz\xef\xbf\xbd");
    expect_html("\xff<\xc3", "\xef\xbf\xbd&lt;\xef\xbf\xbd");            // no UTF-8
    expect_html("\xc0\xbc", "\xef\xbf\xbd\xef\xbf\xbd");                 // '<', too long
    expect_html("\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"); // a surrogate
    expect_html("\xf4\x90\x80\x80",
                "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"); // too large
}

static void test_base64(void) { // RFC 4648, section 10
    expect_base64("", "");
    expect_base64("f", "Zg==");
    expect_base64("fo", "Zm8=");
    expect_base64("foo", "Zm9v");
    expect_base64("foob", "Zm9vYg==");
    expect_base64("fooba", "Zm9vYmE=");
    expect_base64("foobar", "Zm9vYmFy");
    expect_base64("\xff\xfe\xfd", "//79");
}

int main(void) {
    RUN(test_ticks_are_round);
    RUN(test_ticks_of_decades);
    RUN(test_numbers_are_short);
    RUN(test_thinning_loses_nothing);
    RUN(test_gaps_break_the_line);
    RUN(test_points_alone_are_dots);
    RUN(test_single_points_and_none);
    RUN(test_extremes);
    RUN(test_logarithms);
    RUN(test_bands_stand_on_each_other);
    RUN(test_band_behind_the_mean);
    RUN(test_text_is_escaped);
    RUN(test_base64);
    return test_report();
}
