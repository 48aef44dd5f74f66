// dye bench on a tiny model: every phase gives ratios that are numbers, and records with the
// machine's facts. How large they are is nobody's promise.
#include "base/file.h"
#include "base/json.h"
#include "data/pack/pack.h"
#include "launch/command.h"
#include "tests/test.h"

static char work[PATH_BYTES], config[PATH_BYTES], json_path[PATH_BYTES];

static void make_run(void) {
    snprintf(work, sizeof work, "%s", test_folder("bench"));
    char out[PATH_BYTES], text[4096];
    EXPECT_OK(path_format(out, "%s/points", work));
    PackConfig points = {.input = &(PackInput){"swiss-roll", NULL},
                         .inputs = 1,
                         .out = out,
                         .source.toy_items = 500};
    EXPECT_OK(pack(&points));
    EXPECT_OK(path_format(config, "%s/tiny.yaml", work));
    EXPECT_OK(path_format(json_path, "%s/bench.json", work));
    int bytes = snprintf(text, sizeof text,
                         "run: {dir: %s/parent/run}\n"
                         "data: {path: %s/points}\n"
                         "model: {family: mlp, width: 32, depth: 2}\n"
                         "process: {name: ddpm, steps: 50}\n"
                         "train: {steps: 12, batch: 24, grains: 6}\n"
                         "device: {threads: 2}\n",
                         work, work);
    EXPECT_OK(file_write_atomic(config, text, (size_t)bytes));
}

// Arguments are not changed by what takes them.
static Status run_bench(const char *const *words) {
    char *argv[16] = {(char *)(uintptr_t) "bench", config};
    int argc = 2;
    for (; *words != NULL; ++words) argv[argc++] = (char *)(uintptr_t)*words;
    return cmd_bench(argc, argv);
}

static bool is_number(const json_t *value) {
    return json_is_number(value) && isfinite(json_number_value(value));
}

static void check_record(const json_t *record) {
    static const char *const facts[] = {"commit", "date", "host", "cpu", "device", "cores"};
    const json_t *machine = json_object_get(record, "machine");
    for (size_t i = 0; i < sizeof facts / sizeof *facts; ++i) {
        const char *fact = json_string_value(json_object_get(machine, facts[i]));
        EXPECT(fact != NULL && fact[0] != '\0');
    }
    EXPECT_EQ(json_integer_value(json_object_get(machine, "ranks")), 1);
    EXPECT_EQ(json_integer_value(json_object_get(machine, "threads")), 2);
    EXPECT(is_number(json_object_get(record, "load_average")));
    EXPECT(json_object_get(record, "steal") != NULL);
    EXPECT(json_object_get(record, "foreign_load") != NULL);
    const char *name;
    json_t *value, *ratios = json_object_get(record, "ratios");
    EXPECT(json_object_size(ratios) > 0);
    json_object_foreach(ratios, name, value) {
        // Nothing need wait for data, or for a save.
        bool may_be_0 = strcmp(name, "wait_over_step") == 0 || strcmp(name, "stall_over_step") == 0;
        double ratio = json_number_value(value);
        if (!is_number(value) || !(may_be_0 ? ratio >= 0 : ratio > 0))
            TEST_FAIL("%s is no ratio: %g", name, ratio);
    }
    json_object_foreach(json_object_get(record, "figures"), name, value) {
        if (!is_number(value)) TEST_FAIL("%s is no number", name);
    }
}

// Returns the number of records, in the order of the phases' names.
static int check_json(const char *const *phases) {
    char *text;
    size_t bytes;
    int records = 0;
    EXPECT_OK(file_read(json_path, 1 << 20, &text, &bytes));
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n"), ++records) {
        json_t *record = NULL;
        EXPECT_OK(json_parse(line, strlen(line), "bench.json", &record));
        if (phases[records] == NULL) break;
        EXPECT_TEXT(json_string_value(json_object_get(record, "phase")), phases[records]);
        check_record(record);
        json_decref(record);
    }
    free(text);
    return records;
}

static void test_phases(void) {
    static const char *const phases[] = {"memory", "startup", "step",       "products",
                                         "loader", "reduce",  "checkpoint", NULL};
    const char *words[] = {"--seconds", "0.7", "--json", json_path, NULL};
    EXPECT_OK(run_bench(words));
    EXPECT_EQ(check_json(phases), 7);
}

static void test_only(void) {
    static const char *const phases[] = {"loader", "reduce", NULL};
    const char *words[] = {"--only", "reduce,loader", "--seconds", "0.1",
                           "--json", json_path,       NULL};
    EXPECT_OK(run_bench(words));
    EXPECT_EQ(check_json(phases), 2);
}

// A number of a row; 0 where there is none.
static double cell(const json_t *row, const char *column) {
    return json_number_value(json_object_get(row, column));
}

typedef struct {
    double percent, floor, flops; // of families
    int families, operations;
} RowSums;

// Families, below each its operations where there are several, which add up to it.
static RowSums add_rows(const json_t *rows) {
    static const char *const columns[] = {"ms a step", "GFLOP", "MB", "floor ms"};
    RowSums sums = {0};
    double left[4] = {0};
    bool apart = false; // operations of the family are told
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row) {
        const char *name = json_string_value(json_object_get(row, "name"));
        bool operation = name[0] == ' ';
        for (int k = 0; k < 4 && !operation; ++k) {
            if (apart) EXPECT_NEAR(left[k], 0, 1e-9);
            left[k] = cell(row, columns[k]);
        }
        for (int k = 0; k < 4 && operation; ++k) left[k] -= cell(row, columns[k]);
        apart = operation;
        if (cell(row, "floor ms") > 0)
            EXPECT_NEAR(cell(row, "over floor") * cell(row, "floor ms"), cell(row, "ms a step"),
                        1e-9);
        if (operation) ++sums.operations;
        if (operation) continue;
        sums.percent += cell(row, "% of it");
        sums.floor += cell(row, "floor ms");
        sums.flops += cell(row, "GFLOP") * 1e9;
        sums.families += name[0] != '(';
    }
    return sums;
}

static double megabytes(const json_t *rows, const char *name) {
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row) {
        if (strcmp(json_string_value(json_object_get(row, "name")), name) == 0)
            return cell(row, "MB");
    }
    return NAN;
}

// Two streams: arrays at the rate of copies, or products at the peak, each call for itself.
static void check_floors(const json_t *rows, const json_t *figures) {
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row) {
        double floor = cell(row, "floor ms"),
               copies = cell(row, "MB") / cell(figures, "copy_gb_s") / 2;
        double products = 1e3 * cell(row, "GFLOP") / cell(figures, "peak_fp32") / 2;
        if (products == 0) EXPECT_NEAR(floor, copies, 1e-9);
        EXPECT(floor > fmax(products, copies) - 1e-9 && floor < products + copies + 1e-9);
        if (products > 0)
            EXPECT_NEAR(cell(row, "of peak") * cell(row, "ms a step"), products, 1e-9);
    }
}

static void test_operations(void) {
    const char *words[] = {"--only", "step", "--seconds", "0.2", "--json", json_path, NULL};
    json_t *record = NULL;
    EXPECT_OK(run_bench(words));
    EXPECT_OK(json_read(json_path, &record));
    RowSums sums = add_rows(json_object_get(record, "rows"));
    EXPECT_EQ(sums.families, 6); // a network without attention
    EXPECT(sums.operations >= 10);
    EXPECT_NEAR(sums.percent, 100, 1e-6); // with what is in no operation
    check_floors(json_object_get(record, "rows"), json_object_get(record, "figures"));
    // A whole step: all parameters are updated once, and their gradient's norm is taken once.
    double gradient = 1e6 * megabytes(json_object_get(record, "rows"), "    sum_squares") - 8;
    double update = 1e6 * megabytes(json_object_get(record, "rows"), "optimizer, averages");
    EXPECT_NEAR(update, 11 * gradient, 1e-3);
    // By hand: 3 times the forward pass, less the gradients of the two inputs, for 24 samples.
    const json_t *figures = json_object_get(record, "figures");
    double step = cell(figures, "step_ms") * 1e-3;
    double forward = 256 * 32 + 5 * 32 * 32 + 2 * (2 * 32), inputs = 256 * 32 + 2 * 32;
    EXPECT_NEAR(sums.flops, 24 * 2 * (3 * forward - inputs), 1);
    EXPECT_NEAR(cell(figures, "model_gflops") * 1e9 * step, 24 * 2 * 3 * forward, 1);
    EXPECT_NEAR(cell(figures, "floor_ms"), sums.floor, 1e-9);
    EXPECT(cell(figures, "step_ms_p10") <= cell(figures, "step_ms"));
    EXPECT(cell(figures, "step_ms") <= cell(figures, "step_ms_p90"));
    EXPECT(cell(figures, "copy_gb_s") > 0);
    // Two streams of this one rank.
    const json_t *ratios = json_object_get(record, "ratios");
    EXPECT_NEAR(cell(ratios, "step_over_floor") * sums.floor, cell(figures, "step_ms"), 1e-6);
    EXPECT_NEAR(cell(ratios, "model_flops_of_peak") * 2 * cell(figures, "peak_fp32"),
                cell(figures, "model_gflops"), 1e-6);
    json_decref(record);
}

static void test_nothing_left(void) {
    char **names, path[PATH_BYTES];
    int count;
    EXPECT_OK(folder_names(work, &names, &count));
    EXPECT_EQ(count, 3); // points, tiny.yaml, bench.json
    folder_names_free(names, count);
    EXPECT_OK(path_format(path, "%s/parent", work));
    EXPECT(!file_exists(path));
}

static void test_usage(void) {
    EXPECT_FAIL(run_bench((const char *const[]){"--only", "step,speed", NULL}), BAD_USAGE,
                "'speed'; choose among: memory, startup, step, products, loader, reduce, check");
    EXPECT_FAIL(run_bench((const char *const[]){"--only", "", NULL}), BAD_USAGE, "choose among");
    EXPECT_FAIL(run_bench((const char *const[]){"--seconds", "soon", NULL}), BAD_USAGE, "number");
    EXPECT_FAIL(cmd_bench(1, (char *[]){config, NULL}), BAD_USAGE, "which configuration?");
}

int main(void) {
    make_run();
    RUN(test_usage);
    RUN(test_phases);
    RUN(test_only);
    RUN(test_operations);
    RUN(test_nothing_left);
    return test_report();
}
