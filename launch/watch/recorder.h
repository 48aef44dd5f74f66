// The journal that is written down: a ring of the latest phases and waits, which the control thread
// reads while the main thread hangs, and which anybody can read from a file after SIGKILL.
//
// There is one a process, as there is one stderr; the main thread alone writes it. It lies in plain
// memory until journal_open moves it into a file in memory of the node.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/journal.h"
#include "base/status.h"

enum { JOURNAL_ENTRIES = 1024, JOURNAL_MAGIC = 0x4a657944, JOURNAL_VERSION = 1 };

// One event: from `time` on, the rank was in `phase`, and waited in collective number `collective`
// if `what` is not empty ("exchange 12"), else worked.
typedef struct {
    double time; // clock_now()
    int64_t step;
    uint64_t collective; // entered so far: the same sequence on all ranks
    int32_t phase;
    char what[28];
} JournalEntry;

// As it lies in the file, and in memory. Event number i is entry[i % JOURNAL_ENTRIES].
typedef struct {
    uint32_t magic, version;
    int32_t rank, world, pid, ended; // ended: it left politely
    double wall;                     // clock_wall() - clock_now(): makes times comparable
    char host[64], run[512];
    double usual[PHASE_COUNT]; // seconds of work at a stretch, waits left out; 0: none yet
    _Atomic uint64_t count;    // events so far
    JournalEntry entry[JOURNAL_ENTRIES];
} Journal;

void recorder_start(void); // from here on journal_enter and the others are written down

const char *phase_text(int phase); // "?" for what is no phase
const char *phase_word(int phase);

// Called by the main thread at each journal_enter, behind the entry: for drills. NULL: nobody.
void journal_set_hook(void (*hook)(Phase phase, int64_t step));

// Who this is: rank, world, host and run are copied from `owner`. The journal moves into the new
// file `path`; on failure it stays where it is. Errors: IO.
Status journal_open(const char *path, const Journal *owner);
void journal_close(void); // back into plain memory: the file says that the end was polite

const Journal *journal_mine(void);
// The latest event, for any thread; false before the first.
bool journal_last(const Journal *journal, JournalEntry *out);
// Checks what was read from a file: BAD_DATA unless it can be printed without further checks.
Status journal_check(Journal *journal, size_t bytes, const char *path);
