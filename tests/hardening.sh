#!/bin/sh
# SPDX-License-Identifier: MIT
# What the built library has of guards against who would turn a mistake in a program into more.
#
# Of libammap.so always: full RELRO (the tables of addresses are read-only when a program begins), a stack that
# is not executable, no segment that is written and executed, no text that is relocated.  By what it was
# compiled for, which the compiler says of its flags: _FORTIFY_SOURCE and the stack protector import their
# checks; with CET each object has the mark of it, and each exported function begins with endbr64.  (Whether
# the whole has the mark is up to the C library's crti.o.)
#
# Then libraries of the same objects, linked carelessly, must be refused.
set -eu
LC_ALL=C
export LC_ALL
: "${top_builddir:=.}" "${CC:=cc}" "${CPPFLAGS:=}" "${CFLAGS:=}" "${LDFLAGS:=}" "${LIBS:=}" "${LIB_CFLAGS:=}"
: "${READELF:=readelf}" "${OBJDUMP:=objdump}"
for tool in "$READELF" "$OBJDUMP"; do
        command -v "$tool" >/dev/null || { echo "skipped: $tool is not installed"; exit 77; }
done
folder=$top_builddir/.libs
library=$folder/libammap.so
test -e "$library" || { echo "skipped: no shared library was built"; exit 77; }
case $("$READELF" -h "$library" 2>/dev/null) in *ELF*) ;; *) echo "skipped: the library is not ELF"; exit 77 ;; esac
case " $CC $CFLAGS $LDFLAGS " in *" -fsanitize="*) echo "skipped: sanitizers link as they want"; exit 77 ;; esac
work=$(mktemp -d "$PWD/hardening.XXXXXX")
trap 'rm -rf "$work"' EXIT

# linked LIBRARY: print what it lacks of what the linker does
linked()
{
        "$READELF" -lW "$1" >"$work/segments"
        "$READELF" -dW "$1" >"$work/dynamic"
        grep -q '^ *GNU_RELRO ' "$work/segments" || echo "no RELRO"
        grep -q 'BIND_NOW\|FLAGS_1.*NOW' "$work/dynamic" || echo "symbols are bound late, so that their table stays writable"
        if ! grep -q '^ *GNU_STACK ' "$work/segments"; then
                echo "nothing says that the stack is not executable"
        elif grep '^ *GNU_STACK ' "$work/segments" | grep -q ' R\?WE '; then
                echo "the stack is executable"
        fi
        if grep '^ *LOAD ' "$work/segments" | grep -q ' R\?WE '; then
                echo "a segment is written and executed"
        fi
        if grep -q 'TEXTREL' "$work/dynamic"; then
                echo "text is relocated"
        fi
}

# What it was compiled for.
# shellcheck disable=SC2086 # flags are words
$CC $CPPFLAGS $LIB_CFLAGS $CFLAGS -dM -E -x c /dev/null >"$work/macros"
has()
{
        grep -q "^#define $1 " "$work/macros"
}

# compiled LIBRARY OBJECT...: print what it lacks of what the compiler does
compiled()
{
        "$READELF" --dyn-syms -W "$1" >"$work/symbols"
        shift
        if has _FORTIFY_SOURCE && has __OPTIMIZE__ && has __linux__ && ! grep -q ' UND __[a-z]*_chk\(@\|$\)' "$work/symbols"; then
                echo "no call is fortified"
        fi
        if has '__SSP\(_STRONG_\|_ALL_\|\)_' && ! grep -q ' UND __stack_chk_\(fail\|guard\)\(@\|$\)' "$work/symbols"; then
                echo "no stack is protected"
        fi
        has __CET__ && has __x86_64__ || return 0
        for object; do
                "$READELF" -n "$object" | grep -q 'IBT, SHSTK' || echo "$object has no mark of CET"
        done
        "$OBJDUMP" -d --no-show-raw-insn "$library" | awk '
                /^[0-9a-f]+ <ammap_[a-z0-9][a-z0-9_]*>:/ { name = $2; next }
                name { if ($2 != "endbr64") print name " begins with " $2; name = "" }'
}

objects=$(find "$top_builddir/lib" -path '*/.libs/*.o' | sort)
test -n "$objects" || { echo "no objects were found" >&2; exit 1; }
# shellcheck disable=SC2086 # names are words
{ linked "$library" && compiled "$library" $objects; } >"$work/lacks"
if test -s "$work/lacks"; then
        cat "$work/lacks" >&2
        exit 1
fi

# careless FLAG WHAT: the same objects linked so lack that
careless()
{
        # shellcheck disable=SC2086 # flags and names are words
        $CC $CFLAGS -shared -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack $1 -o "$work/careless.so" $objects $LIBS -pthread 2>"$work/warnings" ||
                { echo "$1 cannot be linked, and so is not tried"; return 0; }
        linked "$work/careless.so" >"$work/lacks"
        grep -q "$2" "$work/lacks" || { echo "a library linked with $1 passes, or does not lack: $2" >&2; exit 1; }
        echo "seen in a library linked with ${1##*/}: $(sed -n '1p' "$work/lacks")"
}
careless -Wl,-z,execstack 'the stack is executable'
careless -Wl,-z,norelro 'no RELRO'
careless -Wl,-z,lazy 'symbols are bound late'
# Some bytes that are to be written and executed.
cat >"$work/both.c" <<'END'
__asm__(".section .both,\"awx\",@progbits\n.byte 0\n.previous");
END
$CC -fPIC -c -o "$work/both.o" "$work/both.c"
careless "$work/both.o" 'a segment is written and executed'

# And one that is asked for guards that it was not compiled with.
cp "$work/macros" "$work/real-macros"
for guard in _FORTIFY_SOURCE __SSP_STRONG__ __CET__; do
        grep -q "^#define $guard " "$work/real-macros" && continue
        case $guard in __CET__) has __x86_64__ || continue ;; esac
        { cat "$work/real-macros" && echo "#define $guard 3" && echo "#define __OPTIMIZE__ 1"; } >"$work/macros"
        # shellcheck disable=SC2086 # names are words
        compiled "$library" $objects >"$work/lacks"
        test -s "$work/lacks" || { echo "the library is taken for one with $guard" >&2; exit 1; }
        echo "not compiled with $guard, and that is seen: $(sed -n '1p' "$work/lacks")"
done
echo "RELRO, BIND_NOW, no executable stack, no text relocations; compiled with, of what can be asked for:"
sed -n 's/^#define \(_FORTIFY_SOURCE [0-9]*\|__SSP[A-Z_]*\|__CET__\) *.*/    \1/p' "$work/real-macros" | sort -u
