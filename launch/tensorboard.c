// The event file of this process behind launch/tensorboard.h.
#include "launch/tensorboard.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "launch/console.h"
#include "launch/event_file.h"
#include "launch/run_config.h"
#include "launch/wall_clock.h"

enum { SAMPLES_BYTES_MOST = 64 << 20 };

static struct {
    const RunSettings *settings;
    const char *config_text; // NULL: not wanted
    char path[PATH_BYTES];
    int fd; // 0: none is open
} own;

// Records go out in one write, whole or not at all: what stands behind a torn one is never read.
static void put(const char *data, size_t bytes) {
    off_t whole = lseek(own.fd, 0, SEEK_CUR);
    if (write(own.fd, data, bytes) == (ssize_t)bytes) return;
    char line[PATH_BYTES + 200];
    snprintf(line, sizeof line,
             "%s: cannot be written: %s; TensorBoard will miss what comes from here"
             " on, metrics.jsonl has it",
             own.path, strerror(errno));
    console_warn(line);
    if (whole < 0 || ftruncate(own.fd, whole) != 0) errno = 0; // the torn end is the end
    tensorboard_close();
}

typedef struct {
    FILE *file;
    char *data;
    size_t bytes;
    double wall;
} Records;

// False: nothing is to be written.
static bool records_open(Records *records) {
    *records = (Records){.wall = clock_wall()};
    if (own.fd > 0) records->file = open_memstream(&records->data, &records->bytes);
    return records->file != NULL;
}

static void records_close(Records *records) {
    fclose(records->file);
    if (records->data != NULL && records->bytes > 0) put(records->data, records->bytes);
    free(records->data);
}

static void scalar(Records *records, int64_t step, const char *tag, double value) {
    if (isfinite(value)) event_scalar(records->file, records->wall, step, tag, value);
}

// As text of a fixed width.
static void fenced(Records *records, int64_t step, const char *tag, const char *text) {
    char *markdown;
    if (asprintf(&markdown, "```\n%s\n```", text) < 0) return;
    event_text(records->file, records->wall, step, tag, markdown);
    free(markdown);
}

// Its name stands behind those of the files that are there, whatever the clock says.
static Status choose_path(const char *folder, char path[PATH_BYTES]) {
    char **names, host[64] = "host";
    int count;
    long long seconds = (long long)clock_wall(), last = 0;
    TRY(folder_names(folder, &names, &count));
    for (int i = 0; i < count; ++i)
        if (sscanf(names[i], "events.out.tfevents.%lld", &last) == 1 && last >= seconds)
            seconds = last + 1;
    folder_names_free(names, count);
    if (gethostname(host, sizeof host - 1) != 0) host[0] = '\0';
    return path_format(path, "%s/events.out.tfevents.%010lld.%s.%d.0", folder, seconds, host,
                       (int)getpid());
}

// ---- parameters -------------------------------------------------------------------------------

enum { PARAMETERS_MOST = 256, PARAMETER_BYTES = 600 };
typedef struct {
    EventParameter list[PARAMETERS_MOST];
    char text[PARAMETERS_MOST][PARAMETER_BYTES];
    int count;
} Parameters;

static void add_parameter(void *context, const char *key, const char *value) {
    Parameters *all = context;
    char *end, *text = all->text[all->count];
    if (all->count == PARAMETERS_MOST) return;
    snprintf(text, PARAMETER_BYTES, "%s", value);
    double number = strtod(text, &end);
    bool is_number = end != text && *end == '\0';
    all->list[all->count++] = (EventParameter){key, is_number ? NULL : text, number};
}

static void tell_parameters(Records *records) {
    Parameters *all = calloc(1, sizeof *all);
    if (all == NULL) return;
    run_config_fixed(own.settings, add_parameter, all);
    event_parameters(records->file, records->wall, all->list, all->count);
    free(all);
}

// ---- what a run tells -------------------------------------------------------------------------

void tensorboard_enable(const RunSettings *settings, const char *config_text) {
    own.settings = settings;
    own.config_text = config_text;
}

static Status create(const char *run_dir) {
    char folder[PATH_BYTES];
    TRY(path_format(folder, "%s/tensorboard", run_dir));
    TRY(folder_make(folder));
    TRY(choose_path(folder, own.path));
    int fd = open(own.path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    FAIL_IF(fd < 0, IO, "cannot create %s: %s", own.path, strerror(errno));
    own.fd = fd;
    return STATUS_OK;
}

void tensorboard_open(const char *run_dir, int64_t step) {
    Records records;
    tensorboard_close();
    if (own.config_text == NULL) return;
    if (create(run_dir) != STATUS_OK) console_warn(error_get()->text);
    error_clear();
    if (!records_open(&records)) return;
    event_version(records.file, records.wall, step + 1);
    event_start(records.file, records.wall, step + 1);
    fenced(&records, step, "config", own.config_text);
    tell_parameters(&records);
    records_close(&records);
}

void tensorboard_record(const MetricsRecord *record) {
    Records records;
    if (!records_open(&records)) return;
    scalar(&records, record->step, "train/loss", record->loss);
    scalar(&records, record->step, "train/grad_norm", record->grad_norm);
    scalar(&records, record->step, "train/lr", record->lr);
    scalar(&records, record->step, "speed/samples_per_s", record->samples_per_s);
    scalar(&records, record->step, "speed/data_wait_s", record->data_wait_each_s);
    scalar(&records, record->step, "speed/slowest_excess_s", record->slowest_excess_s);
    if (record->step == record->steps) event_success(records.file, records.wall);
    records_close(&records);
}

void tensorboard_held_out(int64_t step, const HeldOutLoss *result) {
    Records records;
    char tag[40];
    if (!records_open(&records)) return;
    scalar(&records, step, "held_out/loss", result->loss);
    for (int level = 0; level < EVAL_LEVELS; ++level) {
        snprintf(tag, sizeof tag, "held_out_by_noise/%d", level);
        if (result->level_count[level] > 0) scalar(&records, step, tag, result->level_loss[level]);
    }
    records_close(&records);
}

void tensorboard_samples(int64_t step, const char *path) {
    Records records;
    char *data;
    size_t bytes, length = strlen(path);
    if (own.fd == 0 || file_read(path, SAMPLES_BYTES_MOST, &data, &bytes) != STATUS_OK) {
        error_clear();
        return;
    }
    if (records_open(&records)) {
        if (length > 4 && strcmp(path + length - 4, ".png") == 0)
            event_image(records.file, records.wall, step, "samples", data, bytes);
        else
            fenced(&records, step, "samples", data);
        records_close(&records);
    }
    free(data);
}

void tensorboard_close(void) {
    if (own.fd > 0) close(own.fd);
    own.fd = 0;
}
