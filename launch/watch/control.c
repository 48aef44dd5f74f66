// The control thread behind launch/watch/control.h: its life and its letters. What it finds wrong
// is handled in launch/watch/alarm.c.
#include "launch/watch/control.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/thread.h"
#include "launch/watch/alarm.h"
#include "launch/watch/blackbox.h"
#include "launch/console.h"
#include "launch/launcher.h"
#include "launch/watch/scribe.h"
#include "launch/signals.h"
#include "launch/watch/suspect.h"
#include "launch/watch/wire.h"

typedef struct {
    RunSettings settings;
    bool one_host;
    char (*hosts)[HOST_NAME_BYTES]; // [world]
    int rank, world, centre[WIRE_CENTRES];
    Wire *wire; // NULL: one rank, or no way to talk
    WirePeer *peers;
    int *host;    // [world] number of its host
    Watch *watch; // of a centre
    Alarm *alarm; // of a centre
    Scribe *scribe;
    double every, report_at, alive_at; // seconds between reports; next ones
    double heard[WIRE_CENTRES], turned[WIRE_CENTRES], opened;
    bool told_unwatched;
    int launcher; // on this host; 0: elsewhere
    pthread_t thread;
    bool has_thread;
    _Atomic bool stop, watched, owns_run;
    pthread_mutex_t mutex; // of the watch and of what follows
    char line[512], good[PATH_BYTES];
} Control;

static Control *control;

// ---- letters ------------------------------------------------------------------------------------

static bool is_centre(const Control *c, int which) {
    return c->centre[which] == c->rank;
}

// Neighbours whose process is gone or stopped: they cannot tell themselves.
static void look_around(const Control *c, Report *report) {
    for (int i = 0; i < c->world; ++i) {
        if (i == c->rank || c->host[i] != c->host[c->rank]) continue;
        char state = process_state(c->peers[i].pid);
        if (state == 0) report->gone = i;
        if (state == 'T' || state == 't') report->stopped = i;
    }
}

static void report_now(Control *c, bool leaving) {
    double now = clock_now();
    Letter letter = {.kind = LETTER_REPORT, .from = c->rank};
    letter.report = watch_report(journal_mine(), now);
    letter.report.rank = c->rank;
    letter.report.leaving = leaving;
    struct timespec cpu;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    letter.report.cpu_seconds = (double)cpu.tv_sec + 1e-9 * (double)cpu.tv_nsec;
    letter.report.io_bytes = process_io_bytes();
    if (!leaving) look_around(c, &letter.report);
    if (c->watch != NULL) watch_hear(c->watch, &letter.report, now);
    for (int i = 0; i < WIRE_CENTRES && c->wire != NULL; ++i)
        if (c->centre[i] >= 0 && !is_centre(c, i)) wire_to_centre(c->wire, i, &letter);
}

static void say_alive(const Control *c) {
    Letter letter = {.kind = LETTER_ALIVE, .from = c->rank};
    for (int i = 0; i < c->world; ++i)
        if (i != c->rank) wire_to_rank(c->wire, i, &letter);
}

// Whoever watched is to leave first: its exit code is the job's.
static void end_now(Control *c, const char *why) {
    pthread_mutex_unlock(&c->mutex); // the scribe may want it
    if (why[0] != '\0') {
        (void)error_raise(STATUS_STALLED, __FILE__, __LINE__, __func__, "%s", why);
        console_error();
    }
    launcher_outlive(c->launcher, 10);
    scribe_collect(c->scribe, 1);
    if (why[0] == '\0') sleep(1);
    _exit(status_info(STATUS_STALLED)->exit_code);
}

static void answer_look(Control *c, const Letter *question) {
    if (question->about < 0 || question->about >= c->world) return;
    if (c->host[question->about] != c->host[c->rank]) return;
    Letter letter;
    suspect_describe(c->settings.run.dir, c->peers, question->about, &letter);
    letter.from = c->rank;
    for (int i = 0; i < WIRE_CENTRES; ++i)
        if (c->centre[i] == question->from) wire_to_centre(c->wire, i, &letter);
}

static void take_letter(Control *c, const Letter *letter) {
    double now = clock_now();
    bool from_centre = false;
    for (int i = 0; i < WIRE_CENTRES; ++i)
        if (c->centre[i] == letter->from) {
            from_centre = true;
            c->heard[i] = now;
        }
    if (letter->kind == LETTER_REPORT && c->watch != NULL && letter->report.rank == letter->from)
        watch_hear(c->watch, &letter->report, now);
    if (letter->kind == LETTER_SEEN && c->alarm != NULL) alarm_seen(c->alarm, letter);
    if (letter->kind == LETTER_LOOK && from_centre) answer_look(c, letter);
    if (letter->kind == LETTER_END && from_centre) end_now(c, "");
}

// ---- being watched ------------------------------------------------------------------------------

static double silence_most(const Control *c) {
    return fmax(60, c->settings.control.grace + 30);
}

// Centres that do not answer are tried at their other addresses; a rank that nobody watches says so
// once, and one that has lost both centres ends, as the job that it belongs to has.
static void check_centres(Control *c, double now) {
    double latest = c->watch != NULL ? now : 0;
    for (int i = 0; i < WIRE_CENTRES; ++i) latest = fmax(latest, c->heard[i]);
    c->watched = now - fmax(latest, c->opened) < 10;
    for (int i = 0; i < WIRE_CENTRES; ++i) {
        bool wanted = c->centre[i] >= 0 && !is_centre(c, i);
        if (!wanted || now - fmax(c->heard[i], c->turned[i]) < 5) continue;
        c->turned[i] = now;
        const char *address = wire_turn(c->wire, i);
        if (latest > 0 || now - c->opened < 15 || c->told_unwatched) continue;
        char line[256];
        c->told_unwatched = true;
        snprintf(line, sizeof line,
                 "no control connection to rank %d on %s (now trying %s): hangs will be named by"
                 " waiting ranks only; is there a firewall? control.port sets the port",
                 c->centre[i], c->hosts[c->centre[i]], address);
        console_warn(line);
    }
    bool lost = latest > 0 && now - latest > silence_most(c) && c->settings.control.grace > 0;
    if (!lost) return;
    char why[256];
    snprintf(why, sizeof why,
             "rank %d on %s has heard neither rank 0 nor its deputy for %.0f s: it ends itself",
             c->rank, c->hosts[c->rank], now - latest);
    end_now(c, why);
}

// ---- the thread ---------------------------------------------------------------------------------

static void handle_alarm(Control *c, double now) {
    char cause[VERDICT_TEXT_BYTES];
    switch (alarm_check(c->alarm, c->good, now, cause)) {
    case ALARM_QUIET: break;
    case ALARM_TELL:
        console_warn(cause);
        signals_cause(alarm_cause(c->alarm));
        scribe_cause(c->scribe, cause);
        break;
    case ALARM_END: {
        Letter letter = {.kind = LETTER_END, .from = c->rank};
        for (int i = 0; i < c->world && c->wire != NULL; ++i)
            if (i != c->rank) wire_to_rank(c->wire, i, &letter);
        scribe_cause(c->scribe, cause);
        end_now(c, cause);
    }
    }
}

static void run_once(Control *c) {
    Letter letter;
    while (c->wire != NULL && wire_receive(c->wire, &letter)) take_letter(c, &letter);
    double now = clock_now();
    if (now >= c->report_at) {
        report_now(c, false);
        c->report_at = now + c->every;
    }
    if (c->watch != NULL && c->wire != NULL && now >= c->alive_at) {
        say_alive(c);
        c->alive_at = now + 2;
    }
    if (c->wire != NULL) check_centres(c, now);
    if (c->watch == NULL) return;
    c->watch->hurries = signals_launcher_ends();
    handle_alarm(c, now);
}

static void *run(void *context) {
    Control *c = context;
    while (!c->stop) {
        if (c->wire != NULL)
            wire_wait(c->wire, 100);
        else
            usleep(100000);
        pthread_mutex_lock(&c->mutex);
        run_once(c);
        pthread_mutex_unlock(&c->mutex);
    }
    pthread_mutex_lock(&c->mutex);
    report_now(c, true);
    pthread_mutex_unlock(&c->mutex);
    return NULL;
}

// What status.json holds, by the thread of the scribe; NULL: somebody else writes it.
static json_t *make_status(void *context) {
    Control *c = context;
    if (c->alarm == NULL || !c->owns_run) return NULL;
    pthread_mutex_lock(&c->mutex);
    json_t *status = alarm_speaks(c->alarm, clock_now())
                         ? alarm_status(c->alarm, c->settings.train.steps, c->line, c->good)
                         : NULL;
    if (status != NULL) json_object_set_new(status, "ended", json_boolean(c->stop));
    pthread_mutex_unlock(&c->mutex);
    return status;
}

// ---- opening ------------------------------------------------------------------------------------

static void number_hosts(Control *c) {
    for (int i = 0; i < c->world; ++i) {
        // Ranks of a host mostly follow each other.
        int first = i > 0 && strcmp(c->hosts[i], c->hosts[i - 1]) == 0 ? c->host[i - 1] : 0;
        while (strcmp(c->hosts[first], c->hosts[i]) != 0) ++first;
        c->host[i] = first;
    }
}

// The deputy: on another host if there is one.
static void choose_centres(Control *c) {
    c->centre[0] = 0;
    c->centre[1] = c->world > 1 ? 1 : -1;
    for (int i = c->world - 1; i > 0; --i)
        if (c->host[i] != c->host[0]) c->centre[1] = i;
}

static Status open_wire(Control *c, Comm *comm) {
    if (c->world == 1) return STATUS_OK;
    int port = c->settings.control.port;
    WirePeer me = {.pid = getpid()};
    Status status =
        wire_open(c->one_host, port == 0 ? 0 : port + comm_local_rank(comm), &me, &c->wire);
    // Without encryption there is no connection; a port that was asked for and is not free is a
    // mistake in the configuration.
    if (status != STATUS_BUSY && status != STATUS_OK) {
        console_warn(error_get()->text);
        error_clear();
        status = STATUS_OK;
    }
    TRY(comm_share_status(comm, status));
    TRY(comm_gather(comm, &me, sizeof me, c->peers));
    for (int i = 0; i < WIRE_CENTRES; ++i)
        if (c->centre[i] >= 0 && c->peers[c->centre[i]].port == 0) c->centre[i] = -1;
    return c->wire == NULL ? STATUS_OK : wire_connect(c->wire, c->peers, c->rank, c->centre);
}

static Status open_all(Control *c, Comm *comm) {
    const ControlConfig *config = &c->settings.control;
    size_t world = (size_t)c->world;
    c->peers = calloc(world, sizeof *c->peers);
    c->host = calloc(world, sizeof *c->host);
    c->hosts = calloc(world, sizeof *c->hosts);
    FAIL_IF(c->peers == NULL || c->host == NULL || c->hosts == NULL, NO_MEMORY,
            "no memory to watch %d ranks", c->world);
    for (int i = 0; i < c->world; ++i)
        snprintf(c->hosts[i], sizeof *c->hosts, "%s", comm_host_of(comm, i));
    c->one_host = comm_local_world(comm) == c->world;
    c->peers[c->rank].pid = getpid();
    number_hosts(c);
    choose_centres(c);
    TRY(open_wire(c, comm));
    c->every = fmax(0.25, c->world / 2000.0);
    c->opened = clock_now();
    if (is_centre(c, 0) || is_centre(c, 1)) {
        c->watch = watch_open(c->world, c->rank, c->host, fmax(4, 8 * c->every), config->patience,
                              c->opened);
        FAIL_IF(c->watch == NULL, NO_MEMORY, "no memory to watch %d ranks", c->world);
        AlarmConfig alarm = {.watch = c->watch,
                             .wire = c->wire,
                             .peers = c->peers,
                             .hosts = c->hosts,
                             .one_host = c->one_host,
                             .run_dir = c->settings.run.dir,
                             .grace = config->grace};
        TRY(alarm_open(&alarm, &c->alarm));
    }
    return STATUS_OK;
}

static void control_free(Control *c) {
    wire_close(c->wire);
    alarm_close(c->alarm);
    watch_close(c->watch);
    free(c->peers);
    free(c->host);
    free(c->hosts);
    pthread_mutex_destroy(&c->mutex);
    free(c);
}

static Status start_threads(Control *c) {
    TRY(scribe_open(c->settings.run.dir, make_status, c, &c->scribe));
    c->has_thread = thread_start(&c->thread, "dye-control", NULL, run, c) == 0;
    FAIL_IF(!c->has_thread, NO_MEMORY, "no thread to watch the ranks");
    return STATUS_OK;
}

Status control_open(Comm *comm, const RunSettings *settings) {
    Control *c = calloc(1, sizeof *c);
    FAIL_IF(c == NULL, NO_MEMORY, "no memory to watch the ranks");
    c->settings = *settings;
    c->rank = comm_rank(comm);
    c->world = comm_world(comm);
    c->launcher = launcher_find();
    pthread_mutex_init(&c->mutex, NULL);
    control = c;
    TRY(open_all(c, comm));
    if (blackbox_open(settings->run.dir, c->rank, c->world, comm_host(comm)) != STATUS_OK) {
        console_warn(error_get()->text);
        error_clear();
    }
    return start_threads(c);
}

void control_close(void) {
    Control *c = control;
    if (c == NULL) return;
    control = NULL;
    c->stop = true;
    if (c->has_thread) pthread_join(c->thread, NULL);
    blackbox_close();
    if (scribe_close(c->scribe)) control_free(c);
}

void control_own_run(void) {
    if (control != NULL) control->owns_run = true;
}

bool control_is_watched(void) {
    return control != NULL && control->watched;
}

static void set_text(char *to, size_t bytes, const char *text) {
    pthread_mutex_lock(&control->mutex);
    snprintf(to, bytes, "%s", text);
    pthread_mutex_unlock(&control->mutex);
}

void control_progress(const char *line) {
    if (control != NULL) set_text(control->line, sizeof control->line, line);
}

void control_good_checkpoint(const char *path) {
    if (control != NULL) set_text(control->good, sizeof control->good, path);
}
