// dye distance: how far what a run draws is from held-out data. Points are compared as they are,
// pictures by what a classifier makes of them.
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "data/loader.h"
#include "launch/code.h"
#include "launch/command.h"
#include "launch/console.h"
#include "launch/distance.h"
#include "launch/features.h"
#include "launch/generate.h"
#include "launch/options.h"
#include "launch/session.h"
#include "launch/trained.h"

typedef struct {
    TrainedConfig config;
    TrainedConfig classifier_config; // --features; run_dir NULL: points
    TrainedConfig decoder_config;    // --decode: the autoencoder whose codes are drawn
    TrainedConfig guide_config;      // --guide
    int64_t count, seed;
    bool json;
    Trained trained, classifier, decoder;
    Sampler *sampler;
    Guide *guide;
    int width;      // of a feature vector
    float *real;    // [2 count, item]: two halves of held-out data; then features of them
    int32_t *label; // [2 count]
    double right;   // share of them that the classifier tells; NaN: it knows other classes
    uint64_t print; // of the classifier's weights
    double seconds; // for a sample
} DistanceCommand;

// Of a set to the first half of the held-out data.
typedef struct {
    double frechet, precision, recall;
} Distance;

static Status parse(int argc, char **argv, DistanceCommand *command) {
    static const struct option options[] = {{"count", required_argument, NULL, 'n'},
                                            {"seed", required_argument, NULL, 's'},
                                            {"split", required_argument, NULL, 'p'},
                                            {"features", required_argument, NULL, 'f'},
                                            {"decode", required_argument, NULL, 'd'},
                                            {"guide", required_argument, NULL, 'G'},
                                            {"guide-average", required_argument, NULL, 'A'},
                                            {"average", required_argument, NULL, 'a'},
                                            {"json", no_argument, NULL, 'j'},
                                            {0}};
    optind = 1;
    for (int option; (option = getopt_long(argc, argv, "n:", options, NULL)) != -1;) {
        switch (option) {
        case 'n': TRY(option_i64("-n", optarg, 4, 100000, &command->count)); break;
        case 's': TRY(option_i64("--seed", optarg, 0, INT64_MAX, &command->seed)); break;
        case 'p': command->config.split = optarg; break;
        case 'f': command->classifier_config.run_dir = optarg; break;
        case 'd': command->decoder_config.run_dir = optarg; break;
        case 'G': command->guide_config.run_dir = optarg; break;
        case 'A':
            TRY(option_f64("--guide-average", optarg, 0, 1, &command->guide_config.average));
            break;
        case 'a': TRY(option_f64("--average", optarg, 0, 1, &command->config.average)); break;
        case 'j': command->json = true; break;
        default: FAIL(BAD_USAGE, "see `dye help distance`");
        }
    }
    FAIL_IF(optind >= argc, BAD_USAGE,
            "which run? usage: dye distance RUN [-n N] [--features CLASSIFIER] [--json]");
    command->config.run_dir = argv[optind];
    command->config.overrides = argv + optind + 1;
    command->config.override_count = argc - optind - 1;
    command->classifier_config.split = command->decoder_config.split = command->config.split;
    command->classifier_config.capacity = command->decoder_config.capacity =
        command->config.capacity;
    return STATUS_OK;
}

// ---- held-out data ----------------------------------------------------------------------------

// The run whose data are what is compared: pictures where codes are drawn.
static const Trained *compared(const DistanceCommand *command) {
    return command->decoder_config.run_dir != NULL ? &command->decoder : &command->trained;
}

static Status read_real(DistanceCommand *command) {
    const Trained *trained = compared(command);
    int64_t count = 2 * command->count, there = loader_samples(trained->data, 0);
    FAIL_IF(there < count, BAD_USAGE,
            "-n %lld takes twice as many held-out samples, but the split %s has %lld",
            (long long)command->count, command->config.split, (long long)there);
    command->real = calloc((size_t)(count * engine_item(&trained->engine)), sizeof(float));
    command->label = calloc((size_t)count, sizeof *command->label);
    FAIL_IF(command->real == NULL || command->label == NULL, NO_MEMORY,
            "no memory for %lld samples", (long long)count);
    return trained_read(trained, count, command->real, command->label);
}

// ---- runs -------------------------------------------------------------------------------------

static Status open_features(DistanceCommand *command, Comm *comm) {
    const Trained *pictures = compared(command);
    bool points = dataset_info(command->trained.data)->kind == KIND_VECTOR;
    bool features = command->classifier_config.run_dir != NULL;
    FAIL_IF(points && features, BAD_USAGE,
            "--features is for pictures; %s draws points, which are compared as they are",
            command->config.run_dir);
    command->width = (int)engine_item(&pictures->engine);
    if (points) return STATUS_OK;
    FAIL_IF(dataset_info(pictures->data)->kind != KIND_IMAGE, BAD_USAGE,
            "dye distance compares points and pictures; %s draws something else, or codes, which"
            " --decode AUTOENCODER makes pictures of",
            command->config.run_dir);
    FAIL_IF(!features, BAD_USAGE,
            "%s draws pictures, which are compared by what a classifier makes of them: train one"
            " (configs/fashion-mnist-classifier.yaml), and give it as --features RUN",
            command->config.run_dir);
    TRY(features_open(&command->classifier_config, comm, &pictures->engine.shape,
                      &command->classifier));
    command->width = command->classifier.settings.model.width;
    return features_fingerprint(&command->classifier, &command->print);
}

static Status start(void *context, Comm *comm) {
    DistanceCommand *command = context;
    TRY(trained_open(&command->config, comm, console_warn, &command->trained));
    Trained *trained = &command->trained;
    if (command->decoder_config.run_dir != NULL)
        TRY(decoder_open(&command->decoder_config, comm, trained, &command->decoder));
    TRY(open_features(command, comm));
    TRY(sampler_open(trained->engine.process, &trained->settings.sampler, &command->sampler));
    if (command->guide_config.run_dir != NULL)
        TRY(guide_open(&command->guide_config, comm, console_warn, trained, &command->guide));
    return read_real(command);
}

// ---- the distance -----------------------------------------------------------------------------

// Pictures as they are stored, on 256 levels.
static void round_to_levels(float *x, int64_t n) {
    for (int64_t i = 0; i < n; ++i) {
        if (isnan(x[i])) continue; // the distance says so
        x[i] = rintf(fminf(fmaxf((x[i] + 1) * 127.5f, 0), 255)) / 127.5f - 1.0f;
    }
}

// Features in the place of pictures.
static Status take_features(DistanceCommand *command, Comm *comm, int64_t count, float **x,
                            double *right) {
    if (command->classifier_config.run_dir == NULL) return STATUS_OK;
    float *features;
    TRY(features_take(&command->classifier, comm, *x, command->label, count, &features, right));
    free(*x);
    *x = features;
    return STATUS_OK;
}

// Labels of other classes than the classifier's say nothing to it.
static Status take_real_features(DistanceCommand *command, Comm *comm) {
    bool known =
        compared(command)->engine.shape.classes == command->classifier.engine.shape.classes;
    for (int64_t i = 0; i < 2 * command->count && !known; ++i) command->label[i] = 0;
    TRY(take_features(command, comm, 2 * command->count, &command->real, &command->right));
    if (!known) command->right = NAN;
    return STATUS_OK;
}

static Status draw(DistanceCommand *command, Comm *comm, void **samples) {
    Trained *trained = &command->trained;
    GenerateRequest request = {.sampler = command->sampler,
                               .weights = trained->weights,
                               .seed = (uint64_t)command->seed,
                               .count = command->count,
                               .label = LABEL_CYCLE,
                               .guide = command->guide};
    double started = clock_now();
    TRY(generate(&trained->engine, comm, &request, samples));
    Status status = STATUS_OK;
    if (command->decoder_config.run_dir != NULL)
        status = decoder_run(&command->decoder, command->count, samples);
    command->seconds = (clock_now() - started) / (double)command->count;
    if (status != STATUS_OK) free(*samples);
    return status;
}

static Status measure(const DistanceCommand *command, const float *set, Distance *out) {
    int64_t n = command->count;
    TRY(distance_frechet(command->real, n, set, n, command->width, &out->frechet));
    return distance_precision_recall(command->real, n, set, n, command->width, &out->precision,
                                     &out->recall);
}

static void print_features_json(const DistanceCommand *command) {
    if (command->classifier_config.run_dir == NULL) return;
    printf(", \"features\": {\"run\": \"%s\", \"step\": %lld, \"fingerprint\": \"%016llx\","
           " \"width\": %d",
           command->classifier_config.run_dir, (long long)command->classifier.step,
           (unsigned long long)command->print, command->width);
    if (isfinite(command->right)) printf(", \"accuracy\": %.9g", command->right);
    printf("}");
}

static void print_features(const DistanceCommand *command) {
    if (command->classifier_config.run_dir == NULL) return;
    printf("by %d features of the classifier %s, step %lld, weights %016llx", command->width,
           command->classifier_config.run_dir, (long long)command->classifier.step,
           (unsigned long long)command->print);
    if (isfinite(command->right))
        printf(", which tells the class of %.4f of the held-out", command->right);
    printf("\nThis is not Inception's FID: it compares with distances by these weights, of as many"
           " samples, alone.\n");
}

static void print(const DistanceCommand *command, const Distance *drawn, const Distance *floor) {
    long long n = (long long)command->count, step = (long long)command->trained.step;
    int steps = sampler_steps(command->sampler);
    if (command->json) {
        printf("{\"frechet\": %.9g, \"precision\": %.9g, \"recall\": %.9g, \"floor\": {\"frechet\":"
               " %.9g, \"precision\": %.9g, \"recall\": %.9g}, \"count\": %lld, \"evaluations\":"
               " %d, \"step\": %lld, \"split\": \"%s\", \"sample_s\": %.6g",
               drawn->frechet, drawn->precision, drawn->recall, floor->frechet, floor->precision,
               floor->recall, n, steps, step, command->config.split, command->seconds);
        print_features_json(command);
        printf("}\n");
        return;
    }
    printf("Frechet distance %.5f, precision %.4f, recall %.4f of %lld samples in %d"
           " evaluations each, step %lld, %.3g ms each\n"
           "two halves of split %s, %lld each, are %.5f, %.4f, %.4f apart\n",
           drawn->frechet, drawn->precision, drawn->recall, n, steps, step, 1e3 * command->seconds,
           command->config.split, n, floor->frechet, floor->precision, floor->recall);
    print_features(command);
}

static Status run(void *context, Comm *comm) {
    DistanceCommand *command = context;
    void *samples;
    if (comm_rank(comm) == 0) console_task("drawing");
    TRY(draw(command, comm, &samples));
    console_task(NULL);
    if (comm_rank(comm) == 0) console_task("comparing");
    float *set = samples;
    Distance drawn, floor;
    double ignored;
    if (command->classifier_config.run_dir != NULL)
        round_to_levels(set, command->count * engine_item(&compared(command)->engine));
    Status status = take_real_features(command, comm);
    if (status == STATUS_OK) status = take_features(command, comm, command->count, &set, &ignored);
    if (status == STATUS_OK) status = measure(command, set, &drawn);
    const float *other = command->real + command->count * command->width;
    if (status == STATUS_OK) status = measure(command, other, &floor);
    console_task(NULL);
    free(set);
    if (status == STATUS_OK && comm_rank(comm) == 0) print(command, &drawn, &floor);
    return status;
}

static void finish(void *context) {
    DistanceCommand *command = context;
    free(command->real);
    free(command->label);
    sampler_close(command->sampler);
    guide_close(command->guide);
    trained_close(&command->decoder);
    trained_close(&command->classifier);
    trained_close(&command->trained);
}

Status cmd_distance(int argc, char **argv) {
    DistanceCommand command = {.config = {.split = "test", .capacity = 64}, .count = 2000};
    TRY(parse(argc, argv, &command));
    return session_run("auto", &(Session){&command, start, run, finish});
}
