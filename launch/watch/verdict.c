// Sentences behind launch/watch/verdict.h.
#include "launch/watch/verdict.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/clock.h"

typedef struct {
    char *out;
    int used;
} Text;

static void add(Text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add(Text *text, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int room = VERDICT_TEXT_BYTES - text->used;
    int n = vsnprintf(text->out + text->used, (size_t)room, format, args);
    text->used += n < room ? n : room - 1;
    va_end(args);
}

// "rank 3 on n2 (pid 4711)", "ranks 3-5 on n2".
static void add_who(Text *text, const Verdict *verdict, const VerdictFacts *facts) {
    if (verdict->others == 0)
        add(text, "rank %d on %s (pid %d)", verdict->rank, facts->host, facts->pid);
    else
        add(text, "rank %d and %d more on %s", verdict->rank, verdict->others, facts->host);
}

static void add_seconds(Text *text, double seconds) {
    char age[32];
    clock_format(seconds, age, sizeof age);
    add(text, "%s", age);
}

// "it was reading data at step 41", "it waited in exchange 3 (saving, step 40)".
static void add_last_seen(Text *text, const JournalEntry *state) {
    if (state->what[0] == '\0')
        add(text, "; it was %s at step %" PRId64, phase_text(state->phase), state->step);
    else
        add(text, "; it waited in %s (%s, step %" PRId64 ")", state->what, phase_text(state->phase),
            state->step);
}

static const char *cause_of_work(int phase) {
    switch (phase) {
    case PHASE_DATA: return "the storage that holds the data, as seen from that host";
    case PHASE_LOAD:
    case PHASE_SAVE:
    case PHASE_LOG: return "the file system of the run folder, as seen from that host";
    case PHASE_START: return "the storage that holds the data or the program";
    default: return "another program on that host, memory that is swapped, or a device that hangs";
    }
}

static void add_busy(Text *text, const Verdict *verdict, const VerdictFacts *facts) {
    add_who(text, verdict, facts);
    add(text, " is %s at step %" PRId64 " since ", phase_text(verdict->state.phase),
        verdict->state.step);
    add_seconds(text, verdict->seconds);
    if (verdict->usual > 0) add(text, " (usually %.2g s)", verdict->usual);
    if (verdict->waiting > 0)
        add(text, "; %d of %d ranks wait for it", verdict->waiting, facts->world);
    add(text, "\n  probably: %s", cause_of_work(verdict->state.phase));
}

static void add_network(Text *text, const Verdict *verdict, const VerdictFacts *facts) {
    add(text,
        "all ranks have come to %s (collective %" PRIu64 ", %s, step %" PRId64
        "), and it does not end since ",
        verdict->state.what, verdict->state.collective, phase_text(verdict->state.phase),
        verdict->state.step);
    add_seconds(text, verdict->seconds);
    add(text,
        "; the first that gets nothing is rank %d on %s\n  probably: the network between the"
        " hosts; name the right interface to mpirun: --mca btl_tcp_if_include SUBNET",
        verdict->rank, facts->host);
}

static void add_silence(Text *text, const Verdict *verdict, const VerdictFacts *facts) {
    const char *host = facts->host;
    add_who(text, verdict, facts);
    switch (verdict->kind) {
    case VERDICT_GONE:
        add(text, " ended without a word ");
        add_seconds(text, verdict->seconds);
        add(text, " ago");
        add_last_seen(text, &verdict->state);
        add(text,
            "\n  probably: killed, for want of memory or by somebody, or a crash that it tells"
            " itself above; look with: ssh %s 'dmesg -T | tail'",
            host);
        break;
    case VERDICT_STOPPED:
        add(text, " is stopped since ");
        add_seconds(text, verdict->seconds);
        add_last_seen(text, &verdict->state);
        add(text, "\n  probably: SIGSTOP or a debugger; it goes on with: ssh %s kill -CONT %d",
            host, facts->pid);
        break;
    case VERDICT_CUT:
        add(text, " cannot be reached since ");
        add_seconds(text, verdict->seconds);
        add_last_seen(text, &verdict->state);
        add(text, "\n  probably: %s is down or cut off from the network; look with: ping %s", host,
            host);
        break;
    default:
        add(text, " says nothing since ");
        add_seconds(text, verdict->seconds);
        add(text, ", though the host answers");
        add_last_seen(text, &verdict->state);
        add(text,
            "\n  probably: stopped, frozen, or swapping; look with: ssh %s ps -o"
            " pid,stat,wchan:32,cmd -p %d",
            host, facts->pid);
    }
}

const char *verdict_text(const Verdict *verdict, const VerdictFacts *facts,
                         char out[VERDICT_TEXT_BYTES]) {
    Text text = {.out = out};
    out[0] = '\0';
    if (verdict->kind == VERDICT_BUSY)
        add_busy(&text, verdict, facts);
    else if (verdict->kind == VERDICT_NETWORK)
        add_network(&text, verdict, facts);
    else
        add_silence(&text, verdict, facts);
    if (facts->by_itself[0] != '\0') add(&text, "\n  its main thread %s", facts->by_itself);
    if (facts->by_neighbour[0] != '\0')
        add(&text, "\n  seen by a neighbour on %s: it %s", facts->host, facts->by_neighbour);
    return out;
}

const char *verdict_over_text(const Verdict *verdict, const VerdictFacts *facts, double seconds,
                              char out[VERDICT_TEXT_BYTES]) {
    Text text = {.out = out};
    if (verdict->kind == VERDICT_NETWORK)
        add(&text, "the ranks hear each other again");
    else
        add_who(&text, verdict, facts);
    add(&text, verdict->kind == VERDICT_NETWORK ? " after " : " goes on after ");
    add_seconds(&text, seconds);
    return out;
}
