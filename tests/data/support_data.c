// Small sources and datasets for the tests of data/.
#include "tests/data/support_data.h"

#include "tests/test.h"

#include <sys/stat.h>

#include "base/mix.h"
#include "data/dataset.h"
#include "data/content_hash.h"
#include "data/pack/pack.h"
#include "data/pack/shard_writer.h"

// Slow ramps with some noise, so that filters and zstd have something to find.
uint8_t support_pixel(int split, int64_t i, int64_t pixel) {
    uint64_t noise = mix64((uint64_t)(split * 1000003 + i * SUPPORT_PIXELS + pixel));
    return (uint8_t)(pixel / SUPPORT_SIDE * 8 + i + (noise & 3));
}

uint8_t support_label(int split, int64_t i) {
    return (uint8_t)((i * 7 + split) % 10);
}

static void stop_if(bool failed, const char *what) {
    if (!failed) return;
    perror(what);
    exit(1);
}

void support_write_file(const char *path, const void *data, size_t bytes) {
    FILE *file = fopen(path, "wb");
    stop_if(file == NULL, path);
    stop_if(fwrite(data, 1, bytes, file) != bytes || fclose(file) != 0, path);
}

char *support_read_file(const char *path, size_t *bytes) {
    FILE *file = fopen(path, "rb");
    stop_if(file == NULL, path);
    fseek(file, 0, SEEK_END);
    *bytes = (size_t)ftell(file);
    rewind(file);
    char *data = malloc(*bytes + 1);
    stop_if(data == NULL || fread(data, 1, *bytes, file) != *bytes, path);
    data[*bytes] = '\0';
    fclose(file);
    return data;
}

void support_flip_byte(const char *path, long at) {
    FILE *file = fopen(path, "r+b");
    stop_if(file == NULL, path);
    fseek(file, at, at < 0 ? SEEK_END : SEEK_SET);
    int byte = fgetc(file);
    stop_if(byte == EOF, path);
    fseek(file, -1, SEEK_CUR);
    fputc(byte ^ 1, file);
    stop_if(fclose(file) != 0, path);
}

const char *support_path(const char *folder, const char *name) {
    static char buffer[64][1024];
    static int turn;
    turn = (turn + 1) % 64;
    snprintf(buffer[turn], sizeof buffer[turn], "%s/%s", folder, name);
    return buffer[turn];
}

static void put_be32(uint8_t *out, int64_t value) {
    for (int i = 0; i < 4; ++i) out[i] = (uint8_t)(value >> (24 - 8 * i));
}

static void write_split(const char *folder, int split, int64_t count) {
    const char *prefix = split == 0 ? "train" : "t10k";
    char name[64];
    uint8_t *file = malloc((size_t)(16 + count * SUPPORT_PIXELS));
    stop_if(file == NULL, folder);
    memcpy(file, "\0\0\10\3", 4);
    put_be32(file + 4, count);
    put_be32(file + 8, SUPPORT_SIDE);
    put_be32(file + 12, SUPPORT_SIDE);
    for (int64_t k = 0; k < count * SUPPORT_PIXELS; ++k) {
        file[16 + k] = support_pixel(split, k / SUPPORT_PIXELS, k % SUPPORT_PIXELS);
    }
    snprintf(name, sizeof name, "%s-images-idx3-ubyte", prefix);
    support_write_file(support_path(folder, name), file, (size_t)(16 + count * SUPPORT_PIXELS));
    memcpy(file, "\0\0\10\1", 4);
    for (int64_t i = 0; i < count; ++i) file[8 + i] = support_label(split, i);
    snprintf(name, sizeof name, "%s-labels-idx1-ubyte", prefix);
    support_write_file(support_path(folder, name), file, (size_t)(8 + count));
    free(file);
}

void support_write_images(const char *folder, int64_t train, int64_t test) {
    stop_if(mkdir(folder, 0777) != 0, folder);
    write_split(folder, 0, train);
    write_split(folder, 1, test);
}

void support_write_column(const char *out, DatasetIndex *index, int split, int column,
                          const void *items) {
    static ContentHash hash;
    const Column *form = &index->info.column[column];
    IndexSplit *of = &index->split[split];
    IndexShard shard = {.split = split, .column = column, .items = of->items};
    ShardWriter *writer;
    size_t bytes = (size_t)(of->items * column_item_bytes(form));
    snprintf(shard.file, sizeof shard.file, "%s-%s-00000.zst", of->name, form->name);
    REQUIRE(shard_writer_open(support_path(out, shard.file), form, shard_level(&index->info),
                              &writer) == STATUS_OK);
    REQUIRE(shard_writer_add(writer, items, bytes) == STATUS_OK);
    REQUIRE(shard_writer_finish(writer, &shard.file_info) == STATUS_OK);
    REQUIRE(dataset_index_add_shard(index, &shard) == STATUS_OK);
    content_hash_init(&hash);
    content_hash_add(&hash, items, bytes);
    of->content[column] = content_hash_finish(&hash);
}

uint8_t *support_read_column(const char *path, const char *split, const char *column, size_t lead,
                             size_t *bytes) {
    Dataset *dataset = NULL;
    REQUIRE(dataset_open(&(DatasetConfig){.path = path, .split = split, .cache_bytes = 1 << 20},
                         &dataset) == STATUS_OK);
    if (dataset == NULL) return NULL;
    int c = dataset_find_column(dataset, column);
    int64_t items = dataset_info(dataset)->items;
    *bytes = lead + (size_t)(items * column_item_bytes(&dataset_info(dataset)->column[c]));
    uint8_t *data = malloc(*bytes);
    REQUIRE(dataset_read(dataset, c, 0, items, data + lead) == STATUS_OK);
    dataset_close(dataset);
    return data;
}

void support_pack(const char *source, const char *out) {
    PackConfig config = {
        .input = &(PackInput){source, NULL}, .inputs = 1, .out = out, .source.toy_items = 1000};
    if (pack(&config) == STATUS_OK) return;
    fprintf(stderr, "%s\n", error_get()->text);
    exit(1);
}

void support_same_folders(const char *a, const char *b, int at_least) {
    char **names;
    int count;
    EXPECT_OK(folder_names(a, &names, &count));
    EXPECT(count >= at_least);
    for (int i = 0; i < count; ++i) {
        size_t bytes_a, bytes_b;
        char *data_a = support_read_file(support_path(a, names[i]), &bytes_a);
        char *data_b = support_read_file(support_path(b, names[i]), &bytes_b);
        EXPECT(bytes_a == bytes_b && memcmp(data_a, data_b, bytes_a) == 0);
        free(data_a);
        free(data_b);
    }
    folder_names_free(names, count);
}
