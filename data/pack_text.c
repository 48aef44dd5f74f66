// Packing text: one pass counts characters and finds the alphabet, a second writes the splits.
#include "data/pack_impl.h"

#include <string.h>

#include "data/shard_writer.h"
#include "data/text.h"

static const char letters[] = " abcdefghijklmnopqrstuvwxyz";

typedef struct {
    int64_t characters;
    bool used[256];
    uint8_t symbol[256]; // of each byte in use
} TextCount;

static Status count_stream(Pack *pack, TextStream *text, TextCount *count) {
    size_t got;
    do {
        TRY(text_read(text, pack->buffer, sizeof pack->buffer, &got));
        for (size_t i = 0; i < got; ++i) count->used[pack->buffer[i]] = true;
        count->characters += (int64_t)got;
    } while (got > 0);
    pack_add_text(pack, text);
    return STATUS_OK;
}

// Symbols in order of the bytes; a byte above 127 stands in the alphabet as that code point.
static void set_alphabet(DatasetInfo *info, TextForm form, TextCount *count) {
    for (const char *c = letters; form == FORM_LETTERS27 && *c != '\0'; ++c) {
        count->used[(uint8_t)*c] = true;
    }
    char *out = info->alphabet;
    for (int byte = 1; byte < 256; ++byte) {
        if (!count->used[byte]) continue;
        count->symbol[byte] = (uint8_t)info->symbols++;
        if (byte >= 0x80) *out++ = (char)(0xC0 | byte >> 6);
        *out++ = (char)(byte >= 0x80 ? 0x80 | (byte & 0x3F) : byte);
    }
    *out = '\0';
}

// The next `items` characters of the stream become a split.
static Status copy_split(Pack *pack, TextStream *text, const TextCount *count, int64_t items,
                         ShardWriter *writer) {
    while (items > 0) {
        size_t want = items < PACK_BUFFER_BYTES ? (size_t)items : PACK_BUFFER_BYTES, got = 0;
        TRY(text_read(text, pack->buffer, want, &got));
        FAIL_IF(got == 0, BAD_DATA, "%s: changed while it was read", pack->config->source);
        for (size_t i = 0; i < got; ++i) pack->buffer[i] = count->symbol[pack->buffer[i]];
        TRY(shard_writer_add(writer, pack->buffer, got));
        items -= (int64_t)got;
    }
    return STATUS_OK;
}

static Status write_splits(Pack *pack, TextStream *text, const TextCount *count) {
    int64_t done = 0;
    for (int s = 0; s < pack->index.splits; ++s) {
        ShardWriter *writer;
        int64_t items = pack->index.split[s].items;
        TRY(shard_writer_open(pack->folder, &pack->index, s, 0, &writer));
        Status status = copy_split(pack, text, count, items, writer);
        if (status != STATUS_OK) {
            shard_writer_discard(writer);
            return error_trail(status, __FILE__, __LINE__, __func__);
        }
        TRY(shard_writer_finish(writer));
        pack_progress(pack, done += items, count->characters, "packing text");
    }
    TRY(pack_check_text(pack, text));
    return STATUS_OK;
}

Status pack_text(Pack *pack) {
    TextStream *text = NULL;
    TextCount count = {0};
    Status status = STATUS_OK;
    pack->index.info.kind = KIND_TEXT;
    TRY_OR(done, status, text_open(pack->config->source, pack->config->form, &text));
    TRY_OR(done, status, count_stream(pack, text, &count));
    set_alphabet(&pack->index.info, text_form(text), &count);
    text_close(text);
    text = NULL;
    pack_add_column(pack, "text", DTYPE_U8, FILTER_NONE, 0, NULL);
    TRY_OR(done, status, pack_add_splits(pack, count.characters, "characters"));
    TRY_OR(done, status, text_open(pack->config->source, pack->config->form, &text));
    TRY_OR(done, status, write_splits(pack, text, &count));
done:
    text_close(text);
    return status;
}
