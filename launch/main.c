// dye: how a job starts and ends.
#include <stdio.h>
#include <string.h>

#include "launch/command.h"
#include "launch/console.h"
#include "launch/run_config.h"
#include "launch/version.h"

typedef struct {
    const char *name;
    Command run;
    const char *usage, *help;
} CommandRow;

static const CommandRow commands[] = {
    {"pack", cmd_pack,
     "[--split NAME] SOURCE... -o DIR [--name NAME] [--size N] [--colour grey|rgb]"
     " [--levels N]"
     " [--form bytes|letters27] [--alphabet ABC] [--image NAME] [--label NAME]"
     " [--shares 90/5/5] [--shuffle auto|none|SEED] [--limit N] [--skip-bad] [--force]"
     " [--items N] [--seed S]",
     "make a data set folder from pictures, arrays, archives, texts, or a made-up set"},
    {"unpack", cmd_unpack, "DIR -o OUT [--to text|npy|idx|cifar|png] [--split S]",
     "give back files that other programs read"},
    {"inspect", cmd_inspect, "DIR [--split S] [--item I]", "print a data set, or one item of it"},
    {"verify", cmd_verify, "PATH", "check a data set, a checkpoint, or all checkpoints of a run"},
    {"train", cmd_train, "CONFIG.yaml [key=value ...] [--fresh]",
     "train, or go on from the newest good checkpoint"},
    {"sample", cmd_sample,
     "RUN [-n N] [-o FILE] [--seed S] [--first I] [--steps K] [--solver NAME] [--label C]"
     " [--guidance G] [--average 0|1|WIDTH] [--decode RUN|NPZ] [--candidates N] [--infill TEXT]"
     " [--length SYMBOLS] [--guide RUN [--guide-average A]] [--reconstruct] [key=value ...]",
     "draw samples: a PNG grid, or lines of text; TEXT has _ where letters are to be drawn;"
     " --length: text of any length (process.block); --reconstruct: held-out samples to noise and"
     " back"},
    {"encode", cmd_encode,
     "RUN DATASET -o DIR [--name NAME] [--average 0|1|WIDTH] [--force] [key=value ...]",
     "images become the codes that an autoencoder gives them: a data set of tokens"},
    {"film", cmd_film, "RUN -o FILE [-n ROWS] [--frames F] [--seed S] [key=value ...]",
     "held-out data dissolve into noise, and noise becomes samples: a PNG grid, or lines of text"},
    {"eval", cmd_eval,
     "RUN [--limit N] [--draws K] [--flow STEPS | --elbo DRAWS] [--split S] [--average 0|1|WIDTH] [--json]"
     " [key=value ...]",
     "the variational bound in bits, with its standard error"},
    {"distance", cmd_distance,
     "RUN [-n N] [--seed S] [--split S] [--features CLASSIFIER] [--decode RUN]"
     " [--average 0|1|WIDTH] [--guide RUN [--guide-average A]] [--json] [key=value ...]",
     "how far drawn points or pictures are from held-out ones: Frechet distance, precision, recall"},
    {"bench", cmd_bench,
     "CONFIG.yaml|DATASET [key=value ...] [--only PHASE,...] [--seconds S] [--json FILE]",
     "measure each phase of training on this machine against its limit; of a data set, its reading"},
    {"doctor", cmd_doctor, "[CONFIG.yaml [key=value ...]] [--json] [--seconds S]",
     "is this set-up fit to train? Ranks, hosts, files, memory, network"},
    {"launch", cmd_launch,
     "local|mpirun|slurm CONFIG.yaml [key=value ...] [--ranks N] [--hostfile FILE] [--interface IF]"
     " [--nodes N] [--ranks-per-node R] [--cpus-per-rank C] [--gpus-per-node G] [--time T]"
     " [--partition P] [--account A] [--qos Q] [--constraint X] [--mem M] [--modules \"A B\"]"
     " [--setup FILE] [--local DIR] [--mpi pmix|mpirun] [--save-seconds S] [--dry-run]",
     "train here, over the hosts of a file, or as a SLURM job that goes back into the queue until"
     " it is done"},
    {"status", cmd_status, "RUN [--json]", "what a run is doing, from any shell"},
    {"ls", cmd_ls, "[FOLDER ...] [--json]",
     "the runs below these folders (runs): step, loss, best held-out loss, age, checkpoints, size"},
    {"diff", cmd_diff, "RUN_A|A.yaml RUN_B|B.yaml", "the keys in which two configurations differ"},
    {"clean", cmd_clean, "RUN ... [--keep N] [--dry-run]",
     "remove old checkpoints, but never the last N (1) good ones"},
    {"forensics", cmd_forensics, "RUN [--rank R] [--events N]",
     "how a run ended: what was found, and what each rank was doing last"},
    {"compare", cmd_compare, "RUN_A RUN_B", "first differing step and tensor of two runs"},
};

static void print_help(FILE *out) {
    fprintf(out, "dye %s: diffusion training, the same bits on any number of ranks\n\n",
            version_text());
    for (size_t i = 0; i < sizeof commands / sizeof *commands; ++i)
        fprintf(out, "  dye %s %s\n      %s\n", commands[i].name, commands[i].usage,
                commands[i].help);
    fputs(
        "  dye help [config]\n      this text, or every configuration key\n"
        "  dye --version\n      versions of dye and of its libraries\n\n"
        "pack, verify, train, eval, bench and doctor run under mpirun as well: mpirun -n 4 dye train CONFIG.yaml\n"
        "Exit codes: 0 finished, 75 saved but unfinished (run the same command again),\n"
        "78 wrong configuration, 65 damaged data, 66 not found, 69 in use, 79 a rank hung or was\n"
        "lost, 2 wrong usage.\n",
        out);
}

static const CommandRow *find_command(const char *name) {
    for (size_t i = 0; i < sizeof commands / sizeof *commands; ++i)
        if (strcmp(commands[i].name, name) == 0) return &commands[i];
    return NULL;
}

static Status run_help(const char *topic) {
    if (topic == NULL) {
        print_help(stdout);
        return STATUS_OK;
    }
    if (strcmp(topic, "config") == 0) {
        run_config_print_help(stdout);
        return STATUS_OK;
    }
    const CommandRow *row = find_command(topic);
    FAIL_IF(row == NULL, BAD_USAGE, "there is no help on '%s'; try `dye help`", topic);
    printf("dye %s %s\n    %s\n", row->name, row->usage, row->help);
    return STATUS_OK;
}

static Status run(int argc, char **argv) {
    if (argc < 2) {
        print_help(stderr);
        FAIL(BAD_USAGE, "no command given");
    }
    const char *name = argv[1];
    if (strcmp(name, "help") == 0 || strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        return run_help(argc > 2 ? argv[2] : NULL);
    if (strcmp(name, "--version") == 0) {
        version_print(stdout);
        return STATUS_OK;
    }
    const CommandRow *row = find_command(name);
    FAIL_IF(row == NULL, BAD_USAGE, "there is no command '%s'; try `dye help`", name);
    if (argc > 2 && strcmp(argv[2], "--help") == 0) return run_help(name);
    return row->run(argc - 1, argv + 1);
}

int main(int argc, char **argv) {
    Status status = run(argc, argv);
    if (status == STATUS_UNFINISHED)
        console_say(error_get()->text);
    else if (status != STATUS_OK && error_get()->status != STATUS_OK)
        console_error();
    return status_info(status)->exit_code;
}
