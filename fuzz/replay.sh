#!/bin/sh
# SPDX-License-Identifier: MIT
# The inputs of fuzz/corpus are run once more, with no fuzzer: what was found does not come back.
set -eu
: "${srcdir:=.}"
: "${top_srcdir:=$srcdir}"
status=0
for target in calls import file hostile; do
        set -- "$top_srcdir/fuzz/corpus/$target"/*
        if ! test -f "$1"; then
                echo "fuzz/corpus/$target has no inputs" >&2
                status=1
        elif ! fuzz/replay-$target "$@" 2>"$PWD/fuzz/replay-$target.log"; then
                echo "$target: the last one of these:" >&2
                tail -n 5 "$PWD/fuzz/replay-$target.log" >&2
                status=1
        fi
done
exit $status
