// Who is found to hold the others up: each verdict, and what must not be one.
#include "launch/watch/watch.h"

#include "launch/watch/verdict.h"
#include "tests/test.h"

enum { WORLD = 4 };
static const int hosts[WORLD] = {0, 0, 2, 2};
static Watch *watch;

// All ranks compute step 10, as usual for 0.1 s; told at time 100.
static Report usual_report(int rank) {
    Report report = {.rank = rank, .phase = PHASE_COMPUTE, .step = 10, .collective = 50};
    report.gone = report.stopped = -1;
    report.age = 0.05;
    for (int i = 0; i < PHASE_COUNT; ++i) report.usual[i] = 0.1;
    return report;
}

static void hear(Report report, double now) {
    watch_hear(watch, &report, now);
}

static void begin(void) {
    watch_close(watch);
    watch = watch_open(WORLD, 0, hosts, 4, 10, 100);
    for (int i = 0; i < WORLD; ++i) hear(usual_report(i), 100);
}

// All but one wait in collective 51.
static void wait_for_one(int late, double now) {
    for (int i = 0; i < WORLD; ++i) {
        Report report = usual_report(i);
        report.age = now - 100;
        if (i != late) {
            report.collective = 51;
            strcpy(report.what, "exchange 3");
        }
        hear(report, now);
    }
}

#define EXPECT_VERDICT(now, expected_kind, expected_rank)                                          \
    do {                                                                                           \
        Verdict verdict_ = watch_judge(watch, now);                                                \
        EXPECT_EQ(verdict_.kind, VERDICT_##expected_kind);                                         \
        if (verdict_.kind != VERDICT_NONE) EXPECT_EQ(verdict_.rank, expected_rank);                \
    } while (0)

static void test_quiet(void) {
    begin();
    EXPECT_VERDICT(100.1, NONE, 0);
    wait_for_one(2, 105);
    EXPECT_VERDICT(105, NONE, 0); // sooner than control.patience
}

static void test_busy(void) {
    begin();
    wait_for_one(2, 111);
    EXPECT_VERDICT(111, BUSY, 2);
    Verdict verdict = watch_judge(watch, 111);
    EXPECT_EQ(verdict.waiting, 3);
    EXPECT_EQ(verdict.state.step, 10);
    EXPECT_NEAR(verdict.usual, 0.1, 1e-9);
    EXPECT_NEAR(verdict.seconds, 11, 1e-9);

    // Work that usually takes long may take long: ten times as long.
    begin();
    for (int i = 0; i < WORLD; ++i) {
        Report report = usual_report(i);
        report.usual[PHASE_COMPUTE] = 3;
        hear(report, 100);
    }
    EXPECT_NEAR(watch_deadline(watch, PHASE_COMPUTE), 30, 1e-9);
    EXPECT_NEAR(watch_deadline(watch, PHASE_DATA), 10, 1e-9);
    // And work that nobody has done yet.
    watch_close(watch);
    watch = watch_open(WORLD, 0, hosts, 4, 10, 100);
    EXPECT_NEAR(watch_deadline(watch, PHASE_COMPUTE), 60, 1e-9);
    EXPECT_NEAR(watch_deadline(watch, PHASE_EVALUATE), 300, 1e-9);
}

// Where nobody waits for it, work may take three times as long.
static void test_alone(void) {
    begin();
    for (double now = 101; now < 128; ++now)
        for (int i = 0; i < WORLD; ++i) {
            Report report = usual_report(i);
            report.age = now - 100;
            hear(report, now);
        }
    EXPECT_VERDICT(127, NONE, 0);
    EXPECT_VERDICT(131, BUSY, 0);
}

static void test_silent(void) {
    begin();
    for (int i = 0; i < WORLD; ++i)
        if (i != 3) hear(usual_report(i), 105);
    EXPECT(watch_is_quiet(watch, 3, 105));
    EXPECT(!watch_is_quiet(watch, 2, 105));
    EXPECT_VERDICT(105, NONE, 0); // not probed yet
    watch->rank[3].reach = REACH_ACCEPTS;
    EXPECT_VERDICT(105, SILENT, 3);
    watch->rank[3].reach = REACH_NONE;
    EXPECT_VERDICT(105, CUT, 3);
    // A refusal where no door was ever open may be a firewall's.
    watch->rank[3].reach = REACH_REFUSED;
    EXPECT_VERDICT(105, NONE, 0);
    watch->rank[3].has_answered = true;
    EXPECT_VERDICT(105, GONE, 3);

    // The launcher is ending the job: there is no time to find out more.
    watch->rank[3].reach = REACH_UNKNOWN;
    watch->hurries = true;
    EXPECT_VERDICT(105, CUT, 3);
    // But a probe is sent first, and is answered before the host is called cut off.
    hear(usual_report(3), 104.7);
    EXPECT(watch_is_quiet(watch, 3, 105));
    EXPECT_VERDICT(105, NONE, 0);
    watch->rank[3].reach = REACH_REFUSED;
    EXPECT_VERDICT(105, GONE, 3);
    watch->rank[3].reach = REACH_UNKNOWN;
    EXPECT_VERDICT(105.3, CUT, 3);
    watch->hurries = false;
    EXPECT(!watch_is_quiet(watch, 3, 105));
    hear(usual_report(3), 100);

    // A neighbour saw more.
    watch->rank[3].reach = REACH_ACCEPTS;
    Report neighbour = usual_report(2);
    neighbour.stopped = 3;
    hear(neighbour, 105);
    EXPECT_VERDICT(105, STOPPED, 3);
    hear(usual_report(3), 105);
    EXPECT_VERDICT(105, NONE, 0);
    neighbour.stopped = -1;
    neighbour.gone = 3;
    hear(neighbour, 105.1);
    EXPECT_VERDICT(105.2, GONE, 3);
}

static void test_whole_host(void) {
    begin();
    hear(usual_report(0), 109);
    hear(usual_report(1), 109);
    watch->rank[2].reach = watch->rank[3].reach = REACH_NONE;
    EXPECT_VERDICT(109, CUT, 2);
    EXPECT_EQ(watch_judge(watch, 109).others, 1);
}

static void test_network(void) {
    begin();
    for (int i = 0; i < WORLD; ++i) {
        Report report = usual_report(i);
        strcpy(report.what, "board");
        report.collective = i == 2 ? 50 : 51;
        report.age = 12;
        hear(report, 112);
    }
    EXPECT_VERDICT(112, NETWORK, 2);
}

static void test_ends(void) {
    // Whoever has left is missed by nobody; whoever never came is not judged.
    begin();
    Report leaving = usual_report(1);
    leaving.leaving = 1;
    hear(leaving, 101);
    watch->rank[1].reach = REACH_REFUSED;
    for (int i = 0; i < WORLD; ++i)
        if (i != 1) hear(usual_report(i), 108);
    EXPECT_VERDICT(108, NONE, 0);
    watch_close(watch);
    watch = watch_open(WORLD, 0, hosts, 4, 10, 100);
    hear(usual_report(0), 150);
    watch->rank[3].reach = REACH_NONE;
    EXPECT_VERDICT(150, NONE, 0);
}

// Numbers from outside: nothing is read or written beyond the ranks.
static void test_nonsense(void) {
    begin();
    Report report = usual_report(1);
    report.rank = WORLD;
    hear(report, 101);
    report.rank = -1;
    hear(report, 101);
    report = usual_report(1);
    report.phase = PHASE_COUNT;
    hear(report, 101);
    report = usual_report(1);
    report.age = NAN;
    hear(report, 101);
    EXPECT_NEAR(watch->rank[1].heard, 100, 1e-9);
    report = usual_report(1);
    report.gone = 2; // on another host: it cannot know
    report.stopped = 77;
    memset(report.what, 'x', sizeof report.what);
    hear(report, 101);
    EXPECT(!watch->rank[2].is_gone);
    EXPECT_EQ(strlen(watch->rank[1].last.what), sizeof report.what - 1);
}

static void test_words(void) {
    char text[VERDICT_TEXT_BYTES];
    VerdictFacts facts = {"n2", 4711, WORLD, "", ""};
    begin();
    wait_for_one(2, 112);
    Verdict verdict = watch_judge(watch, 112);
    facts.by_itself = "waits in the kernel";
    verdict_text(&verdict, &facts, text);
    EXPECT(strstr(text, "rank 2 on n2 (pid 4711) is computing gradients at step 10 since 12 s"
                        " (usually 0.1 s); 3 of 4 ranks wait for it\n") != NULL);
    EXPECT(strstr(text, "its main thread waits in the kernel") != NULL);
    verdict_over_text(&verdict, &facts, 14, text);
    EXPECT_TEXT(text, "rank 2 on n2 (pid 4711) goes on after 14 s");
    static const struct {
        VerdictKind kind;
        const char *part;
    } rows[] = {{VERDICT_GONE, "ended without a word"},
                {VERDICT_STOPPED, "kill -CONT 4711"},
                {VERDICT_CUT, "ping n2"},
                {VERDICT_SILENT, "though the host answers"},
                {VERDICT_NETWORK, "btl_tcp_if_include"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; ++i) {
        verdict.kind = rows[i].kind;
        verdict_text(&verdict, &facts, text);
        EXPECT(strstr(text, rows[i].part) != NULL);
    }
    verdict.others = 3;
    verdict.kind = VERDICT_CUT;
    verdict_text(&verdict, &facts, text);
    EXPECT(strncmp(text, "rank 2 and 3 more on n2 cannot be reached", 41) == 0);
}

int main(void) {
    RUN(test_quiet);
    RUN(test_busy);
    RUN(test_alone);
    RUN(test_silent);
    RUN(test_whole_host);
    RUN(test_network);
    RUN(test_ends);
    RUN(test_nonsense);
    RUN(test_words);
    watch_close(watch);
    return test_report();
}
