// Faults on demand behind launch/drill.h.
#include "launch/drill.h"

#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "launch/watch/recorder.h"

const char *drill_word(const char *name) {
    static _Thread_local char value[256];
    size_t length = strlen(name);
    const char *at = getenv("DYE_DRILL");
    while (at != NULL && *at != '\0') {
        size_t word = strcspn(at, ";");
        bool is_it = word >= length && strncmp(at, name, length) == 0 &&
                     (word == length || at[length] == '=');
        if (is_it) {
            size_t skip = word == length ? length : length + 1;
            snprintf(value, sizeof value, "%.*s", (int)(word - skip), at + skip);
            return value;
        }
        at += word + (at[word] == ';');
    }
    return NULL;
}

// ---- phases -------------------------------------------------------------------------------------

typedef struct {
    bool armed;
    char phase[16];
    int64_t step;
} PhaseDrill;

static PhaseDrill stop_drill, hang_drill, spin_drill;
static char slow_phase[16];
static int slow_ms;

static void arm(PhaseDrill *drill, const char *name, int rank) {
    const char *text = drill_word(name);
    int whose;
    drill->armed = text != NULL &&
                   sscanf(text, "%d@%15[a-z]:%" SCNd64, &whose, drill->phase, &drill->step) == 3 &&
                   whose == rank;
}

static bool strikes(PhaseDrill *drill, Phase phase, int64_t step) {
    if (!drill->armed || step < drill->step || strcmp(drill->phase, phase_word(phase)) != 0)
        return false;
    drill->armed = false;
    return true;
}

static void on_phase(Phase phase, int64_t step) {
    if (slow_ms > 0 && strcmp(slow_phase, phase_word(phase)) == 0)
        usleep((useconds_t)slow_ms * 1000);
    if (strikes(&stop_drill, phase, step)) raise(SIGSTOP);
    if (strikes(&spin_drill, phase, step))
        for (double end = clock_now() + 28; clock_now() < end;) {
        }
    if (strikes(&hang_drill, phase, step))
        for (;;) pause();
}

void drill_open(int rank) {
    arm(&stop_drill, "stop", rank);
    arm(&hang_drill, "hang", rank);
    arm(&spin_drill, "spin", rank);
    const char *slow = drill_word("slow");
    int whose, ms;
    if (slow != NULL && sscanf(slow, "%d@%15[a-z]:%d", &whose, slow_phase, &ms) == 3 &&
        whose == rank)
        slow_ms = ms;
    if (stop_drill.armed || hang_drill.armed || spin_drill.armed || slow_ms > 0)
        journal_set_hook(on_phase);
}

// ---- numbers ------------------------------------------------------------------------------------

static bool is_number(const char *word, int64_t number) {
    const char *text = drill_word(word);
    return text != NULL && strtoll(text, NULL, 10) == number;
}

static void plant_nan(const DrillPlace *place) {
    static const float nan = NAN;
    stream_upload(place->stream, place->number, &nan, sizeof nan);
}

static void flip_bit(const DrillPlace *place) {
    uint32_t bits;
    stream_download(place->stream, &bits, place->number, sizeof bits);
    if (stream_wait(place->stream) != STATUS_OK) return;
    bits ^= 1u << 12;
    stream_upload(place->stream, place->number, &bits, sizeof bits);
    (void)!stream_wait(place->stream);
}

static void drill(const DrillPlace *place) {
    static bool is_done;
    const char *once = drill_word("flip"), *always = drill_word("flips");
    const char *text = once != NULL ? once : always;
    int rank = -1;
    int64_t step = -1;
    switch (place->point) {
    case DRILL_LOSS: break;
    case DRILL_GRADIENT:
        if (is_number("nan", (int64_t)place->sample)) plant_nan(place);
        // Rank 0 is asked about the first grain first.
        if (!is_done && place->rank == 0 && is_number("nan-step", place->step)) {
            is_done = true;
            plant_nan(place);
        }
        break;
    case DRILL_WEIGHT:
        if (text == NULL || sscanf(text, "%d@%" SCNd64, &rank, &step) != 2) return;
        if (rank != place->rank || place->step < step || (text == once && is_done)) return;
        is_done = true;
        flip_bit(place);
        break;
    }
}

void (*drill_choose(void))(const DrillPlace *place) {
    static const char *const words[] = {"nan", "nan-step", "flip", "flips"};
    for (size_t i = 0; i < sizeof words / sizeof *words; ++i)
        if (drill_word(words[i]) != NULL) return drill;
    return NULL;
}
