// Blocks of 32 x 32 results behind model/cpu/amx.h: pack, multiply on tiles, finish.
//
// A tile is 16 rows of 64 bytes. Of op(a) it holds [16 rows][32 k]; of op(b) [16 pairs of k][16
// columns][2]. Seen as 32-bit pairs of k, the second is the transpose of what the first would hold
// of the same numbers, so one way of loading serves both.
//
// An fp32 number is the sum of three bf16 numbers, its *planes*, each of which holds the next eight
// bits. Of the nine products of planes six matter to an fp32 result: what the other three would add
// is below 2^-24 of the product (as in Henry, Tang, Heinecke 2019, "Leveraging the bfloat16
// Artificial Intelligence Datatype For Higher-Precision Computations"). The sums are the tiles'
// own, in fp32, and come out closer to the truth than those of fp32 multiply-adds.
//
// The tiles work on their own once they are told to: the vector units do the *chores* meanwhile,
// a few instructions at a time between those for tiles.
#include "model/cpu/amx.h"

#include <immintrin.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/status.h"

enum {
    SIDE = 16,        // rows and pairs of a tile
    DEEP = 32,        // k of a tile
    BLOCK = 32,       // rows and columns of results at a time
    TILE = 1024,      // bytes
    PAIR = 2 * TILE,  // a plane of 32 lines and 32 k
    PLANES = 3,       // of an fp32 number
    HALF_MOST = 4096, // k at a time, of bf16
    WIDE_MOST = 512,  // of fp32
    // Between panels, so that what is packed and what is multiplied differ in the low twelve bits
    // of their addresses: a processor takes loads and stores that agree in those for the same
    // place.
    APART = 1088,
    ROWS_BYTES = HALF_MOST / DEEP * PAIR + APART,
    COLUMNS_BYTES = 5 << 18, // five eighths of the second cache
};

struct AmxRoom {
    _Alignas(64) unsigned char rows[2][ROWS_BYTES];    // 32 of them, packed; and the next 32
    _Alignas(64) unsigned char columns[COLUMNS_BYTES]; // as many as have room
    _Alignas(64) float sums[2][BLOCK * BLOCK];         // of this block, and of the one before
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
    const void *numbers;
    int64_t ld, lines, begin, end; // distance of rows; how many lines there are; which k
    bool half, along, flip;
} Source;

// For loops that the switches of a Source are to be constants in.
#define ALWAYS_INLINE static inline __attribute__((always_inline))

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
ALWAYS_INLINE void half_pack(Source s, int64_t line, int64_t k, unsigned char *to) {
    const uint16_t *numbers = s.numbers;
    __m512i out[SIDE];
    for (int i = 0; i < SIDE; ++i) {
        if (s.along) {
            uint32_t mask = line + i < s.lines ? mask_of(s.end - k) : 0;
            out[i] = _mm512_maskz_loadu_epi16(mask, numbers + (line + i) * s.ld + k);
            continue;
        }
        int64_t row = k + 2 * i;
        const uint16_t *at = numbers + row * s.ld + line;
        __mmask16 mask = (__mmask16)mask_of(s.lines - line);
        __m256i first = _mm256_maskz_loadu_epi16(row < s.end ? mask : 0, at);
        __m256i second = _mm256_maskz_loadu_epi16(row + 1 < s.end ? mask : 0, at + s.ld);
        out[i] = _mm512_or_si512(_mm512_cvtepu16_epi32(first),
                                 _mm512_slli_epi32(_mm512_cvtepu16_epi32(second), 16));
    }
    if (s.flip) transpose(out);
    for (int i = 0; i < SIDE; ++i) _mm512_store_si512(to + i * 64, out[i]);
}

// The nearest bf16, in the high half of each lane; what is left stays in x for the next plane.
static inline __m512i peel(__m512 *x) {
    __m512i up = _mm512_add_epi32(_mm512_castps_si512(*x), _mm512_set1_epi32(0x8000));
    __m512i top = _mm512_and_si512(up, _mm512_set1_epi32((int)0xFFFF0000));
    *x = _mm512_sub_ps(*x, _mm512_castsi512_ps(top));
    return top;
}

static inline void split_store(__m512i first, __m512i second, unsigned char *to) {
    __m512 x = _mm512_castsi512_ps(first), y = _mm512_castsi512_ps(second);
    for (int p = 0; p < PLANES; ++p) {
        __m512i low = _mm512_srli_epi32(peel(&x), 16);
        _mm512_store_si512(to + p * PAIR, _mm512_or_si512(low, peel(&y)));
    }
}

// Row i of a square of numbers: 16 k of line i, or 16 lines of k number i.
static inline __m512i square_row(Source s, int64_t line, int64_t k, int i) {
    int64_t row = s.along ? line + i : k + i, column = s.along ? k : line;
    int64_t rows = s.along ? s.lines : s.end, columns = s.along ? s.end : s.lines;
    __mmask16 mask = (__mmask16)(row < rows ? mask_of(columns - column) : 0);
    return _mm512_maskz_loadu_epi32(mask, (const float *)s.numbers + row * s.ld + column);
}

// The same of fp32, in planes. Here pairs are k and k + 16: any order of k will do that is the same
// for a and b.
ALWAYS_INLINE void wide_pack(Source s, int64_t line, int64_t k, unsigned char *to) {
    __m512i x[SIDE], y[SIDE];
    for (int i = 0; i < SIDE; ++i) {
        x[i] = square_row(s, line, k, i);
        y[i] = square_row(s, line, k + SIDE, i);
        if (!s.flip) split_store(x[i], y[i], to + i * 64);
    }
    if (!s.flip) return;
    transpose(x);
    transpose(y);
    for (int i = 0; i < SIDE; ++i) split_store(x[i], y[i], to + i * 64);
}

// Asks for 16 lines and 32 k: what comes from the third cache would be waited for line by line.
static inline void unit_prefetch(Source s, int64_t line, int64_t k) {
    int64_t size = s.half ? 2 : 4, rows = s.along ? SIDE : DEEP;
    const char *at = (const char *)s.numbers + (s.along ? line * s.ld + k : k * s.ld + line) * size;
    for (int64_t r = 0; r < rows; ++r, at += s.ld * size) {
        _mm_prefetch(at, _MM_HINT_T1);
        if (s.along && !s.half) _mm_prefetch(at + 64, _MM_HINT_T1);
    }
}

// The packing of 32 lines in units of 16 lines and 32 k, to where block_multiply reads them: [k /
// 32][plane][2 tiles].
typedef struct {
    Source s;
    int64_t line;
    unsigned char *to;
    int next, end; // units: two for 32 k
} Packing;

ALWAYS_INLINE void units_loop(Packing *w, Source s, int count) {
    int planes = s.half ? 1 : PLANES, end = w->next + count;
    for (int unit = w->next; unit < end; ++unit) {
        int64_t line = w->line + unit % 2 * SIDE, k = s.begin + unit / 2 * DEEP;
        unsigned char *to = w->to + unit / 2 * planes * PAIR + unit % 2 * TILE;
        if (s.half)
            half_pack(s, line, k, to);
        else
            wide_pack(s, line, k, to);
        if (line + BLOCK < s.lines) unit_prefetch(s, line + BLOCK, k); // of the 32 lines behind
    }
    w->next = end;
}

static __attribute__((noinline)) void units_pack(Packing *w, int count) {
    const Source s = w->s;
#define KIND(half_, along_, flip_)                                                                 \
    if (s.half == half_ && s.along == along_ && s.flip == flip_)                                   \
        return units_loop(                                                                         \
            w, (Source){s.numbers, s.ld, s.lines, s.begin, s.end, half_, along_, flip_}, count);
    KIND(true, true, true)
    KIND(true, true, false)
    KIND(true, false, true)
    KIND(true, false, false)
    KIND(false, true, true)
    KIND(false, true, false)
    KIND(false, false, true)
    KIND(false, false, false)
#undef KIND
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

// A block of sums on its way to c.
typedef struct {
    const Product *p;
    const float *sums;
    int64_t row, column;
    int next, end;  // rows of the block
    bool add, last; // c holds sums of lower k, or what to add to; no higher k comes
} Block;

static __attribute__((noinline)) void rows_finish(Block *w, int count) {
    const Product *p = w->p;
    bool factor = p->factor != NULL && w->last, act = p->act != ACT_NONE && w->last;
    __mmask32 mask = mask_of(p->n - w->column);
    Row bias = {_mm512_setzero_ps(), _mm512_setzero_ps()};
    if (p->bias != NULL && w->last) bias = row_get(p->bias, false, w->column, mask);
    int end = w->next + count;
    for (int r = w->next; r < end; ++r) {
        int64_t at = (w->row + r) * p->ldc + w->column;
        Row x = row_add(row_get(w->sums, false, r * BLOCK, UINT32_MAX), bias);
        if (w->add) x = row_add(x, row_get(p->c, p->half_out, at, mask));
        if (factor) {
            Row f = row_get(p->factor, p->half_out, at, mask);
            x = (Row){_mm512_mul_ps(x.low, f.low), _mm512_mul_ps(x.high, f.high)};
        }
        if (act)
            row_activate(p, at, mask, x);
        else
            row_put(p->c, p->half_out, at, mask, x);
    }
    w->next = end;
}

// Asks for what a row will read and write.
static inline void row_prefetch(const Product *p, int64_t at) {
    int64_t size = p->half_out ? 2 : 4;
    const char *array[] = {p->c, p->factor, p->act != ACT_NONE ? p->slope : NULL};
    for (int i = 0; i < 3; ++i)
        for (int64_t b = 0; array[i] != NULL && b < BLOCK * size; b += 64)
            __builtin_prefetch(array[i] + at * size + b, 1, 2);
}

// ---- multiplying ------------------------------------------------------------------------------

// What the vector units do while the tiles multiply: the block before, and what is read next.
typedef struct {
    Block block;
    Packing rows, columns;
} Chores;

static inline int share_of(int next, int end, int shares) {
    return (end - next + shares - 1) / shares;
}

// One of `shares` equal shares of what is left.
static inline void chores_do(Chores *w, int shares) {
    int rows = share_of(w->block.next, w->block.end, shares);
    int row_units = share_of(w->rows.next, w->rows.end, shares);
    int column_units = share_of(w->columns.next, w->columns.end, shares);
    if (rows > 0) rows_finish(&w->block, rows);
    if (row_units > 0) units_pack(&w->rows, row_units);
    if (column_units > 0) units_pack(&w->columns, column_units);
}

// Eight whole tiles. Not built on the stack: gcc believes that loading it reads eight bytes only.
static const struct {
    uint8_t palette, start, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} tiles = {1, 0, {0}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};

// Products of planes from the small to the large. bf16 is through with a tile so soon that smaller
// shares than these would cost more than they save.
static void block_multiply(const unsigned char *a, const unsigned char *b, int steps, bool half,
                           Chores *chores, float *sums) {
    int planes = half ? 1 : PLANES, shares = half ? (steps + 1) / 2 : 6 * steps;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int k = 0; k < steps; ++k, a += planes * PAIR, b += planes * PAIR)
        for (int q = planes - 1; q >= 0; --q) {
            _tile_loadd(6, b + q * PAIR, 64);
            _tile_loadd(7, b + q * PAIR + TILE, 64);
            for (int p = planes - 1 - q; p >= 0; --p) {
                _tile_loadd(4, a + p * PAIR, 64);
                _tile_dpbf16ps(0, 4, 6);
                _tile_dpbf16ps(1, 4, 7);
                _tile_loadd(5, a + p * PAIR + TILE, 64);
                _tile_dpbf16ps(2, 5, 6);
                _tile_dpbf16ps(3, 5, 7);
                if (shares > 0) chores_do(chores, shares--);
            }
        }
    _tile_stored(0, sums, BLOCK * 4);
    _tile_stored(1, sums + SIDE, BLOCK * 4);
    _tile_stored(2, sums + SIDE * BLOCK, BLOCK * 4);
    _tile_stored(3, sums + SIDE * BLOCK + SIDE, BLOCK * 4);
}

// ---- a product --------------------------------------------------------------------------------

bool amx_takes(const Product *p) {
    if (p->half_in) return p->k <= HALF_MOST;
    if (p->accumulate && p->k > WIDE_MOST) return false; // a share of k would be a rounding more
    return !p->half_out && p->m >= BLOCK && p->n >= BLOCK && p->k >= DEEP;
}

static int steps_of(Source s) {
    return (int)((s.end - s.begin + DEEP - 1) / DEEP);
}

// Of 32 packed lines.
static int64_t panel_bytes(Source s) {
    return (int64_t)steps_of(s) * (s.half ? 1 : PLANES) * PAIR + APART;
}

// All rows times some columns, over the k of a and b. The last block stays a chore.
static void columns_multiply(AmxRoom *room, const Product *p, Source a, Source b, int64_t left,
                             int64_t panels, Chores *chores) {
    int steps = steps_of(a), units = 2 * steps, side = 0;
    int64_t bytes = panel_bytes(a);
    chores->rows = (Packing){a, 0, room->rows[0], 0, units};
    chores->columns = (Packing){b, left, room->columns, 0, units};
    chores_do(chores, 1);
    for (int64_t row = 0; row < p->m; row += BLOCK, side ^= 1) {
        int rows = p->m - row < BLOCK ? (int)(p->m - row) : BLOCK;
        int row_units = row + BLOCK < p->m ? units : 0;
        for (int64_t j = 0; j < panels; ++j) {
            int64_t column = left + j * BLOCK;
            int column_units = row == 0 && j + 1 < panels ? units : 0;
            unsigned char *columns = room->columns + j * bytes;
            float *sums = room->sums[chores->block.sums == room->sums[0]];
            chores->rows =
                (Packing){a, row + BLOCK, room->rows[side ^ 1], (int)(row_units * j / panels),
                          (int)(row_units * (j + 1) / panels)};
            chores->columns = (Packing){b, column + BLOCK, columns + bytes, 0, column_units};
            for (int r = 0; r < rows; ++r) row_prefetch(p, (row + r) * p->ldc + column);
            block_multiply(room->rows[side], columns, steps, a.half, chores, sums);
            bool add = p->accumulate || a.begin > 0, last = a.end == p->k;
            chores->block = (Block){p, sums, row, column, 0, rows, add, last};
        }
    }
}

void amx_product(AmxRoom *room, const Product *p) {
    int64_t most = p->half_in ? HALF_MOST : WIDE_MOST, shares = (p->k + most - 1) / most;
    int64_t steps = (p->k + DEEP - 1) / DEEP, all = (p->n + BLOCK - 1) / BLOCK;
    Chores chores = {0};
    _tile_loadconfig(&tiles);
    for (int64_t s = 0; s < shares; ++s) {
        int64_t begin = steps * s / shares * DEEP, next = steps * (s + 1) / shares * DEEP;
        int64_t end = next < p->k ? next : p->k;
        Source a = {p->a, p->lda, p->m, begin, end, p->half_in, !p->transpose_a, p->transpose_a};
        Source b = {p->b, p->ldb, p->n, begin, end, p->half_in, p->transpose_b, p->transpose_b};
        int64_t room_for = COLUMNS_BYTES / panel_bytes(b);
        for (int64_t j = 0; j < all; j += room_for)
            columns_multiply(room, p, a, b, j * BLOCK, room_for < all - j ? room_for : all - j,
                             &chores);
    }
    chores_do(&chores, 1);
    _tile_release();
}
