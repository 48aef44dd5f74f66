// JSON: what is written is read back, and every complaint names file, line and key.
#include "base/json.h"

#include "base/file.h"
#include "tests/test.h"

static Status parse(const char *text, json_t **out) {
    return json_parse(text, strlen(text), "index.json", out);
}

static void test_write_and_read(void) {
    char path[PATH_BYTES], *text = NULL, name[8];
    size_t bytes = 0;
    snprintf(path, sizeof path, "%s/a.json", test_folder("json"));
    json_t *value = json_pack("{s:s, s:I, s:f, s:o, s:[i,i]}", "name", "x\xc3\xbc", "count",
                              (json_int_t)INT64_MIN, "share", 0.1, "hash",
                              json_hex64(0xFEDCBA9876543210), "dims", 28, 28);
    EXPECT_OK(json_write(path, value));
    json_decref(value);
    EXPECT_OK(file_read(path, 1000, &text, &bytes));
    EXPECT_TEXT(text, "{\n  \"name\": \"x\xc3\xbc\",\n  \"count\": -9223372036854775808,\n"
                      "  \"share\": 0.10000000000000001,\n  \"hash\": \"fedcba9876543210\",\n"
                      "  \"dims\": [\n    28,\n    28\n  ]\n}\n");
    free(text);
    json_t *back = NULL, *dims = NULL;
    int64_t count = 0;
    uint64_t hash = 0;
    EXPECT_OK(json_read(path, &back));
    EXPECT_OK(json_get_i64(back, "count", path, INT64_MIN, 0, &count));
    EXPECT(count == INT64_MIN);
    EXPECT_OK(json_get_hex64(back, "hash", path, &hash));
    EXPECT(hash == 0xFEDCBA9876543210);
    EXPECT_OK(json_get_text(back, "name", path, name, 4));
    EXPECT_TEXT(name, "x\xc3\xbc");
    EXPECT_OK(json_get_array(back, "dims", path, &dims));
    EXPECT_EQ(json_array_size(dims), 2);
    json_decref(back);
}

static void test_wrong_files(void) {
    char path[PATH_BYTES], part[2 * PATH_BYTES];
    json_t *out;
    snprintf(path, sizeof path, "%s/b.json", test_folder("json"));
    EXPECT_FAIL(json_read(path, &out), NOT_FOUND, "b.json");
    EXPECT_OK(file_write_atomic(path, "{\n\"a\": 1,\n\"b\": }", 16));
    snprintf(part, sizeof part, "%s:3: not valid JSON: ", path);
    EXPECT_FAIL(json_read(path, &out), BAD_DATA, part);
    EXPECT_FAIL(parse("", &out), BAD_DATA, "index.json:1: not valid JSON");
    EXPECT_FAIL(parse("[1]", &out), BAD_DATA, "must hold a JSON object");
    EXPECT_FAIL(parse("{\"a\": 1,\n \"a\": 2}", &out), BAD_DATA,
                "index.json:2: not valid JSON: dupl");
    EXPECT_FAIL(parse("{} x", &out), BAD_DATA, "not valid JSON");
    EXPECT_FAIL(parse("{\"a\": \"\\u0000\"}", &out), BAD_DATA, "not valid JSON");
    EXPECT_FAIL(parse("{\"a\": \"\xff\"}", &out), BAD_DATA, "not valid JSON");
    EXPECT_FAIL(parse("{\"a\": 9223372036854775808}", &out), BAD_DATA, "too big integer");
    EXPECT_FAIL(parse("{\"a\": NaN}", &out), BAD_DATA, "not valid JSON");
    char deep[100001];
    memset(deep, '[', 100000);
    memcpy(deep, "{\"a\":", 5);
    deep[100000] = 0;
    EXPECT_FAIL(parse(deep, &out), BAD_DATA, "not valid JSON");
}

static void test_wrong_members(void) {
    json_t *o = NULL, *child;
    int64_t i = 5;
    char text[4];
    uint64_t hash;
    EXPECT_OK(parse("{\"i\": 7, \"f\": 1.5, \"t\": \"four\", \"a\": [], \"o\": {},"
                    " \"h\": \"00000000000000F0\", \"g\": \"f0\", \"n\": null}",
                    &o));
    EXPECT_FAIL(json_get_i64(o, "x", "index.json", 0, 9, &i), BAD_DATA,
                "index.json: key 'x' is missing");
    EXPECT_FAIL(json_get_i64(o, "f", "index.json", 0, 9, &i), BAD_DATA,
                "index.json: 'f' must be an integer");
    EXPECT_FAIL(json_get_i64(o, "i", "index.json", 8, 9, &i), BAD_DATA,
                "index.json: 'i' is 7, must be from 8 to 9");
    EXPECT_FAIL(json_get_i64(o, "i", "index.json", 0, 6, &i), BAD_DATA, "must be from 0 to 6");
    EXPECT_EQ(i, 5);
    EXPECT_FAIL(json_get_text(o, "i", "index.json", text, 4), BAD_DATA, "'i' must be text");
    EXPECT_FAIL(json_get_text(o, "t", "index.json", text, 4), BAD_DATA,
                "'t' is 4 bytes long, at most 3 fit");
    EXPECT_FAIL(json_get_hex64(o, "h", "index.json", &hash), BAD_DATA, "must be text of 16 hex");
    EXPECT_FAIL(json_get_hex64(o, "g", "index.json", &hash), BAD_DATA, "must be text of 16 hex");
    EXPECT_FAIL(json_get_hex64(o, "i", "index.json", &hash), BAD_DATA, "must be text of 16 hex");
    EXPECT_FAIL(json_get_array(o, "o", "index.json", &child), BAD_DATA, "must be a list");
    EXPECT_FAIL(json_get_object(o, "a", "index.json", &child), BAD_DATA, "must be an object");
    EXPECT_FAIL(json_get_object(o, "n", "index.json", &child), BAD_DATA, "must be an object");
    EXPECT_OK(json_get_object(o, "o", "index.json", &child));
    json_decref(o);
}

int main(void) {
    RUN(test_write_and_read);
    RUN(test_wrong_files);
    RUN(test_wrong_members);
    return test_report();
}
