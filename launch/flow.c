// The flow behind launch/flow.h. Positions are on the device, in fp32; what is summed over stages
// is on the host, in float64.
#include "launch/flow.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/journal.h"
#include "launch/inference.h"

typedef struct {
    void *base, *sum, *dx; // device [capacity, item]: start of a step, sum of slopes, gradient
    void *gradient;        // device [params]: not wanted
    float *sign, *product, *out; // host [capacity, item]
    double *divergence;          // [capacity], integral so far
    double *time;                // [capacity], all the first
    GrainBatch batch;
} FlowLane;

struct Flow {
    Engine *engine;
    int steps;
    int64_t item;
    FlowLane *lane;
};

static Status open_lane(Flow *flow, FlowLane *lane) {
    Engine *engine = flow->engine;
    size_t numbers = (size_t)(engine->capacity * flow->item), bytes = numbers * sizeof(float);
    TRY(device_alloc(engine->device, bytes, &lane->base));
    TRY(device_alloc(engine->device, bytes, &lane->sum));
    TRY(device_alloc(engine->device, bytes, &lane->dx));
    TRY(device_alloc(engine->device, (size_t)engine->params.size * sizeof(float), &lane->gradient));
    lane->sign = malloc(3 * bytes);
    lane->divergence = calloc(2 * (size_t)engine->capacity, sizeof *lane->divergence);
    FAIL_IF(lane->sign == NULL || lane->divergence == NULL, NO_MEMORY, "no memory for a flow");
    lane->product = lane->sign + numbers;
    lane->out = lane->product + numbers;
    lane->time = lane->divergence + engine->capacity;
    return STATUS_OK;
}

Status flow_open(Engine *engine, int steps, Flow **out) {
    *out = NULL;
    TRY(process_flow_check(engine->process));
    Flow *flow = calloc(1, sizeof *flow);
    FAIL_IF(flow == NULL, NO_MEMORY, "no memory for a flow");
    *flow = (Flow){engine, steps, engine_item(engine), NULL};
    flow->lane = calloc((size_t)engine->lanes, sizeof *flow->lane);
    Status status = STATUS_OK;
    if (flow->lane == NULL) FAIL_OR(failed, status, NO_MEMORY, "no memory for a flow");
    for (int i = 0; i < engine->lanes; ++i) TRY_OR(failed, status, open_lane(flow, &flow->lane[i]));
    *out = flow;
    return STATUS_OK;
failed:
    flow_close(flow);
    return status;
}

void flow_close(Flow *flow) {
    if (flow == NULL) return;
    for (int i = 0; i < flow->engine->lanes && flow->lane != NULL; ++i) {
        FlowLane *lane = &flow->lane[i];
        void *device[4] = {lane->base, lane->sum, lane->dx, lane->gradient};
        for (int k = 0; k < 4; ++k) device_release(flow->engine->device, device[k]);
        free(lane->sign);
        free(lane->divergence);
    }
    free(flow->lane);
    free(flow);
}

// ---- a step -----------------------------------------------------------------------------------

void flow_put(Flow *flow, int lane, const GrainBatch *batch) {
    flow->lane[lane].batch = *batch;
}

// Sign e of sample s.
static float sign_of(const GrainBatch *batch, uint64_t draw, int64_t s, int64_t e) {
    uint32_t bits[4];
    rng_block(rng_key(batch->seed, RNG_HUTCHINSON, draw), batch->sample[s], (uint32_t)(e / 128),
              bits);
    return bits[e / 32 % 4] >> e % 32 & 1 ? 1.0f : -1.0f;
}

static void draw_signs(const Flow *flow, FlowLane *own, uint64_t draw) {
    for (int64_t s = 0; s < own->batch.samples; ++s)
        for (int64_t e = 0; e < flow->item; ++e)
            own->sign[s * flow->item + e] = sign_of(&own->batch, draw, s, e);
}

// Hutchinson's estimate of the trace of the Jacobian.
static double trace_of(const Flow *flow, const FlowLane *own, int64_t s) {
    double trace = 0;
    for (int64_t e = s * flow->item; e < (s + 1) * flow->item; ++e)
        trace += (double)own->sign[e] * (double)own->product[e];
    return trace;
}

// x_t = x_0 as the process sees it.
static void begin(Flow *flow, int lane_index) {
    Engine *engine = flow->engine;
    EngineLane *lane = &engine->lane[lane_index];
    FlowLane *own = &flow->lane[lane_index];
    const GrainBatch *batch = &own->batch;
    for (int64_t s = 0; s < batch->samples; ++s) {
        own->time[s] = process_first_time(engine->process);
        own->divergence[s] = 0;
    }
    draw_signs(flow, own, 0);
    process_corrupt_at(engine->process, engine->network, lane->stream, &lane->pass, batch,
                       own->time, 0);
    axpby(lane->stream,
          (Elementwise){
              .x = lane->pass.x_0, .y = lane->pass.x_t, .n = batch->samples * flow->item, .a = 1});
}

// Queues network and gradient at the pass's x_t and times: out, and dx = J^T sign.
static void queue_network(Flow *flow, int lane_index) {
    Engine *engine = flow->engine;
    EngineLane *lane = &engine->lane[lane_index];
    FlowLane *own = &flow->lane[lane_index];
    const GrainBatch *batch = &own->batch;
    size_t bytes = (size_t)(batch->samples * flow->item) * sizeof(float);
    NetworkInput input;
    process_network_input(engine->process, &lane->pass, batch, false, &input);
    NetworkMemory memory = engine_memory(engine, lane_index);
    network_forward(engine->network, lane->stream, &memory, &input, lane->pass.out);
    stream_upload(lane->stream, lane->pass.dout, own->sign, bytes);
    network_backward(engine->network, lane->stream, &memory, &input, lane->pass.dout, own->gradient,
                     false, own->dx);
    stream_download(lane->stream, own->product, own->dx, bytes);
}

// With slope = by_x x + by_out out: adds weight * divergence, and moves on: sum += weight slope,
// x_t = base + ahead * slope.
static void end_stage(Flow *flow, int lane_index, double time, double weight, double ahead) {
    EngineLane *lane = &flow->engine->lane[lane_index];
    FlowLane *own = &flow->lane[lane_index];
    double by_x, by_out;
    int64_t samples = own->batch.samples, n = samples * flow->item;
    process_flow_slope(flow->engine->process, time, &by_x, &by_out);
    for (int64_t i = 0; i < samples; ++i) {
        double divergence = by_x * (double)flow->item + by_out * trace_of(flow, own, i);
        own->divergence[i] += weight * divergence;
    }
    // The slope takes the place of out.
    axpby(lane->stream, (Elementwise){.x = lane->pass.x_t,
                                      .y = lane->pass.out,
                                      .n = n,
                                      .a = (float)by_x,
                                      .b = (float)by_out});
    axpby(lane->stream,
          (Elementwise){.x = lane->pass.out, .y = own->sum, .n = n, .a = (float)weight, .b = 1});
    if (ahead == 0) return;
    axpby(lane->stream, (Elementwise){.x = own->base, .y = lane->pass.x_t, .n = n, .a = 1});
    axpby(
        lane->stream,
        (Elementwise){.x = lane->pass.out, .y = lane->pass.x_t, .n = n, .a = (float)ahead, .b = 1});
}

// RK4 from time to time + h on all streams.
static Status run_step(Flow *flow, int busy, double time, double h) {
    static const double at[4] = {0, 0.5, 0.5, 1}, weight[4] = {1 / 6.0, 1 / 3.0, 1 / 3.0, 1 / 6.0};
    static const double ahead[4] = {0.5, 0.5, 1, 0};
    for (int i = 0; i < busy; ++i) {
        Stream *stream = flow->engine->lane[i].stream;
        const float *x = flow->engine->lane[i].pass.x_t;
        int64_t n = flow->lane[i].batch.samples * flow->item;
        axpby(stream, (Elementwise){.x = x, .y = flow->lane[i].base, .n = n, .a = 1});
        axpby(stream, (Elementwise){.x = x, .y = flow->lane[i].sum, .n = n, .a = 1});
    }
    for (int stage = 0; stage < 4; ++stage) {
        double moment = time + at[stage] * h;
        for (int i = 0; i < busy; ++i) {
            inference_upload_time(flow->engine, i, flow->lane[i].batch.samples, moment);
            queue_network(flow, i);
        }
        TRY(engine_wait(flow->engine));
        for (int i = 0; i < busy; ++i)
            end_stage(flow, i, moment, h * weight[stage], h * ahead[stage]);
    }
    for (int i = 0; i < busy; ++i)
        axpby(flow->engine->lane[i].stream,
              (Elementwise){.x = flow->lane[i].sum,
                            .y = flow->engine->lane[i].pass.x_t,
                            .n = flow->lane[i].batch.samples * flow->item,
                            .a = 1});
    return STATUS_OK;
}

Status flow_run(Flow *flow, int busy) {
    Engine *engine = flow->engine;
    double time = process_first_time(engine->process), next, weight;
    for (int i = 0; i < busy; ++i) begin(flow, i);
    for (int step = 1; step <= flow->steps; ++step, time = next) {
        next = 1;
        if (step < flow->steps)
            next = process_bound_time(engine->process, (double)step / flow->steps, &weight);
        TRY(run_step(flow, busy, time, next - time));
        journal_proceed();
    }
    for (int i = 0; i < busy; ++i)
        stream_download(engine->lane[i].stream, flow->lane[i].product, engine->lane[i].pass.x_t,
                        (size_t)(flow->lane[i].batch.samples * flow->item) * sizeof(float));
    return engine_wait(engine);
}

double flow_nats(const Flow *flow, int lane, int64_t sample) {
    const FlowLane *own = &flow->lane[lane];
    const float *end = own->product + sample * flow->item;
    const float *x_0 = (const float *)own->batch.x_0 + sample * flow->item;
    return process_flow_nats(flow->engine->process, end, x_0) - own->divergence[sample];
}

void flow_probe(Flow *flow, int lane, const GrainBatch *batch, uint64_t draw) {
    EngineLane *stream = &flow->engine->lane[lane];
    FlowLane *own = &flow->lane[lane];
    own->batch = *batch;
    draw_signs(flow, own, draw);
    queue_network(flow, lane);
    stream_download(stream->stream, own->out, stream->pass.out,
                    (size_t)(batch->samples * flow->item) * sizeof(float));
}

double flow_term(const Flow *flow, int lane, int64_t sample, double time) {
    const FlowLane *own = &flow->lane[lane];
    const float *out = own->out + sample * flow->item;
    double square = 0;
    for (int64_t e = 0; e < flow->item; ++e) square += (double)out[e] * (double)out[e];
    return process_elbo_term(flow->engine->process, time, square, trace_of(flow, own, sample));
}
