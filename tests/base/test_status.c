// Failures: text, trail, cleanup macros, threads, and the bug hook.
#include <pthread.h>
#include <sys/wait.h>

#include "tests/test.h"

static Status inner(int wrong) {
    FAIL_IF(wrong == 1, BAD_DATA, "block %d of %s is damaged", 7, "a.zst");
    FAIL_IF(wrong == 2, IO, "disk");
    return STATUS_OK;
}

static Status middle(int wrong) {
    TRY(inner(wrong));
    return STATUS_OK;
}

static int cleaned;

static Status outer(int wrong) {
    Status status = STATUS_OK;
    if (wrong == 3) FAIL_OR(done, status, NUMERIC, "nan at step %d", 5);
    TRY_OR(done, status, middle(wrong));
done:
    ++cleaned;
    return status;
}

static void test_trail(void) {
    error_clear();
    EXPECT_OK(outer(0));
    EXPECT_EQ(error_get()->status, STATUS_OK);
    EXPECT_EQ(error_get()->frames, 0);
    EXPECT_FAIL(outer(1), BAD_DATA, "block 7 of a.zst is damaged");
    const ErrorRecord *record = error_get();
    EXPECT_EQ(record->status, STATUS_BAD_DATA);
    EXPECT_EQ(record->frames, 3);
    EXPECT_TEXT(record->frame[0].function, "inner");
    EXPECT_TEXT(record->frame[1].function, "middle");
    EXPECT_TEXT(record->frame[2].function, "outer");
    EXPECT(strstr(record->frame[0].file, "test_status.c") != NULL);
    EXPECT(record->frame[0].line > 0 && record->frame[0].line < record->frame[1].line);
    EXPECT_FAIL(outer(3), NUMERIC, "nan at step 5");
    EXPECT_EQ(error_get()->frames, 1);
    EXPECT_EQ(cleaned, 3);
    error_clear();
    EXPECT_EQ(error_get()->status, STATUS_OK);
}

static Status fail_with_old_text(void) {
    FAIL(IO, "saving: %s", error_get()->text);
}

static void test_text_may_quote_the_old_one(void) {
    EXPECT_FAIL(inner(2), IO, "disk");
    EXPECT_FAIL(fail_with_old_text(), IO, "saving: disk");
}

static Status fail_long(void) {
    FAIL(IO, "%02000d", 1);
}

static Status fail_deep(int depth) {
    if (depth == 0) FAIL(IO, "deep");
    TRY(fail_deep(depth - 1));
    return STATUS_OK;
}

static void test_limits(void) {
    EXPECT_FAIL(fail_long(), IO, "000");
    EXPECT_EQ(strlen(error_get()->text), ERROR_TEXT_BYTES - 1);
    EXPECT_FAIL(fail_deep(40), IO, "deep");
    EXPECT_EQ(error_get()->frames, ERROR_FRAMES);
}

static void *worker(void *slot) {
    if (outer(1) != STATUS_OK) *(ErrorRecord *)slot = error_take();
    if (error_get()->status != STATUS_OK) ((ErrorRecord *)slot)->frames = -1;
    return NULL;
}

static Status deliver(const ErrorRecord *record) {
    TRY(error_restore(record));
    return STATUS_OK;
}

static void test_failure_crosses_threads(void) {
    static ErrorRecord slot;
    pthread_t thread;
    error_clear();
    EXPECT_EQ(pthread_create(&thread, NULL, worker, &slot), 0);
    pthread_join(thread, NULL);
    EXPECT_EQ(error_get()->status, STATUS_OK); // the record is the thread's own
    EXPECT_EQ(slot.frames, 3);
    EXPECT_FAIL(deliver(&slot), BAD_DATA, "block 7 of a.zst");
    EXPECT_EQ(error_get()->frames, 4);
    EXPECT_TEXT(error_get()->frame[0].function, "inner");
    EXPECT_TEXT(error_get()->frame[3].function, "deliver");
}

static void test_names_and_codes(void) {
    EXPECT_TEXT(status_info(STATUS_BAD_CONFIG)->name, "BAD_CONFIG");
    EXPECT_TEXT(status_info(STATUS_BAD_CONFIG)->text, "the configuration is wrong");
    EXPECT_EQ(status_info(STATUS_OK)->exit_code, 0);
    EXPECT_EQ(status_info(STATUS_UNFINISHED)->exit_code, 75);
    EXPECT_EQ(status_info((Status)999)->exit_code, 1);
    for (int i = 0; i < STATUS_COUNT; ++i)
        for (int j = 0; j < i; ++j)
            EXPECT(status_info((Status)i)->exit_code != status_info((Status)j)->exit_code);
}

static void hook(int exit_code) {
    _exit(exit_code + 1);
}

// Runs in a child: the exit code and what is printed.
static int bug_exit_code(void (*bug_hook)(int), char *printed, size_t bytes) {
    int ends[2], status = -1;
    EXPECT_EQ(pipe(ends), 0);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        error_set_bug_hook(bug_hook);
        REQUIRE(1 + 1 == 2);
        REQUIRE(1 + 1 == 3);
        _exit(0);
    }
    close(ends[1]);
    ssize_t n = read(ends[0], printed, bytes - 1);
    printed[n > 0 ? n : 0] = 0;
    close(ends[0]);
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void test_bug(void) {
    char printed[512];
    EXPECT_EQ(bug_exit_code(NULL, printed, sizeof printed), 70);
    EXPECT(strstr(printed, "bug: 1 + 1 == 3 is false at ") != NULL);
    EXPECT_EQ(bug_exit_code(hook, printed, sizeof printed), 71);
}

int main(void) {
    RUN(test_trail);
    RUN(test_text_may_quote_the_old_one);
    RUN(test_limits);
    RUN(test_failure_crosses_threads);
    RUN(test_names_and_codes);
    RUN(test_bug);
    return test_report();
}
