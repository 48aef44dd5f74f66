// Numbers to codes of a few levels, and codes to numbers.
#include "model/cpu/cpu_impl.h"
#include "model/cpu/kernels/activation.h"

static float level_value(int32_t level) {
    return (float)(2 * level + 1) / CODE_LEVELS - 1;
}

static int32_t level_of(float share) { // of [0,1]
    int32_t level = 0;
    for (int i = 1; i < CODE_LEVELS; ++i) level += share >= (float)i / CODE_LEVELS;
    return level;
}

void CPU_KERNEL(quantise)(Stream *stream, const Quantise *args) {
    (void)stream;
    int64_t digits = args->digits, places = args->places;
    for (int64_t i = 0; i < args->samples * digits * places; ++i) {
        float share = sigmoid_f32(args->x[i]);
        int32_t digit = (int32_t)(i / places % digits), level = level_of(share);
        args->y[i] = level_value(level);
        args->slope[i] = 2 * share * (1 - share);
        if (args->ids == NULL) continue;
        int32_t *id = &args->ids[i / places / digits * places + i % places];
        int32_t unit = 1;
        for (int d = 0; d < digit; ++d) unit *= CODE_LEVELS;
        *id = (digit == 0 ? 0 : *id) + level * unit;
    }
}

void CPU_KERNEL(code_values)(Stream *stream, const CodeValues *args) {
    (void)stream;
    int64_t digits = args->digits, places = args->places;
    for (int64_t i = 0; i < args->samples * places; ++i) {
        int32_t id = args->ids[i];
        float *y = args->y + i / places * digits * places + i % places;
        for (int64_t d = 0; d < digits; ++d, id /= CODE_LEVELS)
            y[d * places] = level_value(id % CODE_LEVELS);
    }
}
