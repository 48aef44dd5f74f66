// TensorBoard's event files: TFRecord frames of protobuf messages. A file is only appended to while
// the run that opened it lives; whoever goes on opens a new one, since what follows a torn record
// is never read.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/status.h"

// One framed record each, printed to `file` (memory, so that it goes to disk in one write).
void event_version(FILE *file, double wall, int64_t step); // the first of every file
// Points of this file from `step` on take the place of earlier ones; the second of every file.
void event_start(FILE *file, double wall, int64_t step);
void event_scalar(FILE *file, double wall, int64_t step, const char *tag, double value);
void event_text(FILE *file, double wall, int64_t step, const char *tag, const char *markdown);
// A PNG file's bytes. Nothing where they are none.
void event_image(FILE *file, double wall, int64_t step, const char *tag, const void *png,
                 size_t bytes);

// What the HPARAMS page compares runs by: once a run, and its end. A text that is NULL: a number.
typedef struct {
    const char *name, *text;
    double number;
} EventParameter;
void event_parameters(FILE *file, double wall, const EventParameter *list, int count);
void event_success(FILE *file, double wall);

uint32_t event_crc(const void *data, size_t bytes); // CRC32C, not masked
