// NCCL on the CPU: ranks are MPI's, a GPU's memory is the host's, its streams are
// emulated_stream.h's. It does everything as late as it may: messages travel when something behind
// them on the stream is asked for, and a call is "in progress", having queued nothing, until its
// state was asked for twice.
//
// DYE_EMULATED_NCCL (several: "A;B"): absent=RANK never comes; error=RANK is told of an error while
// it waits for its first exchange; stuck=RANK never ends. DYE_EMULATED_TRACE names a file in which
// rank 0 writes a line for each group: what was queued on other streams before it.
#define OMPI_SKIP_MPICXX
#include <mpi.h>

#include <nccl.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "tests/cuda/emulated/emulated_stream.h"

enum { TAG = 5000, UNASKED = 2 };

struct Transfer {
    bool send;
    void *data;
    size_t bytes;
    int peer;
};

// What ncclGroupEnd queues. It outlives an aborted communicator.
struct Group {
    std::vector<Transfer> transfer;
    std::function<void(bool)> sum; // told before messages leave, and when all have come
    std::vector<MPI_Request> request;
    cudaStream_t stream;
    bool posted, done;
};

struct ncclComm {
    int rank, world, unasked; // unasked: times that its state is still "in progress"
    int tag;
    bool absent, ending, started;
    ncclResult_t error;
    std::vector<MPI_Request> start;
    std::shared_ptr<Group> open; // between ncclGroupStart and the end of its progress
    std::vector<std::shared_ptr<Group>> queued;
};

static ncclComm *current; // a process has one at a time
static int opened, asked;

static bool is_told(const char *word, int rank) {
    char wanted[32];
    const char *text = getenv("DYE_EMULATED_NCCL");
    snprintf(wanted, sizeof wanted, "%s=%d", word, rank);
    return text != nullptr && strstr(text, wanted) != nullptr;
}

static MPI_Request post(const Transfer &t, int tag) {
    MPI_Request request;
    if (t.send)
        MPI_Isend(t.data, (int)t.bytes, MPI_BYTE, t.peer, tag, MPI_COMM_WORLD, &request);
    else
        MPI_Irecv(t.data, (int)t.bytes, MPI_BYTE, t.peer, tag, MPI_COMM_WORLD, &request);
    return request;
}

static bool are_done(std::vector<MPI_Request> &requests) {
    int done = 0;
    MPI_Testall((int)requests.size(), requests.data(), &done, MPI_STATUSES_IGNORE);
    if (done) requests.clear();
    return done;
}

static bool run_group(ncclComm *comm, Group &group, int tag) {
    if (group.done) return true;
    if (!group.posted && group.sum) group.sum(false);
    for (const Transfer &t : group.transfer)
        if (!group.posted) group.request.push_back(post(t, tag));
    group.posted = true;
    if (is_told("error", comm->rank)) comm->error = ncclRemoteError;
    if (comm->error != ncclSuccess) return false;
    group.done = are_done(group.request);
    if (group.done && group.sum) group.sum(true);
    return group.done;
}

static void drop(std::vector<MPI_Request> &requests) {
    for (MPI_Request &request : requests) {
        if (request == MPI_REQUEST_NULL) continue;
        MPI_Cancel(&request);
        MPI_Request_free(&request);
    }
    requests.clear();
}

static void trace(const Group &group) {
    const char *path = getenv("DYE_EMULATED_TRACE");
    FILE *file = path != nullptr ? fopen(path, "a") : nullptr;
    if (file == nullptr) return;
    fprintf(file, "%llu\n", emulated_elsewhere(group.stream));
    fclose(file);
}

// Its state was asked for often enough: what it has to queue is queued.
static void settle(ncclComm *comm) {
    if (comm->open == nullptr || asked > 0) return;
    std::shared_ptr<Group> group = comm->open;
    comm->open = nullptr;
    comm->queued.push_back(group);
    if (group->transfer.empty()) {
        group->done = true;
        return;
    }
    if (comm->rank == 0) trace(*group);
    emulated_queue(group->stream, [=, tag = comm->tag] { return run_group(comm, *group, tag); });
}

// What the contract forbids ends the program.
static ncclResult_t queue(Transfer transfer, ncclDataType_t type, ncclComm_t comm,
                          cudaStream_t stream) {
    if (type != ncclUint8 || transfer.bytes == 0 || comm->unasked > 0 || comm->ending ||
        transfer.peer == comm->rank || asked != 1 ||
        (!comm->open->transfer.empty() && comm->open->stream != stream))
        return ncclInvalidUsage;
    comm->open->transfer.push_back(transfer);
    comm->open->stream = stream;
    return ncclSuccess;
}

// to[count] = the sum over ranks of what each has for this one, `count` numbers at from + rank *
// step.
template <class T>
static ncclResult_t queue_sum(const T *from, size_t step, T *to, size_t count, ncclRedOp_t op,
                              ncclComm_t comm, cudaStream_t stream) {
    if (op != ncclSum || asked != 0 || comm->unasked > 0) return ncclInvalidUsage;
    size_t rank = (size_t)comm->rank, world = (size_t)comm->world, bytes = count * sizeof(T);
    auto in = std::make_shared<std::vector<T>>(count * world);
    comm->open = std::make_shared<Group>();
    comm->open->stream = stream;
    for (size_t peer = 0; peer < world; ++peer) {
        if (peer == rank) continue;
        comm->open->transfer.push_back({false, &(*in)[peer * count], bytes, (int)peer});
        comm->open->transfer.push_back({true, (T *)from + peer * step, bytes, (int)peer});
    }
    comm->open->sum = [=](bool arrived) {
        if (!arrived) memcpy(&(*in)[rank * count], from + rank * step, bytes);
        for (size_t i = 0; arrived && i < count; ++i) {
            T x = (*in)[(rank + 1) % world * count + i];
            for (size_t k = 2; k <= world; ++k) x += (*in)[(rank + k) % world * count + i];
            to[i] = x;
        }
    };
    comm->unasked = UNASKED;
    return ncclInProgress;
}

extern "C" {

ncclResult_t ncclGetVersion(int *version) {
    *version = NCCL_VERSION_CODE;
    return ncclSuccess;
}
ncclResult_t ncclGetUniqueId(ncclUniqueId *id) {
    memset(id, 0x5A, sizeof *id);
    return ncclSuccess;
}
const char *ncclGetErrorString(ncclResult_t result) {
    return result == ncclRemoteError ? "remote process exited or there was a network error"
                                     : "invalid usage";
}
const char *ncclGetLastError(ncclComm_t comm) {
    return comm != nullptr && comm->error != ncclSuccess ? "emulated" : "";
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t *out, int world, ncclUniqueId id, int rank,
                                    ncclConfig_t *config) {
    for (char byte : id.internal)
        if (byte != 0x5A) return ncclInvalidArgument;
    if (config->blocking != 0) return ncclInvalidUsage;
    ncclComm *comm = current = *out = new ncclComm{};
    comm->rank = rank;
    comm->world = world;
    comm->unasked = UNASKED;
    comm->tag = TAG + 2 * opened++;
    comm->absent = is_told("absent", rank);
    for (int peer = 0; peer < world && !comm->absent; ++peer)
        for (int send = 0; send <= 1 && peer != rank; ++send)
            comm->start.push_back(post({(bool)send, nullptr, 0, peer}, comm->tag + 1));
    return ncclInProgress;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t *state) {
    comm->started = comm->started || (!comm->absent && are_done(comm->start));
    bool ends = comm->ending && is_told("stuck", comm->rank);
    for (auto &group : comm->queued) ends = ends || (comm->ending && !group->done);
    bool waits = comm->unasked > 0 || !comm->started || ends;
    if (comm->unasked > 0 && --comm->unasked == 0) settle(comm);
    *state = comm->error != ncclSuccess ? comm->error : waits ? ncclInProgress : ncclSuccess;
    return ncclSuccess;
}

ncclResult_t ncclGroupStart() {
    if (++asked != 1 || current == nullptr) return ncclInvalidUsage;
    current->open = std::make_shared<Group>();
    return ncclSuccess;
}
ncclResult_t ncclGroupEnd() {
    if (--asked != 0 || current == nullptr) return ncclInvalidUsage;
    current->unasked = UNASKED;
    return ncclInProgress;
}
ncclResult_t ncclSend(const void *data, size_t count, ncclDataType_t type, int peer,
                      ncclComm_t comm, cudaStream_t stream) {
    return queue({true, (void *)data, count, peer}, type, comm, stream);
}
ncclResult_t ncclRecv(void *data, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
    return queue({false, data, count, peer}, type, comm, stream);
}

// Each rank adds up in an order of its own: an order that depends on the number of ranks.
ncclResult_t ncclReduceScatter(const void *from, void *to, size_t count, ncclDataType_t type,
                               ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream) {
    if (type != ncclFloat32) return ncclInvalidUsage;
    return queue_sum((const float *)from, count, (float *)to, count, op, comm, stream);
}
// Of boards: sums of which all but one number is 0, so that their order is nobody's business.
ncclResult_t ncclAllReduce(const void *from, void *to, size_t count, ncclDataType_t type,
                           ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream) {
    if (type != ncclFloat64) return ncclInvalidUsage;
    return queue_sum((const double *)from, 0, (double *)to, count, op, comm, stream);
}

ncclResult_t ncclCommFinalize(ncclComm_t comm) {
    comm->ending = true;
    comm->unasked = UNASKED;
    return ncclInProgress;
}
ncclResult_t ncclCommDestroy(ncclComm_t comm) {
    if (!comm->ending || comm->unasked > 0) return ncclInvalidUsage;
    for (auto &group : comm->queued)
        if (!group->done) return ncclInvalidUsage;
    delete comm;
    current = nullptr;
    return ncclSuccess;
}
ncclResult_t ncclCommAbort(ncclComm_t comm) {
    drop(comm->start);
    for (auto &group : comm->queued) {
        drop(group->request);
        group->done = true;
    }
    asked = 0;
    delete comm;
    current = nullptr;
    return ncclSuccess;
}

// ---- what is not of streams ---------------------------------------------------------------------

cudaError_t cudaSetDevice(int) {
    return cudaSuccess;
}
const char *cudaGetErrorString(cudaError_t) {
    return "an error of the emulated GPU";
}

} // extern "C"
