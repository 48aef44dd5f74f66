// The parts of the page of dye report, in their order. What a run lacks is said in words.
#pragma once

#include <stdio.h>

#include "launch/report/run_histories.h"

// "run r3 c3 d0": of run number i, for its colour and line; what has it goes away with the run.
const char *page_run_style(int i);
void page_print_name(FILE *out, const RunHistories *runs, int i); // nothing for a single run

void page_print_overview(FILE *out, const RunHistories *runs);
void page_print_curves(FILE *out, const RunHistories *runs); // losses, gradient, rate, speed
void page_print_levels(FILE *out, const RunHistories *runs); // held-out loss by noise level
void page_print_times(FILE *out, const RunHistories *runs);  // where a step's time went, slow ranks
// Pictures take some megabytes of all runs together; those that do not fit are named.
void page_print_samples(FILE *out, const RunHistories *runs);
void page_print_events(FILE *out, const RunHistories *runs);
void page_print_config(FILE *out, const RunHistories *runs); // in what runs differ, then each
void page_print_versions(FILE *out, const RunHistories *runs);
