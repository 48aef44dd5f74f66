// Files of launch/ that the program carries, as text.
#pragma once

extern const char slurm_template[];                               // launch/slurm/train.sbatch
extern const char page_style[], page_dark_style[], page_script[]; // launch/report/page/
