// The functions of cuDNN's backend API that model/cuda/attention_graph.c and attention_cudnn.c
// call, on the CPU: graphs of operations are interpreted, one after the other, each as its
// documentation has it. What is not known here, is missing, has another type or size, is not
// finalized or not aligned is refused, so that a wrong graph fails a test.
//
// Three engines are proposed: one that says it does not repeat its bits (and computes nothing), one
// that cannot be built after all, and one that works. DYE_EMULATED_CUDNN=old is an older library,
// =none proposes nothing, =forward nothing for gradients, =broken fails to build plans, which is no
// refusal.
#include "cudnn_operations.h"

#include <stdlib.h>

#include <memory>

#include "tests/cuda/emulated/emulated_stream.h"

namespace {

int plans, executions; // that were made

bool told(const char *word) {
    const char *given = getenv("DYE_EMULATED_CUDNN");
    return given != nullptr && strcmp(given, word) == 0;
}

// Calls `call` with the operation that a descriptor is; false: it is none.
template <class Call> bool as_operation(const Descriptor &d, Call call) {
    switch (d.type) {
    case CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR: call(Matmul(d)); return true;
    case CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR: call(Pointwise(d)); return true;
    case CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR: call(Sum(d)); return true;
    case CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR: call(Reshape(d)); return true;
    case CUDNN_BACKEND_OPERATION_SDPA_FWD_DESCRIPTOR: call(Attend(d)); return true;
    default: return false;
    }
}

// ---- graphs -------------------------------------------------------------------------------------

// The tensors that an operation names, in the order of its attributes.
std::vector<const Descriptor *> tensors_of(const Descriptor &operation) {
    std::vector<const Descriptor *> all;
    for (const auto &[name, attribute] : operation.set)
        if (const Descriptor *d = part(operation, (cudnnBackendAttributeName_t)name);
            d->type == CUDNN_BACKEND_TENSOR_DESCRIPTOR)
            all.push_back(d);
    return all;
}

const Descriptor *result_of(const Descriptor &operation) {
    switch (operation.type) {
    case CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR:
        return part(operation, CUDNN_ATTR_OPERATION_MATMUL_CDESC);
    case CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR:
        return part(operation, CUDNN_ATTR_OPERATION_POINTWISE_YDESC);
    case CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR:
        return part(operation, CUDNN_ATTR_OPERATION_REDUCTION_YDESC);
    case CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR:
        return part(operation, CUDNN_ATTR_OPERATION_RESHAPE_YDESC);
    default: return nullptr;
    }
}

std::vector<const Descriptor *> operations_of(const Descriptor &graph) {
    std::vector<const Descriptor *> all;
    for (int64_t i = 0; i < graph.set.at(CUDNN_ATTR_OPERATIONGRAPH_OPS).count; ++i)
        all.push_back(get<const Descriptor *>(graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, i));
    return all;
}

// Each uid is one tensor; what is virtual is written before it is read.
bool graph_valid(const Descriptor &graph) {
    std::map<int64_t, const Descriptor *> seen;
    std::map<int64_t, bool> written;
    for (const Descriptor *operation : operations_of(graph)) {
        if (!as_operation(*operation, [](const auto &) {})) return false;
        for (const Descriptor *d : tensors_of(*operation)) {
            Tensor t(*d);
            if (seen.emplace(t.uid, d).first->second != d) return false;
            if (t.is_virtual && d != result_of(*operation) && !written[t.uid]) return false;
        }
        if (const Descriptor *d = result_of(*operation); d != nullptr) {
            if (written[Tensor(*d).uid]) return false;
            written[Tensor(*d).uid] = true;
        }
    }
    return true;
}

bool is_grad(const Descriptor &graph) {
    return operations_of(graph).size() > 1;
}

// The score gradients in bf16, of whole tiles, as the real one's; forward next to nothing.
int64_t workspace_of(const Descriptor &graph) {
    if (!is_grad(graph)) return 256;
    for (const Descriptor *operation : operations_of(graph))
        if (operation->type == CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR) {
            Tensor c(*operation, CUDNN_ATTR_OPERATION_MATMUL_CDESC);
            return c.size[0] * c.size[1] * ((c.size[2] + 63) / 64 * 64) *
                       ((c.size[3] + 127) / 128 * 128) * 2 +
                   256;
        }
    return 256;
}

// ---- finalizing ---------------------------------------------------------------------------------

bool has_all(const Descriptor &d) {
    for (const Rule &rule : rules)
        if (rule.of == d.type && !rule.optional && d.set.count(rule.name) == 0) return false;
    return true;
}

bool values_valid(const Descriptor &d) {
    switch (d.type) {
    case CUDNN_BACKEND_TENSOR_DESCRIPTOR:
        return d.set.at(CUDNN_ATTR_TENSOR_DIMENSIONS).count == 4 &&
               d.set.at(CUDNN_ATTR_TENSOR_STRIDES).count == 4 && Tensor(d).valid();
    case CUDNN_BACKEND_MATMUL_DESCRIPTOR: return computes_float(d, CUDNN_ATTR_MATMUL_COMP_TYPE);
    case CUDNN_BACKEND_REDUCTION_DESCRIPTOR:
        return computes_float(d, CUDNN_ATTR_REDUCTION_COMP_TYPE) &&
               get<cudnnReduceTensorOp_t>(d, CUDNN_ATTR_REDUCTION_OPERATOR) ==
                   CUDNN_REDUCE_TENSOR_ADD;
    case CUDNN_BACKEND_POINTWISE_DESCRIPTOR: {
        cudnnPointwiseMode_t mode = get<cudnnPointwiseMode_t>(d, CUDNN_ATTR_POINTWISE_MODE);
        return computes_float(d, CUDNN_ATTR_POINTWISE_MATH_PREC) &&
               (mode == CUDNN_POINTWISE_MUL || mode == CUDNN_POINTWISE_SUB ||
                mode == CUDNN_POINTWISE_EXP);
    }
    case CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR: return graph_valid(d);
    case CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR:
        return d.set.at(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS).count ==
               d.set.at(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS).count;
    default: break;
    }
    bool valid = true;
    as_operation(d, [&](const auto &operation) { valid = operation.valid(); });
    return valid;
}

// ---- execution ----------------------------------------------------------------------------------

cudnnStatus_t execute(const Descriptor &graph, const Descriptor &pack, cudaStream_t stream) {
    Memory memory;
    auto values =
        std::make_shared<std::map<int64_t, float>>(); // of tensors that are given by value
    int64_t count = pack.set.at(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS).count;
    for (int64_t i = 0; i < count; ++i) {
        int64_t uid = get<int64_t>(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, i);
        void *at = get<void *>(pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, i);
        if (!memory.given.emplace(uid, at).second) return CUDNN_STATUS_BAD_PARAM_DUPLICATED_ENTRIES;
    }
    std::map<int64_t, bool> wanted;
    for (const Descriptor *operation : operations_of(graph))
        for (const Descriptor *d : tensors_of(*operation)) {
            Tensor t(*d);
            if (t.is_virtual) continue;
            wanted[t.uid] = true;
            auto at = memory.given.find(t.uid);
            if (at == memory.given.end() || at->second == nullptr) return CUDNN_STATUS_BAD_PARAM;
            if (!t.by_value && (uintptr_t)at->second % (uintptr_t)t.alignment != 0)
                return CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER;
            if (t.by_value && values->emplace(t.uid, *(float *)at->second).second)
                at->second = &values->at(t.uid);
        }
    if (wanted.size() != memory.given.size()) return CUDNN_STATUS_BAD_PARAM;
    void *workspace = get<void *>(pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE);
    if (workspace == nullptr || (uintptr_t)workspace % 256 != 0)
        return CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER;
    emulated_queue(stream, [&graph, workspace, memory, values]() mutable {
        for (const Descriptor *operation : operations_of(graph)) {
            memset(workspace, 0xFF,
                   (size_t)workspace_of(graph)); // whoever has something else there
            as_operation(*operation, [&](const auto &o) { o.execute(memory); });
        }
        return true;
    });
    ++executions;
    return CUDNN_STATUS_SUCCESS;
}

enum { ENGINE_UNSTEADY, ENGINE_REFUSED, ENGINE_GOOD, ENGINES };

const Descriptor *graph_of(const Descriptor &plan) {
    return part(plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG)->graph;
}

cudnnStatus_t finish_plan(const Descriptor &plan) {
    if (told("broken")) return CUDNN_STATUS_INTERNAL_ERROR_COMPILATION_FAILED;
    if (part(plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG)->engine == ENGINE_REFUSED)
        return CUDNN_STATUS_NOT_SUPPORTED;
    ++plans;
    return CUDNN_STATUS_SUCCESS;
}

// ---- what can be asked --------------------------------------------------------------------------

cudnnStatus_t give(int64_t value, cudnnBackendAttributeType_t is, cudnnBackendAttributeType_t type,
                   int64_t most, int64_t *count, void *out) {
    if (is != type || most < 1) return CUDNN_STATUS_BAD_PARAM;
    *count = 1;
    memcpy(out, &value, size_of(type));
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t propose(const Descriptor &choice, int64_t most, int64_t *count, void *out) {
    const Descriptor *graph = part(choice, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH);
    bool nothing =
        told("none") || (told("forward") && is_grad(*graph)) ||
        get<cudnnBackendHeurMode_t>(choice, CUDNN_ATTR_ENGINEHEUR_MODE) != CUDNN_HEUR_MODE_A;
    Descriptor **configs = (Descriptor **)out;
    for (*count = 0; !nothing && *count < ENGINES && *count < most; ++*count) {
        Descriptor *config = configs[*count];
        if (config->type != CUDNN_BACKEND_ENGINECFG_DESCRIPTOR) return CUDNN_STATUS_BAD_PARAM;
        config->engine = (int)*count;
        config->graph = graph;
        config->finished = true;
    }
    return CUDNN_STATUS_SUCCESS;
}

} // namespace

extern "C" {

// For tests: how many plans were built, and executed, so far.
__attribute__((visibility("default"))) int dye_emulated_plans(void) {
    return plans;
}
__attribute__((visibility("default"))) int dye_emulated_executions(void) {
    return executions;
}

size_t cudnnGetVersion(void) {
    return told("old") ? 91500 : CUDNN_VERSION;
}
const char *cudnnGetErrorString(cudnnStatus_t status) {
    return status == CUDNN_STATUS_INTERNAL_ERROR_COMPILATION_FAILED
               ? "CUDNN_STATUS_INTERNAL_ERROR_COMPILATION_FAILED"
               : "CUDNN_STATUS_BAD_PARAM";
}
cudnnStatus_t cudnnCreate(cudnnHandle_t *handle) {
    *handle = (cudnnHandle_t)calloc(1, sizeof(cudaStream_t));
    return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnDestroy(cudnnHandle_t handle) {
    free((void *)handle);
    return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream) {
    if (handle == nullptr || stream == nullptr) return CUDNN_STATUS_BAD_PARAM;
    *(cudaStream_t *)handle = stream;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type,
                                           cudnnBackendDescriptor_t *out) {
    *out = new Descriptor{type};
    return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t d) {
    delete (Descriptor *)d;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t of,
                                       cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t count,
                                       const void *values) {
    Descriptor *d = (Descriptor *)of;
    if (d->finished || values == nullptr || count < 1) return CUDNN_STATUS_BAD_PARAM;
    for (const Rule &rule : rules) {
        if (rule.of != d->type || rule.name != name) continue;
        if (rule.type != type || count > rule.most) return CUDNN_STATUS_BAD_PARAM_ATTRIBUTE_TYPE;
        for (int64_t i = 0; type == CUDNN_TYPE_BACKEND_DESCRIPTOR && i < count; ++i) {
            const Descriptor *part = ((Descriptor *const *)values)[i];
            if (part == nullptr || !part->finished) return CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED;
        }
        const char *from = (const char *)values;
        d->set[name] = {type, count, {from, from + (size_t)count * size_of(type)}};
        return CUDNN_STATUS_SUCCESS;
    }
    return CUDNN_STATUS_BAD_PARAM;
}

cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t of) {
    Descriptor *d = (Descriptor *)of;
    if (d->finished || !has_all(*d) || !values_valid(*d)) return CUDNN_STATUS_BAD_PARAM;
    cudnnStatus_t status =
        d->type == CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR ? finish_plan(*d) : CUDNN_STATUS_SUCCESS;
    d->finished = status == CUDNN_STATUS_SUCCESS;
    return status;
}

cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t of,
                                       cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t most,
                                       int64_t *count, void *out) {
    const Descriptor *d = (const Descriptor *)of;
    if (!d->finished) return CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED;
    switch (name) {
    case CUDNN_ATTR_ENGINEHEUR_RESULTS: return propose(*d, most, count, out);
    case CUDNN_ATTR_ENGINECFG_ENGINE: {
        Descriptor *engine = *(Descriptor **)out;
        if (engine->type != CUDNN_BACKEND_ENGINE_DESCRIPTOR) return CUDNN_STATUS_BAD_PARAM;
        engine->engine = d->engine;
        engine->finished = true;
        *count = 1;
        return CUDNN_STATUS_SUCCESS;
    }
    case CUDNN_ATTR_ENGINE_NUMERICAL_NOTE:
        return give(d->engine == ENGINE_UNSTEADY ? CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC
                                                 : CUDNN_NUMERICAL_NOTE_TENSOR_CORE,
                    CUDNN_TYPE_NUMERICAL_NOTE, type, most, count, out);
    case CUDNN_ATTR_ENGINECFG_WORKSPACE_SIZE:
        return give(workspace_of(*d->graph), CUDNN_TYPE_INT64, type, most, count, out);
    case CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE:
        return give(workspace_of(*graph_of(*d)), CUDNN_TYPE_INT64, type, most, count, out);
    default: return CUDNN_STATUS_BAD_PARAM;
    }
}

cudnnStatus_t cudnnBackendExecute(cudnnHandle_t handle, cudnnBackendDescriptor_t plan,
                                  cudnnBackendDescriptor_t pack) {
    const Descriptor &p = *(Descriptor *)plan, &v = *(Descriptor *)pack;
    if (handle == nullptr || !p.finished || !v.finished) return CUDNN_STATUS_BAD_PARAM;
    if (part(p, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG)->engine != ENGINE_GOOD)
        return CUDNN_STATUS_EXECUTION_FAILED;
    return execute(*graph_of(p), v, *(cudaStream_t *)handle);
}

} // extern "C"
