#!/bin/sh
# expect_exit.sh CODE SECONDS TEXT COMMAND...: the command must end with CODE within SECONDS and its
# output must hold TEXT (empty: anything).
code=$1 seconds=$2 text=$3
shift 3
output=$(timeout "$seconds" "$@" 2>&1)
got=$?
printf '%s\n' "$output"
if [ "$got" -ne "$code" ]; then
    echo "expect_exit: exit code $got, expected $code (124: not within $seconds s)" >&2
    exit 1
fi
case $output in
*"$text"*) ;;
*)
    echo "expect_exit: output lacks '$text'" >&2
    exit 1
    ;;
esac
