/* view.c - atomic views; one word loaded, waited for and woken
 *
 * SPDX-License-Identifier: MIT
 */
#include "map/map.h"
#include "map/views.h"
#include "memory/bytes.h"
#include "memory/racy.h"
#include "os/hints.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PEER_NAP INT64_C(5000000)    /* ns: less than the 10 ms that are promised */
#define SHARED_NAP INT64_C(90000000) /* ns: less than the 100 ms that are promised */

/* Words of a map. */
struct words {
        uint64_t offset, count, size; /* which; size: bytes in one, 4 or 8 */
        void *first;                  /* where they are; NULL: nothing has been found */
        uintptr_t pin[2];             /* the map, and the view that pins it; 0: nothing does */
};

static int find_words(ammap_t *map, struct words *words)
{
        uint64_t size = words->size, count = words->count, offset = words->offset;
        int rc;

        if (!map)
                return AMMAP_ERR_INVALID;
        if (offset % size != 0)
                return AMMAP_ERR_MISALIGNED;
        /* A count that overflows in bytes is beyond every map. */
        if ((rc = map_look(map, offset, count > UINT64_MAX / size ? UINT64_MAX : count * size)) < 0)
                return rc;
        if (atomic_load(&map->omitted)) /* by a fork, which the length of a shared map does not tell of */
                return AMMAP_ERR_UNSUPPORTED;
        words->first = map->base + offset;
        return 0;
}

/* Under the mutex of the views.  0; 1: a shrink came first; or why there is no view. */
static int check_pin(ammap_t *map, const struct words *words)
{
        /* In this order: a file is looked at anew for that, which another handle may have cut. */
        if (map_frozen(map))
                return AMMAP_ERR_READ_ONLY;
        if (!map_has(map, words->offset, words->count * words->size))
                return 1;
        if (map->read_only)
                return map->kind->needs_write_to_lock ? AMMAP_ERR_UNSUPPORTED : AMMAP_ERR_READ_ONLY;
        return 0;
}

/* Find them, and pin the map to their end. */
static int pin_words(ammap_t *map, struct words *words)
{
        struct view *view = NULL;
        int rc;

        while ((rc = find_words(map, words)) == 0) {
                if (map->may_fault && !map->faults) {
                        rc = AMMAP_ERR_UNSUPPORTED;
                        break;
                }
                if (!view && !(view = malloc(sizeof *view)))
                        return -ENOMEM;
                os_fork_check();
                mutex_lock(&map->joint_views->mutex);
                if ((rc = check_pin(map, words)) == 0) {
                        words->pin[0] = (uintptr_t)map;
                        words->pin[1] = (uintptr_t)view;
                        views_add(map, view, words->offset, words->offset + words->count * words->size);
                        view = NULL;
                }
                mutex_unlock(&map->joint_views->mutex);
                if (rc <= 0)
                        break;
        }
        free(view);
        return rc;
}

static void unpin(const uintptr_t *private)
{
        struct ammap *map = (struct ammap *)private[0];

        if (!map)
                return;
        os_fork_check();
        mutex_lock(&map->joint_views->mutex);
        views_drop(map, (struct view *)private[1]);
        mutex_unlock(&map->joint_views->mutex);
}

int ammap_atomic_u32(ammap_t *map, uint64_t offset, ammap_u32_view_t *view)
{
        return ammap_atomic_u32_slice(map, offset, 1, view);
}

int ammap_atomic_u64(ammap_t *map, uint64_t offset, ammap_u64_view_t *view)
{
        return ammap_atomic_u64_slice(map, offset, 1, view);
}

int ammap_atomic_u32_slice(ammap_t *map, uint64_t offset, size_t count, ammap_u32_view_t *view)
{
        struct words words = { .offset = offset, .count = count, .size = sizeof *view->value };
        int rc;

        if (!view)
                return AMMAP_ERR_INVALID;
        memset(view, 0, sizeof *view);
        if ((rc = pin_words(map, &words)) < 0)
                return rc;
        *view = (ammap_u32_view_t){ words.first, count, { words.pin[0], words.pin[1] } };
        return 0;
}

int ammap_atomic_u64_slice(ammap_t *map, uint64_t offset, size_t count, ammap_u64_view_t *view)
{
        struct words words = { .offset = offset, .count = count, .size = sizeof *view->value };
        int rc;

        if (!view)
                return AMMAP_ERR_INVALID;
        memset(view, 0, sizeof *view);
        if ((rc = pin_words(map, &words)) < 0)
                return rc;
        *view = (ammap_u64_view_t){ words.first, count, { words.pin[0], words.pin[1] } };
        return 0;
}

void ammap_u32_view_release(ammap_u32_view_t *view)
{
        if (!view)
                return;
        unpin(view->ammap_private);
        memset(view, 0, sizeof *view);
}

void ammap_u64_view_release(ammap_u64_view_t *view)
{
        if (!view)
                return;
        unpin(view->ammap_private);
        memset(view, 0, sizeof *view);
}

/* --- Loads --- */

/* Of memory that stays, into value.  The map may be made shorter underway: the second look tells,
 * for the length is shorter before a byte is taken away.  If the map got longer again in
 * between, the word was 0 at that moment, as it was read. */
static ALWAYS_INLINE bool load_quick(ammap_t *map, uint64_t offset, size_t size, void *value)
{
        const void *word;

        if (unlikely(map->may_fault || !map_has(map, offset, size)))
                return false;
        word = map->base + offset;
        if (size == sizeof(uint32_t))
                *(uint32_t *)value = racy_word_4(word);
        else
                *(uint64_t *)value = racy_word_8(word);
        racy_acquire(word);
        return map_has(map, offset, size);
}

/* Where memory can be taken away; or the quick way has found no such word. */
static NOINLINE int load_any(ammap_t *map, uint64_t offset, size_t size, void *value)
{
        struct words words = { .offset = offset, .count = 1, .size = size };
        int rc;

        while ((rc = find_words(map, &words)) == 0) {
                if (!map->may_fault && load_quick(map, offset, size, value))
                        return 0;
                if (!map->may_fault)
                        continue;
                rc = bytes_load(map_backing(map), map_region_offset(map, offset), value, size);
                racy_acquire(words.first);
                if (rc == 0)
                        rc = map_look(map, offset, size); /* as the second look of load_quick */
                break;
        }
        if (rc < 0)
                memset(value, 0, size);
        return rc;
}

static ALWAYS_INLINE int load(ammap_t *map, uint64_t offset, size_t size, void *value)
{
        if (unlikely(!value))
                return AMMAP_ERR_INVALID;
        if (unlikely(!map || offset % size != 0)) {
                memset(value, 0, size);
                return map ? AMMAP_ERR_MISALIGNED : AMMAP_ERR_INVALID;
        }
        return likely(load_quick(map, offset, size, value)) ? 0 : load_any(map, offset, size, value);
}

int ammap_load_u32(ammap_t *map, uint64_t offset, uint32_t *value)
{
        return load(map, offset, sizeof *value, value);
}

int ammap_load_u64(ammap_t *map, uint64_t offset, uint64_t *value)
{
        return load(map, offset, sizeof *value, value);
}

/* --- Wait and wake --- */

/* The word at an offset, if it is still there. */
static int find_word(ammap_t *map, uint64_t offset, void **word)
{
        struct words words = { .offset = offset, .count = 1, .size = sizeof(uint32_t) };
        uint32_t value;
        int rc = find_words(map, &words);

        if (rc == 0 && map->may_fault && (rc = os_peek(&value, words.first, sizeof value)) == -EFAULT)
                rc = AMMAP_ERR_FAULT;
        *word = words.first;
        return rc;
}

/* A peer that may only read can take a wake-up away, by sleeping on the same word: so
 * each sleep is short, and the word is looked at again. */
static int wait_shared(const _Atomic uint32_t *word, uint32_t expected, int64_t deadline)
{
        int64_t until;
        int rc;

        do {
                until = os_now() + SHARED_NAP;
                rc = os_wait_shared(word, expected, until < deadline ? until : deadline);
        } while (rc == -ETIMEDOUT && until < deadline);
        return rc;
}

int ammap_wait_u32(ammap_t *map, uint64_t offset, uint32_t expected, int64_t timeout_ns)
{
        void *word;
        int rc = find_word(map, offset, &word);

        if (rc < 0)
                return rc;
        map_begin_sleep(map);
        rc = backing_is_none(map_backing(map)) ? os_wait(word, expected, os_deadline(timeout_ns))
                                               : wait_shared(word, expected, os_deadline(timeout_ns));
        map_end_sleep(map);
        return rc == -ETIMEDOUT ? AMMAP_ERR_TIMEOUT : 0;
}

static int wait_once(const ammap_t *map, const _Atomic uint32_t *word, uint32_t expected, int64_t until)
{
        return backing_is_none(map_backing(map)) ? os_wait(word, expected, until)
                                                 : os_wait_shared(word, expected, until);
}

/* Nothing wakes who sleeps on a word when a process ends: so each sleep is short.  What the
 * peer stored before its end counts: the word is looked at after it. */
static int wait_beside(const ammap_t *map, const void *word, uint32_t expected, int64_t deadline,
                       const struct os_peer *peer)
{
        for (;;) {
                int64_t now = os_now();

                if (os_peer_ended(peer))
                        return wait_once(map, word, expected, now) == 0 ? 0 : AMMAP_ERR_OWNER_DEAD;
                if (now >= deadline)
                        return AMMAP_ERR_TIMEOUT;
                if (wait_once(map, word, expected, now + PEER_NAP < deadline ? now + PEER_NAP : deadline) == 0)
                        return 0;
        }
}

int ammap_wait_u32_peer(ammap_t *map, uint64_t offset, uint32_t expected, int64_t timeout_ns, int32_t pid)
{
        const int64_t deadline = os_deadline(timeout_ns);
        struct os_peer peer;
        void *word;
        int rc;

        if (!map || pid <= 0)
                return AMMAP_ERR_INVALID;
        if ((rc = find_word(map, offset, &word)) < 0)
                return rc;
        if (wait_once(map, word, expected, os_now()) == 0)
                return 0;
        if (os_peer_begin(&peer, pid) < 0)
                return wait_once(map, word, expected, os_now()) == 0 ? 0 : AMMAP_ERR_OWNER_DEAD;
        map_begin_sleep(map);
        rc = wait_beside(map, word, expected, deadline, &peer);
        map_end_sleep(map);
        os_peer_end(&peer);
        return rc;
}

int ammap_wake_u32(ammap_t *map, uint64_t offset, int count)
{
        void *word;
        int rc;

        if (count < 0)
                return AMMAP_ERR_INVALID;
        if ((rc = find_word(map, offset, &word)) < 0)
                return rc;
        if (count == 0) /* futexes take 0 for 1 */
                return 0;
        return backing_is_none(map_backing(map)) ? os_wake(word, count) : os_wake_shared(word, count);
}
