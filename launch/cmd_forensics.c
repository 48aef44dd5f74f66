// dye forensics: how a run ended, from what its ranks left behind.
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "launch/watch/blackbox.h"
#include "launch/command.h"
#include "launch/console.h"
#include "launch/options.h"

enum { CAUSES_SHOWN = 8192, EVENTS_DEFAULT = 12 };

static const char usage[] = "usage: dye forensics RUN [--rank R] [--events N]";

typedef struct {
    const char *run_dir;
    int64_t rank, events; // rank -1: the one that came least far
} Forensics;

static Status parse(int argc, char **argv, Forensics *out) {
    static const struct option options[] = {
        {"rank", required_argument, NULL, 'r'}, {"events", required_argument, NULL, 'e'}, {0}};
    optind = 1;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (option == 'r')
            TRY(option_i64("--rank", optarg, 0, INT32_MAX, &out->rank));
        else if (option == 'e')
            TRY(option_i64("--events", optarg, 1, JOURNAL_ENTRIES, &out->events));
        else
            FAIL(BAD_USAGE, "%s", usage);
    }
    FAIL_IF(optind != argc - 1, BAD_USAGE, "%s", usage);
    out->run_dir = argv[optind];
    return STATUS_OK;
}

// The end of causes.log: the last start's verdicts, and what was before them.
static Status print_causes(const char *run_dir) {
    char path[PATH_BYTES], *text;
    size_t bytes;
    TRY(path_format(path, "%s/forensics/causes.log", run_dir));
    if (!file_exists(path)) {
        printf("no rank was found to hang or to be lost\n");
        return STATUS_OK;
    }
    TRY(file_read(path, (size_t)1 << 30, &text, &bytes));
    const char *from = text;
    if (bytes > CAUSES_SHOWN) {
        from = strchr(text + bytes - CAUSES_SHOWN, '\n');
        from = from == NULL ? text : from + 1;
    }
    printf("what was found (%s, the end):\n%s\n", path, from);
    free(text);
    return STATUS_OK;
}

static void format_time(double wall, char *out, size_t bytes) {
    time_t seconds = (time_t)wall;
    struct tm local;
    size_t used = strftime(out, bytes, "%H:%M:%S", localtime_r(&seconds, &local));
    snprintf(out + used, bytes - used, ".%03d", (int)((wall - (double)seconds) * 1e3));
}

static void print_event(const Journal *journal, const JournalEntry *entry) {
    char when[32];
    format_time(entry->time + journal->wall, when, sizeof when);
    printf("  %s  step %-8" PRId64 " collective %-8" PRIu64 " %s%s%s\n", when, entry->step,
           entry->collective, phase_text(entry->phase), entry->what[0] != '\0' ? ", waits in " : "",
           entry->what);
}

// The rank that had entered the fewest collectives, and of these the one that was silent first.
static const Journal *least_far(const Blackboxes *boxes) {
    const Journal *found = NULL;
    JournalEntry least = {0}, entry;
    for (int i = 0; i < boxes->count; ++i) {
        const Journal *journal = boxes->journal[i];
        if (!journal_last(journal, &entry)) continue;
        bool earlier = found == NULL || entry.collective < least.collective ||
                       (entry.collective == least.collective &&
                        entry.time + journal->wall < least.time + found->wall);
        if (!earlier) continue;
        found = journal;
        least = entry;
    }
    return found;
}

static void print_ranks(const Blackboxes *boxes) {
    printf("last event of each rank:\n");
    for (int i = 0; i < boxes->count; ++i) {
        JournalEntry entry;
        printf("rank %d on %s (pid %d of %d ranks)%s\n", boxes->journal[i]->rank,
               boxes->journal[i]->host, boxes->journal[i]->pid, boxes->journal[i]->world,
               boxes->journal[i]->ended ? ", ended politely" : "");
        if (journal_last(boxes->journal[i], &entry)) print_event(boxes->journal[i], &entry);
    }
}

static void print_events(const Journal *journal, int64_t most) {
    uint64_t count = journal->count;
    uint64_t n = count < (uint64_t)most ? count : (uint64_t)most;
    printf("the last %" PRIu64 " events of rank %d on %s:\n", n, journal->rank, journal->host);
    for (uint64_t i = count - n; i < count; ++i)
        print_event(journal, &journal->entry[i % JOURNAL_ENTRIES]);
}

static Status print_boxes(const Forensics *forensics, const Blackboxes *boxes) {
    FAIL_IF(boxes->count == 0, NOT_FOUND,
            "%s/forensics holds no journal, nor does this host: all ranks ended politely, or died"
            " with hosts that have not run this again",
            forensics->run_dir);
    print_ranks(boxes);
    const Journal *journal = forensics->rank < 0 ? least_far(boxes) : NULL;
    for (int i = 0; i < boxes->count; ++i)
        if (boxes->journal[i]->rank == forensics->rank) journal = boxes->journal[i];
    FAIL_IF(journal == NULL, NOT_FOUND, "there is no journal of rank %" PRId64, forensics->rank);
    print_events(journal, forensics->events);
    return STATUS_OK;
}

Status cmd_forensics(int argc, char **argv) {
    Forensics forensics = {.rank = -1, .events = EVENTS_DEFAULT};
    Blackboxes boxes;
    TRY(parse(argc, argv, &forensics));
    FAIL_IF(!file_exists(forensics.run_dir), NOT_FOUND, "%s is not there", forensics.run_dir);
    TRY(print_causes(forensics.run_dir));
    TRY(blackbox_read(forensics.run_dir, console_warn, &boxes));
    Status status = print_boxes(&forensics, &boxes);
    blackbox_free(&boxes);
    return status;
}
