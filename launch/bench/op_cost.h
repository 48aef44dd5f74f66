// What an operation of the backend must do at least, told by its arguments alone: whatever kernel
// executes it, on any device.
#pragma once

#include "model/ops.h"

typedef struct {
    // Of matrix products, multiply-add = 2; 0: it has none. What attention's gradient makes again
    // of the forward pass is not counted.
    double flops;
    double bytes; // each array that is given is read once, each result is written once
    bool half;    // the products are of bf16
} OpCost;

// `args` points to the argument struct of OP_op; arrays themselves are not looked at.
OpCost op_cost(int op, const void *args);

// What a step's time is told by. All operations belong to one of them.
typedef enum {
    FAMILY_PRODUCTS,
    FAMILY_ATTENTION,
    FAMILY_NORMS,
    FAMILY_LOSS,
    FAMILY_EMBEDDING,
    FAMILY_OPTIMIZER,
    FAMILY_SUMS,
    FAMILIES
} OpFamily;
OpFamily op_family(int op);
const char *op_family_name(OpFamily family);
const char *op_name(int op);
