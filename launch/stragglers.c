// The watch behind launch/stragglers.h: one suspect at a time, the slowest rank of a record.
#include "launch/stragglers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launch/metrics.h"

enum { RANKS_MOST = 4096 }; // ranks beyond are told each time
static const double least_share = 0.2, least_seconds = 5e-3;

static struct {
    int rank, records; // of the suspect: records in a row
    SlowCause cause;
    bool is_told;  // the suspect was told, and it is not over
    int quiet;     // records in a row without it, since it was told
    char host[64]; // of the one that was told
    bool told[RANKS_MOST][SLOW_CAUSES];
} watch;

// ---- one record ---------------------------------------------------------------------------------

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

typedef struct {
    const double *times; // [world][SLOW_CAUSES] seconds of these steps
    double *sorted;      // [world], which is the same throughout a process
    int64_t steps;
    int world;
} RankTimes;

// Seconds a step of a rank for one cause, or for all of them (SLOW_CAUSES).
static double time_of(const RankTimes *t, int rank, int cause) {
    const double *time = t->times + rank * SLOW_CAUSES;
    double sum = cause < SLOW_CAUSES ? time[cause] : time[0] + time[1] + time[2];
    return sum / (double)t->steps;
}

static double median_time(const RankTimes *t, int cause) {
    for (int i = 0; i < t->world; ++i) t->sorted[i] = time_of(t, i, cause);
    qsort(t->sorted, (size_t)t->world, sizeof *t->sorted, compare_doubles);
    return t->sorted[(t->world - 1) / 2];
}

void stragglers_judge(const Comm *comm, const double *times, int64_t steps, MetricsRecord *record) {
    static double *sorted; // kept: steps allocate nothing
    if (sorted == NULL) sorted = malloc((size_t)record->world * sizeof *sorted);
    RankTimes t = {times, sorted, steps, record->world};
    int slowest = 0;
    double most = -1;
    if (sorted == NULL) return;
    for (int i = 1; i < t.world; ++i)
        if (time_of(&t, i, SLOW_CAUSES) > time_of(&t, slowest, SLOW_CAUSES)) slowest = i;
    record->arrival_s = median_time(&t, SLOW_CAUSES);
    record->compute_s = median_time(&t, SLOW_COMPUTE);
    record->slowest_rank = slowest;
    record->slowest_host = comm_host_of(comm, slowest);
    record->slowest_excess_s = time_of(&t, slowest, SLOW_CAUSES) - record->arrival_s;
    for (int i = 0; i < SLOW_CAUSES; ++i) {
        double excess = time_of(&t, slowest, i) - median_time(&t, i);
        if (excess > most) most = excess, record->slowest_cause = (SlowCause)i;
    }
}

// ---- many ---------------------------------------------------------------------------------------

static bool is_slow(const MetricsRecord *record) {
    double step = (double)record->samples / (double)record->step / record->samples_per_s;
    return record->slowest_excess_s > least_seconds &&
           record->slowest_excess_s > least_share * step;
}

static void tell(const MetricsRecord *record, void (*warn)(const char *message)) {
    static const char *const hints[SLOW_CAUSES] = {
        [SLOW_DATA] = "look at the storage that it reads, and at what else decodes on its cores",
        [SLOW_COMPUTE] = "look for another program on its host, its clocks, and the cores it has",
        [SLOW_SAVE] = "look at the disk that it saves to"};
    char message[256];
    snprintf(message, sizeof message,
             "rank %d on %s makes all others wait: +%.0f ms a step (%s); %s", record->slowest_rank,
             record->slowest_host, record->slowest_excess_s * 1e3,
             slow_cause_name(record->slowest_cause), hints[record->slowest_cause]);
    warn(message);
}

static void tell_over(void (*warn)(const char *message)) {
    char message[256];
    snprintf(message, sizeof message, "rank %d on %s is no longer slow (%s)", watch.rank,
             watch.host, slow_cause_name(watch.cause));
    warn(message);
}

static void suspect(const MetricsRecord *record, void (*warn)(const char *message)) {
    ++watch.records;
    watch.quiet = 0;
    if (watch.records < STRAGGLER_RECORDS || watch.is_told) return;
    if (watch.rank < RANKS_MOST && watch.told[watch.rank][watch.cause]) return;
    if (watch.rank < RANKS_MOST) watch.told[watch.rank][watch.cause] = true;
    watch.is_told = true;
    snprintf(watch.host, sizeof watch.host, "%s", record->slowest_host);
    tell(record, warn);
}

void stragglers_watch(const MetricsRecord *record, void (*warn)(const char *message)) {
    bool slow = is_slow(record),
         same = record->slowest_rank == watch.rank && record->slowest_cause == watch.cause;
    if (slow && same) {
        suspect(record, warn);
        return;
    }
    watch.records = 0;
    if (watch.is_told && ++watch.quiet < STRAGGLER_RECORDS) return;
    if (watch.is_told) tell_over(warn);
    watch.is_told = false;
    watch.rank = record->slowest_rank;
    watch.cause = record->slowest_cause;
    if (slow) suspect(record, warn);
}
