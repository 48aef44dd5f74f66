// dye launch: starts `dye train` here, over a host file, or as a SLURM job.
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "launch/command.h"
#include "launch/options.h"
#include "launch/run_config.h"
#include "launch/templates.h"
#include "launch/words.h"

static const char usage[] = "usage: dye launch local|mpirun|slurm CONFIG.yaml [key=value ...] "
                            "[options]; `dye help launch` lists them";

typedef struct {
    const char *config;
    char **overrides;
    int override_count;
    RunSettings settings;
    char program[4096]; // this one
    int64_t ranks;      // local, mpirun: all; 0: as many as there are slots
    int64_t nodes, ranks_per_node, gpus, cpus, seconds;
    const char *hostfile, *interface;
    const char *time, *partition, *account, *qos, *constraint, *memory, *modules, *setup, *local;
    const char *mpi; // "pmix", another word for srun --mpi, or "mpirun"; NULL: what is there
    bool dry_run;
} Launch;

// ---- options ----------------------------------------------------------------------------------

typedef struct {
    const char *name, *kinds; // the launches that it means something to
    size_t offset;            // in Launch
    int64_t least, most;      // both 0: a text
} Option;

#define FIELD(name) offsetof(Launch, name)

static const Option option_table[] = {
    {"ranks", "local mpirun", FIELD(ranks), 1, 1 << 20},
    {"hostfile", "mpirun", FIELD(hostfile), 0, 0},
    {"interface", "mpirun slurm", FIELD(interface), 0, 0},
    {"ranks-per-node", "mpirun slurm", FIELD(ranks_per_node), 1, 4096},
    {"nodes", "slurm", FIELD(nodes), 1, 1 << 20},
    {"gpus-per-node", "slurm", FIELD(gpus), 1, 64},
    {"cpus-per-rank", "slurm", FIELD(cpus), 1, 4096},
    {"save-seconds", "slurm", FIELD(seconds), 10, 3600},
    {"time", "slurm", FIELD(time), 0, 0},
    {"partition", "slurm", FIELD(partition), 0, 0},
    {"account", "slurm", FIELD(account), 0, 0},
    {"qos", "slurm", FIELD(qos), 0, 0},
    {"constraint", "slurm", FIELD(constraint), 0, 0},
    {"mem", "slurm", FIELD(memory), 0, 0},
    {"modules", "slurm", FIELD(modules), 0, 0},
    {"setup", "slurm", FIELD(setup), 0, 0},
    {"local", "slurm", FIELD(local), 0, 0},
    {"mpi", "slurm", FIELD(mpi), 0, 0},
};
enum { OPTIONS = sizeof option_table / sizeof *option_table };

static Status option_set(const Option *option, const char *kind, const char *text, Launch *launch) {
    char *at = (char *)launch + option->offset, name[40];
    FAIL_IF(strstr(option->kinds, kind) == NULL, BAD_USAGE,
            "--%s means nothing to dye launch %s; it is for: %s", option->name, kind,
            option->kinds);
    if (option->most == 0) {
        *(const char **)at = text;
        return STATUS_OK;
    }
    snprintf(name, sizeof name, "--%s", option->name);
    return option_i64(name, text, option->least, option->most, (int64_t *)at);
}

// argv[0] is the kind. Options may stand anywhere; the first other word is the configuration.
static Status parse(int argc, char **argv, Launch *launch) {
    struct option options[OPTIONS + 2] = {{"dry-run", no_argument, NULL, OPTIONS}};
    for (int i = 0; i < OPTIONS; ++i)
        options[i + 1] = (struct option){option_table[i].name, required_argument, NULL, i};
    optind = 1;
    for (int found; (found = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        FAIL_IF(found == '?', BAD_USAGE, "%s", usage);
        if (found == OPTIONS)
            launch->dry_run = true;
        else
            TRY(option_set(&option_table[found], argv[0], optarg, launch));
    }
    FAIL_IF(optind >= argc, BAD_USAGE, "which configuration? %s", usage);
    launch->config = argv[optind];
    launch->overrides = argv + optind + 1;
    launch->override_count = argc - optind - 1;
    return STATUS_OK;
}

// ---- what there is ----------------------------------------------------------------------------

// Whether a command prints a word.
static bool prints(const char *command, const char *word) {
    FILE *pipe = popen(command, "r");
    if (pipe == NULL) return false;
    bool found = false;
    for (char line[256]; fgets(line, sizeof line, pipe) != NULL;)
        found = found || strstr(line, word) != NULL;
    (void)pclose(pipe);
    return found;
}

// A mistake is told now, not after a night in the queue.
static Status prepare(Launch *launch) {
    TRY(run_config_read(launch->config, launch->overrides, launch->override_count,
                        &launch->settings));
    ssize_t n = readlink("/proc/self/exe", launch->program, sizeof launch->program - 1);
    FAIL_IF(n < 0, IO, "cannot tell where this program is");
    return STATUS_OK;
}

static Status check_ranks(const Launch *launch, int64_t ranks) {
    int64_t grains = launch->settings.train.grains;
    FAIL_IF(ranks > grains, BAD_CONFIG,
            "%lld ranks cannot share train.grains = %lld: take at most %lld ranks, or more grains"
            " in a new run",
            (long long)ranks, (long long)grains, (long long)grains);
    return STATUS_OK;
}

// ---- command lines ----------------------------------------------------------------------------

static void add_train(const Launch *launch, Words *words) {
    words_add(words, "%s", launch->program);
    words_add(words, "train");
    words_add(words, "%s", launch->config);
    for (int i = 0; i < launch->override_count; ++i) words_add(words, "%s", launch->overrides[i]);
    if (launch->local == NULL) return;
    const char *data = launch->settings.data.path, *slash = strrchr(data, '/');
    words_add(words, "data.path=%s/%s", launch->local, slash != NULL ? slash + 1 : data);
}

// Open MPI 5 has its out-of-band network in another program with another option.
static void add_interface(const Launch *launch, Words *words) {
    if (launch->interface == NULL) return;
    bool is_5 = prints("mpirun --version 2>/dev/null", "(Open MPI) 5");
    words_add(words, "--mca");
    words_add(words, "btl_tcp_if_include");
    words_add(words, "%s", launch->interface);
    words_add(words, is_5 ? "--prtemca" : "--mca");
    words_add(words, "oob_tcp_if_include");
    words_add(words, "%s", launch->interface);
}

// Binding is left to Dye, which deals the cores of a host to its ranks and their threads.
static void add_mpirun(const Launch *launch, int64_t ranks, Words *words) {
    words_add(words, "mpirun");
    if (ranks > 0) {
        words_add(words, "-n");
        words_add(words, "%lld", (long long)ranks);
    }
    if (launch->hostfile != NULL) {
        words_add(words, "--hostfile");
        words_add(words, "%s", launch->hostfile);
    }
    if (launch->ranks_per_node > 0) {
        words_add(words, "--map-by");
        words_add(words, "ppr:%lld:node", (long long)launch->ranks_per_node);
    }
    words_add(words, "--bind-to");
    words_add(words, "none");
    add_interface(launch, words);
}

static Status run_or_print(const Launch *launch, const Words *words) {
    if (!launch->dry_run) return words_run(words);
    char *text;
    Status status = words_text(words, &text);
    if (status == STATUS_OK) puts(text);
    free(text);
    return status;
}

// ---- here, and over a host file ---------------------------------------------------------------

// One rank needs no mpirun, and its threads share the machine best (tests/bench/RESULTS.md).
static Status launch_local(Launch *launch, Words *words) {
    TRY(prepare(launch));
    TRY(check_ranks(launch, launch->ranks));
    if (launch->ranks > 1) add_mpirun(launch, launch->ranks, words);
    add_train(launch, words);
    return run_or_print(launch, words);
}

static Status launch_mpirun(Launch *launch, Words *words) {
    FAIL_IF(launch->hostfile == NULL, BAD_USAGE,
            "which hosts? --hostfile FILE with lines like `node1 slots=2`; one host: dye launch"
            " local");
    FAIL_IF(access(launch->hostfile, R_OK) != 0, NOT_FOUND, "cannot read the host file %s",
            launch->hostfile);
    TRY(prepare(launch));
    TRY(check_ranks(launch, launch->ranks));
    add_mpirun(launch, launch->ranks, words);
    add_train(launch, words);
    return run_or_print(launch, words);
}

// ---- SLURM ------------------------------------------------------------------------------------

typedef struct {
    const char *name, *value; // NULL: lines with this word are left out
} Blank;

static const char *blank_value(const Blank *blanks, int count, const char *name, size_t length,
                               bool *known) {
    for (int i = 0; i < count; ++i)
        if (strlen(blanks[i].name) == length && strncmp(blanks[i].name, name, length) == 0) {
            *known = true;
            return blanks[i].value;
        }
    *known = false;
    return NULL;
}

// One line of the template with its @words@ filled in, or nothing.
static void line_fill(FILE *out, const char *line, size_t length, const Blank *blanks, int count) {
    char *text;
    size_t bytes;
    FILE *filled = open_memstream(&text, &bytes);
    bool keep = filled != NULL;
    for (size_t i = 0; keep && i < length; ++i) {
        const char *end = line[i] == '@' ? memchr(line + i + 1, '@', length - i - 1) : NULL;
        bool known = false;
        const char *value = NULL;
        if (end != NULL)
            value = blank_value(blanks, count, line + i + 1, (size_t)(end - line) - i - 1, &known);
        if (!known) {
            putc(line[i], filled);
            continue;
        }
        keep = value != NULL;
        if (keep) fputs(value, filled);
        i = (size_t)(end - line);
    }
    if (filled != NULL && fclose(filled) == 0 && keep) fprintf(out, "%s\n", text);
    free(text);
}

static void template_fill(FILE *out, const char *text, const Blank *blanks, int count) {
    for (const char *end; (end = strchr(text, '\n')) != NULL; text = end + 1)
        line_fill(out, text, (size_t)(end - text), blanks, count);
}

// The command that starts the ranks inside the job.
static Status slurm_command(const Launch *launch, const char *mpi, char **text) {
    Words words = {0};
    if (strcmp(mpi, "mpirun") == 0) {
        add_mpirun(launch, 0, &words); // on all nodes that the job gets
    } else {
        words_add(&words, "srun");
        words_add(&words, "--mpi=%s", mpi);
        words_add(&words, "--kill-on-bad-exit=1"); // else the others wait in a collective
        if (launch->cpus > 0) words_add(&words, "--cpus-per-task=%lld", (long long)launch->cpus);
    }
    add_train(launch, &words);
    Status status = words_text(&words, text);
    words_free(&words);
    return status;
}

static char *number_text(int64_t number, char text[24]) {
    snprintf(text, 24, "%lld", (long long)number);
    return number > 0 ? text : NULL;
}

static Status quoted(const char *word, char **text) {
    Words words = {0};
    words_add(&words, "%s", word);
    Status status = words_text(&words, text);
    words_free(&words);
    return status;
}

static Status slurm_write(const Launch *launch, const char *mpi, FILE *out) {
    const char *run = launch->settings.run.dir, *slash = strrchr(run, '/');
    char *command = NULL, *folder = NULL, *data = NULL, *local = NULL, *setup = NULL;
    char nodes[24], ranks[24], cpus[24], gpus[24], seconds[24];
    Status status = slurm_command(launch, mpi, &command);
    if (status == STATUS_OK) status = quoted(run, &folder);
    if (status == STATUS_OK) status = quoted(launch->settings.data.path, &data);
    if (status == STATUS_OK && launch->local != NULL) status = quoted(launch->local, &local);
    if (status == STATUS_OK && launch->setup != NULL) status = quoted(launch->setup, &setup);
    Blank blanks[] = {{"name", slash != NULL ? slash + 1 : run},
                      {"nodes", number_text(launch->nodes, nodes)},
                      {"ranks", number_text(launch->ranks_per_node, ranks)},
                      {"cpus", number_text(launch->cpus, cpus)},
                      {"gpus", number_text(launch->gpus, gpus)},
                      {"seconds", number_text(launch->seconds, seconds)},
                      {"memory", launch->memory},
                      {"time", launch->time},
                      {"partition", launch->partition},
                      {"account", launch->account},
                      {"qos", launch->qos},
                      {"constraint", launch->constraint},
                      {"modules", launch->modules},
                      {"setup", setup},
                      {"local", local},
                      {"data", data},
                      {"run", folder},
                      {"command", command}};
    if (status == STATUS_OK)
        template_fill(out, slurm_template, blanks, sizeof blanks / sizeof *blanks);
    free(command), free(folder), free(data), free(local), free(setup);
    return status;
}

// srun starts ranks that find each other only through a PMI that Open MPI knows; without one,
// mpirun does it inside the job.
static const char *choose_mpi(const Launch *launch) {
    if (launch->mpi != NULL) return launch->mpi;
    return prints("srun --mpi=list 2>&1", "pmix") ? "pmix" : "mpirun";
}

static Status slurm_submit(const Launch *launch, const char *mpi, Words *words) {
    const char *run = launch->settings.run.dir, *slash = strrchr(run, '/');
    char path[PATH_BYTES];
    TRY(path_format(path, "%s.sbatch", slash != NULL ? slash + 1 : run));
    FILE *out = fopen(path, "w");
    FAIL_IF(out == NULL, IO, "cannot write %s", path);
    Status status = slurm_write(launch, mpi, out);
    bool written = fclose(out) == 0;
    TRY(status);
    FAIL_IF(!written, IO, "cannot write %s", path);
    words_add(words, "sbatch");
    words_add(words, "%s", path);
    return words_run(words);
}

static Status launch_slurm(Launch *launch, Words *words) {
    FAIL_IF(launch->nodes == 0, BAD_USAGE, "how many nodes? --nodes N");
    if (launch->ranks_per_node == 0) launch->ranks_per_node = launch->gpus > 0 ? launch->gpus : 1;
    if (launch->seconds == 0) launch->seconds = 120;
    TRY(prepare(launch));
    TRY(check_ranks(launch, launch->nodes * launch->ranks_per_node));
    const char *mpi = choose_mpi(launch);
    return launch->dry_run ? slurm_write(launch, mpi, stdout) : slurm_submit(launch, mpi, words);
}

Status cmd_launch(int argc, char **argv) {
    static const struct {
        const char *name;
        Status (*run)(Launch *launch, Words *words);
    } kinds[] = {{"local", launch_local}, {"mpirun", launch_mpirun}, {"slurm", launch_slurm}};
    FAIL_IF(argc < 2, BAD_USAGE, "%s", usage);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; ++i) {
        if (strcmp(argv[1], kinds[i].name) != 0) continue;
        Launch launch = {0};
        Words words = {0};
        Status status = parse(argc - 1, argv + 1, &launch);
        if (status == STATUS_OK) status = kinds[i].run(&launch, &words);
        words_free(&words);
        return status;
    }
    FAIL(BAD_USAGE, "there is no launch '%s'; %s", argv[1], usage);
}
