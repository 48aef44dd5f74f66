// Output for people behind launch/console.h.
#include "launch/console.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
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
    fprintf(stderr, "%s%swarning:%s %s\n", console.name, console_style(stderr, STYLE_YELLOW),
            console_style(stderr, STYLE_PLAIN), line);
    finish();
}

int console_width(FILE *stream) {
    struct winsize size;
    if (ioctl(fileno(stream), TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
    return 80;
}

const char *console_style(FILE *stream, ConsoleStyle style) {
    static const char *const codes[] = {"\033[0m", "\033[1m", "\033[1;31m", "\033[1;33m"};
    const char *unwanted = getenv("NO_COLOR"), *terminal = getenv("TERM");
    bool dumb = terminal == NULL || strcmp(terminal, "dumb") == 0;
    if (isatty(fileno(stream)) == 0 || dumb || (unwanted != NULL && unwanted[0] != '\0')) return "";
    return codes[style];
}

void console_progress(const char *line) {
    bool terminal = isatty(STDERR_FILENO) != 0;
    double now = clock_now(), every = terminal ? 0.2 : console.plain_seconds;
    if (now - console.last_progress < every) return;
    console.last_progress = now;
    pthread_mutex_lock(&mutex);
    console.live = terminal;
    if (terminal)
        fprintf(stderr, "\r%.*s\033[K", console_width(stderr) - 1, line);
    else
        fprintf(stderr, "%s\n", line);
    finish();
}

// ---- tasks ------------------------------------------------------------------------------------

enum { BAR = 30, QUIET_SECONDS = 10 };
static struct {
    char what[64]; // "": there is none
    double started;
} task;

void console_task(const char *what) {
    bool begins = task.what[0] == '\0' && what != NULL;
    snprintf(task.what, sizeof task.what, "%s", what != NULL ? what : "");
    if (begins) {
        task.started = clock_now();
        console.last_progress = -1e9;
        console_done(0);
    }
    if (what != NULL) return;
    pthread_mutex_lock(&mutex);
    if (console.live) fputs("\r\033[K", stderr);
    console.live = false;
    finish();
}

void console_done(double fraction) {
    double spent = clock_now() - task.started;
    bool quiet = isatty(STDERR_FILENO) == 0 && spent < QUIET_SECONDS;
    if (task.what[0] == '\0' || quiet) return;
    char line[160], bar[BAR + 1], left[48] = "";
    int full = (int)(BAR * fraction);
    for (int i = 0; i < BAR; ++i) bar[i] = i < full ? '#' : '.';
    bar[BAR] = '\0';
    if (fraction > 0.01)
        snprintf(left, sizeof left, ", %.0f s left", spent * (1 - fraction) / fraction);
    snprintf(line, sizeof line, "[%s] %3.0f %% %s, %.0f s%s", bar, 100 * fraction, task.what, spent,
             left);
    console_progress(line);
}

void console_task_progress(void *unused, double fraction, const char *what) {
    (void)unused;
    console_task(what);
    console_done(fraction);
}

void console_error(void) {
    const ErrorRecord *error = error_get();
    begin();
    fprintf(stderr, "%s%serror %s:%s %s (%s)\n", console.name, console_style(stderr, STYLE_RED),
            status_info(error->status)->name, console_style(stderr, STYLE_PLAIN), error->text,
            status_info(error->status)->text);
    // Where the code noticed helps nobody who mistyped a key.
    bool is_input = error->status == STATUS_BAD_USAGE || error->status == STATUS_BAD_CONFIG ||
                    error->status == STATUS_NOT_FOUND || error->status == STATUS_BUSY ||
                    error->status == STATUS_STALLED;
    for (int i = 0; i < error->frames && !is_input; ++i)
        fprintf(stderr, "%s  %s %s:%d in %s\n", console.name, i == 0 ? "at " : "via",
                error->frame[i].file, error->frame[i].line, error->frame[i].function);
    finish();
}
