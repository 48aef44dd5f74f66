// A backbone: the function (x_t, time, label) -> out that a process trains.
//
// Three families share this interface: `dit`, a bidirectional transformer with adaLN-zero (Peebles
// and Xie, arXiv 2212.09748) for images and token sequences, `mlp` for vectors, and `fsq`, which
// lets an image through discrete codes. A Network is a plan: sizes and parameter offsets, no
// memory. Memory for one grain on one stream is an Activations block planned by
// network_activation_bytes and allocated by the trainer before the first step.
//
// With blocks a sample goes through twice in one pass, as `ids`, whose tokens read their own block
// and finished ones, and as `context`, the finished ones; out is of the first. A cached network has
// the same parameters and takes one block at a time: its activations, zero at first, remember each
// block as it was in its last pass, for those behind it to read.
#pragma once

#include "model/backend.h"
#include "model/params.h"

enum { TIME_FEATURES = 256 };

typedef struct {
    char family[8];        // "dit", "mlp" or "fsq"
    int32_t width, depth;  // D and number of blocks (mlp: hidden layers; fsq: of each half)
    int32_t heads, patch;  // dit; a token is patch x patch pixels, or patch symbols
    int32_t mlp_ratio;     // hidden width of a block's MLP = mlp_ratio * width
    int32_t codes;         // fsq: symbols that a patch may become
    float dropout;         // on both branches of every block
    char precision[8];     // "fp32", or "bf16": operands of the blocks' products and activations
    bool fourier;          // numbers: x comes with sin, cos(2 pi 64 x) and (2 pi 128 x)
    char timestep_freq[8]; // "div-127" (diffusers) or "div-128" (DiT): f_k = 10000^(-k/127|128)
    // dit, fsq: of so many leading blocks backward computes activations again, to the same bits,
    // instead of keeping them; nothing else depends on it.
    int32_t recompute;
} NetworkConfig;

// What goes in and out, decided by the data set and the process.
typedef struct {
    bool tokens, latent;             // ids instead of numbers; images whose numbers have no levels
    int32_t channels, height, width; // image; a vector has channels = its dimension, 1 x 1
    int32_t length, vocabulary;      // tokens: ids in [0, vocabulary)
    int32_t out_channels; // out [g, out_channels, height, width] or [g, length, out_channels]
    int32_t classes;      // label ids in [0, classes]; `classes` itself is the null class
    bool time_input;      // SUNDAE-like systems have none
    bool autoencoder;     // out is to be made of codes alone
    // Tokens in blocks of so many, drawn one after the other (arXiv 2503.09573); 0: all at once.
    // cached: a pass is of one block, and finished blocks are remembered.
    int32_t block;
    bool cached;
} NetworkShape;

typedef struct Network Network;

// Inputs of one grain in device memory, lent for the duration of forward and backward.
typedef struct {
    int64_t samples;    // at most the grain that the activations were planned for
    const float *x;     // [samples, channels, height, width], NULL for tokens
    const int32_t *ids; // [samples, length], or [samples, block]; NULL for numbers
    // Blocks, [samples, length]: what the blocks after one read of it. cached: that of the passes
    // before, of which each leaves its own behind, and `at` is where this block begins.
    const int32_t *context;
    int64_t at;
    const float *time;      // [samples, TIME_FEATURES], from network_time_features
    float *dtime;           // the same, written by network_backward; NULL: not wanted
    const int32_t *label;   // [samples]
    const uint64_t *sample; // [samples] global numbers, for dropout
    RngKey dropout;         // step of the key: optimizer step; ignored when dropout_on is false
    bool dropout_on;        // sites: 2 i and 2 i + 1 of dit block i, i of mlp layer i
} NetworkInput;

// Checks the config against the shape and adds the tensors to `params`. Errors: BAD_CONFIG.
Status network_open(const NetworkConfig *config, const NetworkShape *shape, Params *params,
                    Network **out);
void network_close(Network *network);

int64_t network_in_item(const Network *network);  // numbers (or ids) of one sample
int64_t network_out_item(const Network *network); // numbers of `out` for one sample
// Floating point operations of one sample's forward pass (multiply-add = 2); training costs 3
// times, not counting what is computed again.
double network_forward_flops(const Network *network);

bool network_is_half(const Network *network); // model.precision is bf16

// Bytes of activations for a grain of `samples`; `backward` false: inference only, less. A smaller
// grain needs no more.
size_t network_activation_bytes(const Network *network, int64_t samples, bool backward);
size_t network_scratch_bytes(const Network *network); // for DeviceConfig, as the next
size_t network_wide_bytes(const Network *network, int64_t samples);
// Constant tables (positions) that all streams share: bytes (0: none), their values into host
// memory.
size_t network_table_bytes(const Network *network);
void network_table_fill(const Network *network, float *table);

// Memory of one stream: all in device memory, sized as above.
typedef struct {
    const float *weights;     // the flat parameter vector, or an EMA of it
    const void *half_weights; // the same rounded to bf16 (halve); read where network_is_half
    const float *table;
    void *activations;
    bool backward; // activations were planned for backward and forward keeps what it needs
    // Told from time to time, NULL: nobody asks. By network_forward before anything that reads
    // weights[...to - 1] is queued, by network_backward when all that writes grads[from...] is.
    void (*reads)(void *context, int64_t to);
    void (*written)(void *context, int64_t from);
    void *context; // of both
} NetworkMemory;

// out [samples, network_out_item]. What `activations` held before does not matter.
void network_forward(const Network *network, Stream *stream, const NetworkMemory *memory,
                     const NetworkInput *input, float *out);

// What the last layer reads, before its norm, after a forward with the same arguments:
// [samples, tokens, width] within the activations. NULL: this family has none.
const float *network_stream(const Network *network, const NetworkMemory *memory,
                            const NetworkInput *input, int64_t *tokens);

// Gradients of the forward before, with the same arguments, each forward once: written to
// grads[params.size] (added if `accumulate`, each in one rounding, for a further pass), and to dx
// [samples, in_item] if not NULL (numbers only). dout may be overwritten. Needs memory->backward.
void network_backward(const Network *network, Stream *stream, const NetworkMemory *memory,
                      const NetworkInput *input, float *dout, float *grads, bool accumulate,
                      float *dx);

// Of a network that goes through codes: an image is code_places of them, row by row, each below
// model.codes; 0: another network. network_encode: ids [samples, code_places] of input->x;
// network_decode: out of input->ids, as network_forward.
int64_t network_code_places(const Network *network);
void network_encode(const Network *network, Stream *stream, const NetworkMemory *memory,
                    const NetworkInput *input, int32_t *ids);
void network_decode(const Network *network, Stream *stream, const NetworkMemory *memory,
                    const NetworkInput *input, float *out);

// features[k] = cos(time f_k), features[128+k] = sin(time f_k), k < 128, computed on the host in
// float64; `time` is 1000 t for t in [0,1] (or the integer step of a 1000-step process).
void network_time_features(const Network *network, double time, float features[TIME_FEATURES]);
// Their derivatives with respect to `time`.
void network_time_slope(const Network *network, double time, float slope[TIME_FEATURES]);
