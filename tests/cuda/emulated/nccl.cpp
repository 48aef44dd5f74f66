// NCCL, and what comm/cuda calls of the CUDA runtime, on the CPU: ranks are MPI's, a GPU's memory
// is the host's. It does everything as late as it may: messages travel when an event behind them is
// asked for, and a call is "in progress" until its state was asked for twice.
//
// DYE_EMULATED_NCCL (several: "A;B"): absent=RANK never comes; error=RANK is told of an error while
// it waits for its first exchange; stuck=RANK never ends.
#define OMPI_SKIP_MPICXX
#include <mpi.h>

#include <nccl.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

enum { TAG = 5000, UNASKED = 2 };

struct Transfer {
    bool send;
    void *data;
    size_t bytes;
    int peer;
};

struct ncclComm {
    int rank, world, unasked; // unasked: times that its state is still "in progress"
    int tag;
    bool absent, ending;
    ncclResult_t error;
    std::vector<Transfer> group;
    std::vector<std::vector<Transfer>> stream; // groups that were queued
    size_t posted;                             // of them
    std::vector<MPI_Request> request;          // of the start, then of what was posted
};

struct CUevent_st {
    size_t groups; // that lie before it
};

static ncclComm *current; // a process has one at a time
static int opened, asked;

static bool is_told(const char *word, int rank) {
    char wanted[32];
    const char *text = getenv("DYE_EMULATED_NCCL");
    snprintf(wanted, sizeof wanted, "%s=%d", word, rank);
    return text != nullptr && strstr(text, wanted) != nullptr;
}

static void post(ncclComm *comm, const Transfer &t, int tag) {
    MPI_Request request;
    if (t.send)
        MPI_Isend(t.data, (int)t.bytes, MPI_BYTE, t.peer, tag, MPI_COMM_WORLD, &request);
    else
        MPI_Irecv(t.data, (int)t.bytes, MPI_BYTE, t.peer, tag, MPI_COMM_WORLD, &request);
    comm->request.push_back(request);
}

static bool is_done(ncclComm *comm, size_t groups) {
    int done = 0;
    for (; comm->posted < groups; ++comm->posted)
        for (const Transfer &t : comm->stream[comm->posted]) post(comm, t, comm->tag);
    MPI_Testall((int)comm->request.size(), comm->request.data(), &done, MPI_STATUSES_IGNORE);
    if (done) comm->request.clear();
    return done;
}

// What the contract forbids ends the program.
static ncclResult_t queue(Transfer transfer, ncclDataType_t type, ncclComm_t comm) {
    if (type != ncclUint8 || transfer.bytes == 0 || comm->unasked > 0 || comm->ending ||
        transfer.peer == comm->rank || asked != 1)
        return ncclInvalidUsage;
    comm->group.push_back(transfer);
    return ncclSuccess;
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
            post(comm, {(bool)send, nullptr, 0, peer}, comm->tag + 1);
    return ncclInProgress;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t *state) {
    bool starting = comm->stream.empty() && !is_done(comm, 0);
    bool ends =
        comm->ending && (is_told("stuck", comm->rank) || !is_done(comm, comm->stream.size()));
    bool waits = comm->unasked > 0 || comm->absent || starting || ends;
    if (comm->unasked > 0) --comm->unasked;
    *state = comm->error != ncclSuccess ? comm->error : waits ? ncclInProgress : ncclSuccess;
    return ncclSuccess;
}

ncclResult_t ncclGroupStart() {
    ++asked;
    return ncclSuccess;
}
ncclResult_t ncclGroupEnd() {
    if (--asked != 0 || current == nullptr) return ncclInvalidUsage;
    current->stream.push_back(current->group);
    current->group.clear();
    current->unasked = UNASKED;
    return ncclInProgress;
}
ncclResult_t ncclSend(const void *data, size_t count, ncclDataType_t type, int peer,
                      ncclComm_t comm, cudaStream_t) {
    return queue({true, (void *)data, count, peer}, type, comm);
}
ncclResult_t ncclRecv(void *data, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t) {
    return queue({false, data, count, peer}, type, comm);
}

ncclResult_t ncclCommFinalize(ncclComm_t comm) {
    comm->ending = true;
    comm->unasked = UNASKED;
    return ncclInProgress;
}
ncclResult_t ncclCommDestroy(ncclComm_t comm) {
    if (!comm->ending || comm->unasked > 0 || !comm->request.empty()) return ncclInvalidUsage;
    delete comm;
    current = nullptr;
    return ncclSuccess;
}
ncclResult_t ncclCommAbort(ncclComm_t comm) {
    for (MPI_Request &request : comm->request) {
        if (request == MPI_REQUEST_NULL) continue;
        MPI_Cancel(&request);
        MPI_Request_free(&request);
    }
    asked = 0;
    delete comm;
    current = nullptr;
    return ncclSuccess;
}

// ---- the runtime --------------------------------------------------------------------------------

cudaError_t cudaSetDevice(int) {
    return cudaSuccess;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags) {
    *stream = (cudaStream_t)malloc(1);
    return flags == cudaStreamNonBlocking ? cudaSuccess : cudaErrorInvalidValue;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    free(stream);
    return cudaSuccess;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned) {
    *event = new CUevent_st{};
    return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
    delete event;
    return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t) {
    if (current->unasked > 0) return cudaErrorInvalidValue; // NCCL has queued nothing yet
    event->groups = current->stream.size();
    return cudaSuccess;
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
    if (is_told("error", current->rank)) current->error = ncclRemoteError;
    bool done = is_done(current, event->groups) && current->error == ncclSuccess;
    return done ? cudaSuccess : cudaErrorNotReady;
}
const char *cudaGetErrorString(cudaError_t) {
    return "an error of the emulated GPU";
}

} // extern "C"
