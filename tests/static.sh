#!/bin/sh
# SPDX-License-Identifier: MIT
# A program that has a function for every name of lib/names.h (os_open, map_lock...) links with the
# archive, and the library works in it.
set -eu
: "${srcdir:=.}" "${top_builddir:=.}" "${CC:=cc}" "${CPPFLAGS:=}" "${CFLAGS:=}" "${LDFLAGS:=}" "${LIBS:=}"
work=$(mktemp -d "$PWD/static.XXXXXX")
trap 'rm -rf "$work"' EXIT
archive=$top_builddir/.libs/libammap.a
test -e "$archive" || { echo "skipped: no archive was built (--disable-static)"; exit 77; }

# What the program is about; none of its own functions may be called by the library.
cat >"$work/client.c" <<'END'
#include <ammap.h>
#include <stdlib.h>
#include <string.h>

int main(void)
{
        ammap_t *map;
        char text[6] = "";
        ammap_slice_t slice;

        if (ammap_new(&map, 65536) != AMMAP_OK || ammap_update_region(map, 8, "hello", 5) != AMMAP_OK)
                return 1;
        if (ammap_read_into(map, 8, text, 5) != AMMAP_OK || strcmp(text, "hello") != 0)
                return 2;
        if (ammap_as_slice(map, 0, 9, &slice) != AMMAP_OK || ammap_slice_release(&slice) != AMMAP_OK)
                return 3;
        return ammap_free(map) == AMMAP_OK ? 0 : 4;
}

END
names=$(sed -n 's/^#define \([a-z][a-z0-9_]*\) ammap__.*/\1/p' "$srcdir/lib/names.h")
for name in $names; do
        echo "void $name(void); void $name(void) { abort(); }"
done >>"$work/client.c"
for name in os_open os_wait map_lock slot_take; do
        grep -q "^void $name(void)" "$work/client.c" || { echo "lib/names.h has no $name" >&2; exit 1; }
done

# shellcheck disable=SC2086 # flags are words
$CC -I"$srcdir/include" $CPPFLAGS $CFLAGS $LDFLAGS -o "$work/client" "$work/client.c" "$archive" $LIBS -pthread
"$work/client" || { echo "the client returned $?" >&2; exit 1; }
echo "a program with $(echo "$names" | wc -l) functions of the same names links, and runs"
