#!/usr/bin/env bash
# Are all C files as clang-format leaves them? check_format.sh [CLANG-FORMAT]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
tool=${1:-clang-format}
mapfile -t files < <(find base data model comm trainer launch tests -name '*.[ch]' | sort)
mapfile -t bad < <(printf '%s\n' "${files[@]}" |
    xargs -P "$(nproc)" -I '{}' sh -c '"$0" --dry-run -Werror "$1" 2>/dev/null || echo "$1"' "$tool" '{}' | sort)
echo "${#files[@]} files, ${#bad[@]} not formatted"
[ ${#bad[@]} -eq 0 ] || { printf '%s:1: run clang-format -i\n' "${bad[@]}" && exit 1; }
