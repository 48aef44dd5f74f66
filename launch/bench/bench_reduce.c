// Phase `reduce`: the ordered sum of gradients over ranks and the gathering of weights, as a step
// does them, against an all-reduce of the same bytes and against a step.
#include "comm/reduce.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "launch/bench/bench.h"

enum { TRIES_MOST = 512, TRIES_LEAST = 3 };

typedef struct {
    Bench *bench;
    Ownership ownership;
    Reducer *reducer;
    void *memory; // device: the covers' sums, one behind the other
    float *cover[TREE_COVER_MOST];
    int covers;
    uint64_t *words; // host, for the all-reduce
    int word_count;
} Rig;

static Status rig_open(Bench *bench, const char *exchange, Rig *rig) {
    const Engine *engine = bench->engine;
    int grains = bench->settings.train.grains, begin, end;
    int world = comm_world(bench->comm), rank = comm_rank(bench->comm);
    TreeNode node[TREE_COVER_MOST];
    *rig = (Rig){.bench = bench, .word_count = (int)(engine->params.size / 2 + 1)};
    int group = strcmp(exchange, "nccl-sum") == 0 ? world : comm_group(bench->comm);
    ownership_init(&rig->ownership, &engine->params, world, group,
                   (size_t)bench->settings.optim.bucket);
    grain_share(grains, world, rank, &begin, &end);
    rig->covers = tree_cover(grains, begin, end, node);
    size_t bytes = (size_t)engine->params.size * sizeof(float);
    TRY(device_alloc(engine->device, bytes * (size_t)(rig->covers + 1), &rig->memory));
    for (int i = 0; i < rig->covers; ++i)
        rig->cover[i] = (float *)rig->memory + i * engine->params.size;
    rig->words = calloc((size_t)rig->word_count, sizeof *rig->words);
    FAIL_IF(rig->words == NULL, NO_MEMORY, "no memory for %d words to sum", rig->word_count);
    return reducer_open(bench->comm, engine->device, exchange, &rig->ownership, grains,
                        &rig->reducer);
}

static void rig_close(Rig *rig) {
    reducer_close(rig->reducer);
    device_release(rig->bench->engine->device, rig->memory);
    free(rig->words);
}

static Status reduce(Rig *rig) {
    int buckets = rig->ownership.buckets;
    Stream *stream = rig->bench->engine->lane[0].stream;
    for (int bucket = buckets - 1; bucket >= 0; --bucket)
        TRY(reducer_start(rig->reducer, bucket, rig->cover, rig->covers));
    for (int bucket = buckets - 1; bucket >= 0; --bucket)
        TRY(reducer_wait(rig->reducer, bucket, stream));
    if (reducer_is_queued(rig->reducer)) TRY(reducer_mark(rig->reducer, stream));
    return reducer_meet(rig->reducer);
}

static Status gather(Rig *rig) {
    return reducer_gather_weights(rig->reducer, rig->cover[0], rig->bench->engine->lane[0].stream);
}

static Status all_reduce(Rig *rig) {
    return comm_sum_u64(rig->bench->comm, rig->words, rig->word_count);
}

// What each rank adds up for itself before it talks to others: one sum of two buffers.
static Status merge(Rig *rig) {
    Stream *stream = rig->bench->engine->lane[0].stream;
    int64_t n = rig->bench->engine->params.size;
    axpby(stream, (Elementwise){.x = (float *)rig->memory + rig->covers * n,
                                .y = rig->cover[0],
                                .n = n,
                                .a = 1,
                                .b = 1});
    return stream_wait(stream);
}

typedef struct {
    Status (*run)(Rig *rig);
    double sample[TRIES_MOST], seconds; // the median
} Part;
enum { REDUCE, GATHER, ALL_REDUCE, MERGE, PARTS };

// Takes turns, all ranks the same number of times.
static Status measure(Rig *rig, Part *part, int parts, double seconds) {
    double until = clock_now() + seconds, more = 1;
    int tries = 0;
    for (; tries < TRIES_MOST && more > 0; ++tries) {
        for (int i = 0; i < parts; ++i) {
            TRY(bench_meet(rig->bench));
            double began = clock_now();
            TRY(part[i].run(rig));
            part[i].sample[tries] = clock_now() - began;
        }
        more = !rig->bench->interrupted && comm_rank(rig->bench->comm) == 0 &&
               (clock_now() < until || tries + 1 < TRIES_LEAST);
        TRY(bench_sum(rig->bench, &more, 1));
    }
    for (int i = 0; i < parts; ++i) part[i].seconds = bench_median(part[i].sample, tries);
    return STATUS_OK;
}

static void tell(Bench *bench, const Part part[PARTS]) {
    double bytes = (double)bench->engine->params.size * sizeof(float);
    double step = bench->step_seconds, exchange = part[REDUCE].seconds + part[GATHER].seconds;
    int grains = bench->settings.train.grains;
    double merges = grains - 1 - grains / 2; // of all ranks and streams; right grains need none
    report_ratio(bench, "merges_over_step",
                 merges * part[MERGE].seconds / step / comm_world(bench->comm) /
                     bench->engine->lanes,
                 "the tree's additions, shared by all streams, over a step");
    report_figure(bench, "merge_us", 1e6 * part[MERGE].seconds, "us, one addition of two buffers");
    report_figure(bench, "bytes_mb", bytes / 1e6, "MB of gradient");
    if (comm_world(bench->comm) == 1) {
        report_line(bench, "  one rank: nothing travels; start several with mpirun -n N dye bench");
        return;
    }
    report_ratio(bench, "exchange_over_all_reduce", exchange / part[ALL_REDUCE].seconds,
                 "ordered sum and gathering, over MPI_Allreduce of the bytes");
    report_ratio(bench, "exchange_over_step", exchange / step, "the same over a step");
    report_figure(bench, "reduce_us", 1e6 * part[REDUCE].seconds, "us, the ordered sum");
    report_figure(bench, "gather_us", 1e6 * part[GATHER].seconds, "us, the weights");
    report_figure(bench, "all_reduce_us", 1e6 * part[ALL_REDUCE].seconds, "us");
    report_figure(bench, "exchange_gb_per_s", 2 * bytes / exchange / 1e9, "GB/s, both ways");
}

// What the order of the sums, and with it the same bits for any number of ranks, costs: the same
// buckets summed by NCCL, in whatever order it likes.
static Status tell_cost_of_order(Bench *bench, double ordered) {
    static Part loose = {.run = reduce};
    Rig rig;
    Status status = rig_open(bench, "nccl-sum", &rig);
    if (status == STATUS_OK) status = measure(&rig, &loose, 1, bench->seconds);
    if (status == STATUS_OK && !bench->interrupted) {
        report_ratio(bench, "ordered_over_nccl_sum", ordered / loose.seconds,
                     "the ordered sum, over NCCL's own (device.exchange=nccl-sum)");
        report_ratio(bench, "order_over_step", (ordered - loose.seconds) / bench->step_seconds,
                     "what the order costs, over a step, if nothing of it is hidden");
    }
    rig_close(&rig);
    return status;
}

Status bench_reduce(Bench *bench) {
    Rig rig;
    static Part part[PARTS] = {
        {.run = reduce}, {.run = gather}, {.run = all_reduce}, {.run = merge}};
    const char *exchange = bench->settings.device.exchange;
    Status status = rig_open(bench, exchange, &rig);
    bool queued = status == STATUS_OK && reducer_is_queued(rig.reducer);
    bool ordered = queued && strcmp(exchange, "nccl-sum") != 0;
    if (status == STATUS_OK) status = measure(&rig, part, PARTS, bench->seconds);
    if (status == STATUS_OK && !bench->interrupted) tell(bench, part);
    rig_close(&rig);
    return status == STATUS_OK && ordered ? tell_cost_of_order(bench, part[REDUCE].seconds)
                                          : status;
}
