#!/bin/sh
# SPDX-License-Identifier: MIT
# What make fuzz, fuzz-afl, fuzz-coverage and fuzz-corpus do; fuzz/local.mk explains it.
set -eu
: "${srcdir:=.}" "${FUZZ_CC:=clang}" "${FUZZ_TARGETS:=calls import file hostile}" "${TIME:=60}" "${CPPFLAGS:=}"
out=fuzz/out
mkdir -p "$out/found"
# The longest calls are some tens of milliseconds; a busy machine may take a thousand times as long.
limits='-timeout=120 -max_len=512'
run="$limits -len_control=10 -use_value_profile=1"

# objects KIND COMPILER FLAG...: the library, in $out/KIND
objects()
{
        kind=$1 compiler=$2
        shift 2
        mkdir -p "$out/$kind"
        # shellcheck disable=SC2016
        for source in "$srcdir"/lib/*.c "$srcdir"/lib/*/*.c; do
                case $source in */os/portable.c) continue ;; esac
                echo "$source"
        done | compiler=$compiler flags="$*" kind=$kind srcdir=$srcdir out=$out xargs -P "$(nproc)" -n 1 sh -c '
                object=$out/$kind/$(echo "${1#"$srcdir"/}" | tr / -).o
                $compiler $flags -c -o "$object" "$1"' sh
}

# is_built KIND: since a source of the library has changed
is_built()
{
        test -e "$out/$1/built" &&
                ! find "$srcdir/lib" "$srcdir/include" -name '*.[ch]' -newer "$out/$1/built" | grep -q .
}

# program KIND TARGET COMPILER RESULT FLAG...
program()
{
        kind=$1 target=$2 compiler=$3 result=$4
        shift 4
        # shellcheck disable=SC2086
        $compiler "$@" -I"$srcdir/fuzz" -o "$result" "$srcdir/fuzz/$target.c" $main "$out/$kind"/*.o
}

# programs NAME COMPILER FLAGS LINK: of each target $out/TARGET.NAME
programs()
{
        name=$1 compiler=$2 flags=$3 link=$4
        flags="-std=gnu11 -O1 -g -D_GNU_SOURCE -pthread $CPPFLAGS -I$srcdir/include -I$srcdir/lib -include $srcdir/lib/names.h $flags"
        for target in $FUZZ_TARGETS; do
                kind=$name more=
                if test "$target" = hostile; then
                        kind=$name-points more=-finstrument-functions
                fi
                # shellcheck disable=SC2086
                is_built "$kind" || { objects "$kind" "$compiler" $flags $more && : >"$out/$kind/built"; }
                # shellcheck disable=SC2086
                program "$kind" "$target" "$compiler" "$out/$target.$name" $flags $more $link
        done
}

sanitizers='-fsanitize=address,undefined -fno-sanitize-recover=all'

build_fuzz()
{
        main=
        programs fuzz "$FUZZ_CC" "-fsanitize=fuzzer-no-link $sanitizers" -fsanitize=fuzzer
}

dictionary()
{
        case $1 in import | file) echo "$2$srcdir/fuzz/header.dict" ;; esac
}

fuzz()
{
        build_fuzz
        for target in $FUZZ_TARGETS; do
                mkdir -p "$out/$target"
                echo "--- $target, $TIME s"
                # shellcheck disable=SC2046,SC2086
                "$out/$target.fuzz" $run -max_total_time="$TIME" -artifact_prefix="$out/found/$target-" \
                        -print_final_stats=1 $(dictionary "$target" -dict=) "$out/$target" \
                        "$srcdir/fuzz/corpus/$target" >"$out/$target.log" 2>&1 ||
                        { tail -n 40 "$out/$target.log" && exit 1; }
                grep -E '^(stat::|Done|#[0-9]+.*DONE)' "$out/$target.log"
        done
        coverage
}

# All of lib/, by file: regions, functions, lines, branches.
coverage()
{
        main=$srcdir/fuzz/replay.c
        programs cover "$FUZZ_CC" '-fprofile-instr-generate -fcoverage-mapping' ''
        programs=
        for target in $FUZZ_TARGETS; do
                set -- "$srcdir/fuzz/corpus/$target"/* "$out/$target"/*
                for file; do
                        test -f "$file" && echo "$file"
                done | LLVM_PROFILE_FILE="$out/$target-%p.profraw" xargs -n 2000 "$out/$target.cover" >"$out/$target.log" 2>&1 ||
                        { tail -n 5 "$out/$target.log" && exit 1; }
                programs="$programs ${programs:+-object }$out/$target.cover"
        done
        tool=$(command -v llvm-profdata || command -v llvm-profdata-14)
        "$tool" merge -sparse -o "$out/all.profdata" "$out"/*.profraw
        rm -f "$out"/*.profraw
        tool=$(command -v llvm-cov || command -v llvm-cov-14)
        # shellcheck disable=SC2086
        "$tool" report -ignore-filename-regex='/(fuzz|include)/[a-z]*\.(c|h)$' -instr-profile="$out/all.profdata" $programs |
                awk '/^Filename/ { printf "%-26s %9s %9s %9s %9s\n", "of", "regions", "functions", "lines", "branches" }
                        NF == 13 && !/^Filename/ { name = $1; sub(".*/lib/", "", name)
                        printf "%-26s %9s %9s %9s %9s\n", name == "TOTAL" ? "all" : "lib/" name, $4, $7, $10, $13 }' |
                tee "$out/coverage"
}

corpus()
{
        build_fuzz
        for target in $FUZZ_TARGETS; do
                mkdir -p "$out/$target"
                rm -rf "$out/$target.least" && mkdir "$out/$target.least"
                # Edges alone: how often each is passed makes ten times as many.
                # shellcheck disable=SC2086
                "$out/$target.fuzz" $limits -use_counters=0 -use_value_profile=0 -set_cover_merge=1 "$out/$target.least" \
                        "$srcdir/fuzz/corpus/$target" "$out/$target" >"$out/$target.log" 2>&1 ||
                        { tail -n 40 "$out/$target.log" && exit 1; }
                # What was found and named stays.
                find "$srcdir/fuzz/corpus/$target" -type f ! -name '*-*' -exec rm -f {} +
                # The longest reach the most.  None has a name with a line break.
                # shellcheck disable=SC2012
                ls -S "$out/$target.least" | head -n 280 | while read -r name; do
                        file=$out/$target.least/$name
                        cp "$file" "$srcdir/fuzz/corpus/$target/$(basename "$file" | cut -c1-12)"
                done
                echo "$target: $(find "$srcdir/fuzz/corpus/$target" -type f | wc -l) inputs," \
                        "$(du -sb "$srcdir/fuzz/corpus/$target" | cut -f1) bytes"
        done
}

afl()
{
        main=
        programs afl afl-clang-fast "$sanitizers" -fsanitize=fuzzer
        for target in $FUZZ_TARGETS; do
                echo "--- $target, $TIME s"
                # shellcheck disable=SC2046
                AFL_NO_UI=1 AFL_SKIP_CPUFREQ=1 AFL_I_DONT_CARE_ABOUT_MISSING_CRASHES=1 AFL_NO_AFFINITY=1 \
                        AFL_AUTORESUME=1 afl-fuzz -V "$TIME" -t 5000 -m none $(dictionary "$target" '-x ') \
                        -i "$srcdir/fuzz/corpus/$target" -o "$out/afl-$target" -- "$out/$target.afl" \
                        >"$out/$target.log" 2>&1 || { tail -n 20 "$out/$target.log" && exit 1; }
                grep -E '^(run_time|execs_done|execs_per_sec|corpus_count|edges_found|saved_crashes|saved_hangs)' \
                        "$out/afl-$target/default/fuzzer_stats"
                find "$out/afl-$target/default/crashes" "$out/afl-$target/default/hangs" -name 'id*' | grep . && exit 1
        done
        return 0
}

"$1"
