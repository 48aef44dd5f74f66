// Samples of dye report: pictures, points or texts that a run drew on its way.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "launch/report/html.h"
#include "launch/report/page.h"

enum { SHOWN_MOST = 12, PICTURE_BYTES = 6 << 20, TEXT_BYTES = 6000, POINTS_MOST = 4096 };

typedef struct {
    char name[256], path[PATH_BYTES];
    uint64_t bytes;
    bool picture;
} SampleFile;

typedef struct {
    SampleFile *file; // by name, hence by step
    int count;
} SampleFiles;

static bool ends_in(const char *name, const char *end) {
    size_t length = strlen(name), of_end = strlen(end);
    return length > of_end && strcmp(name + length - of_end, end) == 0;
}

static SampleFiles list_files(const RunHistory *run) {
    char folder[PATH_BYTES], **names;
    int count;
    SampleFiles files = {0};
    if (path_format(folder, "%s/samples", run->path) != STATUS_OK ||
        folder_names(folder, &names, &count) != STATUS_OK) {
        error_clear();
        return files;
    }
    files.file = calloc((size_t)count + 1, sizeof *files.file);
    for (int i = 0; i < count && files.file != NULL; ++i) {
        SampleFile *file = &files.file[files.count];
        file->picture = ends_in(names[i], ".png");
        // Those that were drawn on the way, none of dye sample.
        if (strlen(names[i]) >= sizeof file->name || strncmp(names[i], "step-", 5) != 0 ||
            (!file->picture && !ends_in(names[i], ".txt")))
            continue;
        if (path_format(file->path, "%s/%s", folder, names[i]) != STATUS_OK ||
            file_size(file->path, &file->bytes) != STATUS_OK)
            continue;
        snprintf(file->name, sizeof file->name, "%s", names[i]);
        ++files.count;
    }
    folder_names_free(names, count);
    error_clear();
    return files;
}

static void print_label(FILE *out, const SampleFile *file) {
    long long step;
    if (sscanf(file->name, "step-%lld.", &step) == 1)
        fprintf(out, "step %lld", step);
    else
        html_text(out, file->name);
}

// File number k of n that are spread evenly over all, the newest last.
static int spread(int k, int n, int count) {
    return n == 1 ? count - 1 : (int)((int64_t)k * (count - 1) / (n - 1));
}

// How many of them fit into `room`: the newest at least, unless it alone is too large.
static int count_fitting(const SampleFiles *files, uint64_t room) {
    int n = files->count < SHOWN_MOST ? files->count : SHOWN_MOST;
    for (; n > 0; --n) {
        uint64_t sum = n > 1 ? files->file[files->count - 1].bytes : 0; // shown twice
        for (int k = 0; k < n; ++k) sum += files->file[spread(k, n, files->count)].bytes;
        if (sum <= room) break;
    }
    return n;
}

// ---- pictures ---------------------------------------------------------------------------------

static void print_picture(FILE *out, const SampleFile *file, const char *style) {
    char *data;
    size_t bytes;
    fprintf(out, "<figure%s%s%s>", style[0] != '\0' ? " class=\"" : "", style,
            style[0] != '\0' ? "\"" : "");
    if (file_read(file->path, PICTURE_BYTES, &data, &bytes) != STATUS_OK) {
        fputs("<p class=\"bad\">", out);
        html_text(out, error_get()->text);
        fputs("</p>", out);
        error_clear();
    } else {
        if (bytes < 8 || memcmp(data, "\x89PNG\r\n\x1a\n", 8) != 0) {
            fputs("<p class=\"bad\">This file is no PNG.</p>", out);
        } else {
            fputs("<img alt=\"samples\" src=\"data:image/png;base64,", out);
            html_base64(out, data, bytes);
            fputs("\">", out);
        }
        free(data);
    }
    fputs("<figcaption>", out);
    print_label(out, file);
    fputs("</figcaption></figure>\n", out);
}

// ---- text -------------------------------------------------------------------------------------

// The beginning of a file; the caller frees. NULL: it cannot be read.
static char *read_beginning(const char *path, size_t *bytes) {
    char *text = malloc(POINTS_MOST * 32);
    FILE *file = text != NULL ? fopen(path, "re") : NULL;
    if (file == NULL) {
        free(text);
        return NULL;
    }
    *bytes = fread(text, 1, POINTS_MOST * 32 - 1, file);
    text[*bytes] = '\0';
    fclose(file);
    return text;
}

// Whether each whole line is two numbers: points in the plane, [2 * POINTS_MOST].
static int read_points(const char *text, double *point) {
    int count = 0;
    for (const char *end; (end = strchr(text, '\n')) != NULL && count < POINTS_MOST; ++count) {
        int used = 0;
        if (sscanf(text, "%lf\t%lf%n", &point[2 * count], &point[2 * count + 1], &used) != 2 ||
            text + used != end || !isfinite(point[2 * count]) || !isfinite(point[2 * count + 1]))
            return 0;
        text = end + 1;
    }
    return count;
}

// Seen from -3 to 3, as dye film sees them, or farther where some are farther.
static void print_points(FILE *out, const double *point, int count) {
    double reach = 3;
    for (int i = 0; i < 2 * count; ++i) reach = fmax(reach, 1.02 * fabs(point[i]));
    fputs(
        "<svg class=\"points\" viewBox=\"-1000 -1000 2000 2000\" role=\"img\" aria-label=\"points\">"
        "<line x1=\"-1000\" x2=\"1000\"/><line y1=\"-1000\" y2=\"1000\"/><path d=\"",
        out);
    for (int i = 0; i < count; ++i)
        fprintf(out, "M%.0f %.0fh0", 1000 / reach * point[2 * i], -1000 / reach * point[2 * i + 1]);
    fprintf(out, "\"/></svg>\n<p class=\"soft\">%d points, seen from %.3g to %.3g</p>\n", count,
            -reach, reach);
}

static void print_text(FILE *out, const SampleFile *file, bool newest) {
    size_t bytes = 0;
    double *point = malloc(2 * POINTS_MOST * sizeof *point);
    char *text = read_beginning(file->path, &bytes);
    int points = text != NULL && point != NULL ? read_points(text, point) : 0;
    fputs(newest ? "<p class=\"soft\">" : "<details><summary>", out);
    print_label(out, file);
    fputs(newest ? "</p>\n" : "</summary>\n", out);
    if (text == NULL) {
        fputs("<p class=\"bad\">This file cannot be read.</p>\n", out);
    } else if (points > 0) {
        print_points(out, point, points);
    } else {
        fputs("<pre>", out);
        html_text_bytes(out, text, bytes < TEXT_BYTES ? bytes : TEXT_BYTES);
        fputs("</pre>\n", out);
        if (file->bytes > TEXT_BYTES)
            fprintf(out, "<p class=\"soft\">the first %d of %llu bytes</p>\n", TEXT_BYTES,
                    (unsigned long long)file->bytes);
    }
    if (!newest) fputs("</details>\n", out);
    free(text);
    free(point);
}

// ---- of a run ---------------------------------------------------------------------------------

static void print_pictures(FILE *out, const SampleFiles *files, uint64_t room) {
    int n = count_fitting(files, room);
    if (n == 0) {
        fputs("<p class=\"none\">The newest samples are too large for this page: ", out);
        html_text(out, files->file[files->count - 1].path);
        fputs("</p>\n", out);
        return;
    }
    fputs("<div class=\"pictures\">\n", out);
    print_picture(out, &files->file[files->count - 1], "large");
    if (n > 1) fputs("<div class=\"strip\">\n", out);
    for (int k = 0; k < n && n > 1; ++k)
        print_picture(out, &files->file[spread(k, n, files->count)], "");
    fputs(n > 1 ? "</div></div>\n" : "</div>\n", out);
    if (n < files->count)
        fprintf(out, "<p class=\"soft\">%d of %d pictures, evenly over the steps</p>\n", n,
                files->count);
}

static void print_samples_of(FILE *out, const RunHistory *run, uint64_t room) {
    SampleFiles files = list_files(run), pictures = {0};
    pictures.file = calloc((size_t)files.count + 1, sizeof *pictures.file);
    int texts = 0, shown = 0;
    for (int i = 0; i < files.count && pictures.file != NULL; ++i)
        if (files.file[i].picture)
            pictures.file[pictures.count++] = files.file[i];
        else
            files.file[texts++] = files.file[i];
    if (files.count == 0)
        fputs("<p class=\"none\">No samples have been drawn on the way (sample.every).</p>\n", out);
    if (pictures.count > 0) print_pictures(out, &pictures, room);
    shown = texts < SHOWN_MOST ? texts : SHOWN_MOST;
    for (int k = shown - 1; k >= 0; --k)
        print_text(out, &files.file[spread(k, shown, texts)], k == shown - 1);
    if (shown < texts)
        fprintf(out, "<p class=\"soft\">%d of %d texts, evenly over the steps</p>\n", shown, texts);
    free(pictures.file);
    free(files.file);
}

void page_print_samples(FILE *out, const RunHistories *runs) {
    fputs("<h2 id=\"samples\">Samples</h2>\n<div class=\"panels\">\n", out);
    for (int i = 0; i < runs->count; ++i) {
        fprintf(out, "<div class=\"panel %s\">\n", page_run_style(i));
        page_print_name(out, runs, i);
        print_samples_of(out, &runs->run[i], PICTURE_BYTES / (uint64_t)runs->count);
        fputs("</div>\n", out);
    }
    fputs("</div>\n", out);
}
