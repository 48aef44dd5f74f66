#!/usr/bin/env bash
# Without root: what is missing is found whoever brought the rest, modules' and Spack's names for it are
# told with exit code 69, and data may come from packages unpacked anywhere.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# look CODE VARIABLE=VALUE...: what quickstart.sh says of a machine that looks so.
look() {
    local expected=$1 code=0
    shift
    env "$@" bash "$root/launch/quickstart.sh" --check </dev/null >"$log" 2>&1 || code=$?
    [ $code -eq "$expected" ] || die "exit code $code instead of $expected under: $*"
}
not_said() { ! grep -Eq -- "$1" "$log" || die "$2: there is a line like '$1'"; }

look 0 A=
said "^all that a build needs is here$" "nothing is missing"
checked "nothing is missing: it goes on"

# stand_in NAME SCRIPT: a program that comes first in $work/bin.
mkdir "$work/bin"
stand_in() { printf '#!/bin/sh\n%s\n' "$2" >"$work/bin/$1" && chmod +x "$work/bin/$1"; }
hiding=PATH=$work/bin:$PATH

stand_in pkg-config "case \$* in *libzstd* | *libzmq*) exit 1 ;; esac; exec $(command -v pkg-config) \"\$@\""
look 69 "$hiding"
said "pkg-config calls libzstd$" "a hidden library"
said "module load zstd, or: spack install zstd && spack load zstd$" "who supplies it"
said "^  spack install zstd libzmq && spack load zstd libzmq$" "one list of Spack's"
said "^  apt-get install --no-install-recommends libzstd-dev libzmq3-dev$" "one list of Debian's"
checked "two libraries: named, with modules, Spack and Debian's packages"

stand_in cmake 'echo "cmake version 3.20.6"'
stand_in mpicc 'exit 1'
look 69 "$hiding" CC=false
said "^  spack install gcc@11: cmake@3.25: openmpi onednn@2.7 zstd libzmq && " "tools"
stand_in cmake 'echo "cmake version 3.100.0"'
look 69 "$hiding"
not_said "spack install cmake" "3.100 is newer than 3.25"
checked "an old cmake, no compiler, no MPI"

# A prefix counts as it does for CMake: first, and for both kinds of search.
mkdir -p "$work/prefix/lib64/pkgconfig" "$work/prefix/include/oneapi/dnnl"
printf 'Name: zstd\nDescription: none\nVersion: 1\n' >"$work/prefix/lib64/pkgconfig/libzstd.pc"
touch "$work/prefix/include/oneapi/dnnl/dnnl.h"
look 69 PKG_CONFIG_LIBDIR="$work/none" CMAKE_PREFIX_PATH="$work/none:$work/prefix"
not_said "libzstd$" "a library below CMAKE_PREFIX_PATH"
said "pkg-config calls zlib$" "one that is nowhere"
said "oneDNN 2: " "another oneDNN's header"
look 69 PKG_CONFIG_LIBDIR="$work/none" PKG_CONFIG_PATH="$work/prefix/lib64/pkgconfig"
not_said "libzstd$|oneDNN" "a library in PKG_CONFIG_PATH"
checked "CMAKE_PREFIX_PATH and PKG_CONFIG_PATH are searched"

# ---- data ---------------------------------------------------------------------------------------

# In a tree without data sets.
cp -r "$root/launch" "$work/launch"
# fetch CODE: with Debian's packages unpacked in $work/debian.
fetch() {
    local code=0
    DYE=$dye DEBIAN_ROOT=$work/debian bash "$work/launch/get-data.sh" --no-install fashion-mnist \
        </dev/null >"$log" 2>&1 || code=$?
    [ $code -eq "$1" ] || die "exit code $code instead of $1 of get-data.sh"
}
fetch 69
said "https://packages.debian.org/.*/dataset-fashion-mnist/download" "where the files are"
said "DEBIAN_ROOT=.*/get-data.sh fashion-mnist$" "what to do with them"

files=$work/debian/usr/share/datasets/fashion-mnist
mkdir -p "$files"
for set in train t10k; do
    { printf '\0\0\10\3\0\0\0\2\0\0\0\34\0\0\0\34' && head -c 1568 /dev/zero; } >"$files/$set-images-idx3-ubyte"
    printf '\0\0\10\1\0\0\0\2\1\2' >"$files/$set-labels-idx1-ubyte"
done
fetch 0
run 0 0 verify "$work/data-packed/fashion-mnist"
checked "missing data: where they are, and how to go on with them"
