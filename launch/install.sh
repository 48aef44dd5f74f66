#!/usr/bin/env bash
# Installs the Debian packages that building (and, with --tests, testing) Dye needs.
#
#   launch/install.sh [--tests] [--no-install]
#
# Nothing is asked of the network when nothing is missing. --no-install names what is missing and
# stops with exit code 69. Needs root or sudo for what is missing.
set -euo pipefail

# The one list. Debian 12 names.
build=(gcc libc6-dev make cmake pkg-config openmpi-bin libopenmpi-dev libdnnl-dev
    libzstd-dev libyaml-dev libjansson-dev libxxhash-dev libpng-dev zlib1g-dev libzmq3-dev)
tests=(python3 python3-numpy clang libclang-rt-14-dev clang-format universal-ctags zstd procps
    diffutils dataset-fashion-mnist bible-kjv-text
    slurm-wlm munge iproute2 util-linux iputils-ping)
# Of these the tests start what they need by themselves: the machine gets no services from them.
services=(munge slurmctld slurmd)

wanted=("${build[@]}")
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

missing() {
    local package
    for package in "${wanted[@]}"; do
        dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -q '^installed$' ||
            echo "$package"
    done
}

if ! command -v dpkg-query >/dev/null; then
    echo "install.sh: this is no Debian system; install by hand what these packages hold:" \
        "${wanted[*]}" >&2
    exit 69
fi
mapfile -t absent < <(missing)
if [ ${#absent[@]} -eq 0 ]; then
    echo "all ${#wanted[@]} packages are installed"
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
log=$(mktemp)
policy=/usr/sbin/policy-rc.d
own_policy=0
clean_up() {
    rm -f "$log"
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
