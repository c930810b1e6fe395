#!/bin/sh
# SPDX-License-Identifier: MIT
# The header, included alone, compiles as each C and C++ that it promises, with each compiler here, without a warning.
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
        command -v "${compiler%% *}" >/dev/null || { echo "$compiler is not here: skipped"; return 0; }
        tried=$((tried + 1))
        # $compiler may hold options, as $CC does.
        $compiler -x "$language" "-std=$standard" -Wall -Wextra -Wpedantic -Werror -I"$srcdir/include" \
                -fsyntax-only "$work/alone.c" || { echo "failed: $compiler -std=$standard" >&2; failed=1; }
}

for standard in c11 c17; do
        compile "$CC" c $standard
        compile gcc c $standard
        compile clang c $standard
done
for standard in c++11 c++17 c++20; do
        test -z "$CXX" || compile "$CXX" c++ $standard
        compile g++ c++ $standard
        compile clang++ c++ $standard
done
test "$failed" -ne 0 || echo "$tried compilations, no warning"
exit "$failed"
