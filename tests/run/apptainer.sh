#!/usr/bin/env bash
# launch/apptainer/dye.def, without Apptainer: its shell parts parse, what it copies is enough to
# configure, and what it installs is what the program needs and install.sh names.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

def=$root/launch/apptainer/dye.def
# section STAGE NAME: the lines of one section.
section() {
    awk -v stage="$1" -v name="%$2" '/^Stage:/ { now = $2; inside = 0 }
        /^%/ { inside = now == stage && $0 == name; next } inside' "$def"
}
for part in "build post" "run post" "run environment" "run runscript" "run test"; do
    # shellcheck disable=SC2086 # two words
    section $part >"$work/part"
    [ -s "$work/part" ] || die "no section $part"
    bash -n "$work/part" >"$log" 2>&1 || die "section $part"
done
section build post | grep -q "^ *bash launch/install.sh$" || die "the build does not use install.sh"
checked "its shell parts parse"

while read -r from to; do
    mkdir -p "$(dirname "$work$to")" && cp -r "$root/$from" "$work$to" || die "cannot copy $from"
done < <(section build files)
timeout 60 cmake -S "$work/src" -B "$work/src/build" >"$log" 2>&1 || die "what it copies is not enough"
while read -r from to; do [ -e "$root/$from" ] || die "no $from for $to"; done < <(section run files)
checked "what it copies is enough to configure"

command -v dpkg-query >/dev/null || skip "no dpkg-query to look packages up"
installed=$(section run post | tr -d '\\\n' | sed 's/.*--no-install-recommends//; s/rm -rf.*//')
# among WORD LIST
among() { grep -qwF -- "$1" <<<"$2"; }

# What the program is linked with, by the package that brings it.
readelf -d "$dye" | sed -n 's/.*NEEDED.*\[\(.*\)\]/\1/p' >"$work/needed"
while read -r library; do
    file=$(realpath "$(ldd "$dye" | awk -v name="$library" '$1 == name { print $3 }')")
    package=$(dpkg-query -S "*/$(basename "${file%/*}")/${file##*/}" 2>/dev/null | sed -n '1s/:.*//p')
    [ "$package" = libc6 ] || among "$package" "$installed" ||
        [[ $library =~ ^lib(asan|ubsan) ]] || die "$library of ${package:-no package} is not installed"
done <"$work/needed"

# Each library that a build takes from install.sh has its other half here.
depends=
for package in $(sed -n 's/^    "\([a-z0-9+.-]*-dev\) .*/\1/p' "$root/launch/install.sh"); do
    [ "$package" != libc6-dev ] || continue
    of_it=$(dpkg-query -W -f '${Depends}' "$package" | sed 's/([^)]*)//g; s/:[a-z]*//g; s/[,|]/ /g')
    depends+=" $of_it"
    found=
    for other in $of_it; do ! among "$other" "$installed" || found=$other; done
    [ -n "$found" ] || die "$package of install.sh has no other half in $def"
done
for package in $installed; do
    among "$package" "$depends libgomp1" || die "$package stands for nothing in install.sh"
done
# shellcheck disable=SC2086 # words
! command -v apt-get >/dev/null || apt-get install --simulate --no-install-recommends $installed \
    >"$log" 2>&1 || die "apt-get would not install $installed"
checked "it installs what the program needs, and install.sh names:$(tr -s ' ' <<<"$installed")"
