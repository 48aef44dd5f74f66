// Data sets that some nodes have and others have not: who has what, and servers and clients of
// shards between them (launch/share/wire_share.h), so that training starts at once and the order of
// samples does not depend on where the data lie.
//
//   share_survey   all ranks tell what they see; those without an index get it over MPI
//   share_start    ranks with the data open a server (one a host), all open a client of other hosts
//   share_end      all ranks, once no more data are needed
//
// A rank has a data set if it sees its index and all shards (of up to 4096; more are not looked
// at). Where all ranks have everything, nothing is opened.
#pragma once

#include "comm/comm.h"
#include "data/dataset_index.h"
#include "launch/share/wire_share.h"
#include "trainer/trainer.h"

typedef struct Share Share;

enum { SHARE_PATH_BYTES = 1024 };
// The folders of data.path, which commas separate (dataset_part_path). Errors: BAD_CONFIG (none, or
// more than SHARE_FOLDERS_MOST).
Status share_split_paths(const char *list, char out[SHARE_FOLDERS_MOST][SHARE_PATH_BYTES],
                         int *count);

// All ranks together. *out is the caller's to close, also after a failure, which all ranks return.
// `comm` and `settings` are lent until then.
Status share_survey(Comm *comm, const RunSettings *settings, Share **out);
// All ranks together; errors are agreed: BUSY (a port is taken), COMM, NO_MEMORY.
Status share_start(Share *share);
// All ranks together, after a run that ended well: how much was fetched by all of them. Afterwards
// no fetch succeeds, so that no rank waits for a server that has gone.
Status share_end(Share *share, ShareTotals *totals);
void share_stop(Share *share);  // of this rank alone: no fetch succeeds; NULL is fine
void share_close(Share *share); // nobody may fetch any more; NULL is fine

int share_paths(const Share *share);
const char *share_path(const Share *share, int p);
// This rank's index of a data set: its own, or that which came over MPI. The caller closes it.
// Errors: NOT_FOUND (says what to do), BAD_DATA.
Status share_load(const Share *share, int p, DatasetIndex *out);
// data.order: auto becomes what the data call for, the same on all ranks; others stay. Errors:
// those of share_load.
Status share_choose_order(const Share *share, char order[8]);
// Writes the index of each data set to FOLDER/0/index.json, FOLDER/1/index.json, ..., and no other
// follows: what a run's model needs to know of its data. Errors: IO, and those of share_load.
Status share_keep_indexes(const Share *share, const char *folder);
// Whether some ranks have a data set and others get it from them. *check then names this rank's
// index, down to the layout of its shards, on which servers and clients must agree.
bool share_is_needed(const Share *share, int p, uint64_t *check);
// "on n1; served to n2, n3"; of several data sets each that is served, with its path. "": none.
void share_describe(const Share *share, char *out, size_t bytes);
// For dataset_open; NULL: this rank has everything, and no other host could mend it. Lent until
// share_close.
const DatasetFetch *share_fetch(const Share *share);
