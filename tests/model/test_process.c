// What both families share: configuration errors, times, labels, keys and the memory of a pass.
#include "model/process/process_impl.h"
#include "tests/model/support_process.h"
#include "tests/test.h"

// ---- configuration ----------------------------------------------------------------------------

static Status try_open(const ProcessConfig *config, NetworkShape shape) {
    Process *process;
    Status status = process_open(config, &shape, &process);
    if (status == STATUS_OK) process_close(process);
    return status;
}

static void test_wrong_configs_are_told(void) {
    ProcessConfig good = config_gaussian("cosine", "eps", "fixed-small"), c = good;
    EXPECT_OK(try_open(&good, shape_vector(2)));
    snprintf(c.name, sizeof c.name, "gaussian");
    EXPECT_FAIL(try_open(&c, shape_vector(2)), BAD_CONFIG,
                "process.name is \"gaussian\"; choose one of: ddpm, gaussian2015, ");
    c = good, snprintf(c.head, sizeof c.head, "score");
    EXPECT_FAIL(try_open(&c, shape_vector(2)), BAD_CONFIG, "choose one of: eps, x0, v");
    c = good, snprintf(c.schedule, sizeof c.schedule, "sigmoid");
    EXPECT_FAIL(try_open(&c, shape_vector(2)), BAD_CONFIG, "process.schedule is \"sigmoid\"");
    c = good, snprintf(c.variance, sizeof c.variance, "none");
    EXPECT_FAIL(try_open(&c, shape_vector(2)), BAD_CONFIG, "fixed-small, fixed-large");
    c = good, snprintf(c.variance, sizeof c.variance, "learned");
    EXPECT_FAIL(try_open(&c, shape_vector(2)), BAD_CONFIG, "the simple loss does not train");
    c = good, snprintf(c.loss, sizeof c.loss, "hybrid");
    EXPECT_FAIL(try_open(&c, shape_vector(2)), BAD_CONFIG, "set process.variance");
    c = good, snprintf(c.times, sizeof c.times, "second-moment");
    EXPECT_FAIL(try_open(&c, shape_vector(2)), BAD_CONFIG, "process.loss: vlb");
    c = config_multinomial(10), snprintf(c.head, sizeof c.head, "eps");
    EXPECT_FAIL(try_open(&c, shape_tokens(4, 27)), BAD_CONFIG, "says nothing to multinomial");
    c = good, c.steps = 0;
    EXPECT_FAIL(try_open(&c, shape_vector(2)), BAD_CONFIG, "process.steps is 0");
    c = config_gaussian("linear", "eps", "fixed-small"), c.steps = 20;
    EXPECT_FAIL(try_open(&c, shape_vector(2)), BAD_CONFIG, "at least 21");
    c.steps = 21;
    EXPECT_OK(try_open(&c, shape_vector(2)));
}

static void test_process_fits_the_data(void) {
    ProcessConfig gaussian = config_gaussian("cosine", "eps", "fixed-small");
    ProcessConfig multinomial = config_multinomial(10);
    EXPECT_FAIL(try_open(&gaussian, shape_tokens(4, 27)), BAD_CONFIG, "choose multinomial");
    EXPECT_FAIL(try_open(&multinomial, shape_image(8)), BAD_CONFIG, "choose ddpm");
    EXPECT_FAIL(try_open(&multinomial, shape_tokens(4, 1)), BAD_CONFIG, "have 1 symbols");
    EXPECT_FAIL(try_open(&multinomial, shape_tokens(4, 1025)), BAD_CONFIG, "2 to 1024");
    snprintf(multinomial.schedule, sizeof multinomial.schedule, "linear");
    EXPECT_FAIL(try_open(&multinomial, shape_tokens(4, 27)), BAD_CONFIG, "choose one of: cosine");
}

static Status try_sampler(const Process *process, const char *solver, int steps, float eta) {
    SamplerConfig config = {.steps = steps, .guidance = 1, .eta = eta};
    snprintf(config.solver, sizeof config.solver, "%s", solver);
    Sampler *sampler;
    Status status = sampler_open(process, &config, &sampler);
    if (status == STATUS_OK) sampler_close(sampler);
    return status;
}

static void test_wrong_samplers_are_told(void) {
    ProcessConfig gaussian = config_gaussian("cosine", "eps", "fixed-small");
    ProcessConfig multinomial = config_multinomial(10);
    NetworkShape vector = shape_vector(2), tokens = shape_tokens(4, 27);
    Process *a, *b;
    EXPECT_OK(process_open(&gaussian, &vector, &a));
    EXPECT_OK(process_open(&multinomial, &tokens, &b));
    EXPECT_FAIL(try_sampler(a, "ancestral", 10, 0), BAD_CONFIG, "choose one of: ddim, ddpm");
    EXPECT_FAIL(try_sampler(b, "ddim", 10, 0), BAD_CONFIG, "choose one of: ancestral");
    EXPECT_FAIL(try_sampler(b, "ancestral", 11, 0), BAD_CONFIG, "process.steps = 10");
    EXPECT_FAIL(try_sampler(a, "ddim", -1, 0), BAD_CONFIG, "sampler.steps is -1");
    EXPECT_OK(try_sampler(b, "ancestral", 1, 0));
    EXPECT_OK(try_sampler(a, "ddpm", 1, 0));
    process_close(a);
    process_close(b);
}

// ---- times and labels -------------------------------------------------------------------------

static void test_times_are_uniform(void) {
    enum { T = 10, N = 20000 };
    ProcessConfig config = config_multinomial(T);
    NetworkShape shape = shape_tokens(4, 27);
    Process *process;
    EXPECT_OK(process_open(&config, &shape, &process));
    double count[T] = {0}, square = 0;
    int same_step = 0, same_seed = 0;
    for (uint64_t i = 0; i < N; ++i) {
        double t = process_draw_time(process, 5, 77, i);
        EXPECT(t >= 1 && t <= T && t == floor(t));
        ++count[(int)t - 1];
        same_step += t == process_draw_time(process, 5, 78, i);
        same_seed += t == process_draw_time(process, 6, 77, i);
    }
    for (int k = 0; k < T; ++k) square += (count[k] - N / T) * (count[k] - N / T) / (N / T);
    EXPECT(square < 44.8); // 1e-6 at 9 degrees of freedom
    EXPECT_NEAR(same_step, N / T, 5 * sqrt(N / T));
    EXPECT_NEAR(same_seed, N / T, 5 * sqrt(N / T));
    EXPECT(process_draw_time(process, 5, 77, 3) == process_draw_time(process, 5, 77, 3));
    process_close(process);
}

enum { SIDE = 4, DIMS = SIDE * SIDE };

static ProcessConfig config_with_drop(float drop) {
    ProcessConfig config = config_gaussian("cosine", "v", "fixed-small");
    config.label_drop = drop;
    return config;
}

static void test_labels_are_dropped(void) {
    enum { N = 2000 };
    ProcessConfig config = config_with_drop(0.2f);
    ProcessCase c;
    process_case_open(&c, "cpu", &config, shape_image(SIDE), N);
    static float x_0[N * DIMS];
    static int32_t label[N], seen[N];
    static uint64_t sample[N];
    static double time[N];
    for (int i = 0; i < N; ++i) label[i] = i % 10, sample[i] = (uint64_t)i, time[i] = 5;
    GrainBatch batch = {1, 2, N, x_0, label, sample};
    process_corrupt(c.process, c.network, c.stream, &c.pass, &batch);
    case_download(&c, seen, c.pass.label, sizeof seen);
    int dropped = 0, wrong = 0;
    for (int i = 0; i < N; ++i)
        dropped += seen[i] == 10, wrong += seen[i] != 10 && seen[i] != label[i];
    EXPECT_EQ(wrong, 0);
    EXPECT_NEAR(dropped, 0.2 * N, 5 * sqrt(0.16 * N));
    process_corrupt_at(c.process, c.network, c.stream, &c.pass, &batch, time, 0);
    case_download(&c, seen, c.pass.label, sizeof seen);
    EXPECT(memcmp(seen, label, sizeof seen) == 0);
    process_case_close(&c);
}

// Levels made continuous and scaled: mean and variance of what the network sees, the nats of the
// scale, and the way back of a sample.
static void test_data_are_rescaled(void) {
    enum { N = 400 };
    ProcessConfig config = config_gaussian("linear", "x0", "fixed-large");
    config.data_mean = 0.25f, config.data_std = 0.5f, config.dequantise = true;
    ProcessCase c;
    process_case_open(&c, "late", &config, shape_image(SIDE), N);
    static float x_0[N * DIMS], seen[N * DIMS];
    static int32_t label[N];
    static uint64_t sample[N];
    static double time[N];
    for (int i = 0; i < N; ++i) sample[i] = (uint64_t)i, time[i] = 1;
    for (int i = 0; i < N * DIMS; ++i) x_0[i] = 100 / 127.5f - 1;
    GrainBatch batch = {1, 2, N, x_0, label, sample};
    process_corrupt_at(c.process, c.network, c.stream, &c.pass, &batch, time, 0);
    case_download(&c, seen, c.pass.x_0, sizeof seen);
    double mean = 0, square = 0, n = N * DIMS, width = 1 / 127.5;
    for (int i = 0; i < N * DIMS; ++i) mean += (double)seen[i] / n;
    for (int i = 0; i < N * DIMS; ++i)
        square += ((double)seen[i] - mean) * ((double)seen[i] - mean) / n;
    EXPECT_NEAR(mean, ((double)x_0[0] - 0.25) / 0.5, 5 * width / 0.5 / sqrt(12 * n));
    EXPECT_NEAR(sqrt(square), width / 0.5 / sqrt(12), 0.05 * width / 0.5 / sqrt(12));
    // Without scale and width the bound's constants differ by their logarithms alone.
    ProcessConfig plain = config_gaussian("linear", "x0", "fixed-large");
    ProcessCase d;
    process_case_open(&d, "cpu", &plain, shape_image(SIDE), 1);
    double keep = d.process->table.keep[1000], squares = 0, other = 0;
    for (int i = 0; i < DIMS; ++i) {
        other += (double)x_0[i] * (double)x_0[i];
        squares += (((double)x_0[i] - 0.25) * ((double)x_0[i] - 0.25) + width * width / 12) / 0.25;
    }
    EXPECT_NEAR(process_bound_prior(c.process, x_0) - process_bound_prior(d.process, x_0),
                0.5 * keep * (squares - other) + DIMS * log(0.5 / width), 1e-5);
    SamplerConfig ddim = {.solver = "ddim", .steps = 1, .guidance = 1};
    Sampler *sampler;
    EXPECT_OK(sampler_open(c.process, &ddim, &sampler));
    case_number_samples(&c, 0, N);
    sampler_begin(sampler, c.stream, &c.pass, N, 1);
    case_upload(&c, c.pass.out, seen, sizeof seen); // x0_hat
    sampler_advance(sampler, c.stream, &c.pass, N, 0, 1);
    static float back[N * DIMS];
    case_download(&c, back, c.pass.x_t, sizeof back);
    for (int i = 0; i < N * DIMS; i += 37) EXPECT_NEAR(back[i], 0.5 * (double)seen[i] + 0.25, 1e-6);
    sampler_close(sampler);
    process_case_close(&c);
    process_case_close(&d);
    plain.dequantise = true;
    EXPECT_FAIL(try_open(&plain, shape_vector(2)), BAD_CONFIG, "no images with levels");
}

// ---- a grain ----------------------------------------------------------------------------------

enum { BATCH = 12 };

typedef struct {
    float x_0[BATCH * DIMS], x_t[BATCH * DIMS], target[BATCH * DIMS];
    float time[BATCH * TIME_FEATURES];
    int32_t label[BATCH], label_in[BATCH];
    uint64_t sample[BATCH];
} BatchCase;

// Corrupts the batch in grains of `grain` samples. The host's rows are overwritten at once where
// the contract lends them no longer.
static void corrupt_in_grains(const char *backend, int grain, BatchCase *b) {
    ProcessConfig config = config_with_drop(0.5f);
    ProcessCase c;
    process_case_open(&c, backend, &config, shape_image(SIDE), BATCH);
    for (int first = 0; first < BATCH; first += grain) {
        GrainBatch batch = {
            8, 3, grain, b->x_0 + first * DIMS, b->label_in + first, b->sample + first};
        process_corrupt(c.process, c.network, c.stream, &c.pass, &batch);
        int64_t numbers = (int64_t)grain * DIMS * 4;
        stream_download(c.stream, b->x_t + first * DIMS, c.pass.x_t, (size_t)numbers);
        stream_download(c.stream, b->target + first * DIMS, c.pass.target, (size_t)numbers);
        stream_download(c.stream, b->time + first * TIME_FEATURES, c.pass.time,
                        (size_t)grain * TIME_FEATURES * 4);
        case_download(&c, b->label + first, c.pass.label, (int64_t)grain * 4);
    }
    process_case_close(&c);
}

static BatchCase *batch_case(void) {
    BatchCase *b = calloc(1, sizeof *b);
    if (b == NULL) abort();
    for (int i = 0; i < BATCH * DIMS; ++i) b->x_0[i] = (float)(i % 7) / 7;
    for (int i = 0; i < BATCH; ++i) {
        b->sample[i] = 100000000000u + (uint64_t)i;
        b->label_in[i] = i % 10;
    }
    return b;
}

static void test_grains_do_not_change_a_batch(void) {
    BatchCase *whole = batch_case(), *parts = batch_case();
    corrupt_in_grains("cpu", BATCH, whole);
    corrupt_in_grains("cpu", 3, parts);
    EXPECT(memcmp(whole, parts, sizeof *whole) == 0);
    corrupt_in_grains("late", 2, parts);
    EXPECT(memcmp(whole, parts, sizeof *whole) == 0);
    free(whole), free(parts);
}

// x_t of the training batch, number by number from the generator.
static void test_training_noise_is_keyed_by_sample(void) {
    BatchCase *b = batch_case();
    corrupt_in_grains("cpu", BATCH, b);
    ProcessConfig config = config_with_drop(0.5f);
    NetworkShape shape = shape_image(SIDE);
    Process *process;
    EXPECT_OK(process_open(&config, &shape, &process));
    int wrong = 0;
    for (int i = 0; i < BATCH * DIMS; ++i) {
        uint32_t bits[4];
        int e = i % DIMS;
        rng_block(rng_key(8, RNG_NOISE, 3), b->sample[i / DIMS], (uint32_t)e / 4, bits);
        int t = (int)process_draw_time(process, 8, 3, b->sample[i / DIMS]);
        float keep = (float)sqrt(process->table.keep[t]);
        float noise = (float)sqrt(process->table.noise[t]), eps = rng_normal(bits[e % 4]);
        wrong += b->x_t[i] != fmaf(noise, eps, keep * b->x_0[i]);
        wrong += b->target[i] != fmaf(keep, eps, -noise * b->x_0[i]);
    }
    EXPECT_EQ(wrong, 0);
    process_close(process);
    free(b);
}

static void test_evaluation_noise_is_its_own(void) {
    ProcessConfig config = config_with_drop(0);
    ProcessCase c;
    process_case_open(&c, "late", &config, shape_image(SIDE), BATCH);
    BatchCase *b = batch_case();
    GrainBatch batch = {8, 3, BATCH, b->x_0, b->label_in, b->sample};
    float train[BATCH * DIMS], eval[2][BATCH * DIMS];
    double time[BATCH];
    for (int i = 0; i < BATCH; ++i) time[i] = process_draw_time(c.process, 8, 3, b->sample[i]);
    process_corrupt(c.process, c.network, c.stream, &c.pass, &batch);
    case_download(&c, train, c.pass.x_t, sizeof train);
    for (uint64_t draw = 0; draw < 2; ++draw) {
        process_corrupt_at(c.process, c.network, c.stream, &c.pass, &batch, time, 3 + draw);
        case_download(&c, eval[draw], c.pass.x_t, sizeof eval[draw]);
    }
    int same = 0;
    for (int i = 0; i < BATCH * DIMS; ++i)
        same += train[i] == eval[0][i] || eval[0][i] == eval[1][i];
    EXPECT(same < 3);
    free(b);
    process_case_close(&c);
}

static void test_network_input(void) {
    ProcessConfig config = config_multinomial(200);
    ProcessCase c;
    process_case_open(&c, "cpu", &config, shape_tokens(6, 27), 2);
    int32_t x_0[12] = {0}, label[2] = {0};
    uint64_t sample[2] = {5, 6};
    double time[2] = {1, 200};
    GrainBatch batch = {9, 4, 2, x_0, label, sample};
    process_corrupt_at(c.process, c.network, c.stream, &c.pass, &batch, time, 0);
    NetworkInput input;
    process_network_input(c.process, &c.pass, &batch, true, &input);
    EXPECT(input.ids == c.pass.x_t && input.x == NULL && input.samples == 2);
    EXPECT(input.dropout_on && input.dropout.step == 4);
    RngKey key = rng_key(9, RNG_DROPOUT, 4);
    EXPECT(memcmp(&input.dropout, &key, sizeof key) == 0);
    float features[2 * TIME_FEATURES], expected[TIME_FEATURES];
    case_download(&c, features, c.pass.time, sizeof features);
    network_time_features(c.network, 5, expected); // t = 1 of 200 in thousandths
    EXPECT(memcmp(features, expected, sizeof expected) == 0);
    network_time_features(c.network, 1000, expected);
    EXPECT(memcmp(features + TIME_FEATURES, expected, sizeof expected) == 0);
    EXPECT_EQ(process_loss_items(c.process), 6);
    EXPECT(process_is_tokens(c.process) && c.process->config.steps == 200);
    process_case_close(&c);
}

// ---- memory -----------------------------------------------------------------------------------

typedef struct {
    const char *from, *to;
} Extent;

static int overlaps(const Extent *extent, int n) {
    int count = 0;
    for (int i = 0; i < n; ++i)
        for (int j = 0; j < i; ++j)
            count += extent[i].from < extent[j].to && extent[j].from < extent[i].to;
    return count;
}

static Extent extent_of(const void *from, int64_t count, size_t each) {
    return (Extent){from, (const char *)from + (size_t)count * each};
}

static void test_pass_memory(void) {
    enum { CAPACITY = 3 };
    ProcessConfig config = config_with_drop(0);
    ProcessCase c;
    process_case_open(&c, "cpu", &config, shape_image(SIDE), CAPACITY);
    const Pass *p = &c.pass;
    const Extent device[] = {
        extent_of(p->x_0, CAPACITY * DIMS, 4),    extent_of(p->x_t, CAPACITY * DIMS, 4),
        extent_of(p->target, CAPACITY * DIMS, 4), extent_of(p->out, CAPACITY * DIMS, 4),
        extent_of(p->dout, CAPACITY * DIMS, 4),   extent_of(p->level, CAPACITY, 44),
        extent_of(p->time, CAPACITY * 256, 4),    extent_of(p->label, CAPACITY, 4),
        extent_of(p->sample, CAPACITY, 8),        extent_of(p->loss, CAPACITY, 4),
        extent_of(p->error, CAPACITY, 8),
    };
    const char *base = c.device_memory;
    size_t bytes = process_pass_bytes(c.process, c.network, CAPACITY);
    EXPECT_EQ(overlaps(device, 11), 0);
    for (int i = 0; i < 11; ++i) {
        EXPECT(device[i].from >= base && device[i].to <= base + bytes);
        EXPECT_EQ((uintptr_t)device[i].from % 64, 0);
    }
    const Extent host[] = {
        extent_of(p->host_level, CAPACITY, 44), extent_of(p->host_time, CAPACITY * 256, 4),
        extent_of(p->host_label, CAPACITY, 4), extent_of(p->host_sample, CAPACITY, 8)};
    base = c.host_memory;
    bytes = process_pass_host_bytes(c.process, CAPACITY);
    EXPECT_EQ(overlaps(host, 4), 0);
    for (int i = 0; i < 4; ++i) EXPECT(host[i].from >= base && host[i].to <= base + bytes);
    process_case_close(&c);
}

int main(void) {
    RUN(test_wrong_configs_are_told);
    RUN(test_process_fits_the_data);
    RUN(test_wrong_samplers_are_told);
    RUN(test_times_are_uniform);
    RUN(test_labels_are_dropped);
    RUN(test_data_are_rescaled);
    RUN(test_grains_do_not_change_a_batch);
    RUN(test_training_noise_is_keyed_by_sample);
    RUN(test_evaluation_noise_is_its_own);
    RUN(test_network_input);
    RUN(test_pass_memory);
    return test_report();
}
