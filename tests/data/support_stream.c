// Loaders run one after another.
#include "tests/data/support_stream.h"

#include <stdlib.h>
#include <string.h>

#include "tests/data/support_data.h"

void stream_make_sets(const char *folder, StreamSets *out) {
    const char *source = support_path(folder, "idx");
    support_write_images(source, 1000, 60);
    snprintf(out->images, sizeof out->images, "%s/images", folder);
    support_pack(source, out->images);
    snprintf(out->points, sizeof out->points, "%s/points", folder);
    support_pack("swiss-roll", out->points);
    source = support_path(folder, "text.txt");
    char file[1000];
    for (int i = 0; i < 1000; ++i) file[i] = (char)('a' + i * i % 23);
    support_write_file(source, file, sizeof file);
    snprintf(out->text, sizeof out->text, "%s/text", folder);
    support_pack(source, out->text);
}

Dataset *open_set(const char *set, const char *split, size_t cache) {
    Dataset *dataset = NULL;
    REQUIRE(dataset_open(&(DatasetConfig){.path = set, .split = split, .cache_bytes = cache},
                         &dataset) == STATUS_OK);
    if (dataset == NULL) exit(1);
    return dataset;
}

void stream_open(Stream *stream, int64_t item) {
    stream->count = 0;
    stream->item = item;
    stream->x = malloc((size_t)(STREAM_MOST * item) * 4);
}

void stream_put(Stream *stream, int64_t at, const Batch *batch, int64_t row) {
    if (at >= STREAM_MOST) exit(1);
    stream->sample[at] = batch->sample[row];
    stream->index[at] = batch->index[row];
    stream->label[at] = batch->label[row];
    memcpy(stream->x + at * stream->item, (const uint32_t *)batch->x + row * stream->item,
           (size_t)stream->item * 4);
    if (at >= stream->count) stream->count = at + 1;
}

void stream_read(Stream *stream, const char *set, size_t cache, LoaderConfig config, int ranks,
                 int64_t steps) {
    int64_t first_step = config.step;
    for (int rank = 0; rank < ranks; ++rank) {
        Loader *loader = NULL;
        Batch batch;
        config.dataset = open_set(set, "train", cache);
        config.share_begin = config.batch * rank / ranks;
        config.share_end = config.batch * (rank + 1) / ranks;
        if (rank == 0)
            stream_open(stream, loader_item(dataset_info(config.dataset), config.length));
        REQUIRE(loader_open(&config, &loader) == STATUS_OK);
        for (int64_t s = 0; s < steps; ++s) {
            REQUIRE(loader_next(loader, &batch) == STATUS_OK);
            REQUIRE(batch.step == first_step + s);
            REQUIRE(batch.count == config.share_end - config.share_begin);
            for (int64_t row = 0; row < batch.count; ++row) {
                stream_put(stream, s * config.batch + config.share_begin + row, &batch, row);
            }
        }
        loader_close(loader);
        dataset_close(config.dataset);
    }
}

bool streams_equal(const Stream *a, int64_t from, const Stream *b) {
    size_t n = (size_t)b->count;
    return a->count - from >= b->count && a->item == b->item &&
           memcmp(a->sample + from, b->sample, n * 8) == 0 &&
           memcmp(a->index + from, b->index, n * 8) == 0 &&
           memcmp(a->label + from, b->label, n * 4) == 0 &&
           memcmp(a->x + from * a->item, b->x, n * (size_t)b->item * 4) == 0;
}
