// The operations of attention, forward and gradient, in the patterns that cuDNN's engines take.
#include "model/cuda/attention_graph.h"

#include <dlfcn.h>
#include <string.h>

enum { OLDEST = 91600, AXES = 4, ALIGNMENT = 16 };

// ---- the library --------------------------------------------------------------------------------

Status cudnn_load(const CudnnLibrary **out) {
    static CudnnLibrary library;
    static void *opened;
    *out = NULL;
    if (opened == NULL) opened = dlopen("libcudnn.so.9", RTLD_NOW | RTLD_LOCAL);
    FAIL_IF(opened == NULL, BAD_CONFIG, "cuDNN 9 is not installed: %s", dlerror());
#define FIND(name)                                                                                 \
    *(void **)&library.name = dlsym(opened, "cudnn" #name);                                        \
    FAIL_IF(library.name == NULL, BAD_CONFIG, "libcudnn.so.9 has no cudnn" #name);
    CUDNN_FUNCTIONS(FIND)
#undef FIND
    size_t version = library.GetVersion();
    FAIL_IF(version < OLDEST, BAD_CONFIG, "cuDNN is %zu.%zu, attention needs 9.16 or later",
            version / 10000, version / 100 % 100);
    *out = &library;
    return STATUS_OK;
}

// ---- descriptors --------------------------------------------------------------------------------

static void note(AttentionGraph *graph, cudnnStatus_t status) {
    if (graph->status == CUDNN_STATUS_SUCCESS) graph->status = status;
}

Descriptor graph_make(AttentionGraph *graph, cudnnBackendDescriptorType_t type) {
    if (graph->descriptors == DESCRIPTORS_MOST) note(graph, CUDNN_STATUS_INTERNAL_ERROR);
    if (graph->status != CUDNN_STATUS_SUCCESS) return NULL;
    Descriptor made = NULL;
    note(graph, graph->library->BackendCreateDescriptor(type, &made));
    if (graph->status != CUDNN_STATUS_SUCCESS) return NULL;
    return graph->made[graph->descriptors++] = made;
}

void graph_set(AttentionGraph *graph, Descriptor of, cudnnBackendAttributeName_t name,
               cudnnBackendAttributeType_t type, int64_t count, const void *values) {
    if (graph->status == CUDNN_STATUS_SUCCESS)
        note(graph, graph->library->BackendSetAttribute(of, name, type, count, values));
}

void graph_finish(AttentionGraph *graph, Descriptor of) {
    if (graph->status == CUDNN_STATUS_SUCCESS) note(graph, graph->library->BackendFinalize(of));
}

static void graph_get(AttentionGraph *graph, Descriptor of, cudnnBackendAttributeName_t name,
                      cudnnBackendAttributeType_t type, int64_t most, int64_t *count,
                      void *values) {
    if (graph->status == CUDNN_STATUS_SUCCESS)
        note(graph, graph->library->BackendGetAttribute(of, name, type, most, count, values));
}

void attention_graph_close(AttentionGraph *graph) {
    while (graph->descriptors > 0)
        (void)graph->library->BackendDestroyDescriptor(graph->made[--graph->descriptors]);
}

static void set_type(AttentionGraph *graph, Descriptor of, cudnnBackendAttributeName_t name,
                     cudnnDataType_t type) {
    graph_set(graph, of, name, CUDNN_TYPE_DATA_TYPE, 1, &type);
}

void graph_part(AttentionGraph *graph, Descriptor of, cudnnBackendAttributeName_t name,
                Descriptor part) {
    graph_set(graph, of, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &part);
}

// ---- tensors ------------------------------------------------------------------------------------

typedef struct {
    int64_t size[AXES], stride[AXES];
} Layout;

typedef enum { IN_MEMORY, IN_GRAPH, ON_HOST } Place;

static Descriptor tensor(AttentionGraph *graph, int64_t uid, cudnnDataType_t type, Place place,
                         const Layout *layout) {
    Descriptor made = graph_make(graph, CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    int64_t alignment = ALIGNMENT;
    bool is_virtual = place == IN_GRAPH, by_value = place == ON_HOST;
    set_type(graph, made, CUDNN_ATTR_TENSOR_DATA_TYPE, type);
    graph_set(graph, made, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, AXES, layout->size);
    graph_set(graph, made, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, AXES, layout->stride);
    graph_set(graph, made, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &uid);
    graph_set(graph, made, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &alignment);
    graph_set(graph, made, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &is_virtual);
    graph_set(graph, made, CUDNN_ATTR_TENSOR_IS_BY_VALUE, CUDNN_TYPE_BOOLEAN, 1, &by_value);
    graph_finish(graph, made);
    return made;
}

static Descriptor within(AttentionGraph *graph, cudnnDataType_t type, const Layout *layout) {
    return tensor(graph, UID_VIRTUAL + graph->uids++, type, IN_GRAPH, layout);
}

// [samples,heads,rows,columns], rows `row` numbers apart.
static Layout layout_of(const AttentionShape *shape, int64_t rows, int64_t columns) {
    int64_t one = rows * columns;
    return (Layout){{shape->samples, shape->heads, rows, columns},
                    {shape->heads * one, one, columns, 1}};
}

// A head of `parts` parts that lie side by side in the row of a token: 3 of qkv, 1 of out.
static Layout layout_packed(const AttentionShape *shape, int64_t parts) {
    int64_t row = parts * shape->heads * shape->head_dim;
    return (Layout){{shape->samples, shape->heads, shape->tokens, shape->head_dim},
                    {shape->tokens * row, shape->head_dim, row, 1}};
}

static Layout layout_transposed(Layout of) {
    return (Layout){{of.size[0], of.size[1], of.size[3], of.size[2]},
                    {of.stride[0], of.stride[1], of.stride[3], of.stride[2]}};
}

static Descriptor number(AttentionGraph *graph, AttentionUid uid) {
    static const Layout single = {{1, 1, 1, 1}, {1, 1, 1, 1}};
    return tensor(graph, uid, CUDNN_DATA_FLOAT, ON_HOST, &single);
}

static Descriptor half(AttentionGraph *graph, AttentionUid uid, const Layout *layout) {
    return tensor(graph, uid, CUDNN_DATA_BFLOAT16, IN_MEMORY, layout);
}

static Descriptor rows_of(AttentionGraph *graph, AttentionUid uid, const AttentionShape *shape) {
    Layout rows = layout_of(shape, shape->tokens, 1);
    return tensor(graph, uid, CUDNN_DATA_FLOAT, IN_MEMORY, &rows);
}

// ---- operations ---------------------------------------------------------------------------------

static void add_operation(AttentionGraph *graph, Descriptor operation) {
    graph_finish(graph, operation);
    if (graph->operations == OPERATIONS_MOST) note(graph, CUDNN_STATUS_INTERNAL_ERROR);
    if (graph->status == CUDNN_STATUS_SUCCESS) graph->operation[graph->operations++] = operation;
}

static void add_matmul(AttentionGraph *graph, Descriptor a, Descriptor b, Descriptor c) {
    Descriptor kind = graph_make(graph, CUDNN_BACKEND_MATMUL_DESCRIPTOR);
    set_type(graph, kind, CUDNN_ATTR_MATMUL_COMP_TYPE, CUDNN_DATA_FLOAT);
    graph_finish(graph, kind);
    Descriptor made = graph_make(graph, CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR);
    graph_part(graph, made, CUDNN_ATTR_OPERATION_MATMUL_DESC, kind);
    graph_part(graph, made, CUDNN_ATTR_OPERATION_MATMUL_ADESC, a);
    graph_part(graph, made, CUDNN_ATTR_OPERATION_MATMUL_BDESC, b);
    graph_part(graph, made, CUDNN_ATTR_OPERATION_MATMUL_CDESC, c);
    add_operation(graph, made);
}

// y = mode(x, b); b NULL: of x alone.
static void add_pointwise(AttentionGraph *graph, cudnnPointwiseMode_t mode, Descriptor x,
                          Descriptor b, Descriptor y) {
    Descriptor kind = graph_make(graph, CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
    graph_set(graph, kind, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode);
    set_type(graph, kind, CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_DATA_FLOAT);
    graph_finish(graph, kind);
    Descriptor made = graph_make(graph, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    graph_part(graph, made, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, kind);
    graph_part(graph, made, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x);
    if (b != NULL) graph_part(graph, made, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, b);
    graph_part(graph, made, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y);
    add_operation(graph, made);
}

static void add_sum(AttentionGraph *graph, Descriptor x, Descriptor y) {
    cudnnReduceTensorOp_t add = CUDNN_REDUCE_TENSOR_ADD;
    Descriptor kind = graph_make(graph, CUDNN_BACKEND_REDUCTION_DESCRIPTOR);
    graph_set(graph, kind, CUDNN_ATTR_REDUCTION_OPERATOR, CUDNN_TYPE_REDUCTION_OPERATOR_TYPE, 1,
              &add);
    set_type(graph, kind, CUDNN_ATTR_REDUCTION_COMP_TYPE, CUDNN_DATA_FLOAT);
    graph_finish(graph, kind);
    Descriptor made = graph_make(graph, CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR);
    graph_part(graph, made, CUDNN_ATTR_OPERATION_REDUCTION_DESC, kind);
    graph_part(graph, made, CUDNN_ATTR_OPERATION_REDUCTION_XDESC, x);
    graph_part(graph, made, CUDNN_ATTR_OPERATION_REDUCTION_YDESC, y);
    add_operation(graph, made);
}

// bf16, [rows,columns] of x as [columns,rows].
static Descriptor add_transpose(AttentionGraph *graph, Descriptor x, Layout layout) {
    Layout transposed = layout_transposed(layout);
    Descriptor y = within(graph, CUDNN_DATA_BFLOAT16, &transposed);
    Descriptor made = graph_make(graph, CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR);
    graph_part(graph, made, CUDNN_ATTR_OPERATION_RESHAPE_XDESC, x);
    graph_part(graph, made, CUDNN_ATTR_OPERATION_RESHAPE_YDESC, y);
    add_operation(graph, made);
    return y;
}

static Descriptor mapped(AttentionGraph *graph, cudnnPointwiseMode_t mode, Descriptor x,
                         Descriptor b, const Layout *layout) {
    Descriptor y = within(graph, CUDNN_DATA_FLOAT, layout);
    add_pointwise(graph, mode, x, b, y);
    return y;
}

// ---- graphs -------------------------------------------------------------------------------------

static void add_forward(AttentionGraph *graph, const AttentionShape *shape) {
    Layout packed = layout_packed(shape, 3), joined = layout_packed(shape, 1);
    Descriptor made = graph_make(graph, CUDNN_BACKEND_OPERATION_SDPA_FWD_DESCRIPTOR);
    graph_part(graph, made, CUDNN_ATTR_OPERATION_SDPA_FWD_QDESC, half(graph, UID_Q, &packed));
    graph_part(graph, made, CUDNN_ATTR_OPERATION_SDPA_FWD_KDESC, half(graph, UID_K, &packed));
    graph_part(graph, made, CUDNN_ATTR_OPERATION_SDPA_FWD_VDESC, half(graph, UID_V, &packed));
    graph_part(graph, made, CUDNN_ATTR_OPERATION_SDPA_FWD_ODESC, half(graph, UID_OUT, &joined));
    graph_part(graph, made, CUDNN_ATTR_OPERATION_SDPA_FWD_STATSDESC,
               rows_of(graph, UID_LSE, shape));
    graph_part(graph, made, CUDNN_ATTR_OPERATION_SDPA_FWD_SCALEDESC, number(graph, UID_SCALE));
    add_operation(graph, made);
}

// dot = sum over head_dim of dout * out. The product with one is part of the pattern: there it
// would undo dropout.
static Descriptor add_dot(AttentionGraph *graph, const AttentionShape *shape, Descriptor dout) {
    Layout joined = layout_packed(shape, 1), rows = layout_of(shape, shape->tokens, 1);
    Descriptor product =
        mapped(graph, CUDNN_POINTWISE_MUL, dout, half(graph, UID_OUT, &joined), &joined);
    Descriptor sum = within(graph, CUDNN_DATA_FLOAT, &rows);
    Descriptor dot = rows_of(graph, UID_DOT, shape);
    add_sum(graph, product, sum);
    add_pointwise(graph, CUDNN_POINTWISE_MUL, sum, number(graph, UID_ONE), dot);
    return dot;
}

// p = exp(scale q k^T - lse);   dv = p^T dout;   ds = scale p (dout v^T - dot);
// dk = ds^T q;   dq = ds k. The products write dq, dk and dv themselves, so no sum depends on an
// order of blocks: with a dq that is added up in fp32 the graph would have an operation more.
static void add_grad(AttentionGraph *graph, const AttentionShape *shape) {
    Layout packed = layout_packed(shape, 3), joined = layout_packed(shape, 1);
    Layout turned = layout_transposed(packed);
    Layout scores = layout_of(shape, shape->tokens, shape->tokens);
    Descriptor q = half(graph, UID_Q, &packed), k = half(graph, UID_K, &turned);
    Descriptor v = half(graph, UID_V, &turned), dout = half(graph, UID_DOUT, &joined);
    Descriptor scale = number(graph, UID_SCALE), dot = add_dot(graph, shape, dout);
    Descriptor score = within(graph, CUDNN_DATA_FLOAT, &scores);
    add_matmul(graph, q, k, score);
    score = mapped(graph, CUDNN_POINTWISE_MUL, score, scale, &scores);
    score = mapped(graph, CUDNN_POINTWISE_SUB, score, rows_of(graph, UID_LSE, shape), &scores);
    Descriptor p = mapped(graph, CUDNN_POINTWISE_EXP, score, NULL, &scores);
    add_matmul(graph, add_transpose(graph, p, scores), dout, half(graph, UID_DV, &packed));
    Descriptor ds = within(graph, CUDNN_DATA_FLOAT, &scores);
    add_matmul(graph, dout, v, ds);
    ds = mapped(graph, CUDNN_POINTWISE_SUB, ds, dot, &scores);
    ds = mapped(graph, CUDNN_POINTWISE_MUL, ds, p, &scores);
    ds = mapped(graph, CUDNN_POINTWISE_MUL, ds, scale, &scores);
    add_matmul(graph, add_transpose(graph, ds, scores), q, half(graph, UID_DK, &packed));
    add_matmul(graph, ds, add_transpose(graph, k, turned), half(graph, UID_DQ, &packed));
}

void attention_graph_open(const CudnnLibrary *library, cudnnHandle_t handle,
                          const AttentionShape *shape, AttentionGraph *out) {
    *out = (AttentionGraph){.library = library};
    if (shape->grad)
        add_grad(out, shape);
    else
        add_forward(out, shape);
    out->graph = graph_make(out, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    graph_set(out, out->graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR,
              out->operations, out->operation);
    if (handle != NULL)
        graph_set(out, out->graph, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle);
    graph_finish(out, out->graph);
}

// ---- engines ------------------------------------------------------------------------------------

// What an engine says of itself. 9.19 does not say it of engines that add up dq in fp32, block by
// block: what keeps these away is the graph, which has no sum in memory.
static bool repeats_bits(AttentionGraph *graph, Descriptor config) {
    cudnnBackendNumericalNote_t notes[CUDNN_NUMERICAL_NOTE_TYPE_COUNT];
    Descriptor engine = graph_make(graph, CUDNN_BACKEND_ENGINE_DESCRIPTOR);
    int64_t count = 0;
    graph_get(graph, config, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &count,
              &engine);
    graph_get(graph, engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE,
              CUDNN_NUMERICAL_NOTE_TYPE_COUNT, &count, notes);
    if (graph->status != CUDNN_STATUS_SUCCESS) return false;
    for (int64_t i = 0; i < count; ++i)
        if (notes[i] == CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC) return false;
    return true;
}

int graph_engines(AttentionGraph *graph, cudnnBackendHeurMode_t mode, Descriptor gpu,
                  Descriptor engines[PROPOSALS_MOST]) {
    Descriptor choice = graph_make(graph, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    int64_t count = 0;
    int kept = 0;
    graph_part(graph, choice, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph->graph);
    graph_set(graph, choice, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
    if (gpu != NULL) graph_part(graph, choice, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, gpu);
    graph_finish(graph, choice);
    for (int i = 0; i < PROPOSALS_MOST; ++i)
        engines[i] = graph_make(graph, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    graph_get(graph, choice, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR,
              PROPOSALS_MOST, &count, engines);
    for (int64_t i = 0; i < count && graph->status == CUDNN_STATUS_SUCCESS; ++i)
        if (repeats_bits(graph, engines[i])) engines[kept++] = engines[i];
    return kept;
}

int64_t graph_workspace(AttentionGraph *graph, Descriptor of, cudnnBackendAttributeName_t name) {
    int64_t bytes = 0, count = 0;
    graph_get(graph, of, name, CUDNN_TYPE_INT64, 1, &count, &bytes);
    return bytes;
}
