// The cache of oneDNN's kernels behind model/cpu/product.h: a hash table by the form of a product.
#include "model/cpu/product.h"

#include <oneapi/dnnl/dnnl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mix.h"
#include "base/status.h"

// The runtime's own prototype: its header comes with gcc only.
extern void omp_set_num_threads(int threads);

enum { FORMS_MOST = 1024, FORM_WORDS = 7, OPERANDS = 5 };

// What a product reads and writes, a, b, c, bias and factor, as oneDNN calls it.
static const int operand_name[OPERANDS] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST,
                                           DNNL_ARG_BIAS,
                                           DNNL_ARG_ATTR_MULTIPLE_POST_OP(0) | DNNL_ARG_SRC_1};

typedef struct {
    int64_t word[FORM_WORDS]; // sizes, distances, switches
} Form;

typedef struct {
    Form form;
    dnnl_primitive_t primitive; // NULL: a free entry
    dnnl_memory_t operand[OPERANDS];
} Entry;

struct ProductCache {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    int count;
    Entry entry[FORMS_MOST];
};

// Forms and memory are checked by their callers: a refusal is a bug, or no memory for a kernel.
static void check(dnnl_status_t status) {
    REQUIRE(status == dnnl_success);
}

ProductCache *product_cache_open(void) {
    ProductCache *cache = calloc(1, sizeof *cache);
    if (cache == NULL) return NULL;
    check(dnnl_engine_create(&cache->engine, dnnl_cpu, 0));
    check(dnnl_stream_create(&cache->stream, cache->engine, dnnl_stream_default_flags));
    return cache;
}

void product_cache_close(ProductCache *cache) {
    if (cache == NULL) return;
    for (int i = 0; i < FORMS_MOST; ++i) {
        Entry *entry = &cache->entry[i];
        if (entry->primitive == NULL) continue;
        dnnl_primitive_destroy(entry->primitive);
        for (int k = 0; k < OPERANDS; ++k) dnnl_memory_destroy(entry->operand[k]);
    }
    dnnl_stream_destroy(cache->stream);
    dnnl_engine_destroy(cache->engine);
    free(cache);
}

void product_describe(char *out, int bytes) {
    static const struct {
        dnnl_cpu_isa_t isa;
        const char *name;
    } names[] = {{dnnl_cpu_isa_avx512_core_amx, "avx512_core_amx"},
                 {dnnl_cpu_isa_avx512_core_bf16, "avx512_core_bf16"},
                 {dnnl_cpu_isa_avx512_core_vnni, "avx512_core_vnni"},
                 {dnnl_cpu_isa_avx512_core, "avx512_core"},
                 {dnnl_cpu_isa_avx2_vnni, "avx2_vnni"},
                 {dnnl_cpu_isa_avx2, "avx2"},
                 {dnnl_cpu_isa_avx, "avx"}};
    const dnnl_version_t *version = dnnl_version();
    const char *name = "sse41";
    for (size_t i = sizeof names / sizeof *names; i-- > 0;)
        if (names[i].isa == dnnl_get_effective_cpu_isa()) name = names[i].name;
    snprintf(out, (size_t)bytes, "oneDNN %d.%d.%d %s", version->major, version->minor,
             version->patch, name);
}

bool product_has_half(void) {
    return (dnnl_get_effective_cpu_isa() & dnnl_cpu_isa_avx512_core) == dnnl_cpu_isa_avx512_core;
}

// ---- making a kernel --------------------------------------------------------------------------

static dnnl_memory_desc_t matrix_of(int64_t rows, int64_t columns, int64_t distance, bool transpose,
                                    bool half) {
    dnnl_dims_t dims = {rows, columns};
    dnnl_dims_t strides = {transpose ? 1 : distance, transpose ? distance : 1};
    dnnl_memory_desc_t out;
    check(dnnl_memory_desc_init_by_strides(&out, 2, dims, half ? dnnl_bf16 : dnnl_f32, strides));
    return out;
}

static void entry_fill(const ProductCache *cache, const Product *p, Entry *entry) {
    dnnl_memory_desc_t a = matrix_of(p->m, p->k, p->lda, p->transpose_a, p->half_in);
    dnnl_memory_desc_t b = matrix_of(p->k, p->n, p->ldb, p->transpose_b, p->half_in);
    dnnl_memory_desc_t c = matrix_of(p->m, p->n, p->ldc, false, p->half_out);
    dnnl_memory_desc_t bias = matrix_of(1, p->n, p->n, false, false);
    dnnl_matmul_desc_t matmul;
    check(dnnl_matmul_desc_init(&matmul, &a, &b, p->bias != NULL ? &bias : NULL, &c));

    dnnl_post_ops_t after;
    dnnl_primitive_attr_t attributes;
    check(dnnl_post_ops_create(&after));
    if (p->factor != NULL) check(dnnl_post_ops_append_binary(after, dnnl_binary_mul, &c));
    check(dnnl_primitive_attr_create(&attributes));
    check(dnnl_primitive_attr_set_post_ops(attributes, after));
    dnnl_primitive_desc_t plan;
    check(dnnl_primitive_desc_create(&plan, &matmul, attributes, cache->engine, NULL));
    check(dnnl_primitive_create(&entry->primitive, plan));
    dnnl_primitive_desc_destroy(plan);
    dnnl_primitive_attr_destroy(attributes);
    dnnl_post_ops_destroy(after);

    const dnnl_memory_desc_t *desc[OPERANDS] = {&a, &b, &c, &bias, &c};
    for (int k = 0; k < OPERANDS; ++k)
        check(dnnl_memory_create(&entry->operand[k], desc[k], cache->engine, DNNL_MEMORY_NONE));
}

// ---- running it -------------------------------------------------------------------------------

static Form form_of(const Product *p) {
    int64_t switches = p->transpose_a | p->transpose_b << 1 | p->half_in << 2 | p->half_out << 3 |
                       (p->bias != NULL) << 4 | (p->factor != NULL) << 5;
    return (Form){{p->m, p->n, p->k, p->lda, p->ldb, p->ldc, switches}};
}

static Entry *entry_find(ProductCache *cache, const Product *product) {
    Form form = form_of(product);
    uint64_t hash = 0;
    for (int i = 0; i < FORM_WORDS; ++i) hash = mix64(hash + (uint64_t)form.word[i]);
    for (;; ++hash) {
        Entry *entry = &cache->entry[hash % FORMS_MOST];
        if (entry->primitive == NULL) {
            REQUIRE(++cache->count < FORMS_MOST);
            omp_set_num_threads(1); // of this thread; oneDNN asks while it plans and runs
            entry_fill(cache, product, entry);
            entry->form = form;
            return entry;
        }
        if (memcmp(&entry->form, &form, sizeof form) == 0) return entry;
    }
}

void product_run(ProductCache *cache, const Product *p) {
    if (p->m == 0 || p->n == 0) return;
    const Entry *entry = entry_find(cache, p);
    const void *address[OPERANDS] = {p->a, p->b, p->c, p->bias, p->factor};
    dnnl_exec_arg_t argument[OPERANDS];
    int count = 0;
    for (int k = 0; k < OPERANDS; ++k) {
        if (address[k] == NULL) continue;
        check(dnnl_memory_set_data_handle(entry->operand[k], (void *)(uintptr_t)address[k]));
        argument[count++] = (dnnl_exec_arg_t){operand_name[k], entry->operand[k]};
    }
    check(dnnl_primitive_execute(entry->primitive, cache->stream, count, argument));
}
