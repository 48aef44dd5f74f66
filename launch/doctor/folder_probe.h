// Do all ranks see one run folder, and may they write there? Rank 0 lays a file with a random token
// into it, everybody reads it and writes one of its own; nothing stays behind.
#pragma once

#include "base/file.h"
#include "comm/comm.h"

// What rank 0 laid out; the same on all ranks.
typedef struct {
    char path[PATH_BYTES]; // the run folder, or the nearest folder above it that is there
    uint64_t token;
    int error;       // errno of rank 0's attempt to write; 0: the file is there
    int checkpoints; // that the run folder holds
} FolderOffer;

typedef struct {
    bool seen;           // rank 0's file, with its token
    int write_error;     // errno of this rank's own file; 0: none
    uint64_t free_bytes; // on the file system of the folder, for this user
} FolderFacts;

// All ranks together. Errors: COMM.
Status folder_offer(Comm *comm, const char *run_dir, FolderOffer *out);
// Tries for some seconds, as a network file system may take a while to tell of a new file.
void folder_try(const FolderOffer *offer, int rank, FolderFacts *out);
void folder_withdraw(const FolderOffer *offer); // rank 0, when all have tried
