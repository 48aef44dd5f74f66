// Attention by products alone: this build has no library for it.
#include <string.h>

#include "model/cuda/attention_room.h"

Status attention_room_open(const char *choice, cudaStream_t queue, AttentionRoom **out) {
    (void)queue;
    *out = NULL;
    FAIL_IF(choice != NULL && strcmp(choice, "cudnn") == 0, BAD_CONFIG,
            "device.attention is cudnn: libdye_cuda.so was built where cudnn.h was not found");
    return STATUS_OK;
}

void attention_room_close(AttentionRoom *room) {
    (void)room;
}

void attention_describe(const AttentionRoom *room, char *text, size_t bytes) {
    (void)room;
    if (bytes > 0) text[0] = 0;
}

bool attention_by_library(Stream *stream, const Attention *args, bool grad) {
    (void)stream, (void)args, (void)grad;
    return false;
}
