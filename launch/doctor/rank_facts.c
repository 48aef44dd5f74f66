// Where the facts of a rank come from.
#include "launch/doctor/rank_facts.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "data/codec.h"
#include "data/dataset_index.h"
#include "launch/drill.h"
#include "launch/forecast.h"
#include "launch/run_config.h"
#include "launch/version.h"

// ---- what the launcher says -------------------------------------------------------------------

static int number_of(const char *name) {
    const char *text = getenv(name);
    return text == NULL ? -1 : atoi(text);
}

// A job script's own SLURM_* are inherited by whatever runs in it: srun's count only where srun
// started this process.
static void read_launcher(RankFacts *out) {
    bool by_srun = getenv("PMIX_RANK") != NULL && getenv("OMPI_COMM_WORLD_SIZE") == NULL;
    out->launcher_world = number_of(by_srun ? "SLURM_STEP_NUM_TASKS" : "OMPI_COMM_WORLD_SIZE");
    out->launcher_local_rank = number_of(by_srun ? "SLURM_LOCALID" : "OMPI_COMM_WORLD_LOCAL_RANK");
}

// ---- what must be the same --------------------------------------------------------------------

static uint64_t hash_text(const char *text) {
    return codec_hash(text, strlen(text));
}

static void read_words(const Setup *setup, Trait *out) {
    size_t used = 0;
    out->key = setup->settings == NULL ? 0 : run_config_fixed_hash(setup->settings);
    for (int i = 0; i < setup->word_count; ++i) {
        out->key = out->key * 31 + hash_text(setup->words[i]);
        if (used < sizeof out->text)
            used += (size_t)snprintf(out->text + used, sizeof out->text - used, "%s%s",
                                     i > 0 ? " " : "", setup->words[i]);
    }
}

static void read_libraries(const Comm *comm, Trait *out) {
    json_t *facts = version_facts();
    const char *name;
    json_t *version;
    size_t used =
        (size_t)snprintf(out->text, sizeof out->text, "%.*s",
                         (int)strcspn(comm_description(comm), ","), comm_description(comm));
    json_object_foreach(facts, name, version) {
        if (used < sizeof out->text && strcmp(name, "dye") != 0)
            used += (size_t)snprintf(out->text + used, sizeof out->text - used, ", %s %s", name,
                                     json_string_value(version));
    }
    json_decref(facts);
    out->key = hash_text(out->text);
}

// What follows a semicolon decides no bits.
static void read_device(const Device *device, Trait *out) {
    snprintf(out->text, sizeof out->text, "%s", device->description);
    out->key = codec_hash(out->text, strcspn(out->text, ";"));
}

// ---- the model, without its memory ------------------------------------------------------------

static uint64_t foresee_memory(const Setup *setup, const Engine *engine) {
    int world = comm_world(setup->comm), begin, end, streams = setup->cores->threads;
    Plan plan;
    if (world > setup->settings->train.grains) return 0; // the trainer refuses
    grain_share(setup->settings->train.grains, world, comm_rank(setup->comm), &begin, &end);
    if (streams > end - begin) streams = end - begin;
    trainer_foresee(setup->settings, engine, world, comm_group(setup->comm), comm_rank(setup->comm),
                    streams, engine->device->on_host, &plan);
    return plan_host_bytes(&plan);
}

static Status open_model(const Setup *setup, const DatasetInfo *info, RankFacts *out) {
    const RunSettings *settings = setup->settings;
    // Mistakes that the trainer knows better.
    if (info->kind == KIND_TEXT && settings->data.length < 1) return STATUS_OK;
    EngineConfig config = {.network = &settings->model,
                           .process = &settings->process,
                           .data = info,
                           .length = settings->data.length,
                           .device = {.backend = settings->device.backend,
                                      .streams = 1,
                                      .gpu = setup->cores->gpu,
                                      .attention = settings->device.attention},
                           .capacity = 1};
    Engine engine = {0};
    Status status = engine_open(&config, &engine);
    if (status == STATUS_OK) {
        read_device(engine.device, &out->trait[TRAIT_DEVICE]);
        memcpy(out->gpu, engine.device->identity, sizeof out->gpu);
        out->parameters = engine.params.size;
        out->step_flops = 3 * network_forward_flops(engine.network) * (double)settings->train.batch;
        out->memory_needed = foresee_memory(setup, &engine);
    }
    engine_close(&engine);
    return status;
}

// Without a survey each rank has the data itself.
static Status load_index(const Setup *setup, const char *path, int p, DatasetIndex *out) {
    return setup->share == NULL ? dataset_index_load(path, out) : share_load(setup->share, p, out);
}

// Samples and their order depend on the identity alone; ranks that share shards need the same ones.
static uint64_t data_key(const Setup *setup, int p, const DatasetIndex *index) {
    uint64_t check;
    bool shared = setup->share != NULL && share_is_needed(setup->share, p, &check);
    return shared ? check : index->info.identity;
}

static Status open_data_and_model(const Setup *setup, RankFacts *out) {
    char path[SHARE_FOLDERS_MOST][SHARE_PATH_BYTES];
    int paths;
    Trait *trait = &out->trait[TRAIT_DATA];
    TRY(share_split_paths(setup->settings->data.path, path, &paths));
    for (int p = 0; p < paths; ++p) {
        DatasetIndex index = {0};
        TRY(load_index(setup, path[p], p, &index));
        trait->key = trait->key * 31 + data_key(setup, p, &index);
        size_t used = strlen(trait->text);
        snprintf(trait->text + used, sizeof trait->text - used, "%s%016llx, %s at %.200s",
                 p > 0 ? "; " : "", (unsigned long long)data_key(setup, p, &index), index.info.name,
                 path[p]);
        Status status = p == 0 ? open_model(setup, &index.info, out) : STATUS_OK;
        dataset_index_close(&index);
        TRY(status);
    }
    return STATUS_OK;
}

static Status open_device(RankFacts *out) {
    Device *device;
    TRY(device_open(&(DeviceConfig){.backend = "cpu", .streams = 1}, &device));
    read_device(device, &out->trait[TRAIT_DEVICE]);
    device_close(device);
    return STATUS_OK;
}

static void read_model(const Setup *setup, RankFacts *out) {
    Status status = setup->settings == NULL ? open_device(out) : open_data_and_model(setup, out);
    out->model_status = status;
    if (status == STATUS_OK) return;
    snprintf(out->model_error, sizeof out->model_error, "%.*s", (int)sizeof out->model_error - 1,
             error_get()->text);
    error_clear();
}

// ---- the host ---------------------------------------------------------------------------------

// The first number in a file, behind `key` where one is given; false: not there.
static bool read_number(const char *path, const char *key, double *out) {
    FILE *file = fopen(path, "re");
    char line[256];
    bool found = false;
    size_t skip = strlen(key);
    while (file != NULL && !found && fgets(line, sizeof line, file) != NULL)
        found = strncmp(line, key, skip) == 0 && sscanf(line + skip, "%lf", out) == 1;
    if (file != NULL) fclose(file);
    return found;
}

// The limits of control groups, from this process's own up to the root (version 2 only). What is
// cached for files does not count: it gives way.
static double group_free(double free_bytes) {
    char line[512] = "", path[600];
    FILE *file = fopen("/proc/self/cgroup", "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL && strncmp(line, "0::", 3) != 0)
        ;
    if (file != NULL) fclose(file);
    if (strncmp(line, "0::", 3) != 0) return free_bytes;
    char *group = line + 3, *slash;
    group[strcspn(group, "\n")] = '\0';
    for (bool last = false; !last; *slash = '\0') {
        double most, used;
        slash = strrchr(group, '/');
        last = slash == NULL || slash == group;
        snprintf(path, sizeof path, "/sys/fs/cgroup%s/memory.max", group);
        bool limited = read_number(path, "", &most);
        snprintf(path, sizeof path, "/sys/fs/cgroup%s/memory.stat", group);
        if (limited && read_number(path, "anon ", &used) && most - used < free_bytes)
            free_bytes = most - used;
        if (slash == NULL) break;
    }
    return free_bytes > 0 ? free_bytes : 0;
}

static double infiniband_rate(void) {
    glob_t found;
    double best = 0, rate, state;
    if (glob("/sys/class/infiniband/*/ports/*/rate", 0, NULL, &found) == 0)
        for (size_t i = 0; i < found.gl_pathc; ++i) {
            char path[512];
            snprintf(path, sizeof path, "%.*sstate", (int)strlen(found.gl_pathv[i]) - 4,
                     found.gl_pathv[i]);
            bool active = read_number(path, "", &state) && (int)state == 4;
            if (active && read_number(found.gl_pathv[i], "", &rate) && rate > best) best = rate;
        }
    globfree(&found);
    return best;
}

static uint64_t limit_of(int resource) {
    struct rlimit limit;
    return getrlimit(resource, &limit) == 0 ? (uint64_t)limit.rlim_cur : UINT64_MAX;
}

static void read_limits(RankFacts *out) {
    char pattern[8] = "";
    FILE *file = fopen("/proc/sys/kernel/core_pattern", "re");
    out->core_is_file = file != NULL && fgets(pattern, sizeof pattern, file) != NULL &&
                        pattern[0] != '|' && pattern[0] != '\n';
    if (file != NULL) fclose(file);
    out->files = limit_of(RLIMIT_NOFILE);
    out->locked = limit_of(RLIMIT_MEMLOCK);
    out->core_bytes = limit_of(RLIMIT_CORE);
}

static void read_host(RankFacts *out) {
    double kilobytes = 0;
    struct utsname system;
    if (uname(&system) == 0)
        snprintf(out->kernel, sizeof out->kernel, "%.*s", FACT_BYTES - 1, system.release);
    if (read_number("/proc/meminfo", "MemAvailable:", &kilobytes))
        out->memory_free = (uint64_t)group_free(1024 * kilobytes);
    if (folder_free_bytes("/dev/shm", &out->shared_free) != STATUS_OK) error_clear();
    out->cores = (int)sysconf(_SC_NPROCESSORS_ONLN);
    out->infiniband = infiniband_rate();
    read_limits(out);
}

void rank_facts_collect(const Setup *setup, RankFacts *out) {
    const char *gpu = drill_word("gpu");
    Program program;
    memset(out, 0, sizeof *out);
    snprintf(out->host, sizeof out->host, "%s", comm_host(setup->comm));
    out->local_rank = comm_local_rank(setup->comm);
    out->local_world = comm_local_world(setup->comm);
    out->threads = setup->cores->threads;
    program_describe(&program);
    out->trait[TRAIT_PROGRAM].key = program.hash;
    memcpy(out->trait[TRAIT_PROGRAM].text, program.text, sizeof program.text);
    read_launcher(out);
    read_words(setup, &out->trait[TRAIT_WORDS]);
    read_libraries(setup->comm, &out->trait[TRAIT_LIBRARIES]);
    read_model(setup, out);
    if (gpu != NULL) snprintf(out->gpu, sizeof out->gpu, "%.*s", FACT_BYTES - 1, gpu);
    read_host(out);
}
