// Packing a bitmap font: one pass counts its glyphs of 16 x 16 pixels, a second deals them out.
#include "data/pack_impl.h"

#include "data/glyph.h"
#include "data/order.h"
#include "data/shard_writer.h"

enum { FONT_SPLITS = 3 };

typedef struct {
    TextStream *text;
    size_t filled, next; // of the pack's buffer
    int64_t line;        // read last, from 1
    int64_t glyphs;      // of 16 x 16 pixels, so far
    Order order;         // place of each glyph before the split
    ShardWriter *writer[FONT_SPLITS];
} Font;

// The next line without its newline; *length -1 at the end.
static Status read_line(Pack *pack, Font *font, char line[GLYPH_LINE_MOST], int *length) {
    *length = 0;
    ++font->line;
    for (;;) {
        if (font->next == font->filled) {
            TRY(text_read(font->text, pack->buffer, sizeof pack->buffer, &font->filled));
            font->next = 0;
        }
        if (font->filled == 0) {
            if (*length == 0) *length = -1;
            return STATUS_OK;
        }
        char c = (char)pack->buffer[font->next++];
        if (c == '\n') return STATUS_OK;
        FAIL_IF(*length == GLYPH_LINE_MOST, BAD_DATA, "%s: line %lld is too long for a glyph",
                pack->config->source, (long long)font->line);
        line[(*length)++] = c;
    }
}

// The next glyph of 16 x 16 pixels; *got false at the end.
static Status read_glyph(Pack *pack, Font *font, uint8_t pixel[GLYPH_PIXELS], bool *got) {
    char line[GLYPH_LINE_MOST];
    int length;
    for (*got = false; !*got;) {
        TRY(read_line(pack, font, line, &length));
        if (length < 0) return STATUS_OK;
        TRY(glyph_parse(line, (size_t)length, pack->config->source, font->line, got, pixel));
    }
    return STATUS_OK;
}

static Status open_font(const Pack *pack, Font *font) {
    text_close(font->text);
    font->text = NULL;
    font->filled = font->next = 0;
    font->line = font->glyphs = 0;
    TRY(text_open(pack->config->source, FORM_BYTES, &font->text));
    return STATUS_OK;
}

static Status count_glyphs(Pack *pack, Font *font) {
    uint8_t pixel[GLYPH_PIXELS];
    bool got;
    TRY(open_font(pack, font));
    do {
        TRY(read_glyph(pack, font, pixel, &got));
        font->glyphs += got;
    } while (got);
    pack_add_text(pack, font->text);
    TRY(pack_add_splits(pack, font->glyphs, "glyphs of 16 x 16 pixels"));
    order_init(&font->order, (uint64_t)font->glyphs, 0, 0);
    return STATUS_OK;
}

static int split_of(const Pack *pack, const Font *font, int64_t glyph) {
    const IndexSplit *split = pack->index.split;
    int64_t place = (int64_t)order_where(&font->order, (uint64_t)glyph);
    if (place < split[0].items) return 0;
    return place < split[0].items + split[1].items ? 1 : 2;
}

// Each glyph goes to its split, where those of a split keep their order.
static Status deal_glyphs(Pack *pack, Font *font) {
    uint8_t pixel[GLYPH_PIXELS];
    int64_t glyphs = (int64_t)font->order.n;
    bool got;
    TRY(open_font(pack, font));
    for (;;) {
        TRY(read_glyph(pack, font, pixel, &got));
        if (!got) break;
        FAIL_IF(font->glyphs == glyphs, BAD_DATA, "%s: changed while it was read",
                pack->config->source);
        int split = split_of(pack, font, font->glyphs++);
        TRY(shard_writer_add(font->writer[split], pixel, sizeof pixel));
        pack_progress(pack, font->glyphs, glyphs, "packing glyphs");
    }
    TRY(pack_check_text(pack, font->text));
    return STATUS_OK;
}

static Status write_splits(Pack *pack, Font *font) {
    for (int s = 0; s < FONT_SPLITS; ++s)
        TRY(shard_writer_open(pack->folder, &pack->index, s, 0, &font->writer[s]));
    TRY(deal_glyphs(pack, font));
    for (int s = 0; s < FONT_SPLITS; ++s) {
        ShardWriter *writer = font->writer[s];
        font->writer[s] = NULL;
        TRY(shard_writer_finish(writer));
    }
    return STATUS_OK;
}

Status pack_unifont(Pack *pack) {
    static const int64_t shape[2] = {GLYPH_SIDE, GLYPH_SIDE};
    Font font = {0};
    Status status = STATUS_OK;
    pack->index.info.kind = KIND_TOKENS;
    pack->index.info.symbols = 2;
    pack_add_column(pack, "tokens", DTYPE_U8, FILTER_NONE, 2, shape);
    TRY_OR(done, status, count_glyphs(pack, &font));
    TRY_OR(done, status, write_splits(pack, &font));
done:
    for (int s = 0; s < FONT_SPLITS; ++s) shard_writer_discard(font.writer[s]);
    text_close(font.text);
    return status;
}
