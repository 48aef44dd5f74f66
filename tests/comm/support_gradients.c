// Gradient of grain g, element e in round t: a pure function of (t, g, e) with widely spread
// exponents, so that any other order of adding gives other bits.
#include "tests/comm/support_gradients.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mix.h"
#include "tests/comm/support_fake_backend.h"

static float gradient(int round, int grain, int64_t element) {
    uint64_t bits = mix64(mix64((uint64_t)(round * 1000 + grain) + 1) + (uint64_t)element);
    return ldexpf((float)(bits >> 40) * 0x1p-23f - 1.0f, (int)(bits & 31) - 16);
}

// The sum of node (level, index), word for word as reduce.h defines it.
static float defined_sum(int grains, int round, int level, int64_t index, int64_t element) {
    if (level == 0) return gradient(round, (int)index, element);
    float left = defined_sum(grains, round, level - 1, 2 * index, element);
    if ((2 * index + 1) << (level - 1) >= grains) return left;
    return left + defined_sum(grains, round, level - 1, 2 * index + 1, element);
}

static float root_sum(int grains, int round, int64_t element) {
    int level = 0;
    while (1 << level < grains) ++level;
    return defined_sum(grains, round, level, 0, element);
}

typedef struct {
    Comm *comm;
    const GradientCase *config;
    Device *device;
    Params params;
    Ownership ownership;
    Reducer *reducer;
    float *buffer[TREE_COVER_MOST]; // device
    int buffers;
    float *weights; // device
} Rig;

static Status rig_open(Rig *rig) {
    const GradientCase *config = rig->config;
    int64_t ragged = config->part_size / 3;
    rig->params = (Params){.size = (int64_t)config->parts * config->part_size - ragged,
                           .part_size = config->part_size,
                           .parts = config->parts};
    int world = comm_world(rig->comm), group = config->group > 0 ? config->group : world;
    ownership_init(&rig->ownership, &rig->params, world, group,
                   (size_t)(config->bucket_parts * config->part_size) * sizeof(float));
    const char *exchange = config->exchange != NULL ? config->exchange : "host";
    if (config->exchange != NULL) {
        DeviceConfig gpu = {.backend = "cuda", .streams = 2, .gpu = comm_local_rank(rig->comm)};
        TRY(device_open(&gpu, &rig->device));
    } else {
        TRY(fake_device_open(2, &rig->device));
        rig->device->on_host = config->on_host;
    }
    TRY(reducer_open(rig->comm, rig->device, exchange, &rig->ownership, config->grains,
                     &rig->reducer));
    bool by_nccl = strncmp(reducer_describe(rig->reducer), "NCCL", 4) == 0;
    REQUIRE(by_nccl == (strncmp(exchange, "nccl", 4) == 0 && comm_world(rig->comm) > 1));
    int begin, end;
    grain_share(config->grains, comm_world(rig->comm), comm_rank(rig->comm), &begin, &end);
    rig->buffers = tree_sum_slots(config->grains, begin, end);
    size_t bytes = (size_t)rig->params.size * sizeof(float);
    void *memory;
    for (int i = 0; i < rig->buffers; ++i) {
        TRY(device_alloc(rig->device, bytes, &memory));
        rig->buffer[i] = memory;
    }
    TRY(device_alloc(rig->device, bytes, &memory));
    rig->weights = memory;
    return STATUS_OK;
}

static void rig_close(Rig *rig) {
    for (int i = 0; i < rig->buffers; ++i) device_release(rig->device, rig->buffer[i]);
    device_release(rig->device, rig->weights);
    reducer_close(rig->reducer);
    if (rig->config->exchange != NULL)
        device_close(rig->device);
    else
        fake_device_close(rig->device);
}

// Sums this rank's grains; cover[] are the buffers that hold its cover.
static int sum_grains(Rig *rig, int round, float *cover[TREE_COVER_MOST]) {
    TreeSum sum;
    TreeMerge merge[TREE_COVER_MOST];
    int begin, end;
    grain_share(rig->config->grains, comm_world(rig->comm), comm_rank(rig->comm), &begin, &end);
    tree_sum_init(&sum, rig->config->grains, begin, end);
    for (int grain = begin; grain < end; ++grain) {
        bool add;
        float *leaf = rig->buffer[tree_sum_leaf(&sum, &add)];
        for (int64_t e = 0; e < rig->params.size; ++e)
            leaf[e] = add ? leaf[e] + gradient(round, grain, e) : gradient(round, grain, e);
        int merges = tree_sum_merge(&sum, merge);
        for (int i = 0; i < merges; ++i) {
            float *to = rig->buffer[merge[i].to], *from = rig->buffer[merge[i].from];
            for (int64_t e = 0; e < rig->params.size; ++e) to[e] = to[e] + from[e];
        }
    }
    for (int k = 0; k < sum.depth; ++k) cover[k] = rig->buffer[sum.slot[k]];
    return sum.depth;
}

static Status reduce_buckets(Rig *rig, float *const *cover, int covers) {
    int buckets = rig->ownership.buckets;
    Stream *stream = device_stream(rig->device, 1);
    if (rig->config->at_once) {
        for (int b = 0; b < buckets; ++b) TRY(reducer_start(rig->reducer, b, cover, covers));
        for (int b = buckets - 1; b >= 0; --b) TRY(reducer_wait(rig->reducer, b, stream));
        return stream_wait(stream);
    }
    for (int b = buckets - 1; b >= -1; --b) {
        if (b >= 0) TRY(reducer_start(rig->reducer, b, cover, covers));
        if (b + 1 < buckets) TRY(reducer_wait(rig->reducer, b + 1, stream));
    }
    return stream_wait(stream);
}

// Whether it is no sum in this order, but one of the same numbers.
static bool is_close(const Rig *rig, int round, int64_t e, float expected) {
    double all = 0;
    for (int grain = 0; grain < rig->config->grains; ++grain)
        all += fabs((double)gradient(round, grain, e));
    return rig->weights[e] != expected &&
           fabs((double)rig->weights[e] - (double)expected) < 1e-6 * all;
}

// Everything but the owned parts is spoilt before the weights are gathered.
static Status run_round(Rig *rig, int round, int64_t *wrong) {
    float *cover[TREE_COVER_MOST];
    int covers = sum_grains(rig, round, cover), rank = comm_rank(rig->comm);
    TRY(reduce_buckets(rig, cover, covers));
    for (int64_t e = 0; e < rig->params.size; ++e) rig->weights[e] = NAN;
    for (int part = 0; part < rig->params.parts; ++part) {
        int64_t begin, end;
        if (ownership_owner(&rig->ownership, part) != rank) continue;
        params_part(&rig->params, part, &begin, &end);
        memcpy(rig->weights + begin, cover[0] + begin, (size_t)(end - begin) * sizeof(float));
    }
    TRY(reducer_gather_weights(rig->reducer, rig->weights, device_stream(rig->device, 1)));
    for (int64_t e = 0; e < rig->params.size; ++e) {
        float expected = root_sum(rig->config->grains, round, e);
        if (memcmp(&rig->weights[e], &expected, sizeof expected) != 0) ++*wrong;
        if (rig->config->loose && is_close(rig, round, e, expected)) --*wrong;
    }
    return STATUS_OK;
}

Status gradients_check(Comm *comm, const GradientCase *config, int64_t *wrong, uint64_t *hash) {
    Rig rig = {.comm = comm, .config = config};
    TRY(rig_open(&rig));
    *wrong = 0, *hash = 0;
    for (int round = 0; round < config->rounds; ++round) {
        TRY(run_round(&rig, round, wrong));
        for (int64_t e = 0; e < rig.params.size; ++e) {
            uint32_t bits;
            memcpy(&bits, &rig.weights[e], sizeof bits);
            *hash += mix_element((uint64_t)(round * rig.params.size + e), bits);
        }
    }
    rig_close(&rig);
    return STATUS_OK;
}
