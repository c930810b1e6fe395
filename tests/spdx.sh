#!/bin/sh
# SPDX-License-Identifier: MIT
# Every source file says under which licence it is, in its first lines.
set -eu
: "${srcdir:=.}"
cd "$srcdir"

# lacking FOLDER...: the sources in there without such a line; a page that is a link to another has none.
lacking()
{
        find "$@" -type f \( -name '*.[ch]' -o -name '*.cc' -o -name '*.sh' -o -name '*.py' -o -name '*.pml' -o -name '*.rs' \
                -o -name '*.toml' -o -name '*.mk' -o -name '*.map' -o -name '*.in' -o -name '*.[357]' \) ! -name 'Makefile.in' |
                sort | while read -r file; do
                case $(head -n 1 "$file") in '.so '*) continue ;; esac
                head -n 12 "$file" | grep -q 'SPDX-License-Identifier: MIT' || echo "$file"
        done
}

missing=$(lacking include lib examples tests bench man cmake ./*.in)
for file in configure.ac Makefile.am autogen.sh quickstart .ci/run .clang-format .clang-tidy .editorconfig \
        packaging/check-* packaging/build-* packaging/try-deb packaging/ammap.spec packaging/alpine/APKBUILD \
        packaging/arch/PKGBUILD packaging/debian/rules packaging/debian/tests/client-* packaging/debian/tests/inspect; do
        test ! -e "$file" || head -n 12 "$file" | grep -q 'SPDX-License-Identifier: MIT' || missing="$missing $file"
done
for file in $missing; do
        echo "$file: no line SPDX-License-Identifier: MIT" >&2
done
test -z "$missing" || exit 1
test -n "$(find lib -name '*.c')" || { echo "no sources found" >&2; exit 1; }
echo "every source file names its licence"
