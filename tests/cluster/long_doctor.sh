#!/usr/bin/env bash
# dye doctor and the checks before training on several hosts: the probe between them; a stale program,
# a run folder or a data set that is local to a host; srun without the PMI that MPI wants.
# shellcheck source-path=SCRIPTDIR source=support.sh
source "$(dirname "${BASH_SOURCE[0]}")/support.sh"

lab_up 2 --slurm
keys=("${train[@]:1}")
mpirun_on "n1 n2" 4
program=./dye
untrained() { [ ! -e "$shared/$1" ] || die "$1: it trained all the same"; }
# refused CODE EXPRESSION ARGUMENT...: by train and by doctor.
refused() {
    local expected=$1 expression=$2
    shift 2
    on n1 "$expected" "${launch[@]}" "$program" train "${keys[@]}" "$@"
    said "$expression" "train"
    on n1 78 "${launch[@]}" "$program" doctor "${keys[@]}" "$@"
    said "$expression" "doctor"
}

on n1 0 "${launch[@]}" ./dye doctor "${keys[@]}" run.dir=runs/one --seconds 1
said "^ok    launch +4 ranks on 2 hosts" "where the ranks are"
said "^ok    run folder +all ranks read and write in \." "the shared folder"
said "^ok    within hosts .* GB/s, .* of 2 pairs" "pairs on a host"
said "^ok    between hosts .* GB/s, .* of 4 pairs: rank . on n., rank . on n." "pairs on two hosts"
said "^ready for swiss-roll.yaml" "the verdict"
checked "four ranks on two hosts: $(grep -o 'between hosts .* us' "$log")"

for host in n1 n2; do on $host 0 cp dye /tmp/dye; done
program=/tmp/dye
on n1 0 "${launch[@]}" $program doctor --seconds 0
on n2 0 bash -c 'echo >>/tmp/dye'
refused 78 "ranks 1, 3 on n2 run another program .*/tmp/dye of .*copy the same file to all hosts" run.dir=stale
untrained stale
program=./dye
checked "a stale program on one host: named by host"

refused 78 "ranks 1, 3 on n2 do not see the run folder of rank 0 on n1: /tmp is local there" run.dir=/tmp/run
for host in n1 n2; do on $host 0 bash -c '! ls -d /tmp/run /tmp/.dye-probe* 2>/dev/null'; done
checked "a run folder that is local to a host"

on n1 0 cp -r points /tmp/points
refused 66 "ranks 1, 3 on n2: .*/tmp/points: .*rank 0 on n1 has it" run.dir=blind data.path=/tmp/points data.share=false
on n2 0 ./dye pack swiss-roll -o /tmp/points --seed 7
refused 78 "ranks 1, 3 on n2 read another data set .*copy the same folder" run.dir=blind data.path=/tmp/points
untrained blind
checked "a data set that is missing, or another one, on a host"

on ctl 0 srun -N 2 -n 2 --mpi=pmix ./dye doctor "${keys[@]}" run.dir=runs/one --seconds 0.2
said "^ok    launch +2 ranks on 2 hosts" "srun with PMIx"
on ctl 76 srun -N 2 -n 2 --mpi=none ./dye train "${keys[@]}" run.dir=alone
said "2 ranks were started, but MPI knows of this one alone: srun gave it no PMI. Start with 'srun --mpi=pmix' .*srun --mpi=list" "no PMI"
on ctl fail srun -N 2 -n 2 --mpi=pmi2 ./dye train "${keys[@]}" run.dir=alone
said "warning: srun speaks PMI-2 and not PMIx: .*srun --mpi=list" "PMI-2"
untrained alone
checked "srun without PMIx: refused, the missing PMI is named"
