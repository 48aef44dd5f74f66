#!/usr/bin/env bash
# The faults of test_watch.sh and more: hosts frozen, dead and cut off for good, ranks killed.
exec bash "$(dirname "${BASH_SOURCE[0]}")/test_watch.sh" --long
