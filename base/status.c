// The per-thread error record behind base/status.h.
#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local ErrorRecord thread_record;
static void (*bug_hook)(int exit_code);

static const StatusInfo infos[STATUS_COUNT] = {
#define STATUS_ROW(name, code, text) [STATUS_##name] = {#name, text, code},
    STATUS_LIST(STATUS_ROW)
#undef STATUS_ROW
};

const StatusInfo *status_info(Status status) {
    bool known = status >= STATUS_OK && status < STATUS_COUNT;
    return &infos[known ? status : STATUS_FAILED];
}

const ErrorRecord *error_get(void) {
    return &thread_record;
}

ErrorRecord error_take(void) {
    ErrorRecord taken = thread_record;
    error_clear();
    return taken;
}

Status error_restore(const ErrorRecord *record) {
    thread_record = *record;
    return record->status;
}

void error_clear(void) {
    memset(&thread_record, 0, sizeof thread_record);
}

Status error_raise(Status status, const char *file, int line, const char *function,
                   const char *format, ...) {
    // Written aside first: an argument may point into the old text.
    char text[ERROR_TEXT_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    error_clear();
    thread_record.status = status;
    memcpy(thread_record.text, text, sizeof text);
    return error_trail(status, file, line, function);
}

Status error_trail(Status status, const char *file, int line, const char *function) {
    if (thread_record.frames < ERROR_FRAMES)
        thread_record.frame[thread_record.frames++] = (ErrorFrame){file, function, line};
    return status;
}

void error_bug(const char *condition, const char *file, int line, const char *function) {
    fprintf(stderr, "bug: %s is false at %s:%d in %s; please report it\n", condition, file, line,
            function);
    fflush(stderr);
    if (bug_hook != NULL) bug_hook(EXIT_BUG);
    exit(EXIT_BUG);
}

void error_set_bug_hook(void (*hook)(int exit_code)) {
    bug_hook = hook;
}
