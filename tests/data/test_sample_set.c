// Sets of sample numbers: sorted, without repeats, through JSON and as text.
#include "data/sample_set.h"

#include "base/mix.h"
#include "tests/test.h"

static void test_sorted_without_repeats(void) {
    SampleSet set = {0};
    bool wanted[500] = {false};
    int64_t count = 0;
    for (uint64_t i = 0; i < 400; ++i) {
        uint64_t number = mix64(i) % 500;
        count += !wanted[number];
        wanted[number] = true;
        EXPECT_OK(sample_set_add(&set, number));
    }
    EXPECT_EQ(set.count, count);
    for (int64_t i = 1; i < set.count; ++i) EXPECT(set.number[i - 1] < set.number[i]);
    for (uint64_t i = 0; i < 500; ++i) EXPECT_EQ(sample_set_has(&set, i), wanted[i]);
    sample_set_clear(&set);
    EXPECT(!sample_set_has(&set, 0));
}

static void test_json(void) {
    SampleSet set = {0}, again = {0};
    EXPECT_OK(sample_set_add(&set, 77));
    EXPECT_OK(sample_set_add(&set, 5));
    json_t *object = json_pack("{s:o, s:[s], s:[i]}", "samples", sample_set_json(&set), "text", "x",
                               "below", -1);
    EXPECT_OK(sample_set_add(&again, 6));
    EXPECT_OK(sample_set_read(object, "samples", "file", &again)); // added to what is there
    EXPECT_OK(sample_set_read(object, "absent", "file", &again));
    EXPECT_EQ(again.count, 3);
    EXPECT(again.number[0] == 5 && again.number[1] == 6 && again.number[2] == 77);
    EXPECT_FAIL(sample_set_read(object, "text", "file", &again), BAD_DATA, "file: entry 0");
    EXPECT_FAIL(sample_set_read(object, "below", "file", &again), BAD_DATA, "'below'");
    json_decref(object);
    sample_set_clear(&set);
    sample_set_clear(&again);
}

static void test_text(void) {
    static const char *const wanted[] = {"no sample is", "sample 3 is", "samples 3, 6 are"};
    SampleSet set = {0};
    char text[100];
    for (uint64_t i = 0; i < 3; ++i) {
        sample_set_text(&set, text, sizeof text);
        EXPECT_TEXT(text, wanted[i]);
        EXPECT_OK(sample_set_add(&set, 3 * i + 3));
    }
    for (uint64_t i = 0; i < 20; ++i) EXPECT_OK(sample_set_add(&set, 3 * i + 3));
    sample_set_text(&set, text, sizeof text);
    EXPECT_TEXT(text, "samples 3, 6, 9, 12, 15, 18, 21, 24 and 12 more are");
    sample_set_text(&set, text, 12); // cut, never beyond
    EXPECT_TEXT(text, "samples 3, ");
    sample_set_clear(&set);
}

int main(void) {
    RUN(test_sorted_without_repeats);
    RUN(test_json);
    RUN(test_text);
    return test_report();
}
