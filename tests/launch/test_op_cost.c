// The least work of operations: closed forms, an enumeration of who reads whom, and the products of
// whole networks against their own count of operations.
#include <string.h>

#include "launch/bench/op_cost.h"
#include "tests/model/support_network.h"
#include "tests/test.h"

static char some; // whatever is given
#define GIVEN ((void *)&some)

static void expect_cost(OpCost cost, double flops, double bytes) {
    EXPECT_EQ(cost.flops, flops);
    EXPECT_EQ(cost.bytes, bytes);
}

// n rows, d -> 4 d with GELU in bf16: 18 d bytes a token (x, GELU, its argument), as reckoned by
// hand for fc1 of a DiT, and the weights.
static void test_linear(void) {
    double n = 256, d = 96;
    LinearLayer fc_1 = {.x = GIVEN,
                        .w = GIVEN,
                        .bias = GIVEN,
                        .slope = GIVEN,
                        .y = GIVEN,
                        .rows = 256,
                        .in = 96,
                        .out = 4 * 96,
                        .act = ACT_GELU,
                        .half = true};
    OpCost cost = op_cost(OP_linear_forward, &fc_1);
    expect_cost(cost, 8 * n * d * d, 18 * d * n + 2 * 4 * d * d + 4 * 4 * d);
    EXPECT(cost.half);
    fc_1.half = false, fc_1.slope = NULL, fc_1.bias = NULL;
    cost = op_cost(OP_linear_forward, &fc_1);
    expect_cost(cost, 8 * n * d * d, 20 * d * n + 4 * 4 * d * d);
    EXPECT(!cost.half);
}

static void test_linear_grad(void) {
    double n = 256, d = 96, weights = 4 * 4 * d * d;
    LinearLayer fc_2 = {.x = GIVEN,
                        .w = GIVEN,
                        .dy = GIVEN,
                        .slope = GIVEN,
                        .dx = GIVEN,
                        .dw = (float *)GIVEN,
                        .dbias = (float *)GIVEN,
                        .rows = 256,
                        .in = 4 * 96,
                        .out = 96,
                        .half = true};
    // dy, x, slope and dx of the rows; w; dw and dbias.
    double bytes = n * (2 + 8 + 8 + 8) * d + weights / 2 + weights + 4 * d;
    expect_cost(op_cost(OP_linear_grad, &fc_2), 16 * n * d * d, bytes);
    fc_2.accumulate = true;
    expect_cost(op_cost(OP_linear_grad, &fc_2), 16 * n * d * d, bytes + weights + 4 * d);
    fc_2.dx = NULL, fc_2.accumulate = false; // neither w nor the slope is read
    expect_cost(op_cost(OP_linear_grad, &fc_2), 8 * n * d * d, n * (2 + 8) * d + weights + 4 * d);
}

// 8 d bytes a token forward, 16 d backward in bf16; and one number of each row of a head.
static void test_attention(void) {
    Attention args = {
        .lse = (float *)GIVEN, .samples = 3, .tokens = 20, .heads = 2, .head_dim = 8, .half = true};
    double n = 3 * 20, d = 16, lse = 4 * 3 * 2 * 20;
    expect_cost(op_cost(OP_attention_forward, &args), 4 * n * 20 * d, 8 * n * d + lse);
    expect_cost(op_cost(OP_attention_grad, &args), 8 * n * 20 * d, 16 * n * d + lse);
    EXPECT(op_cost(OP_attention_grad, &args).half);
    args.half = false;
    expect_cost(op_cost(OP_attention_forward, &args), 4 * n * 20 * d, 16 * n * d + lse);
}

// Blocks: as many products as there are pairs that attention_reads tells of.
static void test_attention_blocks(void) {
    static const Attention cases[] = {
        {.samples = 1, .tokens = 24, .heads = 1, .head_dim = 1, .block = 4},
        {.samples = 1, .tokens = 12, .heads = 1, .head_dim = 1, .block = 6},
        {.samples = 1,
         .tokens = 12,
         .heads = 1,
         .head_dim = 1,
         .block = 3,
         .from = 6,
         .cached = 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
        const Attention *args = &cases[i];
        int64_t queries = args->cached ? args->block : args->tokens, pairs = 0;
        for (int64_t t = 0; t < queries; ++t)
            for (int64_t u = 0; u < args->tokens; ++u) pairs += attention_reads(args, t, u);
        EXPECT_EQ(op_cost(OP_attention_forward, args).flops, 4 * (double)pairs);
    }
    // Cached: q of the block, k and v up to its end, out of the block.
    EXPECT_EQ(op_cost(OP_attention_forward, &cases[2]).bytes, 4 * (3 + 2 * 9 + 3));
}

// The residual stream in fp32, the rest in bf16: x 4, branch 2, sum 4, y 2 bytes a number; backward
// sum 4, branch 2, dy 2, dsum 4 + 4, dbranch 2. Mean and deviation; rows of the modulation.
static void test_norm(void) {
    double n = 2 * 5, d = 48, row = 4 * 2 * d;
    ResidualNorm args = {
        .branch = GIVEN, .samples = 2, .tokens = 5, .width = 48, .half = true, .branch_half = true};
    expect_cost(op_cost(OP_residual_norm_forward, &args), 0, 12 * n * d + 8 * n + 3 * row);
    expect_cost(op_cost(OP_residual_norm_grad, &args), 0, 18 * n * d + 8 * n + 5 * row);
    args.branch = NULL; // the first layer: x is the sum, and there is no gate
    expect_cost(op_cost(OP_residual_norm_forward, &args), 0, 6 * n * d + 8 * n + 2 * row);
    expect_cost(op_cost(OP_residual_norm_grad, &args), 0, 14 * n * d + 8 * n + 3 * row);
}

// The gradient 4 bytes; w, m, v and two averages 8 each: 36 with one average, without a bf16 copy.
static void test_optimizer(void) {
    expect_cost(op_cost(OP_adamw_ema, &(AdamwEma){.n = 1000}), 0, (36 + 8) * 1000);
    expect_cost(op_cost(OP_adamw_ema, &(AdamwEma){.n = 1000, .half = &op_cost}), 0, 46 * 1000);
    expect_cost(op_cost(OP_halve, &(Elementwise){.n = 1000}), 0, 6 * 1000);
    expect_cost(op_cost(OP_add_up, &(AddUp){.n = 1000, .chunk = 300}), 0, 4000 + 4 * 8);
    expect_cost(op_cost(OP_add_up, &(AddUp){.n = 9, .chunk = 3, .wide = true}), 0, 9 * 8 + 3 * 8);
    GradScale scale = {.losses = 8, .squares = 20, .ranks = 4};
    expect_cost(op_cost(OP_grad_scale, &scale), 0, (32 + GRAD_RESULTS) * 8);
    expect_cost(op_cost(OP_sum_squares, &(SumSquares){.n = 1000, .chunk = 300}), 0, 4000 + 4 * 8);
    expect_cost(op_cost(OP_fingerprint, &(Fingerprint){.n = 1000}), 0, 4008);
}

static void test_elementwise(void) {
    Elementwise args = {.n = 10};
    expect_cost(op_cost(OP_axpby, &args), 0, 80); // what y held is not read
    args.b = 1;
    expect_cost(op_cost(OP_axpby, &args), 0, 120);
    expect_cost(op_cost(OP_multiply, &args), 0, 120);
    expect_cost(op_cost(OP_logit, &args), 0, 80);
    expect_cost(op_cost(OP_activation_forward, &args), 0, 80);
    args.slope = (float *)GIVEN;
    expect_cost(op_cost(OP_activation_forward, &args), 0, 120);
    Dropout dropout = {.samples = 2, .item = 5, .half = true};
    expect_cost(op_cost(OP_dropout, &dropout), 0, 40 + 16);
    Patches patches = {.samples = 2, .channels = 3, .height = 4, .width = 4, .patch = 2};
    expect_cost(op_cost(OP_patch_forward, &patches), 0, 2 * 4 * 2 * 3 * 16);
    expect_cost(op_cost(OP_patch_back, &patches), 0, 2 * 4 * 2 * 3 * 16);
    Fourier fourier = {.samples = 2, .item = 3};
    expect_cost(op_cost(OP_fourier_forward, &fourier), 0, 4 * 6 * (1 + 5));
    expect_cost(op_cost(OP_fourier_grad, &fourier), 0, 4 * 6 * (1 + 5 + 1));
}

// A table of 7 rows of 3 numbers, looked up 20 times, or twice.
static void test_embedding(void) {
    Embed args = {.ids = (int32_t *)GIVEN, .rows = 20, .width = 3, .entries = 7};
    expect_cost(op_cost(OP_embed_forward, &args), 0, 4 * (7 * 3 + 20 * 3 + 20));
    expect_cost(op_cost(OP_embed_grad, &args), 0, 4 * (20 * 3 + 20 + 7 * 3));
    args.rows = 2, args.accumulate = true;
    expect_cost(op_cost(OP_embed_forward, &args), 0, 4 * (2 * 3 + 2 * 3 + 2));
    expect_cost(op_cost(OP_embed_grad, &args), 0, 4 * (2 * 3 + 2 + 2 * 2 * 3));
    Embed positions = {.add = (float *)GIVEN, .rows = 20, .width = 3, .add_rows = 5};
    expect_cost(op_cost(OP_embed_forward, &positions), 0, 4 * (20 * 3 + 20 * 3 + 5 * 3));
}

static void test_losses(void) {
    double level = sizeof(GaussianLevel);
    Gaussian args = {.x_0 = (float *)GIVEN,
                     .out = (float *)GIVEN,
                     .sample = (uint64_t *)GIVEN,
                     .level = (GaussianLevel *)GIVEN,
                     .x_t = (float *)GIVEN,
                     .target = (float *)GIVEN,
                     .dout = (float *)GIVEN,
                     .loss = (float *)GIVEN,
                     .samples = 2,
                     .item = 6};
    expect_cost(op_cost(OP_gaussian_corrupt, &args), 0, 2 * (3 * 24 + 8 + level));
    expect_cost(op_cost(OP_gaussian_loss, &args), 0, 2 * (3 * 24 + 4 + level));
    expect_cost(op_cost(OP_gaussian_huber, &args), 0, 2 * (4 * 24 + 4 + level));
    expect_cost(op_cost(OP_gaussian_hat, &args), 0, 2 * (3 * 24 + level));
    expect_cost(op_cost(OP_gaussian_terms, &args), 0, 2 * (5 * 24 + 4 + level));
    args.has_variance = true; // twice as much in and out of the network
    expect_cost(op_cost(OP_gaussian_terms, &args), 0, 2 * (7 * 24 + 4 + level));
    Categorical symbols = {.logits = (float *)GIVEN,
                           .dlogits = (float *)GIVEN,
                           .loss = (float *)GIVEN,
                           .samples = 2,
                           .item = 6,
                           .classes = 27};
    expect_cost(op_cost(OP_categorical_loss, &symbols), 0, 2 * (2 * 24 * 27 + 2 * 24 + 4));
    expect_cost(op_cost(OP_categorical_corrupt, &symbols), 0, 2 * 2 * 24);
    ClassLoss classes = {.samples = 2, .places = 3, .classes = 5, .dout = (float *)GIVEN};
    expect_cost(op_cost(OP_class_loss, &classes), 0, 2 * (2 * 60 + 4 + 4 + 8));
}

// What an operation is, is told for each of them; no operation is free.
static void test_families(void) {
    int count[FAMILIES] = {0};
    for (int op = 0; op < OPS; ++op) ++count[op_family(op)];
    for (int family = 0; family < FAMILIES; ++family) {
        EXPECT(count[family] > 0);
        EXPECT(op_family_name((OpFamily)family) != NULL);
    }
    EXPECT_EQ(count[FAMILY_PRODUCTS], 2);
    EXPECT_EQ(count[FAMILY_ATTENTION], 2);
    EXPECT_EQ(count[FAMILY_OPTIMIZER], 2);
    EXPECT_EQ(count[FAMILY_SUMS], 5);
    EXPECT_TEXT(op_name(OP_adamw_ema), "adamw_ema");
    EXPECT_EQ(op_family(OP_residual_norm_grad), FAMILY_NORMS);
    EXPECT_EQ(op_family(OP_categorical_loss), FAMILY_LOSS);
    EXPECT_EQ(op_family(OP_embed_grad), FAMILY_EMBEDDING);
}

// ---- whole networks ---------------------------------------------------------------------------

// A backend that adds up what it is asked for, in front of the CPU's.
static const Backend *behind;
static Backend counting;
static double counted;

#define COUNT(name, Args, pointers)                                                                \
    static void count_##name(Stream *stream, const Args *args) {                                   \
        counted += op_cost(OP_##name, args).flops;                                                 \
        behind->name(stream, args);                                                                \
    }
BACKEND_OPS(COUNT)
#undef COUNT

static Status counting_open(const DeviceConfig *config, Device **out) {
    DeviceConfig cpu = *config;
    cpu.backend = "cpu";
    TRY(device_open(&cpu, out));
    behind = (*out)->backend;
    counting = *behind;
#define COUNTING(name, Args, pointers) counting.name = count_##name;
    BACKEND_OPS(COUNTING)
#undef COUNTING
    for (int i = 0; i < (*out)->streams; ++i) (*out)->stream[i]->backend = &counting;
    return STATUS_OK;
}

// Forward and backward of `c`, each gradient wanted.
static double count_products(const NetworkCase *c) {
    counted = 0;
    NetworkResult result =
        network_case_run(c, (NetworkRunOptions){.backend = "counting", .passes = 1});
    network_result_close(&result);
    return counted;
}

// With the gradients of x and of the time nothing is left out of three times the forward pass.
static void expect_three_passes(const NetworkConfig *config, const NetworkShape *shape) {
    NetworkCase c;
    network_case_open(&c, config, shape, 3, 1);
    EXPECT_EQ(count_products(&c), 3 * 3 * network_forward_flops(c.network));
    network_case_close(&c);
}

static void test_networks(void) {
    NetworkConfig config = {.family = "dit",
                            .width = 32,
                            .depth = 3,
                            .heads = 4,
                            .patch = 2,
                            .mlp_ratio = 4,
                            .precision = "fp32",
                            .timestep_freq = "div-127"};
    NetworkShape pictures = {.channels = 3,
                             .height = 8,
                             .width = 8,
                             .out_channels = 6,
                             .classes = 10,
                             .time_input = true};
    NetworkShape text = {.tokens = true,
                         .length = 16,
                         .vocabulary = 11,
                         .out_channels = 11,
                         .classes = 1,
                         .time_input = true};
    expect_three_passes(&config, &pictures);
    expect_three_passes(&config, &text);
    snprintf(config.precision, sizeof config.precision, "bf16");
    expect_three_passes(&config, &pictures);
    NetworkConfig mlp = config;
    NetworkShape points = {
        .channels = 2, .height = 1, .width = 1, .out_channels = 2, .time_input = true};
    snprintf(mlp.family, sizeof mlp.family, "mlp");
    snprintf(mlp.precision, sizeof mlp.precision, "fp32");
    expect_three_passes(&mlp, &points);
}

// Blocks: the model's count has all pairs of tokens, of which a step needs (1 + block/places)/4.
static void test_network_of_blocks(void) {
    NetworkConfig config = {.family = "dit",
                            .width = 32,
                            .depth = 2,
                            .heads = 4,
                            .patch = 1,
                            .mlp_ratio = 4,
                            .precision = "fp32",
                            .timestep_freq = "div-127"};
    NetworkShape shape = {.tokens = true,
                          .length = 16,
                          .vocabulary = 11,
                          .out_channels = 11,
                          .classes = 1,
                          .time_input = true,
                          .block = 4};
    NetworkCase c;
    network_case_open(&c, &config, &shape, 3, 1);
    double all_pairs = 2 * 4.0 * 32 * 32 * 32; // blocks, flops, tokens, tokens, width
    double needed = all_pairs * (1 + 4.0 / 16) / 4;
    EXPECT_EQ(count_products(&c), 3 * 3 * (network_forward_flops(c.network) - all_pairs + needed));
    network_case_close(&c);
}

int main(void) {
    backend_register(&(Backend){.name = "counting", .open = counting_open});
    RUN(test_linear);
    RUN(test_linear_grad);
    RUN(test_attention);
    RUN(test_attention_blocks);
    RUN(test_norm);
    RUN(test_optimizer);
    RUN(test_elementwise);
    RUN(test_embedding);
    RUN(test_losses);
    RUN(test_families);
    RUN(test_networks);
    RUN(test_network_of_blocks);
    return test_report();
}
