/* stores.c - stores that have not reached memory yet
 *
 * SPDX-License-Identifier: MIT
 *
 * A processor keeps a store to itself for a while: the others see it later, in the order in
 * which it made them, and it sees its own at once (total store order, as of x86).  A full fence,
 * a read-modify-write and a call of the system wait until all have gone out.
 *
 * Atomic stores are delayed, copies, and what the program stores in a slice.  Another plain store goes
 * to memory at once: what it overtakes are stores that no fence keeps before it, as C allows.
 */
#include "sim.h"

#include <string.h>

static void publish(struct thread *t)
{
        const struct store *first = &t->store[0];

        memcpy(memory_of(t->process, first->at), &first->value, first->size);
        memmove(t->store, t->store + 1, --t->stores * sizeof t->store[0]);
        t->published = model_tick();
        t->fenced &= t->stores > 0;
}

void stores_flush(struct thread *t)
{
        for (unsigned i = 0; i < t->stores; i++)
                memcpy(memory_of(t->process, t->store[i].at), &t->store[i].value, t->store[i].size);
        if (t->stores > 0)
                t->published = model_tick();
        t->stores = 0;
        t->fenced = false;
}

/* Of the process of the current thread: its heavy fence reaches no other one. */
void stores_flush_all(void)
{
        for (unsigned i = 0; i < plan.threads; i++)
                if (!current || thread[i].process == current->process)
                        stores_flush(&thread[i]);
}

/* One of whichever thread has some. */
void stores_drain_one(void)
{
        unsigned from = draw_below(&scheduling, plan.threads);

        for (unsigned i = 0; i < plan.threads; i++) {
                struct thread *t = &thread[(from + i) % plan.threads];

                if (t->stores > 0) {
                        publish(t);
                        return;
                }
        }
}

static bool overlaps(const struct store *store, uintptr_t at, size_t size)
{
        return store->at < at + size && at < store->at + store->size;
}

void store_delayed(uintptr_t at, uint64_t value, unsigned size)
{
        struct thread *t = current;

        if (plan.drain == 1 || !t) {
                if (t)
                        stores_flush(t);
                memcpy((void *)at, &value, size);
                return;
        }
        if (t->stores == STORES_MAX)
                publish(t);
        t->store[t->stores++] = (struct store){ at, value, size };
}

/* The newest that is the very object, or else what is in memory, with all that overlaps it. */
uint64_t load_seen(uintptr_t at, unsigned size)
{
        uint64_t value = 0;

        for (unsigned i = current ? current->stores : 0; i-- > 0;) {
                const struct store *store = &current->store[i];

                if (store->at == at && store->size == size)
                        return store->value;
                if (overlaps(store, at, size)) {
                        stores_flush(current);
                        break;
                }
        }
        memcpy(&value, (const void *)at, size);
        return value;
}

/* Before a plain access: what the thread stored there itself is to be in memory. */
void stores_settle(uintptr_t at, size_t size)
{
        for (unsigned i = 0; current && i < current->stores; i++)
                if (overlaps(&current->store[i], at, size)) {
                        stores_flush(current);
                        return;
                }
}
