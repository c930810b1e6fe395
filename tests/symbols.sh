#!/bin/sh
# SPDX-License-Identifier: MIT
# Header, symbol map, built library and manual pages name the same calls.
set -eu
: "${srcdir:=.}" "${top_builddir:=.}" "${NM:=nm}"
LC_ALL=C
export LC_ALL
header=$srcdir/include/ammap.h map=$srcdir/lib/ammap.map
library=$top_builddir/.libs/libammap.so
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# A declaration starts with AMMAP_API and ends with a semicolon, lines later perhaps.
awk '/^AMMAP_API/ { open = 1; text = "" }
     open { text = text " " $0 }
     open && /;/ { open = 0; sub(/\(.*/, "", text); n = split(text, word, /[ *]+/); print word[n] }' \
        "$header" | sort >"$work/header"
sed -n 's/^[[:space:]]*\(ammap_[a-z0-9_]*\);.*/\1/p' "$map" | sort >"$work/map"
for page in "$srcdir"/man/ammap_*.3; do
        basename "$page" .3
done | sort >"$work/man"
test -s "$work/header" || { echo "no declarations found in $header" >&2; exit 1; }

failed=0
compare()
{
        test "$(uniq "$work/$1" | wc -l)" -eq "$(wc -l <"$work/$1")" ||
                { echo "$2 names a call twice: $(uniq -d "$work/$1" | tr '\n' ' ')" >&2; failed=1; }
        missing=$(comm -23 "$work/header" "$work/$1" | tr '\n' ' ')
        extra=$(comm -13 "$work/header" "$work/$1" | tr '\n' ' ')
        test -z "$missing" || { echo "in the header, not in $2: $missing" >&2; failed=1; }
        test -z "$extra" || { echo "in $2, not in the header: $extra" >&2; failed=1; }
}

compare map "$map"
compare man "$srcdir/man"
if test -e "$library"; then
        # Type A is the version node itself.
        $NM -D --defined-only "$library" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' | sort >"$work/library"
        compare library "$library"
else
        echo "no shared library was built: its symbols are not compared"
fi
test "$failed" -ne 0 || echo "$(wc -l <"$work/header") calls, the same everywhere"
exit "$failed"
