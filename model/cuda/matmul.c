// Matrix products by cuBLASLt. It is column-major: what is stored row-major is to it the transposed
// matrix, so that c = a b is asked for as c^T = b^T a^T, with the operands in the other order.
#include "model/cuda/matmul.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cublasLt.h>

#include "base/mix.h"
#include "model/backend.h"

enum { BUCKETS = 64, ALIGNMENT_MOST = 16 };
enum { PROPOSALS = 8, WARM_ROUNDS = 3, ROUNDS = 10 }; // of measuring

#define SET(kind, of, name, value)                                                                 \
    (cublasLt##kind##SetAttribute(of, CUBLASLT_##name, &(value), sizeof(value)) ==                 \
     CUBLAS_STATUS_SUCCESS)
#define SET_PRODUCT(name, value)    SET(MatmulDesc, plan->product, MATMUL_DESC_##name, value)
#define SET_LAYOUT(name, value)     SET(MatrixLayout, *out, MATRIX_LAYOUT_##name, value)
#define SET_PREFERENCE(name, value) SET(MatmulPreference, preference, MATMUL_PREF_##name, value)

// All that a plan depends on; numbers only, so that keys are compared and hashed as they lie.
typedef struct {
    int64_t m, n, k, lda, ldb, ldc, batch, stride_a, stride_b, stride_c;
    int64_t flags, aligned_a, aligned_b, aligned_c, aligned_bias, aligned_aux;
} Key;
_Static_assert(sizeof(Key) == CHOICE_NUMBERS * sizeof(int64_t), "choices have other keys");
_Static_assert(sizeof(cublasLtMatmulAlgo_t) == CHOICE_BYTES, "choices have other algorithms");

typedef struct Plan {
    Key key;
    struct Plan *next; // in the bucket
    cublasLtMatmulDesc_t product;
    cublasLtMatrixLayout_t a, b, c;
    cublasLtMatmulAlgo_t algorithm;
    bool found; // there is one
} Plan;

struct MatmulRoom {
    cublasLtHandle_t handle;
    void *workspace;
    Choices *choices;
    Plan *bucket[BUCKETS];
    char failure[160]; // what cuda_note has been told
};

// ---- opening ------------------------------------------------------------------------------------

Status matmul_room_open(Choices *choices, MatmulRoom **out) {
    MatmulRoom *room = *out = calloc(1, sizeof *room);
    FAIL_IF(room == NULL, NO_MEMORY, "no memory for a stream's matrix products");
    room->choices = choices;
    FAIL_IF(cublasLtCreate(&room->handle) != CUBLAS_STATUS_SUCCESS, FAILED,
            "cuBLASLt does not start on this GPU");
    FAIL_IF(cudaMalloc(&room->workspace, MATMUL_WORKSPACE_BYTES) != cudaSuccess, NO_MEMORY,
            "the GPU has no memory for the workspace of cuBLASLt");
    return STATUS_OK;
}

static void plan_close(Plan *plan) {
    if (plan->product != NULL) (void)cublasLtMatmulDescDestroy(plan->product);
    if (plan->a != NULL) (void)cublasLtMatrixLayoutDestroy(plan->a);
    if (plan->b != NULL) (void)cublasLtMatrixLayoutDestroy(plan->b);
    if (plan->c != NULL) (void)cublasLtMatrixLayoutDestroy(plan->c);
    free(plan);
}

void matmul_room_forget(MatmulRoom *room) {
    for (int i = 0; i < BUCKETS; ++i) {
        for (Plan *plan = room->bucket[i], *next; plan != NULL; plan = next)
            next = plan->next, plan_close(plan);
        room->bucket[i] = NULL;
    }
}

void matmul_room_close(MatmulRoom *room) {
    if (room == NULL) return;
    matmul_room_forget(room);
    (void)cudaFree(room->workspace);
    if (room->handle != NULL) (void)cublasLtDestroy(room->handle);
    free(room);
}

void matmul_describe(char *text, size_t bytes) {
    size_t version = cublasLtGetVersion();
    snprintf(text, bytes, "cuBLASLt %zu.%zu.%zu", version / 10000, version / 100 % 100,
             version % 100);
}

// ---- plans --------------------------------------------------------------------------------------

// The largest power of two that divides the address of every matrix of a batch. More than the
// longest load says nothing, and would make the choice depend on where memory happens to lie.
static int64_t alignment_of(const void *at, int64_t stride, bool half) {
    uint64_t bits = (uint64_t)(uintptr_t)at | (uint64_t)stride * (half ? 2 : 4) | ALIGNMENT_MOST;
    return (int64_t)(bits & ~(bits - 1));
}

// A single product is a batch of one, and has no strides that would tell it from another such.
static Matmul normal_form(Matmul p) {
    if (p.batch <= 1) p.batch = 1, p.a.stride = p.b.stride = p.c.stride = 0;
    return p;
}

// Not whether it accumulates: both must come from the same algorithm.
static Key key_of(const Matmul *p) {
    return (Key){.m = p->m,
                 .n = p->n,
                 .k = p->k,
                 .lda = p->a.ld,
                 .ldb = p->b.ld,
                 .ldc = p->c.ld,
                 .batch = p->batch,
                 .stride_a = p->a.stride,
                 .stride_b = p->b.stride,
                 .stride_c = p->c.stride,
                 .flags = p->transpose_a | p->transpose_b << 1 | p->half_in << 2 |
                          p->half_out << 3 | (int)p->end << 4,
                 .aligned_a = alignment_of(p->a.at, p->a.stride, p->half_in),
                 .aligned_b = alignment_of(p->b.at, p->b.stride, p->half_in),
                 .aligned_c = alignment_of(p->c.at, p->c.stride, p->half_out),
                 .aligned_bias = alignment_of(p->bias, 0, p->half_out),
                 .aligned_aux = alignment_of(p->aux, 0, p->half_out)};
}

static bool layout_open(cublasLtMatrixLayout_t *out, bool half, int64_t rows, int64_t columns,
                        const Matrix *matrix, int32_t batch) {
    cublasStatus_t status = cublasLtMatrixLayoutCreate(
        out, half ? CUDA_R_16BF : CUDA_R_32F, (uint64_t)rows, (uint64_t)columns, matrix->ld);
    return status == CUBLAS_STATUS_SUCCESS && SET_LAYOUT(BATCH_COUNT, batch) &&
           SET_LAYOUT(STRIDED_BATCH_OFFSET, matrix->stride);
}

static bool plan_point(Plan *plan, MatmulEnd end, const void *bias, const void *aux) {
    bool has_bias = end == END_BIAS || end == END_GELU;
    return (!has_bias || SET_PRODUCT(BIAS_POINTER, bias)) &&
           (end < END_GELU || SET_PRODUCT(EPILOGUE_AUX_POINTER, aux));
}

static bool plan_describe(Plan *plan, const Matmul *p) {
    static const uint32_t ends[] = {CUBLASLT_EPILOGUE_DEFAULT, CUBLASLT_EPILOGUE_BIAS,
                                    CUBLASLT_EPILOGUE_GELU_AUX_BIAS, CUBLASLT_EPILOGUE_DGELU};
    // The choice of an algorithm looks at how these are aligned, and at nothing else of them.
    const void *bias = (const void *)(uintptr_t)plan->key.aligned_bias;
    const void *aux = (const void *)(uintptr_t)plan->key.aligned_aux;
    int32_t first = p->transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N, batch = (int32_t)p->batch;
    int32_t second = p->transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N;
    int64_t a_rows = p->transpose_a ? p->k : p->m, b_rows = p->transpose_b ? p->n : p->k;
    return cublasLtMatmulDescCreate(&plan->product, CUBLAS_COMPUTE_32F, CUDA_R_32F) ==
               CUBLAS_STATUS_SUCCESS &&
           SET_PRODUCT(TRANSA, first) && SET_PRODUCT(TRANSB, second) &&
           SET_PRODUCT(EPILOGUE, ends[p->end]) &&
           (p->end < END_GELU || SET_PRODUCT(EPILOGUE_AUX_LD, p->c.ld)) &&
           plan_point(plan, p->end, bias, aux) &&
           layout_open(&plan->a, p->half_in, p->m + p->k - a_rows, a_rows, &p->a, batch) &&
           layout_open(&plan->b, p->half_in, p->n + p->k - b_rows, b_rows, &p->b, batch) &&
           layout_open(&plan->c, p->half_out, p->n, p->m, &p->c, batch);
}

// What the library proposes, the best in its opinion first; returns how many. Sums are not split:
// their order would depend on how.
static int plan_propose(MatmulRoom *room, Plan *plan, int wanted,
                        cublasLtMatmulHeuristicResult_t proposal[PROPOSALS]) {
    uint64_t workspace = MATMUL_WORKSPACE_BYTES;
    uint32_t reduction = CUBLASLT_REDUCTION_SCHEME_NONE;
    uint32_t first = (uint32_t)plan->key.aligned_b, second = (uint32_t)plan->key.aligned_a;
    uint32_t result = (uint32_t)plan->key.aligned_c;
    cublasLtMatmulPreference_t preference;
    int proposals = 0, good = 0;
    if (cublasLtMatmulPreferenceCreate(&preference) != CUBLAS_STATUS_SUCCESS) return 0;
    bool found = SET_PREFERENCE(MAX_WORKSPACE_BYTES, workspace) &&
                 SET_PREFERENCE(REDUCTION_SCHEME_MASK, reduction) &&
                 SET_PREFERENCE(MIN_ALIGNMENT_A_BYTES, first) &&
                 SET_PREFERENCE(MIN_ALIGNMENT_B_BYTES, second) &&
                 SET_PREFERENCE(MIN_ALIGNMENT_C_BYTES, result) &&
                 SET_PREFERENCE(MIN_ALIGNMENT_D_BYTES, result) &&
                 cublasLtMatmulAlgoGetHeuristic(room->handle, plan->product, plan->b, plan->a,
                                                plan->c, plan->c, preference, wanted, proposal,
                                                &proposals) == CUBLAS_STATUS_SUCCESS;
    for (int i = 0; found && i < proposals; ++i)
        if (proposal[i].state == CUBLAS_STATUS_SUCCESS) proposal[good++] = proposal[i];
    (void)cublasLtMatmulPreferenceDestroy(preference);
    return good;
}

static cublasStatus_t plan_run(Stream *stream, Plan *plan, const Matmul *p, float beta,
                               const cublasLtMatmulAlgo_t *algorithm) {
    MatmulRoom *room = cuda_matmul_room(stream);
    float alpha = 1;
    if (!plan_point(plan, p->end, p->bias, p->aux)) return CUBLAS_STATUS_INVALID_VALUE;
    return cublasLtMatmul(room->handle, plan->product, &alpha, p->b.at, plan->b, p->a.at, plan->a,
                          &beta, p->c.at, plan->c, p->c.at, plan->c, algorithm, room->workspace,
                          MATMUL_WORKSPACE_BYTES, cuda_queue(stream));
}

// ---- measuring ----------------------------------------------------------------------------------

static int compare_times(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

// Times of one run of each proposal, one behind the other; INFINITY: it cannot. The first runs once
// before, so that none begins on an idle GPU. What is computed is the same product again and again.
static void measure_round(Stream *stream, Plan *plan, const Matmul *product, int count,
                          const cublasLtMatmulHeuristicResult_t *proposal, cudaEvent_t *event,
                          float *ms) {
    (void)plan_run(stream, plan, product, 0, &proposal[0].algo);
    (void)cudaEventRecord(event[0], cuda_queue(stream));
    for (int i = 0; i < count; ++i) {
        cublasStatus_t status = plan_run(stream, plan, product, 0, &proposal[i].algo);
        ms[i] = status == CUBLAS_STATUS_SUCCESS ? 0 : INFINITY;
        (void)cudaEventRecord(event[i + 1], cuda_queue(stream));
    }
    cuda_note(stream, cudaEventSynchronize(event[count]), "measuring a product");
    for (int i = 0; i < count; ++i) {
        float passed = 0;
        bool timed = cudaEventElapsedTime(&passed, event[i], event[i + 1]) == cudaSuccess;
        ms[i] += timed ? passed : INFINITY;
    }
}

// The number of the fastest by the median of its rounds; one that is not faster by a hundredth is
// no reason to leave what the library prefers.
static int measure(Stream *stream, Plan *plan, const Matmul *product, int count,
                   const cublasLtMatmulHeuristicResult_t *proposal) {
    cudaEvent_t event[PROPOSALS + 1] = {0};
    float ms[PROPOSALS], times[PROPOSALS][ROUNDS], fastest = INFINITY;
    int best = 0;
    bool opened = true;
    for (int i = 0; i <= count; ++i) opened = opened && cudaEventCreate(&event[i]) == cudaSuccess;
    for (int round = -WARM_ROUNDS; opened && round < ROUNDS; ++round) {
        measure_round(stream, plan, product, count, proposal, event, ms);
        for (int i = 0; i < count && round >= 0; ++i) times[i][round] = ms[i];
    }
    for (int i = 0; opened && i < count; ++i) {
        qsort(times[i], ROUNDS, sizeof times[i][0], compare_times);
        float median = times[i][ROUNDS / 2];
        if (median < 0.99f * fastest) fastest = median, best = i;
    }
    for (int i = 0; i <= count; ++i)
        if (event[i] != NULL) (void)cudaEventDestroy(event[i]);
    return best;
}

// The one that was chosen before; else, if it is to be measured, the fastest, which is then chosen;
// else the first that the library proposes. A sum that is added to would be lost by measuring.
static bool plan_choose(Stream *stream, MatmulRoom *room, Plan *plan, const Matmul *product) {
    cublasLtMatmulHeuristicResult_t proposal[PROPOSALS];
    const int64_t *key = (const int64_t *)&plan->key;
    const Choice *known = choices_find(room->choices, key);
    if (known != NULL) memcpy(&plan->algorithm, known->algorithm, sizeof plan->algorithm);
    if (known != NULL) return true;
    bool measures = room->choices->measures && !product->accumulate;
    int count = plan_propose(room, plan, measures ? PROPOSALS : 1, proposal);
    if (count == 0) return false;
    int best = measures && count > 1 ? measure(stream, plan, product, count, proposal) : 0;
    plan->algorithm = proposal[best].algo;
    if (measures && choices_add(room->choices, key, &plan->algorithm) != STATUS_OK)
        cuda_note(stream, cudaErrorMemoryAllocation, "the choice of a product");
    return true;
}

// NULL: no memory.
static Plan *plan_of(Stream *stream, MatmulRoom *room, const Matmul *product) {
    Key key = key_of(product);
    uint64_t hash = 0;
    for (size_t i = 0; i < sizeof key / sizeof(int64_t); ++i)
        hash = mix64(hash + (uint64_t)((const int64_t *)&key)[i]);
    Plan **bucket = &room->bucket[hash % BUCKETS];
    for (Plan *plan = *bucket; plan != NULL; plan = plan->next)
        if (memcmp(&plan->key, &key, sizeof key) == 0) return plan;
    Plan *plan = calloc(1, sizeof *plan);
    if (plan == NULL) return NULL;
    plan->key = key;
    plan->next = *bucket;
    *bucket = plan;
    plan->found = plan_describe(plan, product) && plan_choose(stream, room, plan, product);
    return plan;
}

// ---- products -----------------------------------------------------------------------------------

static void note_failure(Stream *stream, MatmulRoom *room, const Matmul *p, const char *why) {
    snprintf(room->failure, sizeof room->failure,
             "a product of %lld x %lld x %lld (%lld of them, %s), cuBLASLt says %s",
             (long long)p->m, (long long)p->k, (long long)p->n, (long long)p->batch,
             p->half_in ? "bf16" : "fp32", why);
    cuda_note(stream, cudaErrorNotSupported, room->failure);
}

bool cuda_matmul(Stream *stream, const Matmul *asked) {
    MatmulRoom *room = cuda_matmul_room(stream);
    const Matmul whole = normal_form(*asked), *product = &whole;
    Plan *plan = plan_of(stream, room, product);
    if (plan == NULL || (!plan->found && product->end == END_PLAIN))
        note_failure(stream, room, product, plan == NULL ? "no memory" : "no algorithm");
    if (plan == NULL || !plan->found) return false;
    float beta = product->accumulate ? 1 : 0;
    cublasStatus_t status = plan_run(stream, plan, product, beta, &plan->algorithm);
    if (status == CUBLAS_STATUS_NOT_SUPPORTED && product->end != END_PLAIN)
        return plan->found = false; // what the library proposes is no promise
    if (status != CUBLAS_STATUS_SUCCESS)
        note_failure(stream, room, product, cublasLtGetStatusString(status));
    return true;
}
