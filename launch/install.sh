#!/usr/bin/env bash
# Installs the Debian packages that building (and, with --tests, testing) Dye needs.
#
#   launch/install.sh [--tests] [--no-install]
#
# Nothing is asked of the network when nothing is missing. Needs root or sudo for what is missing.
# --no-install, for machines without either: looks for the compiler, the tools and the libraries
# themselves, on any distribution, also below CMAKE_PREFIX_PATH and PKG_CONFIG_PATH; tells how modules
# or Spack supply what is missing, and stops with exit code 69.
# The GPU backend's toolkit is not installed: one line says whether it is found.
set -euo pipefail

# The one list of what a build needs: Debian 12's package, how found() looks for it, Spack's name.
needs=(
    "gcc            compiler     gcc@11:"
    "libc6-dev      compiler     gcc@11:"
    "make           make         gmake"
    "cmake          cmake3.25    cmake@3.25:"
    "pkg-config     pkg-config   pkgconf"
    "openmpi-bin    mpirun       openmpi"
    "libopenmpi-dev mpi.h        openmpi"
    "libdnnl-dev    dnnl2.h      onednn@2.7"
    "libzstd-dev    pc:libzstd   zstd"
    "libyaml-dev    pc:yaml-0.1  libyaml"
    "libjansson-dev pc:jansson   jansson"
    "libxxhash-dev  pc:libxxhash xxhash"
    "libpng-dev     pc:libpng    libpng"
    "zlib1g-dev     pc:zlib      zlib"
    "libjpeg62-turbo-dev pc:libjpeg libjpeg-turbo"
    "libarchive-dev pc:libarchive libarchive"
    "libzmq3-dev    pc:libzmq    libzmq"
)
tests=(python3 python3-numpy clang libclang-rt-14-dev clang-format universal-ctags zstd procps
    diffutils dataset-fashion-mnist bible-kjv-text unifont
    slurm-wlm munge iproute2 util-linux iputils-ping)
# Of these the tests start what they need by themselves: the machine gets no services from them.
services=(munge slurmctld slurmd)

wanted=("${needs[@]%% *}")
install=1
for argument in "$@"; do
    case $argument in
    --tests) wanted+=("${tests[@]}") ;;
    --no-install) install=0 ;;
    *)
        echo "install.sh: unknown argument $argument (known: --tests --no-install)" >&2
        exit 2
        ;;
    esac
done

# Where CMake finds nvcc.
tell_gpu() {
    local folder nvcc=${CUDACXX:-}
    for folder in ${CUDA_PATH:+"$CUDA_PATH/bin"} /usr/local/cuda/bin; do
        [ -n "$nvcc" ] || nvcc=$(command -v nvcc || command -v "$folder/nvcc" || true)
    done
    if [ -n "$nvcc" ]; then
        echo "GPU backend: will be built with $nvcc"
    else
        echo "GPU backend: will not be built, there is no nvcc; with the CUDA toolkit (12.8 or newer) on PATH it is"
    fi
}

missing() {
    local package
    for package in "${wanted[@]}"; do
        dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -q '^installed$' ||
            echo "$package"
    done
}

# ---- without root: what is there, whoever brought it ----------------------------------------------

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
prefix_flags=()
# CMake searches below these as well, for pkg-config too.
search_prefixes() {
    local prefix folder prefixes
    IFS=':;' read -ra prefixes <<<"${CMAKE_PREFIX_PATH:-}"
    for prefix in "${prefixes[@]}"; do
        prefix_flags+=("-I$prefix/include" "-L$prefix/lib" "-L$prefix/lib64")
        for folder in lib lib64 share; do
            PKG_CONFIG_PATH=$prefix/$folder/pkgconfig${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}
        done
    done
    export PKG_CONFIG_PATH=${PKG_CONFIG_PATH:-}
}

# builds COMPILER CODE FLAG...: whether a program of this code can be made.
builds() {
    "$1" -x c - -o "$scratch/program" "${@:3}" <<<"$2" >/dev/null 2>&1
}

# found WHAT, of the second column of needs.
found() {
    local version
    case $1 in
    compiler)
        builds "${CC:-cc}" '#include <math.h>
int main(int n, char **a) { (void)a; return (int)sqrt(n); }' \
            -std=gnu17 -march=x86-64-v4 -mavx512bf16 -mamx-tile -mamx-bf16 -lm -lgomp
        ;;
    cmake3.25)
        version=$(cmake --version 2>/dev/null | sed -n '1s/[^0-9]*//p') && [ -n "$version" ] &&
            printf '3.25\n%s\n' "$version" | sort -CV
        ;;
    mpi.h)
        builds mpicc '#include <mpi.h>
int main(void) { return MPI_Init(0, 0); }'
        ;;
    dnnl2.h)
        builds "${CC:-cc}" '#include <oneapi/dnnl/dnnl.h>
int main(void) { return dnnl_matmul_desc_init(0, 0, 0, 0, 0); }' \
            -Werror=implicit-function-declaration "${prefix_flags[@]}" -ldnnl
        ;;
    pc:*) "${PKG_CONFIG:-pkg-config}" --exists "${1#pc:}" 2>/dev/null ;;
    pkg-config) command -v "${PKG_CONFIG:-pkg-config}" >/dev/null ;;
    *) command -v "$1" >/dev/null ;;
    esac
}

# What a name of the second column means to a reader.
meaning() {
    case $1 in
    compiler) echo "a C compiler that knows C17, AMX and libgomp: gcc 11 or newer" ;;
    cmake3.25) echo "cmake 3.25 or newer" ;;
    mpi.h) echo "mpicc that finds mpi.h: Open MPI" ;;
    dnnl2.h) echo "oneDNN 2: oneapi/dnnl/dnnl.h and libdnnl (3 has another interface)" ;;
    pc:*) echo "the library that pkg-config calls ${1#pc:}" ;;
    *) echo "the program $1" ;;
    esac
}

# look_for_needs: says what is missing and ends with 69, or says that nothing is.
look_for_needs() {
    local line package how spec name told="" debian=() specs=() names=()
    search_prefixes
    for line in "${needs[@]}"; do
        read -r package how spec <<<"$line"
        ! found "$how" || continue
        debian+=("$package")
        [[ $told != *" $how "* ]] || continue
        told+=" $how "
        name=${spec%@*}
        if [[ " ${names[*]} " != *" $name "* ]]; then specs+=("$spec") && names+=("$name"); fi
        [ ${#told} -gt $((${#how} + 2)) ] || echo "missing here:" >&2
        printf '  %s\n      module load %s, or: spack install %s && spack load %s\n' \
            "$(meaning "$how")" "$name" "$spec" "$name" >&2
    done
    if [ ${#debian[@]} -eq 0 ]; then
        echo "all that a build needs is here"
        tell_gpu
        return 0
    fi
    case $told in *" pkg-config "*) echo "without pkg-config no library is found: get it first" >&2 ;; esac
    cat >&2 <<END
all of it with Spack:
  spack install ${specs[*]} && spack load ${names[*]}
or on Debian, as root:
  apt-get install --no-install-recommends ${debian[*]}
what lies elsewhere is found through CMAKE_PREFIX_PATH and PKG_CONFIG_PATH; then run this again
END
    exit 69
}

if [ $install -eq 0 ]; then
    look_for_needs
    wanted=("${wanted[@]:${#needs[@]}}")
    [ ${#wanted[@]} -gt 0 ] || exit 0
fi

# ---- Debian ------------------------------------------------------------------------------------

if ! command -v dpkg-query >/dev/null; then
    echo "install.sh: this is no Debian system; launch/install.sh --no-install looks for what is" \
        "missing; tests need what these packages hold: ${tests[*]}" >&2
    exit 69
fi
mapfile -t absent < <(missing)
if [ ${#absent[@]} -eq 0 ]; then
    echo "all ${#wanted[@]} packages are installed"
    tell_gpu
    exit 0
fi
if [ $install -eq 0 ]; then
    echo "missing packages: ${absent[*]}" >&2
    echo "install them with: apt-get install --no-install-recommends ${absent[*]}" >&2
    exit 69
fi
if [ "$(id -u)" -eq 0 ]; then
    sudo=()
elif command -v sudo >/dev/null; then
    sudo=(sudo)
else
    echo "install.sh: neither root nor sudo; as root: apt-get install --no-install-recommends" \
        "${absent[*]}" >&2
    exit 69
fi
echo "installing ${absent[*]}"
log=$scratch/log
policy=/usr/sbin/policy-rc.d
own_policy=0
clean_up() {
    rm -rf "$scratch"
    [ $own_policy -eq 0 ] || "${sudo[@]}" rm -f $policy
}
trap clean_up EXIT
# Packages ask this file whether they may start their daemons; 101: no.
quiet=0
case " ${absent[*]} " in *" slurm-wlm "* | *" munge "*) quiet=1 ;; esac
if [ $quiet -eq 1 ] && [ ! -e $policy ]; then
    own_policy=1
    printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee $policy >/dev/null
    "${sudo[@]}" chmod 755 $policy
fi
# Those that were there before stay as they are.
fresh=()
for service in "${services[@]}"; do
    dpkg-query -W -f '${db:Status-Status}' "$service" 2>/dev/null | grep -q '^installed$' ||
        fresh+=("$service")
done
export DEBIAN_FRONTEND=noninteractive
if ! { "${sudo[@]}" apt-get update && "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y --no-install-recommends "${absent[@]}"; } >"$log" 2>&1 </dev/null; then
    tail -n 20 "$log" >&2
    echo "install.sh: apt-get failed (above)" >&2
    exit 69
fi
# Nor do they start at the next boot.
if [ $quiet -eq 1 ] && [ ${#fresh[@]} -gt 0 ] && command -v systemctl >/dev/null; then
    "${sudo[@]}" systemctl disable "${fresh[@]}" >/dev/null 2>&1 || true
fi
tell_gpu
