// What the controller knows of all ranks, and its judgement: who holds the others up, and how.
// Nothing here talks to anybody: reports and probes come in, a verdict comes out.
#pragma once

#include "launch/watch/recorder.h"

// What a rank tells of itself a few times a second.
typedef struct {
    int32_t rank, phase;
    int64_t step;
    uint64_t collective;
    double age;                   // seconds in this state
    double usual[PHASE_COUNT];    // as Journal.usual
    double cpu_seconds, io_bytes; // of the process so far: work that is slow differs from a hang
    char what[28];                // waits in this collective; empty: works
    int32_t gone, stopped;        // a neighbour on this host whose process is so; -1: none
    int32_t leaving;              // the end is polite, and this the last report
} Report;

Report watch_report(const Journal *journal, double now); // of this process

// What a connection to a silent rank's port came to.
typedef enum { REACH_UNKNOWN, REACH_ACCEPTS, REACH_REFUSED, REACH_NONE } Reach;

typedef struct {
    int host;     // number of its host
    double heard; // when the last report came
    Report last;
    Reach reach;       // probed since then
    bool has_answered; // a probe was accepted once: only then a refusal means that it is gone
    bool is_met;       // it has reported; whoever never did is not judged: a firewall ends no job
    bool is_gone, is_stopped, has_left;
} WatchedRank;

typedef struct {
    int world, me;
    bool hurries;      // the launcher is ending the job: whoever is quiet is named now, or never
    double silence;    // seconds without a report that make a rank silent
    double patience;   // least deadline for work
    WatchedRank *rank; // [world]
} Watch;

typedef enum {
    VERDICT_NONE,
    VERDICT_GONE,    // its process is not there any more
    VERDICT_STOPPED, // its process is stopped (SIGSTOP, debugger)
    VERDICT_CUT,     // its host cannot be reached
    VERDICT_SILENT,  // its host answers, its process does not
    VERDICT_BUSY,    // it has not come to the collective that others wait in
    VERDICT_NETWORK  // all have come to it, and it does not end
} VerdictKind;

typedef struct {
    VerdictKind kind;
    int rank;           // the lowest that it is about
    int others;         // further ranks of the same host that it is true for
    double seconds;     // since when
    double usual;       // BUSY: what this work takes usually; 0: not known
    int waiting;        // ranks that wait
    JournalEntry state; // of the rank, as last told (time: not set)
} Verdict;

// host[world] is copied; silence and patience as above. NULL: no memory.
Watch *watch_open(int world, int me, const int *host, double silence, double patience, double now);
void watch_close(Watch *watch);
// Wrong numbers in a report are ignored with the report.
void watch_hear(Watch *watch, const Report *report, double now);
// A rank that is silent for long enough that a probe should find out; -1: none.
bool watch_is_quiet(const Watch *watch, int rank, double now);
Verdict watch_judge(const Watch *watch, double now);
// Seconds that a rank may work at a stretch in a phase.
double watch_deadline(const Watch *watch, int phase);
