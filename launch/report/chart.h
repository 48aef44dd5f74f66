// Figures of a page: curves over steps as SVG, made here and complete without a script. Lines are
// stretched with the page and text is not, so a figure reads as well on a phone.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef struct {
    const char *name;    // in the key, and where a value is shown
    const char *style;   // CSS classes that give --ink, its colour: "run r0 c0"
    const double *x, *y; // [count], lent; x in any order; y not finite: a gap
    int64_t count;
} ChartSeries;

typedef struct {
    const char *id;           // a word that no other figure of the page has
    const char *title, *note; // what is seen; how it is to be read, "": nothing to add
    const char *unit;         // of y, "": none
    const char *x_name;       // below the axis: "step"
    double x_most;            // the axis reaches this far at least
    const char *missing;      // the sentence that stands for the figure where there is no number
    bool zero;                // y begins at 0
    bool log;                 // may be logarithmic: a switch, where all numbers are above 0
    bool stacked;             // each series stands on the sum of those before it
    bool wide;                // as wide as the page
    bool key;                 // names and colours of the series above the figure
    const ChartSeries *series;
    int count;
} Chart;

// A <figure>. A series of more points than columns is drawn as the mean of each column of pixels,
// before a band from its least to its most; what is not finite is a gap, marked below the axis.
void chart_print(FILE *out, const Chart *chart);

// ---- parts ------------------------------------------------------------------------------------

enum { CHART_COLUMNS = 480, CHART_TICKS_MOST = 24 };

typedef struct {
    double x, mean, least, most; // of the finite points, if count > 0
    int64_t count, missing;      // points that are finite, that are not
} ChartColumn;
// Points between x_least and x_most, by columns of equal width.
void chart_thin(const ChartSeries *series, double x_least, double x_most,
                ChartColumn column[CHART_COLUMNS]);

// Round numbers (1, 2 or 5 times a power of ten apart) within [least, most], about `wanted` of
// them; returns their count. *step: their distance.
int chart_ticks(double least, double most, int wanted, double tick[CHART_TICKS_MOST], double *step);
// The same for a logarithmic axis, 0 < least < most: powers of ten, or 1, 2 and 5 times these, or
// as chart_ticks where it spans less than that.
int chart_ticks_log(double least, double most, double tick[CHART_TICKS_MOST]);
// Four digits at most: "0.1487", "1300", "12.5k", "1.2M", "2e-05"; "-" if it is not finite.
void chart_number(double value, char out[24]);
