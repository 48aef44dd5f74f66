// dye sample: pictures or text from a run.
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "launch/candidates.h"
#include "launch/code.h"
#include "launch/command.h"
#include "launch/console.h"
#include "launch/generate.h"
#include "launch/infill.h"
#include "launch/long_text.h"
#include "launch/options.h"
#include "launch/patch_decoder.h"
#include "launch/picture.h"
#include "launch/reconstruct.h"
#include "launch/sample_file.h"
#include "launch/session.h"
#include "launch/trained.h"
#include "launch/trajectory.h"

enum { FRAMES_MOST = 1000 };

typedef struct {
    TrainedConfig config;
    const char *out, *solver, *infill, *mask;
    int64_t count, first, seed, steps, label;
    int64_t candidates; // drawn for each sample
    int64_t length;     // symbols of a text; 0: data.length
    int64_t frames;     // of the way from noise to samples; 0: the samples alone
    bool reconstruct;   // held-out samples to noise and back
    double guidance;    // < 0: as configured
    Trained trained;
    SamplerConfig settings;
    Sampler *sampler;
    Infill given;               // --infill
    TrainedConfig guide_config; // --guide
    Guide *guide;
    TrainedConfig decoder_config; // --decode: the autoencoder whose codes are drawn
    Trained decoder;
    const char *patches; // --decode: the NPZ that decodes latents
    PatchDecoder patch_decoder;
} SampleCommand;

// What goes together.
static Status check_options(const SampleCommand *command) {
    bool decodes = command->decoder_config.run_dir != NULL || command->patches != NULL;
    bool chooses = command->candidates > 1;
    FAIL_IF(command->reconstruct && (chooses || command->infill != NULL || decodes), BAD_USAGE,
            "--reconstruct goes with none of --candidates, --infill, --decode");
    FAIL_IF(command->length > 0 && (chooses || command->reconstruct || decodes ||
                                    command->guide_config.run_dir != NULL),
            BAD_USAGE, "--length goes with none of --candidates, --reconstruct, --decode, --guide");
    FAIL_IF(
        command->frames > 0 && (chooses || command->reconstruct || decodes || command->length > 0),
        BAD_USAGE, "--frames goes with none of --candidates, --reconstruct, --decode, --length");
    FAIL_IF(command->mask != NULL && command->infill == NULL, BAD_USAGE,
            "--mask says where the picture of --infill is to be drawn; name that");
    return STATUS_OK;
}

static Status parse(int argc, char **argv, SampleCommand *command) {
    static const struct option options[] = {{"count", required_argument, NULL, 'n'},
                                            {"out", required_argument, NULL, 'o'},
                                            {"seed", required_argument, NULL, 's'},
                                            {"first", required_argument, NULL, 'f'},
                                            {"steps", required_argument, NULL, 'k'},
                                            {"solver", required_argument, NULL, 'S'},
                                            {"label", required_argument, NULL, 'l'},
                                            {"guidance", required_argument, NULL, 'g'},
                                            {"average", required_argument, NULL, 'a'},
                                            {"decode", required_argument, NULL, 'd'},
                                            {"candidates", required_argument, NULL, 'c'},
                                            {"infill", required_argument, NULL, 'i'},
                                            {"mask", required_argument, NULL, 'm'},
                                            {"frames", required_argument, NULL, 'F'},
                                            {"reconstruct", no_argument, NULL, 'r'},
                                            {"length", required_argument, NULL, 'L'},
                                            {"guide", required_argument, NULL, 'G'},
                                            {"guide-average", required_argument, NULL, 'A'},
                                            {0}};
    optind = 1;
    for (int option; (option = getopt_long(argc, argv, "n:o:", options, NULL)) != -1;) {
        switch (option) {
        case 'n': TRY(option_i64("-n", optarg, 1, 1000000, &command->count)); break;
        case 'o': command->out = optarg; break;
        case 's': TRY(option_i64("--seed", optarg, 0, INT64_MAX, &command->seed)); break;
        case 'f': TRY(option_i64("--first", optarg, 0, INT64_C(1) << 40, &command->first)); break;
        case 'k': TRY(option_i64("--steps", optarg, 1, 1000000, &command->steps)); break;
        case 'S': command->solver = optarg; break;
        case 'l': TRY(option_i64("--label", optarg, 0, 1000000, &command->label)); break;
        case 'g': TRY(option_f64("--guidance", optarg, 0, 100, &command->guidance)); break;
        case 'a': TRY(option_f64("--average", optarg, 0, 1, &command->config.average)); break;
        case 'c': TRY(option_i64("--candidates", optarg, 1, 1000, &command->candidates)); break;
        case 'G': command->guide_config.run_dir = optarg; break;
        case 'A':
            TRY(option_f64("--guide-average", optarg, 0, 1, &command->guide_config.average));
            break;
        case 'L': TRY(option_i64("--length", optarg, 1, 1000000, &command->length)); break;
        case 'r':
            command->reconstruct = true;
            command->config.split = "test";
            command->config.described = false;
            break;
        case 'i': command->infill = optarg; break;
        case 'm': command->mask = optarg; break;
        case 'F': TRY(option_i64("--frames", optarg, 2, FRAMES_MOST, &command->frames)); break;
        case 'd':
            *(patch_decoder_is(optarg) ? &command->patches : &command->decoder_config.run_dir) =
                optarg;
            break;
        default: FAIL(BAD_USAGE, "see `dye help sample`");
        }
    }
    FAIL_IF(optind >= argc, BAD_USAGE, "which run? usage: dye sample RUN [-n N] [-o FILE]");
    TRY(check_options(command));
    command->config.run_dir = argv[optind];
    command->config.overrides = argv + optind + 1;
    command->config.override_count = argc - optind - 1;
    return STATUS_OK;
}

static Status open_sampler(SampleCommand *command) {
    SamplerConfig config = command->trained.settings.sampler;
    if (command->steps > 0) config.steps = (int32_t)command->steps;
    if (command->guidance >= 0) config.guidance = (float)command->guidance;
    if (command->solver != NULL)
        snprintf(config.solver, sizeof config.solver, "%s", command->solver);
    if (command->reconstruct && !process_is_tokens(command->trained.engine.process))
        snprintf(config.solver, sizeof config.solver, "ddim");
    if (command->infill != NULL)
        TRY(infill_solver(&command->given, &command->trained.engine, config.solver));
    command->settings = config;
    return sampler_open(command->trained.engine.process, &config, &command->sampler);
}

static Status start(void *context, Comm *comm) {
    SampleCommand *command = context;
    TRY(trained_open(&command->config, comm, console_warn, &command->trained));
    TrainedConfig *decoder = &command->decoder_config;
    decoder->split = "train";
    decoder->capacity = command->config.capacity;
    decoder->described = true;
    if (decoder->run_dir != NULL)
        TRY(decoder_open(decoder, comm, &command->trained, &command->decoder));
    if (command->patches != NULL)
        TRY(patch_decoder_open(command->patches, &command->trained.engine.shape,
                               &command->patch_decoder));
    if (command->guide_config.run_dir != NULL)
        TRY(guide_open(&command->guide_config, comm, console_warn, &command->trained,
                       &command->guide));
    int32_t classes = command->trained.engine.shape.classes;
    FAIL_IF(command->label >= 0 && command->label >= classes, BAD_USAGE,
            "--label %lld: this run knows %d classes", (long long)command->label, classes);
    if (command->candidates > 1) TRY(candidates_check(command->trained.engine.process));
    FAIL_IF(command->candidates > 1 && classes > 0 && command->label < 0, BAD_USAGE,
            "--candidates: say of which class, by --label");
    if (command->infill != NULL)
        TRY(infill_read(dataset_info(command->trained.data), &command->trained.engine,
                        command->infill, command->mask, command->count * command->candidates,
                        &command->given));
    FAIL_IF(command->length > 0 && command->given.known != NULL, BAD_USAGE,
            "--length with --infill is for systems with masks");
    return open_sampler(command);
}

static Status print_lines(const char *path) {
    char *text;
    size_t bytes;
    TRY(file_read(path, (size_t)1 << 30, &text, &bytes));
    fwrite(text, 1, bytes, stdout);
    free(text);
    return STATUS_OK;
}

// With labels, where the run has classes and each sample has been given one.
static Status write_samples(const SampleCommand *command, const DatasetInfo *info,
                            const NetworkShape *shape, const void *samples, int64_t count,
                            const char *path) {
    int32_t classes = command->trained.engine.shape.classes, *label = NULL;
    if (classes > 0 && !command->reconstruct) label = calloc((size_t)count, sizeof *label);
    for (int64_t i = 0; i < count && label != NULL; ++i)
        label[i] = (int32_t)(command->label >= 0 ? command->label : (command->first + i) % classes);
    Status status = sample_write(info, shape, samples, label, command->first, count, path);
    free(label);
    return status;
}

// Text without -o goes to stdout, through a file of its own name beside nothing that matters.
static Status deliver(const SampleCommand *command, const void *samples) {
    int64_t count = command->count * (command->reconstruct ? 2 : 1);
    bool decoded = command->decoder_config.run_dir != NULL;
    const Trained *trained = decoded ? &command->decoder : &command->trained;
    const DatasetInfo *info = dataset_info(trained->data);
    char path[PATH_BYTES];
    bool patches = command->patches != NULL, drawn = dataset_is_drawn(info) || patches;
    NetworkShape shape = trained->engine.shape;
    if (command->length > 0) shape.length = (int32_t)command->length;
    if (command->out != NULL)
        TRY(path_format(path, "%s", command->out));
    else
        TRY(path_format(path, "%s/samples/drawn.%s", command->config.run_dir,
                        drawn ? "png" : "txt"));
    TRY(patches ? patch_decoder_draw(&command->patch_decoder, &shape, samples, count, path)
                : write_samples(command, info, &shape, samples, count, path));
    if (command->out == NULL && !drawn) return print_lines(path);
    printf("%lld samples of step %lld in %s\n", (long long)count, (long long)command->trained.step,
           path);
    return STATUS_OK;
}

// x_t from noise to samples.
static Status deliver_frames(const SampleCommand *command, float *x) {
    const Trained *trained = &command->trained;
    int frames = (int)command->frames;
    char path[PATH_BYTES];
    bool lines = command->out == NULL && !dataset_is_drawn(dataset_info(trained->data));
    if (command->out != NULL)
        TRY(path_format(path, "%s", command->out));
    else
        TRY(path_format(path, "%s/samples/frames.%s", command->config.run_dir,
                        lines ? "txt" : "png"));
    trajectory_restore(&trained->engine, x, frames, command->count, frames - 1);
    float time[FRAMES_MOST] = {0}; // as the network is told
    for (int i = 0; i < frames - 1; ++i)
        time[i] = (float)process_time_label(
            trained->engine.process,
            sampler_time(command->sampler, generate_frame_step(command->sampler, i, frames)));
    TRY(trajectory_write(trained, x, time, frames, command->count, path));
    if (lines) return print_lines(path);
    printf("%lld samples of step %lld on their way in %d frames: %s\n", (long long)command->count,
           (long long)trained->step, frames, path);
    return STATUS_OK;
}

// Pairs, each before what has become of it.
static Status run_reconstruct(SampleCommand *command, Comm *comm) {
    float *pairs;
    double rms;
    TRY(reconstruct(&command->trained, comm, &command->settings, command->count, &pairs, &rms));
    console_task(NULL);
    Status status = STATUS_OK;
    if (comm_rank(comm) == 0) {
        status = deliver(command, pairs);
        if (status == STATUS_OK)
            printf(
                "to noise and back by ddim in %d steps: rms error %.4g of the data's deviation\n",
                sampler_steps(command->sampler), rms);
    }
    free(pairs);
    return status;
}

static Status run_long(SampleCommand *command, Comm *comm) {
    LongTextRequest request = {.sampler = command->sampler,
                               .seed = (uint64_t)command->seed,
                               .first = command->first,
                               .count = command->count,
                               .length = command->length,
                               .label = command->label >= 0 ? (int32_t)command->label : LABEL_CYCLE,
                               .start = command->given.start};
    int32_t *text;
    TRY(long_text(&command->trained, comm, &request, &text));
    console_task(NULL);
    Status status = comm_rank(comm) == 0 ? deliver(command, text) : STATUS_OK;
    free(text);
    return status;
}

static Status draw(void *context, Comm *comm) {
    SampleCommand *command = context;
    Engine *engine = &command->trained.engine;
    if (command->reconstruct) return run_reconstruct(command, comm);
    if (command->length > 0) return run_long(command, comm);
    void *samples;
    GenerateRequest request = {.sampler = command->sampler,
                               .weights = command->trained.weights,
                               .seed = (uint64_t)command->seed,
                               .first = command->first * command->candidates,
                               .count = command->count * command->candidates,
                               .label = command->label >= 0 ? (int32_t)command->label : LABEL_CYCLE,
                               .guide = command->guide,
                               .frames = (int)command->frames,
                               .infill = &command->given,
                               .start = command->given.start};
    TRY(generate(engine, comm, &request, &samples));
    Status status = STATUS_OK;
    if (command->candidates > 1)
        status = candidates_choose(engine, samples, command->count, (int)command->candidates, NULL);
    if (status == STATUS_OK && command->decoder_config.run_dir != NULL)
        status = decoder_run(&command->decoder, command->count, &samples);
    console_task(NULL);
    if (status == STATUS_OK && comm_rank(comm) == 0)
        status = command->frames > 0 ? deliver_frames(command, samples) : deliver(command, samples);
    free(samples);
    return status;
}

static Status run(void *context, Comm *comm) {
    if (comm_rank(comm) == 0) console_task("drawing");
    return draw(context, comm);
}

static void finish(void *context) {
    SampleCommand *command = context;
    sampler_close(command->sampler);
    infill_close(&command->given);
    guide_close(command->guide);
    patch_decoder_close(&command->patch_decoder);
    trained_close(&command->decoder);
    trained_close(&command->trained);
}

Status cmd_sample(int argc, char **argv) {
    SampleCommand command = {.config = {.split = "train", .capacity = 16, .described = true},
                             .count = 16,
                             .candidates = 1,
                             .label = -1,
                             .guidance = -1};
    TRY(parse(argc, argv, &command));
    return session_run("auto", &(Session){&command, start, run, finish});
}
