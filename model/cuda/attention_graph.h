// Attention as operation graphs of cuDNN (its backend API), which is opened at run time. To build
// one needs no GPU.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <cudnn.h>

#include "base/status.h"

typedef cudnnBackendDescriptor_t Descriptor; // of a tensor, an operation, an engine, a plan

// Of the 9.x series: all that is called.
#define CUDNN_FUNCTIONS(X)                                                                         \
    X(GetVersion)                                                                                  \
    X(GetErrorString)                                                                              \
    X(Create)                                                                                      \
    X(Destroy)                                                                                     \
    X(SetStream)                                                                                   \
    X(BackendCreateDescriptor)                                                                     \
    X(BackendDestroyDescriptor)                                                                    \
    X(BackendSetAttribute)                                                                         \
    X(BackendGetAttribute)                                                                         \
    X(BackendFinalize)                                                                             \
    X(BackendExecute)

#define CUDNN_POINTER(name) __typeof__(&cudnn##name) name;
typedef struct {
    CUDNN_FUNCTIONS(CUDNN_POINTER)
} CudnnLibrary;
#undef CUDNN_POINTER

// It stays open. BAD_CONFIG: not installed, or older than 9.16, whose gradients are wrong where the
// number of tokens is no multiple of 128 (the workaround of NVIDIA's own front end says so).
Status cudnn_load(const CudnnLibrary **out);

// bf16, every token reads all. Numbers only: it is compared as it lies.
typedef struct {
    int64_t samples, tokens, heads, head_dim, grad;
} AttentionShape;

// What a graph reads and writes. Q, K, V are [samples,heads,tokens,head_dim] within packed qkv, DQ,
// DK, DV within dqkv, OUT and DOUT within out; LSE and DOT (of the gradient, an intermediate
// result) [samples,heads,tokens] fp32; SCALE and ONE are fp32 of the host.
typedef enum {
    UID_Q = 1,
    UID_K,
    UID_V,
    UID_OUT,
    UID_LSE,
    UID_SCALE,
    UID_DOUT,
    UID_DQ,
    UID_DK,
    UID_DV,
    UID_DOT,
    UID_ONE,
    UID_VIRTUAL, // and those that follow: within the graph
} AttentionUid;

enum { DESCRIPTORS_MOST = 192, OPERATIONS_MOST = 17 };

// All descriptors that belong together, and the first failure among the calls that made them; after
// it nothing more is called.
typedef struct {
    const CudnnLibrary *library;
    cudnnStatus_t status;
    Descriptor made[DESCRIPTORS_MOST], operation[OPERATIONS_MOST];
    int descriptors, operations, uids;
    Descriptor graph;
} AttentionGraph;

// handle NULL: for no GPU in particular. On failure `status` says which; close in any case.
void attention_graph_open(const CudnnLibrary *library, cudnnHandle_t handle,
                          const AttentionShape *shape, AttentionGraph *out);
void attention_graph_close(AttentionGraph *graph);

// A further descriptor, which is closed with the graph; NULL after a failure.
Descriptor graph_make(AttentionGraph *graph, cudnnBackendDescriptorType_t type);
void graph_set(AttentionGraph *graph, Descriptor of, cudnnBackendAttributeName_t name,
               cudnnBackendAttributeType_t type, int64_t count, const void *values);
void graph_part(AttentionGraph *graph, Descriptor of, cudnnBackendAttributeName_t name,
                Descriptor part); // the same of another descriptor
void graph_finish(AttentionGraph *graph, Descriptor of);

// The engine configurations that the library proposes in this mode, in its order, of which those
// are left out that it says do not repeat their bits. `gpu`: a finished description of a GPU's
// properties; NULL: of that of the graph's handle. Returns how many.
enum { PROPOSALS_MOST = 16 };
int graph_engines(AttentionGraph *graph, cudnnBackendHeurMode_t mode, Descriptor gpu,
                  Descriptor engines[PROPOSALS_MOST]);

// Bytes that an engine configuration, or a plan, needs; `name` is its attribute.
int64_t graph_workspace(AttentionGraph *graph, Descriptor of, cudnnBackendAttributeName_t name);
