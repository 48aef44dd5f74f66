// A sorted list of numbers behind data/sample_set.h.
#include "data/sample_set.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_NUMBERS_MOST = 8 };

void sample_set_clear(SampleSet *set) {
    free(set->number);
    *set = (SampleSet){0};
}

// The place of the first number that is not below `number`.
static int64_t place_of(const SampleSet *set, uint64_t number) {
    int64_t begin = 0, end = set->count;
    while (begin < end) {
        int64_t middle = begin + (end - begin) / 2;
        if (set->number[middle] < number)
            begin = middle + 1;
        else
            end = middle;
    }
    return begin;
}

bool sample_set_has(const SampleSet *set, uint64_t number) {
    int64_t place = place_of(set, number);
    return place < set->count && set->number[place] == number;
}

Status sample_set_add(SampleSet *set, uint64_t number) {
    int64_t place = place_of(set, number);
    if (sample_set_has(set, number)) return STATUS_OK;
    if (set->count == set->room) {
        int64_t room = 2 * set->room + 16;
        uint64_t *grown = realloc(set->number, (size_t)room * sizeof *grown);
        FAIL_IF(grown == NULL, NO_MEMORY, "no memory for a set of %" PRId64 " samples", room);
        set->number = grown;
        set->room = room;
    }
    memmove(set->number + place + 1, set->number + place,
            (size_t)(set->count - place) * sizeof *set->number);
    set->number[place] = number;
    ++set->count;
    return STATUS_OK;
}

Status sample_set_join(SampleSet *set, const SampleSet *other) {
    for (int64_t i = 0; i < other->count; ++i) TRY(sample_set_add(set, other->number[i]));
    return STATUS_OK;
}

json_t *sample_set_json(const SampleSet *set) {
    json_t *list = json_array();
    for (int64_t i = 0; i < set->count; ++i)
        json_array_append_new(list, json_integer((json_int_t)set->number[i]));
    return list;
}

Status sample_set_read(const json_t *object, const char *key, const char *what, SampleSet *set) {
    json_t *list;
    if (json_object_get(object, key) == NULL) return STATUS_OK;
    TRY(json_get_array(object, key, what, &list));
    for (size_t i = 0; i < json_array_size(list); ++i) {
        const json_t *entry = json_array_get(list, i);
        FAIL_IF(!json_is_integer(entry) || json_integer_value(entry) < 0, BAD_DATA,
                "%s: entry %zu of '%s' is no sample number", what, i, key);
        TRY(sample_set_add(set, (uint64_t)json_integer_value(entry)));
    }
    return STATUS_OK;
}

void sample_set_text(const SampleSet *set, char *out, size_t bytes) {
    int64_t shown = set->count < TEXT_NUMBERS_MOST ? set->count : TEXT_NUMBERS_MOST;
    const char *noun = set->count == 0 ? "no sample" : set->count == 1 ? "sample" : "samples";
    size_t used = (size_t)snprintf(out, bytes, "%s", noun);
    for (int64_t i = 0; i < shown && used < bytes; ++i)
        used += (size_t)snprintf(out + used, bytes - used, "%s%" PRIu64, i == 0 ? " " : ", ",
                                 set->number[i]);
    if (used < bytes && shown < set->count)
        used +=
            (size_t)snprintf(out + used, bytes - used, " and %" PRId64 " more", set->count - shown);
    if (used < bytes) snprintf(out + used, bytes - used, set->count <= 1 ? " is" : " are");
}
