// Plain text: a file, or a folder of text files that are joined as they are in the order of their
// names. A sample is a character. What has another form than its file's bytes is written to the
// stage folder first, a byte a symbol, so that it can be read anywhere.
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"
#include "data/codec.h"
#include "data/pack/text.h"

enum { SNIFF_BYTES = 4096, COPY_BYTES = 65536, FILES_MOST = 1 << 20 };

static const char letters[] = " abcdefghijklmnopqrstuvwxyz";

typedef struct {
    char *place; // of its symbols: the file itself or one of the stage
    int64_t first, count;
} TextFile;

typedef struct {
    const SourceOptions *options; // of the pack, which outlives the source
    TextFile *file;
    int files;
    Blob *blob; // of file number `open`: a folder may hold more files than a process may open
    int open;
    int64_t characters;
    bool used[TEXT_SYMBOLS_MOST]; // bytes that occur
    uint8_t symbol[TEXT_SYMBOLS_MOST];
} TextSource;

// ---- recognising --------------------------------------------------------------------------------

static bool is_text_file(const char *path) {
    char start[SNIFF_BYTES];
    size_t got;
    struct stat about;
    if (stat(path, &about) != 0 || !S_ISREG(about.st_mode)) return false;
    if (text_is_bible(path)) return true;
    return blob_begins(path, start, sizeof start, &got) && memchr(start, 0, got) == NULL;
}

static bool is_hidden(const char *name) {
    return name[0] == '.';
}

// All files of the folder that are not hidden, one at least, are text.
static bool is_text_folder(const char *path) {
    char file[PATH_BYTES], **names;
    int count, texts = 0;
    bool known = true;
    if (folder_names(path, &names, &count) != STATUS_OK) {
        error_clear();
        return false;
    }
    for (int i = 0; i < count && known; ++i) {
        if (is_hidden(names[i])) continue;
        known = snprintf(file, sizeof file, "%s/%s", path, names[i]) < (int)sizeof file &&
                is_text_file(file);
        texts += known;
    }
    folder_names_free(names, count);
    return known && texts > 0;
}

static bool text_knows(const char *path) {
    struct stat about;
    if (stat(path, &about) != 0) return false;
    return S_ISDIR(about.st_mode) ? is_text_folder(path) : is_text_file(path);
}

// ---- one file -----------------------------------------------------------------------------------

static Status copy_symbols(TextSource *source, TextStream *text, int fd, const char *name) {
    size_t got;
    uint8_t *buffer = malloc(COPY_BYTES);
    FAIL_IF(buffer == NULL, NO_MEMORY, "%s: no memory to read it", name);
    Status status = STATUS_OK;
    do {
        TRY_OR(done, status, text_read(text, buffer, COPY_BYTES, &got));
        for (size_t i = 0; i < got; ++i) source->used[buffer[i]] = true;
        if (fd >= 0) TRY_OR(done, status, file_put(fd, name, buffer, got));
    } while (got > 0);
done:
    free(buffer);
    return status;
}

static Status write_symbols(TextSource *source, TextStream *text, const char *staged) {
    int fd = open(staged, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    FAIL_IF(fd < 0, IO, "%s: cannot be made", staged);
    Status status = copy_symbols(source, text, fd, staged);
    close(fd);
    return status;
}

// Opens the symbols of a file instead of those that are open.
static Status use_file(TextSource *state, int number) {
    if (state->blob != NULL && state->open == number) return STATUS_OK;
    blob_close(state->blob);
    state->blob = NULL;
    state->open = number;
    return blob_open(state->file[number].place, 0, state->options, &state->blob);
}

// Behind those that are there. The lead makes the symbols, tells which occur and what the file
// holds.
static Status add_file(Source *source, const char *path) {
    TextSource *state = source->state;
    const SourceOptions *options = state->options;
    TextFile *file = &state->file[state->files];
    char staged[PATH_BYTES];
    TextStream *text;
    int64_t bytes;
    uint64_t hash, key = codec_hash(path, strlen(path));
    TRY(text_open(path, options, &text));
    bool as_is = text_form(text) == FORM_BYTES && !text_is_bible(path);
    Status status = path_format(staged, "%s/text-%016" PRIx64, options->stage, key);
    if (status == STATUS_OK && text_form(text) == FORM_LETTERS27)
        for (const char *c = letters; *c != '\0'; ++c) state->used[(uint8_t)*c] = true;
    if (status == STATUS_OK && options->lead) {
        status = as_is ? copy_symbols(state, text, -1, path) : write_symbols(state, text, staged);
        if (status == STATUS_OK) status = blob_hash(text_blob(text), &bytes, &hash);
        if (status == STATUS_OK) source_add_content(source, bytes, hash);
    }
    text_close(text);
    TRY(status);
    file->place = strdup(as_is ? path : staged);
    FAIL_IF(file->place == NULL, NO_MEMORY, "%s: no memory to read it", path);
    TRY(use_file(state, state->files++));
    file->first = state->characters;
    file->count = blob_bytes(state->blob);
    state->characters += file->count;
    return STATUS_OK;
}

// ---- the alphabet -------------------------------------------------------------------------------

static Status survey_path(const Source *source, const SourceOptions *options,
                          char out[PATH_BYTES]) {
    uint64_t key = codec_hash(source->path, strlen(source->path));
    TRY(path_format(out, "%s/text-%016" PRIx64 ".json", options->stage, key));
    return STATUS_OK;
}

// Which bytes occur, from the lead to the others.
static Status tell_used(Source *source, const SourceOptions *options) {
    TextSource *state = source->state;
    char path[PATH_BYTES];
    json_t *survey;
    TRY(survey_path(source, options, path));
    if (options->lead) {
        json_t *used = json_array();
        for (int i = 0; i < TEXT_SYMBOLS_MOST; ++i)
            if (state->used[i]) json_array_append_new(used, json_integer(i));
        survey = json_pack("{s:o}", "used", used);
        Status status = json_write(path, survey);
        json_decref(survey);
        return status;
    }
    json_t *used;
    TRY(json_read(path, &survey));
    Status status = json_get_array(survey, "used", path, &used);
    for (size_t i = 0; status == STATUS_OK && i < json_array_size(used); ++i) {
        json_int_t byte = json_integer_value(json_array_get(used, i));
        if (byte >= 0 && byte < TEXT_SYMBOLS_MOST) state->used[byte] = true;
    }
    json_decref(survey);
    return status;
}

// Symbols in order of the bytes; a byte above 127 stands in the alphabet as that code point.
static void set_alphabet(Source *source) {
    TextSource *state = source->state;
    DatasetInfo *info = &source->info;
    char *out = info->alphabet;
    for (int byte = 1; byte < TEXT_SYMBOLS_MOST; ++byte) {
        if (!state->used[byte]) continue;
        state->symbol[byte] = (uint8_t)info->symbols++;
        if (byte >= 0x80) *out++ = (char)(0xC0 | byte >> 6);
        *out++ = (char)(byte >= 0x80 ? 0x80 | (byte & 0x3F) : byte);
    }
    *out = '\0';
}

static Status take_alphabet(Source *source, const char *alphabet) {
    TextSource *state = source->state;
    int symbols;
    TRY(text_check_alphabet(alphabet, &symbols));
    FAIL_IF(strlen(alphabet) >= sizeof source->info.alphabet, BAD_USAGE,
            "the alphabet is longer than %zu bytes", sizeof source->info.alphabet - 1);
    memcpy(source->info.alphabet, alphabet, strlen(alphabet) + 1);
    source->info.symbols = symbols;
    for (int i = 0; i < TEXT_SYMBOLS_MOST; ++i) state->symbol[i] = (uint8_t)i;
    return STATUS_OK;
}

// ---- the source ---------------------------------------------------------------------------------

static Status add_folder(Source *source, char **names, int count) {
    TextSource *state = source->state;
    FAIL_IF(count > FILES_MOST, BAD_DATA, "%s: holds more than %d files", source->path, FILES_MOST);
    state->file = calloc((size_t)count, sizeof *state->file);
    FAIL_IF(state->file == NULL, NO_MEMORY, "%s: no memory for %d files", source->path, count);
    for (int i = 0; i < count; ++i) {
        char path[PATH_BYTES];
        if (is_hidden(names[i])) continue;
        TRY(path_format(path, "%s/%s", source->path, names[i]));
        TRY(add_file(source, path));
    }
    return STATUS_OK;
}

static Status add_files(Source *source) {
    TextSource *state = source->state;
    struct stat about;
    FAIL_IF(stat(source->path, &about) != 0, NOT_FOUND, "%s: is not there any more", source->path);
    if (S_ISDIR(about.st_mode)) {
        char **names;
        int count;
        TRY(folder_names(source->path, &names, &count));
        Status status = add_folder(source, names, count);
        folder_names_free(names, count);
        return status;
    }
    state->file = calloc(1, sizeof *state->file);
    FAIL_IF(state->file == NULL, NO_MEMORY, "%s: no memory to read it", source->path);
    return add_file(source, source->path);
}

static Status text_open_source(Source *source, const SourceOptions *options) {
    TextSource *state = source->state = calloc(1, sizeof *state);
    FAIL_IF(state == NULL, NO_MEMORY, "%s: no memory to read it", source->path);
    state->options = options;
    source->info.kind = KIND_TEXT;
    source_add_column(source, "text", DTYPE_U8, 0, NULL);
    TRY(add_files(source));
    if (options->form == FORM_ALPHABET) {
        TRY(take_alphabet(source, options->alphabet));
    } else {
        TRY(tell_used(source, options));
        set_alphabet(source);
    }
    FAIL_IF(state->characters == 0, BAD_DATA, "%s: holds no text", source->path);
    source_add_split(source, "", state->characters);
    return STATUS_OK;
}

static Status text_read_symbols(Source *source, int split, int64_t first, int64_t most,
                                int64_t *got, uint8_t *const out[DATASET_COLUMNS_MOST]) {
    TextSource *state = source->state;
    int low = 0, high = state->files - 1;
    (void)split;
    while (low < high) {
        int middle = (low + high + 1) / 2;
        if (state->file[middle].first <= first)
            low = middle;
        else
            high = middle - 1;
    }
    const TextFile *file = &state->file[low];
    int64_t left = file->first + file->count - first;
    *got = most < left ? most : left;
    TRY(use_file(state, low));
    TRY(blob_read(state->blob, first - file->first, out[0], (size_t)*got));
    for (int64_t i = 0; i < *got; ++i) out[0][i] = state->symbol[out[0][i]];
    return STATUS_OK;
}

static void text_close_source(Source *source) {
    TextSource *state = source->state;
    for (int i = 0; state != NULL && i < state->files; ++i) free(state->file[i].place);
    if (state != NULL) {
        blob_close(state->blob);
        free(state->file);
    }
    free(state);
    source->state = NULL;
}

const SourceType source_text = {.name = "text",
                                .what = "a text file or a folder of them",
                                .knows = text_knows,
                                .open = text_open_source,
                                .read = text_read_symbols,
                                .close = text_close_source};
