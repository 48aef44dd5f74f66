// The parameter table and the initial values.
#include "model/params.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"

void params_init(Params *params) {
    *params = (Params){.prefix = ""};
}

void params_close(Params *params) {
    free(params->list);
    *params = (Params){0};
}

int64_t params_add(Params *params, Param param, const char *name_format, ...) {
    REQUIRE(params->part_size == 0);
    REQUIRE(param.dims >= 1 && param.dims <= 4);
    param.offset = params->size;
    param.size = 1;
    for (int i = 0; i < param.dims; ++i) {
        REQUIRE(param.dim[i] >= 1 && param.dim[i] <= ((int64_t)1 << 40) / param.size);
        param.size *= param.dim[i];
    }
    va_list list;
    va_start(list, name_format);
    int first = snprintf(param.name, sizeof param.name, "%s", params->prefix);
    int length =
        vsnprintf(param.name + first, sizeof param.name - (size_t)first, name_format, list);
    va_end(list);
    REQUIRE(length > 0 && first + length < PARAM_NAME_BYTES);
    REQUIRE(params_find(params, param.name) == NULL);

    Param *grown = realloc(params->list, ((size_t)params->count + 1) * sizeof *grown);
    REQUIRE(grown != NULL);
    params->list = grown;
    params->list[params->count++] = param;
    params->size += param.size;
    return param.offset;
}

void params_finish(Params *params) {
    REQUIRE(params->size > 0 && params->part_size == 0);
    int64_t step = (int64_t)PART_UNIT * PARTS_MOST;
    params->part_size = PART_UNIT * ((params->size + step - 1) / step);
    params->parts = (int)((params->size + params->part_size - 1) / params->part_size);
}

void params_part(const Params *params, int part, int64_t *begin, int64_t *end) {
    REQUIRE(part >= 0 && part < params->parts);
    *begin = part * params->part_size;
    *end = *begin + params->part_size;
    if (*end > params->size) *end = params->size;
}

static float init_value(const Param *param, uint32_t bits) {
    switch (param->init) {
    case INIT_ZERO: return 0.0f;
    case INIT_NORMAL: return param->scale * rng_normal(bits);
    case INIT_UNIFORM: return param->scale * (2.0f * rng_uniform(bits) - 1.0f);
    case INIT_CONSTANT: return param->scale;
    }
    REQUIRE(false);
}

// Elements [begin, end) of one tensor.
static void draw_tensor(const Param *param, RngKey key, uint64_t number, int64_t begin, int64_t end,
                        float *out) {
    uint32_t bits[4];
    for (int64_t e = begin; e < end; ++e) {
        if (e == begin || e % 4 == 0) rng_block(key, number, (uint32_t)(e / 4), bits);
        *out++ = init_value(param, bits[e % 4]);
    }
}

void params_draw(const Params *params, uint64_t seed, int64_t begin, int64_t end, float *out) {
    REQUIRE(begin >= 0 && begin <= end && end <= params->size);
    RngKey key = rng_key(seed, RNG_INIT, 0);
    for (int i = 0; i < params->count; ++i) {
        const Param *param = &params->list[i];
        int64_t from = begin > param->offset ? begin : param->offset;
        int64_t to = end < param->offset + param->size ? end : param->offset + param->size;
        if (from >= to) continue;
        draw_tensor(param, key, (uint64_t)i, from - param->offset, to - param->offset,
                    out + (from - begin));
    }
}

const Param *params_find(const Params *params, const char *name) {
    for (int i = 0; i < params->count; ++i)
        if (strcmp(params->list[i].name, name) == 0) return &params->list[i];
    return NULL;
}
