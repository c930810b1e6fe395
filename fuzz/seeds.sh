#!/bin/sh
# SPDX-License-Identifier: MIT
# Where the fuzzers begin: seeds.sh FOLDER writes inputs by hand into FOLDER/TARGET.  Each is what
# its comment says; fuzz/calls.c, forged.h and hostile.c read them.
set -eu
folder=$1
mkdir -p "$folder/calls" "$folder/import" "$folder/file" "$folder/hostile"

# seed TARGET NAME BYTES, of which each is a number in octal as printf has it
seed()
{
        # shellcheck disable=SC2059
        printf "$3" >"$folder/$1/seed-$2"
}

# The form, the seals, the options; the form's bits 3 to 5 count the patches.
seed import nothing '\000\001\000'
seed import memory '\001\001\000\000\020\040\001\020\002\020\040\003\020\040\005\020\200\000\020\020'
seed import unsealed '\001\000\002\000\020\040\001\020\002\020\040'
seed import raw '\000\001\001\000\020\040\001\020\002\020\040'
seed import read-only '\001\001\004\000\020\040\001\020\002\020\040\003\020\040'
# A patch at 8, of four bytes: the version is 2.
seed import version '\011\001\000\010\000\003\002\000\000\000'
# At 40: 4096 lanes.
seed import lanes '\011\001\000\050\000\003\000\020\000\000'
# At 128: a length beyond the capacity.
seed import length '\011\001\000\200\000\007\377\377\377\377\377\377\377\377\000\020\040'
# At 256: the first lane's sequence is odd, and nobody owns it.
seed import dead '\011\001\000\000\001\000\001\000\020\040\001\020\002\020\040\012\000\040'
# 512 slots, and the data where that puts it.
seed import slots '\221\001\000\000\060\041\030\000\007\000\020\041\000\000\000\000\000\054\000\003\000\002\000\000\000\020\040\001\020\040'
seed file a-file '\002\000\000\001\000\020\040\001\020\002\020\040\200\020\040'
seed file words '\003\000\002\001\000\020\040\001\020\002\020\040\200\020\040'
seed file faults '\002\000\002\001\000\020\040\001\020\002\020\040\200\020\040'
# Nothing behind the magic: somebody died while he made it.
seed file unmade '\012\000\000\010\000\003\000\000\000\000\000\020\020\000\020\040\001\020\040'
# Which handles; then a call with stores: how many, after how many points, where, what.
seed hostile quiet '\000\000\000\000\020\040'
seed hostile length '\000\000\001\005\000\000\000\003\377\002\020\040'
seed hostile owner '\000\000\001\005\002\000\000\010\001\001\020\040'
seed hostile file '\001\003\001\005\002\000\000\010\001\001\020\040'
seed hostile waits '\000\000\201\005\002\000\000\010\001\020\040\000'
# Two threads and a map of each kind: who acts, which call, its numbers.
seed calls private '\000\000\140\001\000\001\001\000\000\000\007\000\020\020\000\005\000\020\020'
seed calls shared '\000\000\140\010\001\001\003\000\000\000\000\011\000\000\020\020\001\012\000\000\020\020'
