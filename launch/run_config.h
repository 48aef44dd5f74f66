// RunSettings from outside: the one table of all keys, files, overrides, rules between keys.
#pragma once

#include <stdio.h>

#include "trainer/trainer.h"

// Defaults, then the YAML file, then "key=value" overrides, a later one winning; then the rules
// between keys. Errors: BAD_CONFIG naming file and line (or the command line), NOT_FOUND.
Status run_config_read(const char *path, char *const *overrides, int count, RunSettings *out);
// As YAML with every key; reads back to the same values. The caller frees.
Status run_config_format(const RunSettings *settings, char **text);
// Of the key `prefix`, or of those below it: "optim"; "": all. False: there are none.
bool run_config_print_help(const char *prefix, FILE *out);
void run_config_print_markdown(FILE *out); // all of them
// Calls `tell` for each key, in the order of the table.
void run_config_keys(void (*tell)(void *context, const char *key, const char *usual,
                                  const char *help),
                     void *context);

// An order of samples that is left to the data (data.order auto) is that of the run that goes on,
// if the run folder holds a checkpoint.
Status run_config_keep_order(RunSettings *settings);
// If the run folder holds a checkpoint: compares with RUN/config.yaml. A changed key that may not
// change at a resume is BAD_CONFIG with the list of all of them.
Status run_config_check_resume(const RunSettings *settings);
// Calls `tell` for each key whose values differ, in the order of the table.
void run_config_diff(const RunSettings *a, const RunSettings *b,
                     void (*tell)(void *context, const char *key, const char *a, const char *b),
                     void *context);
// The keys that may not change, and their values.
void run_config_fixed(const RunSettings *settings,
                      void (*tell)(void *context, const char *key, const char *value),
                      void *context);
uint64_t run_config_fixed_hash(const RunSettings *settings);
