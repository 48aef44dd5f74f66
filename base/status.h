// How failure travels: a Status up the stack, a sentence and a trail in a per-thread record.
//
//   FAIL_IF(cond, CODE, fmt, ...)   the world is wrong: record a sentence, return CODE
//   FAIL(CODE, fmt, ...)            the same, always
//   TRY(call)                       pass a failure up, adding this line to the trail
//   TRY_OR(label, status, call)     the same before a cleanup: status = call; goto label on failure
//   REQUIRE(cond)                   we are wrong: print and end the process through the bug hook
//
// Nothing is printed on the way up, so that a test can read the message and a caller may recover.
// Only launch/ prints and exits.
#pragma once

#include <stdbool.h>

// From the mildest to the worst, which decides what ranks agree on (comm_agree): UNFINISHED only
// asks for another start.
//        name          exit  what it tells the user
#define STATUS_LIST(X)                                                                             \
    X(OK, 0, "finished")                                                                           \
    X(UNFINISHED, 75, "saved but unfinished: run the same command again")                          \
    X(FAILED, 1, "it failed")                                                                      \
    X(BAD_USAGE, 2, "the command line is wrong")                                                   \
    X(BAD_DATA, 65, "a data or checkpoint file is missing or damaged")                             \
    X(NOT_FOUND, 66, "a file or folder is not there")                                              \
    X(BUSY, 69, "somebody else is using it")                                                       \
    X(NO_MEMORY, 71, "there is not enough memory")                                                 \
    X(IO, 74, "the operating system refused to read or write")                                     \
    X(COMM, 76, "the ranks could not talk to each other")                                          \
    X(NUMERIC, 77, "a loss or gradient is not finite")                                             \
    X(STALLED, 79, "a rank hung, was stopped, cut off or killed")                                  \
    X(BAD_CONFIG, 78, "the configuration is wrong")

// A Status that nobody looks at is a mistake. gcc knows this attribute for functions only; the
// suite's clang build finds the places.
#ifdef __clang__
#define STATUS_MUST_BE_USED __attribute__((warn_unused_result))
#else
#define STATUS_MUST_BE_USED
#endif

// Before a parameter that an interface has and this function does not need.
#define UNUSED __attribute__((unused))

typedef enum STATUS_MUST_BE_USED {
#define STATUS_ENUM(name, code, text) STATUS_##name,
    STATUS_LIST(STATUS_ENUM)
#undef STATUS_ENUM
        STATUS_COUNT
} StatusCode;

typedef StatusCode Status;

typedef struct {
    const char *name, *text; // "BAD_CONFIG", "the configuration is wrong"
    int exit_code;
} StatusInfo;
const StatusInfo *status_info(Status status); // of FAILED for what is no Status

enum { ERROR_TEXT_BYTES = 1024, ERROR_FRAMES = 12 };

typedef struct {
    const char *file, *function; // string literals
    int line;
} ErrorFrame;

// The last failure of a thread. A plain value: error_take copies it out of one thread (and clears
// it there), error_restore puts it into another, so that a worker's failure keeps its trail.
typedef struct {
    Status status;
    char text[ERROR_TEXT_BYTES];
    ErrorFrame frame[ERROR_FRAMES];
    int frames;
} ErrorRecord;

const ErrorRecord *error_get(void); // of the calling thread; status OK when there was none
ErrorRecord error_take(void);
Status error_restore(const ErrorRecord *record); // returns record->status
void error_clear(void);

// Used by the macros below.
Status error_raise(Status status, const char *file, int line, const char *function,
                   const char *format, ...) __attribute__((format(printf, 5, 6)));
Status error_trail(Status status, const char *file, int line, const char *function);
_Noreturn void error_bug(const char *condition, const char *file, int line, const char *function);

enum { EXIT_BUG = 70 };
// Called with EXIT_BUG after a REQUIRE has printed; launch/ sets one that ends the whole job.
// Without a hook the process exits alone.
void error_set_bug_hook(void (*hook)(int exit_code));

#define FAIL(code, ...) return error_raise(STATUS_##code, __FILE__, __LINE__, __func__, __VA_ARGS__)
#define FAIL_IF(condition, code, ...)                                                              \
    do {                                                                                           \
        if (condition) FAIL(code, __VA_ARGS__);                                                    \
    } while (0)
// For a function that must clean up: sets `status` and jumps.
#define FAIL_OR(label, status, code, ...)                                                          \
    do {                                                                                           \
        status = error_raise(STATUS_##code, __FILE__, __LINE__, __func__, __VA_ARGS__);            \
        goto label;                                                                                \
    } while (0)
#define TRY(call)                                                                                  \
    do {                                                                                           \
        Status try_status_ = (call);                                                               \
        if (try_status_ != STATUS_OK)                                                              \
            return error_trail(try_status_, __FILE__, __LINE__, __func__);                         \
    } while (0)
#define TRY_OR(label, status, call)                                                                \
    do {                                                                                           \
        status = (call);                                                                           \
        if (status != STATUS_OK) {                                                                 \
            status = error_trail(status, __FILE__, __LINE__, __func__);                            \
            goto label;                                                                            \
        }                                                                                          \
    } while (0)
#define REQUIRE(condition)                                                                         \
    do {                                                                                           \
        if (!(condition)) error_bug(#condition, __FILE__, __LINE__, __func__);                     \
    } while (0)
