/* shared_run.c - a lock in a file, that another run of the machine has left
 *
 * SPDX-License-Identifier: MIT
 *
 * A file outlives the threads whose names stand in it, and the numbers by which they were
 * named.  While the machine runs, the kernel marks the words of those who end.  When it
 * stops, nobody does, and the numbers are given to others afterwards.  The same numbers
 * mean nothing in another PID namespace, whose last process may have ended long ago.
 *
 * So whoever opens the map first frees all slots and forgets all owners.  What remains of a
 * writer is a lane's sequence: it is odd where a write was under way, and nobody owns the
 * lane, which is what a killed writer leaves (shared_lock.c).  An owner is not left for the
 * next one to find dead: where the machine lost power, a slot's generation may be older than
 * the owner that was made of it, and would come to the same number again.
 *
 * The opening lock keeps all others out meanwhile (opening.c).  Who is killed in here
 * leaves the old name of the run, which is replaced last: the next one starts over.  Only
 * a process that may not write can have the map open already.  It looks at the file for
 * that name before it takes a slot for alive, through the kernel, since it is changed
 * underneath.
 */
#include "lock/shared_run.h"

void shared_run_begin(struct shared *shared)
{
        struct format_head *head = shared->head;
        const uint32_t used = slots_used(shared);

        for (uint32_t index = 0; index < used; index++)
                atomic_store(slot_word(shared, index), 0);
        for (uint32_t lane = 0; lane <= shared->lanes; lane++) {
                atomic_store(&shared->lane[lane].owner, 0);
                atomic_store(&shared->lane[lane].next, 0);
                atomic_store(&shared->lane[lane].dead_process, 0);
                atomic_store(&shared->lane[lane].dead_thread, 0);
        }
        head->pid_space = os_pid_space();
        atomic_thread_fence(memory_order_seq_cst); /* a kill leaves what was stored so far */
        os_boot(head->boot);
}
