#!/bin/sh
# SPDX-License-Identifier: MIT
# packaging/debian repeats what is said elsewhere, in the form that Debian wants: it says the same.
set -eu
: "${srcdir:=.}"
LC_ALL=C
export LC_ALL
debian=$srcdir/packaging/debian failed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# same WHAT HERE THERE
same()
{
        test "$2" = "$3" && return
        echo "$1: packaging/debian has \"$2\", which is to be \"$3\"" >&2
        failed=1
}

version=$(sed -n 's/^#define AMMAP_VERSION "\(.*\)"$/\1/p' "$srcdir/include/ammap.h")
same "the version of changelog" "$(sed -n '1s/^libammap (\(.*\)-[^-]*) .*/\1/p' "$debian/changelog")" "$version"

home=$(sed -n 's/^m4_define(\[ammap_home\], \[\(.*\)\])$/\1/p' "$srcdir/configure.ac")
same "Homepage of control" "$(sed -n 's/^Homepage: //p' "$debian/control")" "$home"
for file in copyright watch upstream/metadata; do
        grep -q "$home" "$debian/$file" || same "$file" "no home page" "$home"
done

# A line of either is "symbol@node".
awk '/^AMMAP_/ { node = $1; print node "@" node } /^[ \t]+ammap_/ { sub(/;.*/, "", $1); print $1 "@" node }' \
        "$srcdir/lib/ammap.map" | sort >"$work/map"
sed -n 's/^ \([^ ]*@[^ ]*\) [^ ]*$/\1/p' "$debian/libammap0.symbols" | sort >"$work/symbols"
diff "$work/map" "$work/symbols" || { echo "libammap0.symbols and lib/ammap.map differ: see above" >&2; failed=1; }
test -s "$work/map" || failed=1

test "$failed" -ne 0 || echo "packaging/debian is of $version"
exit "$failed"
