// Matrix products of a stream by cuBLASLt, row-major. The plan of each shape is made once and kept;
// which algorithm it has is said by model/cuda/choice.h, or measured, or proposed by the library.
#pragma once

#include "model/cuda/stream.h"

#ifdef __cplusplus
extern "C" {
#endif

// What happens to a sum before it is stored. With z = op(a) op(b):
//   BIAS   c = z + bias
//   GELU   aux = z + bias, c = GELU(aux)
//   DGELU  c = z GELU'(aux)
typedef enum { END_PLAIN, END_BIAS, END_GELU, END_DGELU } MatmulEnd;

// Row-major, as it is stored: rows are `ld` numbers apart, the matrices of a batch `stride`.
typedef struct {
    void *at;
    int64_t ld, stride;
} Matrix;

// c[m,n] = end(op(a) op(b)); op(a) is [m,k], op(b) is [k,n]. Sums are fp32. a and b, which are only
// read, are bf16 if `half_in`; c, bias and aux if `half_out`.
typedef struct {
    Matrix a, b, c;
    const void *bias;       // [n]
    void *aux;              // [m,n], rows as those of c
    int64_t m, n, k, batch; // so many products; 0: one
    bool transpose_a, transpose_b, half_in, half_out;
    bool accumulate; // the sum is added to c (fp32) in one rounding, and nothing else
    MatmulEnd end;
} Matmul;

// Queues the product. false: the library has none with this end, and nothing is queued; a plain
// product that it does not have is a failure of the stream as well.
bool cuda_matmul(Stream *stream, const Matmul *product);

#ifdef __cplusplus
}
#else // status.h is C
#include "base/status.h"
#include "model/cuda/choice.h"

typedef struct MatmulRoom MatmulRoom; // of one stream: handle, workspace, plans

// `choices` is the device's, shared by its streams, and lent until the room is closed.
Status matmul_room_open(Choices *choices, MatmulRoom **out);
void matmul_room_forget(MatmulRoom *room); // all plans: choices have changed, the stream is at rest
void matmul_room_close(MatmulRoom *room);  // NULL is fine
void matmul_describe(char *text, size_t bytes); // "cuBLASLt 13.0.2"
MatmulRoom *cuda_matmul_room(Stream *stream);
#endif
