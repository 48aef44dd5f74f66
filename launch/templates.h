// Files of launch/ that the program carries, as text.
#pragma once

extern const char slurm_template[]; // launch/slurm/train.sbatch
