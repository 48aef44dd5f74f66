// Attention by cuDNN: plans for each shape, built once and kept. The engine is the first that the
// library proposes and can build, never the fastest of a trial: bits repeat.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/cuda/attention_graph.h"
#include "model/cuda/attention_room.h"

enum { WIDEST_HEAD = 256, ALIGNMENT = 16, SCRATCH_ALIGNMENT = 256 };

typedef struct Plan {
    AttentionShape shape;
    struct Plan *next;
    AttentionGraph graph;
    Descriptor plan; // NULL: this shape is not taken
    int64_t wanted;  // not taken for lack of so many bytes of workspace; 0: at all
} Plan;

struct AttentionRoom {
    const CudnnLibrary *library;
    cudnnHandle_t handle;
    Plan *plans;
    char failure[200]; // what cuda_note has been told
};

// ---- plans --------------------------------------------------------------------------------------

// What the library does not do, as opposed to what went wrong on this machine: the latter must not
// choose another way, which other ranks would not take.
static bool is_refusal(cudnnStatus_t status) {
    bool missing = status == CUDNN_STATUS_NOT_SUPPORTED_RUNTIME_PREREQUISITE_MISSING ||
                   status == CUDNN_STATUS_NOT_SUPPORTED_SUBLIBRARY_UNAVAILABLE;
    int kind = CUDNN_STATUS_CATEGORY((int)status);
    return !missing && (kind == CUDNN_STATUS_NOT_SUPPORTED || kind == CUDNN_STATUS_BAD_PARAM);
}

// Builds the plan of one engine configuration if its workspace fits.
static void plan_try(AttentionRoom *room, Plan *plan, Descriptor engine, int64_t scratch) {
    AttentionGraph *graph = &plan->graph;
    int64_t needed = graph_workspace(graph, engine, CUDNN_ATTR_ENGINECFG_WORKSPACE_SIZE);
    Descriptor made = NULL;
    if (needed <= scratch) {
        made = graph_make(graph, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
        graph_set(graph, made, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1,
                  &room->handle);
        graph_part(graph, made, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, engine);
        graph_finish(graph, made);
        needed = graph_workspace(graph, made, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE);
    }
    if (is_refusal(graph->status))
        graph->status = CUDNN_STATUS_SUCCESS; // the next may do
    else if (graph->status == CUDNN_STATUS_SUCCESS && needed <= scratch)
        plan->plan = made;
    else if (graph->status == CUDNN_STATUS_SUCCESS && (plan->wanted == 0 || needed < plan->wanted))
        plan->wanted = needed;
}

static void plan_open(AttentionRoom *room, Plan *plan, int64_t scratch) {
    static const cudnnBackendHeurMode_t modes[] = {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK};
    AttentionGraph *graph = &plan->graph;
    attention_graph_open(room->library, room->handle, &plan->shape, graph);
    for (size_t m = 0; m < sizeof modes / sizeof *modes && plan->plan == NULL; ++m) {
        Descriptor engines[PROPOSALS_MOST];
        int count = graph_engines(graph, modes[m], NULL, engines);
        for (int i = 0; i < count && plan->plan == NULL; ++i)
            plan_try(room, plan, engines[i], scratch);
    }
}

static void plan_close(Plan *plan) {
    attention_graph_close(&plan->graph);
    free(plan);
}

static void note_failure(Stream *stream, const AttentionShape *shape, cudnnStatus_t status) {
    AttentionRoom *room = cuda_attention_room(stream);
    snprintf(room->failure, sizeof room->failure,
             "%lld x %lld x %lld x %lld, cuDNN says %.100s; device.attention=products goes without",
             (long long)shape->samples, (long long)shape->tokens, (long long)shape->heads,
             (long long)shape->head_dim, room->library->GetErrorString(status));
    cuda_note(stream, cudaErrorNotSupported, room->failure);
}

// Bytes before the workspace: the gradient's intermediate result.
static int64_t dot_bytes(const AttentionShape *shape) {
    int64_t bytes = shape->samples * shape->heads * shape->tokens * (int64_t)sizeof(float);
    return shape->grad ? (bytes + SCRATCH_ALIGNMENT - 1) / SCRATCH_ALIGNMENT * SCRATCH_ALIGNMENT
                       : 0;
}

// NULL: a failure of the stream.
static Plan *plan_of(Stream *stream, const AttentionShape *shape) {
    AttentionRoom *room = cuda_attention_room(stream);
    for (Plan *plan = room->plans; plan != NULL; plan = plan->next)
        if (memcmp(&plan->shape, shape, sizeof *shape) == 0) return plan;
    Plan *plan = calloc(1, sizeof *plan);
    if (plan == NULL) {
        cuda_note(stream, cudaErrorMemoryAllocation, "plans of attention");
        return NULL;
    }
    plan->shape = *shape;
    plan_open(room, plan, (int64_t)cuda_scratch_bytes(stream) - dot_bytes(shape));
    if (plan->graph.status != CUDNN_STATUS_SUCCESS && !is_refusal(plan->graph.status)) {
        note_failure(stream, shape, plan->graph.status);
        plan_close(plan);
        return NULL;
    }
    plan->next = room->plans;
    return room->plans = plan;
}

// ---- execution ----------------------------------------------------------------------------------

// Pointers by uid, from UID_Q on, for the samples that begin at `first`.
static void point(const Attention *a, int64_t first, float *dot, float scale[2],
                  void *out[UID_VIRTUAL]) {
    int64_t joined = a->heads * a->head_dim, row = first * a->tokens;
    uint16_t *qkv = (uint16_t *)(uintptr_t)a->qkv + row * 3 * joined;
    uint16_t *dqkv = a->dqkv != NULL ? (uint16_t *)a->dqkv + row * 3 * joined : NULL;
    out[UID_Q] = qkv, out[UID_K] = qkv + joined, out[UID_V] = qkv + 2 * joined;
    out[UID_OUT] = (uint16_t *)a->out + row * joined;
    out[UID_LSE] = a->lse + row * a->heads;
    out[UID_SCALE] = &scale[0];
    if (dqkv == NULL) return;
    out[UID_DOUT] = (uint16_t *)(uintptr_t)a->dout + row * joined;
    out[UID_DQ] = dqkv, out[UID_DK] = dqkv + joined, out[UID_DV] = dqkv + 2 * joined;
    out[UID_DOT] = dot, out[UID_ONE] = &scale[1];
}

static void plan_execute(Stream *stream, const Plan *plan, const Attention *args, int64_t first) {
    const AttentionRoom *room = cuda_attention_room(stream);
    const AttentionShape *shape = &plan->shape;
    float scale[2] = {1.0f / sqrtf((float)args->head_dim), 1.0f};
    char *scratch = cuda_scratch(stream);
    void *pointers[UID_VIRTUAL], *workspace = scratch + dot_bytes(shape);
    int64_t uids[UID_VIRTUAL], count = (shape->grad ? UID_VIRTUAL : UID_SCALE + 1) - UID_Q;
    for (int i = UID_Q; i < UID_VIRTUAL; ++i) uids[i] = i;
    point(args, first, (float *)scratch, scale, pointers);
    AttentionGraph call = {.library = room->library};
    Descriptor pack = graph_make(&call, CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
    graph_set(&call, pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, count,
              uids + UID_Q);
    graph_set(&call, pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, count,
              pointers + UID_Q);
    graph_set(&call, pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace);
    graph_finish(&call, pack);
    if (call.status == CUDNN_STATUS_SUCCESS)
        call.status = room->library->BackendExecute(room->handle, plan->plan, pack);
    if (call.status != CUDNN_STATUS_SUCCESS) note_failure(stream, shape, call.status);
    attention_graph_close(&call);
}

static bool is_aligned(const void *at) {
    return (uintptr_t)at % ALIGNMENT == 0;
}

static bool is_taken(const Attention *a) {
    return a->half && !a->cached && a->block == 0 && a->head_dim % 8 == 0 &&
           a->head_dim <= WIDEST_HEAD && is_aligned(a->qkv) && is_aligned(a->out) &&
           is_aligned(a->lse) && is_aligned(a->dout) && is_aligned(a->dqkv);
}

// The plan of as many samples at once as the scratch has room for: all, or else so many that all
// arrays are aligned where the next ones begin. NULL: none.
static Plan *plan_fitting(Stream *stream, AttentionShape *shape) {
    int64_t unit = shape->heads * shape->tokens % 4 == 0 ? 1 : 4; // for lse, of 4 bytes
    for (;;) {
        Plan *plan = plan_of(stream, shape);
        if (plan == NULL || plan->plan != NULL) return plan;
        if (plan->wanted == 0) return NULL;
        int64_t fit = shape->samples * (int64_t)cuda_scratch_bytes(stream) /
                      (plan->wanted + dot_bytes(shape));
        if (fit >= shape->samples) fit = shape->samples - 1; // what it wants grows in steps
        shape->samples = fit / unit * unit;
        if (shape->samples == 0) return NULL;
    }
}

bool attention_by_library(Stream *stream, const Attention *args, bool grad) {
    if (cuda_attention_room(stream) == NULL || !is_taken(args)) return false;
    AttentionShape shape = {args->samples, args->tokens, args->heads, args->head_dim, grad};
    const Plan *plan = plan_fitting(stream, &shape), *rest = plan;
    if (plan == NULL) return cuda_failed(stream);
    shape.samples = args->samples % plan->shape.samples;
    if (shape.samples > 0) rest = plan_of(stream, &shape);
    if (rest == NULL || rest->plan == NULL) return cuda_failed(stream);
    for (int64_t first = 0; first < args->samples; first += plan->shape.samples)
        plan_execute(stream, args->samples - first < plan->shape.samples ? rest : plan, args,
                     first);
    return true;
}

// ---- opening ------------------------------------------------------------------------------------

// Whether the library proposes an engine for what every GPU that we run on takes. It has none where
// a part of it is missing: then this rank is to differ in its description, not in its bits alone.
static bool is_of_use(AttentionRoom *room) {
    static const AttentionShape common = {1, 256, 1, 64, 0};
    Descriptor engines[PROPOSALS_MOST];
    AttentionGraph graph;
    attention_graph_open(room->library, room->handle, &common, &graph);
    int count = graph_engines(&graph, CUDNN_HEUR_MODE_A, NULL, engines);
    attention_graph_close(&graph);
    return count > 0;
}

static Status room_open(AttentionRoom *room, cudaStream_t queue) {
    TRY(cudnn_load(&room->library));
    cudnnStatus_t status = room->library->Create(&room->handle);
    if (status == CUDNN_STATUS_SUCCESS) status = room->library->SetStream(room->handle, queue);
    FAIL_IF(status != CUDNN_STATUS_SUCCESS, BAD_CONFIG, "cuDNN does not start on this GPU: %s",
            room->library->GetErrorString(status));
    FAIL_IF(!is_of_use(room), BAD_CONFIG,
            "cuDNN proposes no attention on this GPU (CUDNN_LOGLEVEL_DBG=2 tells why)");
    return STATUS_OK;
}

Status attention_room_open(const char *choice, cudaStream_t queue, AttentionRoom **out) {
    *out = NULL;
    if (choice != NULL && strcmp(choice, "products") == 0) return STATUS_OK;
    AttentionRoom *room = calloc(1, sizeof *room);
    FAIL_IF(room == NULL, NO_MEMORY, "no memory for a stream's attention");
    if (room_open(room, queue) == STATUS_OK) {
        *out = room;
        return STATUS_OK;
    }
    attention_room_close(room);
    ErrorRecord why = error_take();
    FAIL_IF(choice != NULL && strcmp(choice, "cudnn") == 0, BAD_CONFIG,
            "device.attention is cudnn: %s", why.text);
    return STATUS_OK;
}

void attention_room_close(AttentionRoom *room) {
    if (room == NULL) return;
    for (Plan *plan = room->plans, *next; plan != NULL; plan = next)
        next = plan->next, plan_close(plan);
    if (room->handle != NULL) (void)room->library->Destroy(room->handle);
    free(room);
}

void attention_describe(const AttentionRoom *room, char *text, size_t bytes) {
    if (bytes > 0) text[0] = 0;
    if (room == NULL) return;
    size_t version = room->library->GetVersion();
    snprintf(text, bytes, ", cuDNN %zu.%zu.%zu", version / 10000, version / 100 % 100,
             version % 100);
}
