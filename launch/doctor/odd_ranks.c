// Majorities and ranges behind launch/doctor/odd_ranks.h.
#include "launch/doctor/odd_ranks.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { HOSTS_TOLD = 4 };

static int count_key(const uint64_t *key, int world, uint64_t wanted) {
    int count = 0;
    for (int rank = 0; rank < world; ++rank) count += key[rank] == wanted;
    return count;
}

int odd_ranks_find(const uint64_t *key, int world, bool *odd, int *usual) {
    int most = 0;
    *usual = 0;
    for (int rank = 0; rank < world && 2 * most <= world; ++rank) {
        int count = rank > 0 && key[rank] == key[*usual] ? 0 : count_key(key, world, key[rank]);
        if (count <= most) continue;
        most = count;
        *usual = rank;
    }
    for (int rank = 0; rank < world; ++rank) odd[rank] = key[rank] != key[*usual];
    return world - most;
}

typedef struct {
    char *out;
    size_t bytes, used;
} Text;

__attribute__((format(printf, 2, 3))) static void add(Text *text, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    if (text->used < text->bytes) {
        int n = vsnprintf(text->out + text->used, text->bytes - text->used, format, arguments);
        text->used += n > 0 ? (size_t)n : 0;
    }
    va_end(arguments);
}

// From the first marked rank of a host on.
static int add_host(Text *text, const char *const *host, const bool *odd, int world, int first) {
    int count = 0, runs = 0;
    for (int rank = first; rank < world; ++rank)
        count += odd[rank] && strcmp(host[rank], host[first]) == 0;
    add(text, "rank%s", count == 1 ? "" : "s");
    for (int rank = first; rank < world; ++rank) {
        int begin = rank;
        while (rank < world && odd[rank] && strcmp(host[rank], host[first]) == 0) ++rank;
        if (rank == begin) continue;
        add(text, "%s %d", runs++ > 0 ? "," : "", begin);
        if (rank - begin > 1) add(text, "-%d", rank - 1);
    }
    add(text, " on %s", host[first]);
    return count;
}

static bool was_told(const char *const *host, const bool *odd, int rank) {
    for (int before = 0; before < rank; ++before)
        if (odd[before] && strcmp(host[before], host[rank]) == 0) return true;
    return false;
}

void odd_ranks_text(const char *const *host, const bool *odd, int world, char *out, size_t bytes) {
    Text text = {out, bytes, 0};
    int left = 0, hosts = 0;
    out[0] = '\0';
    for (int rank = 0; rank < world; ++rank) left += odd[rank];
    for (int rank = 0; rank < world && left > 0; ++rank) {
        if (!odd[rank] || was_told(host, odd, rank)) continue;
        if (hosts++ == HOSTS_TOLD) break;
        if (hosts > 1) add(&text, ", ");
        left -= add_host(&text, host, odd, world, rank);
    }
    if (left > 0) add(&text, " and %d more rank%s", left, left == 1 ? "" : "s");
}
