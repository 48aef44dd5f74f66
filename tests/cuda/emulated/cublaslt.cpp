// The functions of cuBLASLt that model/cuda/matmul.c calls, on the CPU, written from the library's
// documentation: column-major matrices, epilogues, batches. What is not known here, or breaks a
// documented rule, is refused, so that a wrong descriptor fails a test. DYE_EMULATED_PRODUCTS=plain
// refuses all epilogues, =none all products. Several algorithms are proposed for each product,
// which add in different orders, hence to other bits. To events (runtime.cpp) the first takes no
// time, each further one a second more; with DYE_EMULATED_TIMES=SEED seconds that depend on seed,
// product and rank.
#include <cublasLt.h>

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <vector>

#include "tests/cuda/emulated/emulated_stream.h"

namespace {

struct Layout {
    cudaDataType_t type;
    int64_t rows, columns, ld;
    int32_t batch;
    int64_t stride;
};

struct Desc {
    cublasComputeType_t compute;
    cudaDataType_t scale;
    int32_t op_a, op_b;
    uint32_t epilogue;
    const void *bias;
    void *aux;
    int64_t aux_ld;
};

struct Preference {
    uint64_t workspace;
    uint32_t reduction, align_a, align_b, align_c, align_d;
};

// What an algorithm was proposed for; it fits nothing else.
struct Choice {
    uint64_t key;
    uint32_t align_a, align_b, align_c, align_d, align_bias, align_aux;
    uint64_t workspace;
    uint32_t order;
};
static_assert(sizeof(Choice) <= sizeof(cublasLtMatmulAlgo_t));

enum { NEEDED_WORKSPACE = 1 << 20, ORDERS = 4 };

template <class T> cublasStatus_t take(T *to, const void *from, size_t bytes) {
    if (from == nullptr || bytes != sizeof *to) return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(to, from, bytes);
    return CUBLAS_STATUS_SUCCESS;
}

bool aligned(const void *at, uint64_t by) {
    return (uintptr_t)at % by == 0;
}

uint32_t alignment(const void *at) {
    uint32_t by = 256;
    while (!aligned(at, by)) by /= 2;
    return by;
}

size_t size_of(cudaDataType_t type) {
    return type == CUDA_R_16BF ? 2 : 4;
}

bool has_bias(const Desc &d) {
    return (d.epilogue & CUBLASLT_EPILOGUE_BIAS) != 0;
}
bool has_aux(const Desc &d) {
    return (d.epilogue & 128) != 0;
}

bool layout_valid(const Layout &l) {
    return l.rows > 0 && l.columns > 0 && l.ld >= l.rows && l.batch >= 1 &&
           (l.type == CUDA_R_16BF || l.type == CUDA_R_32F);
}

// The rules of the documentation's tables of supported types, and those of each attribute.
cublasStatus_t check(const Desc &d, const Layout &a, const Layout &b, const Layout &c,
                     const Layout &out) {
    if (!layout_valid(a) || !layout_valid(b) || !layout_valid(c) || !layout_valid(out))
        return CUBLAS_STATUS_INVALID_VALUE;
    int64_t m = d.op_a == CUBLAS_OP_N ? a.rows : a.columns;
    int64_t k = d.op_a == CUBLAS_OP_N ? a.columns : a.rows;
    int64_t n = d.op_b == CUBLAS_OP_N ? b.columns : b.rows;
    if (k != (d.op_b == CUBLAS_OP_N ? b.rows : b.columns) || out.rows != m || out.columns != n)
        return CUBLAS_STATUS_INVALID_VALUE;
    if (memcmp(&c, &out, sizeof c) != 0 || a.batch != out.batch || b.batch != out.batch)
        return CUBLAS_STATUS_INVALID_VALUE;
    // A batch must not write a number twice.
    if (out.batch > 1 && out.stride < out.ld * (out.columns - 1) + out.rows &&
        (out.stride < out.rows || out.ld < out.stride * (out.batch - 1) + out.rows))
        return CUBLAS_STATUS_INVALID_VALUE;
    if (d.compute != CUBLAS_COMPUTE_32F || d.scale != CUDA_R_32F || a.type != b.type)
        return CUBLAS_STATUS_NOT_SUPPORTED;
    if (a.type == CUDA_R_32F && out.type != CUDA_R_32F) return CUBLAS_STATUS_NOT_SUPPORTED;
    if (has_bias(d) && (d.bias == nullptr || !aligned(d.bias, size_of(out.type))))
        return CUBLAS_STATUS_INVALID_VALUE;
    if (has_aux(d) && (d.aux == nullptr || d.aux_ld < m)) return CUBLAS_STATUS_INVALID_VALUE;
    if (has_aux(d) && (d.aux_ld % 8 != 0 || out.type != CUDA_R_16BF))
        return CUBLAS_STATUS_NOT_SUPPORTED;
    if (d.epilogue != CUBLASLT_EPILOGUE_DEFAULT && out.batch > 1)
        return CUBLAS_STATUS_NOT_SUPPORTED;
    return CUBLAS_STATUS_SUCCESS;
}

void mix(uint64_t *key, const void *data, size_t bytes) {
    for (size_t i = 0; i < bytes; ++i)
        *key = (*key ^ ((const unsigned char *)data)[i]) * 1099511628211u;
}

uint64_t key_of(const Desc &d, const Layout &a, const Layout &b, const Layout &c) {
    uint64_t key = 14695981039346656037u;
    for (const Layout *l : {&a, &b, &c}) {
        int64_t of[] = {l->type, l->rows, l->columns, l->ld, l->batch, l->stride};
        mix(&key, of, sizeof of);
    }
    int64_t of[] = {d.op_a, d.op_b, d.epilogue, d.aux_ld};
    mix(&key, of, sizeof of);
    return key;
}

float number(const void *at, cudaDataType_t type, int64_t i) {
    if (type == CUDA_R_32F) return ((const float *)at)[i];
    uint32_t bits = (uint32_t)((const uint16_t *)at)[i] << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

void store(void *at, cudaDataType_t type, int64_t i, float x) {
    if (type == CUDA_R_32F) {
        ((float *)at)[i] = x;
        return;
    }
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    uint32_t below = bits & 0xFFFF, up = below > 0x8000 || (below == 0x8000 && (bits >> 16 & 1));
    ((uint16_t *)at)[i] = isnan(x) ? 0x7FFF : (uint16_t)((bits >> 16) + up);
}

double gelu(double x) {
    return 0.5 * x * (1 + tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)));
}
double gelu_slope(double x) {
    double t = tanh(0.7978845608028654 * (x + 0.044715 * x * x * x));
    double inner = 0.7978845608028654 * (1 + 3 * 0.044715 * x * x);
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * inner;
}

// op(matrix) with its rows side by side, or with its columns so.
std::vector<float> gather(const void *at, const Layout &l, int32_t op, bool by_rows) {
    std::vector<float> all((size_t)(l.rows * l.columns));
    bool as_stored = (op == CUBLAS_OP_N) != by_rows;
    for (int64_t column = 0; column < l.columns; ++column)
        for (int64_t row = 0; row < l.rows; ++row)
            all[(size_t)(as_stored ? column * l.rows + row : row * l.columns + column)] =
                number(at, l.type, column * l.ld + row);
    return all;
}

float finish(const Desc &d, const Layout &out, int64_t row, int64_t column, double sum) {
    int64_t aux = column * d.aux_ld + row;
    if (has_bias(d)) sum += (double)number(d.bias, out.type, row);
    if (d.epilogue == CUBLASLT_EPILOGUE_GELU_AUX_BIAS) {
        store(d.aux, out.type, aux, (float)sum);
        return (float)gelu(sum);
    }
    if (d.epilogue == CUBLASLT_EPILOGUE_DGELU)
        return (float)(sum * gelu_slope((double)number(d.aux, out.type, aux)));
    return (float)sum;
}

// Which term of a sum of k is added as the i-th.
int64_t term_of(uint32_t order, int64_t i, int64_t k) {
    if (order == 1) return k - 1 - i;
    if (order == 2) return i < (k + 1) / 2 ? 2 * i : 2 * (i - (k + 1) / 2) + 1; // even ones first
    return i;
}

void multiply(uint32_t order, const Desc &d, float alpha, const void *a, const Layout &la,
              const void *b, const Layout &lb, float beta, void *out, const Layout &lo) {
    int64_t m = lo.rows, n = lo.columns, k = d.op_a == CUBLAS_OP_N ? la.columns : la.rows;
    std::vector<float> left = gather(a, la, d.op_a, false), right = gather(b, lb, d.op_b, false);
    std::vector<double> sum((size_t)m);
    for (int64_t column = 0; column < n; ++column) {
        for (double &x : sum) x = 0;
        for (int64_t i = 0; i < k; ++i) {
            int64_t term = term_of(order, i, k);
            const float *of = &left[(size_t)(term * m)];
            double by = (double)right[(size_t)(column * k + term)];
            for (int64_t row = 0; row < m; ++row) {
                double &s = sum[(size_t)row];
                s += (double)of[row] * by;
                if (order > 0) s = (double)(float)s; // the first alone is exact
            }
        }
        for (int64_t row = 0; row < m; ++row) {
            int64_t at = column * lo.ld + row;
            float x = alpha * (float)sum[(size_t)row];
            if (beta != 0) x += beta * number(out, lo.type, at);
            store(out, lo.type, at, finish(d, lo, row, column, (double)x));
        }
    }
}

double seconds_of(const Choice &choice) {
    const char *seed = getenv("DYE_EMULATED_TIMES"), *rank = getenv("OMPI_COMM_WORLD_RANK");
    if (seed == nullptr) return choice.order;
    uint64_t key = choice.key;
    mix(&key, seed, strlen(seed));
    if (rank != nullptr && strcmp(rank, "0") != 0) mix(&key, rank, strlen(rank));
    for (int i = 0; i < 8; ++i) mix(&key, &choice.order, sizeof choice.order);
    return 1 + (double)(key >> 40 & 0xFFFF) / 1024;
}

} // namespace

extern "C" {

cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle) {
    *handle = (cublasLtHandle_t)1;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t) {
    return CUBLAS_STATUS_SUCCESS;
}
size_t cublasLtGetVersion(void) {
    return CUBLAS_VERSION;
}
const char *cublasLtGetStatusString(cublasStatus_t status) {
    return status == CUBLAS_STATUS_INVALID_VALUE ? "CUBLAS_STATUS_INVALID_VALUE"
                                                 : "CUBLAS_STATUS_NOT_SUPPORTED";
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *out, cudaDataType type,
                                          uint64_t rows, uint64_t columns, int64_t ld) {
    *out = (cublasLtMatrixLayout_t) new Layout{type, (int64_t)rows, (int64_t)columns, ld, 1, 0};
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
    delete (Layout *)layout;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout,
                                                cublasLtMatrixLayoutAttribute_t name,
                                                const void *from, size_t bytes) {
    Layout *l = (Layout *)layout;
    if (name == CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT) return take(&l->batch, from, bytes);
    if (name == CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET) return take(&l->stride, from, bytes);
    return CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *out, cublasComputeType_t compute,
                                        cudaDataType_t scale) {
    *out = (cublasLtMatmulDesc_t) new Desc{
        compute, scale, CUBLAS_OP_N, CUBLAS_OP_N, CUBLASLT_EPILOGUE_DEFAULT, nullptr, nullptr, 0};
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc) {
    delete (Desc *)desc;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t desc,
                                              cublasLtMatmulDescAttributes_t name, const void *from,
                                              size_t bytes) {
    Desc *d = (Desc *)desc;
    switch (name) {
    case CUBLASLT_MATMUL_DESC_TRANSA: return take(&d->op_a, from, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSB: return take(&d->op_b, from, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER: return take(&d->bias, from, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER: return take(&d->aux, from, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD: return take(&d->aux_ld, from, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE: break;
    default: return CUBLAS_STATUS_INVALID_VALUE;
    }
    uint32_t epilogue = 0;
    cublasStatus_t status = take(&epilogue, from, bytes);
    if (epilogue != CUBLASLT_EPILOGUE_DEFAULT && epilogue != CUBLASLT_EPILOGUE_BIAS &&
        epilogue != CUBLASLT_EPILOGUE_GELU_AUX_BIAS && epilogue != CUBLASLT_EPILOGUE_DGELU)
        return CUBLAS_STATUS_INVALID_VALUE;
    d->epilogue = epilogue;
    return status;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *out) {
    *out = (cublasLtMatmulPreference_t) new Preference{
        0, CUBLASLT_REDUCTION_SCHEME_MASK, 256, 256, 256, 256};
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
    delete (Preference *)preference;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t name,
                                                    const void *from, size_t bytes) {
    Preference *p = (Preference *)preference;
    switch (name) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES: return take(&p->workspace, from, bytes);
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK: return take(&p->reduction, from, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES: return take(&p->align_a, from, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES: return take(&p->align_b, from, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES: return take(&p->align_c, from, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES: return take(&p->align_d, from, bytes);
    default: return CUBLAS_STATUS_INVALID_VALUE;
    }
}

// Sums that may be split are refused: bits that depend on the split would pass unseen.
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t desc,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int wanted,
                                              cublasLtMatmulHeuristicResult_t *results,
                                              int *count) {
    const Desc *of = (const Desc *)desc;
    const Preference *p = (const Preference *)preference;
    *count = 0;
    if (wanted < 1 || p->reduction != CUBLASLT_REDUCTION_SCHEME_NONE)
        return CUBLAS_STATUS_INVALID_VALUE;
    cublasStatus_t status = check(*of, *(Layout *)a, *(Layout *)b, *(Layout *)c, *(Layout *)d);
    if (status != CUBLAS_STATUS_SUCCESS) return status;
    const char *only = getenv("DYE_EMULATED_PRODUCTS");
    if (only != nullptr && (strcmp(only, "none") == 0 || of->epilogue != CUBLASLT_EPILOGUE_DEFAULT))
        return CUBLAS_STATUS_NOT_SUPPORTED;
    if (p->workspace < NEEDED_WORKSPACE) return CUBLAS_STATUS_NOT_SUPPORTED;
    Choice choice = {key_of(*of, *(Layout *)a, *(Layout *)b, *(Layout *)d),
                     p->align_a,
                     p->align_b,
                     p->align_c,
                     p->align_d,
                     alignment(of->bias),
                     alignment(of->aux),
                     NEEDED_WORKSPACE,
                     0};
    for (; *count < wanted && *count < ORDERS; ++*count) {
        choice.order = (uint32_t)*count;
        results[*count] = {};
        memcpy(&results[*count].algo, &choice, sizeof choice);
        results[*count].workspaceSize = NEEDED_WORKSPACE;
        results[*count].state = CUBLAS_STATUS_SUCCESS;
    }
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t desc, const void *alpha,
                              const void *a, cublasLtMatrixLayout_t a_layout, const void *b,
                              cublasLtMatrixLayout_t b_layout, const void *beta, const void *c,
                              cublasLtMatrixLayout_t c_layout, void *d,
                              cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t *algo,
                              void *workspace, size_t workspace_bytes, cudaStream_t stream) {
    const Desc of = *(const Desc *)desc;
    const Layout la = *(Layout *)a_layout, lb = *(Layout *)b_layout, ld = *(Layout *)d_layout;
    Choice choice;
    memcpy(&choice, algo, sizeof choice);
    cublasStatus_t status = check(of, la, lb, *(Layout *)c_layout, ld);
    if (status != CUBLAS_STATUS_SUCCESS) return status;
    if (c != d || workspace == nullptr || !aligned(workspace, 256) ||
        workspace_bytes < choice.workspace || choice.key != key_of(of, la, lb, ld) ||
        choice.order >= ORDERS)
        return CUBLAS_STATUS_INVALID_VALUE;
    auto each = [=](auto what) {
        for (int64_t i = 0; i < ld.batch; ++i)
            what((const char *)a + i * la.stride * (int64_t)size_of(la.type),
                 (const char *)b + i * lb.stride * (int64_t)size_of(lb.type),
                 (char *)d + i * ld.stride * (int64_t)size_of(ld.type));
    };
    bool fits = true;
    each([&](const char *at_a, const char *at_b, char *at_d) {
        fits = fits && aligned(at_a, choice.align_a) && aligned(at_b, choice.align_b) &&
               aligned(at_d, choice.align_c) && aligned(at_d, choice.align_d);
    });
    if (!fits || (has_bias(of) && !aligned(of.bias, choice.align_bias)) ||
        (has_aux(of) && !aligned(of.aux, choice.align_aux)))
        return CUBLAS_STATUS_INVALID_VALUE;
    float by = *(const float *)alpha, keep = *(const float *)beta;
    emulated_queue(stream, [=] {
        each([&](const char *at_a, const char *at_b, char *at_d) {
            multiply(choice.order, of, by, at_a, la, at_b, lb, keep, at_d, ld);
        });
        emulated_pass(seconds_of(choice));
        return true;
    });
    return CUBLAS_STATUS_SUCCESS;
}

} // extern "C"
