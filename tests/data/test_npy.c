// NPY headers and arrays as sources: known bytes, refusals, a round trip of numbers.
#include "data/pack/array_source.h"
#include "tests/test.h"

static const char plain[] = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }";

static size_t build(const char *dict, int version, char out[512]) {
    size_t begin = version == 1 ? 10 : 12, length = strlen(dict);
    size_t end = (begin + length + 64) / 64 * 64;
    memset(out, ' ', end);
    memcpy(out, "\x93NUMPY", 6);
    out[6] = (char)version;
    out[7] = 0;
    out[8] = (char)(end - begin);
    out[9] = 0;
    if (version > 1) out[10] = out[11] = 0;
    memcpy(out + begin, dict, length);
    out[end - 1] = '\n';
    return end;
}

static Status parse(const char *dict, int version, NpyHeader *out) {
    char file[512];
    return npy_parse(file, build(dict, version, file), "file", out);
}

static void test_header(void) {
    NpyHeader header;
    char file[512];
    EXPECT_EQ(build(plain, 1, file), 128);
    EXPECT_EQ(file[8], 0x76);
    for (int version = 1; version <= 3; ++version) {
        EXPECT_OK(parse(plain, version, &header));
        EXPECT(header.type.kind == 'f' && header.type.bytes == 4 && !header.type.big);
        EXPECT(header.dims == 2 && header.dim[0] == 2 && header.dim[1] == 3);
        EXPECT(header.numbers == 6 && header.header_bytes == 128);
    }
    EXPECT_OK(parse("{'shape': (5L,), 'fortran_order': True, 'descr': '>i2'}", 1, &header));
    EXPECT(header.dims == 1 && header.dim[0] == 5 && header.type.big);
    EXPECT_OK(parse("{'shape': (), 'fortran_order': False, 'descr': '|b1'}", 1, &header));
    EXPECT(header.dims == 0 && header.numbers == 1);
}

static void test_refusals(void) {
    NpyHeader h;
    const char *dict = "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }";
    EXPECT_FAIL(parse(dict, 1, &h), BAD_DATA, "np.ascontiguousarray");
    dict = "{'descr': '|O', 'fortran_order': False, 'shape': (2,), }";
    EXPECT_FAIL(parse(dict, 1, &h), BAD_DATA, "Python objects");
    dict = "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }";
    EXPECT_FAIL(parse(dict, 1, &h), BAD_DATA, "structures");
    dict = "{'descr': '<U4', 'fortran_order': False, 'shape': (2,), }";
    EXPECT_FAIL(parse(dict, 1, &h), BAD_DATA, "holds text");
    EXPECT_FAIL(parse("{'descr': '<f4', }", 1, &h), BAD_DATA, "lacks descr");
    EXPECT_FAIL(parse(plain, 4, &h), BAD_DATA, "version 4.0");
}

static void test_image_source(void) {
    char folder[] = "/tmp/dye-npy-XXXXXX", path[64], file[512];
    EXPECT(mkdtemp(folder) != NULL);
    snprintf(path, sizeof path, "%s/a.npy", folder);
    size_t bytes =
        build("{'descr': '|u1', 'fortran_order': False, 'shape': (2, 2, 1, 3), }", 1, file);
    for (int i = 0; i < 12; ++i) file[bytes + (size_t)i] = (char)i;
    EXPECT_OK(file_write_atomic(path, file, bytes + 12));
    Source source;
    SourceOptions options = {.stage = folder, .lead = true};
    EXPECT_OK(source_open(path, &options, &source));
    EXPECT(source.info.kind == KIND_IMAGE && source.split[0].samples == 2);
    uint8_t image[6];
    uint8_t *const out[DATASET_COLUMNS_MOST] = {image};
    int64_t got;
    EXPECT_OK(source_read(&source, 0, 1, 1, &got, out));
    EXPECT(memcmp(image, "\x06\x09\x07\x0a\x08\x0b", 6) == 0);
    source_close(&source);
    EXPECT_OK(file_write_atomic(path, file, bytes + 11));
    EXPECT_FAIL(source_open(path, &options, &source), BAD_DATA, "ends within");
    EXPECT_OK(folder_remove(folder));
}

int main(void) {
    RUN(test_header);
    RUN(test_refusals);
    RUN(test_image_source);
    return test_report();
}
