// dye report: one page that shows a run, or compares several, without a network.
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "launch/command.h"
#include "launch/report/html.h"
#include "launch/report/page.h"
#include "launch/version.h"

static const char usage[] = "usage: dye report RUN [RUN ...] [-o FILE.html]";

typedef struct {
    char *const *runs;
    int count;
    char out[PATH_BYTES];
} ReportCommand;

static Status parse(int argc, char **argv, ReportCommand *command) {
    static const struct option options[] = {{"out", required_argument, NULL, 'o'}, {0}};
    const char *out = NULL;
    optind = 1;
    for (int option; (option = getopt_long(argc, argv, "o:", options, NULL)) != -1;) {
        FAIL_IF(option != 'o', BAD_USAGE, "%s", usage);
        out = optarg;
    }
    command->runs = argv + optind;
    command->count = argc - optind;
    FAIL_IF(command->count < 1, BAD_USAGE, "%s", usage);
    FAIL_IF(command->count > HISTORIES_MOST, BAD_USAGE, "%d runs, at most %d in one report",
            command->count, HISTORIES_MOST);
    FAIL_IF(out == NULL && command->count > 1, BAD_USAGE,
            "a report of several runs needs -o FILE.html");
    if (out != NULL) return path_format(command->out, "%s", out);
    return path_format(command->out, "%s/report.html", command->runs[0]);
}

// ---- page -------------------------------------------------------------------------------------

// Without a script too: a switch for each run, and what goes away with it.
static void print_switches(FILE *out, const RunHistories *runs) {
    for (int i = 0; i < runs->count && runs->count > 1; ++i)
        fprintf(out, "<input type=\"checkbox\" class=\"show\" id=\"show%d\" checked>\n", i);
}

static void print_switch_style(FILE *out, const RunHistories *runs) {
    fputs("<style>\n", out);
    for (int i = 0; i < runs->count && runs->count > 1; ++i)
        fprintf(out,
                "#show%d:not(:checked) ~ .page .r%d { display: none; }"
                " #show%d:not(:checked) ~ .bar .r%d { opacity: .35; }\n",
                i, i, i, i);
    fputs("</style>\n", out);
}

static void print_bar(FILE *out, const RunHistories *runs) {
    static const char *const links[][2] = {
        {"curves", "Curves"},     {"levels", "Noise levels"},  {"times", "Step time"},
        {"samples", "Samples"},   {"events", "What happened"}, {"config", "Configuration"},
        {"versions", "Versions"},
    };
    fputs("<div class=\"bar\"><div>\n", out);
    for (size_t i = 0; i < sizeof links / sizeof *links; ++i)
        fprintf(out, "<a href=\"#%s\">%s</a>\n", links[i][0], links[i][1]);
    fputs("</div>\n", out);
    if (runs->count > 1) fputs("<div class=\"runs\">\n", out);
    for (int i = 0; i < runs->count && runs->count > 1; ++i) {
        fprintf(out, "<label for=\"show%d\" class=\"%s\">", i, page_run_style(i));
        html_text(out, runs->run[i].name);
        fputs("</label>\n", out);
    }
    if (runs->count > 1) fputs("</div>\n", out);
    fputs("</div>\n", out);
}

static void print_title(FILE *out, const RunHistories *runs) {
    char when[32];
    time_t now = time(NULL);
    struct tm local;
    strftime(when, sizeof when, "%Y-%m-%d %H:%M", localtime_r(&now, &local));
    fputs("<header><h1>", out);
    if (runs->count == 1)
        html_text(out, runs->run[0].name);
    else
        fprintf(out, "%d runs compared", runs->count);
    fprintf(out, "</h1>\n<p>as of %s", when);
    if (runs->count == 1) {
        fputs(", in ", out);
        html_text(out, runs->run[0].path);
    }
    fputs("</p></header>\n", out);
}

static void print_page(FILE *out, const RunHistories *runs) {
    html_open_page(out, runs->count == 1 ? runs->run[0].name : "Dye: runs compared");
    print_switch_style(out, runs);
    html_open_body(out);
    print_switches(out, runs);
    print_bar(out, runs);
    fputs("<main class=\"page\">\n", out);
    print_title(out, runs);
    page_print_overview(out, runs);
    page_print_curves(out, runs);
    page_print_levels(out, runs);
    page_print_times(out, runs);
    page_print_samples(out, runs);
    page_print_events(out, runs);
    page_print_config(out, runs);
    page_print_versions(out, runs);
    fputs("<footer>made by dye ", out);
    html_text(out, version_text());
    fputs("</footer>\n</main>\n", out);
    html_close_page(out);
}

static Status write_page(const ReportCommand *command, const RunHistories *runs) {
    char *text = NULL;
    size_t bytes = 0;
    FILE *file = open_memstream(&text, &bytes);
    FAIL_IF(file == NULL, NO_MEMORY, "no memory for a page");
    print_page(file, runs);
    bool whole = ferror(file) == 0;
    whole = fclose(file) == 0 && whole;
    Status status = STATUS_OK;
    if (!whole) FAIL_OR(done, status, NO_MEMORY, "no memory for a page");
    TRY_OR(done, status, file_write_atomic(command->out, text, bytes));
    printf("report of %d %s in %s, %.0f kB\n", runs->count, runs->count == 1 ? "run" : "runs",
           command->out, (double)bytes / 1e3);
done:
    free(text);
    return status;
}

Status cmd_report(int argc, char **argv) {
    ReportCommand command = {0};
    RunHistories runs;
    TRY(parse(argc, argv, &command));
    Status status = histories_read(command.runs, command.count, &runs);
    if (status == STATUS_OK) status = write_page(&command, &runs);
    histories_close(&runs);
    return status;
}
