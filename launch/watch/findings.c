// The list behind launch/watch/findings.h.
#include "launch/watch/findings.h"

#include <stdarg.h>
#include <stdio.h>

Finding *finding_add(Findings *findings, FindingLevel level, const char *check, const char *format,
                     ...) {
    REQUIRE(findings->count < FINDINGS_MOST);
    Finding *finding = &findings->list[findings->count++];
    *finding = (Finding){.level = level,
                         .status = level == FINDING_FAIL ? STATUS_BAD_CONFIG : STATUS_OK,
                         .check = check};
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(finding->text, sizeof finding->text, format, arguments);
    va_end(arguments);
    return finding;
}

int findings_count(const Findings *findings, FindingLevel level) {
    int count = 0;
    for (int i = 0; i < findings->count; ++i) count += findings->list[i].level == level;
    return count;
}

Status findings_status(const Findings *findings) {
    char text[ERROR_TEXT_BYTES];
    size_t used = 0;
    Status status = STATUS_OK;
    for (int i = 0; i < findings->count; ++i) {
        const Finding *finding = &findings->list[i];
        if (finding->level != FINDING_FAIL) continue;
        if (status == STATUS_OK) status = finding->status;
        if (used < sizeof text)
            used += (size_t)snprintf(text + used, sizeof text - used, "%s%s",
                                     used > 0 ? "; and " : "", finding->text);
    }
    if (status == STATUS_OK) return STATUS_OK;
    return error_raise(status, __FILE__, __LINE__, __func__, "%s", text);
}

const char *finding_level_name(FindingLevel level) {
    static const char *const names[] = {"ok", "warn", "FAIL"};
    return names[level];
}
