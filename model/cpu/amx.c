// Blocks of 32 x 32 results behind model/cpu/amx.h: pack, multiply on tiles, finish.
//
// A tile is 16 rows of 64 bytes. Of op(a) it holds [16 rows][32 k]; of op(b) [16 pairs of k][16
// columns][2]. Seen as 32-bit pairs of k, the second is the transpose of what the first would hold
// of the same numbers, so one way of loading serves both.
#include "model/cpu/amx.h"

#include <immintrin.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/status.h"

enum {
    SIDE = 16,         // rows and pairs of a tile
    DEEP = 32,         // k of a tile
    BLOCK = 32,        // rows and columns of results at a time
    TILE = 1024,       // bytes
    STEP = 2 * TILE,   // of an operand: two tiles, 32 lines of 32 k
    DEPTH_MOST = 4096, // k
    ROWS_BYTES = DEPTH_MOST / DEEP * STEP,
    COLUMNS_BYTES = 1 << 20, // half of the second cache
};

struct AmxRoom {
    _Alignas(64) unsigned char rows[ROWS_BYTES];       // 32 of them, packed
    _Alignas(64) unsigned char columns[COLUMNS_BYTES]; // as many as have room
    _Alignas(64) float block[BLOCK * BLOCK];
};

bool amx_open(void) {
    enum { ARCH_REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 };
    __builtin_cpu_init();
    unsigned a, b, c, d;
    __asm__("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(7), "c"(0));
    bool here = (d >> 22 & 1) && (d >> 24 & 1); // AMX-BF16, AMX-TILE
    __asm__("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(7), "c"(1));
    here = here && (a >> 5 & 1) && __builtin_cpu_supports("avx512bw"); // AVX512-BF16
    return here && syscall(SYS_arch_prctl, ARCH_REQUEST_PERMISSION, TILE_DATA) == 0;
}

AmxRoom *amx_room_open(void) {
    return aligned_alloc(64, sizeof(AmxRoom));
}

void amx_room_close(AmxRoom *room) {
    free(room);
}

// ---- packing ----------------------------------------------------------------------------------

// A matrix as it is stored: `along` says that k runs along its rows, else rows are of one k; `flip`
// that its lines (rows of op(a), columns of op(b)) stand the other way round in a tile.
typedef struct {
    const uint16_t *numbers;
    int64_t ld, depth, lines; // distance of rows; k; how many lines there are
    bool along, flip;
} Source;

static inline uint32_t mask_of(int64_t left) {
    return left >= DEEP ? UINT32_MAX : left <= 0 ? 0 : (1u << left) - 1;
}

// 16 lines of 16 pairs: element i of line j goes to element j of line i.
static inline void transpose(__m512i x[SIDE]) {
    __m512i y[SIDE];
    for (int i = 0; i < SIDE; i += 2) {
        y[i] = _mm512_unpacklo_epi32(x[i], x[i + 1]);
        y[i + 1] = _mm512_unpackhi_epi32(x[i], x[i + 1]);
    }
    for (int i = 0; i < SIDE; i += 4)
        for (int k = 0; k < 2; ++k) {
            x[i + 2 * k] = _mm512_unpacklo_epi64(y[i + k], y[i + 2 + k]);
            x[i + 2 * k + 1] = _mm512_unpackhi_epi64(y[i + k], y[i + 2 + k]);
        }
    for (int i = 0; i < SIDE; i += 8)
        for (int k = 0; k < 4; ++k) {
            y[i + k] = _mm512_shuffle_i32x4(x[i + k], x[i + 4 + k], 0x88);
            y[i + 4 + k] = _mm512_shuffle_i32x4(x[i + k], x[i + 4 + k], 0xDD);
        }
    for (int k = 0; k < 4; ++k) {
        x[k] = _mm512_shuffle_i32x4(y[k], y[8 + k], 0x88);
        x[8 + k] = _mm512_shuffle_i32x4(y[k], y[8 + k], 0xDD);
        x[4 + k] = _mm512_shuffle_i32x4(y[4 + k], y[12 + k], 0x88);
        x[12 + k] = _mm512_shuffle_i32x4(y[4 + k], y[12 + k], 0xDD);
    }
}

// Pairs of k, from `k` on, of 16 lines from `line` on; zeros beyond the last of either.
static inline void tile_load(Source s, int64_t line, int64_t k, __m512i out[SIDE]) {
    for (int i = 0; i < SIDE; ++i) {
        if (s.along) {
            uint32_t mask = line + i < s.lines ? mask_of(s.depth - k) : 0;
            out[i] = _mm512_maskz_loadu_epi16(mask, s.numbers + (line + i) * s.ld + k);
            continue;
        }
        int64_t row = k + 2 * i;
        const uint16_t *at = s.numbers + row * s.ld + line;
        __mmask16 mask = (__mmask16)mask_of(s.lines - line);
        __m256i first = _mm256_maskz_loadu_epi16(row < s.depth ? mask : 0, at);
        __m256i second = _mm256_maskz_loadu_epi16(row + 1 < s.depth ? mask : 0, at + s.ld);
        out[i] = _mm512_or_si512(_mm512_cvtepu16_epi32(first),
                                 _mm512_slli_epi32(_mm512_cvtepu16_epi32(second), 16));
    }
    if (s.flip) transpose(out);
}

// 32 lines from `line` on, as block_multiply reads them: [k / 32][2 tiles].
static inline void lines_pack(Source s, int64_t line, unsigned char *to) {
    for (int64_t k = 0; k < s.depth; k += DEEP)
        for (int i = 0; i < 2; ++i, to += TILE) {
            __m512i x[SIDE];
            tile_load(s, line + i * SIDE, k, x);
            for (int r = 0; r < SIDE; ++r) _mm512_store_si512(to + r * 64, x[r]);
        }
}

// The four kinds, so that each is a loop of its own.
static void panel_pack(Source s, int64_t line, unsigned char *to) {
    if (s.along && s.flip)
        lines_pack((Source){s.numbers, s.ld, s.depth, s.lines, true, true}, line, to);
    else if (s.along)
        lines_pack((Source){s.numbers, s.ld, s.depth, s.lines, true, false}, line, to);
    else if (s.flip)
        lines_pack((Source){s.numbers, s.ld, s.depth, s.lines, false, true}, line, to);
    else
        lines_pack((Source){s.numbers, s.ld, s.depth, s.lines, false, false}, line, to);
}

// Asks the memory for a share of the panel that is packed next: what comes from the third cache
// would be waited for line by line.
static void panel_prefetch(Source s, int64_t line, int64_t part, int64_t parts) {
    int64_t rows = s.along ? BLOCK : s.depth, columns = s.along ? s.depth : BLOCK;
    const uint16_t *first = s.numbers + (s.along ? line * s.ld : line);
    for (int64_t r = rows * part / parts; r < rows * (part + 1) / parts; ++r)
        for (int64_t i = 0; i < columns; i += 32)
            _mm_prefetch((const char *)(first + r * s.ld + i), _MM_HINT_T1);
}

// ---- multiplying ------------------------------------------------------------------------------

// Eight whole tiles. Not built on the stack: gcc believes that loading it reads eight bytes only.
static const struct {
    uint8_t palette, start, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} tiles = {1, 0, {0}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};

static void block_multiply(const unsigned char *a, const unsigned char *b, int64_t steps,
                           float *out) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int64_t k = 0; k < steps; ++k, a += STEP, b += STEP) {
        _tile_loadd(4, a, 64);
        _tile_loadd(6, b, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, b + TILE, 64);
        _tile_dpbf16ps(1, 4, 7);
        _tile_loadd(5, a + TILE, 64);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, out, BLOCK * 4);
    _tile_stored(1, out + SIDE, BLOCK * 4);
    _tile_stored(2, out + SIDE * BLOCK, BLOCK * 4);
    _tile_stored(3, out + SIDE * BLOCK + SIDE, BLOCK * 4);
}

// ---- finishing --------------------------------------------------------------------------------

// 32 numbers of a row from `at` on; those beyond the mask are zero, or are not written.
typedef struct {
    __m512 low, high;
} Row;

static inline Row row_get(const void *x, bool half, int64_t at, __mmask32 mask) {
    if (!half)
        return (Row){_mm512_maskz_loadu_ps((__mmask16)mask, (const float *)x + at),
                     _mm512_maskz_loadu_ps((__mmask16)(mask >> 16), (const float *)x + at + 16)};
    __m512i bits = _mm512_maskz_loadu_epi16(mask, (const uint16_t *)x + at);
    __m512i low = _mm512_cvtepu16_epi32(_mm512_castsi512_si256(bits));
    __m512i high = _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(bits, 1));
    return (Row){_mm512_castsi512_ps(_mm512_slli_epi32(low, 16)),
                 _mm512_castsi512_ps(_mm512_slli_epi32(high, 16))};
}

static inline void row_put(void *x, bool half, int64_t at, __mmask32 mask, Row row) {
    if (half) {
        __m512i bits = (__m512i)_mm512_cvtne2ps_pbh(row.high, row.low);
        _mm512_mask_storeu_epi16((uint16_t *)x + at, mask, bits);
    } else {
        _mm512_mask_storeu_ps((float *)x + at, (__mmask16)mask, row.low);
        _mm512_mask_storeu_ps((float *)x + at + 16, (__mmask16)(mask >> 16), row.high);
    }
}

static inline Row row_add(Row a, Row b) {
    return (Row){_mm512_add_ps(a.low, b.low), _mm512_add_ps(a.high, b.high)};
}

// 1 / (1 + 2^-t) to about two units in the last place: a polynomial for the fraction of 2^-t, and
// a reciprocal of 14 bits improved once.
static inline __m512 sigmoid_of_two(__m512 t) {
    static const float series[] = {1.5403530e-4f, 1.3333558e-3f, 9.6181291e-3f,
                                   5.5504109e-2f, 2.4022651e-1f, 6.9314718e-1f};
    __m512 x = _mm512_max_ps(_mm512_sub_ps(_mm512_setzero_ps(), t), _mm512_set1_ps(-126.0f));
    x = _mm512_min_ps(x, _mm512_set1_ps(126.0f));
    __m512 whole = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 r = _mm512_sub_ps(x, whole), power = _mm512_set1_ps(series[0]);
    for (int i = 1; i < 6; ++i) power = _mm512_fmadd_ps(power, r, _mm512_set1_ps(series[i]));
    power = _mm512_scalef_ps(_mm512_fmadd_ps(power, r, _mm512_set1_ps(1.0f)), whole);
    __m512 below = _mm512_add_ps(power, _mm512_set1_ps(1.0f)), s = _mm512_rcp14_ps(below);
    return _mm512_mul_ps(s, _mm512_fnmadd_ps(below, s, _mm512_set1_ps(2.0f)));
}

// As kernels/activation.h: x sigmoid(v) with v = x for SiLU, x (c0 + c1 x^2) for GELU, and
// s + x s (1 - s) v'.
static inline __m512 activate(Activation act, __m512 x, __m512 *slope) {
    const float log2_e = 1.44269504f, c0 = 1.59576912161f, c1 = 0.0713548162726f;
    __m512 one = _mm512_set1_ps(1.0f), inner = one, v = _mm512_set1_ps(log2_e);
    if (act == ACT_GELU) {
        __m512 square = _mm512_mul_ps(x, x);
        inner = _mm512_fmadd_ps(square, _mm512_set1_ps(3 * c1), _mm512_set1_ps(c0));
        v = _mm512_fmadd_ps(square, _mm512_set1_ps(c1 * log2_e), _mm512_set1_ps(c0 * log2_e));
    }
    __m512 s = sigmoid_of_two(_mm512_mul_ps(x, v)), y = _mm512_mul_ps(x, s);
    *slope = _mm512_fmadd_ps(_mm512_mul_ps(y, _mm512_sub_ps(one, s)), inner, s);
    return y;
}

static inline void row_activate(const Product *p, int64_t at, __mmask32 mask, Row x) {
    Row slope, y;
    y.low = activate(p->act, x.low, &slope.low);
    y.high = activate(p->act, x.high, &slope.high);
    row_put(p->slope, p->half_out, at, mask, slope);
    row_put(p->c, p->half_out, at, mask, y);
}

static void block_finish(const Product *p, int64_t row, int64_t column, const float *block) {
    int64_t rows = p->m - row < BLOCK ? p->m - row : BLOCK;
    __mmask32 mask = mask_of(p->n - column);
    Row bias = {_mm512_setzero_ps(), _mm512_setzero_ps()};
    if (p->bias != NULL) bias = row_get(p->bias, false, column, mask);
    for (int64_t r = 0; r < rows; ++r) {
        int64_t at = (row + r) * p->ldc + column;
        Row x = row_add(row_get(block, false, r * BLOCK, UINT32_MAX), bias);
        if (p->factor != NULL) {
            Row factor = row_get(p->factor, p->half_out, at, mask);
            x = (Row){_mm512_mul_ps(x.low, factor.low), _mm512_mul_ps(x.high, factor.high)};
        }
        if (p->accumulate) x = row_add(x, row_get(p->c, p->half_out, at, mask));
        if (p->act != ACT_NONE)
            row_activate(p, at, mask, x);
        else
            row_put(p->c, p->half_out, at, mask, x);
    }
}

// Likewise for what block_finish reads and writes.
static void block_prefetch(const Product *p, int64_t row, int64_t column) {
    int64_t size = p->half_out ? 2 : 4;
    const char *array[] = {p->c, p->factor, p->act != ACT_NONE ? p->slope : NULL};
    for (int i = 0; i < 3; ++i)
        for (int64_t r = row; array[i] != NULL && r < row + BLOCK && r < p->m; ++r)
            for (int64_t b = 0; b < BLOCK * size; b += 64)
                __builtin_prefetch(array[i] + (r * p->ldc + column) * size + b, 1, 2);
}

bool amx_takes(const Product *p) {
    return p->half_in && p->k <= DEPTH_MOST;
}

void amx_product(AmxRoom *room, const Product *p) {
    Source a = {p->a, p->lda, p->k, p->m, !p->transpose_a, p->transpose_a};
    Source b = {p->b, p->ldb, p->k, p->n, p->transpose_b, p->transpose_b};
    int64_t steps = (p->k + DEEP - 1) / DEEP, width = COLUMNS_BYTES / (steps * STEP) * BLOCK;
    _tile_loadconfig(&tiles);
    for (int64_t left = 0; left < p->n; left += width) {
        int64_t right = left + width < p->n ? left + width : p->n;
        int64_t panels = (right - left + BLOCK - 1) / BLOCK;
        for (int64_t j = 0; j < panels; ++j) {
            if (j + 1 < panels) panel_prefetch(b, left + (j + 1) * BLOCK, 0, 1);
            panel_pack(b, left + j * BLOCK, room->columns + j * steps * STEP);
        }
        for (int64_t i = 0; i < p->m; i += BLOCK) {
            panel_pack(a, i, room->rows);
            for (int64_t j = 0; j < panels; ++j) {
                block_prefetch(p, i, left + j * BLOCK);
                if (i + BLOCK < p->m) panel_prefetch(a, i + BLOCK, j, panels);
                block_multiply(room->rows, room->columns + j * steps * STEP, steps, room->block);
                block_finish(p, i, left + j * BLOCK, room->block);
            }
        }
    }
    _tile_release();
}
