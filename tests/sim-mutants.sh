#!/bin/sh
# SPDX-License-Identifier: MIT
# Each mutant of mutants.sh, each mend of the lock undone, and each belief in what others say, must be found by the
# simulation: sim-mutants.sh [NAME...].  Prints what found it, after how many seconds of a processor, and the seed.
# sim-mutants.sh --apply only sees whether each still changes its file.
#
# SIM_TIME: seconds of a processor at most for the last of the searches of each, 300 unless told.
set -eu
tests=$(cd "$(dirname "$0")" && pwd)
top=$(dirname "$tests")
time=${SIM_TIME:-300}
work=$(mktemp -d "$PWD/sim-mutants.XXXXXX")
trap 'rm -rf "$work"' EXIT

# NAME|FILE of lib|EDIT (sed): mends undone.
undone()
{
        cat <<'END'
shrink-beside-a-writer|map/local.c|s/for (unsigned looks = 0; lane_writes_unseen(lane); looks++)/for (unsigned looks = 0; looks > 0; looks++)/
look-once|lock/thread.c|/^static bool look(/,/^}/s/return atomic_load_explicit(&hold->lane, memory_order_acquire) == lane;/return true;/
deadlock-of-one-lane|lock/lock.c|/^static bool in_own_way/,/^}/s/request->end/lane + 1/
deadlock-before-frozen|lock/lock.c|/^static int write_slow/,/^}/s/!(atomic_load(&lane->word) & (LANE_DEAD | LANE_FROZEN)) && //
fork-beside-freeze|lock/lock.c|/^void lane_forked/,/^}/s/(word & LANE_WRITER) && (word & LANE_IDLE)/0/
reader-waits-for-its-waiter|lock/shared_lock.c|/^static int wait_until_unowned/,/^}/s/read_set_is_mine(w->shared, one_lane(number)) && /0 \&\& /
shrink-keeps-the-lanes|lock/shared_shrink.c|/^int shared_shrink(/,/^}/s/earlier(deadline, os_now() + patience)/deadline/
copy-reaches-early|copy.c|s/request.reach = 0;/request.deadline = deadline;/
copy-between-handles|copy.c|s/if (to != from && is_same(to, from))/if (0)/
detach-asks-no-rescan|lock/shared_detach.c|s/ask_rescan(shared, read_set_lanes(from->set));/(void)0;/
detach-lets-go-first|lock/shared_detach.c|/^static int detach_to_read/,/^}/{/shared_leave(from/d;s/name_set(hold, hold->set, reach);/shared_leave(from, HOLD_SLICE); &/}
dead-of-the-owner-before|lock/shared_owner.c|/^bool shared_is_dead(/,/^}/s/ == sequence && (atomic_load(&lane->owner) & OWNER_ID) == owner_id;/ == sequence;/
mend-of-dead-alone|lock/shared_lock.c|s/if (unlikely(request->recovers))/if (0)/
shrink-under-a-view|map/local.c|s/rc = views_reach(map, size) ? AMMAP_ERR_BUSY : 0;/rc = 0;/
holder-of-one-lane|lock/holders.c|s/last->lanes.last = next->lanes.last;/;/
clone-without-a-lock|map/clone.c|s/rc = span_take(map, &request, &span);/rc = map_check(map, 0, length);/;s/^.*span_leave(.*//
thread-begun-though-refused|lock/thread.c|/os_thread_set(NULL);/d
owner-before-its-sets|lock/shared_holders.c|/^static void add_readers(/,/^}/{s/^        struct slot_owner owner;/        struct slot_owner owner = slot_owner_of(record);/;/^        owner = slot_owner_of/d}
file-lanes-all-at-once|lock/file_lanes.c|/^int file_enter_lanes/,/^}/s/return rc < 0 ? FILE_AGAIN : rc;/for (unsigned tries = 0; rc == -EAGAIN \&\& (rc = file_nap(request->deadline, tries)) == 0; tries++) { pthread_mutex_lock(\&file->mutex); rc = try_row(file, request->lanes, request); pthread_mutex_unlock(\&file->mutex); } return rc;/
file-frozen-last|map/span.c|/^static int enter_to_write/,/^}/{s/atomic_load(&map->frozen)/0/;s/file_frozen(map->file)/0/}
file-let-go-first|lock/file_lock.c|/^static void leave_written/,/^}/{s/^        file_leave_lanes.*//;s/^        const bool marked/        file_leave_lanes(file, lanes, WRITE);&/}
file-dead-unseen|lock/file_lanes.c|s/if ((sequence \& 1) \&\& !recovers)/if (0)/
file-read-twice|lock/file_head.c|/^bool file_read_unlocked/,/^}/s/after != before ||//
file-keeps-its-parents|lock/file_twins.c|s/os_close_file(/(void)(/
file-own-twin|map/span.c|/^static int enter_row/,/^}/s/if (elsewhere < 0)/if (0)/
file-readers-share-late|lock/file_lanes.c|/^static bool let_go/,/^}/s/--lane->readers == 0/lane->readers--/
file-even-before-bytes|lock/file_head.c|/^int file_write_between/,/^}/s/{ sequence, &odd, sizeof odd },/{ sequence, \&next, sizeof next },/
file-downgrade-lets-go|lock/file_lock.c|/^int file_downgrade/,/^}/s/rc = file_lock_lanes(file, lanes, OS_LOCK_READ);/file_lock_lanes(file, lanes, OS_UNLOCK), rc = file_lock_lanes(file, lanes, OS_LOCK_READ);/
file-length-while-in-lanes|map/file.c|/^static int take_all/,/^}/s/LANE_TRY/os_now() + LENGTH_WAIT/
file-recovered-unmarked|lock/file_lock.c|/^static int try_recover_lane/,/^}/s/sequence + 1/sequence/
files-locked-at-a-fork|lock/file_twins.c|/^void file_twins_before_fork/,$s/pthread_mutex_[a-z]*(&files_mutex.*//
unmapped-twice|memory/region.c|/^int region_free/,/^}/s/region->mapped = 0;//
left-out-twice|memory/region.c|/^void region_leave_out/,/^}/s/region->mapped = 0;//
locks-noted-after-the-end|memory/region.c|/^int region_free/,/^}/s/region->locked = NULL;//
blocks-given-back-at-once|lock/thread.c|/^static void leave_all(/,/^}/{s/block; block = block->more)/block; more = block->more, give_back(block), block = more)/;s/for (block = owner->first; block; block = more)/for (block = NULL; block; block = more)/}
freeze-never-cancelled|map/shared.c|/^static int freeze(/,/^}/s/handle_freeze_cancel(shared);/(void)0;/
END
}

# The same: what somebody else has stored in a header is believed.
believed()
{
        cat <<'END'
slots-used-believed|lock/slot.h|/^static inline uint32_t slots_used_in(/,/^}/s/return unlikely.*/return used;/
owner-index-believed|lock/slot.c|/^bool slot_lives_by_id(/,/^}/s/index < shared->slots \&\& //
told-index-believed|lock/slot.c|/^bool slot_tells(/,/^}/s/index >= shared->slots || //
process-number-believed|lock/shared_holders.c|/^static uint32_t known(/,/^}/s/ \&\& id <= INT32_MAX//
length-believed|map/shared.c|/^static uint64_t length_of(/,/^}/s/return length < room ? length : room/return length/
quick-length-believed|map/map.h|/^static inline bool head_has(/,/^}/s/length < room ? length : room/length/
frozen-length-believed|lock/slot.c|/^static void note_frozen(/,/^}/s/while (room > length/while (room != length/
lanes-read-anew|lock/slot.c|s/index < shared->slots; index++/index < shared->head->slots; index++/
races-without-end|lock/shared_wait.c|/^int shared_wait_lost_race(/,/^}/s/return ++w->lost.*/return 0;/
END
}

{
        sed -n "/^table()/,/^}/{/|/p}" "$tests/mutants.sh" | while IFS= read -r line; do
                rest=${line#*|}
                edit=${rest#*|}
                printf 'runs|%s|lock/%s|%s\n' "${line%%|*}" "${rest%%|*}" "${edit%|*}"
        done
        undone | sed 's/^/runs|/'
        believed | sed 's/^/lies|/'
} >"$work/table"

if test "${1-}" = --apply; then
        while IFS='|' read -r kind name file edit; do
                ! sed "$edit" "$top/lib/$file" | cmp -s - "$top/lib/$file" || echo "$name: the edit of $file does not apply"
        done <"$work/table" >"$work/rest"
        cat "$work/rest"
        test ! -s "$work/rest"
        exit
fi

"$tests/sim.sh" build "$work/whole"
"$work/whole/sim" --runs 2000 >/dev/null

# Of a processor, by the programs that were run between.
seconds()
{
        tail -q -n 1 "$1/before" "$1/after" |
                awk -F '[ms ]+' '{ used = 60 * $1 + $2 + 60 * $3 + $4 - used } END { printf "%.1f", used }'
}

# In more and more runs, until one fails.
search()
{
        case $2 in
        lies)
                "$1" --lies --time "$time"
                ;;
        *)
                "$1" --exhaustive 1 --runs 4000 && "$1" --time 3 && "$1" --exhaustive 1 && "$1" --time 10 &&
                        "$1" --exhaustive 2 && "$1" --seed 100000000 --time "$time"
                ;;
        esac
}

try()
{
        kind=$1 name=$2 file=$3 edit=$4 dir=$work/$2
        mkdir -p "$dir/lib" "$dir/base"
        cp -R "$top"/lib/. "$dir/lib/"
        cp "$work"/whole/o/*.o "$dir/base/"
        ln -s "$work/whole/simulation" "$dir/base/sim"
        sed "$edit" "$top/lib/$file" >"$dir/lib/$file"
        if cmp -s "$top/lib/$file" "$dir/lib/$file"; then
                found='no: the edit does not apply'
        elif ! "$tests/sim.sh" build "$dir" "$dir/lib" >"$dir/log" 2>&1; then
                found='no: it does not compile'
        else
                found=yes
                times >"$dir/before"
                if search "$dir/sim" "$kind" >"$dir/log" 2>&1; then found=no; fi
                times >"$dir/after"
                test $found = no || found="$(seconds "$dir") s, $(sed -n 's/^sim: \(seed\)/\1/p; s/^sim: \(scene .*\)/ (\1)/p' "$dir/log" | tr -d '\n')"
        fi
        printf '%-31s %s\n' "$name" "$found"
        rm -rf "$dir"
}

jobs=0
while IFS= read -r line; do
        kind=${line%%|*} && line=${line#*|}
        name=${line%%|*}
        case " $* " in
        '  ' | *" $name "*) ;;
        *) continue ;;
        esac
        rest=${line#*|} && file=${rest%%|*} && edit=${rest#*|}
        try "$kind" "$name" "$file" "$edit" | tee "$work/$name.out" &
        jobs=$((jobs + 1))
        test $((jobs % 2)) -ne 0 || wait
done <"$work/table"
wait
! grep -qE ' no(:|$)' "$work"/*.out
