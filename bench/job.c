/* job.c - the tight loops, one per kind of operation
 *
 * SPDX-License-Identifier: MIT
 *
 * What is constant is held in locals, so that a turn of a loop is the call,
 * one or of the result and the next position: under 1 ns, the same for all.
 */
#include <err.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "job.h"

#define CACHE_LINE 64
#define PAGE 4096

void job_init(struct job *job, ammap_t *map, size_t length, uint64_t base, uint64_t area)
{
        size_t pages = length / PAGE + 2;

        memset(job, 0, sizeof(*job));
        job->map = map;
        job->length = length;
        job->base = base;
        job->mask = area - 1;
        job->step = length > CACHE_LINE ? length : CACHE_LINE;
        job->random = 0x9e3779b97f4a7c15 ^ base;
        job->buffer = aligned_alloc(PAGE, pages * PAGE);
        if (!job->buffer)
                err(1, "aligned_alloc");
        memset(job->buffer, 0x5a, pages * PAGE);
}

void job_destroy(struct job *job)
{
        free(job->buffer);
}

/* How many operations take about the duration: doubled until a hundredth of
 * it can be told from the clock's own noise.  Serves as the warm-up, too. */
static uint64_t calibrate(job_loop *loop, const struct peer *peer, struct job *job, int64_t duration)
{
        uint64_t n = 2;
        int64_t elapsed;

        for (;;) {
                int64_t start = clock_own();

                loop(peer, job, n);
                elapsed = clock_own() - start;
                if (elapsed > duration / 16)
                        break;
                n *= 2;
        }
        n = (uint64_t)((double)n * (double)duration / (double)elapsed);
        return n < 2 ? 2 : n;
}

double job_time(job_loop *loop, const struct peer *peer, struct job *job, int64_t duration)
{
        uint64_t n = calibrate(loop, peer, job, duration);
        int64_t start = clock_own();

        loop(peer, job, n);
        return (double)(clock_own() - start) / (double)n;
}

static inline int read_loop(int (*read_into)(ammap_t *, uint64_t, void *, size_t), struct job *job, uint64_t n)
{
        ammap_t *map = job->map;
        unsigned char *buffer = job->buffer;
        size_t length = job->length;
        uint64_t base = job->base, mask = job->mask, step = job->step, position = job->position;
        int bad = 0;

        for (; n; n--) {
                bad |= read_into(map, base + position, buffer, length);
                position = (position + step) & mask;
        }
        job->position = position;
        return bad;
}

int job_read(const struct peer *peer, struct job *job, uint64_t n)
{
        return read_loop(peer->read_into, job, n);
}

int job_try_read(const struct peer *peer, struct job *job, uint64_t n)
{
        return read_loop(peer->try_read, job, n);
}

static inline int update_loop(int (*update)(ammap_t *, uint64_t, const void *, size_t), struct job *job, uint64_t n)
{
        ammap_t *map = job->map;
        const unsigned char *buffer = job->buffer;
        size_t length = job->length;
        uint64_t base = job->base, mask = job->mask, step = job->step, position = job->position;
        int bad = 0;

        for (; n; n--) {
                bad |= update(map, base + position, buffer, length);
                position = (position + step) & mask;
        }
        job->position = position;
        return bad;
}

int job_update(const struct peer *peer, struct job *job, uint64_t n)
{
        return update_loop(peer->update, job, n);
}

int job_try_update(const struct peer *peer, struct job *job, uint64_t n)
{
        return update_loop(peer->try_update, job, n);
}

/* An update and a read of the same bytes are two operations. */
int job_alternate(const struct peer *peer, struct job *job, uint64_t n)
{
        int (*read_into)(ammap_t *, uint64_t, void *, size_t) = peer->read_into;
        int (*update)(ammap_t *, uint64_t, const void *, size_t) = peer->update;
        ammap_t *map = job->map;
        unsigned char *buffer = job->buffer;
        size_t length = job->length;
        uint64_t base = job->base, mask = job->mask, step = job->step, position = job->position;
        int bad = 0;

        for (n /= 2; n; n--) {
                bad |= update(map, base + position, buffer, length);
                bad |= read_into(map, base + position, buffer, length);
                position = (position + step) & mask;
        }
        job->position = position;
        return bad;
}

/* Taking a slice and releasing it is one operation. */
int job_slice(const struct peer *peer, struct job *job, uint64_t n)
{
        int (*take)(ammap_t *, uint64_t, uint64_t, ammap_slice_t *) = peer->take;
        int (*release)(ammap_slice_t *) = peer->release;
        ammap_t *map = job->map;
        size_t length = job->length;
        uint64_t base = job->base, mask = job->mask, step = job->step, position = job->position;
        ammap_slice_t slice;
        int bad = 0;

        for (; n; n--) {
                bad |= take(map, base + position, length, &slice);
                release(&slice);
                position = (position + step) & mask;
        }
        job->position = position;
        return bad;
}

int job_mut_slice(const struct peer *peer, struct job *job, uint64_t n)
{
        int (*take)(ammap_t *, uint64_t, uint64_t, ammap_mut_slice_t *) = peer->take_mut;
        int (*release)(ammap_mut_slice_t *) = peer->release_mut;
        ammap_t *map = job->map;
        size_t length = job->length;
        uint64_t base = job->base, mask = job->mask, step = job->step, position = job->position;
        ammap_mut_slice_t slice;
        int bad = 0;

        for (; n; n--) {
                bad |= take(map, base + position, length, &slice);
                release(&slice);
                position = (position + step) & mask;
        }
        job->position = position;
        return bad;
}

/* Reads and updates in random order, else two threads fall into step. */
int job_mix(const struct peer *peer, struct job *job, uint64_t n)
{
        int (*read_into)(ammap_t *, uint64_t, void *, size_t) = peer->read_into;
        int (*update)(ammap_t *, uint64_t, const void *, size_t) = peer->update;
        ammap_t *map = job->map;
        unsigned char *buffer = job->buffer;
        size_t length = job->length;
        uint64_t base = job->base, mask = job->mask, step = job->step, position = job->position;
        uint64_t random = job->random;
        uint32_t writes = job->writes;
        int bad = 0;

        for (; n; n--) {
                random = random * 6364136223846793005 + 1442695040888963407;
                if ((uint32_t)(random >> 32) < writes)
                        bad |= update(map, base + position, buffer, length);
                else
                        bad |= read_into(map, base + position, buffer, length);
                position = (position + step) & mask;
        }
        job->position = position;
        job->random = random;
        return bad;
}

/* Reads anywhere in the area: what a processor's address cache does not cover costs. */
int job_random(const struct peer *peer, struct job *job, uint64_t n)
{
        int (*read_into)(ammap_t *, uint64_t, void *, size_t) = peer->read_into;
        ammap_t *map = job->map;
        unsigned char *buffer = job->buffer;
        size_t length = job->length;
        uint64_t base = job->base, mask = job->mask & ~(job->step - 1), random = job->random;
        int bad = 0;

        for (; n; n--) {
                random = random * 6364136223846793005 + 1442695040888963407;
                bad |= read_into(map, base + ((random >> 24) & mask), buffer, length);
        }
        job->random = random;
        return bad;
}

/* Write, and go on reading. */
int job_downgrade(const struct peer *peer, struct job *job, uint64_t n)
{
        int (*take)(ammap_t *, uint64_t, uint64_t, ammap_mut_slice_t *) = peer->take_mut;
        int (*downgrade)(ammap_mut_slice_t *, ammap_slice_t *) = peer->downgrade;
        int (*release)(ammap_slice_t *) = peer->release;
        ammap_t *map = job->map;
        size_t length = job->length;
        uint64_t base = job->base, mask = job->mask, step = job->step, position = job->position;
        ammap_mut_slice_t mut;
        ammap_slice_t slice;
        int bad = 0;

        for (; n; n--) {
                bad |= take(map, base + position, length, &mut);
                bad |= downgrade(&mut, &slice);
                bad |= release(&slice);
                position = (position + step) & mask;
        }
        job->position = position;
        return bad;
}
