#!/bin/sh
# SPDX-License-Identifier: MIT
# check.sh - is a row of bench/ratios.txt slower than it was?
#
#       check.sh check RATIOS DIRECTORY BENCH LIBRARY...
#       check.sh record RATIOS DIRECTORY BENCH LIBRARY...
#
# LIBRARY is NAME=PATH, the library to be tried first.  RATIOS has a line for each row and
# peer; those of a peer that is not given are left out.  What is measured is written into
# DIRECTORY.
#
# A row is worse where the ratio to the peer is, by more than 15 %.  The two are measured
# within a few milliseconds, so what else the machine does slows down both; and a row that
# seems worse is measured twice more, longer each time.  It fails where it is worse each time.
set -eu
what=$1 ratios=$2 csv=$3/check.csv bench=$4
shift 4
slack=1.15

# measured HOW...: the rows named on standard input, into $csv
measured()
{
        keys=$(tr '\n' ' ')
        "$bench" "$@" --rows "$keys" --csv "$csv" $libraries >"$csv.log" || {
                cat "$csv.log"
                exit 1
        }
}

rows_of()
{
        sed 's/#.*//' "$1" | awk 'NF { print $1 }' | sort -u
}

# One line for each that is worse: row, peer, what it was, what it is.
worse()
{
        awk -v slack="$slack" '
                FNR == NR { split($0, f, ","); unit[f[1] f[3]] = f[2]; got[f[1] f[3]] = f[8]; next }
                { sub(/#.*/, "") }
                NF && ($1 $2) in got {
                        key = $1 $2
                        by = unit[key] ~ /s$/ && unit[key] != "Mops" && unit[key] != "MB/s" ? got[key] / $3 : $3 / got[key]
                        if (by > slack)
                                printf "%-19s %-8s %s %s\n", $1, $2, $3, got[key]
                }' "$csv" "$1"
}

# The library, and the peers that are named in the file.
libraries=$1
shift
for peer; do
        if sed 's/#.*//' "$ratios" | awk -v peer="${peer%%=*}" '$2 == peer { found = 1 } END { exit !found }'; then
                libraries="$libraries $peer"
        fi
done

if test "$what" = record; then
        rows_of "$ratios" | measured --rounds 24 --processes 5
        awk '
                FNR == NR { split($0, f, ","); got[f[1] f[3]] = f[8]; next }
                /^[^#]/ && ($1 $2) in got { printf "%-19s %-8s %.3f\n", $1, $2, got[$1 $2]; next }
                { print }' "$csv" "$ratios" >"$csv.new"
        mv "$csv.new" "$ratios"
        exit
fi

suspects=$csv.suspects
cp "$ratios" "$suspects"
for how in '--quick --rounds 12' '--rounds 16' '--rounds 32 --processes 5'; do
        rows_of "$suspects" | measured $how
        worse "$suspects" >"$suspects.new"
        mv "$suspects.new" "$suspects"
        if ! test -s "$suspects"; then
                echo "bench-check: $(rows_of "$ratios" | wc -l) rows, none of them worse than in $ratios"
                exit 0
        fi
        echo "bench-check: seems worse:" $(rows_of "$suspects")
done
while read -r row peer was is; do
        echo "bench-check: $row is worse: $is of $peer's, and was $was" >&2
done <"$suspects"
exit 1
