#!/usr/bin/env bash
# Are all C and CUDA files as clang-format leaves them? check_format.sh [CLANG-FORMAT]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
tool=${1:-clang-format}
mapfile -t files < <(find base data model comm trainer launch tests \( -name '*.[ch]' -o -name '*.cu' -o -name '*.cuh' -o -name '*.cpp' \) | sort)
report=$(printf '%s\n' "${files[@]}" | xargs -P "$(nproc)" -n 16 "$tool" --dry-run -Werror 2>&1) || true
mapfile -t bad < <(sed -n 's/^\([^:]*\):[0-9]*:[0-9]*: .*/\1/p' <<<"$report" | sort -u)
echo "${#files[@]} files, ${#bad[@]} not formatted"
[ ${#bad[@]} -eq 0 ] || { printf '%s:1: run clang-format -i\n' "${bad[@]}" && exit 1; }
[ -z "$report" ] || { echo "$report" && exit 1; } # it did not run
