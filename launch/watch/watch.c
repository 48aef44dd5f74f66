// Judgement behind launch/watch/watch.h.
#include "launch/watch/watch.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

Report watch_report(const Journal *journal, double now) {
    Report report = {.rank = journal->rank, .gone = -1, .stopped = -1};
    JournalEntry entry;
    if (journal_last(journal, &entry)) {
        report.phase = entry.phase;
        report.step = entry.step;
        report.collective = entry.collective;
        report.age = now - entry.time;
        memcpy(report.what, entry.what, sizeof report.what);
    }
    memcpy(report.usual, journal->usual, sizeof report.usual);
    return report;
}

Watch *watch_open(int world, int me, const int *host, double silence, double patience, double now) {
    Watch *watch = calloc(1, sizeof *watch + (size_t)world * sizeof *watch->rank);
    if (watch == NULL) return NULL;
    *watch = (Watch){.world = world,
                     .me = me,
                     .silence = silence,
                     .patience = patience,
                     .rank = (WatchedRank *)(watch + 1)};
    for (int i = 0; i < world; ++i)
        watch->rank[i] = (WatchedRank){.host = host[i], .heard = now, .last.rank = i};
    return watch;
}

void watch_close(Watch *watch) {
    free(watch);
}

// ---- hearing ------------------------------------------------------------------------------------

void watch_hear(Watch *watch, const Report *report, double now) {
    bool good = report->rank >= 0 && report->rank < watch->world && report->phase >= 0 &&
                report->phase < PHASE_COUNT && isfinite(report->age) &&
                isfinite(report->cpu_seconds) && isfinite(report->io_bytes);
    if (!good) return;
    WatchedRank *rank = &watch->rank[report->rank];
    rank->last = *report;
    rank->last.what[sizeof report->what - 1] = '\0';
    rank->heard = now;
    rank->is_met = true;
    rank->reach = REACH_UNKNOWN;
    rank->is_stopped = false;
    rank->has_left = rank->has_left || report->leaving;
    // Of others it may speak only if they are its neighbours.
    int gone = report->gone, stopped = report->stopped;
    if (gone >= 0 && gone < watch->world && watch->rank[gone].host == rank->host)
        watch->rank[gone].is_gone = true;
    if (stopped >= 0 && stopped < watch->world && watch->rank[stopped].host == rank->host)
        watch->rank[stopped].is_stopped = true;
}

static bool is_judged(const WatchedRank *rank) {
    return rank->is_met && !rank->has_left;
}

static double silent_for(const Watch *watch, int rank, double now) {
    bool speaks = rank == watch->me || !is_judged(&watch->rank[rank]);
    return speaks ? 0 : now - watch->rank[rank].heard;
}

// Three reports missing; one where the launcher leaves a second until the end: a probe then has
// time to tell a process that is gone from a host that is.
bool watch_is_quiet(const Watch *watch, int rank, double now) {
    return silent_for(watch, rank, now) > (watch->hurries ? 0.06 : 0.15) * watch->silence;
}

// ---- judging ------------------------------------------------------------------------------------

double watch_deadline(const Watch *watch, int phase) {
    // For work that no rank has done yet, and at least; the others' `patience` alone.
    static const struct {
        double first, least;
    } limits[PHASE_COUNT] = {
        [PHASE_START] = {120, 20},  [PHASE_LOAD] = {300, 60}, [PHASE_DATA] = {60, 0},
        [PHASE_COMPUTE] = {60, 0},  [PHASE_REDUCE] = {30, 0}, [PHASE_UPDATE] = {30, 0},
        [PHASE_LOG] = {60, 20},     [PHASE_SAVE] = {300, 20}, [PHASE_EVALUATE] = {300, 20},
        [PHASE_SAMPLE] = {300, 20}, [PHASE_END] = {60, 20},
    };
    double usual = 0;
    for (int i = 0; i < watch->world; ++i) usual = fmax(usual, watch->rank[i].last.usual[phase]);
    if (usual == 0) return fmax(watch->patience, limits[phase].first);
    return fmax(fmax(watch->patience, limits[phase].least), 10 * usual);
}

// Seconds in the state last told.
static double age_of(const Watch *watch, int rank, double now) {
    return watch->rank[rank].last.age + now - watch->rank[rank].heard;
}

static bool waits(const WatchedRank *rank) {
    return rank->last.what[0] != '\0' && is_judged(rank);
}

static Verdict make_verdict(const Watch *watch, VerdictKind kind, int rank, double seconds) {
    const Report *last = &watch->rank[rank].last;
    Verdict verdict = {
        .kind = kind,
        .rank = rank,
        .seconds = seconds,
        .state = {.step = last->step, .collective = last->collective, .phase = last->phase}};
    memcpy(verdict.state.what, last->what, sizeof verdict.state.what);
    for (int i = 0; i < watch->world; ++i) verdict.waiting += waits(&watch->rank[i]);
    return verdict;
}

// What silence means, once it is long enough.
static VerdictKind judge_silence(const Watch *watch, int rank, double now) {
    const WatchedRank *r = &watch->rank[rank];
    double seconds = silent_for(watch, rank, now);
    if (!is_judged(r)) return VERDICT_NONE;
    // A firewall refuses too.
    bool refuses = r->reach == REACH_REFUSED && r->has_answered;
    if (r->is_gone || (refuses && watch_is_quiet(watch, rank, now))) return VERDICT_GONE;
    bool hurries = watch->hurries && seconds > 0.12 * watch->silence;
    if (seconds < watch->silence && !hurries) return VERDICT_NONE;
    if (r->is_stopped) return VERDICT_STOPPED;
    if (r->reach == REACH_NONE || (hurries && r->reach == REACH_UNKNOWN)) return VERDICT_CUT;
    return r->reach == REACH_ACCEPTS || seconds > 2 * watch->silence ? VERDICT_SILENT
                                                                     : VERDICT_NONE;
}

static Verdict judge_silent(const Watch *watch, double now) {
    Verdict worst = {0};
    for (int i = 0; i < watch->world; ++i) {
        VerdictKind kind = judge_silence(watch, i, now);
        if (kind == VERDICT_NONE) continue;
        if (worst.kind == kind && watch->rank[i].host == watch->rank[worst.rank].host)
            ++worst.others;
        else if (worst.kind == VERDICT_NONE || kind < worst.kind)
            worst = make_verdict(watch, kind, i, silent_for(watch, i, now));
    }
    return worst;
}

// The one that works, longest over its deadline; where nobody waits for it, it may take longer.
static Verdict judge_busy(const Watch *watch, double now) {
    uint64_t most = 0;
    for (int i = 0; i < watch->world; ++i)
        if (waits(&watch->rank[i]) && watch->rank[i].last.collective > most)
            most = watch->rank[i].last.collective;
    Verdict worst = {0};
    double excess = 1;
    for (int i = 0; i < watch->world; ++i) {
        const WatchedRank *rank = &watch->rank[i];
        if (waits(rank) || !is_judged(rank) || silent_for(watch, i, now) > watch->silence) continue;
        bool waited_for = rank->last.collective < most;
        double age = age_of(watch, i, now), deadline = watch_deadline(watch, rank->last.phase);
        double over = age / (waited_for ? deadline : 3 * deadline);
        if (over <= excess) continue;
        excess = over;
        worst = make_verdict(watch, VERDICT_BUSY, i, age);
        worst.usual = rank->last.usual[rank->last.phase];
    }
    return worst;
}

// All wait: the one whose wait is the earliest gets nothing from the network.
static Verdict judge_network(const Watch *watch, double now) {
    int first = -1;
    for (int i = 0; i < watch->world; ++i) {
        const WatchedRank *rank = &watch->rank[i];
        if (!is_judged(rank)) continue;
        bool stuck = waits(rank) && age_of(watch, i, now) >= watch->patience;
        if (!stuck || silent_for(watch, i, now) > watch->silence / 2) return (Verdict){0};
        if (first < 0 || rank->last.collective < watch->rank[first].last.collective) first = i;
    }
    return first < 0 ? (Verdict){0}
                     : make_verdict(watch, VERDICT_NETWORK, first, age_of(watch, first, now));
}

Verdict watch_judge(const Watch *watch, double now) {
    Verdict verdict = judge_silent(watch, now);
    if (verdict.kind == VERDICT_NONE) verdict = judge_busy(watch, now);
    if (verdict.kind == VERDICT_NONE && watch->world > 1) verdict = judge_network(watch, now);
    return verdict;
}
