// Algorithms of a GPU's matrix products, chosen once a run: rank 0 measures them, all ranks take
// its choice, and it stays with the run.
//
//   RUN/products.txt     for people, and for a run that has no checkpoint of this GPU yet: it takes
//                        what is there; without this file it measures anew
//   facts of a manifest  "products": what the run goes on with, wherever its checkpoint lies
#pragma once

#include "trainer/trainer.h"

// RunContext.prepare. A run that goes on on the same kind of GPU takes its checkpoint's choice, or
// none where that has none. Any other takes RUN/products.txt if it is of this GPU and library, and
// measures what is not in it by one grain of rank 0. Errors: BAD_DATA (a choice is damaged),
// whatever the device returns.
Status products_settle(const RunView *view);
// "34 measured, choice 5f3a91c2d4e5f607"; without a choice, which for a CPU is always so: false.
bool products_describe(const Device *device, char *out, size_t bytes);
// Writes RUN/products.txt, if there is a choice.
Status products_keep(const Device *device, const char *run_dir);
