// The reader threads and their ring of batches.
#include "data/loader.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/mix.h"
#include "base/thread.h"
#include "data/dataset_index.h"
#include "data/filter.h"

enum { DEPTH_MOST = 1024, THREADS_MOST = 64, PATH_LINE_BYTES = 1400 };

static const double usual_patience = 5;
static const int64_t full_bytes_most = (int64_t)1 << 30;

typedef struct {
    int64_t step, count, left_outs, lost;
    void *x; // [share, item] of 4 bytes
    int32_t *label;
    uint64_t *sample, *index;
    uint8_t *left_out;
    bool ready;          // filled, or failed
    ErrorRecord failure; // status OK: none
} RingSlot;

// What one thread works with.
typedef struct {
    Loader *loader;
    pthread_t thread;
    bool running;
    MixtureCursor cursor;
    uint8_t *raw, *changed; // one sample as stored; augmented
} Worker;

struct Loader {
    LoaderConfig config;
    DatasetInfo info;
    int label_column; // -1: none
    int64_t item, share, samples;
    Mixture mixture;
    int64_t part_item[DATASET_PARTS_MOST]; // first item of each folder
    SampleSet left_out;
    RingSlot *ring; // one more than `depth`: the batch that is lent
    int slots, workers;
    Worker *worker;
    size_t bytes;

    pthread_mutex_t mutex; // guards what follows, and ready of each slot
    pthread_cond_t filled_one, freed_one;
    int64_t claimed;   // the next step that no thread works at
    int64_t delivered; // the next step to deliver
    bool lent, stop;
    SampleSet lost, lost_new; // lost: all so far; new: not taken yet
    double wait_seconds;
};

int64_t loader_item(const DatasetInfo *info, int64_t length) {
    if (info->kind == KIND_TEXT) return length;
    int64_t numbers = 1;
    for (int i = 0; i < info->column[0].dims; ++i) numbers *= info->column[0].dim[i];
    return numbers;
}

static int64_t samples_of(const DatasetInfo *info, int64_t length) {
    return info->kind == KIND_TEXT ? info->items / length : info->items;
}

int64_t loader_samples(const Dataset *dataset, int64_t length) {
    int64_t samples = 0, first;
    for (int i = 0; i < dataset_parts(dataset); ++i)
        samples += samples_of(dataset_part(dataset, i, &first), length);
    return samples;
}

OrderKind loader_usual_order(const DatasetInfo *info) {
    int64_t item_bytes = column_item_bytes(&info->column[0]);
    return info->items <= full_bytes_most / item_bytes ? ORDER_FULL : ORDER_WINDOW;
}

OrderKind loader_order(const char *name, const DatasetInfo *info) {
    if (strcmp(name, "auto") == 0) return loader_usual_order(info);
    return strcmp(name, "window") == 0 ? ORDER_WINDOW : ORDER_FULL;
}

// ---- a sample -----------------------------------------------------------------------------------

// The first item of the main column that belongs to a sample.
static int64_t first_item(const Loader *loader, int64_t index, int *part) {
    const MixtureSet *set = loader->mixture.set;
    *part = 0;
    while (*part + 1 < loader->mixture.sets && set[*part + 1].first <= index) ++*part;
    int64_t items = loader->info.kind == KIND_TEXT ? loader->item : 1;
    return loader->part_item[*part] + (index - set[*part].first) * items;
}

static int whole_number(Dtype dtype, const uint8_t *from, int64_t i) {
    uint16_t wide;
    if (dtype == DTYPE_U8) return from[i];
    memcpy(&wide, from + 2 * i, 2);
    return wide;
}

// From what is stored to what the network reads.
static void convert(Worker *worker, uint64_t position, float *number, int32_t *symbol) {
    const Loader *loader = worker->loader;
    const Column *column = &loader->info.column[0];
    const Augment *augment = &loader->config.augment;
    const uint8_t *raw = worker->raw;
    switch (loader->info.kind) {
    case KIND_IMAGE:
        if ((augment->flip || augment->crop > 0) && !loader->config.in_order) {
            augment_image(augment, loader->config.seed, position, raw, column->dim[0],
                          column->dim[1], column->dim[2], worker->changed);
            raw = worker->changed;
        }
        for (int64_t i = 0; i < loader->item; ++i) number[i] = (float)raw[i] / 127.5f - 1.0f;
        break;
    case KIND_VECTOR:
    case KIND_LATENT:
        for (int64_t i = 0; i < loader->item; ++i) number[i] = number_widen(column->dtype, raw, i);
        break;
    case KIND_TEXT:
    case KIND_TOKENS:
        for (int64_t i = 0; i < loader->item; ++i) symbol[i] = whole_number(column->dtype, raw, i);
    }
}

static Status read_sample(Worker *worker, RingSlot *slot, int64_t row, int64_t index) {
    const Loader *loader = worker->loader;
    Dataset *dataset = loader->config.dataset;
    int part;
    int64_t items = loader->info.kind == KIND_TEXT ? loader->item : 1;
    int64_t first = first_item(loader, index, &part);
    uint8_t label[2];
    TRY(dataset_read(dataset, 0, first, items, worker->raw));
    convert(worker, slot->sample[row], (float *)slot->x + row * loader->item,
            (int32_t *)slot->x + row * loader->item);
    slot->label[row] = 0;
    if (loader->label_column < 0) return STATUS_OK;
    TRY(dataset_read(dataset, loader->label_column, first, 1, label));
    slot->label[row] = whole_number(loader->info.column[loader->label_column].dtype, label, 0);
    return STATUS_OK;
}

// ---- losses -------------------------------------------------------------------------------------

static bool is_lost(Loader *loader, int64_t index) {
    pthread_mutex_lock(&loader->mutex);
    bool lost = sample_set_has(&loader->lost, (uint64_t)index);
    pthread_mutex_unlock(&loader->mutex);
    return lost;
}

// All samples that have an item among those that are lost with this one.
static Status note_lost(Loader *loader, int64_t index) {
    int part;
    int64_t items = loader->info.kind == KIND_TEXT ? loader->item : 1;
    int64_t first = first_item(loader, index, &part), from = index, to = index + 1;
    for (int c = 0; c < loader->info.columns; ++c)
        for (int64_t item = first; item < first + items;) {
            int64_t begin, count;
            bool lost = dataset_lost_range(loader->config.dataset, c, item, &begin, &count);
            int64_t sample = (begin - loader->part_item[part]) / items;
            int64_t last = (begin + count - 1 - loader->part_item[part]) / items;
            sample += loader->mixture.set[part].first;
            last += loader->mixture.set[part].first;
            if (lost && sample < from) from = sample;
            if (lost && last + 1 > to) to = last + 1;
            item = begin + count;
        }
    const MixtureSet *set = &loader->mixture.set[part];
    if (to > set->first + set->samples) to = set->first + set->samples; // of a text's rest
    pthread_mutex_lock(&loader->mutex);
    Status status = sample_set_add_range(&loader->lost, (uint64_t)from, (uint64_t)to);
    if (status == STATUS_OK)
        status = sample_set_add_range(&loader->lost_new, (uint64_t)from, (uint64_t)to);
    pthread_mutex_unlock(&loader->mutex);
    return status;
}

Status loader_take_lost(Loader *loader, SampleSet *out) {
    pthread_mutex_lock(&loader->mutex);
    Status status = sample_set_join(out, &loader->lost_new);
    if (status == STATUS_OK) sample_set_clear(&loader->lost_new);
    pthread_mutex_unlock(&loader->mutex);
    return status;
}

static bool can_be_skipped(Status status) {
    return status == STATUS_BAD_DATA || status == STATUS_NOT_FOUND || status == STATUS_IO ||
           status == STATUS_COMM;
}

// ---- a batch ------------------------------------------------------------------------------------

static void blank_row(const Loader *loader, RingSlot *slot, int64_t row) {
    slot->left_out[row] = 1;
    slot->label[row] = 0;
    memset((float *)slot->x + row * loader->item, 0, (size_t)loader->item * sizeof(float));
}

// Nothing of a left-out sample is looked at: its bytes may be what is wrong with it.
static Status fill_row(Worker *worker, RingSlot *slot, int64_t row, int64_t index) {
    Loader *loader = worker->loader;
    slot->left_out[row] = 0;
    if (sample_set_has(&loader->left_out, (uint64_t)index)) {
        blank_row(loader, slot, row);
        return STATUS_OK;
    }
    Status status = STATUS_OK;
    bool lost = loader->config.skip_lost && is_lost(loader, index);
    if (!lost) status = read_sample(worker, slot, row, index);
    if (status != STATUS_OK && loader->config.skip_lost && can_be_skipped(status)) {
        error_clear();
        status = note_lost(loader, index);
        lost = true;
    }
    if (lost) {
        blank_row(loader, slot, row);
        ++slot->lost;
    }
    return status;
}

static int64_t sample_at(Worker *worker, int64_t position) {
    int set;
    if (worker->loader->config.in_order) return position;
    return mixture_at(&worker->cursor, (uint64_t)position, &set);
}

// Those of a global batch that are left out.
static int64_t count_left_out(Worker *worker, int64_t step) {
    const Loader *loader = worker->loader;
    int64_t count = 0, begin = step * loader->config.batch;
    if (loader->left_out.count == 0) return 0;
    for (int64_t i = 0; i < loader->config.batch; ++i)
        count += sample_set_has(&loader->left_out, (uint64_t)sample_at(worker, begin + i));
    return count;
}

static Status fill_slot(Worker *worker, RingSlot *slot, int64_t step) {
    const Loader *loader = worker->loader;
    const LoaderConfig *config = &loader->config;
    slot->step = step;
    slot->count = slot->lost = 0;
    slot->left_outs = count_left_out(worker, step);
    for (int64_t row = 0; row < loader->share; ++row) {
        int64_t position = step * config->batch + config->share_begin + row;
        if (config->in_order && position >= loader->samples) break;
        int64_t index = sample_at(worker, position);
        slot->sample[row] = (uint64_t)position;
        slot->index[row] = (uint64_t)index;
        TRY(fill_row(worker, slot, row, index));
        ++slot->count;
    }
    return STATUS_OK;
}

// ---- the threads --------------------------------------------------------------------------------

static RingSlot *slot_of(const Loader *loader, int64_t step) {
    return &loader->ring[step % loader->slots];
}

// Waits for a free slot and takes the next step; false: the loader is being closed.
static bool claim(Loader *loader, int64_t *step) {
    pthread_mutex_lock(&loader->mutex);
    while (loader->claimed - loader->delivered + loader->lent >= loader->slots && !loader->stop)
        pthread_cond_wait(&loader->freed_one, &loader->mutex);
    *step = loader->claimed++;
    bool go_on = !loader->stop;
    pthread_mutex_unlock(&loader->mutex);
    return go_on;
}

static void *run_worker(void *argument) {
    Worker *worker = argument;
    Loader *loader = worker->loader;
    int64_t step;
    Status status = STATUS_OK;
    while (status == STATUS_OK && claim(loader, &step)) {
        RingSlot *slot = slot_of(loader, step);
        status = fill_slot(worker, slot, step);
        pthread_mutex_lock(&loader->mutex);
        slot->failure = status == STATUS_OK ? (ErrorRecord){0} : error_take();
        slot->ready = true;
        pthread_cond_broadcast(&loader->filled_one);
        pthread_mutex_unlock(&loader->mutex);
    }
    return NULL;
}

// ---- opening ------------------------------------------------------------------------------------

static Status check_config(const LoaderConfig *config) {
    const DatasetInfo *info = dataset_info(config->dataset);
    bool text = info->kind == KIND_TEXT;
    FAIL_IF(text != (config->length > 0), BAD_CONFIG,
            "data.length is %lld, but set \"%s\" is of kind %s: text needs a length above 0, "
            "other kinds 0",
            (long long)config->length, info->name, dataset_kind_names[info->kind]);
    FAIL_IF(text && config->length > info->items, BAD_CONFIG,
            "data.length is %lld, but the split of \"%s\" has only %lld symbols",
            (long long)config->length, info->name, (long long)info->items);
    FAIL_IF(config->batch < 1 || config->batch > (int64_t)1 << 31, BAD_CONFIG,
            "a batch of %lld samples is not possible", (long long)config->batch);
    FAIL_IF(config->depth < 1 || config->depth > DEPTH_MOST, BAD_CONFIG,
            "reading %d batches ahead is not possible; choose 1 to %d", config->depth, DEPTH_MOST);
    FAIL_IF(config->threads > THREADS_MOST, BAD_CONFIG, "%d threads to read are not possible",
            config->threads);
    FAIL_IF((config->augment.flip || config->augment.crop > 0) && info->kind != KIND_IMAGE,
            BAD_CONFIG, "data.flip and data.crop are for images, and set \"%s\" is of kind %s",
            info->name, dataset_kind_names[info->kind]);
    REQUIRE(config->share_begin >= 0 && config->share_begin <= config->share_end);
    REQUIRE(config->share_end <= config->batch);
    int64_t samples = loader_samples(config->dataset, config->length);
    const SampleSet *left_out = config->left_out;
    FAIL_IF(left_out != NULL && left_out->count > 0 &&
                sample_set_last(left_out) >= (uint64_t)samples,
            BAD_DATA, "sample %llu is to be left out, but set \"%s\" has only %lld",
            (unsigned long long)sample_set_last(left_out), info->name, (long long)samples);
    FAIL_IF(config->step < 0 || config->step > INT64_MAX / 4 / config->batch, BAD_CONFIG,
            "step %lld is out of range", (long long)config->step);
    return STATUS_OK;
}

static Status open_mixture(Loader *loader) {
    const LoaderConfig *config = &loader->config;
    Mixture *mixture = &loader->mixture;
    double weight[MIXTURE_SETS_MOST];
    bool weighted = config->weights != NULL && config->weights[0] != '\0';
    mixture->sets = dataset_parts(config->dataset);
    mixture->kind = config->order;
    mixture->window = config->window;
    mixture->seed = mix64(config->seed ^ mix64(loader->info.identity + MIX_GOLDEN));
    for (int i = 0; i < mixture->sets; ++i) {
        const DatasetInfo *info = dataset_part(config->dataset, i, &loader->part_item[i]);
        int64_t group = info->column[0].group_items;
        if (info->kind == KIND_TEXT) group /= config->length;
        mixture->set[i] = (MixtureSet){
            .samples = samples_of(info, config->length),
            .group = group > 0 ? group : 1,
            .seed = mix64(config->seed ^ mix64(info->identity + MIX_GOLDEN)),
        };
        FAIL_IF(mixture->set[i].samples < 1, BAD_CONFIG, "set \"%s\" holds no whole sample",
                info->name);
    }
    if (weighted) TRY(mixture_parse_weights(config->weights, mixture->sets, weight));
    return mixture_init(mixture, weighted ? weight : NULL);
}

// Counts and takes; NULL only when there is no memory.
static void *take(Loader *loader, size_t count, size_t bytes) {
    size_t most = count > 0 ? count : 1;
    loader->bytes += most * bytes;
    return calloc(most, bytes);
}

static Status take_ring(Loader *loader) {
    size_t share = (size_t)loader->share, item = (size_t)loader->item;
    loader->slots = loader->config.depth + 1;
    loader->ring = take(loader, (size_t)loader->slots, sizeof *loader->ring);
    FAIL_IF(item > 0 && share > SIZE_MAX / 4 / item, NO_MEMORY, "a batch is too large for memory");
    bool enough = loader->ring != NULL;
    for (int i = 0; i < loader->slots && enough; ++i) {
        RingSlot *slot = &loader->ring[i];
        slot->x = take(loader, share * item, 4);
        slot->label = take(loader, share, sizeof *slot->label);
        slot->sample = take(loader, share, sizeof *slot->sample);
        slot->index = take(loader, share, sizeof *slot->index);
        slot->left_out = take(loader, share, sizeof *slot->left_out);
        enough = slot->x != NULL && slot->label != NULL && slot->sample != NULL &&
                 slot->index != NULL && slot->left_out != NULL;
    }
    FAIL_IF(!enough, NO_MEMORY, "no memory for %d batches of %lld samples; lower data.read_ahead",
            loader->slots, (long long)loader->share);
    return STATUS_OK;
}

static Status start_workers(Loader *loader) {
    int threads = loader->config.threads > 0 ? loader->config.threads : 1;
    loader->worker = take(loader, (size_t)threads, sizeof *loader->worker);
    FAIL_IF(loader->worker == NULL, NO_MEMORY, "no memory for %d threads", threads);
    loader->workers = threads;
    for (int i = 0; i < threads; ++i) {
        Worker *worker = &loader->worker[i];
        worker->loader = loader;
        mixture_cursor_init(&worker->cursor, &loader->mixture);
        worker->raw = take(loader, (size_t)loader->item, 4);
        worker->changed = take(loader, (size_t)loader->item, 1);
        FAIL_IF(worker->raw == NULL || worker->changed == NULL, NO_MEMORY,
                "no memory for a sample");
    }
    for (int i = 0; i < threads; ++i) {
        Worker *worker = &loader->worker[i];
        int error = thread_start(&worker->thread, "dye-loader", NULL, run_worker, worker);
        FAIL_IF(error != 0, IO, "the reader thread does not start: %s", strerror(error));
        worker->running = true;
    }
    return STATUS_OK;
}

Status loader_open(const LoaderConfig *config, Loader **out) {
    Status status = STATUS_OK;
    TRY(check_config(config));
    Loader *loader = calloc(1, sizeof *loader);
    FAIL_IF(loader == NULL, NO_MEMORY, "no memory for the loader");
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&loader->mutex, NULL);
    pthread_cond_init(&loader->filled_one, &monotonic);
    pthread_cond_init(&loader->freed_one, NULL);
    pthread_condattr_destroy(&monotonic);
    loader->config = *config;
    loader->info = *dataset_info(config->dataset);
    loader->label_column = dataset_find_column(config->dataset, "label");
    loader->item = loader_item(&loader->info, config->length);
    loader->share = config->share_end - config->share_begin;
    loader->samples = loader_samples(config->dataset, config->length);
    loader->claimed = loader->delivered = config->step;
    loader->bytes = sizeof *loader;
    TRY_OR(fail, status, open_mixture(loader));
    if (config->left_out != NULL)
        TRY_OR(fail, status, sample_set_join(&loader->left_out, config->left_out));
    TRY_OR(fail, status, take_ring(loader));
    TRY_OR(fail, status, start_workers(loader));
    *out = loader;
    return STATUS_OK;
fail:
    loader_close(loader);
    return status;
}

static void stop_workers(Loader *loader) {
    pthread_mutex_lock(&loader->mutex);
    loader->stop = true;
    pthread_cond_broadcast(&loader->freed_one);
    pthread_mutex_unlock(&loader->mutex);
    for (int i = 0; i < loader->workers; ++i) {
        Worker *worker = &loader->worker[i];
        if (worker->running) pthread_join(worker->thread, NULL);
        free(worker->raw);
        free(worker->changed);
    }
}

void loader_close(Loader *loader) {
    if (loader == NULL) return;
    stop_workers(loader);
    for (int i = 0; loader->ring != NULL && i < loader->slots; ++i) {
        free(loader->ring[i].x);
        free(loader->ring[i].label);
        free(loader->ring[i].sample);
        free(loader->ring[i].index);
        free(loader->ring[i].left_out);
    }
    pthread_mutex_destroy(&loader->mutex);
    pthread_cond_destroy(&loader->filled_one);
    pthread_cond_destroy(&loader->freed_one);
    sample_set_clear(&loader->left_out);
    sample_set_clear(&loader->lost);
    sample_set_clear(&loader->lost_new);
    free(loader->worker);
    free(loader->ring);
    free(loader);
}

// ---- delivery -----------------------------------------------------------------------------------

static void tell_wait(Loader *loader, double seconds) {
    char line[PATH_LINE_BYTES], busy[PATH_LINE_BYTES - 100] = "no read is under way";
    if (loader->config.tell == NULL) return;
    (void)dataset_busy(loader->config.dataset, busy, sizeof busy);
    snprintf(line, sizeof line, "step %lld has waited for its samples for %.0f s: reading %s",
             (long long)loader->delivered + 1, seconds, busy);
    loader->config.tell(line);
}

// Under the lock, until the slot is ready; every few seconds people are told.
static void wait_for(Loader *loader, const RingSlot *slot) {
    struct timespec until;
    double start = clock_now(), patience = loader->config.patience;
    if (patience <= 0) patience = usual_patience;
    clock_gettime(CLOCK_MONOTONIC, &until);
    while (!slot->ready) {
        int64_t nanoseconds = until.tv_nsec + (int64_t)(1e9 * patience);
        until.tv_sec += (time_t)(nanoseconds / 1000000000);
        until.tv_nsec = (long)(nanoseconds % 1000000000);
        int error = 0;
        while (!slot->ready && error != ETIMEDOUT)
            error = pthread_cond_timedwait(&loader->filled_one, &loader->mutex, &until);
        if (slot->ready) break;
        pthread_mutex_unlock(&loader->mutex);
        tell_wait(loader, clock_now() - start);
        pthread_mutex_lock(&loader->mutex);
    }
    loader->wait_seconds += clock_now() - start;
}

// Gives the lent slot back and waits for the next.
static const RingSlot *advance(Loader *loader) {
    pthread_mutex_lock(&loader->mutex);
    if (loader->lent) {
        loader->lent = false;
        pthread_cond_signal(&loader->freed_one);
    }
    RingSlot *slot = slot_of(loader, loader->delivered);
    if (!slot->ready) wait_for(loader, slot);
    if (slot->failure.status == STATUS_OK) {
        slot->ready = false;
        loader->lent = true;
        ++loader->delivered;
    }
    pthread_mutex_unlock(&loader->mutex);
    return slot;
}

Status loader_next(Loader *loader, Batch *out) {
    const RingSlot *slot = advance(loader);
    if (slot->failure.status != STATUS_OK) {
        Status status = error_restore(&slot->failure);
        return error_trail(status, __FILE__, __LINE__, __func__);
    }
    *out = (Batch){.step = slot->step,
                   .count = slot->count,
                   .x = slot->x,
                   .label = slot->label,
                   .sample = slot->sample,
                   .index = slot->index,
                   .left_out = slot->left_out,
                   .left_outs = slot->left_outs,
                   .lost = slot->lost};
    return STATUS_OK;
}

double loader_wait_seconds(const Loader *loader) {
    return loader->wait_seconds;
}

size_t loader_bytes(const Loader *loader) {
    return loader->bytes;
}
