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
    for (int64_t i = 1; i < set.ranges; ++i) EXPECT(set.range[i - 1].end < set.range[i].begin);
    for (uint64_t i = 0; i < 500; ++i) EXPECT_EQ(sample_set_has(&set, i), wanted[i]);
    sample_set_clear(&set);
    EXPECT(!sample_set_has(&set, 0));
}

// Ranges that overlap, touch and swallow others, against a list of switches.
static void test_ranges(void) {
    SampleSet set = {0};
    bool wanted[300] = {false};
    for (uint64_t i = 0; i < 60; ++i) {
        uint64_t begin = mix64(i) % 280, end = begin + 1 + mix64(i + 1000) % 9;
        EXPECT_OK(sample_set_add_range(&set, begin, end));
        int64_t count = 0;
        int wrong = 0;
        for (uint64_t k = 0; k < 300; ++k) {
            wanted[k] |= k >= begin && k < end;
            count += wanted[k];
            wrong += sample_set_has(&set, k) != wanted[k];
        }
        EXPECT_EQ(set.count, count);
        EXPECT_EQ(wrong, 0);
        for (int64_t k = 1; k < set.ranges; ++k) EXPECT(set.range[k - 1].end < set.range[k].begin);
    }
    EXPECT_OK(sample_set_add_range(&set, 0, 500));
    EXPECT(set.ranges == 1 && set.count == 500 && sample_set_last(&set) == 499);
    sample_set_clear(&set);
}

static void test_json_of_ranges(void) {
    static const char *const bad[] = {"[[3]]",
                                      "[[3, 3]]",
                                      "[[5, 3]]",
                                      "[[1, 2, 3]]",
                                      "[[-1, 3]]",
                                      "[1.5]",
                                      "[9223372036854775807]"};
    SampleSet set = {0}, again = {0};
    EXPECT_OK(sample_set_add_range(&set, 10, 20));
    EXPECT_OK(sample_set_add(&set, 3));
    json_t *object = json_pack("{s:o}", "lost", sample_set_json(&set));
    char *text = json_dumps(object, JSON_COMPACT);
    EXPECT_TEXT(text, "{\"lost\":[3,[10,20]]}");
    EXPECT_OK(sample_set_read(object, "lost", "file", &again));
    EXPECT(again.count == 11 && again.ranges == 2 && again.range[1].end == 20);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; ++i) {
        json_object_set_new(object, "lost", json_loads(bad[i], 0, NULL));
        EXPECT_FAIL(sample_set_read(object, "lost", "file", &again), BAD_DATA, "file: entry 0");
    }
    free(text);
    json_decref(object);
    sample_set_clear(&set);
    sample_set_clear(&again);
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
    EXPECT(again.range[0].begin == 5 && again.range[0].end == 7 && again.range[1].begin == 77);
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
    EXPECT_OK(sample_set_add_range(&set, 4, 9));
    sample_set_text(&set, text, sizeof text);
    EXPECT_TEXT(text, "samples 3-9, 12, 15, 18, 21, 24, 27, 30 and 10 more are");
    sample_set_text(&set, text, 12); // cut, never beyond
    EXPECT_TEXT(text, "samples 3-9");
    sample_set_clear(&set);
}

int main(void) {
    RUN(test_sorted_without_repeats);
    RUN(test_ranges);
    RUN(test_json);
    RUN(test_json_of_ranges);
    RUN(test_text);
    return test_report();
}
