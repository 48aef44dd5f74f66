// The table of this instruction set's kernels.
#include "model/cpu/cpu_impl.h"

#define TABLE_ROW(name, Args, pointers) .name = CPU_KERNEL(name),
const CpuKernels CPU_KERNEL(kernels) = {BACKEND_OPS(TABLE_ROW)};
