// Attention of a stream by a library, where there is one that takes it. attention_cudnn.c has it by
// cuDNN; a build without cuDNN's header compiles attention_none.c in its place, which never does.
#pragma once

#include "model/cuda/stream.h"

#ifdef __cplusplus
extern "C" {
#endif

// Queues the operation, or its gradient. false: it is not taken, and nothing is queued. What is
// taken depends on the GPU's model, the library's version, the shape and the scratch alone.
bool attention_by_library(Stream *stream, const Attention *args, bool grad);

#ifdef __cplusplus
}
#else
#include "base/status.h"

typedef struct AttentionRoom AttentionRoom; // of one stream: handle, plans; NULL: no library

// `choice` is DeviceConfig.attention. *out is NULL where products are chosen, or there is no
// library. Errors: BAD_CONFIG (it is asked for, and not there or not of use here), NO_MEMORY.
Status attention_room_open(const char *choice, cudaStream_t queue, AttentionRoom **out);
void attention_room_close(AttentionRoom *room); // NULL is fine
// ", cuDNN 9.19.0", or nothing.
void attention_describe(const AttentionRoom *room, char *text, size_t bytes);
AttentionRoom *cuda_attention_room(Stream *stream);
#endif
