// From a verdict to words and to the end of the job: asks the suspect and its neighbour what /proc
// tells, says it once, says when it is over, ends the job when it does not pass. A centre has one;
// its deputy's speaks only while rank 0 cannot. Called by the control thread, but for alarm_status.
#pragma once

#include "base/json.h"
#include "launch/watch/verdict.h"
#include "launch/watch/wire.h"

typedef struct Alarm Alarm;

enum { HOST_NAME_BYTES = 64 };

// All pointers are lent.
typedef struct {
    Watch *watch;
    Wire *wire; // NULL: one rank
    const WirePeer *peers;
    char (*hosts)[HOST_NAME_BYTES]; // [world]
    bool one_host;
    const char *run_dir;
    double grace; // seconds from telling to the end; 0: never
} AlarmConfig;

Status alarm_open(const AlarmConfig *config, Alarm **out);
void alarm_close(Alarm *alarm); // NULL is fine
typedef enum { ALARM_QUIET, ALARM_TELL, ALARM_END } AlarmAction;
// Probes silent ranks, judges. TELL: `cause` is to be said; END: it is why the job is to end now.
AlarmAction alarm_check(Alarm *alarm, const char *good_checkpoint, double now,
                        char cause[VERDICT_TEXT_BYTES]);
const char *alarm_cause(const Alarm *alarm); // what was told and still holds; "": nothing
void alarm_seen(Alarm *alarm, const Letter *answer);
// What this host tells of a suspect on it: /proc, and its journal. Fills a letter SEEN.
void suspect_describe(const char *run_dir, const WirePeer *peers, int rank, Letter *out);
// Whether this centre is the one that speaks.
bool alarm_speaks(const Alarm *alarm, double now);
// For status.json; the caller owns it. NULL: no memory.
json_t *alarm_status(const Alarm *alarm, int64_t steps, const char *line, const char *good);
