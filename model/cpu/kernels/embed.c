// Tables looked up by id, and rows added to rows.
#include <string.h>

#include "model/cpu/cpu_impl.h"
#include "model/cpu/kernels/simd.h"
#include "model/math/input.h"

static void row_add(const float *x, const float *restrict add, float *y, int64_t n) {
    LOOP_INDEPENDENT
    for (int64_t i = 0; i < n; ++i) y[i] = x[i] + add[i];
}

void CPU_KERNEL(embed_forward)(Stream *stream, const Embed *args) {
    (void)stream;
    int64_t width = args->width;
    for (int64_t r = 0; r < args->rows; ++r) {
        const float *row = args->table + embed_id(args, r) * width;
        if (args->add != NULL)
            row_add(row, args->add + r % args->add_rows * width, args->y + r * width, width);
        else
            memcpy(args->y + r * width, row, (size_t)width * sizeof *row);
    }
}

void CPU_KERNEL(embed_grad)(Stream *stream, const Embed *args) {
    int64_t width = args->width, size = args->entries * width;
    float *sum = args->accumulate ? cpu_scratch(stream, grad_scratch_bytes(size)) : args->dtable;
    memset(sum, 0, (size_t)size * sizeof *sum);
    for (int64_t r = 0; r < args->rows; ++r) {
        int64_t id = embed_id(args, r);
        REQUIRE(id >= 0 && id < args->entries);
        float *row = sum + id * width;
        row_add(row, args->dy + r * width, row, width);
    }
    if (args->accumulate) row_add(args->dtable, sum, args->dtable, size);
}
