// Packing a folder of IDX files: images and labels, splits train and test (t10k).
#include "data/pack_impl.h"

#include <string.h>

#include "data/idx.h"
#include "data/shard_writer.h"

static const char *const split_names[2] = {"train", "test"};
static const char *const prefix[2] = {"train", "t10k"};

// The images and labels of both splits, headers read.
typedef struct {
    char images_path[2][PATH_BYTES], labels_path[2][PATH_BYTES];
    IdxFile *images[2], *labels[2];
    int64_t done, total; // bytes, for the progress
} ImageSources;

static Status open_idx(const Pack *pack, const char *name, int dims, char path[PATH_BYTES],
                       IdxFile **out) {
    TRY(path_format(path, "%s/%s", pack->config->source, name));
    if (!file_exists(path)) TRY(path_format(path, "%s/%s.gz", pack->config->source, name));
    FAIL_IF(!file_exists(path), NOT_FOUND,
            "%s: neither %s nor %s.gz is in it; a folder of images needs "
            "{train,t10k}-{images-idx3,labels-idx1}-ubyte[.gz]",
            pack->config->source, name, name);
    TRY(idx_open(path, dims, out));
    return STATUS_OK;
}

static Status open_sources(const Pack *pack, ImageSources *sources) {
    for (int s = 0; s < 2; ++s) {
        char name[64];
        snprintf(name, sizeof name, "%s-images-idx3-ubyte", prefix[s]);
        TRY(open_idx(pack, name, 3, sources->images_path[s], &sources->images[s]));
        snprintf(name, sizeof name, "%s-labels-idx1-ubyte", prefix[s]);
        TRY(open_idx(pack, name, 1, sources->labels_path[s], &sources->labels[s]));
        int64_t images = idx_dim(sources->images[s], 0), labels = idx_dim(sources->labels[s], 0);
        FAIL_IF(images != labels, BAD_DATA, "%s holds %lld images, but %s %lld labels",
                sources->images_path[s], (long long)images, sources->labels_path[s],
                (long long)labels);
        sources->total += idx_bytes(sources->images[s]) + labels;
    }
    for (int i = 1; i < 3; ++i) {
        int64_t train = idx_dim(sources->images[0], i), test = idx_dim(sources->images[1], i);
        FAIL_IF(train != test, BAD_DATA, "%s: size %d of an image is %lld, but %lld in %s",
                sources->images_path[1], i, (long long)test, (long long)train,
                sources->images_path[0]);
    }
    return STATUS_OK;
}

static void close_sources(ImageSources *sources) {
    for (int s = 0; s < 2; ++s) {
        idx_close(sources->images[s]);
        idx_close(sources->labels[s]);
    }
}

// Copies one file into one column; *largest becomes its largest byte.
static Status copy_file(Pack *pack, ImageSources *sources, IdxFile *file, ShardWriter *writer,
                        uint8_t *largest) {
    size_t got;
    do {
        TRY(idx_read(file, pack->buffer, sizeof pack->buffer, &got));
        for (size_t i = 0; i < got; ++i) {
            *largest = pack->buffer[i] > *largest ? pack->buffer[i] : *largest;
        }
        TRY(shard_writer_add(writer, pack->buffer, got));
        sources->done += (int64_t)got;
        pack_progress(pack, sources->done, sources->total, "packing images");
    } while (got > 0);
    return STATUS_OK;
}

static Status pack_file(Pack *pack, ImageSources *sources, int split, int column,
                        uint8_t *largest) {
    IdxFile *file = column == 0 ? sources->images[split] : sources->labels[split];
    const char *path = column == 0 ? sources->images_path[split] : sources->labels_path[split];
    ShardWriter *writer;
    TRY(shard_writer_open(pack->folder, &pack->index, split, column, &writer));
    Status status = copy_file(pack, sources, file, writer, largest);
    if (status != STATUS_OK) {
        shard_writer_discard(writer);
        return error_trail(status, __FILE__, __LINE__, __func__);
    }
    TRY(shard_writer_finish(writer));
    int64_t bytes;
    uint64_t hash;
    idx_source(file, &bytes, &hash);
    pack_add_source(pack, path, bytes, hash);
    return STATUS_OK;
}

static Status pack_sources(Pack *pack, ImageSources *sources) {
    const int64_t shape[3] = {1, idx_dim(sources->images[0], 1), idx_dim(sources->images[0], 2)};
    uint8_t pixel = 0, label = 0;
    pack->index.info.kind = KIND_IMAGE;
    pack_add_column(pack, "image", DTYPE_U8, FILTER_ROW_DELTA, 3, shape);
    pack_add_column(pack, "label", DTYPE_U8, FILTER_NONE, 0, NULL);
    for (int s = 0; s < 2; ++s) {
        pack_add_split(pack, split_names[s], idx_dim(sources->images[s], 0));
        TRY(pack_file(pack, sources, s, 0, &pixel));
        TRY(pack_file(pack, sources, s, 1, &label));
    }
    pack->index.info.classes = label + 1;
    return STATUS_OK;
}

Status pack_images(Pack *pack) {
    ImageSources sources = {0};
    Status status = STATUS_OK;
    TRY_OR(done, status, open_sources(pack, &sources));
    TRY_OR(done, status, pack_sources(pack, &sources));
done:
    close_sources(&sources);
    return status;
}
