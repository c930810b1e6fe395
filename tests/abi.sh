#!/bin/sh
# SPDX-License-Identifier: MIT
# abi.sh check    what programs were compiled for still holds: no symbol is gone, no structure has another layout,
#                 no value has moved
# abi.sh record   ... of this release, in tests/abi, to be committed
# What may come: calls, values, enumerators, and members at the end of a structure that begins with its size.
set -eu
: "${srcdir:=.}" "${top_builddir:=.}" "${NM:=nm}" "${CC:=cc}"
LC_ALL=C
export LC_ALL
header=$srcdir/include/ammap.h library=$top_builddir/.libs/libammap.so
names=$srcdir/tests/abi/names types=$srcdir/tests/abi/libammap.abi
what=${1-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
test "$what" = check || test "$what" = record || { echo "usage: abi.sh check|record" >&2; exit 2; }
test -e "$library" || { echo "SKIP: check-abi: there is no shared library"; exit 0; }

# The symbols with their versions, and the numbers that the header alone has: defined, and enumerated (where abidiff
# takes a value that has moved for harmless).
{
        $NM -D --defined-only "$library" | awk '$2 == "T" { print $3 }'
        sed -nE '/AMMAP_VERSION/d
                s/^#define (AMMAP_[A-Z_]+) (\(?-?[0-9][0-9A-FUL]*\)?|\(?UINT64_.*)( +\/\*.*)?$/\1 \2/p' "$header"
        awk '/^typedef enum/ { open = 1; text = "" }
             open { gsub("/[*].*[*]/", ""); text = text " " $0 }
             open && /}/ { open = 0; gsub(/.*{|}.*/, "", text); count = split(text, part, ",")
                           for (i = 1; i <= count; i++) { gsub(/ /, "", part[i]); print part[i], i - 1 } }' "$header"
} | sort >"$work/names"
for name in ammap_new@@AMMAP_0.1 'AMMAP_OK 0' 'AMMAP_MUST 2'; do
        grep -qxF "$name" "$work/names" || { echo "abi.sh does not find $name" >&2; exit 1; }
done
if test "$what" = check; then
        gone=$(comm -23 "$names" "$work/names")
        test -z "$gone" || { printf 'check-abi: gone, or of another value:\n%s\n' "$gone" >&2; exit 1; }
fi

skip()
{
        echo "SKIP: check-abi: symbols and values are compared, types are not: $*"
        # What is recorded is recorded whole.
        test "$what" = check
        exit
}
command -v abidw >/dev/null && command -v abidiff >/dev/null ||
        skip "there is no abidw and abidiff (Debian: abigail-tools; Fedora: libabigail)"
readelf -h "$library" | grep -q 'Machine:.*X86-64' || skip "they are recorded of x86-64"

# The types as a program has them: what the header keeps to itself is not there, and may change.
{
        echo '#include <ammap.h>'
        sed -n 's/^\(ammap_[a-z0-9_]*\)@@.*/__typeof__(\1) *type_of_\1;/p' "$work/names"
} >"$work/program.c"
$CC -std=c11 -g -fPIC -shared -I"$srcdir/include" -o "$work/program.so" "$work/program.c"
abidw --no-corpus-path --no-comp-dir-path --no-show-locs "$work/program.so" |
        sed "s|path='[^']*program\.c'|path='program.c'|" >"$work/libammap.abi"
grep -q "name='ammap_options'" "$work/libammap.abi" || { echo "abidw finds no types" >&2; exit 1; }
if test "$what" = record; then
        cp "$work/names" "$names"
        cp "$work/libammap.abi" "$types"
        echo "recorded: $(wc -l <"$names") symbols and values, and the types"
        exit
fi
abidiff --suppressions "$srcdir/tests/abi/may-grow" --no-added-syms "$types" "$work/libammap.abi" ||
        { echo "check-abi: programs that were compiled before break" >&2; exit 1; }
echo "check-abi: as recorded, or more: $(wc -l <"$names") symbols and values, and the types"
