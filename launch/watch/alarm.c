// Suspicion, question, words, end: behind launch/watch/alarm.h.
#include "launch/watch/alarm.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "launch/wall_clock.h"
#include "launch/watch/blackbox.h"
#include "launch/watch/suspect.h"

enum { RANKS_LISTED = 64, PROBE_SECONDS = 3 };

typedef struct {
    int fd; // -1: none under way
    double started;
} Probe;

struct Alarm {
    AlarmConfig config;
    Watch *watch;
    Wire *wire;
    const WirePeer *peers;
    Verdict verdict;              // the present suspicion
    double cpu_seconds, io_bytes; // of it when that was told
    double suspected, told;       // clock_now() of it; told 0: not yet
    char by_itself[LETTER_TEXT_BYTES], by_neighbour[LETTER_TEXT_BYTES];
    char cause[VERDICT_TEXT_BYTES]; // what was told; empty: nothing is wrong
    Probe probe[];                  // [world]
};

Status alarm_open(const AlarmConfig *config, Alarm **out) {
    size_t world = (size_t)config->watch->world;
    Alarm *alarm = calloc(1, sizeof *alarm + world * sizeof *alarm->probe);
    FAIL_IF(alarm == NULL, NO_MEMORY, "no memory to watch %zu ranks", world);
    alarm->config = *config;
    alarm->watch = config->watch;
    alarm->wire = config->wire;
    alarm->peers = config->peers;
    for (size_t i = 0; i < world; ++i) alarm->probe[i].fd = -1;
    *out = alarm;
    return STATUS_OK;
}

void alarm_close(Alarm *alarm) {
    if (alarm == NULL) return;
    for (int i = 0; i < alarm->watch->world; ++i) probe_cancel(&alarm->probe[i].fd);
    free(alarm);
}

// ---- probes -------------------------------------------------------------------------------------

static const uint32_t loopback = 127u << 24 | 1;

static uint32_t address_of(const Alarm *alarm, int rank) {
    if (alarm->config.one_host) return loopback;
    Address theirs[ADDRESSES_MOST];
    memcpy(theirs, alarm->peers[rank].address, sizeof theirs);
    addresses_prefer(alarm->peers[alarm->watch->me].address, theirs);
    return theirs[0].ip;
}

static void probe_rank(Alarm *alarm, int rank, double now) {
    static const Reach reach[] = {[PROBE_ACCEPTED] = REACH_ACCEPTS,
                                  [PROBE_REFUSED] = REACH_REFUSED,
                                  [PROBE_UNREACHABLE] = REACH_NONE};
    Probe *probe = &alarm->probe[rank];
    ProbeResult result;
    if (probe->fd < 0) {
        probe->started = now;
        result = probe_start(address_of(alarm, rank), alarm->peers[rank].port, &probe->fd);
    } else {
        result = probe_poll(&probe->fd);
    }
    if (result == PROBE_PENDING && now - probe->started < PROBE_SECONDS) return;
    probe_cancel(&probe->fd);
    WatchedRank *watched = &alarm->watch->rank[rank];
    watched->has_answered = watched->has_answered || result == PROBE_ACCEPTED;
    if (watch_is_quiet(alarm->watch, rank, now))
        watched->reach = result == PROBE_PENDING ? REACH_NONE : reach[result];
}

static void probe_silent(Alarm *alarm, double now) {
    for (int i = 0; i < alarm->watch->world; ++i) {
        const WatchedRank *rank = &alarm->watch->rank[i];
        bool quiet = watch_is_quiet(alarm->watch, i, now) && rank->reach == REACH_UNKNOWN;
        bool first = rank->is_met && !rank->has_answered && i != alarm->watch->me;
        bool has_door = alarm->peers[i].port != 0 && address_of(alarm, i) != 0;
        if ((quiet || first) && has_door)
            probe_rank(alarm, i, now);
        else
            probe_cancel(&alarm->probe[i].fd);
    }
}

// ---- questions ----------------------------------------------------------------------------------

static int find_neighbour(const Alarm *alarm, int of, double now) {
    const Watch *watch = alarm->watch;
    for (int i = 0; i < watch->world; ++i)
        if (i != of && watch->rank[i].host == watch->rank[of].host &&
            !watch_is_quiet(watch, i, now))
            return i;
    return -1;
}

void suspect_describe(const char *run_dir, const WirePeer *peers, int rank, Letter *out) {
    JournalEntry entry;
    *out = (Letter){.kind = LETTER_SEEN, .about = rank};
    process_describe(peers[rank].pid, out->text, sizeof out->text);
    if (!blackbox_last(run_dir, rank, peers[rank].pid, &entry)) return;
    out->report.phase = entry.phase;
    out->report.step = entry.step;
    out->report.collective = entry.collective;
    memcpy(out->report.what, entry.what, sizeof out->report.what);
}

static void ask(Alarm *alarm, int whom, int about) {
    Letter letter = {.kind = LETTER_LOOK, .from = alarm->watch->me, .about = about};
    if (whom < 0) return;
    if (whom != alarm->watch->me) {
        wire_to_rank(alarm->wire, whom, &letter);
        return;
    }
    suspect_describe(alarm->config.run_dir, alarm->peers, about, &letter);
    letter.from = whom;
    alarm_seen(alarm, &letter);
}

// The journal is newer than the last report.
static void correct_state(Alarm *alarm, const Report *seen) {
    Report *last = &alarm->watch->rank[alarm->verdict.rank].last;
    bool valid = seen->phase >= 0 && seen->phase < PHASE_COUNT;
    if (!valid || seen->collective < last->collective || seen->collective == 0) return;
    last->phase = seen->phase;
    last->step = seen->step;
    last->collective = seen->collective;
    memcpy(last->what, seen->what, sizeof last->what);
    last->what[sizeof last->what - 1] = '\0';
}

void alarm_seen(Alarm *alarm, const Letter *answer) {
    if (alarm->verdict.kind == VERDICT_NONE || answer->about != alarm->verdict.rank) return;
    bool by_itself = answer->from == answer->about;
    snprintf(by_itself ? alarm->by_itself : alarm->by_neighbour, LETTER_TEXT_BYTES, "%s",
             answer->text);
    if (!by_itself) correct_state(alarm, &answer->report);
}

const char *alarm_cause(const Alarm *alarm) {
    return alarm->cause;
}

// ---- from suspicion to the end ------------------------------------------------------------------

static VerdictFacts facts_of(const Alarm *alarm) {
    int rank = alarm->verdict.rank;
    return (VerdictFacts){.host = alarm->config.hosts[rank],
                          .pid = alarm->peers[rank].pid,
                          .world = alarm->watch->world,
                          .by_itself = alarm->by_itself,
                          .by_neighbour = alarm->by_neighbour};
}

bool alarm_speaks(const Alarm *alarm, double now) {
    const Watch *watch = alarm->watch;
    if (watch->me == 0) return true;
    const WatchedRank *first = &watch->rank[0];
    return first->is_met && !first->has_left &&
           (first->is_gone || now - first->heard > watch->silence / 2);
}

static void suspect(Alarm *alarm, const Verdict *verdict, double now) {
    alarm->verdict = *verdict;
    alarm->suspected = now;
    alarm->told = 0;
    alarm->by_itself[0] = alarm->by_neighbour[0] = '\0';
    bool speaks = verdict->kind == VERDICT_BUSY || verdict->kind == VERDICT_NETWORK;
    if (speaks) ask(alarm, verdict->rank, verdict->rank);
    ask(alarm, find_neighbour(alarm, verdict->rank, now), verdict->rank);
}

// A process that is gone takes the job with it, if its launcher does not.
static double grace_of(const Alarm *alarm) {
    return alarm->verdict.kind == VERDICT_GONE ? fmin(alarm->config.grace, 5) : alarm->config.grace;
}

static AlarmAction relieve(Alarm *alarm, double now, char cause[VERDICT_TEXT_BYTES]) {
    bool was_told = alarm->told > 0;
    VerdictFacts facts = facts_of(alarm);
    if (was_told)
        verdict_over_text(&alarm->verdict, &facts, alarm->verdict.seconds + now - alarm->suspected,
                          cause);
    alarm->verdict.kind = VERDICT_NONE;
    alarm->told = 0;
    alarm->cause[0] = '\0';
    return was_told && alarm_speaks(alarm, now) ? ALARM_TELL : ALARM_QUIET;
}

static void note_effort(Alarm *alarm, double now) {
    const Report *last = &alarm->watch->rank[alarm->verdict.rank].last;
    alarm->told = now;
    alarm->cpu_seconds = last->cpu_seconds;
    alarm->io_bytes = last->io_bytes;
}

// Work with files may take any time as long as something moves. The other work has a usual time.
static bool is_with_files(int phase) {
    return phase == PHASE_START || phase == PHASE_LOAD || phase == PHASE_DATA ||
           phase == PHASE_LOG || phase == PHASE_SAVE || phase == PHASE_EVALUATE ||
           phase == PHASE_SAMPLE;
}

// Slow, but no hang: the job goes on, and people are told again.
static bool goes_on(Alarm *alarm, const Verdict *verdict, double now,
                    char cause[VERDICT_TEXT_BYTES]) {
    const Report *last = &alarm->watch->rank[verdict->rank].last;
    double seconds = now - alarm->told;
    double cpu = (last->cpu_seconds - alarm->cpu_seconds) / seconds;
    double io = (last->io_bytes - alarm->io_bytes) / seconds;
    bool works = cpu > 0.05 || io > 1e6;
    if (verdict->kind != VERDICT_BUSY) return false;
    if (verdict->waiting > 0 && !(works && is_with_files(last->phase))) return false;
    char age[32];
    clock_format(verdict->seconds, age, sizeof age);
    snprintf(
        cause, VERDICT_TEXT_BYTES,
        "rank %d on %s is still %s since %s, with %.0f %% of a core and %.1f MB/s: %s, so the job"
        " goes on",
        verdict->rank, alarm->config.hosts[verdict->rank], phase_text(last->phase), age, 100 * cpu,
        io / 1e6, works ? "it works" : "nobody waits for it");
    note_effort(alarm, now);
    return true;
}

static AlarmAction tell(Alarm *alarm, const Verdict *verdict, const char *good, double now,
                        char cause[VERDICT_TEXT_BYTES]) {
    VerdictFacts facts = facts_of(alarm);
    alarm->verdict = *verdict;
    note_effort(alarm, now);
    verdict_text(verdict, &facts, cause);
    memcpy(alarm->cause, cause, sizeof alarm->cause);
    size_t used = strlen(cause);
    if (alarm->config.grace > 0)
        used += (size_t)snprintf(
            cause + used, VERDICT_TEXT_BYTES - used,
            "\n  the job ends in %.0f s if nothing moves until then (control.grace)",
            grace_of(alarm));
    if (used < VERDICT_TEXT_BYTES)
        snprintf(cause + used, VERDICT_TEXT_BYTES - used, "\n  last good checkpoint: %s",
                 good[0] != '\0' ? good : "none yet");
    return ALARM_TELL;
}

AlarmAction alarm_check(Alarm *alarm, const char *good, double now,
                        char cause[VERDICT_TEXT_BYTES]) {
    if (alarm->wire != NULL) probe_silent(alarm, now);
    Verdict verdict = watch_judge(alarm->watch, now);
    if (verdict.kind == VERDICT_NONE)
        return alarm->verdict.kind == VERDICT_NONE ? ALARM_QUIET : relieve(alarm, now, cause);
    if (verdict.kind != alarm->verdict.kind || verdict.rank != alarm->verdict.rank)
        suspect(alarm, &verdict, now);
    if (!alarm_speaks(alarm, now)) return ALARM_QUIET;
    // Answers come within milliseconds, or not at all.
    double patience = alarm->watch->hurries ? 0 : verdict.kind == VERDICT_GONE ? 0.2 : 0.6;
    if (alarm->told == 0)
        return now - alarm->suspected < patience ? ALARM_QUIET
                                                 : tell(alarm, &verdict, good, now, cause);
    if (alarm->config.grace == 0 || now - alarm->told < grace_of(alarm)) return ALARM_QUIET;
    if (goes_on(alarm, &verdict, now, cause)) return ALARM_TELL;
    memcpy(cause, alarm->cause, sizeof alarm->cause);
    return ALARM_END;
}

// ---- status -------------------------------------------------------------------------------------

static json_t *rank_status(const Alarm *alarm, int i, double now) {
    const WatchedRank *rank = &alarm->watch->rank[i];
    return json_pack("{s:i, s:s, s:i, s:s, s:I, s:s, s:I, s:f, s:f}", "rank", i, "host",
                     alarm->config.hosts[i], "pid", alarm->peers[i].pid, "phase",
                     rank->is_met ? phase_text(rank->last.phase) : "not heard yet", "step",
                     (json_int_t)rank->last.step, "waits_in", rank->last.what, "collective",
                     (json_int_t)rank->last.collective, "seconds",
                     rank->last.age + now - rank->heard, "silent", now - rank->heard);
}

json_t *alarm_status(const Alarm *alarm, int64_t steps, const char *line, const char *good) {
    double now = clock_now();
    const Watch *watch = alarm->watch;
    json_t *ranks = json_array();
    for (int i = 0; i < watch->world && i < RANKS_LISTED; ++i)
        json_array_append_new(ranks, rank_status(alarm, i, now));
    return json_pack("{s:f, s:s, s:i, s:i, s:i, s:I, s:I, s:s, s:s, s:s, s:o}", "written",
                     clock_wall(), "host", alarm->config.hosts[watch->me], "speaker", watch->me,
                     "pid", alarm->peers[watch->me].pid, "world", watch->world, "step",
                     (json_int_t)watch->rank[watch->me].last.step, "steps", (json_int_t)steps,
                     "line", line, "good_checkpoint", good, "cause", alarm->cause, "ranks", ranks);
}
