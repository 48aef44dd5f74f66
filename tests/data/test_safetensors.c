// safetensors headers: the worked example of the reference, a round trip, and all that is refused.
#include "base/file.h"
#include "data/safetensors.h"
#include "tests/test.h"

// A file in memory: the header text behind its length, then zeroed data.
static char file[4096];
static size_t file_bytes;

static void make_file(const char *header, size_t header_bytes, size_t data_bytes) {
    memset(file, 0, sizeof file);
    for (int i = 0; i < 8; ++i) file[i] = (char)((uint64_t)header_bytes >> 8 * i);
    memcpy(file + 8, header, header_bytes);
    file_bytes = 8 + header_bytes + data_bytes;
}

static Status parse_bytes(const char *header, size_t header_bytes, size_t data_bytes) {
    Safetensors tensors;
    make_file(header, header_bytes, data_bytes);
    Status status = safetensors_parse(file, file_bytes, file_bytes, "x.safetensors", &tensors);
    safetensors_close(&tensors);
    return status;
}

static Status parse(const char *header, size_t data_bytes) {
    return parse_bytes(header, strlen(header), data_bytes);
}

static const char example[] =
    "\x90\0\0\0\0\0\0\0"
    "{\"__metadata__\":{\"format\":\"pt\"},\"w\":{\"dtype\":\"F32\",\"shape\":[1,2],"
    "\"data_offsets\":[0,8]},\"s\":{\"dtype\":\"BF16\",\"shape\":[],\"data_offsets\":[8,10]}}   "
    "\x00\x00\x80\x3f\x00\x00\x00\xc0\x80\x3f";
enum { EXAMPLE_BYTES = 162 };

static void test_example(void) {
    EXPECT_EQ(sizeof example - 1, EXAMPLE_BYTES);
    Safetensors tensors;
    EXPECT_OK(safetensors_parse(example, EXAMPLE_BYTES, EXAMPLE_BYTES, "example", &tensors));
    EXPECT_EQ(tensors.count, 2);
    EXPECT_EQ(tensors.header_bytes, 152);
    EXPECT_TEXT(json_string_value(json_object_get(tensors.metadata, "format")), "pt");
    const SafetensorsEntry *w = safetensors_find(&tensors, "w"),
                           *s = safetensors_find(&tensors, "s");
    EXPECT(w == &tensors.list[0] && s == &tensors.list[1]);
    EXPECT(safetensors_find(&tensors, "x") == NULL);
    EXPECT_TEXT(w->dtype, "F32");
    EXPECT(w->dims == 2 && w->dim[0] == 1 && w->dim[1] == 2 && w->begin == 0 && w->end == 8);
    EXPECT_TEXT(s->dtype, "BF16");
    EXPECT(s->dims == 0 && s->begin == 8 && s->end == 10);
    safetensors_close(&tensors);
}

static void test_build_example(void) {
    json_t *metadata = json_pack("{s:s}", "format", "pt");
    SafetensorsEntry list[] = {{.name = "w", .dtype = "F32", .dims = 2, .dim = {1, 2}},
                               {.name = "s", .dtype = "BF16"}};
    char *header;
    size_t bytes;
    EXPECT_OK(safetensors_build(list, 2, metadata, &header, &bytes));
    EXPECT_EQ(bytes, 152);
    EXPECT(memcmp(header, example, 152) == 0);
    free(header);
    json_decref(metadata);
}

static void test_round_trip(void) {
    json_t *metadata =
        json_pack("{s:s, s:s, s:s}", "zebra", "1", "format", "pt", "a\"\\\n\x01", "");
    SafetensorsEntry list[] = {
        {.name = "quote \" back \\ line \n bell \x07 clef \xF0\x9D\x84\x9E",
         .dtype = "I64",
         .dims = 3,
         .dim = {2, 3, 1}},
        {.name = "", .dtype = "U8", .dims = 1, .dim = {5}},
        {.name = "empty", .dtype = "F16", .dims = 2, .dim = {0, 7}},
        {.name = "../../etc/passwd", .dtype = "F4", .dims = 1, .dim = {4}},
    };
    char *header;
    size_t bytes;
    EXPECT_OK(safetensors_build(list, 4, metadata, &header, &bytes));
    EXPECT_EQ(bytes % 8, 0);
    EXPECT(strstr(header + 8, "{\"__metadata__\":{\"a\\\"\\\\\\n\\u0001\":\"\",\"format\"") ==
           header + 8);
    Safetensors tensors;
    EXPECT_OK(safetensors_parse(header, bytes, bytes + 48 + 5 + 2, "round", &tensors));
    EXPECT_EQ(tensors.count, 4);
    for (int i = 0; i < 4; ++i) {
        const SafetensorsEntry *entry = safetensors_find(&tensors, list[i].name);
        if (entry == NULL) {
            TEST_FAIL("tensor %d is lost", i);
            continue;
        }
        EXPECT_TEXT(entry->dtype, list[i].dtype);
        EXPECT_EQ(entry->dims, list[i].dims);
        EXPECT(memcmp(entry->dim, list[i].dim, sizeof entry->dim) == 0);
        EXPECT(entry->begin == list[i].begin && entry->end == list[i].end);
    }
    EXPECT(json_equal(tensors.metadata, metadata));
    safetensors_close(&tensors);
    free(header);
    json_decref(metadata);
}

static void test_build_refuses(void) {
    char *header;
    size_t bytes;
    SafetensorsEntry twice[] = {{.name = "w", .dtype = "F32"}, {.name = "w", .dtype = "F32"}};
    EXPECT_FAIL(safetensors_build(twice, 2, NULL, &header, &bytes), BAD_USAGE, "'w' is taken");
    SafetensorsEntry type = {.name = "w", .dtype = "float"};
    EXPECT_FAIL(safetensors_build(&type, 1, NULL, &header, &bytes), BAD_USAGE, "'float'");
    SafetensorsEntry half = {.name = "w", .dtype = "F4", .dims = 1, .dim = {3}};
    EXPECT_FAIL(safetensors_build(&half, 1, NULL, &header, &bytes), BAD_USAGE, "whole number");
    SafetensorsEntry large = {
        .name = "w", .dtype = "F32", .dims = 2, .dim = {INT64_MAX, INT64_MAX}};
    EXPECT_FAIL(safetensors_build(&large, 1, NULL, &header, &bytes), BAD_USAGE, "2^63");
    SafetensorsEntry name = {.name = "\xff", .dtype = "F32"};
    EXPECT_FAIL(safetensors_build(&name, 1, NULL, &header, &bytes), BAD_USAGE, "UTF-8");
    SafetensorsEntry meta = {.name = "__metadata__", .dtype = "F32"};
    EXPECT_FAIL(safetensors_build(&meta, 1, NULL, &header, &bytes), BAD_USAGE, "taken");
    json_t *metadata = json_pack("{s:i}", "n", 1);
    EXPECT_FAIL(safetensors_build(twice, 1, metadata, &header, &bytes), BAD_USAGE, "texts");
    json_decref(metadata);
}

#define W(rest) "{\"w\":{\"dtype\":\"U8\",\"shape\":[1]" rest "}"
#define ENTRY(name, type, shape, offsets)                                                          \
    "\"" name "\":{\"dtype\":\"" type "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static void test_lengths(void) {
    Safetensors t;
    static const char zeros[16];
    EXPECT_FAIL(safetensors_parse(zeros, 0, 0, "x", &t), BAD_DATA, "no safetensors file");
    EXPECT_FAIL(safetensors_parse(zeros, 7, 7, "x", &t), BAD_DATA, "no safetensors file");
    EXPECT_FAIL(safetensors_parse(zeros, 16, 16, "x", &t), BAD_DATA, "header of 0 bytes");
    EXPECT_FAIL(safetensors_parse(zeros, 4, 16, "x", &t), BAD_DATA, "not whole");
    EXPECT_FAIL(safetensors_parse(example, 100, EXAMPLE_BYTES, "x", &t), BAD_DATA, "not whole");
    EXPECT_FAIL(safetensors_parse(example, 100, 100, "x", &t), BAD_DATA, "144 bytes cannot be");
    EXPECT_FAIL(safetensors_parse("\1\xe1\xf5\5\0\0\0\0", 8, 1 << 30, "x", &t), BAD_DATA,
                "100000001 bytes cannot be");
    EXPECT_FAIL(safetensors_parse("\xff\xff\xff\xff\xff\xff\xff\xff", 8, 1 << 30, "x", &t),
                BAD_DATA, "18446744073709551615 bytes cannot be");
}

static void test_places(void) {
    EXPECT_OK(parse("{}", 0));
    EXPECT_FAIL(parse("{}", 1), BAD_DATA, "end at data byte 0 of 1");
    EXPECT_OK(parse("{" ENTRY("a", "U8", "[2]", "[0,2]") "}", 2));
    EXPECT_FAIL(parse("{" ENTRY("a", "U8", "[2]", "[0,2]") "}", 3), BAD_DATA, "byte 2 of 3");
    EXPECT_FAIL(parse("{" ENTRY("a", "U8", "[2]", "[0,2]") "}", 1), BAD_DATA, "byte 2 of 1");
    EXPECT_FAIL(parse("{" ENTRY("a", "U8", "[2]", "[1,3]") "}", 3), BAD_DATA, "hole");
    EXPECT_FAIL(
        parse("{" ENTRY("a", "U8", "[2]", "[0,2]") "," ENTRY("b", "U8", "[1]", "[3,4]") "}", 4),
        BAD_DATA, "'b' begins at data byte 3, which leaves a hole");
    EXPECT_FAIL(
        parse("{" ENTRY("a", "U8", "[2]", "[0,2]") "," ENTRY("b", "U8", "[2]", "[1,3]") "}", 3),
        BAD_DATA, "'b' begins at data byte 1, but the one before ends at byte 2");
    EXPECT_FAIL(parse("{" ENTRY("a", "U8", "[1]", "[1,0]") "}", 1), BAD_DATA, "[begin, end]");
    EXPECT_FAIL(parse("{" ENTRY("a", "U8", "[1]", "[-1,0]") "}", 1), BAD_DATA, "[begin, end]");
    // Fine: order of the file, a misaligned tensor, empty ones.
    EXPECT_OK(parse("{" ENTRY("b", "F32", "[1]", "[1,5]") "," ENTRY(
                        "a", "U8", "[1]", "[0,1]") "," ENTRY("e", "F64", "[3,0]", "[1,1]") "}",
                    5));
}

static void test_shapes(void) {
    EXPECT_FAIL(parse("{" ENTRY("a", "F32", "[2]", "[0,4]") "}", 4), BAD_DATA,
                "needs 8 bytes by its shape but has 4");
    EXPECT_FAIL(parse("{" ENTRY("a", "F4", "[3]", "[0,1]") "}", 1), BAD_DATA, "whole number");
    EXPECT_OK(parse("{" ENTRY("a", "F6_E2M3", "[4]", "[0,3]") "}", 3));
    EXPECT_FAIL(parse("{" ENTRY("a", "U8", "[4294967296,4294967296]", "[0,0]") "}", 0), BAD_DATA,
                "below 2^64");
    EXPECT_FAIL(parse("{" ENTRY("a", "U8", "[4294967296,4294967296,0]", "[0,0]") "}", 0), BAD_DATA,
                "below 2^64");
    EXPECT_FAIL(parse("{" ENTRY("a", "U64", "[2305843009213693952]", "[0,0]") "}", 0), BAD_DATA,
                "below 2^64");
    EXPECT_FAIL(parse("{" ENTRY("a", "U8", "[18446744073709551616]", "[0,0]") "}", 0), BAD_DATA,
                "not valid JSON");
    EXPECT_FAIL(parse("{" ENTRY("a", "U8", "[18446744073709551615]", "[0,0]") "}", 0), BAD_DATA,
                "not valid JSON");
    EXPECT_FAIL(parse("{" ENTRY("a", "U8", "[-1]", "[0,0]") "}", 0), BAD_DATA, "dimension 0");
    EXPECT_FAIL(parse("{" ENTRY("a", "U8", "[1.0]", "[0,1]") "}", 1), BAD_DATA, "dimension 0");
    EXPECT_FAIL(parse("{" ENTRY("a", "U8", "[1e0]", "[0,1]") "}", 1), BAD_DATA, "dimension 0");
    EXPECT_FAIL(parse("{" ENTRY("a", "U8", "1", "[0,1]") "}", 1), BAD_DATA, "'shape'");
    EXPECT_FAIL(parse("{" ENTRY("a", "U8", "[1,1,1,1,1,1,1,1,1]", "[0,1]") "}", 1), BAD_DATA,
                "9 dimensions");
    EXPECT_FAIL(parse("{" ENTRY("a", "U9", "[1]", "[0,1]") "}", 1), BAD_DATA, "dtype 'U9'");
    EXPECT_FAIL(parse("{" ENTRY("a", "f32", "[1]", "[0,4]") "}", 4), BAD_DATA, "dtype 'f32'");
}

static void test_json(void) {
    EXPECT_FAIL(
        parse("{" ENTRY("a", "U8", "[1]", "[0,1]") "," ENTRY("a", "U8", "[1]", "[0,1]") "}", 1),
        BAD_DATA, "duplicate");
    EXPECT_FAIL(
        parse("{" ENTRY("a", "U8", "[1]", "[0,1]") "," ENTRY("\\u0061", "U8", "[1]", "[0,1]") "}",
              1),
        BAD_DATA, "duplicate");
    EXPECT_FAIL(parse("{\"w\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[1],"
                      "\"data_offsets\":[0,1]}}",
                      1),
                BAD_DATA, "duplicate");
    EXPECT_FAIL(parse("{\"\xff\":1}", 0), BAD_DATA, "not valid JSON");
    EXPECT_FAIL(parse("{\"\xc0\xaf\":1}", 0), BAD_DATA, "not valid JSON");
    EXPECT_FAIL(parse("{\"\\ud834\":1}", 0), BAD_DATA, "not valid JSON");
    EXPECT_FAIL(parse("{\"a\\u0000b\":1}", 0), BAD_DATA, "not valid JSON");
    EXPECT_FAIL(parse_bytes("{}\0\0", 4, 0), BAD_DATA, "not valid JSON");
    EXPECT_FAIL(parse("{}{}", 0), BAD_DATA, "not valid JSON");
    EXPECT_FAIL(parse("{} x", 0), BAD_DATA, "not valid JSON");
    EXPECT_FAIL(parse(" {}", 0), BAD_DATA, "does not begin with '{'");
    EXPECT_FAIL(parse("[]", 0), BAD_DATA, "does not begin with '{'");
    EXPECT_FAIL(parse("{\"a\":[[[[[[[[1]]]]]]]]}", 0), BAD_DATA, "nested deeper than 8");
    EXPECT_FAIL(parse("{\"[[[[[[[[[[[\\\"[[\":1}", 0), BAD_DATA, "must be an object");
    EXPECT_OK(parse("{} \t\r\n", 0));
}

static void test_entries(void) {
    EXPECT_OK(parse(W(",\"data_offsets\":[0,1]") "}", 1));
    EXPECT_OK(parse(W(",\"data_offsets\":[0,1],\"extra\":[{\"x\":1}]") "}", 1));
    EXPECT_FAIL(parse(W("") "}", 1), BAD_DATA, "'data_offsets'");
    EXPECT_FAIL(parse(W(",\"data_offsets\":[0]") "}", 1), BAD_DATA, "'data_offsets'");
    EXPECT_FAIL(parse(W(",\"data_offsets\":[0,1,1]") "}", 1), BAD_DATA, "'data_offsets'");
    EXPECT_FAIL(parse(W(",\"data_offsets\":[0,1.0]") "}", 1), BAD_DATA, "'data_offsets'");
    EXPECT_FAIL(parse("{\"w\":{\"shape\":[1],\"data_offsets\":[0,1]}}", 1), BAD_DATA, "'dtype'");
    EXPECT_FAIL(parse("{\"w\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}", 1), BAD_DATA, "'shape'");
    EXPECT_FAIL(parse("{\"w\":[\"U8\",[1],[0,1]]}", 1), BAD_DATA, "must be an object");
    EXPECT_FAIL(parse("{\"w\":null}", 0), BAD_DATA, "must be an object");
    EXPECT_OK(parse("{\"__metadata__\":null}", 0));
    EXPECT_OK(parse("{\"__metadata__\":{}}", 0));
    EXPECT_FAIL(parse("{\"__metadata__\":{\"a\":1}}", 0), BAD_DATA, "'a' must be text");
    EXPECT_FAIL(parse("{\"__metadata__\":[]}", 0), BAD_DATA, "'__metadata__'");
}

static void test_read(void) {
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s/example.safetensors", test_folder("safetensors"));
    Safetensors tensors;
    EXPECT_FAIL(safetensors_read(path, &tensors), NOT_FOUND, path);
    EXPECT_OK(file_write_atomic(path, example, EXAMPLE_BYTES));
    EXPECT_OK(safetensors_read(path, &tensors));
    EXPECT_EQ(tensors.count, 2);
    safetensors_close(&tensors);
    for (size_t bytes = 0; bytes < EXAMPLE_BYTES; ++bytes) {
        EXPECT_OK(file_write_atomic(path, example, bytes));
        EXPECT_FAIL(safetensors_read(path, &tensors), BAD_DATA, path);
        safetensors_close(&tensors);
    }
}

int main(void) {
    RUN(test_example);
    RUN(test_build_example);
    RUN(test_round_trip);
    RUN(test_build_refuses);
    RUN(test_lengths);
    RUN(test_places);
    RUN(test_shapes);
    RUN(test_json);
    RUN(test_entries);
    RUN(test_read);
    return test_report();
}
