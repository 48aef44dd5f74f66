// Numbers to codes of a few levels, and codes to numbers.
#include "model/cpu/cpu_impl.h"
#include "model/math/input.h"

void CPU_KERNEL(quantise)(Stream *stream, const Quantise *args) {
    (void)stream;
    for (int64_t i = 0; i < args->samples * args->places; ++i) quantise_place(args, i);
}

void CPU_KERNEL(code_values)(Stream *stream, const CodeValues *args) {
    (void)stream;
    for (int64_t i = 0; i < args->samples * args->places; ++i) code_place(args, i);
}
