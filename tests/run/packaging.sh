#!/usr/bin/env bash
# Help, man page, completion, cmake --install and the Debian package: what is installed runs away from its source.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

build=$(dirname "$dye")
commands=$("$dye" help | sed -n 's/^  \([a-z]*\)  .*/\1/p' | sort -u)
[ "$(wc -l <<<"$commands")" -ge 18 ] || die "too few commands in dye help"
for name in $commands; do
    [ "$name" != help ] || continue
    run 0 0 help "$name"
    said "^dye $name " "the usage of $name"
    run 0 0 "$name" --help
    said "^dye $name " "--help of $name"
done
# Each option that a command takes is told of, and no other.
grep -ho '{"[a-z0-9-]*", \(required_argument\|no_argument\|"[a-z ]*\(local\|mpirun\|slurm\)"\)' "$root"/launch/cmd_*.c |
    sed 's/{"\([^"]*\)".*/--\1/' | grep -vx -e --count -e --out -e --rows | sort -u >"$work/taken"
for name in $commands; do
    [ "$name" = help ] || "$dye" help "$name" | sed -n 's/^  \(--[a-z0-9-]*\).*/\1/p'
done | sort -u >"$work/told"
same "$(diff "$work/taken" "$work/told")" "" "options that are taken and told of"
run 0 0 sample nowhere --help
said "^  --guidance G  " "an option of sample"
run 0 0 help optim.lr
same "$(grep -c . "$log")" 2 "lines about one key"
said "optim.lr .*peak learning rate" "a key"
run 0 0 help checkpoint
said "^[* ] checkpoint.keep " "a section"
! grep -q "optim" "$log" || die "another section"
run 2 0 help optim.l
run 2 0 help nonsense
said "there is no help on 'nonsense'" "what is not there"

"$dye" help man >"$work/dye.1" || die "no man page"
for word in $commands optim.lr sampler.churn BAD_CONFIG; do
    grep -qF -- "$word" "$work/dye.1" || [ "$word" = help ] || die "the man page lacks $word"
done
if command -v groff >/dev/null; then
    same "$(groff -man -Tutf8 -ww -z "$work/dye.1" 2>&1 | head -n 3)" "" "warnings about the man page"
fi
checked "each command has a usage; a man page of all of them"

# completes WORD... | what is offered for the last one
completes() {
    bash -c 'source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _dye; printf "%s\n" "${COMPREPLY[@]}"' \
        "$work/dye.bash" "$@" | paste -sd ' '
}
"$dye" help bash >"$work/dye.bash"
cd "$work" || exit 1
touch some.yaml
same "$(completes dye sam)" "sample" "commands"
same "$(completes dye train some)" "some.yaml" "files"
same "$(completes dye train some.yaml optim.warm)" "optim.warmup=" "keys"
same "$(completes dye sample --guide)" "--guide --guide-average" "options"
same "$(completes dye unpack optim)" "" "keys where there are none"
if command -v zsh >/dev/null; then
    "$dye" help zsh >"$work/_dye"
    zsh -n "$work/_dye" || die "zsh does not read its completion"
fi
checked "completion"

[ -e "$build/CMakeCache.txt" ] || { echo "skip the package: $dye does not lie in a build folder" && exit 0; }
cmake --install "$build" --prefix "$work/usr" >"$log" 2>&1 || die "cmake --install"
for file in bin/dye share/man/man1/dye.1 share/bash-completion/completions/dye share/zsh/vendor-completions/_dye \
    share/dye/configs/kjv.yaml share/doc/dye/README.md; do
    [ -s "$work/usr/$file" ] || die "$file is not installed"
done
dye=$work/usr/bin/dye
make_points
run 0 2 train "$work/usr/share/dye/configs/swiss-roll.yaml" data.path="$work/points" run.dir="$work/run" train.steps=5 \
    eval.every=0 sample.every=0
run 0 0 sample "$work/run" -n 2
checked "what is installed trains"

# A login node has neither driver nor toolkit.
without_gpu_libraries() {
    ! ldd "$1" | grep -E 'lib(cuda|cublas|nccl|nvidia)' >"$log" || die "$1 is linked to a GPU's library"
}
without_gpu_libraries "$dye"
gpu_libraries=()
for library in libdye_cuda.so libdye_nccl.so; do
    [ -e "$build/$library" ] || continue
    gpu_libraries+=("lib/dye/$library")
    [ -s "$work/usr/lib/dye/$library" ] || die "$library is not installed"
    run 0 0 --version
    said "^$work/usr/(bin/../)?lib/dye/$library|^$library cannot be used here" "the library that is installed"
    # Installing takes away the build's folders, not the toolkit's.
    same "$(ldd "$work/usr/lib/dye/$library" | grep -c 'not found')" "$(ldd "$build/$library" | grep -c 'not found')" \
        "libraries that $library lacks once it is installed"
done
checked "the program needs no GPU's library; installed: ${gpu_libraries[*]:-none}"

command -v cpack >/dev/null && command -v dpkg-shlibdeps >/dev/null || { echo "skip the package: no cpack" && exit 0; }
(cd "$work" && cpack --config "$build/CPackConfig.cmake" -B "$work/package" >"$log" 2>&1) || die "cpack"
package=$(ls "$work"/package/dye_*.deb)
dpkg-deb -f "$package" Depends >"$log"
! grep -Ei 'cuda|cublas|nccl' "$log" || die "the package needs a GPU's packages"
said "openmpi-bin" "mpirun among what the package needs"
said "libzstd1" "a library among what it needs"
dpkg-deb -x "$package" "$work/root"
dye=$work/root/usr/bin/dye
run 0 0 --version
said "^dye [0-9.]* " "the version of what is in the package"
[ "$(du -k "$dye" | cut -f1)" -lt 20000 ] || die "the program in the package is not stripped"
without_gpu_libraries "$dye"
if [ ${#gpu_libraries[@]} -gt 0 ]; then
    ! dpkg-deb -c "$package" | grep 'libdye_' || die "a GPU's library in the package without GPUs"
    dpkg-deb -x "$work"/package/dye-cuda_*.deb "$work/root"
    for library in "${gpu_libraries[@]}"; do
        [ -s "$work/root/usr/$library" ] || die "dye-cuda lacks $library"
    done
    same "$(dpkg-deb -f "$work"/package/dye-cuda_*.deb Depends)" "dye (= $(dpkg-deb -f "$package" Version))" \
        "what dye-cuda depends on"
    run 0 0 --version
    said "lib/dye/${gpu_libraries[0]##*/}|^${gpu_libraries[0]##*/} cannot be used here" "the library out of its package"
fi
checked "the Debian package: $(du -k "$package" | cut -f1) KiB"
