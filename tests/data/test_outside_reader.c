// The outside reader, tests/tools/read_dataset.py: NumPy's line for every filter and dtype, against
// what went into the packing. bf16 comes out as its bits, in u16.
#include "tests/test.h"

#include "base/file.h"
#include "base/mix.h"
#include "data/dataset.h"
#include "data/pack/pack.h"
#include "tests/data/support_data.h"

static char folder[512], script[1024];

// A set that the test makes; the numbers are noise below `below`, or any finite ones of a float.
typedef struct {
    const char *name, *column; // of the set, of its first column
    DatasetKind kind;
    Dtype dtype;
    const char *filter; // that pack must have chosen for the first column
    int dims;
    int64_t dim[3];
    int64_t samples;
    int32_t below, classes; // symbols, or values of a pixel; labels
} Set;

// More samples than a group of 256 KiB holds, and a last group that is not full.
static const Set sets[] = {
    {"colour", "image", KIND_IMAGE, DTYPE_U8, "green-left", 3, {3, 5, 7}, 2600, 256, 10},
    {"grey", "image", KIND_IMAGE, DTYPE_U8, "row-delta", 3, {1, 9, 4}, 7300, 256, 300},
    {"half", "latent", KIND_LATENT, DTYPE_F16, "planes", 3, {4, 3, 5}, 2300, 0, 65536},
    {"brain", "latent", KIND_LATENT, DTYPE_BF16, "planes", 3, {2, 3, 3}, 7400, 0, 0},
    {"float", "latent", KIND_LATENT, DTYPE_F32, "planes", 3, {1, 4, 4}, 4200, 0, 2},
    {"wide", "tokens", KIND_TOKENS, DTYPE_U16, "none", 2, {6, 5}, 4500, 50000, 0},
    {"points", "vector", KIND_VECTOR, DTYPE_F32, "planes", 1, {3}, 22000, 0, 0},
};
enum { SETS = sizeof sets / sizeof *sets };

static int64_t numbers_of(const Set *set) {
    int64_t numbers = 1;
    for (int i = 0; i < set->dims; ++i) numbers *= set->dim[i];
    return numbers;
}

// Number k of the set, as its bits. Floats lack the highest bit of the exponent, so they are
// finite.
static uint32_t bits_of(const Set *set, int64_t k) {
    uint64_t noise = mix64((uint64_t)k + 77 * (uint64_t)(set - sets));
    switch (set->dtype) {
    case DTYPE_F32: return (uint32_t)noise & 0xBFFFFFFF;
    case DTYPE_F16:
    case DTYPE_BF16: return (uint32_t)noise & 0xBFFF;
    default: return (uint32_t)(noise % (uint64_t)set->below);
    }
}

static uint16_t label_of(const Set *set, int64_t sample) {
    return (uint16_t)(mix64((uint64_t)sample + 13) % (uint64_t)set->classes);
}

static Dtype label_dtype(const Set *set) {
    return set->classes > 256 ? DTYPE_U16 : DTYPE_U8;
}

static Status set_open(Source *source, const SourceOptions *options) {
    const Set *set = source->state;
    (void)options;
    source->info.kind = set->kind;
    source_add_column(source, set->column, set->dtype, set->dims, set->dim);
    if (set->classes > 0) source_add_column(source, "label", label_dtype(set), 0, NULL);
    source->info.classes = set->classes;
    source->info.symbols = set->kind == KIND_TOKENS ? set->below : 0;
    source_add_split(source, "train", set->samples);
    return STATUS_OK;
}

// Little-endian, like the machine and the format.
static Status set_read(Source *source, int split, int64_t first, int64_t most, int64_t *got,
                       uint8_t *const out[DATASET_COLUMNS_MOST]) {
    const Set *set = source->state;
    int64_t numbers = numbers_of(set), word = dtype_bytes(set->dtype);
    (void)split;
    for (int64_t k = 0; k < most * numbers; ++k) {
        uint32_t bits = bits_of(set, first * numbers + k);
        memcpy(out[0] + k * word, &bits, (size_t)word);
    }
    for (int64_t i = 0; i < most && set->classes > 0; ++i) {
        uint16_t label = label_of(set, first + i);
        int64_t bytes = dtype_bytes(label_dtype(set));
        memcpy(out[1] + i * bytes, &label, (size_t)bytes);
    }
    *got = most;
    return STATUS_OK;
}

static void set_close(Source *source) {
    source->state = NULL;
}

static const SourceType source_set = {
    .name = "set", .what = "a test's", .open = set_open, .read = set_read, .close = set_close};

static void expect_column(const char *path, const char *column, const uint8_t *expected,
                          size_t bytes) {
    char command[4096];
    uint8_t *outside = malloc(bytes + 1);
    snprintf(command, sizeof command, "/usr/bin/python3 '%s' '%s' train %s", script, path, column);
    FILE *pipe = popen(command, "r");
    size_t got = fread(outside, 1, bytes + 1, pipe);
    EXPECT_EQ(pclose(pipe), 0);
    EXPECT_EQ(got, bytes);
    if (got != bytes || memcmp(expected, outside, bytes) != 0)
        TEST_FAIL("%s: column %s comes out different", path, column);
    ++test_checks;
    free(outside);
}

static void expect_set(const Set *set) {
    const char *path = support_path(folder, set->name);
    PackInput input = {"set", NULL};
    PackConfig config = {.input = &input,
                         .inputs = 1,
                         .made = &source_set,
                         .made_state = (void *)(uintptr_t)set,
                         .out = path,
                         .shuffle = SHUFFLE_NEVER};
    EXPECT_OK(pack(&config));
    size_t bytes = 0;
    char expected[64];
    char *index = support_read_file(support_path(path, "index.json"), &bytes);
    snprintf(expected, sizeof expected, "\"filter\": \"%s\"", set->filter);
    if (strstr(index, expected) == NULL) TEST_FAIL("%s: %s is not there", path, expected);
    free(index);
    int64_t items = numbers_of(set) * dtype_bytes(set->dtype);
    EXPECT(items * set->samples > 1 << 18); // more than a group
    uint8_t *data = malloc((size_t)(items * set->samples));
    uint8_t *label = malloc((size_t)set->samples * 2);
    uint8_t *out[DATASET_COLUMNS_MOST] = {data, label};
    Source source = {.state = (void *)(uintptr_t)set};
    int64_t got;
    EXPECT_OK(set_read(&source, 0, 0, set->samples, &got, out));
    expect_column(path, set->column, data, (size_t)(items * set->samples));
    if (set->classes > 0)
        expect_column(path, "label", label, (size_t)(set->samples * dtype_bytes(label_dtype(set))));
    free(data);
    free(label);
}

// The source's root: given, or above the build folder that this runs in.
static bool find_script(void) {
    const char *roots[] = {getenv("DYE_SOURCE"), ".", "..", "../.."};
    for (int i = 0; i < 4; ++i) {
        if (roots[i] == NULL) continue;
        snprintf(script, sizeof script, "%s/tests/tools/read_dataset.py", roots[i]);
        if (file_exists(script)) return true;
    }
    return false;
}

static void test_every_filter_and_dtype(void) {
    if (!find_script()) SKIP("set DYE_SOURCE to the root of the source");
    if (system("/usr/bin/python3 -c 'import numpy' 2> /dev/null") != 0) SKIP("no NumPy");
    if (system("zstd --version > /dev/null 2>&1") != 0) SKIP("no program zstd");
    for (int i = 0; i < SETS; ++i) expect_set(&sets[i]);
}

int main(void) {
    snprintf(folder, sizeof folder, "%s", test_folder("outside_reader"));
    RUN(test_every_filter_and_dtype);
    (void)!folder_remove(folder);
    return test_report();
}
