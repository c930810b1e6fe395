#!/bin/sh
# SPDX-License-Identifier: MIT
# Header, symbol map, built library and manual pages name the same calls.  The archive defines no
# name that is not the library's own: every one begins with ammap_, which lib/names.h is for.
set -eu
: "${srcdir:=.}" "${top_builddir:=.}" "${NM:=nm}" "${CC:=cc}" "${CFLAGS:=}"
LC_ALL=C
export LC_ALL
header=$srcdir/include/ammap.h map=$srcdir/lib/ammap.map
library=$top_builddir/.libs/libammap.so archive=$top_builddir/.libs/libammap.a names=$srcdir/lib/names.h
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

# What an object or archive defines for all others, functions, data and thread-local: one a line.
# (Names that begin with __ are the compiler's: a sanitizer's and coverage's.)
defined()
{
        $NM -g "$1" 2>/dev/null | awk 'NF == 3 && $2 != "U" { sub(/^_ammap_/, "ammap_", $3); print $3 }' |
                sed '/^__/d; /^_GLOBAL_/d' | sort -u
}

# strangers FILE: those of them that a program may have, too
strangers()
{
        defined "$1" | sed '/^ammap_/d'
}

if test ! -e "$archive"; then
        echo "no archive was built: its symbols are not looked at"
else
        if test -z "$(defined "$archive" | grep '^ammap_new$')"; then
                # Of another compiler's LTO, as clang's, nm sees nothing.
                NM=llvm-nm
        fi
        if test -z "$(defined "$archive" | grep '^ammap_new$')"; then
                echo "note: neither nm nor llvm-nm reads $archive: its symbols are not looked at"
        else
                for name in $(strangers "$archive"); do
                        echo "in $archive, without the prefix; lib/names.h wants: #define $name ammap__$name" >&2
                        failed=1
                done
                # It does find one, of each kind.
                echo 'int os_open(void); int os_open(void) { return 0; } int os_data = 1; int os_zero;
                        _Thread_local int os_own; __attribute__((constructor)) void os_begin(void) { }' >"$work/bad.c"
                # shellcheck disable=SC2086 # flags are words
                $CC $CFLAGS -w -c -o "$work/bad.o" "$work/bad.c"
                test "$(strangers "$work/bad.o" | tr '\n' ' ')" = 'os_begin os_data os_open os_own os_zero ' ||
                        { echo "a name without the prefix has not been found: $(strangers "$work/bad.o")" >&2; failed=1; }
        fi
fi

# A line for what is no more.
sed -n 's/^#define \([a-z][a-z0-9_]*\) ammap__\1$/\1/p' "$names" | sort >"$work/names"
test "$(grep -c '^#define [a-z]' "$names")" -eq "$(wc -l <"$work/names")" ||
        { echo "$names: a line is not of the form #define NAME ammap__NAME" >&2; failed=1; }
cat "$srcdir"/lib/*/*.[ch] "$srcdir"/lib/*.[ch] | sed '/^#define [a-z0-9_]* ammap__/d' | tr -cs 'a-zA-Z0-9_' '\n' |
        sort -u >"$work/words"
for name in $(comm -23 "$work/names" "$work/words"); do
        echo "$names: nothing is called $name any more" >&2
        failed=1
done

test "$failed" -ne 0 || echo "$(wc -l <"$work/header") calls, the same everywhere"
exit "$failed"
