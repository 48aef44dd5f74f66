// Built as a library of its own, so that a stream means the same to both that use it.
#include "tests/cuda/emulated/emulated_stream.h"

#include <sched.h>
#include <stdlib.h>
#include <time.h>

#include <deque>
#include <set>

struct CUstream_st {
    std::deque<EmulatedWork> work;
    unsigned long long done; // works
    bool running;
};

struct CUevent_st {
    CUstream_st *stream;
    unsigned long long place; // works that lie before it
    double ms;
};

static std::set<CUstream_st *> streams;

// Whether all work before `place` is done; does what can be done of it.
static bool advance(CUstream_st *stream, unsigned long long place) {
    if (streams.count(stream) == 0) return true; // closed, which waits for all
    while (stream->done < place) {
        if (stream->running) abort(); // streams that wait for each other
        stream->running = true;
        bool done = stream->work.front()();
        stream->running = false;
        if (!done) return false;
        stream->work.pop_front();
        ++stream->done;
    }
    return true;
}

static unsigned long long end_of(const CUstream_st *stream) {
    return stream->done + stream->work.size();
}

static void finish(CUstream_st *stream, unsigned long long place) {
    while (!advance(stream, place)) sched_yield();
}

static double passed; // seconds

void emulated_pass(double seconds) {
    passed += seconds;
}

static double now_ms() {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (passed + (double)t.tv_sec) * 1e3 + (double)t.tv_nsec * 1e-6;
}

void emulated_queue(cudaStream_t stream, EmulatedWork work) {
    stream->work.push_back(std::move(work));
}

unsigned long long emulated_elsewhere(cudaStream_t stream) {
    unsigned long long works = 0;
    for (CUstream_st *other : streams) works += other == stream ? 0 : end_of(other);
    return works;
}

#pragma GCC visibility push(default)
extern "C" {

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags) {
    if (flags != cudaStreamNonBlocking) return cudaErrorInvalidValue;
    streams.insert(*stream = new CUstream_st{});
    return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    finish(stream, end_of(stream));
    streams.erase(stream);
    delete stream;
    return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    finish(stream, end_of(stream));
    return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize(void) {
    for (CUstream_st *stream : streams) finish(stream, end_of(stream));
    return cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
    emulated_queue(stream, [before = event->stream, place = event->place] {
        return before == nullptr || advance(before, place);
    });
    return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t *event) {
    *event = new CUevent_st{};
    return cudaSuccess;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned) {
    return cudaEventCreate(event);
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
    if (event->stream != nullptr) finish(event->stream, event->place); // it may be written to
    delete event;
    return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    emulated_queue(stream, [event] { return event->ms = now_ms(), true; });
    event->stream = stream;
    event->place = end_of(stream);
    return cudaSuccess;
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
    bool done = event->stream == nullptr || advance(event->stream, event->place);
    return done ? cudaSuccess : cudaErrorNotReady;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    if (event->stream != nullptr) finish(event->stream, event->place);
    return cudaSuccess;
}
cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t begin, cudaEvent_t end) {
    if (cudaEventQuery(begin) != cudaSuccess || cudaEventQuery(end) != cudaSuccess)
        return cudaErrorNotReady;
    *ms = (float)(end->ms - begin->ms);
    return cudaSuccess;
}

} // extern "C"
#pragma GCC visibility pop
