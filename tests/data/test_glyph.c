// Fonts of hexadecimal digits: every glyph in its split, the real font's figures, damaged lines.
#include "tests/test.h"

#include "base/file.h"
#include "data/dataset.h"
#include "data/pack/pack.h"
#include "tests/data/support_data.h"

static const char unifont[] = "/usr/share/unifont/unifont.hex";
static char folder[512]; // of this program

// Glyph i of a font of `count`: its number in bits, with a rim on the right; between them narrow
// ones.
static const char *write_font(int count) {
    const char *path = support_path(folder, "font.hex");
    char *text = malloc((size_t)count * 150), *end = text;
    for (int i = 0; i < count; ++i) {
        if (i % 3 == 0) end += sprintf(end, "%06X:%032X\n", 2 * i, 0);
        end += sprintf(end, "%04x:", 2 * i + 1);
        for (int row = 0; row < 16; ++row) end += sprintf(end, "%04x", i << 1 | 1);
        *end++ = '\n';
    }
    support_write_file(path, text, (size_t)(end - text) - 1); // the last line without a newline
    free(text);
    return path;
}

// All glyphs are there, each once, in the right bits; those of a split come from everywhere.
static void test_glyphs(void) {
    enum { COUNT = 1007 };
    static const char *const splits[3] = {"train", "valid", "test"};
    static const int64_t items[3] = {906, 50, 51};
    const char *out = support_path(folder, "glyphs");
    support_pack(write_font(COUNT), out);
    EXPECT_OK(dataset_verify(out, 0, 1));
    int seen[COUNT] = {0}, wrong = 0;
    for (int s = 0; s < 3; ++s) {
        size_t bytes = 0;
        uint8_t *pixel = support_read_column(out, splits[s], "tokens", 0, &bytes);
        double sum = 0;
        EXPECT_EQ(bytes, items[s] * 256);
        for (size_t i = 0; i < bytes; i += 256) {
            int number = 0;
            for (int k = 0; k < 15; ++k) number = 2 * number | pixel[i + (size_t)k];
            wrong += pixel[i + 15] != 1 || memcmp(pixel + i, pixel + i + 240, 16) != 0;
            if (number < COUNT) ++seen[number];
            sum += number;
        }
        EXPECT_NEAR(sum / (double)items[s] / COUNT, 0.5, 0.1);
        free(pixel);
    }
    for (int i = 0; i < COUNT; ++i) wrong += seen[i] != 1;
    EXPECT_EQ(wrong, 0);
}

static void test_bad_font(void) {
#define ROW "00010002000300040005000600070008"
    static const struct {
        const char *lines, *message;
    } bad[] = {
        {"0041:" ROW "\n0042:" ROW "0\n", "font.hex: line 2 has no glyph of 32 or 64"},
        {"0041:" ROW "0\n", "line 1 has no glyph"},
        {"0041:" ROW "\n0042:" ROW "0001000200030004000500060007000g\n", "line 2 has no glyph"},
        {"0041:" ROW "\n\n0042:" ROW "\n", "line 2 does not begin with a code point"},
        {"0041:" ROW "\n041:" ROW "\n", "line 2 does not begin with a code point"},
        {"0041:" ROW "\n0000041:" ROW "\n", "line 2 does not begin with a code point"},
        {"0041:" ROW "\n0042" ROW "\n", "line 2 does not begin with a code point"},
        {"0041:" ROW ROW ROW "\n", "line 1 is too long for a glyph"},
        {"0041:" ROW "\n0042:" ROW ROW "\n", "1 glyphs of 16 x 16 pixels are too few"},
    };
    for (size_t k = 0; k < sizeof bad / sizeof bad[0]; ++k) {
        const char *source = support_path(folder, "font.hex");
        support_write_file(source, bad[k].lines, strlen(bad[k].lines));
        PackConfig config = {.input = &(PackInput){source, NULL},
                             .inputs = 1,
                             .out = support_path(folder, "bad-font")};
        EXPECT_FAIL(pack(&config), BAD_DATA, bad[k].message);
        EXPECT(!file_exists(config.out));
    }
    // Fewer digits than any glyph has: a text.
    const char *source = support_path(folder, "list.txt");
    support_write_file(source, "0041:00010002\n0042:00030004\n", 28);
    support_pack(source, support_path(folder, "list"));
#undef ROW
}

static void test_unifont(void) {
    if (!file_exists(unifont)) SKIP("unifont is not installed");
    static const char *const splits[3] = {"train", "valid", "test"};
    static const int64_t items[3] = {44898, 2494, 2495};
    const char *out = support_path(folder, "unifont");
    support_pack(unifont, out);
    int64_t all = 0;
    double ink = 0;
    for (int s = 0; s < 3; ++s) {
        size_t bytes = 0;
        double of_split = 0;
        uint8_t *pixel = support_read_column(out, splits[s], "tokens", 0, &bytes);
        for (size_t i = 0; i < bytes; ++i) of_split += pixel[i];
        EXPECT_EQ(bytes, items[s] * 256);
        EXPECT_NEAR(of_split / (double)bytes, 0.275, 0.01);
        all += items[s];
        ink += of_split;
        free(pixel);
    }
    EXPECT_EQ(all, 49887);
    EXPECT_NEAR(ink / (double)all / 256, 0.27483, 5e-6);
    EXPECT_OK(dataset_verify(out, 0, 1));
}

int main(void) {
    snprintf(folder, sizeof folder, "%s", test_folder("glyph"));
    RUN(test_glyphs);
    RUN(test_bad_font);
    RUN(test_unifont);
    (void)!folder_remove(folder);
    return test_report();
}
