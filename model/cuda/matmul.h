// Matrix products of a stream by cuBLASLt, row-major. The plan of each shape is chosen once and
// kept.
#pragma once

#include "base/status.h"
#include "model/cuda/stream.h"

typedef struct MatmulRoom MatmulRoom; // of one stream: handle, workspace, plans

Status matmul_room_open(MatmulRoom **out);
void matmul_room_close(MatmulRoom *room);      // NULL is fine
void matmul_describe(char *text, size_t bytes); // "cuBLASLt 13.0.2"
MatmulRoom *cuda_matmul_room(Stream *stream);
