// What one rank knows of itself that others must share, or must not: gathered from all ranks before
// training (launch/doctor/doctor.h).
#pragma once

#include "launch/cores.h"
#include "launch/doctor/folder_probe.h"
#include "launch/doctor/program.h"
#include "launch/share/share.h"
#include "trainer/trainer.h"

// What is about to run. All pointers are borrowed.
typedef struct {
    Comm *comm;
    const RunSettings *settings; // the same on all ranks; NULL: no configuration was given
    const Share *share;          // of a survey with these settings; NULL: none was made
    const Cores *cores;
    char *const *words; // of this rank's command line
    int word_count;
} Setup;

// What must be the same on all ranks. `key` decides, `text` is for people.
typedef struct {
    uint64_t key;
    char text[PROGRAM_TEXT_BYTES];
} Trait;
typedef enum {
    TRAIT_PROGRAM,
    TRAIT_WORDS, // configuration and command line
    TRAIT_DATA,
    TRAIT_LIBRARIES,
    TRAIT_DEVICE, // instruction set, matrix library and its kernel set
    TRAITS
} TraitKind;

enum { FACT_BYTES = 64 };

typedef struct {
    char host[FACT_BYTES];
    int local_rank, local_world;
    int launcher_world, launcher_local_rank; // as the environment says; -1: it says nothing
    Trait trait[TRAITS];
    Status model_status; // of opening data set and model
    char model_error[320];
    int64_t parameters;      // 0: unknown
    double step_flops;       // of the whole job; 0: unknown
    char gpu[FACT_BYTES];    // unique id; empty: none
    char kernel[FACT_BYTES]; // release of the operating system's
    FolderFacts folder;
    double clock; // clock_wall() just after all ranks have met
    int threads, cores;
    uint64_t memory_needed;             // an estimate; 0: unknown
    uint64_t memory_free;               // of the host, or less where a limit is set
    uint64_t shared_free;               // in /dev/shm
    uint64_t files, locked, core_bytes; // limits: open files, locked memory, core files
    bool core_is_file;                  // the kernel writes core files itself
    double infiniband;                  // Gbit/s of its fastest port; 0: none
} RankFacts;

// Without folder and clock, which take all ranks together.
void rank_facts_collect(const Setup *setup, RankFacts *out);
