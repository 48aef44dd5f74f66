// The reader thread and its ring of batches.
#include "data/loader.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mix.h"
#include "base/thread.h"
#include "data/dataset_index.h"
#include "data/order.h"

enum { DEPTH_MOST = 1024 };

typedef struct {
    int64_t step, count, left_outs;
    void *x; // [share, item] of 4 bytes
    int32_t *label;
    uint64_t *sample, *index;
    uint8_t *left_out;
} RingSlot;

struct Loader {
    LoaderConfig config;
    DatasetKind kind;
    int label_column; // -1: none
    int64_t item, share, samples;
    uint64_t seed; // of the order: the run's and the data's
    Order order;   // of `epoch`
    uint64_t epoch;
    SampleSet left_out;
    uint8_t *raw;   // one sample as stored
    RingSlot *ring; // one more than `depth`: the batch that is lent
    int slots;
    size_t bytes;

    pthread_t thread;
    bool running;
    pthread_mutex_t mutex; // guards what follows
    pthread_cond_t filled_one, freed_one;
    int filled, next; // batches ready or lent, from slot `next` on
    bool lent, stop;
    ErrorRecord failure; // status OK: none
    double wait_seconds;
};

int64_t loader_item(const DatasetInfo *info, int64_t length) {
    if (info->kind == KIND_TEXT) return length;
    int64_t numbers = 1;
    for (int i = 0; i < info->column[0].dims; ++i) numbers *= info->column[0].dim[i];
    return numbers;
}

int64_t loader_samples(const DatasetInfo *info, int64_t length) {
    return info->kind == KIND_TEXT ? info->items / length : info->items;
}

static Status read_sample(Loader *loader, RingSlot *slot, int64_t row, int64_t index) {
    Dataset *dataset = loader->config.dataset;
    float *number = (float *)slot->x + row * loader->item;
    int32_t *symbol = (int32_t *)slot->x + row * loader->item;
    int64_t items = loader->kind == KIND_TEXT ? loader->item : 1;
    void *to = loader->kind == KIND_VECTOR ? (void *)number : loader->raw;
    TRY(dataset_read(dataset, 0, index * items, items, to));
    if (loader->kind == KIND_IMAGE) {
        for (int64_t i = 0; i < loader->item; ++i) {
            number[i] = (float)loader->raw[i] / 127.5f - 1.0f;
        }
    } else if (loader->kind != KIND_VECTOR) {
        for (int64_t i = 0; i < loader->item; ++i) symbol[i] = loader->raw[i];
    }
    uint8_t label = 0;
    if (loader->label_column >= 0) {
        TRY(dataset_read(dataset, loader->label_column, index, 1, &label));
    }
    slot->label[row] = label;
    return STATUS_OK;
}

// The sample at a position of the whole training.
static int64_t sample_at(Loader *loader, uint64_t position) {
    uint64_t samples = (uint64_t)loader->samples;
    if (loader->config.in_order) return (int64_t)position;
    if (position / samples != loader->epoch) {
        loader->epoch = position / samples;
        order_init(&loader->order, samples, loader->seed, loader->epoch);
    }
    return (int64_t)order_at(&loader->order, position % samples);
}

// Those of a global batch that are left out: each is looked for where the epochs of the batch have
// it.
static int64_t count_left_out(const Loader *loader, int64_t step) {
    const SampleSet *set = &loader->left_out;
    uint64_t samples = (uint64_t)loader->samples, batch = (uint64_t)loader->config.batch;
    uint64_t begin = (uint64_t)step * batch, end = begin + batch;
    int64_t count = 0;
    if (set->count == 0) return 0;
    for (uint64_t epoch = begin / samples; epoch * samples < end; ++epoch) {
        Order order;
        order_init(&order, samples, loader->seed, epoch);
        for (int64_t i = 0; i < set->count; ++i) {
            uint64_t position = epoch * samples + order_where(&order, set->number[i]);
            count += position >= begin && position < end;
        }
    }
    return count;
}

// Nothing of a left-out sample is looked at: its bytes may be what is wrong with it.
static Status fill_row(Loader *loader, RingSlot *slot, int64_t row, int64_t index) {
    slot->left_out[row] = sample_set_has(&loader->left_out, (uint64_t)index);
    if (!slot->left_out[row]) return read_sample(loader, slot, row, index);
    memset((float *)slot->x + row * loader->item, 0, (size_t)loader->item * sizeof(float));
    slot->label[row] = 0;
    return STATUS_OK;
}

static Status fill_slot(Loader *loader, RingSlot *slot, int64_t step) {
    const LoaderConfig *config = &loader->config;
    slot->step = step;
    slot->count = 0;
    slot->left_outs = count_left_out(loader, step);
    for (int64_t row = 0; row < loader->share; ++row) {
        int64_t position = step * config->batch + config->share_begin + row;
        if (config->in_order && position >= loader->samples) break;
        int64_t index = sample_at(loader, (uint64_t)position);
        slot->sample[row] = (uint64_t)position;
        slot->index[row] = (uint64_t)index;
        TRY(fill_row(loader, slot, row, index));
        ++slot->count;
    }
    return STATUS_OK;
}

// Waits for a free slot; false: the loader is being closed.
static bool wait_for_room(Loader *loader, int *slot) {
    pthread_mutex_lock(&loader->mutex);
    while (loader->filled == loader->slots && !loader->stop) {
        pthread_cond_wait(&loader->freed_one, &loader->mutex);
    }
    bool go_on = !loader->stop;
    *slot = (loader->next + loader->filled) % loader->slots;
    pthread_mutex_unlock(&loader->mutex);
    return go_on;
}

static void *run_reader(void *argument) {
    Loader *loader = argument;
    int slot;
    for (int64_t step = loader->config.step; wait_for_room(loader, &slot); ++step) {
        Status status = fill_slot(loader, &loader->ring[slot], step);
        pthread_mutex_lock(&loader->mutex);
        if (status == STATUS_OK)
            ++loader->filled;
        else
            loader->failure = error_take();
        pthread_cond_signal(&loader->filled_one);
        pthread_mutex_unlock(&loader->mutex);
        if (status != STATUS_OK) break;
    }
    return NULL;
}

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
    REQUIRE(config->share_begin >= 0 && config->share_begin <= config->share_end);
    REQUIRE(config->share_end <= config->batch);
    const SampleSet *left_out = config->left_out;
    FAIL_IF(left_out != NULL && left_out->count > 0 &&
                left_out->number[left_out->count - 1] >=
                    (uint64_t)loader_samples(info, config->length),
            BAD_DATA, "sample %llu is to be left out, but set \"%s\" has only %lld",
            (unsigned long long)left_out->number[left_out->count - 1], info->name,
            (long long)loader_samples(info, config->length));
    FAIL_IF(config->step < 0 || config->step > INT64_MAX / 4 / config->batch, BAD_CONFIG,
            "step %lld is out of range", (long long)config->step);
    return STATUS_OK;
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
    loader->raw = take(loader, item, 1);
    loader->ring = take(loader, (size_t)loader->slots, sizeof *loader->ring);
    FAIL_IF(item > 0 && share > SIZE_MAX / 4 / item, NO_MEMORY, "a batch is too large for memory");
    bool enough = loader->raw != NULL && loader->ring != NULL;
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
    FAIL_IF(!enough, NO_MEMORY, "no memory for %d batches of %lld samples; lower data.prefetch",
            loader->slots, (long long)loader->share);
    return STATUS_OK;
}

static Status start_reader(Loader *loader) {
    int error = thread_start(&loader->thread, "dye-loader", NULL, run_reader, loader);
    FAIL_IF(error != 0, IO, "the reader thread does not start: %s", strerror(error));
    loader->running = true;
    return STATUS_OK;
}

Status loader_open(const LoaderConfig *config, Loader **out) {
    Status status = STATUS_OK;
    TRY(check_config(config));
    const DatasetInfo *info = dataset_info(config->dataset);
    Loader *loader = calloc(1, sizeof *loader);
    FAIL_IF(loader == NULL, NO_MEMORY, "no memory for the loader");
    pthread_mutex_init(&loader->mutex, NULL);
    pthread_cond_init(&loader->filled_one, NULL);
    pthread_cond_init(&loader->freed_one, NULL);
    loader->config = *config;
    loader->kind = info->kind;
    loader->label_column = dataset_find_column(config->dataset, "label");
    loader->item = loader_item(info, config->length);
    loader->share = config->share_end - config->share_begin;
    loader->samples = loader_samples(info, config->length);
    loader->seed = mix64(config->seed ^ mix64(info->identity + MIX_GOLDEN));
    order_init(&loader->order, (uint64_t)loader->samples, loader->seed, 0);
    loader->bytes = sizeof *loader;
    if (config->left_out != NULL)
        TRY_OR(fail, status, sample_set_join(&loader->left_out, config->left_out));
    TRY_OR(fail, status, take_ring(loader));
    TRY_OR(fail, status, start_reader(loader));
    *out = loader;
    return STATUS_OK;
fail:
    loader_close(loader);
    return status;
}

void loader_close(Loader *loader) {
    if (loader == NULL) return;
    if (loader->running) {
        pthread_mutex_lock(&loader->mutex);
        loader->stop = true;
        pthread_cond_signal(&loader->freed_one);
        pthread_mutex_unlock(&loader->mutex);
        pthread_join(loader->thread, NULL);
    }
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
    free(loader->ring);
    free(loader->raw);
    free(loader);
}

// Gives the lent slot back and waits for the next; false: there is a failure instead.
static bool advance(Loader *loader) {
    pthread_mutex_lock(&loader->mutex);
    if (loader->lent) {
        loader->next = (loader->next + 1) % loader->slots;
        --loader->filled;
        loader->lent = false;
        pthread_cond_signal(&loader->freed_one);
    }
    if (loader->filled == 0 && loader->failure.status == STATUS_OK) {
        double start = clock_now();
        while (loader->filled == 0 && loader->failure.status == STATUS_OK) {
            pthread_cond_wait(&loader->filled_one, &loader->mutex);
        }
        loader->wait_seconds += clock_now() - start;
    }
    loader->lent = loader->filled > 0;
    pthread_mutex_unlock(&loader->mutex);
    return loader->lent;
}

Status loader_next(Loader *loader, Batch *out) {
    if (!advance(loader)) {
        Status status = error_restore(&loader->failure); // the thread has ended: no lock needed
        return error_trail(status, __FILE__, __LINE__, __func__);
    }
    const RingSlot *slot = &loader->ring[loader->next];
    *out = (Batch){.step = slot->step,
                   .count = slot->count,
                   .x = slot->x,
                   .label = slot->label,
                   .sample = slot->sample,
                   .index = slot->index,
                   .left_out = slot->left_out,
                   .left_outs = slot->left_outs};
    return STATUS_OK;
}

double loader_wait_seconds(const Loader *loader) {
    return loader->wait_seconds;
}

size_t loader_bytes(const Loader *loader) {
    return loader->bytes;
}
