// Engines with data and weights, for tests. All end the program on failure.
#pragma once

#include "comm/comm.h"
#include "data/dataset.h"
#include "trainer/engine.h"

// The initial weights plus uniform noise of this width, in device memory that the caller releases.
void *engine_draw(Engine *engine, float noise);

// A small network on the CPU, groups of 8, its data in a folder of the test's name.
typedef struct {
    Comm *comm;
    Dataset *data;
    Engine engine;
    void *weights; // in use
} SmallModel;

// An MLP of `system` in continuous time, opened for backward, with points of the Swiss roll; with
// dims = 1 for numbers instead, which no evaluation has. schedule NULL: the system's own.
void small_model_points(SmallModel *model, const char *test, const char *system,
                        const char *schedule, int dims, int streams, float noise);
// A DiT of a system on 27 letters in lines of 16; untrained, its logits are 0.
enum { LETTERS_STEPS = 7, LETTERS_LENGTH = 16, LETTERS_TEXT = 20000 };
void small_model_letters(SmallModel *model, const char *test, const char *system, int streams,
                         float noise);
void small_model_close(SmallModel *model);

// Multinomial in 7 steps: the term of time t of the untrained model's bound and its prior, in nats
// a letter: expectations over x_t, by enumeration.
double letters_term(int t);
double letters_prior(void);
