// Descriptors of the emulated cuDNN (cudnn.cpp), which hold attributes as they are set, and the
// operations that they describe: what of them is refused, and what is computed.
#pragma once

#include <cudnn.h>

#include <math.h>
#include <stdint.h>
#include <string.h>

#include <map>
#include <vector>

namespace {

// ---- descriptors: attributes as they are set ----------------------------------------------------

struct Attribute {
    cudnnBackendAttributeType_t type;
    int64_t count;
    std::vector<char> bytes;
};

struct Descriptor {
    cudnnBackendDescriptorType_t type;
    bool finished = false;
    std::map<int, Attribute> set = {};
    int engine = -1; // of an engine or its configuration
    const Descriptor *graph = nullptr;
};

// What a descriptor of `type` takes: `most` values, all of them needed unless `optional`.
struct Rule {
    cudnnBackendDescriptorType_t of;
    cudnnBackendAttributeName_t name;
    cudnnBackendAttributeType_t type;
    int64_t most;
    bool optional;
};

#define RULE(of, name, type, most, optional)                                                       \
    { CUDNN_BACKEND_##of##_DESCRIPTOR, CUDNN_ATTR_##name, CUDNN_TYPE_##type, most, optional }
const Rule rules[] = {
    RULE(TENSOR, TENSOR_DATA_TYPE, DATA_TYPE, 1, false),
    RULE(TENSOR, TENSOR_DIMENSIONS, INT64, 4, false),
    RULE(TENSOR, TENSOR_STRIDES, INT64, 4, false),
    RULE(TENSOR, TENSOR_UNIQUE_ID, INT64, 1, false),
    RULE(TENSOR, TENSOR_BYTE_ALIGNMENT, INT64, 1, false),
    RULE(TENSOR, TENSOR_IS_VIRTUAL, BOOLEAN, 1, true),
    RULE(TENSOR, TENSOR_IS_BY_VALUE, BOOLEAN, 1, true),
    RULE(MATMUL, MATMUL_COMP_TYPE, DATA_TYPE, 1, false),
    RULE(OPERATION_MATMUL, OPERATION_MATMUL_DESC, BACKEND_DESCRIPTOR, 1, false),
    RULE(OPERATION_MATMUL, OPERATION_MATMUL_ADESC, BACKEND_DESCRIPTOR, 1, false),
    RULE(OPERATION_MATMUL, OPERATION_MATMUL_BDESC, BACKEND_DESCRIPTOR, 1, false),
    RULE(OPERATION_MATMUL, OPERATION_MATMUL_CDESC, BACKEND_DESCRIPTOR, 1, false),
    RULE(POINTWISE, POINTWISE_MODE, POINTWISE_MODE, 1, false),
    RULE(POINTWISE, POINTWISE_MATH_PREC, DATA_TYPE, 1, false),
    RULE(OPERATION_POINTWISE, OPERATION_POINTWISE_PW_DESCRIPTOR, BACKEND_DESCRIPTOR, 1, false),
    RULE(OPERATION_POINTWISE, OPERATION_POINTWISE_XDESC, BACKEND_DESCRIPTOR, 1, false),
    RULE(OPERATION_POINTWISE, OPERATION_POINTWISE_BDESC, BACKEND_DESCRIPTOR, 1, true),
    RULE(OPERATION_POINTWISE, OPERATION_POINTWISE_YDESC, BACKEND_DESCRIPTOR, 1, false),
    RULE(REDUCTION, REDUCTION_OPERATOR, REDUCTION_OPERATOR_TYPE, 1, false),
    RULE(REDUCTION, REDUCTION_COMP_TYPE, DATA_TYPE, 1, false),
    RULE(OPERATION_REDUCTION, OPERATION_REDUCTION_DESC, BACKEND_DESCRIPTOR, 1, false),
    RULE(OPERATION_REDUCTION, OPERATION_REDUCTION_XDESC, BACKEND_DESCRIPTOR, 1, false),
    RULE(OPERATION_REDUCTION, OPERATION_REDUCTION_YDESC, BACKEND_DESCRIPTOR, 1, false),
    RULE(OPERATION_RESHAPE, OPERATION_RESHAPE_XDESC, BACKEND_DESCRIPTOR, 1, false),
    RULE(OPERATION_RESHAPE, OPERATION_RESHAPE_YDESC, BACKEND_DESCRIPTOR, 1, false),
    RULE(OPERATION_SDPA_FWD, OPERATION_SDPA_FWD_QDESC, BACKEND_DESCRIPTOR, 1, false),
    RULE(OPERATION_SDPA_FWD, OPERATION_SDPA_FWD_KDESC, BACKEND_DESCRIPTOR, 1, false),
    RULE(OPERATION_SDPA_FWD, OPERATION_SDPA_FWD_VDESC, BACKEND_DESCRIPTOR, 1, false),
    RULE(OPERATION_SDPA_FWD, OPERATION_SDPA_FWD_ODESC, BACKEND_DESCRIPTOR, 1, false),
    RULE(OPERATION_SDPA_FWD, OPERATION_SDPA_FWD_STATSDESC, BACKEND_DESCRIPTOR, 1, false),
    RULE(OPERATION_SDPA_FWD, OPERATION_SDPA_FWD_SCALEDESC, BACKEND_DESCRIPTOR, 1, false),
    RULE(OPERATIONGRAPH, OPERATIONGRAPH_OPS, BACKEND_DESCRIPTOR, 64, false),
    RULE(OPERATIONGRAPH, OPERATIONGRAPH_HANDLE, HANDLE, 1, false),
    RULE(ENGINEHEUR, ENGINEHEUR_OPERATION_GRAPH, BACKEND_DESCRIPTOR, 1, false),
    RULE(ENGINEHEUR, ENGINEHEUR_MODE, HEUR_MODE, 1, false),
    RULE(EXECUTION_PLAN, EXECUTION_PLAN_HANDLE, HANDLE, 1, false),
    RULE(EXECUTION_PLAN, EXECUTION_PLAN_ENGINE_CONFIG, BACKEND_DESCRIPTOR, 1, false),
    RULE(VARIANT_PACK, VARIANT_PACK_UNIQUE_IDS, INT64, 64, false),
    RULE(VARIANT_PACK, VARIANT_PACK_DATA_POINTERS, VOID_PTR, 64, false),
    RULE(VARIANT_PACK, VARIANT_PACK_WORKSPACE, VOID_PTR, 1, false),
};
#undef RULE

size_t size_of(cudnnBackendAttributeType_t type) {
    switch (type) {
    case CUDNN_TYPE_INT64:
    case CUDNN_TYPE_VOID_PTR:
    case CUDNN_TYPE_HANDLE:
    case CUDNN_TYPE_BACKEND_DESCRIPTOR: return 8;
    case CUDNN_TYPE_BOOLEAN: return 1;
    default: return 4;
    }
}

template <class T> T get(const Descriptor &d, cudnnBackendAttributeName_t name, int64_t i = 0) {
    T value{};
    auto at = d.set.find(name);
    if (at != d.set.end())
        memcpy(&value, &at->second.bytes[(size_t)i * sizeof value], sizeof value);
    return value;
}

const Descriptor *part(const Descriptor &d, cudnnBackendAttributeName_t name) {
    return get<const Descriptor *>(d, name);
}

// ---- tensors ------------------------------------------------------------------------------------

struct Tensor {
    cudnnDataType_t type;
    int64_t size[4], stride[4], uid, alignment;
    bool is_virtual, by_value;

    explicit Tensor(const Descriptor &d)
        : type(get<cudnnDataType_t>(d, CUDNN_ATTR_TENSOR_DATA_TYPE)),
          uid(get<int64_t>(d, CUDNN_ATTR_TENSOR_UNIQUE_ID)),
          alignment(get<int64_t>(d, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT)),
          is_virtual(get<bool>(d, CUDNN_ATTR_TENSOR_IS_VIRTUAL)),
          by_value(get<bool>(d, CUDNN_ATTR_TENSOR_IS_BY_VALUE)) {
        for (int i = 0; i < 4; ++i) {
            size[i] = get<int64_t>(d, CUDNN_ATTR_TENSOR_DIMENSIONS, i);
            stride[i] = get<int64_t>(d, CUDNN_ATTR_TENSOR_STRIDES, i);
        }
    }
    Tensor(const Descriptor &d, cudnnBackendAttributeName_t name) : Tensor(*part(d, name)) {}

    bool has_size(int64_t a, int64_t b, int64_t c, int64_t e) const {
        return size[0] == a && size[1] == b && size[2] == c && size[3] == e;
    }
    int64_t count() const { return size[0] * size[1] * size[2] * size[3]; }
    int64_t end() const { // of its memory
        int64_t last = 0;
        for (int i = 0; i < 4; ++i) last += (size[i] - 1) * stride[i];
        return last + 1;
    }
    // Sizes of 1 stand for all indices.
    int64_t at(const int64_t index[4]) const {
        int64_t sum = 0;
        for (int i = 0; i < 4; ++i) sum += size[i] == 1 ? 0 : index[i] * stride[i];
        return sum;
    }
    bool valid() const {
        for (int i = 0; i < 4; ++i)
            if (size[i] < 1 || stride[i] < 1) return false;
        bool known = type == CUDNN_DATA_FLOAT || type == CUDNN_DATA_BFLOAT16;
        bool scalar = count() == 1 && type == CUDNN_DATA_FLOAT && !is_virtual;
        return known && alignment >= 1 && (alignment & (alignment - 1)) == 0 &&
               (!by_value || scalar);
    }
};

float half_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    uint32_t below = bits & 0xFFFF, up = below > 0x8000 || (below == 0x8000 && (bits >> 16 & 1));
    bits = ((bits >> 16) + up) << 16;
    if (!isnan(x)) memcpy(&x, &bits, sizeof x);
    return x;
}

// Where the tensors of an execution are.
struct Memory {
    std::map<int64_t, void *> given;
    std::map<int64_t, std::vector<float>> within;

    float load(const Tensor &t, const int64_t index[4]) {
        int64_t at = t.at(index);
        if (t.is_virtual) return within[t.uid][(size_t)at];
        if (t.type == CUDNN_DATA_FLOAT) return ((const float *)given[t.uid])[at];
        uint32_t bits = (uint32_t)((const uint16_t *)given[t.uid])[at] << 16;
        float x;
        memcpy(&x, &bits, sizeof x);
        return x;
    }
    void store(const Tensor &t, const int64_t index[4], float x) {
        int64_t at = t.at(index);
        if (t.type == CUDNN_DATA_BFLOAT16) x = half_of(x);
        if (t.is_virtual) {
            std::vector<float> &room = within[t.uid];
            if (room.empty()) room.assign((size_t)t.end(), NAN);
            room[(size_t)at] = x;
        } else if (t.type == CUDNN_DATA_FLOAT) {
            ((float *)given[t.uid])[at] = x;
        } else {
            uint32_t bits;
            memcpy(&bits, &x, sizeof bits);
            ((uint16_t *)given[t.uid])[at] = (uint16_t)(bits >> 16);
        }
    }
};

template <class Call> void each_index(const int64_t size[4], Call call) {
    int64_t i[4];
    for (i[0] = 0; i[0] < size[0]; ++i[0])
        for (i[1] = 0; i[1] < size[1]; ++i[1])
            for (i[2] = 0; i[2] < size[2]; ++i[2])
                for (i[3] = 0; i[3] < size[3]; ++i[3]) call(i);
}

// ---- operations: what is refused, and what is computed ------------------------------------------

bool computes_float(const Descriptor &d, cudnnBackendAttributeName_t name) {
    return get<cudnnDataType_t>(d, name) == CUDNN_DATA_FLOAT;
}

struct Matmul {
    Tensor a, b, c;
    explicit Matmul(const Descriptor &d)
        : a(d, CUDNN_ATTR_OPERATION_MATMUL_ADESC), b(d, CUDNN_ATTR_OPERATION_MATMUL_BDESC),
          c(d, CUDNN_ATTR_OPERATION_MATMUL_CDESC) {}
    bool valid() const {
        return a.has_size(c.size[0], c.size[1], c.size[2], a.size[3]) &&
               b.has_size(c.size[0], c.size[1], a.size[3], c.size[3]);
    }
    // On tensor cores: both factors are bf16, sums fp32.
    void execute(Memory &m) const {
        int64_t rows = c.size[2], columns = c.size[3], depth = a.size[3];
        std::vector<float> left((size_t)(rows * depth)), right((size_t)(columns * depth));
        for (int64_t batch = 0; batch < c.size[0] * c.size[1]; ++batch) {
            int64_t i[4] = {batch / c.size[1], batch % c.size[1], 0, 0};
            for (i[2] = 0; i[2] < rows; ++i[2])
                for (i[3] = 0; i[3] < depth; ++i[3])
                    left[(size_t)(i[2] * depth + i[3])] = half_of(m.load(a, i));
            for (i[2] = 0; i[2] < depth; ++i[2])
                for (i[3] = 0; i[3] < columns; ++i[3])
                    right[(size_t)(i[3] * depth + i[2])] = half_of(m.load(b, i));
            for (i[2] = 0; i[2] < rows; ++i[2])
                for (i[3] = 0; i[3] < columns; ++i[3]) {
                    const float *x = &left[(size_t)(i[2] * depth)];
                    const float *y = &right[(size_t)(i[3] * depth)];
                    double sum = 0;
                    for (int64_t k = 0; k < depth; ++k) sum += (double)x[k] * (double)y[k];
                    m.store(c, i, (float)sum);
                }
        }
    }
};

struct Pointwise {
    cudnnPointwiseMode_t mode;
    bool has_b;
    Tensor x, b, y;
    explicit Pointwise(const Descriptor &d)
        : mode(get<cudnnPointwiseMode_t>(*part(d, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR),
                                         CUDNN_ATTR_POINTWISE_MODE)),
          has_b(part(d, CUDNN_ATTR_OPERATION_POINTWISE_BDESC) != nullptr),
          x(d, CUDNN_ATTR_OPERATION_POINTWISE_XDESC),
          b(d, has_b ? CUDNN_ATTR_OPERATION_POINTWISE_BDESC : CUDNN_ATTR_OPERATION_POINTWISE_XDESC),
          y(d, CUDNN_ATTR_OPERATION_POINTWISE_YDESC) {}
    bool valid() const {
        for (int i = 0; i < 4; ++i)
            if (x.size[i] != y.size[i] || (b.size[i] != 1 && b.size[i] != y.size[i])) return false;
        return has_b == (mode != CUDNN_POINTWISE_EXP);
    }
    void execute(Memory &m) const {
        each_index(y.size, [&](const int64_t i[4]) {
            float u = m.load(x, i), v = m.load(b, i);
            m.store(y, i,
                    mode == CUDNN_POINTWISE_MUL   ? u * v
                    : mode == CUDNN_POINTWISE_SUB ? u - v
                                                  : expf(u));
        });
    }
};

struct Sum {
    Tensor x, y;
    explicit Sum(const Descriptor &d)
        : x(d, CUDNN_ATTR_OPERATION_REDUCTION_XDESC), y(d, CUDNN_ATTR_OPERATION_REDUCTION_YDESC) {}
    bool valid() const { return y.has_size(x.size[0], x.size[1], x.size[2], 1); }
    void execute(Memory &m) const {
        each_index(y.size, [&](const int64_t i[4]) {
            double sum = 0;
            int64_t k[4] = {i[0], i[1], i[2], 0};
            for (; k[3] < x.size[3]; ++k[3]) sum += (double)m.load(x, k);
            m.store(y, i, (float)sum);
        });
    }
};

// Another view of the same memory.
struct Reshape {
    Tensor x, y;
    explicit Reshape(const Descriptor &d)
        : x(d, CUDNN_ATTR_OPERATION_RESHAPE_XDESC), y(d, CUDNN_ATTR_OPERATION_RESHAPE_YDESC) {}
    bool valid() const { return x.count() == y.count() && x.end() == y.end() && y.is_virtual; }
    void execute(Memory &m) const {
        std::vector<float> &room = m.within[y.uid];
        room.assign((size_t)y.end(), NAN);
        each_index(x.size, [&](const int64_t i[4]) {
            float value = m.load(x, i);
            room[(size_t)x.at(i)] = y.type == CUDNN_DATA_BFLOAT16 ? half_of(value) : value;
        });
    }
};

struct Attend {
    Tensor q, k, v, out, stats, scale;
    explicit Attend(const Descriptor &d)
        : q(d, CUDNN_ATTR_OPERATION_SDPA_FWD_QDESC), k(d, CUDNN_ATTR_OPERATION_SDPA_FWD_KDESC),
          v(d, CUDNN_ATTR_OPERATION_SDPA_FWD_VDESC), out(d, CUDNN_ATTR_OPERATION_SDPA_FWD_ODESC),
          stats(d, CUDNN_ATTR_OPERATION_SDPA_FWD_STATSDESC),
          scale(d, CUDNN_ATTR_OPERATION_SDPA_FWD_SCALEDESC) {}
    bool valid() const {
        int64_t b = q.size[0], h = q.size[1], t = q.size[2], d = q.size[3];
        for (const Tensor *half : {&q, &k, &v, &out})
            if (!half->has_size(b, h, t, d) || half->stride[3] != 1 ||
                half->type != CUDNN_DATA_BFLOAT16 || half->is_virtual)
                return false;
        return d % 8 == 0 && d <= 256 && stats.has_size(b, h, t, 1) &&
               stats.type == CUDNN_DATA_FLOAT && !stats.is_virtual && scale.by_value;
    }
    // As on the GPU: probabilities are rounded before they are divided by their sum.
    void execute(Memory &m) const {
        int64_t tokens = q.size[2], width = q.size[3], none[4] = {0, 0, 0, 0};
        float by = m.load(scale, none);
        std::vector<float> score((size_t)tokens);
        int64_t rows[4] = {q.size[0], q.size[1], tokens, 1};
        each_index(rows, [&](const int64_t row[4]) {
            int64_t i[4] = {row[0], row[1], row[2], 0}, u[4] = {row[0], row[1], 0, 0};
            float largest = -INFINITY;
            double sum = 0;
            for (u[2] = 0; u[2] < tokens; ++u[2]) {
                double dot = 0;
                for (i[3] = u[3] = 0; u[3] < width; ++u[3], ++i[3])
                    dot += (double)m.load(q, i) * (double)m.load(k, u);
                score[(size_t)u[2]] = (float)dot * by;
                largest = fmaxf(largest, score[(size_t)u[2]]);
            }
            for (float &x : score) sum += (double)(x = expf(x - largest));
            for (i[3] = 0; i[3] < width; ++i[3]) {
                double mixed = 0;
                for (u[2] = 0, u[3] = i[3]; u[2] < tokens; ++u[2])
                    mixed += (double)half_of(score[(size_t)u[2]]) * (double)m.load(v, u);
                m.store(out, i, (float)(mixed / sum));
            }
            m.store(stats, row, largest + logf((float)sum));
        });
    }
};

} // namespace
