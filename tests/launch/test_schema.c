// The configuration loader: every type, every message, and the way back to text.
#include "launch/schema.h"

#include "base/file.h"
#include "tests/test.h"

typedef struct {
    bool shuffle;
    char path[16];
    int64_t cache;
} DataPart;

typedef struct {
    int64_t batch;
    int32_t grains;
    uint64_t seed;
    int64_t halflife[2];
} TrainPart;

typedef struct {
    double lr;
    float dropout, guidance;
    char schedule[12];
    double patience;
} OptimPart;

typedef struct {
    Interval every;
    struct {
        char solver[8];
        int32_t steps;
    } sampler;
} SamplePart;

typedef struct {
    DataPart data;
    TrainPart train;
    OptimPart optim;
    SamplePart sample;
} Config;

static const SchemaRow rows[] = {
    SCHEMA_SWITCH(Config, data.shuffle, "true", SCHEMA_FIXED, "mix the samples"),
    SCHEMA_TEXT(Config, data.path, "", SCHEMA_FREE, "folder of the data set"),
    SCHEMA_NUMBER(Config, data.cache, "64M", 0, 1LL << 40, UNIT_BYTES, SCHEMA_FREE, "memory"),
    SCHEMA_NUMBER(Config, train.batch, "256", 1, 1 << 20, UNIT_SAMPLES, SCHEMA_FIXED, "global"),
    SCHEMA_NUMBER(Config, train.grains, "16", 1, 4096, UNIT_NONE, SCHEMA_FIXED, "pieces"),
    SCHEMA_NUMBER(Config, train.seed, "0", 0, 0x1p64, UNIT_NONE, SCHEMA_FIXED, "of all numbers"),
    SCHEMA_NUMBER_AS("train.halflife_0", Config, train.halflife[0], "50k", 0, 0x1p62, UNIT_SAMPLES,
                     SCHEMA_FIXED, "of the first average"),
    SCHEMA_NUMBER_AS("train.halflife_1", Config, train.halflife[1], "1.5M", 0, 0x1p62, UNIT_SAMPLES,
                     SCHEMA_FIXED, "of the second average"),
    SCHEMA_NUMBER(Config, optim.lr, "1e-4", 0, 10, UNIT_NONE, SCHEMA_FREE, "peak rate"),
    SCHEMA_NUMBER(Config, optim.dropout, "0.1", 0, 1, UNIT_NONE, SCHEMA_FIXED, "share"),
    SCHEMA_NUMBER(Config, optim.guidance, "1", -100, 100, UNIT_NONE, SCHEMA_FREE, "strength"),
    SCHEMA_CHOICE(Config, optim.schedule, "cosine", "cosine|constant", SCHEMA_FIXED, "shape"),
    SCHEMA_NUMBER(Config, optim.patience, "1.5m", 0, 1e6, UNIT_SECONDS, SCHEMA_FREE, "wait"),
    SCHEMA_INTERVAL(Config, sample.every, "10m", SCHEMA_FREE, "how often"),
    SCHEMA_CHOICE(Config, sample.sampler.solver, "ddim", "ddim|ddpm", SCHEMA_FREE, "method"),
    SCHEMA_NUMBER(Config, sample.sampler.steps, "0", 0, 10000, UNIT_NONE, SCHEMA_FREE, "steps"),
};
static const Schema schema = SCHEMA(Config, rows);

static Config config;

static Status load(const char *text) {
    TRY(schema_defaults(&schema, &config));
    TRY(schema_load_text(&schema, "run.yaml", text, strlen(text), &config));
    return STATUS_OK;
}

static Status set(const char *word) {
    TRY(schema_defaults(&schema, &config));
    TRY(schema_set(&schema, word, &config));
    return STATUS_OK;
}

static void test_defaults(void) {
    memset(&config, 0xAA, sizeof config);
    EXPECT_OK(schema_defaults(&schema, &config));
    EXPECT(config.data.shuffle);
    EXPECT_TEXT(config.data.path, "");
    EXPECT_EQ(config.data.cache, 64 << 20);
    EXPECT_EQ(config.train.batch, 256);
    EXPECT_EQ(config.train.seed, 0);
    EXPECT_EQ(config.train.halflife[0], 50000);
    EXPECT_EQ(config.train.halflife[1], 1500000);
    EXPECT(config.optim.lr == 1e-4);
    EXPECT(config.optim.dropout == 0.1f);
    EXPECT_TEXT(config.optim.schedule, "cosine");
    EXPECT(config.optim.patience == 90);
    EXPECT_EQ(config.sample.every.steps, 0);
    EXPECT(config.sample.every.seconds == 600);
    EXPECT_EQ(rows[4].type, SCHEMA_TYPE_I32);
    EXPECT_EQ(rows[9].type, SCHEMA_TYPE_F32);
    EXPECT_EQ(rows[1].size, 16);
}

static void test_yaml_forms(void) {
    EXPECT_OK(load("train:\n  batch: 512\n  seed: 7\noptim: {lr: 2e-3, schedule: \"constant\"}\n"
                   "sample.sampler.steps: 50\nsample:\n  sampler.solver: ddpm\n"));
    EXPECT_EQ(config.train.batch, 512);
    EXPECT_EQ(config.train.seed, 7);
    EXPECT(config.optim.lr == 2e-3);
    EXPECT_TEXT(config.optim.schedule, "constant");
    EXPECT_EQ(config.sample.sampler.steps, 50);
    EXPECT_TEXT(config.sample.sampler.solver, "ddpm");
    EXPECT_EQ(config.train.grains, 16);
    EXPECT_OK(load("sample:\n  sampler:\n    solver: ddpm\n    steps: 9\n  every: 5\n"));
    EXPECT_EQ(config.sample.sampler.steps, 9);
    EXPECT_EQ(config.sample.every.steps, 5);
    EXPECT_OK(load(""));
    EXPECT_OK(load("# nothing but a comment\n"));
    EXPECT_OK(load("---\n"));
    EXPECT_OK(load("train:\n  # batch: 3\noptim:\n  lr: 1\n"));
    EXPECT_EQ(config.train.batch, 256);
    EXPECT_OK(load("data: {path: ''}\n"));
}

static void test_units(void) {
    EXPECT_OK(load("train: {batch: 20k, seed: 18446744073709551615, halflife_1: 0.25G}"));
    EXPECT_EQ(config.train.batch, 20000);
    EXPECT(config.train.seed == UINT64_MAX);
    EXPECT_EQ(config.train.halflife[1], 250000000);
    EXPECT_OK(load("data: {cache: 1.5GiB}\ntrain: {batch: 1e3, halflife_0: 2.5e3k}"));
    EXPECT_EQ(config.data.cache, 3LL << 29);
    EXPECT_EQ(config.train.batch, 1000);
    EXPECT_EQ(config.train.halflife[0], 2500000);
    EXPECT_OK(load("data: {cache: 1T}\noptim: {patience: 2h}\nsample: {every: 1d}"));
    EXPECT_EQ(config.data.cache, 1LL << 40);
    EXPECT(config.optim.patience == 7200);
    EXPECT(config.sample.every.seconds == 86400);
    EXPECT_OK(set("sample.every=10M"));
    EXPECT_EQ(config.sample.every.steps, 10000000);
    EXPECT(config.sample.every.seconds == 0);
    EXPECT_OK(set("sample.every=0"));
    EXPECT(config.sample.every.steps == 0 && config.sample.every.seconds == 0);
    EXPECT_OK(set("sample.every=0.5s"));
    EXPECT(config.sample.every.seconds == 0.5);
    EXPECT_OK(set("optim.guidance=-2.5"));
    EXPECT(config.optim.guidance == -2.5f);
    EXPECT_OK(set("optim.lr=.5"));
    EXPECT(config.optim.lr == 0.5);
}

static void test_wrong_values(void) {
    EXPECT_FAIL(load("\ntrain:\n  batch: 0\n"), BAD_CONFIG,
                "run.yaml:3: train.batch is '0', must be a whole number from 1 to 1048576");
    EXPECT_FAIL(load("train: {batch: many}"), BAD_CONFIG, "train.batch is 'many'");
    EXPECT_FAIL(load("train:\n  batch:\n"), BAD_CONFIG, "run.yaml:2: train.batch has no value");
    EXPECT_FAIL(load("optim: {schedule: cosin}"), BAD_CONFIG, "must be one of cosine|constant");
    EXPECT_FAIL(load("optim: {schedule: cosine|constant}"), BAD_CONFIG, "must be one of");
    EXPECT_FAIL(load("optim: {schedule: ''}"), BAD_CONFIG, "must be one of");
    EXPECT_FAIL(load("data: {shuffle: yes}"), BAD_CONFIG,
                "data.shuffle is 'yes', must be true or false");
    EXPECT_FAIL(load("data: {path: 0123456789abcdef}"), BAD_CONFIG, "at most 15 bytes of UTF-8");
    EXPECT_OK(load("data: {path: 0123456789abcde}"));
    EXPECT_FAIL(set("data.path=a\xff"), BAD_CONFIG, "UTF-8");
    EXPECT_FAIL(set("data.path=\xed\xa0\x80"), BAD_CONFIG, "UTF-8"); // a surrogate
    EXPECT_FAIL(set("data.path=\xc0\x80"), BAD_CONFIG, "UTF-8");     // an overlong zero
    EXPECT_FAIL(set("data.cache=64MB"), BAD_CONFIG,
                "must be a size like 64M (64 MiB) from 0 to 1T");
    EXPECT_FAIL(set("data.cache=1.1"), BAD_CONFIG, "must be a size");
    EXPECT_FAIL(set("optim.patience=-1s"), BAD_CONFIG,
                "seconds or a time like 90s, 10m, 2h, from 0 to 1e+06");
    const char *const bad_intervals[] = {"",  "-1",    "-5m",   "10min", "1.5",
                                         "m", "1e12s", "never", "1 m"};
    for (int i = 0; i < 9; ++i) {
        char word[64];
        snprintf(word, sizeof word, "sample.every=%s", bad_intervals[i]);
        EXPECT_FAIL(set(word), BAD_CONFIG,
                    "must be steps (500), a time (90s, 10m, 2h, 1d) or 0 for never");
    }
    EXPECT_OK(set("sample.every=-0m")); // found by fuzzing: equal values must be equal bytes
    EXPECT(config.sample.every.seconds == 0 && !signbit(config.sample.every.seconds));
    const char *const bad_whole[] = {"",    "1.5", "1e-1", " 1",  "1 ",   "0x10",
                                     "1_0", "--1", "+",    "1kk", "1kiB", "1K2",
                                     "1e",  "nan", "4097", "-1",  ".",    "99999999999999999999",
                                     "1e30"};
    for (int i = 0; i < 19; ++i) {
        char word[64];
        snprintf(word, sizeof word, "train.grains=%s", bad_whole[i]);
        EXPECT_FAIL(set(word), BAD_CONFIG, "must be a whole number from 1 to 4096");
    }
    const char *const bad_real[] = {"",    "nan",  "inf",  "-inf", "1e999", "0x1p3", " 1",    "1 ",
                                    "1,5", "10.1", "-0.1", ".",    "e5",    "1e",    "1.2.3", "1k"};
    for (int i = 0; i < 16; ++i) {
        char word[64];
        snprintf(word, sizeof word, "optim.lr=%s", bad_real[i]);
        EXPECT_FAIL(set(word), BAD_CONFIG, "must be a number from 0 to 10");
    }
    EXPECT_FAIL(set("train.seed=18446744073709551616"), BAD_CONFIG,
                "from 0 to 18446744073709551616");
    EXPECT_FAIL(set("train.seed=-1"), BAD_CONFIG, "train.seed is '-1'");
    EXPECT_FAIL(set("train.halflife_0=4611686018427387905"), BAD_CONFIG, "must be a whole number");
    EXPECT_OK(set("train.halflife_0=4611686018427387904"));
}

static void test_unknown_keys(void) {
    EXPECT_FAIL(load("\n\ntrain:\n  batc: 1\n"), BAD_CONFIG,
                "run.yaml:4: unknown key 'train.batc' (nearest: 'train.batch')");
    EXPECT_FAIL(load("trian.batch: 1\n"), BAD_CONFIG, "(nearest: 'train.batch')");
    EXPECT_FAIL(load("lr: 1\n"), BAD_CONFIG, "unknown key 'lr' (nearest: 'optim.lr')");
    EXPECT_FAIL(load("train: {lr: 1}\n"), BAD_CONFIG,
                "unknown key 'train.lr' (nearest: 'optim.lr')");
    EXPECT_FAIL(load("trian: {batch: 1}\n"), BAD_CONFIG,
                "run.yaml:1: unknown section 'trian' (nearest: 'train')");
    EXPECT_FAIL(load("quux: 1\n"), BAD_CONFIG,
                "unknown key 'quux' (sections: data, train, optim, sample)");
    EXPECT_FAIL(load("train:\n  optim:\n    lr: 1\n"), BAD_CONFIG, "unknown section 'train.optim'");
    EXPECT_FAIL(load("'': 1\n"), BAD_CONFIG, "unknown key ''");
    EXPECT_FAIL(load("train.: 1\n"), BAD_CONFIG, "unknown key 'train.'");
    EXPECT_FAIL(load("train: 1\n"), BAD_CONFIG,
                "'train' is a section: give a key below it, like 'train.batch'");
    char text[300];
    memset(text, 'x', sizeof text);
    strcpy(text + 200, ": 1\n");
    EXPECT_FAIL(load(text), BAD_CONFIG, "no key is as long as 'xxx");
}

static void test_yaml_structure(void) {
    EXPECT_FAIL(load("train:\n  batch: 1\n  batch: 2\n"), BAD_CONFIG,
                "run.yaml:3: key 'train.batch' is given again (first in line 2)");
    EXPECT_FAIL(load("train.batch: 1\ntrain: {batch: 2}\n"), BAD_CONFIG, "given again");
    EXPECT_FAIL(load("train: {batch: 1}\ntrain: {seed: 2}\n"), BAD_CONFIG,
                "run.yaml:2: section 'train' is given again (first in line 1)");
    EXPECT_FAIL(load("train:\n  batch: [1, 2]\n"), BAD_CONFIG,
                "run.yaml:2: train.batch takes one value, not a list");
    EXPECT_FAIL(load("train:\n  batch:\n    of: 1\n"), BAD_CONFIG,
                "train.batch takes one value, not a block of keys");
    EXPECT_FAIL(load("- a\n- b\n"), BAD_CONFIG, "expected lines of 'key: value', not a list");
    EXPECT_FAIL(load("hello\n"), BAD_CONFIG, "run.yaml:1: expected lines of 'key: value'");
    EXPECT_FAIL(load("? [a]\n: 1\n"), BAD_CONFIG, "a key must be a single word");
    EXPECT_FAIL(load("? {a: 1}\n: 1\n"), BAD_CONFIG, "a key must be a single word");
    EXPECT_FAIL(load("a: &x 1\n"), BAD_CONFIG, "run.yaml:1: anchors (&x) are not allowed");
    EXPECT_FAIL(load("train: &x {batch: 1}\n"), BAD_CONFIG, "anchors (&x) are not allowed");
    EXPECT_FAIL(load("train:\n  batch: *x\n"), BAD_CONFIG,
                "run.yaml:2: aliases (*x) are not allowed");
    EXPECT_FAIL(load("train: {batch: !!int 1}\n"), BAD_CONFIG,
                "tags (tag:yaml.org,2002:int) are not allowed");
    EXPECT_FAIL(load("train: {batch: 1}\n---\ntrain: {seed: 1}\n"), BAD_CONFIG,
                "run.yaml:2: a second document begins here");
    EXPECT_FAIL(load("train.batch: 1\n}\n"), BAD_CONFIG, "run.yaml:2: not valid YAML");
    EXPECT_FAIL(load("train: {batch: 1\n"), BAD_CONFIG, "not valid YAML");
    EXPECT_FAIL(load("# fine\ndata: {path: \xff}\n"), BAD_CONFIG, "run.yaml:2: not valid YAML");
    EXPECT_FAIL(load("data: {path: \"a\\0b\"}\n"), BAD_CONFIG, "a zero byte in the text");
    char deep[4001];
    for (int i = 0; i < 4000; ++i) deep[i] = "train: {"[i % 8];
    deep[4000] = 0;
    EXPECT_FAIL(load(deep), BAD_CONFIG, "run.yaml:1: unknown section 'train.train'");
    memset(deep, '[', 4000);
    EXPECT_FAIL(load(deep), BAD_CONFIG, "not a list");
}

static void test_files(void) {
    char path[PATH_BYTES], part[PATH_BYTES + 64];
    const char *text = "train:\n  batch: 8\n  bitch: 9\n";
    snprintf(path, sizeof path, "%s/run.yaml", test_folder("schema"));
    EXPECT_FAIL(schema_load_yaml(&schema, path, &config), NOT_FOUND, "run.yaml");
    EXPECT_OK(file_write_atomic(path, text, strlen(text)));
    snprintf(part, sizeof part, "%s:3: unknown key 'train.bitch'", path);
    EXPECT_FAIL(schema_load_yaml(&schema, path, &config), BAD_CONFIG, part);
    EXPECT_OK(file_write_atomic(path, text, 18));
    EXPECT_OK(schema_load_yaml(&schema, path, &config));
    EXPECT_EQ(config.train.batch, 8);
}

static void test_command_line(void) {
    EXPECT_OK(set("data.path=a=b c"));
    EXPECT_TEXT(config.data.path, "a=b c");
    EXPECT_OK(schema_set(&schema, "data.path=", &config));
    EXPECT_TEXT(config.data.path, "");
    EXPECT_OK(schema_set(&schema, "train.batch=3", &config));
    EXPECT_OK(schema_set(&schema, "train.batch=4", &config));
    EXPECT_EQ(config.train.batch, 4);
    EXPECT_FAIL(set("train.batch"), BAD_CONFIG, "command line: 'train.batch' is not key=value");
    EXPECT_FAIL(set("=3"), BAD_CONFIG, "is not key=value");
    EXPECT_FAIL(set("train.btch=3"), BAD_CONFIG,
                "command line: unknown key 'train.btch' (nearest: 'train.batch')");
    EXPECT_FAIL(set("train=3"), BAD_CONFIG, "command line: 'train' is a section");
    EXPECT_FAIL(set("optim.lr=11"), BAD_CONFIG,
                "command line: optim.lr is '11', must be a number from 0 to 10");
    char word[300];
    memset(word, 'k', sizeof word);
    strcpy(word + 250, "=1");
    EXPECT_FAIL(set(word), BAD_CONFIG, "no key is as long as 'kkk");
    memset(word, 'v', sizeof word);
    memcpy(word, "optim.lr=\x01\x1b", 11);
    word[299] = 0;
    EXPECT_FAIL(set(word), BAD_CONFIG,
                "optim.lr is '?"
                "?vvv");
    EXPECT_FAIL(set(word), BAD_CONFIG, "vvv...'");
}

static void expect_round_trip(void) {
    static Config back;
    for (int comments = 0; comments < 2; ++comments) {
        char *text = NULL;
        EXPECT_OK(schema_format(&schema, &config, comments, &text));
        memset(&back, 0x55, sizeof back);
        EXPECT_OK(schema_defaults(&schema, &back));
        EXPECT_OK(schema_load_text(&schema, "round", text, strlen(text), &back));
        EXPECT(memcmp(&config, &back, sizeof back) == 0);
        free(text);
    }
}

static void test_round_trip(void) {
    const char *const words[] = {"data.path=a b",
                                 "data.path=\" \\ '",
                                 "data.path=#x: {y}",
                                 "data.path=\n\t\x01",
                                 "data.path=\xc3\xbc\xe2\x80\xa8",
                                 "data.path=\xf0\x9f\x98\x80",
                                 "data.path=\xef\xbb\xbf",
                                 "data.path=\xef\xbf\xbe",
                                 "data.path=\xc2\x85\x7f",
                                 "data.path=a \xe2\x80\xa8 b",
                                 "data.path=a \xe2\x80\xa9 b",
                                 "data.path=true",
                                 "data.path=12",
                                 "data.path=~",
                                 "data.path= x ",
                                 "data.path=-",
                                 "data.shuffle=false",
                                 "data.cache=12345",
                                 "data.cache=3k",
                                 "data.cache=0",
                                 "train.batch=1000000",
                                 "train.seed=18446744073709551615",
                                 "train.halflife_0=4611686018427387904",
                                 "optim.lr=0.1",
                                 "optim.lr=3.3333333333333335e-7",
                                 "optim.lr=4.9406564584124654e-324",
                                 "optim.lr=-0",
                                 "optim.dropout=0.33333334",
                                 "optim.guidance=-99.99999",
                                 "optim.dropout=1e-45",
                                 "optim.patience=86399.9999999",
                                 "sample.every=123456789",
                                 "sample.every=90s",
                                 "sample.every=1d",
                                 "sample.every=61.7s",
                                 "sample.every=1e-3s",
                                 "sample.every=0",
                                 "sample.every=0.1h"};
    for (size_t i = 0; i < sizeof words / sizeof *words; ++i) {
        EXPECT_OK(set(words[i]));
        expect_round_trip();
    }
}

static void test_format(void) {
    char *text = NULL;
    EXPECT_OK(load("data: {path: /tmp/x}\ntrain: {seed: 3000}"));
    EXPECT_OK(schema_format(&schema, &config, false, &text));
    EXPECT_TEXT(text, "data:\n  shuffle: true\n  path: /tmp/x\n  cache: 64M\n"
                      "train:\n  batch: 256\n  grains: 16\n  seed: 3000\n"
                      "  halflife_0: 50k\n  halflife_1: 1500k\n"
                      "optim:\n  lr: 0.0001\n  dropout: 0.1\n  guidance: 1\n"
                      "  schedule: cosine\n  patience: 90\n"
                      "sample:\n  every: 10m\n  sampler:\n    solver: ddim\n    steps: 0\n");
    free(text);
    EXPECT_OK(schema_format(&schema, &config, true, &text));
    EXPECT(strstr(text, "  cache: 64M  # bytes: memory\n") != NULL);
    EXPECT(strstr(text, "  lr: 0.0001  # peak rate\n") != NULL);
    free(text);
}

static void test_help(void) {
    size_t bytes;
    char *text;
    FILE *stream = open_memstream(&text, &bytes);
    EXPECT(schema_print_help(&schema, "", stream));
    fclose(stream);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; ++i) {
        EXPECT(strstr(text, rows[i].key) != NULL);
        EXPECT(strstr(text, rows[i].help) != NULL);
    }
    EXPECT(strstr(text, "1 .. 1048576 samples") != NULL);
    EXPECT(strstr(text, "1 .. 4096 ") != NULL);
    EXPECT(strstr(text, "cosine|constant") != NULL);
    EXPECT(strstr(text, "* data.path") != NULL);
    EXPECT(strstr(text, "  train.seed") != NULL);
    free(text);
}

static void collect(void *context, const SchemaRow *row, const char *a, const char *b) {
    char *out = context;
    sprintf(out + strlen(out), "%s %s->%s %s;", row->key, a, b,
            row->resume == SCHEMA_FREE ? "free" : "fixed");
}

static void test_diff_and_hash(void) {
    static Config other;
    char told[256] = "";
    EXPECT_OK(set("train.batch=512"));
    EXPECT_OK(schema_defaults(&schema, &other));
    EXPECT_OK(schema_set(&schema, "optim.lr=1", &other));
    schema_diff(&schema, &config, &other, collect, told);
    EXPECT_TEXT(told, "train.batch 512->256 fixed;optim.lr 0.0001->1 free;");
    told[0] = 0;
    schema_diff(&schema, &config, &config, collect, told);
    EXPECT_TEXT(told, "");
    uint64_t other_hash = schema_hash(&schema, &other);
    EXPECT(schema_hash(&schema, &config) != other_hash);
    EXPECT_OK(set("data.path=elsewhere"));
    EXPECT(schema_hash(&schema, &config) == other_hash);
    // Every key counts if and only if it is fixed.
    for (int i = 0; i < schema.rows; ++i) {
        bool text = rows[i].type == SCHEMA_TYPE_TEXT, no = rows[i].type == SCHEMA_TYPE_BOOL;
        char word[128];
        const char *value = no ? "false" : rows[i].choices ? strchr(rows[i].choices, '|') + 1 : "1";
        if (strcmp(value, rows[i].text) == 0) value = text ? "ddim" : "2";
        snprintf(word, sizeof word, "%s=%s", rows[i].key, value);
        EXPECT_OK(set(word));
        bool same = schema_hash(&schema, &config) == other_hash;
        bool changed = strcmp(value, rows[i].text) != 0;
        EXPECT(same == (!changed || rows[i].resume == SCHEMA_FREE));
    }
}

static void test_wrong_tables(void) {
    static const SchemaRow range[] = {
        SCHEMA_NUMBER(Config, train.grains, "1", 0, 0x1p31, UNIT_NONE, SCHEMA_FREE, "")};
    static const SchemaRow preset[] = {
        SCHEMA_NUMBER(Config, train.grains, "9", 0, 8, UNIT_NONE, SCHEMA_FREE, "")};
    static const SchemaRow twice[] = {SCHEMA_TEXT(Config, data.path, "", SCHEMA_FREE, ""),
                                      SCHEMA_TEXT(Config, data.path, "", SCHEMA_FREE, "")};
    static const SchemaRow split[] = {
        SCHEMA_TEXT(Config, data.path, "", SCHEMA_FREE, ""),
        SCHEMA_NUMBER(Config, train.batch, "1", 0, 1, UNIT_NONE, SCHEMA_FREE, ""),
        SCHEMA_SWITCH(Config, data.shuffle, "true", SCHEMA_FREE, "")};
    static const SchemaRow both[] = {
        SCHEMA_NUMBER_AS("data", Config, train.batch, "1", 0, 1, UNIT_NONE, SCHEMA_FREE, ""),
        SCHEMA_TEXT(Config, data.path, "", SCHEMA_FREE, "")};
    static const SchemaRow name[] = {
        SCHEMA_NUMBER(Config, train.halflife[0], "1", 0, 1, UNIT_NONE, SCHEMA_FREE, "")};
    const Schema wrong[] = {SCHEMA(Config, range), SCHEMA(Config, preset), SCHEMA(Config, twice),
                            SCHEMA(Config, split), SCHEMA(Config, both),   SCHEMA(Config, name)};
    EXPECT_FAIL(schema_defaults(&wrong[0], &config), BAD_CONFIG, "does not fit its field's type");
    EXPECT_FAIL(schema_defaults(&wrong[1], &config), BAD_CONFIG, "schema: train.grains is '9'");
    EXPECT_FAIL(schema_defaults(&wrong[2], &config), BAD_CONFIG, "'data.path' stands twice");
    EXPECT_FAIL(schema_defaults(&wrong[3], &config), BAD_CONFIG, "'data.shuffle' stands apart");
    EXPECT_FAIL(schema_defaults(&wrong[4], &config), BAD_CONFIG, "'data' is a key and a section");
    EXPECT_FAIL(schema_defaults(&wrong[5], &config), BAD_CONFIG, "is no good key");
}

int main(void) {
    RUN(test_defaults);
    RUN(test_yaml_forms);
    RUN(test_units);
    RUN(test_wrong_values);
    RUN(test_unknown_keys);
    RUN(test_yaml_structure);
    RUN(test_files);
    RUN(test_command_line);
    RUN(test_round_trip);
    RUN(test_format);
    RUN(test_help);
    RUN(test_diff_and_hash);
    RUN(test_wrong_tables);
    return test_report();
}
