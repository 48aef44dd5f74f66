// Any bytes as what comes from other processes: a journal file that a dead rank left, letters to
// the controller. They are refused, or looked at and put into words within bounds.
#include <stdlib.h>
#include <string.h>

#include "launch/watch/letter.h"
#include "launch/watch/verdict.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void use_journal(const uint8_t *data, size_t bytes) {
    Journal *journal = calloc(1, sizeof *journal);
    JournalEntry entry;
    memcpy(journal, data, bytes < sizeof *journal ? bytes : sizeof *journal);
    journal->magic = JOURNAL_MAGIC;
    journal->version = JOURNAL_VERSION;
    if (journal_check(journal, sizeof *journal, "fuzz") == STATUS_OK &&
        journal_last(journal, &entry)) {
        volatile size_t used = strlen(entry.what) + strlen(phase_text(entry.phase)) +
                               strlen(journal->host) + strlen(journal->run);
        (void)used;
    }
    error_clear();
    free(journal);
}

static void use_letters(const uint8_t *data, size_t bytes) {
    static const int hosts[4] = {0, 0, 2, 2};
    Watch *watch = watch_open(4, 0, hosts, 4, 10, 0);
    double now = 0;
    for (Letter letter; bytes >= sizeof letter; data += sizeof letter, bytes -= sizeof letter) {
        memcpy(&letter, data, sizeof letter);
        // Numbers that get past the first check, so that the judgement is reached.
        letter.report.rank &= 3;
        letter.report.phase = (int32_t)((uint32_t)letter.report.phase % PHASE_COUNT);
        watch_hear(watch, &letter.report, now += 3);
        Verdict verdict = watch_judge(watch, now);
        if (verdict.kind == VERDICT_NONE) continue;
        char text[VERDICT_TEXT_BYTES];
        letter.text[LETTER_TEXT_BYTES - 1] = '\0';
        VerdictFacts facts = {"n2", 1, 4, letter.text, letter.text};
        verdict_text(&verdict, &facts, text);
    }
    watch_close(watch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    if (bytes == 0) return 0;
    if (data[0] % 2 == 0)
        use_journal(data + 1, bytes - 1);
    else
        use_letters(data + 1, bytes - 1);
    return 0;
}
