// A bitmap font as lines of hexadecimal digits (data/pack/glyph.h). Its glyphs of 16 x 16 pixels
// are tokens; those of 8 x 16 are left out. As neighbours in a font are alike, glyphs are dealt to
// the splits by a fixed key, and keep their order within each.
#include <stdlib.h>
#include <string.h>

#include "data/pack/blob.h"
#include "data/pack/glyph.h"
#include "data/order.h"

enum { FONT_SPLITS = 3, READ_BYTES = 65536, GLYPHS_MOST = 0x110000 };

typedef struct {
    int64_t at, line; // of the file
    int length;
} Glyph;

typedef struct {
    Blob *blob;
    Glyph *glyph; // those of 16 x 16 pixels
    int64_t glyphs, room;
    int64_t *member[FONT_SPLITS]; // numbers of the glyphs of each split
    char buffer[READ_BYTES];
} Font;

static bool font_knows(const char *path) {
    char start[GLYPH_LINE_MOST];
    size_t got;
    return blob_begins(path, start, sizeof start, &got) && glyph_begins(start, got);
}

static Status add_glyph(Font *font, const Glyph *glyph) {
    FAIL_IF(font->glyphs == GLYPHS_MOST, BAD_DATA, "%s: holds more than %d glyphs",
            blob_path(font->blob), GLYPHS_MOST);
    if (font->glyphs == font->room) {
        int64_t room = font->room == 0 ? 4096 : 2 * font->room;
        Glyph *more = realloc(font->glyph, (size_t)room * sizeof *more);
        FAIL_IF(more == NULL, NO_MEMORY, "no memory for %lld glyphs", (long long)room);
        font->glyph = more;
        font->room = room;
    }
    font->glyph[font->glyphs++] = *glyph;
    return STATUS_OK;
}

static Status take_line(Font *font, const char *text, const Glyph *place) {
    uint8_t pixel[GLYPH_PIXELS];
    bool wide;
    TRY(glyph_parse(text, (size_t)place->length, blob_path(font->blob), place->line, &wide, pixel));
    return wide ? add_glyph(font, place) : STATUS_OK;
}

// Notes where each glyph stands.
static Status list_glyphs(Font *font) {
    char line[GLYPH_LINE_MOST];
    int64_t bytes = blob_bytes(font->blob);
    Glyph place = {.line = 1};
    for (int64_t at = 0; at < bytes; at += READ_BYTES) {
        size_t part = bytes - at < READ_BYTES ? (size_t)(bytes - at) : READ_BYTES;
        TRY(blob_read(font->blob, at, font->buffer, part));
        for (size_t i = 0; i < part; ++i) {
            if (font->buffer[i] != '\n') {
                FAIL_IF(place.length == GLYPH_LINE_MOST, BAD_DATA,
                        "%s: line %lld is too long for a glyph", blob_path(font->blob),
                        (long long)place.line);
                line[place.length++] = font->buffer[i];
                continue;
            }
            TRY(take_line(font, line, &place));
            place = (Glyph){.at = at + (int64_t)i + 1, .line = place.line + 1};
        }
    }
    return place.length > 0 ? take_line(font, line, &place) : STATUS_OK;
}

// The first 90 % of the shuffled glyphs are train, half of the rest valid, the remainder test.
static Status deal_glyphs(Source *source, Font *font) {
    int64_t count[FONT_SPLITS], filled[FONT_SPLITS] = {0}, glyphs = font->glyphs;
    Order order;
    FAIL_IF(glyphs < 20, BAD_DATA, "%s: %lld glyphs of 16 x 16 pixels are too few to split",
            source->path, (long long)glyphs);
    count[0] = glyphs / 10 * 9 + glyphs % 10 * 9 / 10;
    count[1] = (glyphs - count[0]) / 2;
    count[2] = glyphs - count[0] - count[1];
    for (int s = 0; s < FONT_SPLITS; ++s) {
        font->member[s] = calloc((size_t)count[s], sizeof *font->member[s]);
        FAIL_IF(font->member[s] == NULL, NO_MEMORY, "%s: no memory to split it", source->path);
    }
    order_init(&order, (uint64_t)glyphs, 0, 0);
    for (int64_t g = 0; g < glyphs; ++g) {
        int64_t place = (int64_t)order_where(&order, (uint64_t)g);
        int split = place < count[0] ? 0 : place < count[0] + count[1] ? 1 : 2;
        font->member[split][filled[split]++] = g;
    }
    source_add_split(source, "train", count[0]);
    source_add_split(source, "valid", count[1]);
    source_add_split(source, "test", count[2]);
    return STATUS_OK;
}

static Status font_open(Source *source, const SourceOptions *options) {
    static const int64_t shape[2] = {GLYPH_SIDE, GLYPH_SIDE};
    int64_t bytes;
    uint64_t hash;
    Font *font = source->state = calloc(1, sizeof *font);
    FAIL_IF(font == NULL, NO_MEMORY, "%s: no memory to read it", source->path);
    source->info.kind = KIND_TOKENS;
    source->info.symbols = 2;
    source_add_column(source, "tokens", DTYPE_U8, 2, shape);
    TRY(blob_open(source->path, 0, options, &font->blob));
    TRY(list_glyphs(font));
    TRY(deal_glyphs(source, font));
    if (!options->lead) return STATUS_OK;
    TRY(blob_hash(font->blob, &bytes, &hash));
    source_add_content(source, bytes, hash);
    return STATUS_OK;
}

static Status font_read(Source *source, int split, int64_t first, int64_t most, int64_t *got,
                        uint8_t *const out[DATASET_COLUMNS_MOST]) {
    Font *font = source->state;
    char line[GLYPH_LINE_MOST];
    bool wide;
    for (int64_t i = 0; i < most; ++i) {
        const Glyph *glyph = &font->glyph[font->member[split][first + i]];
        TRY(blob_read(font->blob, glyph->at, line, (size_t)glyph->length));
        TRY(glyph_parse(line, (size_t)glyph->length, source->path, glyph->line, &wide,
                        out[0] + i * GLYPH_PIXELS));
    }
    *got = most;
    return STATUS_OK;
}

static void font_close(Source *source) {
    Font *font = source->state;
    if (font != NULL) {
        for (int s = 0; s < FONT_SPLITS; ++s) free(font->member[s]);
        blob_close(font->blob);
        free(font->glyph);
    }
    free(font);
    source->state = NULL;
}

const SourceType source_font = {.name = "font",
                                .what = "a bitmap font in hexadecimal digits (unifont.hex)",
                                .knows = font_knows,
                                .open = font_open,
                                .read = font_read,
                                .close = font_close};
