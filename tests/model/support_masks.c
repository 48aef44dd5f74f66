// S4 with masks, by enumeration.
#include "tests/model/support_masks.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/test.h"

int seen_token(int x_t, int i) {
    return x_t >> 2 * i & 3;
}

int seen_state(const int32_t token[LENGTH]) {
    return token[0] | token[1] << 2 | token[2] << 4 | token[3] << 6;
}

int seen_of(int state) {
    int x = 0;
    for (int i = 0; i < LENGTH; ++i) x |= token_of(state, i) << 2 * i;
    return x;
}

int masks_among(int x_t) {
    int masks = 0;
    for (int i = 0; i < LENGTH; ++i) masks += seen_token(x_t, i) == MASK;
    return masks;
}

double mass_kernel(CategoricalMass mass, int from, int to) {
    if (from == MASK || to == MASK) return to == MASK ? (from == MASK ? 1 : mass.mask) : 0;
    return mass.keep * (from == to) + mass.spread / K;
}

double couple_probability(CategoricalMass mass, int x_0, int x_t) {
    double p = source_probability(x_0);
    for (int i = 0; i < LENGTH; ++i) p *= mass_kernel(mass, token_of(x_0, i), seen_token(x_t, i));
    return p;
}

void best_answer(CategoricalMass mass, int x_t, double p[LENGTH][K]) {
    memset(p, 0, sizeof(double) * LENGTH * K);
    for (int x_0 = 0; x_0 < STATES; ++x_0) {
        double couple = couple_probability(mass, x_0, x_t);
        for (int i = 0; i < LENGTH; ++i) p[i][token_of(x_0, i)] += couple;
    }
    for (int i = 0; i < LENGTH; ++i) {
        double total = p[i][0] + p[i][1] + p[i][2];
        for (int k = 0; k < K; ++k) p[i][k] = total > 0 ? p[i][k] / total : 1.0 / K;
    }
}

void answer_best(const void *context, int x_t, float logits[LENGTH][K]) {
    const CategoricalMass *mass = context;
    double p[LENGTH][K];
    best_answer(*mass, x_t, p);
    for (int i = 0; i < LENGTH * K; ++i)
        logits[i / K][i % K] = (float)log(fmax(p[i / K][i % K], 1e-300));
}

void couple_errors(const ProcessCase *c, const CategoricalLevel *level, MaskAnswer *answer,
                   const void *context, double *error) {
    static int32_t x_0[COUPLES][LENGTH], x_t[COUPLES][LENGTH];
    static float logits[COUPLES][LENGTH][K];
    CategoricalLevel *row = c->pass.host_level;
    for (int at = 0; at < COUPLES; ++at) {
        int y = at % SEEN;
        for (int i = 0; i < LENGTH; ++i)
            x_0[at][i] = token_of(at / SEEN, i), x_t[at][i] = seen_token(y, i);
        if (at < SEEN)
            answer(context, y, logits[at]);
        else
            memcpy(logits[at], logits[y], sizeof *logits);
        row[at] = *level;
    }
    case_upload(c, c->pass.x_0, x_0, sizeof x_0);
    case_upload(c, c->pass.x_t, x_t, sizeof x_t);
    case_upload(c, c->pass.out, logits, sizeof logits);
    case_upload(c, c->pass.level, row, COUPLES * (int64_t)sizeof *row);
    process_bound_terms(c->process, c->stream, (Pass *)&c->pass, COUPLES);
    case_download(c, error, c->pass.error, COUPLES * (int64_t)sizeof *error);
}

CategoricalMass half_masked(const Process *process, double t) {
    (void)process, (void)t;
    return (CategoricalMass){0.5, 0, 0.5};
}

void source_law(double law[SEEN]) {
    memset(law, 0, SEEN * sizeof *law);
    for (int state = 0; state < STATES; ++state) law[seen_of(state)] = source_probability(state);
}

void draw_states(const ProcessCase *c, const SamplerConfig *config, int64_t samples,
                 const int32_t known[LENGTH], MaskAnswer *answer,
                 CategoricalMass (*mass)(const Process *process, double t), double count[SEEN]) {
    Sampler *sampler;
    Pass *pass = (Pass *)&c->pass;
    int32_t(*x)[LENGTH] = malloc((size_t)samples * sizeof *x);
    float(*logits)[LENGTH][K] = malloc((size_t)samples * sizeof *logits), table[SEEN][LENGTH][K];
    EXPECT(x != NULL && logits != NULL);
    EXPECT_OK(sampler_open(c->process, config, &sampler));
    case_number_samples(c, 500, samples);
    sampler_begin(sampler, c->stream, pass, samples, 11);
    for (int s = 0; s < samples && known != NULL; ++s) memcpy(x[s], known, sizeof *x);
    if (known != NULL) case_upload(c, pass->x_t, x, samples * (int64_t)sizeof *x);
    for (int i = 0; i < sampler_steps(sampler); ++i) {
        CategoricalMass at = mass(c->process, sampler_time(sampler, i));
        for (int y = 0; y < SEEN; ++y) answer(&at, y, table[y]);
        case_download(c, x, pass->x_t, samples * (int64_t)sizeof *x);
        for (int s = 0; s < samples; ++s) memcpy(logits[s], table[seen_state(x[s])], sizeof *table);
        case_upload(c, pass->out, logits, samples * (int64_t)sizeof *logits);
        sampler_advance(sampler, c->stream, pass, samples, i, 11);
    }
    case_download(c, x, pass->x_t, samples * (int64_t)sizeof *x);
    memset(count, 0, SEEN * sizeof *count);
    for (int s = 0; s < samples; ++s) ++count[seen_state(x[s])];
    sampler_close(sampler);
    free(x), free(logits);
}

double chi_square(const double count[SEEN], const double law[SEEN]) {
    double n = 0, square = 0;
    for (int y = 0; y < SEEN; ++y) n += count[y];
    for (int y = 0; y < SEEN; ++y) {
        if (law[y] > 0) square += (count[y] - n * law[y]) * (count[y] - n * law[y]) / (n * law[y]);
        if (!(law[y] > 0)) EXPECT(count[y] == 0);
    }
    return square;
}

double variation(const double a[SEEN], const double b[SEEN]) {
    double sum_a = 0, sum_b = 0, sum = 0;
    for (int y = 0; y < SEEN; ++y) sum_a += a[y], sum_b += b[y];
    for (int y = 0; y < SEEN; ++y) sum += fabs(a[y] / sum_a - b[y] / sum_b) / 2;
    return sum;
}
