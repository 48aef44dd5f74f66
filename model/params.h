// The parameter table: where every trained number sits in one flat fp32 vector.
//
// The vector is cut into fixed *parts* of `part_size` elements (a multiple of 64 Ki that depends on
// the number of parameters only): the unit of ownership (ZeRO-1), reduction, norm, fingerprint and
// checkpoint. Tensors lie one behind the other in the order in which they were added, with no gaps.
#pragma once

#include <stdint.h>

#include "base/status.h"

enum { PARAM_NAME_BYTES = 64, PART_UNIT = 65536, PARTS_MOST = 256 };

typedef enum {
    INIT_ZERO,
    INIT_NORMAL,  // scale * normal
    INIT_UNIFORM, // uniform in [-scale, scale]
    INIT_CONSTANT // scale
} InitKind;

typedef struct {
    char name[PARAM_NAME_BYTES]; // "blocks.0.attn.qkv.weight": the names of the original DiT
    int dims;
    int64_t dim[4];
    int64_t offset, size; // in elements
    InitKind init;
    float scale;
    bool decay; // weight decay applies (matrices)
} Param;

typedef struct {
    Param *list;
    int count;
    int64_t size;      // elements of all tensors
    int64_t part_size; // set by params_finish
    int parts;
    const char *prefix; // of the names to come
} Params;

void params_init(Params *params);
void params_close(Params *params);

// Adds a tensor and returns its offset; of `param` the fields dims, dim, init, scale and decay
// count. Aborts (REQUIRE) on a repeated name.
int64_t params_add(Params *params, Param param, const char *name_format, ...)
    __attribute__((format(printf, 3, 4)));

void params_finish(Params *params); // fixes the parts; nothing may be added afterwards

// Element range [*begin, *end) of a part; the last one may be short.
void params_part(const Params *params, int part, int64_t *begin, int64_t *end);

// Initial values of elements [begin, end) into out[end-begin]: a pure function of (seed, tensor
// number, element).
void params_draw(const Params *params, uint64_t seed, int64_t begin, int64_t end, float *out);

const Param *params_find(const Params *params, const char *name); // NULL if absent
