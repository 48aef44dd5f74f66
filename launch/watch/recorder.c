// The ring of phases behind base/journal.h.
#include "launch/watch/recorder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "launch/wall_clock.h"

static Journal plain = {.magic = JOURNAL_MAGIC, .version = JOURNAL_VERSION};
static Journal *_Atomic mine = &plain;
static void (*entered)(Phase phase, int64_t step);

static const struct {
    const char *word, *text;
} phases[] = {
#define PHASE_ROW(name, word, text) {word, text},
    PHASE_LIST(PHASE_ROW)
#undef PHASE_ROW
};

const char *phase_text(int phase) {
    return phase >= 0 && phase < PHASE_COUNT ? phases[phase].text : "?";
}

const char *phase_word(int phase) {
    return phase >= 0 && phase < PHASE_COUNT ? phases[phase].word : "?";
}

const Journal *journal_mine(void) {
    return mine;
}

bool journal_last(const Journal *journal, JournalEntry *out) {
    for (;;) {
        uint64_t count = journal->count;
        if (count == 0) return false;
        *out = journal->entry[(count - 1) % JOURNAL_ENTRIES];
        // Overwritten meanwhile only if the writer has come round once.
        if (journal->count - count < JOURNAL_ENTRIES - 1) return true;
    }
}

// The entry of the last event; a zero one before the first.
static const JournalEntry *latest(const Journal *journal) {
    return &journal->entry[(journal->count + JOURNAL_ENTRIES - 1) % JOURNAL_ENTRIES];
}

static void append(JournalEntry entry) {
    Journal *journal = mine;
    const JournalEntry *before = latest(journal);
    entry.time = clock_now();
    if (journal->count > 0 && before->what[0] == '\0') {
        double *usual = &journal->usual[before->phase], worked = entry.time - before->time;
        *usual += (worked - *usual) * (*usual == 0 ? 1 : 1.0 / 16);
    }
    journal->entry[journal->count % JOURNAL_ENTRIES] = entry;
    ++journal->count;
}

static void ring_enter(Phase phase, int64_t step) {
    append((JournalEntry){.phase = phase, .step = step, .collective = latest(mine)->collective});
    if (entered != NULL) entered(phase, step);
}

void journal_set_hook(void (*hook)(Phase phase, int64_t step)) {
    entered = hook;
}

static void ring_wait(const char *what) {
    JournalEntry entry = *latest(mine);
    ++entry.collective;
    snprintf(entry.what, sizeof entry.what, "%s", what);
    append(entry);
}

static void ring_proceed(void) {
    JournalEntry entry = *latest(mine);
    entry.what[0] = '\0';
    append(entry);
}

void recorder_start(void) {
    static const JournalSink sink = {ring_enter, ring_wait, ring_proceed};
    journal_set_sink(&sink);
}

static void move_to(Journal *to, Journal *from) {
    memcpy(to, from, sizeof *to);
    mine = to;
}

Status journal_open(const char *path, const Journal *owner) {
    int file = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    FAIL_IF(file < 0, IO, "cannot make %s: %s", path, strerror(errno));
    // Room now: a full memory file system would kill the process when it writes to the mapping.
    int error = posix_fallocate(file, 0, sizeof(Journal));
    Journal *journal =
        error != 0 ? MAP_FAILED
                   : mmap(NULL, sizeof *journal, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (error == 0 && journal == MAP_FAILED) error = errno;
    close(file);
    if (error != 0) unlink(path);
    FAIL_IF(error != 0, IO, "no room for %s: %s", path, strerror(error));
    Journal *before = mine;
    before->rank = owner->rank;
    before->world = owner->world;
    before->pid = getpid();
    before->wall = clock_wall() - clock_now();
    memcpy(before->host, owner->host, sizeof before->host);
    memcpy(before->run, owner->run, sizeof before->run);
    move_to(journal, before);
    return STATUS_OK;
}

void journal_close(void) {
    Journal *journal = mine;
    if (journal == &plain) return;
    journal->ended = 1;
    move_to(&plain, journal); // the mapping stays: the control thread may be reading it
}

Status journal_check(Journal *journal, size_t bytes, const char *path) {
    FAIL_IF(bytes != sizeof *journal || journal->magic != JOURNAL_MAGIC ||
                journal->version != JOURNAL_VERSION,
            BAD_DATA, "%s is no journal of this version of dye", path);
    journal->host[sizeof journal->host - 1] = journal->run[sizeof journal->run - 1] = '\0';
    for (int i = 0; i < JOURNAL_ENTRIES; ++i) {
        JournalEntry *entry = &journal->entry[i];
        entry->what[sizeof entry->what - 1] = '\0';
    }
    return STATUS_OK;
}
