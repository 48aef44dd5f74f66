// The checks before training over made-up ranks: who is odd, how that is said, what fails and what
// only warns; words of DYE_DRILL.
#include "launch/doctor/doctor.h"

#include <errno.h>

#include "launch/drill.h"
#include "launch/doctor/odd_ranks.h"
#include "launch/watch/probe.h"
#include "tests/test.h"

enum { WORLD = 8 };

// ---- odd ranks --------------------------------------------------------------------------------

static const char *const hosts[WORLD] = {"n1", "n1", "n1", "n1", "n2", "n2", "n2", "n2"};
static const char *const spread[WORLD] = {"n1", "n2", "n3", "n4", "n5", "n6", "n1", "n2"};

static const char *text_of(const char *const *host, const char *marks) {
    static char text[200];
    bool odd[WORLD];
    for (int i = 0; i < WORLD; ++i) odd[i] = marks[i] == 'x';
    odd_ranks_text(host, odd, WORLD, text, sizeof text);
    return text;
}

static void test_ranges(void) {
    EXPECT_TEXT(text_of(hosts, "...x...."), "rank 3 on n1");
    EXPECT_TEXT(text_of(hosts, "....xxxx"), "ranks 4-7 on n2");
    EXPECT_TEXT(text_of(hosts, "xx.xx..x"), "ranks 0-1, 3 on n1, ranks 4, 7 on n2");
    EXPECT_TEXT(text_of(spread, "x.....x."), "ranks 0, 6 on n1");
    EXPECT_TEXT(text_of(spread, "xxxxxxxx"),
                "ranks 0, 6 on n1, ranks 1, 7 on n2, rank 2 on n3, rank 3 on n4 and 2 more ranks");
    char small[12];
    bool odd[WORLD] = {true, false, true};
    odd_ranks_text(hosts, odd, WORLD, small, sizeof small);
    EXPECT_TEXT(small, "ranks 0, 2 ");
}

static void expect_odd(const char *keys, const char *marks, int usual_expected) {
    uint64_t key[WORLD] = {0};
    bool odd[WORLD];
    int world = (int)strlen(keys), usual, count = 0;
    for (int i = 0; i < world; ++i) key[i] = (uint64_t)keys[i];
    int found = odd_ranks_find(key, world, odd, &usual);
    for (int i = 0; i < world; ++i) {
        EXPECT_EQ(odd[i], marks[i] == 'x');
        count += marks[i] == 'x';
    }
    EXPECT_EQ(found, count);
    EXPECT_EQ(usual, usual_expected);
}

static void test_majority(void) {
    expect_odd("a", ".", 0);
    expect_odd("aaaaaaaa", "........", 0);
    expect_odd("abbbbbbb", "x.......", 1);
    expect_odd("aaaabbbb", "....xxxx", 0);
    expect_odd("ab", ".x", 0);
    expect_odd("abc", ".xx", 0);
    expect_odd("abbcc", "x..xx", 1);
    expect_odd("abcbcc", "xx.x..", 2);
}

// ---- findings ---------------------------------------------------------------------------------

static RankFacts facts[WORLD];
static RunSettings settings;
static Findings findings;

// Two hosts of four ranks on which all is well.
static void make_facts(void) {
    memset(facts, 0, sizeof facts);
    settings = (RunSettings){.checkpoint = {.keep = 3}};
    for (int i = 0; i < WORLD; ++i) {
        RankFacts *rank = &facts[i];
        *rank = (RankFacts){.local_rank = i % 4,
                            .local_world = 4,
                            .launcher_world = WORLD,
                            .launcher_local_rank = i % 4,
                            .parameters = 1000000,
                            .folder = {.seen = true, .free_bytes = 80000000},
                            .clock = 1e9,
                            .threads = 2,
                            .cores = 8,
                            .memory_needed = 1000000000,
                            .memory_free = 5000000000,
                            .shared_free = 64000000,
                            .files = 1024};
        snprintf(rank->host, sizeof rank->host, "%s", hosts[i]);
        for (TraitKind kind = 0; kind < TRAITS; ++kind) {
            rank->trait[kind].key = 7;
            snprintf(rank->trait[kind].text, sizeof rank->trait[kind].text, "seven");
        }
    }
}

static void change_trait(int rank, TraitKind kind) {
    facts[rank].trait[kind].key = 8;
    snprintf(facts[rank].trait[kind].text, sizeof facts[rank].trait[kind].text, "eight");
}

static Status judge(void) {
    Examination seen = {
        .world = WORLD, .settings = &settings, .folder = {.path = "runs"}, .rank = facts};
    doctor_judge(&seen, true, &findings);
    return findings_status(&findings);
}

static void expect_warning(const char *check, const char *part) {
    bool found = false;
    EXPECT_OK(judge());
    EXPECT_EQ(findings_count(&findings, FINDING_WARN), 1);
    for (int i = 0; i < findings.count; ++i) {
        const Finding *finding = &findings.list[i];
        if (finding->level != FINDING_WARN) continue;
        found = strcmp(finding->check, check) == 0 && strstr(finding->text, part) != NULL;
        if (!found) TEST_FAIL("warning '%s: %s'", finding->check, finding->text);
    }
    EXPECT(found);
    make_facts();
}

static void test_all_well(void) {
    make_facts();
    EXPECT_OK(judge());
    EXPECT_EQ(findings_count(&findings, FINDING_OK), findings.count);
    EXPECT(findings.count >= 12);
}

static void test_traits(void) {
    make_facts();
    for (int rank = 4; rank < 8; ++rank) change_trait(rank, TRAIT_PROGRAM);
    EXPECT_FAIL(judge(), BAD_CONFIG,
                "ranks 4-7 on n2 run another program (eight instead of seven): copy the same file");
    make_facts();
    change_trait(0, TRAIT_DEVICE);
    EXPECT_FAIL(judge(), BAD_CONFIG, "rank 0 on n1 computes otherwise (eight instead of seven)");
    change_trait(5, TRAIT_DATA);
    EXPECT_FAIL(judge(), BAD_CONFIG, "; and rank 0 on n1 computes otherwise");
    EXPECT(strstr(error_get()->text, "rank 5 on n2 reads another data set") != NULL);
    make_facts();
    change_trait(3, TRAIT_WORDS);
    EXPECT_FAIL(judge(), BAD_CONFIG, "rank 3 on n1 was given another command line");
    make_facts();
    change_trait(3, TRAIT_LIBRARIES);
    EXPECT_FAIL(judge(), BAD_CONFIG, "rank 3 on n1 has other libraries");
}

static void test_model(void) {
    make_facts();
    for (int rank = 4; rank < 8; ++rank) {
        facts[rank].model_status = STATUS_NOT_FOUND;
        snprintf(facts[rank].model_error, sizeof facts[rank].model_error, "no data here");
    }
    EXPECT_FAIL(judge(), NOT_FOUND, "ranks 4-7 on n2: no data here");
}

static void test_gpus(void) {
    make_facts();
    for (int i = 0; i < WORLD; ++i) snprintf(facts[i].gpu, sizeof facts[i].gpu, "GPU-%d", i % 4);
    EXPECT_OK(judge()); // the same id on two hosts is no clash
    facts[6].gpu[4] = '1';
    EXPECT_FAIL(judge(), BAD_CONFIG, "ranks 5-6 on n2 share the GPU GPU-1: give each rank its own");
    EXPECT(strstr(error_get()->text, "(n2 has 4 for 3 GPUs), or let them share") != NULL);
    settings.device.share_gpu = true;
    EXPECT_OK(judge());
    settings.device.share_gpu = false;
}

static void test_run_folder(void) {
    make_facts();
    for (int rank = 4; rank < 8; ++rank) facts[rank].folder = (FolderFacts){0};
    EXPECT_FAIL(judge(), BAD_CONFIG,
                "ranks 4-7 on n2 do not see the run folder of rank 0 on n1: runs is local there");
    make_facts();
    facts[7].folder.write_error = EROFS;
    EXPECT_FAIL(judge(), BAD_CONFIG, "rank 7 on n2 cannot write in runs: Read-only file system");
    make_facts();
    facts[0].folder.free_bytes = 79999999; // four checkpoints of 20 bytes a parameter
    expect_warning("space", "make room");
}

static void test_warnings(void) {
    make_facts();
    facts[2].launcher_world = 1;
    expect_warning("launch", "the environment of rank 2 on n1 tells of 1 ranks");
    facts[5].launcher_local_rank = 0;
    expect_warning("launch", "the environment of rank 5 on n2");
    facts[2].launcher_world = -1;
    EXPECT_OK(judge());
    EXPECT_EQ(findings_count(&findings, FINDING_WARN), 0);
    for (int rank = 4; rank < 8; ++rank) facts[rank].memory_free = 4400000000;
    expect_warning("memory", "4 ranks on n2 need about 4 GB of 4.4 GB free");
    for (int rank = 0; rank < 4; ++rank) facts[rank].cores = 7;
    expect_warning("cores", "4 ranks on n1 run 8 threads on 7 cores");
    for (int rank = 4; rank < 8; ++rank) facts[rank].shared_free = 10000000;
    expect_warning("/dev/shm", "10 MB free for ranks 4-7 on n2");
    for (int rank = 4; rank < 8; ++rank) facts[rank].clock += rank < 7 ? 0.9 : 1.5;
    expect_warning("clocks", "the clock of rank 7 on n2 is off by up to +1.5 s");
    facts[1].files = 256;
    expect_warning("open files", "rank 1 on n1 may open 256 files only");
    facts[1].core_is_file = true;
    facts[1].core_bytes = UINT64_MAX;
    expect_warning("limits", "each crash of rank 1 on n1");
    facts[1].infiniband = 100;
    expect_warning("limits", "rank 1 on n1 may lock 0 MB");
}

// ---- words ------------------------------------------------------------------------------------

static void test_drill(void) {
    unsetenv("DYE_DRILL");
    EXPECT(drill_word("gpu") == NULL);
    setenv("DYE_DRILL", "gpus=2;gpu=GPU-a=b;slow;;last=", 1);
    EXPECT_TEXT(drill_word("gpu"), "GPU-a=b");
    EXPECT_TEXT(drill_word("gpus"), "2");
    EXPECT_TEXT(drill_word("slow"), "");
    EXPECT_TEXT(drill_word("last"), "");
    EXPECT(drill_word("gp") == NULL);
    unsetenv("DYE_DRILL");
}

static void test_rates(void) {
    EXPECT_TEXT(probe_name_rate(0.112e9), "1 Gbit/s Ethernet");
    EXPECT_TEXT(probe_name_rate(0.011e9), "less than 1 Gbit/s Ethernet");
    EXPECT(probe_name_rate(1.1e9) == NULL);
}

int main(void) {
    RUN(test_ranges);
    RUN(test_majority);
    RUN(test_all_well);
    RUN(test_traits);
    RUN(test_model);
    RUN(test_gpus);
    RUN(test_run_folder);
    RUN(test_warnings);
    RUN(test_drill);
    RUN(test_rates);
    return test_report();
}
