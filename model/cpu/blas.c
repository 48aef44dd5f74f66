// OpenBLAS by dlopen: its choice of kernels is made from the environment while it is loaded, so the
// environment is set first and put back afterwards.
#include "model/cpu/blas.h"

#include <dlfcn.h>
#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CBLAS_ROW_MAJOR = 101, CBLAS_NO_TRANSPOSE = 111, CBLAS_TRANSPOSE = 112 };

typedef void (*SgemmFunction)(int order, int transpose_a, int transpose_b, int m, int n, int k,
                              float alpha, const float *a, int lda, const float *b, int ldb,
                              float beta, float *c, int ldc);

static struct {
    bool ready;
    SgemmFunction sgemm;
    char description[96];
} library;
static pthread_mutex_t library_mutex = PTHREAD_MUTEX_INITIALIZER;

static const char library_file[] = "libopenblas.so.0";

// ---- environment ------------------------------------------------------------------------------

// Sets a variable (NULL: removes it) and returns what it was, to be freed.
static char *variable_swap(const char *name, const char *value) {
    const char *before = getenv(name);
    char *copy = before != NULL ? strdup(before) : NULL;
    if (value != NULL)
        setenv(name, value, 1);
    else
        unsetenv(name);
    return copy;
}

// NULL leaves the choice to OpenBLAS (a processor without AVX2).
static const char *core_type(void) {
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        return "SkylakeX";
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return "Haswell";
    return NULL;
}

static void *library_load(void) {
    char *core = variable_swap("OPENBLAS_CORETYPE", core_type());
    char *threads = variable_swap("OPENBLAS_NUM_THREADS", "1");
    void *handle = dlopen(library_file, RTLD_NOW | RTLD_LOCAL);
    free(variable_swap("OPENBLAS_NUM_THREADS", threads));
    free(variable_swap("OPENBLAS_CORETYPE", core));
    free(threads);
    free(core);
    return handle;
}

// ---- library ----------------------------------------------------------------------------------

static Status symbol_find(void *handle, const char *name, void *function_pointer) {
    void *symbol = dlsym(handle, name);
    FAIL_IF(symbol == NULL, NOT_FOUND, "%s has no function %s: it is not OpenBLAS", library_file,
            name);
    memcpy(function_pointer, &symbol, sizeof symbol);
    return STATUS_OK;
}

static Status library_bind(void *handle) {
    void (*set_num_threads)(int) = NULL;
    char *(*get_config)(void) = NULL;
    char *(*get_corename)(void) = NULL;
    TRY(symbol_find(handle, "cblas_sgemm", &library.sgemm));
    TRY(symbol_find(handle, "openblas_set_num_threads", &set_num_threads));
    TRY(symbol_find(handle, "openblas_get_config", &get_config));
    TRY(symbol_find(handle, "openblas_get_corename", &get_corename));
    set_num_threads(1); // it may have been loaded by somebody else before
    char name[24] = "OpenBLAS", version[24] = "?";
    sscanf(get_config(), "%23s %23s", name, version);
    snprintf(library.description, sizeof library.description, "%s %s %s", name, version,
             get_corename());
    return STATUS_OK;
}

// ---- self-check -------------------------------------------------------------------------------

enum { CHECK_SIDE = 67 };

static float check_number(int64_t i) {
    return (float)(i * 7919 % 211 - 105) / 64.0f;
}

// Integers over 64: a sum of 67 such products is exact in fp32, whatever its order.
static bool product_is_right(const Gemm *gemm) {
    for (int64_t i = 0; i < gemm->m; ++i) {
        for (int64_t j = 0; j < gemm->n; ++j) {
            float sum = 0;
            for (int64_t k = 0; k < gemm->k; ++k)
                sum += gemm->a[gemm->transpose_a ? k * gemm->lda + i : i * gemm->lda + k] *
                       gemm->b[gemm->transpose_b ? j * gemm->ldb + k : k * gemm->ldb + j];
            if (gemm->c[i * gemm->ldc + j] != sum) return false;
        }
    }
    return true;
}

static Status library_check(void) {
    static float a[CHECK_SIDE * CHECK_SIDE], b[CHECK_SIDE * CHECK_SIDE], c[CHECK_SIDE * CHECK_SIDE];
    for (int64_t i = 0; i < CHECK_SIDE * CHECK_SIDE; ++i)
        a[i] = check_number(i), b[i] = check_number(3 * i + 1);
    for (int form = 0; form < 6; ++form) {
        Gemm gemm = {.a = a,
                     .b = b,
                     .c = c,
                     .m = form < 3 ? CHECK_SIDE : 5,
                     .n = CHECK_SIDE - 2,
                     .k = CHECK_SIDE,
                     .lda = CHECK_SIDE,
                     .ldb = CHECK_SIDE,
                     .ldc = CHECK_SIDE,
                     .transpose_a = form % 3 == 1,
                     .transpose_b = form % 3 == 2,
                     .alpha = 1};
        for (int64_t i = 0; i < CHECK_SIDE * CHECK_SIDE; ++i) c[i] = NAN;
        blas_gemm(&gemm);
        FAIL_IF(!product_is_right(&gemm), FAILED,
                "%s multiplies wrongly on this processor (form %d); install another build of it",
                library.description, form);
    }
    return STATUS_OK;
}

static Status library_open(void) {
    void *handle = library_load();
    FAIL_IF(handle == NULL, NOT_FOUND,
            "%s is missing (%s); install Debian's libopenblas0-pthread or your system's OpenBLAS",
            library_file, dlerror());
    Status status;
    TRY_OR(failed, status, library_bind(handle));
    TRY_OR(failed, status, library_check());
    library.ready = true;
    return STATUS_OK;
failed:
    dlclose(handle);
    return status;
}

Status blas_open(void) {
    pthread_mutex_lock(&library_mutex);
    Status status = library.ready ? STATUS_OK : library_open();
    pthread_mutex_unlock(&library_mutex);
    TRY(status);
    return STATUS_OK;
}

const char *blas_description(void) {
    return library.description;
}

void blas_gemm(const Gemm *gemm) {
    if (gemm->m == 0 || gemm->n == 0) return;
    int64_t size[] = {gemm->m, gemm->n, gemm->k, gemm->lda, gemm->ldb, gemm->ldc};
    for (int i = 0; i < 6; ++i) REQUIRE(size[i] >= 0 && size[i] <= INT_MAX);
    library.sgemm(CBLAS_ROW_MAJOR, gemm->transpose_a ? CBLAS_TRANSPOSE : CBLAS_NO_TRANSPOSE,
                  gemm->transpose_b ? CBLAS_TRANSPOSE : CBLAS_NO_TRANSPOSE, (int)gemm->m,
                  (int)gemm->n, (int)gemm->k, gemm->alpha, gemm->a, (int)gemm->lda, gemm->b,
                  (int)gemm->ldb, gemm->beta, gemm->c, (int)gemm->ldc);
}
