// Packing made-up points and bits.
#include "data/pack_impl.h"

#include "data/shard_writer.h"
#include "data/toys.h"

enum { TOY_ITEMS = 50000 };

static Status add_sample(ShardWriter *writer, int toy, uint64_t seed, uint64_t sample) {
    if (toy_is_bits(toy)) {
        uint8_t bit[HEARTBEAT_BITS];
        toy_bits(seed, sample, bit);
        TRY(shard_writer_add(writer, bit, sizeof bit));
    } else {
        float point[2];
        toy_point(toy, seed, sample, point);
        TRY(shard_writer_add(writer, point, sizeof point));
    }
    return STATUS_OK;
}

static Status write_samples(Pack *pack, int toy, int split, uint64_t first) {
    ShardWriter *writer;
    TRY(shard_writer_open(pack->folder, &pack->index, split, 0, &writer));
    for (int64_t i = 0; i < pack->index.split[split].items; ++i) {
        Status status = add_sample(writer, toy, pack->config->seed, first + (uint64_t)i);
        if (status != STATUS_OK) {
            shard_writer_discard(writer);
            return error_trail(status, __FILE__, __LINE__, __func__);
        }
    }
    TRY(shard_writer_finish(writer));
    return STATUS_OK;
}

Status pack_toy(Pack *pack, int toy) {
    static const int64_t point_shape[1] = {2}, bits_shape[1] = {HEARTBEAT_BITS};
    int64_t train = pack->config->train_items > 0 ? pack->config->train_items : TOY_ITEMS;
    int64_t held_out = train < 10 ? 1 : train / 10;
    if (toy_is_bits(toy)) {
        pack->index.info.kind = KIND_TOKENS;
        pack->index.info.symbols = 2;
        pack_add_column(pack, "tokens", DTYPE_U8, FILTER_NONE, 1, bits_shape);
    } else {
        pack->index.info.kind = KIND_VECTOR;
        pack_add_column(pack, "vector", DTYPE_F32, FILTER_PLANES, 1, point_shape);
    }
    pack_add_split(pack, "train", train);
    pack_add_split(pack, "valid", held_out);
    pack_add_split(pack, "test", held_out);
    uint64_t first = 0;
    for (int s = 0; s < 3; ++s) {
        TRY(write_samples(pack, toy, s, first));
        first += (uint64_t)pack->index.split[s].items;
        pack_progress(pack, (int64_t)first, train + 2 * held_out, "making samples");
    }
    return STATUS_OK;
}
