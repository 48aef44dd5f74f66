// Checkpoints of several ranks (threads here): the same bytes whoever writes, agreement on failure.
#include <pthread.h>

#include "tests/test.h"
#include "tests/trainer/support_state.h"

enum { WORLD_MOST = 8 };

// What a job of several ranks works on, and what each of them got.
typedef struct {
    const char *run;
    State *state;
    int64_t step;
    Status started[WORLD_MOST], status[WORLD_MOST];
    char text[WORLD_MOST][ERROR_TEXT_BYTES];
    CheckpointMeta meta[WORLD_MOST];
    bool found[WORLD_MOST];
} Job;

static pthread_mutex_t warn_lock = PTHREAD_MUTEX_INITIALIZER;
static int warnings;
static char warned[2048];

static void warn(const char *message) {
    pthread_mutex_lock(&warn_lock);
    ++warnings;
    snprintf(warned, sizeof warned, "%s", message);
    pthread_mutex_unlock(&warn_lock);
}

static void save_rank(Comm *comm, void *context) {
    Job *job = context;
    int rank = comm_rank(comm);
    Ownership ownership;
    CheckpointRun run = state_lend(job->state, comm, job->run, &ownership);
    CheckpointMeta meta = state_meta(job->state, job->step);
    error_clear();
    CheckpointSave *half;
    job->status[rank] = job->started[rank] = checkpoint_save_start(&run, &meta, 2, &half);
    json_decref(meta.facts);
    if (job->status[rank] == STATUS_OK) {
        // As a training does: nobody waits, all finish once all have written, or failed to.
        uint64_t written = 0;
        while (written < (uint64_t)comm_world(comm)) {
            usleep(100);
            written = checkpoint_save_written(half);
            REQUIRE(comm_sum_u64(comm, &written, 1) == STATUS_OK);
        }
        job->status[rank] = checkpoint_save_finish(half);
    }
    snprintf(job->text[rank], ERROR_TEXT_BYTES, "%s", error_get()->text);
}

static void load_rank(Comm *comm, void *context) {
    Job *job = context;
    int rank = comm_rank(comm);
    Ownership ownership;
    CheckpointRun run = state_lend(job->state, comm, job->run, &ownership);
    error_clear();
    job->status[rank] = checkpoint_load(&run, warn, &job->meta[rank], &job->found[rank]);
    snprintf(job->text[rank], ERROR_TEXT_BYTES, "%s", error_get()->text);
}

static void save(Job *job, int world, int64_t step) {
    job->step = step;
    state_fill(job->state, (uint64_t)step);
    ranks_run(world, save_rank, job);
}

static void load(Job *job, int world) {
    warnings = 0;
    warned[0] = 0;
    state_fill(job->state, 1000);
    job->state->calls = 0;
    ranks_run(world, load_rank, job);
}

// All ranks loaded this step, each part once.
static void expect_loaded(Job *job, int world, int64_t step) {
    for (int rank = 0; rank < world; ++rank) {
        EXPECT_EQ(job->status[rank], STATUS_OK);
        EXPECT(job->found[rank]);
        EXPECT_EQ(job->meta[rank].step, step);
        EXPECT(json_object_get(job->meta[rank].facts, "config") != NULL);
        json_decref(job->meta[rank].facts);
    }
    EXPECT(state_is(job->state, (uint64_t)step));
}

// All ranks failed with the same sentence, but for who said it.
static void expect_failed(const Job *job, int world, Status status, const char *part) {
    for (int rank = 0; rank < world; ++rank) {
        EXPECT_EQ(job->status[rank], status);
        if (strstr(job->text[rank], part) == NULL)
            TEST_FAIL("rank %d says \"%s\", not \"%s\"", rank, job->text[rank], part);
    }
}

static int entries(const char *folder) {
    char **names;
    int count;
    EXPECT_OK(folder_names(folder, &names, &count));
    folder_names_free(names, count);
    return count;
}

static char *path_of(const char *run, const char *name) {
    static char path[4][2 * PATH_BYTES];
    static int turn;
    char *out = path[turn++ % 4];
    snprintf(out, sizeof path[0], "%s/%s", run, name);
    return out;
}

static void test_same_bytes(void) {
    State state;
    Comm *comm;
    char one[PATH_BYTES];
    snprintf(one, sizeof one, "%s", test_folder("ranks"));
    state_make(&state, 1000, 96); // 11 parts
    EXPECT_OK(comm_open("local", &comm));
    EXPECT_OK(state_save_step(comm, one, &state, 4, 1));
    comm_close(comm);
    for (int world = 1; world <= WORLD_MOST; ++world) {
        Job job = {.run = test_folder("ranks"), .state = &state};
        save(&job, world, 4);
        for (int rank = 0; rank < world; ++rank) EXPECT_EQ(job.status[rank], STATUS_OK);
        EXPECT(folders_equal(path_of(one, "step-000000004"), path_of(job.run, "step-000000004")));
        EXPECT_EQ(entries(job.run), 1);
    }
    state_free(&state);
}

static void test_other_world(void) {
    State state;
    state_make(&state, 1000, 96);
    Job job = {.run = test_folder("world"), .state = &state};
    save(&job, 3, 4);
    for (int world = 1; world <= WORLD_MOST; ++world) {
        load(&job, world);
        expect_loaded(&job, world, 4);
        EXPECT_EQ(state.calls, state.params.parts * STATE_KINDS);
    }
    EXPECT_EQ(warnings, 0);
    state_free(&state);
}

// More ranks than parts: some have nothing to write.
static void test_idle_ranks(void) {
    State state;
    state_make(&state, 100, 96);
    Job job = {.run = test_folder("idle"), .state = &state};
    save(&job, 5, 4);
    load(&job, 4);
    expect_loaded(&job, 4, 4);
    state_free(&state);
}

static void test_one_fails(void) {
    State state;
    state_make(&state, 1000, 96);
    Job job = {.run = test_folder("one"), .state = &state};
    save(&job, 4, 1);
    for (int part = 0; part < state.params.parts; ++part) {
        char wanted[64];
        snprintf(wanted, sizeof wanted, "part %d cannot be fetched", part);
        state.fail_part = part;
        save(&job, 4, 2);
        expect_failed(&job, 4, STATUS_IO, wanted);
        for (int rank = 0; rank < 4; ++rank) EXPECT_EQ(job.started[rank], STATUS_OK);
        EXPECT_EQ(entries(job.run), 1);
    }
    state.fail_part = -1;
    load(&job, 3);
    expect_loaded(&job, 3, 1);
    // Before any writer runs: the first rank finds the folder gone.
    char gone[PATH_BYTES];
    snprintf(gone, sizeof gone, "%s/gone", job.run);
    job.run = gone;
    save(&job, 4, 2);
    expect_failed(&job, 4, STATUS_NOT_FOUND, gone);
    for (int rank = 0; rank < 4; ++rank) EXPECT_EQ(job.started[rank], STATUS_NOT_FOUND);
    state_free(&state);
}

static void abandon_rank(Comm *comm, void *context) {
    Job *job = context;
    Ownership ownership;
    CheckpointRun run = state_lend(job->state, comm, job->run, &ownership);
    CheckpointMeta meta = state_meta(job->state, job->step);
    CheckpointSave *half;
    REQUIRE(checkpoint_save_start(&run, &meta, 2, &half) == STATUS_OK);
    json_decref(meta.facts);
    checkpoint_save_abandon(half);
}

// What a rank leaves that goes no further than the first half: nothing that counts, and the next
// save removes it.
static void test_abandoned(void) {
    State state;
    state_make(&state, 1000, 96);
    Job job = {.run = test_folder("abandoned"), .state = &state};
    save(&job, 2, 1);
    job.step = 2;
    ranks_run(2, abandon_rank, &job);
    EXPECT(entries(path_of(job.run, ".saving-step-000000002")) == state.params.parts);
    save(&job, 2, 3);
    EXPECT_EQ(entries(job.run), 2);
    load(&job, 3);
    expect_loaded(&job, 3, 3);
    checkpoint_save_abandon(NULL);
    state_free(&state);
}

static void test_one_finds_damage(void) {
    State state;
    state_make(&state, 1000, 96);
    for (int part = 0; part < state.params.parts; ++part) {
        Job job = {.run = test_folder("damage"), .state = &state};
        char name[64];
        save(&job, 2, 1);
        save(&job, 2, 2);
        snprintf(name, sizeof name, "step-000000002/part-%03d.safetensors.zst", part);
        EXPECT(truncate(path_of(job.run, name), 700) == 0);
        load(&job, 4);
        expect_loaded(&job, 4, 1);
        EXPECT_EQ(warnings, 1);
        EXPECT(strstr(warned, name) != NULL);
        EXPECT_OK(folder_remove(path_of(job.run, "step-000000001")));
        load(&job, 4);
        expect_failed(&job, 4, STATUS_BAD_DATA, "none of 1 checkpoints is good");
        expect_failed(&job, 4, STATUS_BAD_DATA, name);
    }
    state_free(&state);
}

static void test_nothing_and_other_model(void) {
    State state;
    state_make(&state, 1000, 96);
    Job job = {.run = test_folder("nothing"), .state = &state};
    load(&job, 4);
    for (int rank = 0; rank < 4; ++rank) EXPECT(job.status[rank] == STATUS_OK && !job.found[rank]);
    save(&job, 4, 1);
    state.params.list[2].name[0] = 'x';
    load(&job, 4);
    expect_failed(&job, 4, STATUS_BAD_CONFIG, "'xut.\"quoted\"'");
    state_free(&state);
}

int main(void) {
    alarm(100); // ranks that do not agree wait for ever
    RUN(test_same_bytes);
    RUN(test_other_world);
    RUN(test_idle_ranks);
    RUN(test_one_fails);
    RUN(test_abandoned);
    RUN(test_one_finds_damage);
    RUN(test_nothing_and_other_model);
    return test_report();
}
