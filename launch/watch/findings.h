// What the checks of a set-up have found: one line each.
#pragma once

#include "base/status.h"

typedef enum { FINDING_OK, FINDING_WARN, FINDING_FAIL } FindingLevel;

typedef struct {
    FindingLevel level;
    Status status;     // of a failure
    const char *check; // "run folder": a literal
    char text[ERROR_TEXT_BYTES];
} Finding;

enum { FINDINGS_MOST = 32 };

typedef struct {
    Finding list[FINDINGS_MOST];
    int count;
} Findings;

// A failure is BAD_CONFIG unless its status is set to something else.
Finding *finding_add(Findings *findings, FindingLevel level, const char *check, const char *format,
                     ...) __attribute__((format(printf, 4, 5)));
int findings_count(const Findings *findings, FindingLevel level);
// OK, or all failures in one sentence, with the status of the first.
Status findings_status(const Findings *findings);
const char *finding_level_name(FindingLevel level); // "ok", "warn", "FAIL"
