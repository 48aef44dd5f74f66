// Built as a library of its own, so that a stream means the same to both that use it.
//
// DYE_EMULATED_WAITS names a file in which rank 0 writes a line each time that the host waits:
// "stream", for all of one, or "event N" with N pieces of work that are queued behind what it waits
// for; and "memory N" when it asks for N bytes.
#include "tests/cuda/emulated/emulated_stream.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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
    bool waited;              // for this place, which was noted
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

void emulated_note(const char *what, unsigned long long n) {
    const char *path = getenv("DYE_EMULATED_WAITS"), *rank = getenv("OMPI_COMM_WORLD_RANK");
    FILE *file =
        path == nullptr || (rank != nullptr && strcmp(rank, "0") != 0) ? nullptr : fopen(path, "a");
    if (file == nullptr) return;
    fprintf(file, "%s %llu\n", what, n);
    fclose(file);
}

static bool is_over(cudaEvent_t event) {
    if (event->stream == nullptr || streams.count(event->stream) == 0) return true;
    if (event->place <= event->stream->done) return true;
    if (!event->waited) emulated_note("event", end_of(event->stream) - event->place);
    event->waited = true;
    return false;
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
    emulated_note("stream", 0);
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
    event->waited = false;
    return cudaSuccess;
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
    bool done = is_over(event) || advance(event->stream, event->place);
    return done ? cudaSuccess : cudaErrorNotReady;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    if (!is_over(event)) finish(event->stream, event->place);
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
