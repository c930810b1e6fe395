#!/bin/sh
# SPDX-License-Identifier: MIT
# What a run of the tests has left out, and why: skips.sh LOG...
#
# A test that is skipped says why in its log, in a line "skipped: WHY" or in the last one before automake's.  A test that
# leaves a part out says "skipped: PART: WHY".  One that is skipped without a word is a failure.
set -eu
total=0 whole=0 parts=0 silent=0
newline='
'
said=
for log; do
        result=${log%.log}.trs
        test -e "$log" && test -e "$result" || continue
        total=$((total + 1))
        lines=$(sed -n 's/^skipped: //p' "$log" | sort -u)
        if grep -q '^:test-result: SKIP' "$result"; then
                whole=$((whole + 1))
                why=${lines:-$(grep -v '^SKIP ' "$log" | sed '/^$/d' | tail -n 1)}
                test -n "$why" || { silent=$((silent + 1)) && why='it does not say why'; }
                said="$said  ${log%.log}: $(echo "$why" | tr '\n' ';' | sed 's/;$//; s/;/; /g')$newline"
        elif test -n "$lines"; then
                parts=$((parts + $(printf '%s\n' "$lines" | wc -l)))
                said="$said$(printf '%s\n' "$lines" | sed "s,^,  in ${log%.log}: ,")$newline"
        fi
done
kind='a part of what is alike; make check-long tries all'
test "${AMMAP_TEST_LONG:-0}" -eq 0 || kind='everything at full length'
printf '%sSKIPPED: %d of %d tests, and %d parts of others; tried: %s\n' "$said" "$whole" "$total" "$parts" "$kind"
test "$silent" -eq 0
