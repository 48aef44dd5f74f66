// Executes kernels on the CPU: each block's threads are fibers that take turns at barriers.
#include "tests/cuda/emulated/cuda_runtime.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <map>

enum {
    WARP_LANES = 32,
    THREADS_MOST = 1024,
    STACK_BYTES = 256 << 10,
    ROOM_BYTES = 99 << 10,
    ROOM_FREE = 48 << 10
};

EmulatedPlace threadIdx, blockIdx, blockDim, gridDim;
__attribute__((aligned(256))) unsigned char kernel_room[ROOM_BYTES];

namespace {

enum State { READY, AT_BLOCK, AT_WARP, DONE };

struct Fiber {
    void *stack_top, *saved; // saved: the stack pointer while it rests
    State state;
    unsigned long long given;
};

Fiber fiber[THREADS_MOST];
void *scheduler_saved;
unsigned current, threads;
void (*body)(void *, void *);
void *body_kernel, *body_args;

[[noreturn]] void emulated_bug(const char *what) {
    fprintf(stderr, "emulated GPU: %s (block %u, thread %u)\n", what, blockIdx.x, current);
    abort();
}

// Saves the callee's registers on this stack, stores its top, and goes on on the other.
extern "C" void fiber_switch(void **save, void *to);
asm(R"(
.text
.type fiber_switch, @function
fiber_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size fiber_switch, .-fiber_switch
)");

void fiber_main() {
    body(body_kernel, body_args);
    fiber[current].state = DONE;
    fiber_switch(&fiber[current].saved, scheduler_saved);
    emulated_bug("a thread went on after its end");
}

void fiber_start(Fiber *f) {
    if (f->stack_top == nullptr) {
        void *stack = mmap(nullptr, STACK_BYTES, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (stack == MAP_FAILED) emulated_bug("no memory for a stack");
        f->stack_top = (char *)stack + STACK_BYTES;
    }
    void **top = (void **)f->stack_top;
    *--top = nullptr; // keeps the stack aligned as after a call
    *--top = (void *)fiber_main;
    for (int i = 0; i < 6; ++i) *--top = nullptr;
    f->saved = top;
    f->state = READY;
}

void rest(State state) {
    fiber[current].state = state;
    fiber_switch(&fiber[current].saved, scheduler_saved);
}

// Whoever waits goes on when all that share the barrier are there.
bool release(unsigned first, unsigned last, State at) {
    unsigned waiting = 0, done = 0;
    for (unsigned i = first; i < last; ++i) {
        waiting += fiber[i].state == at;
        done += fiber[i].state == DONE;
    }
    if (waiting == 0 || waiting + done < last - first) return false;
    if (done > 0) emulated_bug("a barrier that not all threads reach");
    for (unsigned i = first; i < last; ++i) fiber[i].state = READY;
    return true;
}

// Threads take their turns in an order that changes, so that a missing barrier shows.
unsigned next_random() {
    static unsigned long long state = 1;
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return (unsigned)(state >> 33);
}

void run_block() {
    for (unsigned i = 0; i < threads; ++i) fiber_start(&fiber[i]);
    for (;;) {
        unsigned done = 0;
        bool moved = false;
        unsigned first = next_random() % threads;
        bool backwards = next_random() % 2;
        for (unsigned i = 0; i < threads; ++i) {
            current = (first + (backwards ? threads - i : i)) % threads;
            if (fiber[current].state == READY) {
                threadIdx = {current, 0, 0};
                fiber_switch(&scheduler_saved, fiber[current].saved);
                moved = true;
            }
            done += fiber[current].state == DONE;
        }
        if (done == threads) return;
        for (unsigned i = 0; i < threads; i += WARP_LANES)
            moved |= release(i, i + WARP_LANES, AT_WARP);
        moved |= release(0, threads, AT_BLOCK);
        if (!moved) emulated_bug("threads wait for each other at different barriers");
    }
}

} // namespace

void emulated_barrier(bool whole_block) {
    rest(whole_block ? AT_BLOCK : AT_WARP);
}

unsigned long long emulated_shuffle(unsigned long long mine, int from) {
    unsigned self = current;
    fiber[self].given = mine;
    rest(AT_WARP);
    unsigned long long theirs = fiber[self / WARP_LANES * WARP_LANES + (unsigned)from].given;
    rest(AT_WARP); // nobody gives anew before all have read
    return theirs;
}

static std::map<const void *, size_t> room_of; // that was asked for

cudaError_t cudaFuncSetAttribute(const void *kernel, cudaFuncAttribute name, int value) {
    if (name != cudaFuncAttributeMaxDynamicSharedMemorySize || value < 0 || value > ROOM_BYTES)
        return cudaErrorInvalidValue;
    room_of[kernel] = (size_t)value;
    return cudaSuccess;
}

void emulated_launch(dim3 grid, dim3 block, size_t shared, void (*call)(void *, void *),
                     void *kernel, void *args) {
    if (block.x == 0 || block.x > THREADS_MOST || block.x % WARP_LANES != 0 || grid.x == 0 ||
        block.y * block.z * grid.y * grid.z != 1 || shared > ROOM_BYTES || grid.x > INT32_MAX)
        emulated_bug("a kernel is started with a shape that no GPU takes, or that is not tested");
    if (shared > ROOM_FREE && room_of[kernel] < shared)
        emulated_bug("a kernel has more shared memory than was asked for");
    body = call;
    body_kernel = kernel;
    body_args = args;
    threads = block.x;
    blockDim = {block.x, 1, 1};
    gridDim = {grid.x, 1, 1};
    for (unsigned i = 0; i < grid.x; ++i) {
        blockIdx = {i, 0, 0};
        memset(kernel_room, 0xFF, shared > 4096 ? shared : 4096);
        run_block();
    }
}
