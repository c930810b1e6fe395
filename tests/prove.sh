#!/bin/sh
# SPDX-License-Identifier: MIT
# Prove what the library computes of offsets, lengths, lanes and pages, for all 64-bit numbers: the functions
# named below, as they stand in lib/, keep the contracts in tests/proof/*.c.
#
#     prove.sh           each goal is to be proved
#     prove.sh mutants   and where lib/ has a mistake, one is not: of each mistake below
#
# A contract that nothing can keep, or code that nothing reaches by it, would prove anything: smoke tests look
# for that.
#
# frama-c reads C11 but for _Atomic(...), which is made what it is to one thread, and _Alignas, which it
# wants behind the name.
set -eu
LC_ALL=C
export LC_ALL
: "${srcdir:=$(dirname "$0")/..}" "${TIMEOUT:=30}"
for tool in frama-c why3 z3 cvc4 gcc; do
        command -v "$tool" >/dev/null || { echo "skipped: $tool is not installed"; exit 77; }
done
srcdir=$(cd "$srcdir" && pwd)
work=$(mktemp -d "$PWD/prove.XXXXXX")
trap 'rm -rf "$work"' EXIT
HOME=$work
export HOME
why3 config detect >"$work/why3.log" 2>&1

cat >"$work/cpp" <<'END'
#!/bin/sh
set -e
gcc -E -C -dD -nostdinc -I"$proof" -isystem "$(frama-c-config -print-share-path)/libc" -D__FC_MACHDEP_X86_64 \
        -D_GNU_SOURCE -U__x86_64__ -D'__builtin_expect(value, usual)=(value)' $page \
        -I"$lib" -I"$include" -include "$lib/names.h" "$1" >"$2.all"
sed -e 's/\b_Thread_local\b//g' -e 's/_Atomic(\([^()]*\))/\1/g' -e 's/\b_Atomic\b//g' \
        -e 's/\b_Alignas(\([^()]*\))\([^;]*\);/\2 __attribute__((aligned(\1)));/g' "$2.all" >"$2"
END
chmod +x "$work/cpp"
proof=$srcdir/tests/proof include=$srcdir/include
export proof include lib page

# prove FILE FUNCTIONS [PAGE]: each goal of these functions, of tests/proof/FILE.c and the library in $lib
prove()
{
        page=${3:+-DPROOF_PAGE=$3}
        log=$work/$1${3:+-$3}.log
        if ! frama-c -c11 -machdep gcc_x86_64 -cpp-command "sh $work/cpp %i %o" -cpp-frama-c-compliant \
                "$proof/$1.c" -wp -wp-rte -wp-smoke-tests -wp-fct "$2" -wp-timeout "$TIMEOUT" -wp-prover cvc4,z3 >"$log" 2>&1; then
                echo "$1: frama-c could not read it" >&2
                tail -n 20 "$log" >&2
                return 1
        fi
        # Each function has a postcondition that was looked at.
        for function in $(echo "$2" | tr ',' ' '); do
                grep -q "annotating function ${function#ammap__}$\|annotating function ammap__${function#ammap__}$" "$log" ||
                        { echo "$1: $function was not looked at" >&2; return 1; }
        done
        counts=$(sed -n 's|^\[wp\] Proved goals: *\([0-9]*\) / \([0-9]*\)$|\1 \2|p' "$log")
        test "${counts#* }" -gt 0 || { echo "$1: no goals" >&2; return 1; }
        if test "${counts% *}" != "${counts#* }"; then
                grep '^\[wp\] \[\(Failed\|Timeout\|Unknown\|Stepout\)' "$log" || true
                return 1
        fi
        echo "$1${3:+, pages of $3}: ${counts#* } goals proved of $2"
}

ranges=range_end,range_ok,lane_count,map_lane_size,map_lane_index,map_lane_last,map_lanes,map_reaches
ranges=$ranges,map_has_simple,head_reaches,head_has,span_request,lane_bytes
headers=format_slots,format_pages,format_data,format_data_huge,format_data_is_right,ammap__header_options
headers=$headers,ammap__header_is_shared,ammap__header_is_file
pages=page_down,page_up,ammap__region_pages

exceptions=$(z3 "$proof/mask.smt2" | grep -vc '^unsat$' || true)
masks=$(z3 "$proof/mask.smt2" | grep -c '^unsat$' || true)
if test "$exceptions" -ne 0 || test "$masks" -ne 23; then
        echo "mask.smt2: $masks of 23 masks proved" >&2
        exit 1
fi
echo "mask.smt2: $masks masks proved"
lib=$srcdir/lib
prove ranges $ranges
prove headers $headers
for page in 4096 16384 65536; do
        prove pages $pages $page
done
test "${1:-}" = mutants || exit 0

# mutant FILE FUNCTION SOURCE FROM TO: one that the contract of a function in FILE must notice
mutant()
{
        rm -rf "${work:?}/lib"
        cp -R "$srcdir/lib" "$work/lib"
        grep -qF "$4" "$work/lib/$3" || { echo "$3 has no $4" >&2; exit 1; }
        awk -v from="$4" -v to="$5" '
                (at = index($0, from)) && !done { $0 = substr($0, 1, at - 1) to substr($0, at + length(from)); done = 1 }
                { print }' "$work/lib/$3" >"$work/mutant"
        mv "$work/mutant" "$work/lib/$3"
        lib=$work/lib
        size=
        test "$1" != pages || size=4096
        if prove "$1" "$2" $size >"$work/answer" 2>&1; then
                echo "FAIL: proved though $3 has: $5" >&2
                exit 1
        fi
        grep -q '^\[wp\]' "$work/answer" || { cat "$work/answer" >&2; exit 1; }
        echo "noticed: $3: $5"
}

TIMEOUT=3
mutant ranges range_ok memory/range.h 'count <= length && offset <= length - count' 'offset + count <= length'
mutant ranges range_ok memory/range.h 'count <= length && offset <= length - count' 'offset <= length - count'
mutant ranges range_ok memory/range.h 'offset <= length - count' 'offset < length - count'
mutant ranges range_end memory/range.h '!__builtin_add_overflow(offset, count, end)' '(*end = offset + count) >= 0'
mutant ranges map_lane_size map/map.h '(capacity + lanes - 1) / lanes' 'capacity / lanes'
mutant ranges map_lane_index map/map.h 'offset < map->capacity ?' 'offset <= map->capacity ?'
mutant ranges map_lane_last map/map.h 'count <= map->lane_size -' 'count <= map->lane_size + 1 -'
mutant ranges map_lane_last map/map.h 'offset + (count - 1)' 'offset + count'
mutant ranges map_reaches map/map.h 'end - 1 <' 'end <'
mutant ranges lane_bytes lane.c '(uint64_t)lanes.last + 1' '(uint64_t)lanes.last'
mutant headers format_slots memory/format.h '(uint64_t)lanes + 1' 'lanes + 1'
mutant headers format_data memory/format.h '(uint64_t)slots * page' 'slots * page'
mutant headers format_pages memory/format.h '(end + page - 1)' '(end + page)'
mutant headers ammap__header_is_shared map/header.c 'size >= head->data + region_pages(length)' 'size >= head->data'
mutant headers ammap__header_is_file map/header.c 'head->capacity <= CAPACITY_MAX && ' ''
mutant pages page_up memory/region.c '+ os_page_size() - 1' '+ os_page_size()'
