/* tasks.c - slices that are the process's, and slices of lanes whose writer died
 *
 * SPDX-License-Identifier: MIT
 *
 * A slice that is detached still has a thread that is to release it, which may be another one later:
 * so somebody does, and a thread knows when it must not wait.
 */
#include "draw.h"

/* The process's, of whichever of its threads; NULL: none is. */
static struct held *any_detached(void)
{
        struct held *found = NULL;
        unsigned count = 0;

        for (unsigned t = 0; t < plan.threads; t++)
                for (unsigned i = 0; i < HOLDS_MAX && thread[t].process == current->process; i++) {
                        struct held *held = &holds_of(t)[i];

                        if (held->is && held->detached && below(++count) == 0)
                                found = held;
                }
        return found;
}

static void detach(struct held *own)
{
        unsigned map = own->range.map;
        int rc;

        own->since = UINT64_MAX;
        visit_begin(map);
        refusals_forget();
        rc = own->how == HOW_READ ? ammap_slice_detach(&own->slice.read) : ammap_mut_slice_detach(&own->slice.write);
        visit_end(map);
        if (was_refused(rc)) {
                own->since = model_tick();
                return;
        }
        if (rc != 0)
                fail("a slice is detached: %d", rc);
        hold_detached(own);
}

/* One of the thread's own becomes the process's; or one that is so goes to another thread, or ends. */
void do_detach(void)
{
        struct held *own = any_own(HOW_READ, true), *other;

        if (own && !own->detached)
                detach(own);
        else if (own && below(2))
                hold_hand_over(own);
        else if ((other = any_detached()))
                release(other);
}

/* As a mut slice, also of lanes whose writer died. */
void do_mend(struct range range)
{
        ammap_mut_slice_t slice;
        struct held *own;
        bool may, must;
        int rc;

        if (!may_wait(range, HOW_WRITE))
                return;
        begin(range, HOW_WRITE, WAITS);
        call_recovers();
        recovery_begin(range);
        rc = ammap_recover_as_mut_slice(handle_of(range.map), offset_of(range), (uint64_t)range.count * 8, &slice);
        if (rc <= 0)
                recovery_drop(range);
        may = call_saw_dead();
        must = call_must_recover();
        if (call_end(rc > 0 ? 0 : rc) < 0)
                return;
        if (rc > 0 && !may)
                fail("a slice is of lanes that a writer left, and none has died");
        if (rc == 0 && must)
                fail("a slice is as any other, and a writer of its lanes has died");
        own = hold_begin(range, HOW_WRITE);
        own->recovers = rc > 0;
        own->slice.write = slice;
        overwrite(own);
}
