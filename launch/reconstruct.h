// Held-out samples to noise and back: DDIM's inversion (arXiv 2010.02502, sec. 4.3 and 5.4).
#pragma once

#include "launch/trained.h"

// The first `count` samples of the opened split are inverted and drawn again, both by ddim in the
// sampler's steps, without label and guidance. *out: [2 count, item] as they were stored, each
// before what has become of it; malloc'ed, the caller frees. rms: of their difference in units of
// the data's deviation. Errors: BAD_USAGE (symbols, process.logit, too few samples), BAD_CONFIG.
Status reconstruct(Trained *trained, Comm *comm, const SamplerConfig *sampler, int64_t count,
                   float **out, double *rms);
