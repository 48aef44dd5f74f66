// Sorted ranges behind data/sample_set.h.
#include "data/sample_set.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_RANGES_MOST = 8 };

void sample_set_clear(SampleSet *set) {
    free(set->range);
    *set = (SampleSet){0};
}

// The place of the first range that ends behind `number`.
static int64_t place_of(const SampleSet *set, uint64_t number) {
    int64_t begin = 0, end = set->ranges;
    while (begin < end) {
        int64_t middle = begin + (end - begin) / 2;
        if (set->range[middle].end <= number)
            begin = middle + 1;
        else
            end = middle;
    }
    return begin;
}

bool sample_set_has(const SampleSet *set, uint64_t number) {
    int64_t place = place_of(set, number);
    return place < set->ranges && set->range[place].begin <= number;
}

uint64_t sample_set_last(const SampleSet *set) {
    REQUIRE(set->ranges > 0);
    return set->range[set->ranges - 1].end - 1;
}

static Status make_room(SampleSet *set) {
    if (set->ranges < set->room) return STATUS_OK;
    int64_t room = 2 * set->room + 16;
    SampleRange *grown = realloc(set->range, (size_t)room * sizeof *grown);
    FAIL_IF(grown == NULL, NO_MEMORY, "no memory for %" PRId64 " ranges of samples", room);
    set->range = grown;
    set->room = room;
    return STATUS_OK;
}

// The ranges that touch the new one become one with it.
Status sample_set_add_range(SampleSet *set, uint64_t begin, uint64_t end) {
    REQUIRE(begin < end);
    TRY(make_room(set));
    int64_t first = place_of(set, begin), last = first;
    if (first > 0 && set->range[first - 1].end == begin) --first;
    while (last < set->ranges && set->range[last].begin <= end) ++last;
    SampleRange joined = {begin, end};
    for (int64_t i = first; i < last; ++i) {
        const SampleRange *range = &set->range[i];
        if (range->begin < joined.begin) joined.begin = range->begin;
        if (range->end > joined.end) joined.end = range->end;
        set->count -= (int64_t)(range->end - range->begin);
    }
    memmove(set->range + first + 1, set->range + last,
            (size_t)(set->ranges - last) * sizeof *set->range);
    set->range[first] = joined;
    set->ranges += 1 - (last - first);
    set->count += (int64_t)(joined.end - joined.begin);
    return STATUS_OK;
}

Status sample_set_add(SampleSet *set, uint64_t number) {
    return sample_set_add_range(set, number, number + 1);
}

Status sample_set_join(SampleSet *set, const SampleSet *other) {
    for (int64_t i = 0; i < other->ranges; ++i)
        TRY(sample_set_add_range(set, other->range[i].begin, other->range[i].end));
    return STATUS_OK;
}

json_t *sample_set_json(const SampleSet *set) {
    json_t *list = json_array();
    for (int64_t i = 0; i < set->ranges; ++i) {
        json_int_t begin = (json_int_t)set->range[i].begin, end = (json_int_t)set->range[i].end;
        json_array_append_new(list, end == begin + 1 ? json_integer(begin)
                                                     : json_pack("[I, I]", begin, end));
    }
    return list;
}

Status sample_set_read(const json_t *object, const char *key, const char *what, SampleSet *set) {
    json_t *list;
    if (json_object_get(object, key) == NULL) return STATUS_OK;
    TRY(json_get_array(object, key, what, &list));
    for (size_t i = 0; i < json_array_size(list); ++i) {
        const json_t *entry = json_array_get(list, i), *first = entry, *end = NULL;
        if (json_is_array(entry)) {
            first = json_array_get(entry, 0);
            end = json_array_get(entry, 1);
        }
        json_int_t from = json_is_integer(first) ? json_integer_value(first) : -1;
        bool in_range = from >= 0 && from < INT64_MAX;
        json_int_t to = json_is_integer(end) ? json_integer_value(end) : in_range ? from + 1 : 0;
        bool good =
            in_range && to > from &&
            (!json_is_array(entry) || (json_is_integer(end) && json_array_size(entry) == 2));
        FAIL_IF(!good, BAD_DATA, "%s: entry %zu of '%s' is no sample number and no range of them",
                what, i, key);
        TRY(sample_set_add_range(set, (uint64_t)from, (uint64_t)to));
    }
    return STATUS_OK;
}

void sample_set_text(const SampleSet *set, char *out, size_t bytes) {
    const char *noun = set->count == 0 ? "no sample" : set->count == 1 ? "sample" : "samples";
    size_t used = (size_t)snprintf(out, bytes, "%s", noun);
    int64_t left = set->count;
    for (int64_t i = 0; i < set->ranges && i < TEXT_RANGES_MOST && used < bytes; ++i) {
        uint64_t begin = set->range[i].begin, end = set->range[i].end;
        used +=
            (size_t)snprintf(out + used, bytes - used, "%s%" PRIu64, i == 0 ? " " : ", ", begin);
        if (end > begin + 1 && used < bytes)
            used += (size_t)snprintf(out + used, bytes - used, "-%" PRIu64, end - 1);
        left -= (int64_t)(end - begin);
    }
    if (used < bytes && left > 0)
        used += (size_t)snprintf(out + used, bytes - used, " and %" PRId64 " more", left);
    if (used < bytes) snprintf(out + used, bytes - used, set->count <= 1 ? " is" : " are");
}
