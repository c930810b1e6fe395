#!/bin/sh
# SPDX-License-Identifier: MIT
# The manual pages are clean, say what the header says, and their examples compile, run, and print what the page says.
#
# make check shows each page with man(1), and its twins not again; make check-long (AMMAP_TEST_LONG=1) shows them, too.
#
# From the environment: CC, CXX, CPPFLAGS, CFLAGS, LDFLAGS, LIBS as the library was built with.  Flags such as
# -fsanitize=address must be the library's own, or the examples do not link with it.
set -eu
: "${srcdir:=.}"
: "${top_srcdir:=$srcdir}" "${top_builddir:=.}" "${CC:=cc}"
: "${CXX:=}" "${CPPFLAGS:=}" "${CFLAGS:=}" "${LDFLAGS:=}" "${LIBS:=}"
LC_ALL=C
export LC_ALL
unset MANPATH MANOPT MANROFFOPT MANROFFSEQ GROFF_ENCODING || :
header=$top_srcdir/include/ammap.h
top_builddir=$(cd "$top_builddir" && pwd)
# Not in TMPDIR, where it may not be allowed to run a program.
work=$(mktemp -d "$PWD/man.XXXXXX")
trap 'rm -rf "$work"' EXIT

# A file remembers it, because a pipeline's commands are processes of their own.
fail()
{
        echo "$*" >&2
        : >"$work/failed"
}

# Fail for each line of standard input, with the arguments before it.
fail_each()
{
        while read -r line; do
                fail "$* $line"
        done
}

# Laid out as installed, which is how a .so request finds its page.
mkdir "$work/man1" "$work/man3" "$work/man5" "$work/man7" "$work/example" "$work/place"
cp "$top_srcdir"/man/*.1 "$work/man1"
cp "$top_srcdir"/man/*.3 "$work/man3"
cp "$top_srcdir"/man/*.5 "$work/man5"
cp "$top_srcdir"/man/*.7 "$work/man7"
others='man5/ammap-format.5 man7/ammap.7 man7/ammap-tutorial.7 man7/ammap-migration.7 man3/ammap.hpp.3'
programs='man1/ammap-inspect.1' # whose examples are no C
sections='NAME LIBRARY SYNOPSIS DESCRIPTION RETURN_VALUES THREAD_SAFETY EXAMPLES SEE_ALSO'

# A line of roff as the reader sees it: the few escapes that code needs.
unescape='s/^\\&//; s/\\-/-/g; s/\\(aq/'\''/g; s/\\(ga/`/g; s/\\(ha/^/g; s/\\(ti/~/g; s/\\e/\\/g'

# The literal blocks of a page's examples, and of the steps of ammap-tutorial(7), each into a file of its own:
# PREFIX-1.c, PREFIX-2.c...; .cc where it is C++.  An indented one is what the program before it prints: PREFIX-1.says.
blocks()
{
        page=$1 prefix=$2
        awk -v prefix="$prefix" '
                /^\.Sh / { inside = ($2 == "EXAMPLES" || $2 == "STEP") }
                inside && /^\.Ed/ { file = "" }
                inside && file { print >file }
                inside && /^\.Bd -literal$/ { file = prefix "-" ++n ".c.raw" }
                inside && /^\.Bd -literal -offset indent$/ { file = prefix "-" n ".says.raw" }' "$page"
        for raw in "$prefix"-*.raw; do
                test -e "$raw" || continue
                made=${raw%.raw}
                case $made in
                *.c) ! grep -q 'ammap\.hpp' "$raw" || made=${made%.c}.cc ;;
                esac
                sed "$unescape" "$raw" >"$made"
                rm "$raw"
        done
}

# --- What the header declares -------------------------------------------------------------------

# One call a line: "int ammap_new(ammap_t **map, uint64_t size)".
awk '/^AMMAP_API/ { open = 1; text = "" }
     open { text = text " " $0 }
     open && /;/ { open = 0; sub(/;.*/, "", text); gsub(/AMMAP_API|AMMAP_MUST_CHECK/, "", text)
                   gsub(/[ \t]+/, " ", text); sub(/^ /, "", text); sub(/\(void\)/, "(void)", text); print text }' \
        "$header" | sort >"$work/declared"
sed 's/(.*//; s/.*[ *]//' "$work/declared" | sort >"$work/calls"
{
        awk '$1 == "#define" { sub(/\(.*/, "", $2); print $2 }' "$header"
        awk '/^typedef enum/ { inside = 1 } inside { print } /}/ { inside = 0 }' "$header" | tr -cs 'A-Z0-9_' '\n' |
                grep '^AMMAP_'
} | sort -u >"$work/macros"
test -s "$work/calls" || { echo "no declarations found in $header" >&2; exit 1; }

# --- The pages against the header ---------------------------------------------------------------

(cd "$work/man3" && ls ammap_*) | sed 's/\.3$//' | sort >"$work/pages"
comm -23 "$work/calls" "$work/pages" | fail_each "no page for"
comm -13 "$work/calls" "$work/pages" | fail_each "a page for no call of the header:"

# shellcheck disable=SC2016 # awk's dollars
# The prototype as .Ft, .Fo, .Fa and .Fc spell it.
prototypes='
        function rest(n, s) { s = substr($0, n); gsub(/"/, "", s); return s }
        /^\.Sh / { inside = ($2 == "SYNOPSIS") }
        inside && $1 == ".Ft" { type = rest(5) }
        inside && $1 == ".Fo" { text = type (type ~ /\*$/ ? "" : " ") $2 "("; comma = "" }
        inside && $1 == ".Fa" { text = text comma rest(5); comma = ", " }
        inside && $1 == ".Fc" { print text ")" }'
: >"$work/shown"
real=
for page in "$work"/man3/ammap_*.3; do
        name=$(basename "$page" .3)
        read -r first <"$page"
        case $first in
        .so\ *)
                target=${first#.so }
                test "$(wc -l <"$page")" -eq 1 || fail "$name.3: more than its .so request"
                test -e "$work/$target" || { fail "$name.3: there is no $target"; continue; }
                grep -q "^\\.Nm $name\\( ,\\)*\$" "$work/$target" || fail "$target: does not name $name"
                continue
                ;;
        esac
        real="$real man3/$name.3"
        grep -q "^\\.Nm $name\\( ,\\)*\$" "$page" || fail "$name.3: does not name itself"

        grep -qx '\.Os libammap' "$page" || fail "$name.3: no line .Os libammap, to which make install adds the release"
        found=$(sed -n 's/^\.Sh //p' "$page" | tr ' ' '_' | tr '\n' ' ')
        for section in $sections; do
                case " $found" in
                *" $section "*) ;;
                *) fail "$name.3: no section $(echo "$section" | tr _ ' ')" ;;
                esac
        done

        awk "$prototypes" "$page" >"$work/prototypes"
        cat "$work/prototypes" >>"$work/shown"
        sed 's/(.*//; s/.*[ *]//' "$work/prototypes" | sort >"$work/has"
        sed -n 's/^\.Nm \(ammap_[a-z0-9_]*\).*/\1/p' "$page" | sort >"$work/names"
        cmp -s "$work/has" "$work/names" || fail "$name.3: NAME and SYNOPSIS name different calls"
done
sort "$work/shown" >"$work/synopses"
comm -23 "$work/declared" "$work/synopses" | fail_each "in the header, in no SYNOPSIS:"
comm -13 "$work/declared" "$work/synopses" | fail_each "in a SYNOPSIS, not in the header:"

# Names of macros and codes: none that the header does not define, and every code in the table of ammap(7).
for page in $real $others $programs; do
        grep -v '^\.Dt' "$work/$page" | tr -cs 'A-Z0-9_' '\n' | grep '^AMMAP_.*[A-Z0-9]$' | sort -u >"$work/used" || :
        comm -13 "$work/macros" "$work/used" | fail_each "$page: not defined by the header:"
        sed -n 's/^\.Xr \(ammap[a-z0-9_.-]*\) \([1357]\).*/man\2\/\1.\2/p' "$work/$page" | sort -u >"$work/references"
        while read -r reference; do
                test -e "$work/$reference" || fail "$page: refers to $reference, which is not there"
        done <"$work/references"
done
sed -n 's/^#define \(AMMAP_ERR_[A-Z_]*\) (\(-[0-9]*\))$/.It Dv \1 Ta \\\2 Ta/p' "$header" >"$work/rows"
test -s "$work/rows" || fail "no error codes found in $header"
while read -r row; do
        grep -qF -- "$row" "$work/man7/ammap.7" || fail "ammap.7: no row that begins with $row"
done <"$work/rows"
while read -r name; do
        grep -q "^\\.Xr $name 3" "$work/man7/ammap.7" || fail "ammap.7: does not refer to $name"
done <"$work/calls"

# The tables of ammap-format(5), a row a field: ".It 128 Ta 8 Ta Va length Ta what it is".  The compiler compares.
{
        printf '#include "memory/format.h"\n'
        awk '/^\.Ss / { structure = $3 == "head" ? "head" : $4 == "record" ? substr($3, 1, 4) : "" }
             /^\.It [0-9]+ Ta [0-9]+ Ta Va / && structure {
                     printf "_Static_assert(offsetof(struct format_%s, %s) == %d &&\n", structure, $7, $2
                     printf "        sizeof(((struct format_%s *)0)->%s) == %d, \"%s\");\n", structure, $7, $4, $7 }' \
                "$work/man5/ammap-format.5"
} >"$work/format.c"
test "$(grep -c offsetof "$work/format.c")" -ge 20 || fail "ammap-format.5: no tables of fields found"
# shellcheck disable=SC2086 # flags are words
$CC -std=c11 -I"$top_srcdir/include" -I"$top_srcdir/lib" $CPPFLAGS $CFLAGS -fsyntax-only "$work/format.c" ||
        fail "ammap-format.5: a table does not say what lib/memory/format.h does"

# --- The formatters -----------------------------------------------------------------------------

# mandoc warns of every .so request, so that it is asked about the pages behind them only.
lint=
if command -v mandoc >/dev/null; then
        for page in $real $others $programs; do
                (cd "$work" && mandoc -Tlint -W warning "$page") || fail "mandoc does not like $page"
                (cd "$work" && mandoc -Tascii -Owidth=80 "$page") | sed "s/.$(printf '\b')//g" |
                        awk 'length($0) > 80' | fail_each "$page: wider than 80 columns with mandoc:"
        done
else
        lint=missing
fi

# Only man-db knows --warnings.
if man --warnings --version >/dev/null 2>&1; then
        for page in "$work"/man1/*.1 "$work"/man3/*.3 "$work"/man5/*.5 "$work"/man7/*.7; do
                read -r first <"$page"
                case ${AMMAP_TEST_LONG:-0}:$first in
                0:.so\ *) continue ;;
                esac
                (cd "$work" && MANWIDTH=80 man --warnings=w -l "$page") >"$work/text" 2>"$work/warnings" </dev/null ||
                        fail "man cannot show $(basename "$page")"
                fail_each "$(basename "$page"):" <"$work/warnings"
                expand "$work/text" | awk 'length($0) > 80' |
                        fail_each "$(basename "$page"): wider than 80 columns with man:"
        done
else
        echo "skipped: groff's warnings: there is no man with --warnings here"
fi

# --- The examples -------------------------------------------------------------------------------

link()
{
        archive=$top_builddir/.libs/libammap.a
        test -e "$archive" || archive=$top_builddir/libammap.a
        # Without libtool's script, which takes longer than the compiler, where it can be done.
        if test ! -e "$archive"; then
                # shellcheck disable=SC2086 # flags are words
                "$top_builddir/libtool" --silent --tag=CC --mode=link $CC $CFLAGS $LDFLAGS -static \
                        -o "$1" "$1.o" "$top_builddir/libammap.la" $LIBS -pthread
        else
                # shellcheck disable=SC2086 # flags are words
                $CC $CFLAGS $LDFLAGS -o "$1" "$1.o" "$archive" $LIBS -pthread
        fi
}

# An example that hangs is a failure, where there is a timeout(1) to see it.
limit=
if command -v timeout >/dev/null; then
        limit='timeout 60'
fi

# Maps are shared with --with-os=linux alone.
cat >"$work/probe.c" <<'END'
#include <ammap.h>

int main(void)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        ammap_t *map;

        options.share = AMMAP_SHARED;
        return ammap_new_with(&map, 1, &options) == AMMAP_ERR_UNSUPPORTED ? 77 : ammap_free(map);
}
END
# shellcheck disable=SC2086 # flags are words
$CC -std=c11 -I"$top_srcdir/include" $CPPFLAGS $CFLAGS -c -o "$work/probe.o" "$work/probe.c"
link "$work/probe"
status=0
$limit "$work/probe" || status=$?
case $status in
0) shares=yes ;;
77) shares=no ;;
*) shares=no && fail "a map cannot be shared: status $status" ;;
esac

compiled=0 ran=0 compared=0
for page in $real $others; do
        name=$(basename "$page")
        blocks "$work/$page" "$work/example/$name"
        test -e "$work/example/$name-1.c" || test -e "$work/example/$name-1.cc" || fail "$name: no code in EXAMPLES"
done
steps=$(grep -c '^\.Sh STEP' "$work/man7/ammap-tutorial.7")
test "$steps" -ge 7 || fail "ammap-tutorial.7: $steps steps"
while test "$steps" -gt 0; do
        for kind in c says; do
                test -e "$work/example/ammap-tutorial.7-$steps.$kind" ||
                        fail "ammap-tutorial.7: step $steps is not a program and what it prints"
        done
        steps=$((steps - 1))
done
for source in "$work"/example/*.c "$work"/example/*.cc; do
        program=${source%.c*}
        name=$(basename "$program")
        case $source in
        *.c) compiler="$CC -std=c11" ;;
        *) compiler="$CXX -std=c++17" ;;
        esac
        # shellcheck disable=SC2086 # flags are words
        if test "$source" = "$program.cc" && ! $compiler -fsyntax-only -x c++ /dev/null 2>/dev/null; then
                echo "skipped: $name: there is no compiler of C++17 here"
                continue
        fi
        # shellcheck disable=SC2086 # flags are words
        $compiler -Wall -Wextra -Werror -I"$top_srcdir/include" $CPPFLAGS $CFLAGS -c -o "$program.o" "$source" ||
                { fail "$name: does not compile"; continue; }
        compiled=$((compiled + 1))
        grep -q '^int main(' "$source" || continue
        # What C++ links with is its own; tests/cpp.sh runs such programs.
        test "$source" = "$program.c" || continue
        link "$program" || { fail "$name: does not link"; continue; }
        test "$shares" = yes || ! grep -qE 'AMMAP_SHARED|AMMAP_RAW|ammap_open' "$source" || continue
        # Some make files where they are.
        (cd "$work/place" && $limit "$program") >"$work/output" 2>&1 </dev/null || {
                status=$?
                cat "$work/output" >&2
                fail "$name: ends with status $status"
                continue
        }
        ran=$((ran + 1))
        test -e "$program.says" || continue
        compared=$((compared + 1))
        diff -u "$program.says" "$work/output" >&2 || fail "$name: does not print what the page says"
done

test ! -e "$work/failed" || exit 1
echo "$(wc -l <"$work/calls" | tr -d ' ') calls have a page; of the examples $compiled compiled, $ran ran," \
        "and $compared printed what the page says"
if test -n "$lint"; then
        echo "skipped: there is no mandoc here to look at the pages"
        exit 77
fi
