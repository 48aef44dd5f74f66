// Packing tokens on a grid that a program makes, with or without labels.
#include "data/pack_impl.h"

#include "data/shard_writer.h"

// The writer of a column; labels may be missing.
typedef struct {
    ShardWriter *tokens, *labels;
} Writers;

static Status write_split(Pack *pack, int split, int64_t total, int64_t *done, Writers *writers) {
    const PackTokens *made = pack->config->tokens;
    for (;;) {
        const uint8_t *tokens, *labels;
        int64_t count;
        TRY(made->next(made->context, split, &tokens, &labels, &count));
        if (count == 0) return STATUS_OK;
        size_t item = (size_t)(made->height * made->width);
        TRY(shard_writer_add(writers->tokens, tokens, (size_t)count * item));
        if (writers->labels != NULL) TRY(shard_writer_add(writers->labels, labels, (size_t)count));
        *done += count;
        pack_progress(pack, *done, total, "packing tokens");
    }
}

static Status finish(ShardWriter **writer) {
    ShardWriter *last = *writer;
    *writer = NULL; // gone also after a failure
    return last != NULL ? shard_writer_finish(last) : STATUS_OK;
}

static Status write_columns(Pack *pack, int split, int64_t total, int64_t *done) {
    Writers writers = {0};
    Status status = STATUS_OK;
    TRY(shard_writer_open(pack->folder, &pack->index, split, 0, &writers.tokens));
    if (pack->config->tokens->classes > 0)
        TRY_OR(done, status,
               shard_writer_open(pack->folder, &pack->index, split, 1, &writers.labels));
    TRY_OR(done, status, write_split(pack, split, total, done, &writers));
    TRY_OR(done, status, finish(&writers.tokens));
    TRY_OR(done, status, finish(&writers.labels));
done:
    shard_writer_discard(writers.tokens);
    shard_writer_discard(writers.labels);
    return status;
}

Status pack_tokens(Pack *pack) {
    const PackTokens *made = pack->config->tokens;
    const int64_t shape[2] = {made->height, made->width};
    int64_t total = 0, done = 0;
    pack->index.info.kind = KIND_TOKENS;
    pack->index.info.symbols = made->symbols;
    pack->index.info.classes = made->classes;
    pack_add_column(pack, "tokens", DTYPE_U8, FILTER_NONE, 2, shape);
    if (made->classes > 0) pack_add_column(pack, "label", DTYPE_U8, FILTER_NONE, 0, NULL);
    for (int s = 0; s < made->splits; ++s) {
        pack_add_split(pack, made->split[s].name, made->split[s].items);
        total += made->split[s].items;
    }
    for (int s = 0; s < made->splits; ++s) TRY(write_columns(pack, s, total, &done));
    return STATUS_OK;
}
