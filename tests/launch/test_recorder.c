// The journal: what is read back, in memory and from a file, and what damage is refused.
#include "launch/watch/recorder.h"

#include "base/file.h"
#include "tests/test.h"

static JournalEntry last(void) {
    JournalEntry entry = {0};
    EXPECT(journal_last(journal_mine(), &entry));
    return entry;
}

static void test_events(void) {
    JournalEntry entry;
    EXPECT(!journal_last(journal_mine(), &entry));
    journal_enter(PHASE_DATA, 7);
    EXPECT_EQ(last().phase, PHASE_DATA);
    EXPECT_EQ(last().step, 7);
    EXPECT_EQ(last().collective, 0);
    journal_wait("exchange 3");
    EXPECT_EQ(last().collective, 1);
    EXPECT_EQ(last().phase, PHASE_DATA);
    EXPECT_TEXT(last().what, "exchange 3");
    journal_proceed();
    EXPECT_TEXT(last().what, "");
    EXPECT_EQ(last().collective, 1);
    journal_enter(PHASE_SAVE, 8);
    EXPECT_EQ(last().collective, 1);
    EXPECT_TEXT(phase_text(last().phase), "saving");
    EXPECT_TEXT(phase_word(last().phase), "save");
    EXPECT_TEXT(phase_text(99), "?");
}

// Waits do not count as work of the phase that they happen in.
static void test_usual(void) {
    journal_enter(PHASE_UPDATE, 9);
    usleep(20000);
    journal_wait("board");
    usleep(200000);
    journal_proceed();
    double usual = journal_mine()->usual[PHASE_UPDATE];
    EXPECT(usual >= 0.02 && usual < 0.15);
    EXPECT_EQ(journal_mine()->usual[PHASE_SAMPLE], 0);
}

static void test_ring(void) {
    for (int i = 0; i < 3 * JOURNAL_ENTRIES; ++i) journal_enter(PHASE_LOG, i);
    EXPECT_EQ(last().step, 3 * JOURNAL_ENTRIES - 1);
}

static Phase hooked;
static void hook(Phase phase, int64_t step) {
    hooked = phase;
    EXPECT_EQ(last().step, step); // the entry is there already
}

static void test_hook(void) {
    journal_set_hook(hook);
    journal_enter(PHASE_EVALUATE, 5);
    EXPECT_EQ(hooked, PHASE_EVALUATE);
    journal_set_hook(NULL);
    journal_enter(PHASE_DATA, 5);
    EXPECT_EQ(hooked, PHASE_EVALUATE);
}

static void test_file(void) {
    char path[PATH_BYTES], *data;
    size_t bytes;
    snprintf(path, sizeof path, "%s/journal", test_folder("journal"));
    journal_enter(PHASE_DATA, 41);
    Journal owner = {.rank = 3, .world = 8, .host = "n2", .run = "runs/x"};
    EXPECT_OK(journal_open(path, &owner));
    EXPECT_FAIL(journal_open(path, &owner), IO, "cannot make");
    journal_enter(PHASE_COMPUTE, 42);
    EXPECT_OK(file_read(path, sizeof(Journal), &data, &bytes));
    Journal *copy = (Journal *)data;
    EXPECT_OK(journal_check(copy, bytes, path));
    JournalEntry entry;
    EXPECT(journal_last(copy, &entry));
    EXPECT_EQ(entry.step, 42);
    EXPECT_EQ(copy->rank, 3);
    EXPECT_EQ(copy->pid, getpid());
    EXPECT_EQ(copy->ended, 0);
    EXPECT_TEXT(copy->host, "n2");

    // Text that does not end, and another version.
    memset(copy->host, 'x', sizeof copy->host);
    memset(copy->entry[5].what, 'y', sizeof copy->entry[5].what);
    EXPECT_OK(journal_check(copy, bytes, path));
    EXPECT_EQ(strlen(copy->host), sizeof copy->host - 1);
    EXPECT_EQ(strlen(copy->entry[5].what), sizeof copy->entry[5].what - 1);
    EXPECT_FAIL(journal_check(copy, bytes - 1, path), BAD_DATA, "no journal of this version");
    copy->version = 99;
    EXPECT_FAIL(journal_check(copy, bytes, path), BAD_DATA, "no journal of this version");
    free(data);

    journal_close();
    EXPECT_EQ(last().step, 42);
    EXPECT_OK(file_read(path, sizeof(Journal), &data, &bytes));
    EXPECT_EQ(((Journal *)data)->ended, 1);
    free(data);
    EXPECT_FAIL(journal_open("/proc/nowhere", &owner), IO, "cannot make");
}

int main(void) {
    recorder_start();
    RUN(test_events);
    RUN(test_usual);
    RUN(test_ring);
    RUN(test_hook);
    RUN(test_file);
    return test_report();
}
