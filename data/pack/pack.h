// Makes a dataset folder (data/dataset.h, docs/dataset-format.md) from what people have
// (data/pack/source.h), with any number of ranks that see the same files.
//
// Splits are the source's own, those that the caller names, or shares of a source that knows none:
// 90 % train, half of the rest valid, the remainder test. The order of samples is the source's, or
// a fixed permutation of it: what is sorted (class by class, say) is shuffled once here, so that
// windows of neighbours hold a bit of everything later.
//
// The work is cut into *units*: about 64 MiB of one split, a shard of every column. A rank packs
// every world-th unit and leaves a record of it; the lead joins the records. Hence an interrupted
// pack goes on where it was, and the same sources and options give the same bytes on any number of
// ranks (with one version of libzstd).
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "data/pack/source.h"

enum { PACK_INPUTS_MOST = 256 };

typedef struct {
    const char *path;  // folder, file, or the name of a made-up set
    const char *split; // all its samples go there; NULL: its own splits, or shares
} PackInput;

typedef enum { SHUFFLE_AUTO, SHUFFLE_NEVER, SHUFFLE_ALWAYS } PackShuffle;

// Ranks that pack together. One alone: all 0 but world = 1.
typedef struct {
    int rank, world;
    // Waits for all; the worst status of all on every rank, with a text where it is the rank's own.
    Status (*agree)(void *context, Status mine);
    void *context;
} PackTeam;

typedef struct {
    const PackInput *input; // of one kind and shape, one behind the other
    int inputs;
    const SourceType *made; // this type reads input[0] whatever is there; NULL: it is recognised
    void *made_state;       // its Source.state before open
    const char *out;        // the dataset folder to make
    const char *name;       // NULL: the last part of `out`
    SourceOptions source;   // stage and lead are set here
    PackShuffle shuffle;
    uint64_t shuffle_seed;
    double share[3]; // train, valid, test, of which some may be 0; all 0: 0.9, 0.05, 0.05
    int64_t limit;   // samples of a split at most; 0: all
    bool force;      // replace `out` if it is a dataset already
    bool skip_bad;   // samples that cannot be read are left out; else they end the pack
    PackTeam team;   // world 0: alone
    // Called now and then from the same thread with this rank's share done in [0, 1]; NULL: silent.
    void (*progress)(void *context, double fraction, const char *what);
    // Told by the lead at the end of each bad sample and why; NULL: nobody.
    void (*bad)(void *context, const char *why);
    void *context;
} PackConfig;

// Works in OUT.packing and renames it at the end: an interrupted pack leaves nothing that looks
// like a dataset, and the next one with the same sources and options goes on from it. Memory is
// bounded whatever the source's size. Errors: NOT_FOUND, BAD_DATA (names source file and place; or
// counts the bad samples), BAD_USAGE (`out` exists; inputs that do not fit together), BUSY (another
// pack works on `out`), IO.
Status pack(const PackConfig *config);
