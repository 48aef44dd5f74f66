// What control threads write to each other.
#pragma once

#include "launch/watch/watch.h"

typedef enum {
    LETTER_REPORT, // to a centre: `report`
    LETTER_ALIVE,  // from a centre: it watches
    LETTER_LOOK,   // from a centre: what does /proc tell of rank `about`?
    LETTER_SEEN,   // the answer: `text`, and `report` from its journal if collective is not 0
    LETTER_END     // from a centre: leave
} LetterKind;

enum { LETTER_TEXT_BYTES = 512 };

// One size for all: what does not have it is no letter.
typedef struct {
    int32_t kind, from, about;
    Report report;
    char text[LETTER_TEXT_BYTES];
} Letter;
