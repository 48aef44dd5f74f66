#!/usr/bin/env bash
# Fetches data sets from Debian packages and packs them below data-packed/.
#
#   launch/get-data.sh [--no-install] NAME...|all
#
#   fashion-mnist   60,000 + 10,000 grey pictures of articles, 10 classes (dataset-fashion-mnist)
#   fashion-mnist-16  the same as tokens of 16 levels
#   kjv             the King James Bible as 27 letters (bible-kjv-text)
#   unifont         49,887 glyphs of 16 x 16 bits (unifont)
#   swiss-roll      50,000 points on a spiral in the plane (made up)
#   heartbeat       50,000 sequences of 20 bits, a 1 every 5 (made up)
#
# A set that is there and passes `dye verify` is left alone. Missing packages are installed with
# apt-get, which needs root or sudo; where there is neither, or with --no-install, it tells where to get
# the files: unpack the packages into any folder, and let DEBIAN_ROOT name it. DYE names the program
# (default: build/dye). Exit codes: 2 wrong arguments, 69 a package or the program is missing, otherwise
# that of `dye pack`.
set -euo pipefail

say() { echo "get-data: $*"; }
stop() {
    echo "get-data: $2" >&2
    exit "$1"
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
dye=$(realpath -m "${DYE:-$root/build/dye}")
debian=${DEBIAN_ROOT:+$(realpath -m "$DEBIAN_ROOT")}
cd "$root"

# get_by_hand PACKAGE FILE: how to, and the end.
get_by_hand() {
    cat >&2 <<END
get-data: $2 is missing; it is in Debian's package $1. As root:
  apt-get install --no-install-recommends $1
or without: fetch $1_*_all.deb into a folder from
  https://packages.debian.org/bookworm/all/$1/download
and there:
  ar x $1_*_all.deb && tar xf data.tar.*
  DEBIAN_ROOT=\$PWD $root/launch/get-data.sh $name
END
    exit 69
}

# install PACKAGE FILE: the package, unless the file it brings is there.
install() {
    local sudo=()
    [ ! -e "$2" ] || return 0
    [ $may_install -eq 1 ] && [ -z "$debian" ] && command -v apt-get >/dev/null || get_by_hand "$@"
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || get_by_hand "$@"
        sudo=(sudo)
    fi
    say "installing the package $1 (it holds $2)"
    # An old list of packages is fetched anew only if the first try fails.
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y --no-install-recommends "$1" </dev/null ||
        { "${sudo[@]}" apt-get update </dev/null &&
            "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
                apt-get install -y --no-install-recommends "$1" </dev/null; } ||
        stop 69 "apt-get could not install $1"
    [ -e "$2" ] || stop 69 "the package $1 is installed, but $2 is not there"
}

# get NAME PACKAGE SOURCE OPTION...: no package (-) for a made-up set.
get() {
    local name=$1 package=$2 source=$3 out=data-packed/$1 force=()
    shift 3
    if [ -e "$out" ]; then
        if "$dye" verify "$out" >/dev/null 2>&1; then
            say "$out is there and good"
            return 0
        fi
        say "$out does not pass 'dye verify': packing it again"
        force=(--force)
    fi
    [ "$package" = - ] || install "$package" "$source"
    mkdir -p data-packed
    "$dye" pack "$source" -o "$out" --name "$name" "$@" "${force[@]}"
    "$dye" verify "$out"
}

known=(fashion-mnist fashion-mnist-16 kjv unifont swiss-roll heartbeat)
may_install=1
if [ "${1:-}" = --no-install ]; then may_install=0 && shift; fi
[ $# -gt 0 ] || stop 2 "which set? launch/get-data.sh ${known[*]} or all"
[ "$*" != all ] || set -- "${known[@]}"
for name in "$@"; do
    [[ " ${known[*]} " = *" $name "* ]] ||
        stop 2 "there is no set '$name'; known are ${known[*]} and all"
done
[ -x "$dye" ] || stop 69 "$dye is not there: build it first, or set DYE"
for name in "$@"; do
    case $name in
    fashion-mnist) get "$name" dataset-fashion-mnist "$debian/usr/share/datasets/fashion-mnist" ;;
    fashion-mnist-16) get "$name" dataset-fashion-mnist "$debian/usr/share/datasets/fashion-mnist" --levels 16 ;;
    kjv) get "$name" bible-kjv-text "$debian/usr/lib/bible.data" --form letters27 ;;
    unifont) get "$name" unifont "$debian/usr/share/unifont/unifont.hex" ;;
    swiss-roll | heartbeat) get "$name" - "$name" ;;
    esac
done
