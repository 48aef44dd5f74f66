// Packing made-up points.
#include "data/pack_impl.h"

#include "data/shard_writer.h"
#include "data/toys.h"

enum { TOY_ITEMS = 50000 };

static Status write_points(Pack *pack, int toy, int split, uint64_t first) {
    ShardWriter *writer;
    TRY(shard_writer_open(pack->folder, &pack->index, split, 0, &writer));
    for (int64_t i = 0; i < pack->index.split[split].items; ++i) {
        float point[2];
        toy_point(toy, pack->config->seed, first + (uint64_t)i, point);
        Status status = shard_writer_add(writer, point, sizeof point);
        if (status != STATUS_OK) {
            shard_writer_discard(writer);
            return error_trail(status, __FILE__, __LINE__, __func__);
        }
    }
    TRY(shard_writer_finish(writer));
    return STATUS_OK;
}

Status pack_toy(Pack *pack, int toy) {
    static const int64_t shape[1] = {2};
    int64_t train = pack->config->train_items > 0 ? pack->config->train_items : TOY_ITEMS;
    int64_t held_out = train < 10 ? 1 : train / 10;
    pack->index.info.kind = KIND_VECTOR;
    pack_add_column(pack, "vector", DTYPE_F32, FILTER_PLANES, 1, shape);
    pack_add_split(pack, "train", train);
    pack_add_split(pack, "valid", held_out);
    pack_add_split(pack, "test", held_out);
    uint64_t first = 0;
    for (int s = 0; s < 3; ++s) {
        TRY(write_points(pack, toy, s, first));
        first += (uint64_t)pack->index.split[s].items;
        pack_progress(pack, (int64_t)first, train + 2 * held_out, "making points");
    }
    return STATUS_OK;
}
