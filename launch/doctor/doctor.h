// Is this set-up fit to train? What ranks must share (program, data, libraries, instruction set,
// run folder), what each must have alone (its GPU), and what runs short (space, memory, cores,
// limits, clocks). A finding names the odd ranks by host and says what to do.
//
// The majority says which side is odd; of two equal halves it is not rank 0's.
#pragma once

#include "launch/watch/findings.h"
#include "launch/doctor/rank_facts.h"

// What has been gathered: the same on all ranks.
typedef struct {
    int world;
    const RunSettings *settings; // NULL: none
    const Share *share;          // NULL: none
    FolderOffer folder;          // where there are settings
    RankFacts *rank;             // [world], owned
} Examination;

// All ranks together. Takes milliseconds, or some seconds where a rank does not see the run folder.
// Errors: COMM, NO_MEMORY.
Status doctor_examine(const Setup *setup, Examination *out);
void doctor_close(Examination *examination);

// Adds a finding for each check; not `thorough`: only what may spoil a training, without advice.
// Needs no other rank.
void doctor_judge(const Examination *examination, bool thorough, Findings *out);

// Before training: silent when all is well; rank 0 tells warnings (console_warn). All ranks return
// the same failure, which lists every failed check: BAD_CONFIG, or what kept a rank from opening
// data set or model.
Status doctor_admit(const Setup *setup);
