// DiT against numbers of the original code and of diffusers: whole outputs, positions, time
// features, sizes, names, initial values, refusals.
#include "tests/model/support_network.h"
#include "tests/test.h"

static NetworkConfig small_config(const char *timestep_freq) {
    NetworkConfig config = {
        .family = "dit", .width = 16, .depth = 2, .heads = 2, .patch = 2, .mlp_ratio = 4};
    snprintf(config.timestep_freq, sizeof config.timestep_freq, "%s", timestep_freq);
    return config;
}

static NetworkShape small_shape(void) {
    return (NetworkShape){.channels = 2,
                          .height = 4,
                          .width = 4,
                          .out_channels = 4,
                          .classes = 3,
                          .time_input = true};
}

// Tensors of the original in its own order, of two blocks.
static const char *const original_order[] = {
    "x_embedder.proj.weight",
    "x_embedder.proj.bias",
    "t_embedder.mlp.0.weight",
    "t_embedder.mlp.0.bias",
    "t_embedder.mlp.2.weight",
    "t_embedder.mlp.2.bias",
    "y_embedder.embedding_table.weight",
    "blocks.0.attn.qkv.weight",
    "blocks.0.attn.qkv.bias",
    "blocks.0.attn.proj.weight",
    "blocks.0.attn.proj.bias",
    "blocks.0.mlp.fc1.weight",
    "blocks.0.mlp.fc1.bias",
    "blocks.0.mlp.fc2.weight",
    "blocks.0.mlp.fc2.bias",
    "blocks.0.adaLN_modulation.1.weight",
    "blocks.0.adaLN_modulation.1.bias",
    "blocks.1.attn.qkv.weight",
    "blocks.1.attn.qkv.bias",
    "blocks.1.attn.proj.weight",
    "blocks.1.attn.proj.bias",
    "blocks.1.mlp.fc1.weight",
    "blocks.1.mlp.fc1.bias",
    "blocks.1.mlp.fc2.weight",
    "blocks.1.mlp.fc2.bias",
    "blocks.1.adaLN_modulation.1.weight",
    "blocks.1.adaLN_modulation.1.bias",
    "final_layer.linear.weight",
    "final_layer.linear.bias",
    "final_layer.adaLN_modulation.1.weight",
    "final_layer.adaLN_modulation.1.bias",
};
enum { ORIGINAL_TENSORS = sizeof original_order / sizeof original_order[0] };

typedef struct {
    const char *timestep_freq;
    double out[4], last, sum, sum_abs;
} KnownAnswer;

// Both sources run in float64 with tensor k = 0.2 sin(1 + j + 100 k), input cos(j), t 500, label 1.
static const KnownAnswer known[] = {
    {"div-128", {-0.6839664, 0.2522084, -0.7328707, 0.4550544}, 1.0412273, 0.1095875, 28.3291187},
    {"div-127", {-0.6902348, 0.2553143, -0.7210864, 0.4703929}, 1.0518694, 0.1281855, 28.5795101},
};

static void known_case_open(NetworkCase *c, const char *timestep_freq) {
    NetworkConfig config = small_config(timestep_freq);
    NetworkShape shape = small_shape();
    network_case_open(c, &config, &shape, 1, 1);
    int64_t set = 0;
    for (int k = 0; k < ORIGINAL_TENSORS; ++k) {
        const Param *param = params_find(&c->params, original_order[k]);
        EXPECT(param != NULL);
        if (param == NULL) continue;
        for (int64_t j = 0; j < param->size; ++j)
            c->weights[param->offset + j] = (float)(0.2 * sin(1.0 + (double)j + 100.0 * k));
        set += param->size;
    }
    EXPECT_EQ(set, c->params.size);
    EXPECT_EQ(c->params.count, ORIGINAL_TENSORS);
    for (int j = 0; j < 32; ++j) c->x[j] = (float)cos(j);
    c->time[0] = 500;
    c->label[0] = 1;
}

static void expect_known(const KnownAnswer *answer, const double *out, double tolerance) {
    double sum = 0, sum_abs = 0;
    for (int i = 0; i < 64; ++i) sum += out[i], sum_abs += fabs(out[i]);
    for (int i = 0; i < 4; ++i) EXPECT_NEAR(out[i], answer->out[i], tolerance);
    EXPECT_NEAR(out[63], answer->last, tolerance);
    EXPECT_NEAR(sum, answer->sum, 64 * tolerance);
    EXPECT_NEAR(sum_abs, answer->sum_abs, 64 * tolerance);
}

static void test_known_answer(void) {
    for (int i = 0; i < 2; ++i) {
        NetworkCase c;
        known_case_open(&c, known[i].timestep_freq);
        NetworkResult result = network_case_run(&c, (NetworkRunOptions){.backend = "cpu"});
        double out[64];
        for (int e = 0; e < 64; ++e) out[e] = (double)result.out[e];
        expect_known(&known[i], out, 3e-6);
        network_result_close(&result);
        network_case_close(&c);
    }
}

// The float64 reference of the other tests is itself right.
static void test_known_answer_of_reference(void) {
    for (int i = 0; i < 2; ++i) {
        NetworkCase c;
        ReferenceCase reference;
        known_case_open(&c, known[i].timestep_freq);
        reference_case_open(&c, &reference);
        reference_forward(&reference.reference, reference.out);
        expect_known(&known[i], reference.out, 1e-6);
        reference_case_close(&reference);
        network_case_close(&c);
    }
}

static void test_time_features(void) {
    static const int index[] = {0, 1, 2, 64, 127, 128, 129, 255};
    static const double value_128[] = {-0.883849, 0.945946,  0.848507, 0.283662,
                                       0.998557,  -0.467772, 0.324324, 0.053705};
    static const double value_127[] = {-0.883849, 0.997773,  0.499335, 0.109334,
                                       0.998750,  -0.467772, 0.066699, 0.049979};
    for (int i = 0; i < 2; ++i) {
        NetworkCase c;
        NetworkConfig config = small_config(i == 0 ? "div-128" : "div-127");
        NetworkShape shape = small_shape();
        network_case_open(&c, &config, &shape, 1, 1);
        float features[TIME_FEATURES];
        network_time_features(c.network, 500, features);
        for (int k = 0; k < 8; ++k)
            EXPECT_NEAR((double)features[index[k]], i == 0 ? value_128[k] : value_127[k], 5e-5);
        // In exact arithmetic.
        if (i == 0) {
            EXPECT_NEAR((double)features[1], 0.945943, 6e-7);
            EXPECT_NEAR((double)features[2], 0.848515, 6e-7);
        }
        network_case_close(&c);
    }
}

static float *table_of(const NetworkConfig *config, const NetworkShape *shape, int64_t *n) {
    Params params;
    Network *network = NULL;
    params_init(&params);
    EXPECT_OK(network_open(config, shape, &params, &network));
    size_t bytes = network_table_bytes(network);
    float *table = malloc(bytes);
    network_table_fill(network, table);
    *n = (int64_t)(bytes / sizeof(float));
    network_close(network);
    params_close(&params);
    return table;
}

static void test_image_positions(void) {
    NetworkConfig config = small_config("div-127");
    NetworkShape shape = small_shape();
    config.width = 8;
    int64_t n;
    float *table = table_of(&config, &shape, &n);
    EXPECT_EQ(n, 4 * 8);
    static const double token_1[] = {.84147098, .00999983, .54030231, .99995, 0, 0, 1, 1};
    static const double token_2[] = {0, 0, 1, 1, .84147098, .00999983, .54030231, .99995};
    EXPECT_ALL_NEAR(table + 8, token_1, 8, 1e-7);
    EXPECT_ALL_NEAR(table + 16, token_2, 8, 1e-7);
    free(table);

    config.width = 1152;
    shape.height = shape.width = 32;
    table = table_of(&config, &shape, &n);
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += (double)table[i];
    EXPECT_NEAR(sum, 134598.948, 6e-4);
    free(table);
}

static void test_token_positions(void) {
    NetworkConfig config = small_config("div-127");
    NetworkShape shape = {.tokens = true, .length = 7, .vocabulary = 5, .out_channels = 5};
    config.width = 4;
    config.patch = 1;
    int64_t n;
    float *table = table_of(&config, &shape, &n);
    EXPECT_EQ(n, 7 * 4);
    for (int t = 0; t < 7; ++t) {
        double row[] = {sin(t), sin(t / 100.0), cos(t), cos(t / 100.0)};
        EXPECT_ALL_NEAR(table + t * 4, row, 4, 1e-7);
    }
    free(table);
}

// Trainable parameters of DiT-S/2 and DiT-XL/2.
static void test_sizes(void) {
    NetworkConfig config = {.family = "dit",
                            .width = 384,
                            .depth = 12,
                            .heads = 6,
                            .patch = 2,
                            .mlp_ratio = 4,
                            .timestep_freq = "div-128"};
    NetworkShape shape = {.channels = 4,
                          .height = 32,
                          .width = 32,
                          .out_channels = 8,
                          .classes = 1000,
                          .time_input = true};
    static const int64_t sizes[] = {32865056, 674834720};
    for (int i = 0; i < 2; ++i) {
        Params params;
        Network *network = NULL;
        params_init(&params);
        if (i == 1) config.width = 1152, config.depth = 28, config.heads = 16;
        EXPECT_OK(network_open(&config, &shape, &params, &network));
        EXPECT_EQ(params.size, sizes[i]);
        EXPECT_EQ(params.count, 10 * config.depth + 11);
        // Published: 6.06 and 118.64 Gflop, counted as multiply-adds of the layers.
        double gflop = network_forward_flops(network) / 2e9;
        EXPECT_NEAR(gflop, i == 0 ? 6.06 : 118.64, i == 0 ? 0.05 : 0.3);
        EXPECT_EQ(network_in_item(network), 4 * 32 * 32);
        EXPECT_EQ(network_out_item(network), 8 * 32 * 32);
        network_close(network);
        params_close(&params);
    }
}

static void expect_init(const Params *params, const char *name, InitKind init, double scale) {
    const Param *param = params_find(params, name);
    EXPECT(param != NULL);
    if (param == NULL) return;
    EXPECT_EQ(param->init, init);
    if (init != INIT_ZERO) EXPECT_NEAR((double)param->scale, scale, 1e-7);
}

static void test_initial_values(void) {
    NetworkCase c;
    known_case_open(&c, "div-127");
    expect_init(&c.params, "x_embedder.proj.weight", INIT_UNIFORM, sqrt(6.0 / (8 + 16)));
    expect_init(&c.params, "t_embedder.mlp.0.weight", INIT_NORMAL, 0.02);
    expect_init(&c.params, "t_embedder.mlp.2.weight", INIT_NORMAL, 0.02);
    expect_init(&c.params, "y_embedder.embedding_table.weight", INIT_NORMAL, 0.02);
    expect_init(&c.params, "blocks.1.attn.qkv.weight", INIT_UNIFORM, sqrt(6.0 / (16 + 48)));
    expect_init(&c.params, "blocks.1.attn.proj.weight", INIT_UNIFORM, sqrt(6.0 / (16 + 16)));
    expect_init(&c.params, "blocks.0.mlp.fc1.weight", INIT_UNIFORM, sqrt(6.0 / (16 + 64)));
    expect_init(&c.params, "blocks.0.mlp.fc2.weight", INIT_UNIFORM, sqrt(6.0 / (64 + 16)));
    expect_init(&c.params, "blocks.0.adaLN_modulation.1.weight", INIT_ZERO, 0);
    expect_init(&c.params, "final_layer.adaLN_modulation.1.weight", INIT_ZERO, 0);
    expect_init(&c.params, "final_layer.linear.weight", INIT_ZERO, 0);
    for (int i = 0; i < c.params.count; ++i) {
        const Param *param = &c.params.list[i];
        EXPECT_EQ(param->decay, param->dims > 1);
        if (param->dims == 1) EXPECT_EQ(param->init, INIT_ZERO);
    }
    // Input side first, output last.
    EXPECT_TEXT(c.params.list[0].name, "x_embedder.proj.weight");
    EXPECT_TEXT(c.params.list[c.params.count - 1].name, "final_layer.linear.bias");
    // adaLN-zero: at the start the output is zero whatever goes in.
    params_draw(&c.params, 7, 0, c.params.size, c.weights);
    NetworkResult result = network_case_run(&c, (NetworkRunOptions){.backend = "cpu"});
    for (int i = 0; i < 64; ++i) EXPECT_EQ(result.out[i] == 0.0f, 1);
    network_result_close(&result);
    network_case_close(&c);
}

static Status open_status(const NetworkConfig *config, const NetworkShape *shape) {
    Params params;
    Network *network = NULL;
    params_init(&params);
    Status status = network_open(config, shape, &params, &network);
    if (status == STATUS_OK) network_close(network);
    if (status != STATUS_OK) EXPECT_EQ(params.count, 0);
    params_close(&params);
    return status;
}

#define REFUSED(assignment, part)                                                                  \
    do {                                                                                           \
        NetworkConfig config = small_config("div-127");                                            \
        NetworkShape shape = small_shape();                                                        \
        assignment;                                                                                \
        EXPECT_FAIL(open_status(&config, &shape), BAD_CONFIG, part);                               \
    } while (0)

static void test_refusals(void) {
    REFUSED(strcpy(config.family, "unet"), "model.family is 'unet'; it must be dit, mlp or fsq");
    REFUSED(config.width = 18, "model.width is 18; it must be a multiple of 4");
    REFUSED(config.width = 0, "model.width is 0");
    REFUSED(config.heads = 3, "model.heads is 3; it must divide model.width 16: 1, 2, 4, 8, 16");
    REFUSED(config.heads = 0, "model.heads is 0");
    REFUSED(config.patch = 3, "model.patch is 3; it must divide the image's 4 x 4: 1, 2, 4");
    REFUSED(config.patch = 0, "model.patch is 0");
    REFUSED((shape.tokens = true, shape.length = 5, shape.vocabulary = 9),
            "model.patch is 2; it must divide data.length 5 and model.width 16: 1");
    REFUSED(strcpy(config.family, "mlp"), "model.family is mlp, which takes vectors");
}

int main(void) {
    RUN(test_known_answer_of_reference);
    RUN(test_known_answer);
    RUN(test_time_features);
    RUN(test_image_positions);
    RUN(test_token_positions);
    RUN(test_sizes);
    RUN(test_initial_values);
    RUN(test_refusals);
    return test_report();
}
