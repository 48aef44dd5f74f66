// Matrix products by cuBLASLt.
#include "model/cuda/matmul.h"

#include <stdio.h>
#include <stdlib.h>

#include <cublasLt.h>

struct MatmulRoom {
    cublasLtHandle_t handle;
};

Status matmul_room_open(MatmulRoom **out) {
    MatmulRoom *room = *out = calloc(1, sizeof *room);
    FAIL_IF(room == NULL, NO_MEMORY, "no memory for a stream's matrix products");
    FAIL_IF(cublasLtCreate(&room->handle) != CUBLAS_STATUS_SUCCESS, FAILED,
            "cuBLASLt does not start on this GPU");
    return STATUS_OK;
}

void matmul_room_close(MatmulRoom *room) {
    if (room == NULL) return;
    if (room->handle != NULL) (void)cublasLtDestroy(room->handle);
    free(room);
}

void matmul_describe(char *text, size_t bytes) {
    size_t version = cublasLtGetVersion();
    snprintf(text, bytes, "cuBLASLt %zu.%zu.%zu", version / 10000, version / 100 % 100,
             version % 100);
}
