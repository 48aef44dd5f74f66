// Output for people behind launch/console.h.
#include "launch/console.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"

static struct {
    char name[96]; // "[rank 1/4 host] " or empty
    double plain_seconds, last_progress;
    bool live; // a progress line stands on the terminal, without its newline
} console = {.plain_seconds = 10, .last_progress = -1e9};

// The control thread speaks too.
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

void console_open(const Comm *comm) {
    console.name[0] = '\0';
    if (comm == NULL || comm_world(comm) == 1) return;
    snprintf(console.name, sizeof console.name, "[rank %d/%d %s] ", comm_rank(comm),
             comm_world(comm), comm_host(comm));
}

void console_set_plain_seconds(double seconds) {
    console.plain_seconds = seconds;
}

// Begins a whole message, ended by finish().
static void begin(void) {
    pthread_mutex_lock(&mutex);
    if (console.live) fputc('\n', stderr);
    console.live = false;
}

static void finish(void) {
    pthread_mutex_unlock(&mutex);
}

void console_say(const char *line) {
    begin();
    puts(line);
    fflush(stdout);
    finish();
}

void console_warn(const char *line) {
    begin();
    fprintf(stderr, "%swarning: %s\n", console.name, line);
    finish();
}

static int terminal_width(void) {
    struct winsize size;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
    return 80;
}

void console_progress(const char *line) {
    bool terminal = isatty(STDERR_FILENO) != 0;
    double now = clock_now(), every = terminal ? 0.2 : console.plain_seconds;
    if (now - console.last_progress < every) return;
    console.last_progress = now;
    pthread_mutex_lock(&mutex);
    console.live = terminal;
    if (terminal)
        fprintf(stderr, "\r%.*s\033[K", terminal_width() - 1, line);
    else
        fprintf(stderr, "%s\n", line);
    finish();
}

void console_error(void) {
    const ErrorRecord *error = error_get();
    begin();
    fprintf(stderr, "%serror %s: %s (%s)\n", console.name, status_info(error->status)->name,
            error->text, status_info(error->status)->text);
    // Where the code noticed helps nobody who mistyped a key.
    bool is_input = error->status == STATUS_BAD_USAGE || error->status == STATUS_BAD_CONFIG ||
                    error->status == STATUS_NOT_FOUND || error->status == STATUS_BUSY ||
                    error->status == STATUS_STALLED;
    for (int i = 0; i < error->frames && !is_input; ++i)
        fprintf(stderr, "%s  %s %s:%d in %s\n", console.name, i == 0 ? "at " : "via",
                error->frame[i].file, error->frame[i].line, error->frame[i].function);
    finish();
}
