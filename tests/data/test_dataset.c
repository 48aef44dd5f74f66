// Datasets: reading through caches of any size, damage found and named, hostile indexes refused.
#include "tests/test.h"

#include <sys/stat.h>

#include "base/file.h"
#include "data/dataset.h"
#include "data/dataset_index.h"
#include "data/pack/pack.h"
#include "tests/data/support_data.h"

static char folder[512];
static const char *images, *points, *text, *tokens; // packed sets; 1000 pictures are 3 groups

static void expect_pictures(Dataset *dataset, int64_t first, int64_t count) {
    uint8_t *pixel = malloc((size_t)(count * SUPPORT_PIXELS)), *label = malloc((size_t)count);
    int64_t wrong = 0;
    EXPECT_OK(dataset_read(dataset, 0, first, count, pixel));
    EXPECT_OK(dataset_read(dataset, 1, first, count, label));
    for (int64_t k = 0; k < count * SUPPORT_PIXELS; ++k) {
        wrong += pixel[k] != support_pixel(0, first + k / SUPPORT_PIXELS, k % SUPPORT_PIXELS);
    }
    for (int64_t i = 0; i < count; ++i) wrong += label[i] != support_label(0, first + i);
    EXPECT_EQ(wrong, 0);
    free(pixel);
    free(label);
}

static void test_any_cache_gives_the_same(void) {
    static const size_t budgets[] = {0, 300000, 600000, 1 << 26};
    for (int b = 0; b < 4; ++b) {
        Dataset *dataset = NULL;
        EXPECT_OK(dataset_open(
            &(DatasetConfig){.path = images, .split = "train", .cache_bytes = budgets[b]},
            &dataset));
        expect_pictures(dataset, 0, 1000); // straddles all groups
        expect_pictures(dataset, 333, 2);  // the last of one and the first of the next
        expect_pictures(dataset, 999, 1);  // the very last
        expect_pictures(dataset, 500, 0);
        for (int64_t i = 0; i < 1000; i += 97) expect_pictures(dataset, i * 389 % 1000, 1);
        dataset_close(dataset);
    }
}

static void test_info(void) {
    Dataset *dataset = NULL;
    EXPECT_OK(dataset_open(&(DatasetConfig){.path = images, .split = "test", .cache_bytes = 0},
                           &dataset));
    const DatasetInfo *info = dataset_info(dataset);
    EXPECT_EQ(info->kind, KIND_IMAGE);
    EXPECT_EQ(info->items, 60);
    EXPECT_EQ(info->classes, 10);
    EXPECT_EQ(info->columns, 2);
    EXPECT_EQ(dataset_find_column(dataset, "label"), 1);
    EXPECT_EQ(dataset_find_column(dataset, "sound"), -1);
    EXPECT_EQ(info->column[0].dim[1], SUPPORT_SIDE);
    EXPECT_EQ(column_item_bytes(&info->column[0]), SUPPORT_PIXELS);
    uint64_t identity = info->identity;
    dataset_close(dataset);
    EXPECT_OK(dataset_open(&(DatasetConfig){.path = images, .split = "train", .cache_bytes = 0},
                           &dataset));
    EXPECT_EQ(dataset_info(dataset)->identity, identity);
    dataset_close(dataset);
    EXPECT_FAIL(dataset_open(&(DatasetConfig){.path = images, .split = "valid", .cache_bytes = 0},
                             &dataset),
                NOT_FOUND, "it has train, test");
    EXPECT_FAIL(dataset_open(&(DatasetConfig){.path = folder, .split = "train", .cache_bytes = 0},
                             &dataset),
                NOT_FOUND, "no dataset here");
}

// A copy of a set, to be damaged.
static const char *copy_set(const char *set, const char *name) {
    char **names;
    int count;
    const char *copy = support_path(folder, name);
    EXPECT_OK(folder_remove(copy));
    EXPECT_OK(folder_make(copy));
    EXPECT_OK(folder_names(set, &names, &count));
    for (int i = 0; i < count; ++i) {
        size_t bytes;
        char *data = support_read_file(support_path(set, names[i]), &bytes);
        support_write_file(support_path(copy, names[i]), data, bytes);
        free(data);
    }
    folder_names_free(names, count);
    return copy;
}

// Every frame of the file is spoilt while the dataset has it open, so that what can still be read
// was in the cache: the least recently used of two groups must have gone.
static void test_least_recently_used_goes(void) {
    const char *copy = copy_set(images, "lru");
    const char *shard = support_path(copy, "train-image-00000.zst");
    uint8_t pixel[SUPPORT_PIXELS];
    uint64_t bytes;
    Dataset *dataset = NULL;
    EXPECT_OK(file_size(shard, &bytes));
    EXPECT_OK(dataset_open(&(DatasetConfig){.path = copy,
                                            .split = "train",
                                            .cache_bytes = 2 * 334 * SUPPORT_PIXELS + 1000},
                           &dataset));
    EXPECT_OK(dataset_read(dataset, 0, 0, 1, pixel));
    EXPECT_OK(dataset_read(dataset, 0, 400, 1, pixel));
    EXPECT_OK(dataset_read(dataset, 0, 1, 1, pixel));
    EXPECT_OK(dataset_read(dataset, 0, 999, 1, pixel));
    for (long at = 0; at < (long)bytes; at += 1000) support_flip_byte(shard, at);
    EXPECT_OK(dataset_read(dataset, 0, 2, 1, pixel));
    EXPECT_OK(dataset_read(dataset, 0, 998, 1, pixel));
    EXPECT_EQ(pixel[100], support_pixel(0, 998, 100));
    EXPECT_FAIL(dataset_read(dataset, 0, 401, 1, pixel), BAD_DATA, "train-image-00000.zst");
    // The place that the failure took is free again, and what it held is not served.
    EXPECT_FAIL(dataset_read(dataset, 0, 402, 1, pixel), BAD_DATA, "train-image-00000.zst");
    EXPECT_OK(dataset_read(dataset, 0, 997, 1, pixel));
    EXPECT_EQ(pixel[100], support_pixel(0, 997, 100));
    dataset_close(dataset);
}

static void test_damage_is_found_and_named(void) {
    char **names;
    int count;
    const char *copy = copy_set(images, "damage");
    EXPECT_OK(dataset_verify(copy, 0, 1));
    EXPECT_OK(folder_names(copy, &names, &count));
    EXPECT_EQ(count, 5);
    for (int i = 0; i < count; ++i) {
        const char *path = support_path(copy, names[i]);
        uint64_t bytes;
        EXPECT_OK(file_size(path, &bytes));
        bool index = strcmp(names[i], "index.json") == 0;
        long step = index ? 1 : (long)bytes / 40 + 1;
        for (long at = 0; at < (long)bytes; at += step) {
            support_flip_byte(path, at);
            EXPECT_FAIL(dataset_verify(copy, 0, 1), BAD_DATA, names[i]);
            support_flip_byte(path, at);
        }
        support_flip_byte(path, -1);
        EXPECT_FAIL(dataset_verify(copy, 0, 1), BAD_DATA, names[i]);
        support_flip_byte(path, -1);
    }
    folder_names_free(names, count);
    EXPECT_OK(dataset_verify(copy, 0, 1));
}

static void test_damaged_group_is_never_returned(void) {
    const char *copy = copy_set(images, "group");
    const char *shard = support_path(copy, "train-image-00000.zst");
    uint8_t pixel[SUPPORT_PIXELS];
    Dataset *dataset = NULL;
    support_flip_byte(shard, 5000); // in the first group
    EXPECT_OK(dataset_open(&(DatasetConfig){.path = copy, .split = "train", .cache_bytes = 1 << 24},
                           &dataset));
    EXPECT_FAIL(dataset_read(dataset, 0, 7, 1, pixel), BAD_DATA, "train-image-00000.zst");
    EXPECT_OK(dataset_read(dataset, 0, 400, 1, pixel));
    dataset_close(dataset);
}

static void test_missing_and_foreign_files(void) {
    Dataset *dataset = NULL;
    const char *copy = copy_set(images, "files");
    support_write_file(support_path(copy, "notes.txt"), "?", 1);
    EXPECT_FAIL(dataset_verify(copy, 0, 1), BAD_DATA, "notes.txt: is not part");
    copy = copy_set(images, "files");
    EXPECT_EQ(unlink(support_path(copy, "test-label-00000.zst")), 0);
    EXPECT_FAIL(dataset_verify(copy, 0, 1), BAD_DATA, "test-label-00000.zst: is missing");
    EXPECT_FAIL(
        dataset_open(&(DatasetConfig){.path = copy, .split = "test", .cache_bytes = 0}, &dataset),
        BAD_DATA, "test-label-00000.zst");
    copy = copy_set(images, "files");
    EXPECT_EQ(truncate(support_path(copy, "train-label-00000.zst"), 30), 0);
    EXPECT_FAIL(dataset_verify(copy, 0, 1), BAD_DATA, "train-label-00000.zst");
    EXPECT_FAIL(
        dataset_open(&(DatasetConfig){.path = copy, .split = "train", .cache_bytes = 0}, &dataset),
        BAD_DATA, "train-label-00000.zst");
    // Another set's shard under this name: sound in itself, but not this one.
    copy = copy_set(images, "files");
    size_t bytes;
    char *data = support_read_file(support_path(copy, "test-image-00000.zst"), &bytes);
    support_write_file(support_path(copy, "train-image-00000.zst"), data, bytes);
    free(data);
    EXPECT_FAIL(dataset_verify(copy, 0, 1), BAD_DATA, "train-image-00000.zst");
}

// Replaces the first `from` in the index by `to` and expects the reader to say `message`.
static void expect_refused(const char *set, const char *from, const char *to, const char *message) {
    size_t bytes;
    char *index = support_read_file(support_path(set, "index.json"), &bytes);
    size_t room = bytes + strlen(to) + 1;
    char *changed = malloc(room), *at = strstr(index, from);
    DatasetIndex out;
    if (at == NULL || changed == NULL) {
        TEST_FAIL("the index lacks %s", from);
    } else {
        snprintf(changed, room, "%.*s%s%s", (int)(at - index), index, to, at + strlen(from));
        EXPECT_FAIL(dataset_index_parse(changed, strlen(changed), "hostile", &out), BAD_DATA,
                    message);
    }
    free(index);
    free(changed);
}

static void test_hostile_index(void) {
    expect_refused(images, "\"dye-dataset\"", "\"other\"", "not the index of a dataset");
    expect_refused(images, "\"version\": 1", "\"version\": 2", "version 2");
    expect_refused(images, "\"train-image-00000.zst\"", "\"../../etc/passwd\"", "plain file name");
    expect_refused(images, "\"train-image-00000.zst\"", "\"/etc/passwd\"", "plain file name");
    expect_refused(images, "\"train-image-00000.zst\"", "\"..\"", "plain file name");
    expect_refused(images, "\"train-image-00000.zst\"", "\"index.json\"", "plain file name");
    expect_refused(images, "\"train-image-00000.zst\"", "\"\"", "plain file name");
    expect_refused(images, "\"train-image-00000.zst\"", "\"test-image-00000.zst\"", "twice");
    expect_refused(images, "\"group_items\": 334", "\"group_items\": 0", "group_items");
    expect_refused(images, "\"group_items\": 334", "\"group_items\": 333333", "group_items");
    expect_refused(images, "\"group_items\": 334", "\"group_items\": 333", "blocks");
    expect_refused(images, "\"shape\": [", "\"shape\": [1099511627776, ", "shape");
    expect_refused(images, "\"shape\": [", "\"shape\": [65536, 65536, ", "shape");
    expect_refused(images, "\"shape\": [", "\"shape\": [-1, ", "shape");
    expect_refused(images, "\"filter\": \"row-delta\"", "\"filter\": \"planes\"", "planes needs");
    expect_refused(images, "\"filter\": \"none\"", "\"filter\": \"row-delta\"", "row-delta needs");
    expect_refused(images, "\"filter\": \"none\"", "\"filter\": \"magic\"", "unknown");
    expect_refused(images, "\"name\": \"label\"", "\"name\": \"sound\"", "label");
    expect_refused(images, "\"items\": 1000", "\"items\": 1001", "1000 of 1001");
    expect_refused(images, "\"items\": 1000", "\"items\": 999", "more items than split");
    expect_refused(images, "\"items\": 1000", "\"items\": 4611686018427387904", "items");
    expect_refused(images, "\"first\": 0", "\"first\": 334", "the shard before it ends at 0");
    expect_refused(images, "\"raw\": 784000", "\"raw\": 784001", "raw is 784001");
    expect_refused(images, "\"blocks\": 3", "\"blocks\": 4", "blocks is 4");
    expect_refused(images, "\"classes\": 10", "\"classes\": 0", "classes");
    expect_refused(images, "\"classes\": 10", "\"classes\": 9", "identity");
    expect_refused(images, "\"name\": \"train\"", "\"name\": \"a/b\"", "no name for a split");
    expect_refused(images, "\"name\": \"train\"", "\"name\": \"test\"", "twice");
    expect_refused(images, "row-delta", "row-delta\", \"extra\": \"", "check");
    expect_refused(text, "\"alphabet\": \"", "\"alphabet\": \"\xC3\xA9", "identity");
    expect_refused(points, "\"kind\": \"vector\"", "\"kind\": \"text\"", "alphabet");
    expect_refused(tokens, "\"symbols\": 2", "\"symbols\": 0", "symbols");
    expect_refused(tokens, "\"symbols\": 2", "\"symbols\": 65537", "symbols");
    expect_refused(tokens, "\"symbols\": 2", "\"signs\": 2", "symbols");
    expect_refused(tokens, "\"symbols\": 2", "\"symbols\": 3", "identity");
    expect_refused(tokens, "\"symbols\": 2", "\"symbols\": 2, \"classes\": 2",
                   "no column of labels");
    expect_refused(tokens, "\"shape\": [", "\"shape\": [1, 1, ", "of u8 or u16 with 1 to 2 sizes");
    expect_refused(tokens, "\"dtype\": \"u8\"", "\"dtype\": \"f32\"",
                   "of u8 or u16 with 1 to 2 sizes");
    expect_refused(tokens, "\"kind\": \"tokens\"", "\"kind\": \"vector\"", "\"vector\" of f32");
    expect_refused(points, "\"dtype\": \"f32\"", "\"dtype\": \"u8\"", "planes needs");
    EXPECT_FAIL(dataset_index_parse("[", 1, "hostile", &(DatasetIndex){0}), BAD_DATA, "hostile");
}

// A sound folder by every hash, whose numbers go beyond its classes or symbols: packed, then
// declared smaller.
static void expect_out_of_range(const char *set, int32_t classes, int32_t symbols, int column,
                                const char *name, int number) {
    const char *copy = copy_set(set, "range");
    DatasetIndex index;
    uint8_t item[64];
    char place[64], message[64];
    Dataset *dataset = NULL;
    snprintf(place, sizeof place, "train-%s-00000.zst", name);
    snprintf(message, sizeof message, "number %d of column \"%s\" is not allowed", number, name);
    EXPECT_OK(dataset_index_load(copy, &index));
    index.info.classes = classes;
    index.info.symbols = symbols;
    EXPECT_OK(dataset_index_save(copy, &index));
    dataset_index_close(&index);
    EXPECT_OK(
        dataset_open(&(DatasetConfig){.path = copy, .split = "train", .cache_bytes = 0}, &dataset));
    EXPECT_FAIL(dataset_read(dataset, column, 0, 1, item), BAD_DATA, message);
    dataset_close(dataset);
    EXPECT_FAIL(dataset_verify(copy, 0, 1), BAD_DATA, place);
}

static void test_values_out_of_range(void) {
    expect_out_of_range(images, 9, 0, 1, "label", 7);
    expect_out_of_range(tokens, 0, 1, 0, "tokens", 2);
}

// All content is right, but the file is not the one that was packed.
static void test_hash_of_a_file(void) {
    const char *copy = copy_set(images, "hash");
    DatasetIndex index;
    EXPECT_OK(dataset_index_load(copy, &index));
    index.shard[index.shards - 1].file_info.hash ^= 1;
    EXPECT_OK(dataset_index_save(copy, &index));
    EXPECT_FAIL(dataset_verify(copy, 0, 1), BAD_DATA, index.shard[index.shards - 1].file);
    dataset_index_close(&index);
}

static void expect_shown(const char *set, int64_t item, const char *part) {
    char *shown = NULL;
    size_t bytes;
    FILE *out = open_memstream(&shown, &bytes);
    EXPECT_OK(dataset_inspect(set, "train", item, out));
    fclose(out);
    if (strstr(shown, part) == NULL) TEST_FAIL("\"%s\" lacks \"%s\"", shown, part);
    ++test_checks;
    free(shown);
}

static void test_inspect(void) {
    expect_shown(images, -1, "split train: 1000 items");
    expect_shown(images, -1, "shard test-label-00000.zst: items 0 to 59");
    expect_shown(images, 3, "train item 3, label 1\n");
    expect_shown(text, 4, "quick brown");
    expect_shown(points, 0, "train item 0\n");
    expect_shown(tokens, 0, "train item 0\n00100001000010000100\n");
    FILE *out = fopen("/dev/null", "w");
    EXPECT_FAIL(dataset_inspect(images, "train", 1000, out), BAD_USAGE, "items 0 to 999");
    fclose(out);
}

// Reads a column by zstd and NumPy and compares.
static void expect_read_outside(const char *script, const char *set, const char *column) {
    char command[4096];
    Dataset *dataset = NULL;
    EXPECT_OK(dataset_open(&(DatasetConfig){.path = set, .split = "train", .cache_bytes = 1 << 24},
                           &dataset));
    int c = dataset_find_column(dataset, column);
    int64_t items = dataset_info(dataset)->items;
    size_t bytes = (size_t)(items * column_item_bytes(&dataset_info(dataset)->column[c]));
    uint8_t *inside = malloc(bytes), *outside = malloc(bytes + 1);
    EXPECT_OK(dataset_read(dataset, c, 0, items, inside));
    dataset_close(dataset);
    snprintf(command, sizeof command, "/usr/bin/python3 '%s' '%s' train %s", script, set, column);
    FILE *pipe = popen(command, "r");
    EXPECT_EQ(fread(outside, 1, bytes + 1, pipe), bytes);
    EXPECT_EQ(pclose(pipe), 0);
    EXPECT(memcmp(inside, outside, bytes) == 0);
    free(inside);
    free(outside);
}

// The source's root: given, or above the build folder that this runs in.
static bool find_script(char *out, size_t bytes) {
    const char *roots[] = {getenv("DYE_SOURCE"), ".", "..", "../.."};
    for (int i = 0; i < 4; ++i) {
        if (roots[i] == NULL) continue;
        snprintf(out, bytes, "%s/tests/tools/read_dataset.py", roots[i]);
        if (file_exists(out)) return true;
    }
    return false;
}

static void test_outside_reader(void) {
    char script[1024];
    if (!find_script(script, sizeof script)) SKIP("set DYE_SOURCE to the root of the source");
    if (system("/usr/bin/python3 -c 'import numpy' 2> /dev/null") != 0) SKIP("no NumPy");
    if (system("zstd --version > /dev/null 2>&1") != 0) SKIP("no program zstd");
    expect_read_outside(script, images, "image");
    expect_read_outside(script, images, "label");
    expect_read_outside(script, points, "vector");
    expect_read_outside(script, text, "text");
    expect_read_outside(script, tokens, "tokens");
}

static void make_sets(void) {
    const char *source = support_path(folder, "idx");
    support_write_images(source, 1000, 60);
    images = strdup(support_path(folder, "images"));
    support_pack(source, images);
    points = strdup(support_path(folder, "points"));
    PackConfig config = {.input = &(PackInput){"swiss-roll", NULL},
                         .inputs = 1,
                         .out = points,
                         .source.toy_items = 40000};
    EXPECT_OK(pack(&config));
    static const char line[] = "the quick brown fox jumps over the lazy dog\n";
    source = support_path(folder, "fox.txt");
    char *file = malloc(20000 * sizeof line);
    file[0] = '\0';
    char *end = file;
    for (int i = 0; i < 20000; ++i) end = stpcpy(end, line);
    support_write_file(source, file, (size_t)(end - file));
    free(file);
    text = strdup(support_path(folder, "text"));
    support_pack(source, text);
    tokens = strdup(support_path(folder, "tokens"));
    support_pack("heartbeat", tokens);
}

int main(void) {
    snprintf(folder, sizeof folder, "%s", test_folder("dataset"));
    RUN(make_sets);
    RUN(test_any_cache_gives_the_same);
    RUN(test_info);
    RUN(test_least_recently_used_goes);
    RUN(test_damage_is_found_and_named);
    RUN(test_damaged_group_is_never_returned);
    RUN(test_missing_and_foreign_files);
    RUN(test_hostile_index);
    RUN(test_values_out_of_range);
    RUN(test_hash_of_a_file);
    RUN(test_inspect);
    RUN(test_outside_reader);
    (void)!folder_remove(folder);
    free((void *)(uintptr_t)images);
    free((void *)(uintptr_t)points);
    free((void *)(uintptr_t)text);
    free((void *)(uintptr_t)tokens);
    return test_report();
}
