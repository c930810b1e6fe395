#!/bin/sh
# SPDX-License-Identifier: MIT
# The header, included alone, compiles as each C and C++ that it promises, with each compiler here, without a warning.
# With an older C or C++ it says what it needs, in the one error that there is.
set -eu
: "${srcdir:=.}" "${CC:=cc}" "${CXX:=}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cat >"$work/alone.c" <<'END'
#include <ammap.h>
#include <ammap.h>

#ifdef __cplusplus
#define ZERO {}
#else
#define ZERO { 0 }
#endif

int use(void);
int use(void)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        AMMAP_AUTO_MAP ammap_t *map = NULL;
        int rc = ammap_new_with(&map, 1, &options);
        AMMAP_AUTO_U32_VIEW ammap_u32_view_t view = ZERO;
        AMMAP_AUTO_U64_VIEW ammap_u64_view_t wide = ZERO;
        if (rc == AMMAP_OK && ammap_atomic_u32(map, 0, &view) == AMMAP_OK) {
                AMMAP_AUTO_SLICE ammap_slice_t slice = ZERO;
                AMMAP_AUTO_MUT_SLICE ammap_mut_slice_t mut_slice = ZERO;
                rc = ammap_as_slice(map, 0, 1, &slice) + ammap_as_mut_slice(map, 0, 1, &mut_slice);
                *view.value = 1;
                rc += ammap_atomic_u64(map, 0, &wide);
        }
#ifndef __cplusplus
        return ammap_new_with(&map, 1, &(ammap_options_t)AMMAP_OPTIONS_INIT);
#else
        return rc;
#endif
}
END

failed=0 tried=0
compile()
{
        compiler=$1 language=$2 standard=$3
        command -v "${compiler%% *}" >/dev/null || { echo "skipped: $compiler: it is not here"; return 0; }
        tried=$((tried + 1))
        # $compiler may hold options, as $CC does.
        $compiler -x "$language" "-std=$standard" -Wall -Wextra -Wpedantic -Werror -I"$srcdir/include" \
                -fsyntax-only "$work/alone.c" || { echo "failed: $compiler -std=$standard" >&2; failed=1; }
}

# An older language: one error, of a program that uses what is declared.
refuse()
{
        compiler=$1 language=$2 standard=$3
        command -v "${compiler%% *}" >/dev/null || return 0
        tried=$((tried + 1))
        if LC_ALL=C $compiler -x "$language" "-std=$standard" -pedantic-errors -I"$srcdir/include" -fsyntax-only \
                "$work/old.c" 2>"$work/said"; then
                echo "failed: $compiler -std=$standard compiles, and should be refused" >&2
                failed=1
        elif test "$(grep -c 'error: ' "$work/said")" -ne 1 ||
                ! grep -q 'error: .*ammap.h needs C11 or C++11' "$work/said"; then
                cat "$work/said" >&2
                echo "failed: $compiler -std=$standard: wanted one error, that ammap.h needs C11 or C++11" >&2
                failed=1
        fi
}

cat >"$work/old.c" <<'END'
#include <ammap.h>

int main(void)
{
        ammap_t *map;
        ammap_u32_view_t view;
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        int rc = ammap_new_with(&map, 4096, &options);

        if (rc == AMMAP_OK)
                rc = ammap_atomic_u32(map, 0, &view);
        if (rc == AMMAP_OK)
                ammap_u32_view_release(&view);
        return rc == AMMAP_OK ? ammap_free(map) : 1;
}
END

# The newest are known to new compilers alone.
knows()
{
        echo 'int x;' | $1 -x "$2" "-std=$3" -fsyntax-only - 2>/dev/null
}

for compiler in "$CC" gcc clang; do
        for standard in c11 c17 c2x c23 gnu11; do
                ! knows "$compiler" c $standard || compile "$compiler" c $standard
        done
        refuse "$compiler" c c99
done
for compiler in "$CXX" g++ clang++; do
        test -n "$compiler" || continue
        for standard in c++11 c++14 c++17 c++20 c++2b c++23; do
                ! knows "$compiler" c++ $standard || compile "$compiler" c++ $standard
        done
        refuse "$compiler" c++ c++98
done
command -v clang >/dev/null || echo "skipped: clang: it is not here"
test "$failed" -ne 0 || echo "$tried compilations, no warning"
exit "$failed"
