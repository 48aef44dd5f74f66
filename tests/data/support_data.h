// Small sources and datasets for the tests of data/.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "data/dataset_index.h"

enum { SUPPORT_SIDE = 28, SUPPORT_PIXELS = SUPPORT_SIDE * SUPPORT_SIDE };

// Pixel and label of made-up picture i of a split (0 train, 1 test).
uint8_t support_pixel(int split, int64_t i, int64_t pixel);
uint8_t support_label(int split, int64_t i);
// A folder of plain IDX files with such pictures.
void support_write_images(const char *folder, int64_t train, int64_t test);
void support_write_file(const char *path, const void *data, size_t bytes);
char *support_read_file(const char *path, size_t *bytes); // the caller frees
void support_flip_byte(const char *path, long at); // its lowest bit; from the end if negative
// "folder/name", in one of 64 static buffers.
const char *support_path(const char *folder, const char *name);
// Packs or ends the program with the message.
void support_pack(const char *source, const char *out);
// A shard with all `items` of a column, as index.json describes it so far; its entry and the
// content hash.
void support_write_column(const char *out, DatasetIndex *index, int split, int column,
                          const void *items);
// All of a column of a split, behind `lead` free bytes; *bytes counts both. The caller frees.
uint8_t *support_read_column(const char *path, const char *split, const char *column, size_t lead,
                             size_t *bytes);

// Expects that both folders hold the files of a, at least so many, with the same bytes.
void support_same_folders(const char *a, const char *b, int at_least);
