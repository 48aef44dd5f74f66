// An autoencoder of images with a code in the middle: two DiTs around finite scalar quantisation
// (Mentzer et al. 2023, arXiv 2309.15505). The encoder sees each patch as one pixel of many
// channels and gives it `digits` numbers; each becomes one of CODE_LEVELS, and the digits together
// are the patch's code. The decoder sees codes alone. Neither sees time or label.
//
//   image --patches--> [DiT] --quantised--> codes --values--> [DiT] --patches--> out
#include <stdio.h>

#include "model/network_impl.h"

typedef struct {
    Network base;
    Network *encoder, *decoder;
    int64_t digits, places; // of a code; codes of an image
} Fsq;

typedef struct {
    int32_t *label;                      // [g] zeros: the only class of the two DiTs
    float *patches, *pixels;             // [g, image's numbers]: rows of patches; channels of them
    float *number, *slope, *value;       // [g, digits, places]; value: what the decoder sees
    float *out_pixels, *out_patches;     // [g, out's numbers]
    void *encoder, *decoder;             // activations
    NetworkInput encoder_in, decoder_in; // of the two
} FsqMemory;

static Status fsq_check(const NetworkConfig *config, const NetworkShape *shape) {
    FAIL_IF(shape->tokens || shape->height % config->patch != 0 ||
                shape->width % config->patch != 0,
            BAD_CONFIG, "model.family is fsq, which takes images that model.patch = %d divides",
            config->patch);
    FAIL_IF(config->dropout != 0, BAD_CONFIG,
            "model.dropout is %g; the fsq family has none: leave it away", (double)config->dropout);
    int32_t codes = config->codes;
    while (codes > 1 && codes % CODE_LEVELS == 0) codes /= CODE_LEVELS;
    FAIL_IF(codes != 1 || config->codes < CODE_LEVELS || config->codes > CATEGORICAL_CLASSES_MOST,
            BAD_CONFIG, "model.codes is %d; it must be 4, 16, 64, 256 or 1024", config->codes);
    return STATUS_OK;
}

static Status fsq_plan(Network *network, Params *params) {
    Fsq *fsq = (Fsq *)network;
    const NetworkShape *shape = &network->shape;
    NetworkConfig config = network->config;
    int32_t patch = config.patch, pixels = patch * patch;
    snprintf(config.family, sizeof config.family, "dit");
    config.patch = 1;
    NetworkShape in = {.channels = shape->channels * pixels,
                       .height = shape->height / patch,
                       .width = shape->width / patch};
    for (int32_t codes = config.codes; codes > 1; codes /= CODE_LEVELS) ++in.out_channels;
    NetworkShape out = in;
    out.channels = in.out_channels;
    out.out_channels = shape->out_channels * pixels;
    fsq->digits = in.out_channels;
    fsq->places = (int64_t)in.height * in.width;
    params->prefix = "encoder.";
    TRY(network_open(&config, &in, params, &fsq->encoder));
    params->prefix = "decoder.";
    TRY(network_open(&config, &out, params, &fsq->decoder));
    params->prefix = "";
    network->code_places = fsq->places;
    network->forward_flops = fsq->encoder->forward_flops + fsq->decoder->forward_flops;
    network->scratch_bytes = fsq->decoder->scratch_bytes; // both have blocks of the same shape
    network->attended = fsq->decoder->attended;
    network->table_bytes = fsq->encoder->table_bytes; // one table of positions serves both
    return STATUS_OK;
}

static void fsq_close(Network *network) {
    network_close(((Fsq *)network)->encoder);
    network_close(((Fsq *)network)->decoder);
}

static void fsq_table_fill(const Network *network, float *table) {
    network_table_fill(((const Fsq *)network)->encoder, table);
}

// ---- plan of memory ---------------------------------------------------------------------------

static size_t fsq_place(const Fsq *fsq, void *base, int64_t samples, bool backward,
                        FsqMemory *out) {
    Bump bump = {.base = base};
    int64_t in = samples * network_in_item(&fsq->base), to = samples * network_out_item(&fsq->base);
    int64_t digits = samples * fsq->digits * fsq->places;
    size_t encoder = network_activation_bytes(fsq->encoder, samples, backward);
    size_t decoder = network_activation_bytes(fsq->decoder, samples, backward);
    *out = (FsqMemory){.label = bump_take(&bump, samples, sizeof *out->label),
                       .patches = bump_floats(&bump, in),
                       .pixels = bump_floats(&bump, in),
                       .number = bump_floats(&bump, digits),
                       .slope = bump_floats(&bump, digits),
                       .value = bump_floats(&bump, digits),
                       .out_pixels = bump_floats(&bump, to),
                       .out_patches = bump_floats(&bump, to),
                       .encoder = bump_take(&bump, 1, encoder),
                       .decoder = bump_take(&bump, 1, decoder)};
    out->encoder_in = out->decoder_in = (NetworkInput){.samples = samples, .label = out->label};
    out->encoder_in.x = out->pixels;
    out->decoder_in.x = out->value;
    return bump.used;
}

static size_t fsq_activation_bytes(const Network *network, int64_t samples, bool backward) {
    FsqMemory memory;
    return fsq_place((const Fsq *)network, NULL, samples, backward, &memory);
}

static FsqMemory memory_of(const Run *run) {
    FsqMemory memory;
    fsq_place((const Fsq *)run->network, run->memory->activations, run->input->samples,
              run->memory->backward, &memory);
    return memory;
}

static NetworkMemory inner(const Run *run, void *activations) {
    NetworkMemory memory = *run->memory;
    memory.activations = activations;
    return memory;
}

// ---- passes -----------------------------------------------------------------------------------

// An image of few channels, as rows of patches, becomes an image of one pixel a patch; or `back`.
static void regroup(const Run *run, int32_t channels, const float *from, float *patches, float *to,
                    bool back) {
    const NetworkShape *shape = &run->network->shape;
    int64_t patch = run->network->config.patch;
    Patches image = {.samples = run->input->samples,
                     .channels = channels,
                     .height = shape->height,
                     .width = shape->width,
                     .patch = patch};
    Patches pixels = {.samples = image.samples,
                      .channels = channels * patch * patch,
                      .height = image.height / patch,
                      .width = image.width / patch,
                      .patch = 1};
    Patches first = back ? pixels : image, second = back ? image : pixels;
    first.from = from;
    second.from = first.to = patches;
    second.to = to;
    patch_forward(run->stream, first);
    patch_back(run->stream, second);
}

static void no_labels(const Run *run, const FsqMemory *memory) {
    static const int32_t zeros[1024];
    int64_t most = sizeof zeros / sizeof *zeros;
    for (int64_t at = 0; at < run->input->samples; at += most) {
        int64_t left = run->input->samples - at, n = left < most ? left : most;
        stream_upload(run->stream, memory->label + at, zeros, (size_t)n * sizeof *zeros);
    }
}

static void fsq_encode(const Run *run, int32_t *ids) {
    const Fsq *fsq = (const Fsq *)run->network;
    FsqMemory memory = memory_of(run);
    NetworkMemory encoder = inner(run, memory.encoder);
    no_labels(run, &memory);
    regroup(run, fsq->base.shape.channels, run->input->x, memory.patches, memory.pixels, false);
    network_forward(fsq->encoder, run->stream, &encoder, &memory.encoder_in, memory.number);
    quantise(run->stream, (Quantise){.x = memory.number,
                                     .y = memory.value,
                                     .slope = memory.slope,
                                     .ids = ids,
                                     .samples = run->input->samples,
                                     .digits = fsq->digits,
                                     .places = fsq->places});
}

// From the values of codes, with labels there.
static void decode_values(const Run *run, const FsqMemory *memory, float *out) {
    const Fsq *fsq = (const Fsq *)run->network;
    NetworkMemory decoder = inner(run, memory->decoder);
    network_forward(fsq->decoder, run->stream, &decoder, &memory->decoder_in, memory->out_pixels);
    regroup(run, fsq->base.shape.out_channels, memory->out_pixels, memory->out_patches, out, true);
}

static void fsq_decode(const Run *run, float *out) {
    const Fsq *fsq = (const Fsq *)run->network;
    FsqMemory memory = memory_of(run);
    no_labels(run, &memory);
    code_values(run->stream, (CodeValues){.ids = run->input->ids,
                                          .y = memory.value,
                                          .samples = run->input->samples,
                                          .digits = fsq->digits,
                                          .places = fsq->places});
    decode_values(run, &memory, out);
}

static void fsq_forward(const Run *run, float *out) {
    FsqMemory memory = memory_of(run);
    fsq_encode(run, NULL);
    decode_values(run, &memory, out);
}

// The value passes its gradient on to the number as if it had not been rounded.
static void fsq_backward(const Run *run, float *dout, float *dx) {
    const Fsq *fsq = (const Fsq *)run->network;
    FsqMemory memory = memory_of(run);
    NetworkMemory encoder = inner(run, memory.encoder), decoder = inner(run, memory.decoder);
    int64_t digits = run->input->samples * fsq->digits * fsq->places;
    regroup(run, fsq->base.shape.out_channels, dout, memory.out_patches, memory.out_pixels, false);
    network_backward(fsq->decoder, run->stream, &decoder, &memory.decoder_in, memory.out_pixels,
                     run->grads, run->accumulate, memory.number);
    multiply(run->stream, (Elementwise){.x = memory.slope, .y = memory.number, .n = digits});
    float *dpixels = dx != NULL ? memory.pixels : NULL;
    network_backward(fsq->encoder, run->stream, &encoder, &memory.encoder_in, memory.number,
                     run->grads, run->accumulate, dpixels);
    if (dx != NULL) regroup(run, fsq->base.shape.channels, dpixels, memory.patches, dx, true);
}

const NetworkFamily network_fsq = {
    .name = "fsq",
    .check = fsq_check,
    .bytes = sizeof(Fsq),
    .plan = fsq_plan,
    .close = fsq_close,
    .activation_bytes = fsq_activation_bytes,
    .table_fill = fsq_table_fill,
    .forward = fsq_forward,
    .backward = fsq_backward,
    .encode = fsq_encode,
    .decode = fsq_decode,
};
