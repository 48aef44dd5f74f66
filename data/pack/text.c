// Text: source bytes, then verses without their references, then the form.
#include "data/pack/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    BIBLE_STREAM_START = 368, // behind the header, an ordinary .Z stream
    READ_BYTES = 65536,
    REFERENCE_BYTES = 32,
    END = -1,
};

// Of an alphabet: UTF-8 bytes of each character.
typedef struct {
    char text[5];
    int bytes;
} Character;

struct TextStream {
    TextForm form;
    Blob *blob;
    bool verses; // the Bible: leave out line 1 and the references
    uint8_t buffer[READ_BYTES];
    size_t filled, next;
    int64_t at;   // of the blob: read up to here
    int64_t line; // being read, from 1
    bool at_line_start;
    bool started, gap; // letters27: something was written; a space is due before the next letter
    int held;          // letters27: the letter behind that space, 0: none
    Character character[TEXT_SYMBOLS_MOST]; // FORM_ALPHABET
    int symbols;
};

bool text_is_bible(const char *path) {
    char magic[4] = "";
    size_t got;
    return blob_begins(path, magic, sizeof magic, &got) && got == sizeof magic &&
           memcmp(magic, "EC02", 4) == 0;
}

// ---- alphabets ----------------------------------------------------------------------------------

// Bytes of the character that begins with this one; 0: none does.
static int character_bytes(uint8_t first) {
    if (first < 0x80) return 1;
    if (first >= 0xC2 && first < 0xE0) return 2;
    if (first >= 0xE0 && first < 0xF0) return 3;
    return first >= 0xF0 && first < 0xF5 ? 4 : 0;
}

static bool next_character(const char **text, Character *out) {
    out->bytes = character_bytes((uint8_t) * *text);
    for (int i = 1; i < out->bytes; ++i)
        if (((uint8_t)(*text)[i] & 0xC0) != 0x80) return false;
    memcpy(out->text, *text, (size_t)out->bytes);
    *text += out->bytes;
    return out->bytes > 0;
}

static int find_character(const Character *list, int count, const Character *wanted) {
    for (int i = 0; i < count; ++i)
        if (list[i].bytes == wanted->bytes &&
            memcmp(list[i].text, wanted->text, (size_t)wanted->bytes) == 0)
            return i;
    return -1;
}

static Status read_alphabet(const char *alphabet, Character *list, int *symbols) {
    *symbols = 0;
    for (const char *at = alphabet; *at != '\0'; ++*symbols) {
        Character *next = &list[*symbols];
        FAIL_IF(*symbols == TEXT_SYMBOLS_MOST, BAD_USAGE,
                "the alphabet has more than %d characters", TEXT_SYMBOLS_MOST);
        FAIL_IF(!next_character(&at, next), BAD_USAGE, "the alphabet is not UTF-8");
        FAIL_IF(find_character(list, *symbols, next) >= 0, BAD_USAGE,
                "the alphabet holds \"%.*s\" twice", next->bytes, next->text);
    }
    FAIL_IF(*symbols == 0, BAD_USAGE, "the alphabet is empty");
    return STATUS_OK;
}

Status text_check_alphabet(const char *alphabet, int *symbols) {
    Character list[TEXT_SYMBOLS_MOST];
    return read_alphabet(alphabet, list, symbols);
}

// ---- bytes --------------------------------------------------------------------------------------

Status text_open(const char *path, const SourceOptions *options, TextStream **out) {
    Status status = STATUS_OK;
    TextStream *text = calloc(1, sizeof *text);
    FAIL_IF(text == NULL, NO_MEMORY, "%s: no memory to read it", path);
    text->form = options->form;
    text->line = 1;
    text->at_line_start = true;
    text->verses = text_is_bible(path);
    if (text->form == FORM_DEFAULT) text->form = text->verses ? FORM_LETTERS27 : FORM_BYTES;
    if (text->form == FORM_ALPHABET)
        TRY_OR(fail, status, read_alphabet(options->alphabet, text->character, &text->symbols));
    TRY_OR(fail, status,
           blob_open(path, text->verses ? BIBLE_STREAM_START : 0, options, &text->blob));
    *out = text;
    return STATUS_OK;
fail:
    text_close(text);
    return status;
}

void text_close(TextStream *text) {
    if (text == NULL) return;
    blob_close(text->blob);
    free(text);
}

TextForm text_form(const TextStream *text) {
    return text->form;
}

Blob *text_blob(TextStream *text) {
    return text->blob;
}

// The next byte of the source, or END.
static Status next_byte(TextStream *text, int *out) {
    if (text->next == text->filled) {
        int64_t left = blob_bytes(text->blob) - text->at;
        text->next = 0;
        text->filled = left < READ_BYTES ? (size_t)left : READ_BYTES;
        TRY(blob_read(text->blob, text->at, text->buffer, text->filled));
        text->at += (int64_t)text->filled;
    }
    if (text->next == text->filled) {
        *out = END;
        return STATUS_OK;
    }
    uint8_t byte = text->buffer[text->next++];
    FAIL_IF(byte == 0, BAD_DATA, "%s: line %lld holds a NUL byte: this is not a text file",
            blob_path(text->blob), (long long)text->line);
    if (byte == '\n') ++text->line;
    *out = byte;
    return STATUS_OK;
}

// ---- verses -------------------------------------------------------------------------------------

static bool is_digit(int c) {
    return c >= '0' && c <= '9';
}

static bool is_letter(int c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

// `Ge1:1 `, `1Sam12:3 `: perhaps a digit, letters, digits, a colon, digits.
static bool is_reference(const char *text) {
    if (is_digit(*text)) ++text;
    if (!is_letter(*text)) return false;
    while (is_letter(*text)) ++text;
    if (!is_digit(*text)) return false;
    while (is_digit(*text)) ++text;
    if (*text++ != ':' || !is_digit(*text)) return false;
    while (is_digit(*text)) ++text;
    return *text == '\0';
}

// Reads up to the space behind a verse reference, or nothing at the end of the text.
static Status skip_reference(TextStream *text) {
    char reference[REFERENCE_BYTES] = "";
    size_t length = 0;
    int64_t line = text->line;
    for (;;) {
        int byte;
        TRY(next_byte(text, &byte));
        if (byte == END && length == 0) return STATUS_OK;
        if (byte == ' ') break;
        FAIL_IF(byte == END || length + 1 == sizeof reference, BAD_DATA,
                "%s: decoded line %lld does not begin with a verse reference",
                blob_path(text->blob), (long long)line);
        reference[length++] = (char)byte;
    }
    FAIL_IF(!is_reference(reference), BAD_DATA,
            "%s: decoded line %lld begins with \"%s\", not with a verse reference",
            blob_path(text->blob), (long long)line, reference);
    return STATUS_OK;
}

// The next byte without header line and references, or END.
static Status next_of_verse(TextStream *text, int *out) {
    if (!text->verses) {
        TRY(next_byte(text, out));
        return STATUS_OK;
    }
    while (text->line == 1) {
        TRY(next_byte(text, out));
        if (*out == END) return STATUS_OK;
    }
    if (text->at_line_start) TRY(skip_reference(text));
    TRY(next_byte(text, out));
    text->at_line_start = *out == '\n';
    return STATUS_OK;
}

// ---- forms --------------------------------------------------------------------------------------

// Letters in lower case, each run of other characters one space, none at the ends.
static Status next_letter(TextStream *text, int *out) {
    if (text->held != 0) {
        *out = text->held;
        text->held = 0;
        return STATUS_OK;
    }
    for (;;) {
        TRY(next_of_verse(text, out));
        if (*out == END || is_letter(*out)) break;
        text->gap = text->started;
    }
    if (*out == END) return STATUS_OK;
    *out |= 0x20; // lower case
    if (text->gap) {
        text->held = *out;
        *out = ' ';
    }
    text->gap = false;
    text->started = true;
    return STATUS_OK;
}

static Status next_of_alphabet(TextStream *text, int *out) {
    Character found = {0};
    int64_t line = text->line;
    TRY(next_of_verse(text, out));
    if (*out == END) return STATUS_OK;
    found.text[0] = (char)*out;
    found.bytes = character_bytes((uint8_t)*out);
    for (int i = 1; i < found.bytes && *out != END; ++i) {
        TRY(next_of_verse(text, out));
        found.text[i] = (char)*out;
    }
    *out = find_character(text->character, text->symbols, &found);
    bool shown = found.bytes > 1 || (found.text[0] >= ' ' && found.text[0] <= '~');
    FAIL_IF(*out < 0, BAD_DATA,
            "%s: line %lld holds %s%.*s%s (byte 0x%02x), which is not in the"
            " alphabet",
            blob_path(text->blob), (long long)line, shown ? "\"" : "a character",
            shown ? found.bytes : 0, found.text, shown ? "\"" : "", (uint8_t)found.text[0]);
    return STATUS_OK;
}

Status text_read(TextStream *text, uint8_t *out, size_t most, size_t *got) {
    REQUIRE(most >= 1);
    for (*got = 0; *got < most; ++*got) {
        int symbol = END;
        switch (text->form) {
        case FORM_LETTERS27: TRY(next_letter(text, &symbol)); break;
        case FORM_ALPHABET: TRY(next_of_alphabet(text, &symbol)); break;
        case FORM_DEFAULT:
        case FORM_BYTES: TRY(next_of_verse(text, &symbol)); break;
        }
        if (symbol == END) break;
        out[*got] = (uint8_t)symbol;
    }
    return STATUS_OK;
}
