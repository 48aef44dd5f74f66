// The table behind launch/command.h.
#include "launch/command.h"

#include <string.h>

const CommandRow command_rows[] = {
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
     "RUN [-n N] [-o FILE|DIR/|FILE.npz] [--seed S] [--first I] [--steps K] [--solver NAME] [--label C]"
     " [--guidance G] [--average 0|1|WIDTH] [--decode RUN|NPZ] [--candidates N] [--frames F]"
     " [--infill TEXT|NUMBERS|PICTURE --mask PICTURE] [--length SYMBOLS] [--guide RUN"
     " [--guide-average A]] [--reconstruct] [key=value ...]",
     "draw samples: a PNG grid, or lines of text; DIR/ has a picture each, NPZ is read by tools that"
     " compute an FID; --frames: noise becoming samples, as an animated PNG, NPZ or lines; --infill: a part is"
     " given, _ (of a picture: white in --mask) is to be drawn;"
     " --length: text of any length (process.block); --reconstruct: held-out samples to noise and"
     " back"},
    {"encode", cmd_encode,
     "RUN DATASET -o DIR [--name NAME] [--average 0|1|WIDTH] [--force] [key=value ...]",
     "images become the codes that an autoencoder gives them: a data set of tokens"},
    {"film", cmd_film, "RUN -o FILE [-n ROWS] [--frames F] [--animated] [--seed S] [key=value ...]",
     "held-out data dissolve into noise, and noise becomes samples: a PNG grid, or lines of text"},
    {"eval", cmd_eval,
     "RUN [--limit N] [--draws K] [--flow STEPS | --elbo DRAWS] [--split S] [--average 0|1|WIDTH] [--json]"
     " [key=value ...]",
     "the variational bound in bits, with its standard error"},
    {"export", cmd_export,
     "RUN -o FILE.safetensors|DIR [--format safetensors|dit|diffusers] [--average 0|1|WIDTH|raw]"
     " [--bf16]",
     "the weights for other programs; dit: as the original DiT names them, with its positions;"
     " diffusers: a folder with transformer and scheduler"},
    {"import", cmd_import,
     "FILE.safetensors|FOLDER CONFIG.yaml [key=value ...] [--format safetensors|dit|diffusers]",
     "weights, exported or of the original DiT or diffusers, become step 0 of the configuration's"
     " run"},
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
    {"status", cmd_status, "RUN [--json | --watch]",
     "what a run is doing, from any shell; --watch: again and again, with curves, until it ends"},
    {"ls", cmd_ls, "[FOLDER ...] [--json]",
     "the runs below these folders (runs): step, loss, best held-out loss, age, checkpoints, size"},
    {"diff", cmd_diff, "RUN_A|A.yaml RUN_B|B.yaml", "the keys in which two configurations differ"},
    {"clean", cmd_clean, "RUN ... [--keep N] [--dry-run]",
     "remove old checkpoints, but never the last N (1) good ones"},
    {"forensics", cmd_forensics, "RUN [--rank R] [--events N]",
     "how a run ended: what was found, and what each rank was doing last"},
    {"compare", cmd_compare, "RUN_A RUN_B", "first differing step and tensor of two runs"},
};
const int command_count = sizeof command_rows / sizeof *command_rows;

const CommandRow *command_find(const char *name) {
    for (int i = 0; i < command_count; ++i)
        if (strcmp(command_rows[i].name, name) == 0) return &command_rows[i];
    return NULL;
}
