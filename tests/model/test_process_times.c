// Laws of the time: unbiased whatever they have learned, the same for any order of telling, and
// what the papers' rules say.
#include "model/process/process_impl.h"
#include "tests/model/support_process.h"
#include "tests/test.h"

enum { STEPS = 8, SAMPLES = 64 };

static Process *open_process(const char *times) {
    ProcessConfig config = config_multinomial(STEPS);
    NetworkShape shape = shape_tokens(4, 3);
    if (strcmp(times, "second-moment") == 0) {
        config = config_gaussian("cosine", "eps", "learned-range");
        config.steps = STEPS;
        snprintf(config.loss, sizeof config.loss, "vlb");
        shape = shape_vector(2);
    }
    snprintf(config.times, sizeof config.times, "%s", times);
    Process *process;
    EXPECT_OK(process_open(&config, &shape, &process));
    return process;
}

// A loss of its own for each time.
static double loss_of(int t) {
    return t == 1 ? 40 : 10.0 / t;
}

// Tells the losses of `steps` batches as the weighted losses that training would see.
static void teach(Process *process, int steps, uint64_t first_step) {
    for (uint64_t step = first_step; step < first_step + (uint64_t)steps; ++step) {
        double loss[SAMPLES];
        for (uint64_t i = 0; i < SAMPLES; ++i) {
            double scale;
            int t = process_draw_weighted(process, 9, step, step * SAMPLES + i, &scale);
            loss[i] = scale * process->system->family->weight(process, t) * loss_of(t);
        }
        process_learn_times(process, 9, step, step * SAMPLES, loss, SAMPLES);
    }
}

// Share of draws of each time, and the mean of the weighted loss over draws.
static double draw_many(const Process *process, double share[STEPS + 1]) {
    enum { DRAWS = 40000 };
    double mean = 0;
    memset(share, 0, (STEPS + 1) * sizeof *share);
    for (uint64_t i = 0; i < DRAWS; ++i) {
        double scale;
        int t = process_draw_weighted(process, 10, 1, i, &scale);
        share[t] += 1.0 / DRAWS;
        mean += scale * loss_of(t) / DRAWS;
    }
    return mean;
}

static void check_law(const char *times, const double weight[STEPS + 1]) {
    Process *process = open_process(times);
    double share[STEPS + 1], uniform = 0, total = 0;
    for (int t = 1; t <= STEPS; ++t) uniform += loss_of(t) / STEPS, total += weight[t];
    EXPECT(process_learns_times(process));
    teach(process, 1, 0);
    (void)draw_many(process, share);
    for (int t = 1; t <= STEPS; ++t) EXPECT_NEAR(share[t], 1.0 / STEPS, 0.01); // knows too little
    teach(process, 300, 1);
    double mean = draw_many(process, share);
    for (int t = 1; t <= STEPS; ++t) EXPECT_NEAR(share[t], weight[t] / total, 0.01);
    EXPECT_NEAR(mean, uniform, 0.02 * uniform); // unbiased
    process_close(process);
}

static void test_laws_follow_the_losses(void) {
    double average[STEPS + 1] = {0}, history[STEPS + 1] = {0}, sum = 0;
    for (int t = 1; t <= STEPS; ++t) sum += history[t] = loss_of(t);
    for (int t = 1; t <= STEPS; ++t) history[t] = 0.999 * history[t] / sum + 0.001 / STEPS;
    for (int t = 1; t <= STEPS; ++t) average[t] = loss_of(t == 1 ? 2 : t);
    check_law("importance", average);
    check_law("second-moment", history);
}

// What was learned goes through a checkpoint unchanged, and samples that do not count leave it.
static void check_state(const char *times) {
    Process *a = open_process(times), *b = open_process(times);
    int64_t count, again;
    teach(a, 200, 0);
    const double *state = process_times(a, &count);
    EXPECT(count > 0);
    process_set_times(b, state);
    for (uint64_t i = 0; i < 500; ++i)
        EXPECT_EQ(process_draw_time(a, 1, 2, i), process_draw_time(b, 1, 2, i));
    double loss[SAMPLES];
    for (int i = 0; i < SAMPLES; ++i) loss[i] = NAN;
    process_learn_times(b, 9, 500, 0, loss, SAMPLES);
    EXPECT(memcmp(state, process_times(b, &again), (size_t)count * sizeof *state) == 0);
    teach(a, 5, 300), teach(b, 5, 300);
    EXPECT(memcmp(process_times(a, &count), process_times(b, &again),
                  (size_t)count * sizeof *state) == 0);
    process_set_times(b, NULL);
    process_close(a);
    a = open_process(times);
    for (uint64_t i = 0; i < 500; ++i)
        EXPECT_EQ(process_draw_time(a, 1, 2, i), process_draw_time(b, 1, 2, i));
    process_close(a);
    process_close(b);
}

static void test_state_is_kept(void) {
    check_state("importance");
    check_state("second-moment");
    Process *uniform = open_process("uniform");
    int64_t count;
    (void)process_times(uniform, &count);
    EXPECT_EQ(count, 0);
    EXPECT(!process_learns_times(uniform));
    process_close(uniform);
}

int main(void) {
    RUN(test_laws_follow_the_losses);
    RUN(test_state_is_kept);
    return test_report();
}
