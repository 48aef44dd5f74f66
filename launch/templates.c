// The assembler puts the files behind launch/templates.h where they are named; DYE_ROOT is the
// folder of the sources.
#include "launch/templates.h"

#define CARRY(name, path)                                                                          \
    __asm__(".section .rodata\n"                                                                   \
            ".global " #name "\n" #name ":\n"                                                      \
            ".incbin \"" DYE_ROOT "/" path "\"\n"                                                  \
            ".byte 0\n"                                                                            \
            ".previous\n")

CARRY(slurm_template, "launch/slurm/train.sbatch");
CARRY(page_style, "launch/report/page/page.css");
CARRY(page_dark_style, "launch/report/page/dark.css");
CARRY(page_script, "launch/report/page/page.js");
