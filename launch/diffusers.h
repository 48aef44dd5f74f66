// The folder that diffusers reads a DiT from: FOLDER/transformer and FOLDER/scheduler, each by
// from_pretrained(FOLDER, subfolder=...).
#pragma once

#include "base/file.h"
#include "trainer/engine.h"
#include "trainer/trainer.h"

// Makes the folder with its two configurations; *weights is the path at which its weights belong.
// Errors: BAD_CONFIG (a process that no scheduler of theirs draws from: ddpm and flow are), IO.
Status diffusers_write(const char *folder, const RunSettings *settings, const Engine *engine,
                       char weights[PATH_BYTES]);
// Where such a folder has its weights: FOLDER/transformer, or FOLDER itself. NOT_FOUND.
Status diffusers_find(const char *folder, char weights[PATH_BYTES]);
