// Choices of algorithms and their text, behind model/cuda/choice.h. Knows nothing of CUDA.
#include "model/cuda/choice.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mix.h"

static const char head[] = "dye products 1 on ";
static const char columns[] = "m n k lda ldb ldc batch stride_a stride_b stride_c flags aligned_a"
                              " aligned_b aligned_c aligned_bias aligned_aux algorithm\n";

enum { LINE_BYTES = CHOICE_NUMBERS * 21 + 2 * CHOICE_BYTES + 2 };

// ---- the list -----------------------------------------------------------------------------------

const Choice *choices_find(const Choices *choices, const int64_t *key) {
    for (int i = 0; i < choices->count; ++i)
        if (memcmp(choices->list[i].key, key, sizeof choices->list[i].key) == 0)
            return &choices->list[i];
    return NULL;
}

Status choices_add(Choices *choices, const int64_t *key, const void *algorithm) {
    size_t count = (size_t)choices->count + 1;
    Choice *list = realloc(choices->list, count * sizeof *list);
    FAIL_IF(list == NULL, NO_MEMORY, "no memory for the choice of a product");
    choices->list = list;
    memcpy(list[count - 1].key, key, sizeof list->key);
    memcpy(list[count - 1].algorithm, algorithm, CHOICE_BYTES);
    choices->count = (int)count;
    return STATUS_OK;
}

void choices_clear(Choices *choices) {
    free(choices->list);
    *choices = (Choices){0};
}

// ---- writing ------------------------------------------------------------------------------------

static size_t write_choice(const Choice *choice, char *at) {
    size_t used = 0;
    for (int i = 0; i < CHOICE_NUMBERS; ++i)
        used += (size_t)sprintf(at + used, "%" PRId64 " ", choice->key[i]);
    for (int i = 0; i < CHOICE_BYTES; ++i)
        used += (size_t)sprintf(at + used, "%02x", choice->algorithm[i]);
    at[used++] = '\n';
    return used;
}

Status choices_write(const Choices *choices, const char *device, char **text) {
    int named = (int)strcspn(device, ";\n");
    size_t used, most = sizeof head + (size_t)named + sizeof columns + 64;
    char *out = *text = malloc(most + (size_t)choices->count * LINE_BYTES);
    FAIL_IF(out == NULL, NO_MEMORY, "no memory for the choices of %d products", choices->count);
    used = (size_t)sprintf(out, "%s%.*s\n%s", head, named, device, columns);
    for (int i = 0; i < choices->count; ++i) used += write_choice(&choices->list[i], out + used);
    uint64_t hash = 0;
    for (size_t i = 0; i < used; ++i) hash = mix64(hash + MIX_GOLDEN + (unsigned char)out[i]);
    sprintf(out + used, "%d measured, choice %016" PRIx64 "\n", choices->count, hash);
    return STATUS_OK;
}

// ---- reading ------------------------------------------------------------------------------------

static int digit_of(char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// *at is moved behind the line.
static bool read_choice(const char **at, Choice *out) {
    const char *next = *at;
    for (int i = 0; i < CHOICE_NUMBERS; ++i) {
        char *end;
        out->key[i] = strtoll(next, &end, 10);
        if (end == next || *end != ' ') return false;
        next = end + 1;
    }
    for (int i = 0; i < CHOICE_BYTES; ++i, next += 2) {
        int high = digit_of(next[0]), low = high < 0 ? -1 : digit_of(next[1]);
        if (low < 0) return false;
        out->algorithm[i] = (unsigned char)(high << 4 | low);
    }
    *at = next + 1;
    return *next == '\n';
}

// Leniently: what was read is written again and compared.
static Status read_all(Choices *choices, const char *text, const char **device) {
    Choice choice;
    const char *at = strchr(text, '\n');
    FAIL_IF(at == NULL || strncmp(text, head, strlen(head)) != 0, BAD_DATA,
            "does not begin with \"%s\"", head);
    *device = text + strlen(head);
    FAIL_IF(strncmp(at + 1, columns, strlen(columns)) != 0, BAD_DATA, "has another second line");
    at += 1 + strlen(columns);
    while (read_choice(&at, &choice)) TRY(choices_add(choices, choice.key, choice.algorithm));
    return STATUS_OK;
}

Status choices_read(Choices *choices, const char *text, const char *device) {
    Choices read = {0};
    const char *of = "";
    char *again = NULL;
    size_t bytes = strcspn(device, ";");
    Status status;
    TRY_OR(done, status, read_all(&read, text, &of));
    TRY_OR(done, status, choices_write(&read, of, &again));
    if (strcmp(again, text) != 0)
        FAIL_OR(done, status, BAD_DATA, "is not as it was written: its hash or line %d differs",
                read.count + 3);
    if (strcspn(of, "\n") != bytes || strncmp(of, device, bytes) != 0)
        FAIL_OR(done, status, BAD_CONFIG, "was made on %.*s, this is %.*s", (int)strcspn(of, "\n"),
                of, (int)bytes, device);
    choices_clear(choices);
    *choices = read;
    read = (Choices){0};
done:
    choices_clear(&read);
    free(again);
    return status;
}
