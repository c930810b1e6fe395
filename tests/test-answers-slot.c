/* test-answers-slot.c - lib/os/linux-slot.c: a libc or a kernel in which slots cannot be
 *
 * SPDX-License-Identifier: MIT
 *
 * Robust mutexes that libc lays out in another way, lists that the kernel tells nothing of, and mappings
 * that cannot be moved when a slot is given back.  What cannot be used is found out, and never written to.
 *
 * Where the word is a process asks once: so each answer has a child.
 */
#include "answers.h"
#include "proc.h"

#include "os/os.h"

#include <stddef.h>

#define PAGE os_page_size()

/* A page that processes share, in a file. */
static struct {
        unsigned char *page;
        int fd;
} slots;

static void slots_begin(void)
{
        answers_end();
        slots.fd = os_memory("slots", PAGE);
        ck_assert_int_ge(slots.fd, 0);
        slots.page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, slots.fd, 0);
        ck_assert(slots.page != MAP_FAILED);
}

static void slots_end(void)
{
        answers_end();
        munmap(slots.page, PAGE);
        os_close(slots.fd);
}

static TCase *slots_case(Suite *suite, const char *name)
{
        TCase *tcase = test_case(suite, name);

        tcase_add_unchecked_fixture(tcase, os_start, NULL);
        tcase_add_checked_fixture(tcase, slots_begin, slots_end);
        return tcase;
}

/* The slot's own. */
static _Atomic uint32_t *word(void)
{
        return (void *)(slots.page + PAGE - os_slot_word());
}

/* --- Where libc has the word ----------------------------------------------------------- */

/* The mutex that was locked last, and what is told of it. */
static pthread_mutex_t *last;
static struct robust_list_head list;
static struct told {
        bool none;
        size_t size, entry, futex; /* of the list's head; from the mutex on; from the entry on */
        ptrdiff_t touched;         /* a byte that unlocking the second changes, from it on; 0: none */
        bool can_be;
        size_t found;
} told;

static void note_mutex(void *mutex)
{
        last = mutex;
}

static void tell_list(void *arguments)
{
        long *argument = arguments;

        list.list.next = (struct robust_list *)(void *)((char *)last + told.entry);
        list.futex_offset = (long)told.futex;
        *(void **)argument[1] = told.none ? NULL : &list;
        *(size_t *)argument[2] = told.size;
}

static void touch_neighbour(void *mutex)
{
        if (told.touched)
                ((unsigned char *)mutex)[told.touched] ^= 1;
}

enum { MUTEX = sizeof(pthread_mutex_t), HEAD = sizeof(list) };
static const struct told lists[] = {
        { false, HEAD, 24, (size_t)-24, 0, true, 8 }, /* it could be so */
        { true, HEAD, 24, (size_t)-24, 0, false, 0 },
        { false, HEAD + 8, 24, (size_t)-24, 0, false, 0 },
        { false, HEAD, 0, 0, 0, false, 0 }, /* the entry is in what others may write */
        { false, HEAD, 7, (size_t)-7, 0, false, 0 },
        { false, HEAD, (size_t)-8, 8, 0, false, 0 }, /* in no mutex */
        { false, HEAD, MUTEX, (size_t)-MUTEX, 0, false, 0 },
        { false, HEAD, 24, (size_t)-16, 0, false, 0 }, /* the word is not in it */
        { false, HEAD, 24, (size_t)-25, 0, false, 0 },
        { false, HEAD, 24, (size_t)-20, 0, false, 0 },         /* it names nobody */
        { false, HEAD, 24, (size_t)-24, 5 - MUTEX, false, 0 }, /* pointers to neighbours are in it */
        { false, HEAD, 24, (size_t)-24, 5 + MUTEX, false, 0 },
};

static void claim_nothing(void)
{
        struct os_slot slot = { .view = &slot, .spare = &slot };

        child_must_int(os_slot_claim(slots.page, slots.fd, 0, &slot), -ENOSYS);
        child_must(!slot.view && !slot.spare);
        child_must(is_all(slots.page, 0, PAGE));
}

static void find_told_word(void *argument)
{
        told = *(const struct told *)argument;
        answer_with(.call = ANSWER_MUTEX_LOCK, .argument = ANSWER_ANY, .times = 3, .besides = note_mutex);
        answer_with(.call = ANSWER_SYSCALL, .argument = SYS_get_robust_list, .times = 3, .besides = tell_list);
        answer_with(.call = ANSWER_MUTEX_UNLOCK, .argument = ANSWER_ANY, .times = 1, .besides = touch_neighbour);
        child_must_int((int)os_slot_word(), (int)told.found);
        child_must_int((int)answers.given, 7);
        answers_end();
        if (!told.can_be)
                claim_nothing();
        /* Once is enough. */
        child_must_int((int)os_slot_word(), (int)told.found);
}

#ifdef __GLIBC__ /* the first word of whose mutexes names the thread */
DEFINE_LOOP_TEST("word", of_another_libc, 0, COUNT_OF(lists))
{
        struct told copy = lists[_i];

        child_passes(find_told_word, &copy);
}
#endif

static void find_no_list(void *unused)
{
        (void)unused;
        answer_error(ANSWER_SYSCALL, SYS_get_robust_list, ANSWER_ALWAYS, ENOSYS);
        child_must_int((int)os_slot_word(), 0);
        answers_end();
        claim_nothing();
}

DEFINE_TEST("word", of_no_list)
{
        child_passes(find_no_list, NULL);
}

/* That libc makes no such mutex now does not say that there are none. */
static void find_no_mutex(void *argument)
{
        const enum answer_call call = *(const enum answer_call *)argument;

        answer_error(call, ANSWER_ANY, ANSWER_ALWAYS, ENOSYS);
        child_must_int((int)os_slot_word(), 0);
        claim_nothing();
        os_robust_forget();
        child_must_int((int)answers.given, 3);
        answers_end();
        child_must(os_slot_word() > 0);
        /* And a claim passes it on. */
        answer_error(call, ANSWER_ANY, 1, ENOMEM);
        {
                struct os_slot slot;

                child_must_int(os_slot_claim(slots.page, slots.fd, 0, &slot), -ENOMEM);
                child_must(!slot.view);
                child_must_int(os_slot_claim(slots.page, slots.fd, 0, &slot), 0);
                os_slot_release(&slot);
        }
        child_must(is_all(slots.page, 0, PAGE));
}

static void note_word(void *size)
{
        *(size_t *)size = os_slot_word();
}

static void *board_of(size_t size)
{
        void *board = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

        ck_assert(board != MAP_FAILED);
        return board;
}

/* Whether there are any, and not asked by this process. */
static bool has_slots(void)
{
        size_t *size = board_of(sizeof(*size));
        bool has;

        child_passes(note_word, size);
        has = *size > 0;
        munmap(size, sizeof(*size));
        return has;
}

DEFINE_TEST("word", of_mutexes_that_cannot_be_made_now)
{
        static enum answer_call calls[] = { ANSWER_ATTR_SHARED, ANSWER_ATTR_ROBUST };

        if (!has_slots()) {
                skip_part(__func__, "there are no slots here");
                return;
        }
        for (size_t i = 0; i < COUNT_OF(calls); i++)
                child_passes(find_no_mutex, &calls[i]);
}

/* --- Mappings that cannot be moved ------------------------------------------------------ */

/* Valgrind doubles none: the page is mapped from the descriptor, if there is one. */
static void claim_without_doubling(void *unused)
{
        struct footprint before;
        struct os_slot slot;

        (void)unused;
        child_must(os_slot_word() > 0);
        before = footprint();
        answer_error(ANSWER_MREMAP, 0, ANSWER_ALWAYS, EINVAL);
        child_must_int(os_slot_claim(slots.page, -1, 0, &slot), -EINVAL);
        child_must(!slot.view && atomic_load(word()) == 0);
        child_must_int(os_slot_claim(slots.page, slots.fd, 0, &slot), 0);
        child_must(atomic_load(word()) == os_thread());
        os_slot_release(&slot);
        child_must(atomic_load(word()) == 0);
        child_must_int((int)answers.given, 2);
        child_must(TEST_SANITIZED || footprint().mappings == before.mappings);
}

DEFINE_TEST("mappings", none_is_doubled)
{
        if (has_slots())
                child_passes(claim_without_doubling, NULL);
        else
                skip_part(__func__, "there are no slots here");
}

static const uint32_t stranger = 0x3ffffff;

static void another_is_quicker(void *unused)
{
        (void)unused;
        atomic_store(word(), stranger);
}

/* Another has it first, and the view cannot be detached: it stays, and the other's word too. */
static void lose_a_claim(void *argument)
{
        const bool *stuck = argument;
        struct os_slot slot;

        child_must(os_slot_word() > 0);
        answer_with(.call = ANSWER_MREMAP, .argument = 0, .times = 1, .through = true, .besides = another_is_quicker);
        /* The first is in the claim: the page's second mapping is moved over the view. */
        answer_with(.call = ANSWER_MREMAP, .argument = (long)PAGE, .after = 1, .times = *stuck, .error = ENOMEM);
        child_must_int(os_slot_claim(slots.page, slots.fd, 0, &slot), -EBUSY);
        child_must_int((int)answers.given, 1 + *stuck);
        child_must(!slot.view && !slot.spare);
        child_must(atomic_load(word()) == stranger);
        answers_end();
        atomic_store(word(), 0);
        child_must_int(os_slot_claim(slots.page, slots.fd, 0, &slot), 0);
        os_slot_release(&slot);
        child_must(atomic_load(word()) == 0);
        atomic_store(word(), stranger);
}

DEFINE_LOOP_TEST("mappings", a_claim_that_comes_second, 0, 2)
{
        bool stuck = _i;

        if (!has_slots()) {
                skip_part(__func__, "there are no slots here");
                return;
        }
        child_passes(lose_a_claim, &stuck);
        /* The child's end marks no word that is another's. */
        ck_assert_uint_eq(atomic_load(word()), stranger);
}

/* The spare cannot be moved: the slot stays the thread's until it ends, and is marked then. */
static void release_stuck(void *unused)
{
        struct os_slot slot;

        (void)unused;
        child_must_int(os_slot_claim(slots.page, slots.fd, 0, &slot), 0);
        answer_error(ANSWER_MREMAP, (long)PAGE, 1, ENOMEM);
        os_slot_release(&slot);
        child_must_int((int)answers.given, 1);
        child_must(!slot.view);
        child_must(atomic_load(word()) == os_thread());
        child_must_int(os_slot_claim(slots.page, slots.fd, 0, &slot), -EBUSY);
}

/* By another thread, which here is the same: not at all while the spare cannot be moved; and then
 * the page is the thread's no more, whoever has the slot by now, and the release leaves it alone. */
static void return_and_release(void *argument)
{
        const bool *robbed = argument;
        struct os_slot slot;

        child_must_int(os_slot_claim(slots.page, slots.fd, 0, &slot), 0);
        answer_error(ANSWER_MREMAP, (long)PAGE, 1, ENOMEM);
        os_slot_return(&slot, slots.page, os_thread());
        child_must_int((int)answers.given, 1);
        child_must(os_slot_has(&slot));
        child_must(atomic_load(word()) == os_thread());
        answers_end();
        if (*robbed)
                atomic_store(word(), stranger);
        os_slot_return(&slot, slots.page, os_thread());
        child_must(!os_slot_has(&slot));
        child_must(atomic_load(word()) == (*robbed ? stranger : 0));
        atomic_store(word(), os_thread());
        os_slot_release(&slot);
        child_must(!slot.view);
        child_must(atomic_load(word()) == os_thread());
        atomic_store(word(), 0);
        child_must_int(os_slot_claim(slots.page, slots.fd, 0, &slot), 0);
        atomic_store(word(), FUTEX_OWNER_DIED);
        os_slot_return(&slot, slots.page, 0);
        child_must(atomic_load(word()) == FUTEX_OWNER_DIED);
        atomic_store(word(), 0);
        os_slot_forget(&slot);
        child_must(!slot.view);
}

DEFINE_LOOP_TEST("mappings", a_slot_that_is_returned, 0, 2)
{
        bool robbed = _i;

        if (!has_slots()) {
                skip_part(__func__, "there are no slots here");
                return;
        }
        child_passes(return_and_release, &robbed);
        ck_assert_uint_eq(atomic_load(word()), 0);
}

DEFINE_TEST("mappings", a_release_that_is_stuck)
{
        struct os_slot slot;

        if (!has_slots()) {
                skip_part(__func__, "there are no slots here");
                return;
        }
        child_passes(release_stuck, NULL);
        ck_assert(!os_slot_taken(atomic_load(word())));
        ck_assert_uint_ne(atomic_load(word()), 0);
        ck_assert_int_eq(os_slot_claim(slots.page, slots.fd, 0, &slot), OS_SLOT_LEFT);
        os_slot_release(&slot);
        ck_assert_uint_eq(atomic_load(word()), 0);
}

/* --- The list in a forked child ----------------------------------------------------------- */

/* As musl has it: what the child has locked is in front, then what its parent's thread had. */
static struct entry {
        struct robust_list list; /* the first member, to which the list points */
        uint32_t word;
} entries[4];

static void tell_entries(void *arguments)
{
        long *argument = arguments;

        *(void **)argument[1] = told.none ? NULL : &list;
        *(size_t *)argument[2] = told.size;
}

/* So many of the four are this thread's. */
static void link_entries(size_t own)
{
        struct robust_list *next = &list.list;

        list.futex_offset = offsetof(struct entry, word);
        for (size_t i = COUNT_OF(entries); i-- > 0;) {
                entries[i].word = i < own ? os_thread() | FUTEX_WAITERS : stranger;
                entries[i].list.next = next;
                /* glibc notes in the address that the mutex inherits priorities. */
                next = (struct robust_list *)((uintptr_t)&entries[i].list | (i == 1));
        }
        list.list.next = next;
}

static size_t length_of_list(void)
{
        size_t length = 0;

        for (struct robust_list *at = list.list.next; at != &list.list && length < 10; length++)
                at = ((struct robust_list *)((uintptr_t)at & ~(uintptr_t)1))->next;
        return length;
}

DEFINE_LOOP_TEST("list", is_cut_where_the_parents_begins, 0, COUNT_OF(entries) + 1)
{
        told = (struct told){ .size = sizeof(list) };
        link_entries((size_t)_i);
        ck_assert_uint_eq(length_of_list(), COUNT_OF(entries));
        answer_with(.call = ANSWER_SYSCALL, .argument = SYS_get_robust_list, .times = 1, .besides = tell_entries);
        os_robust_forget();
        ck_assert_uint_eq(answers.given, 1);
        ck_assert_uint_eq(length_of_list(), (size_t)_i);
}

/* What is told of no list that is known here is let be. */
DEFINE_TEST("list", that_is_not_known)
{
        link_entries(0);
        for (int way = 0; way < 3; way++) {
                told = (struct told){ .none = way == 0, .size = sizeof(list) + (way == 1) };
                answer_with(.call = ANSWER_SYSCALL, .argument = SYS_get_robust_list, .times = 1,
                            .besides = tell_entries, .error = way == 2 ? EPERM : 0);
                os_robust_forget();
                ck_assert_uint_eq(answers.given, 1);
                answers_end();
        }
        ck_assert_uint_eq(length_of_list(), COUNT_OF(entries));
}

int main(void)
{
        if (answers_are_given())
                return run_tests("answers-slot", slots_case);
        printf("answers-slot: the linker did not wrap the calls\n");
        return SKIPPED;
}
