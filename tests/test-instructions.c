/* test-instructions.c - how many instructions a call executes
 *
 * SPDX-License-Identifier: MIT
 *
 * A child is led through FEW calls instruction by instruction, and another one through
 * MANY.  What they differ by, for each call more, is what a call costs, with its turn of
 * the loop.  No clock is read, so the figure is the same each time and a limit can be held
 * to the instruction.  It says nothing of what an instruction takes: make bench does.
 *
 * Only the instructions of the library and of the loop count.  How many the C library needs
 * to copy 4096 bytes is the processor's affair ("rep movsb" is led byte by byte), and
 * how many the kernel's vDSO needs to tell the time is chance.
 *
 * What is tried is the library as the tests are linked with it: libammap.so, unless
 * configure was given --disable-shared.  A call of the static one costs one instruction
 * less, the jump of the procedure linkage table, so the same limits hold.
 *
 * The limits are those of one compiler and of plain -O2.  With others, sanitizers,
 * --with-os=portable or --disable-optimistic-reads the suite is skipped.
 */
#include "lead.h"

#if !CAN_STEP || !defined(__x86_64__) || defined(__ILP32__) || !defined(__GLIBC__)
#define NO_LIMITS "the limits are those of Linux and glibc on x86_64"
#elif defined(__clang__) || __GNUC__ != 12
#define NO_LIMITS "the limits are those of gcc 12"
#elif !defined(__OPTIMIZE__) || defined(__OPTIMIZE_SIZE__) || TEST_SANITIZED || defined(_FORTIFY_SOURCE) ||            \
        defined(__CET__) || defined(__SSP__) || defined(__SSP_STRONG__) || defined(__SSP_ALL__) || defined(__AVX__)
#define NO_LIMITS "the limits are those of plain -O2"
#elif defined(AMMAP_NO_OPTIMISTIC_READS)
#define NO_LIMITS "the limits are those of optimistic reads"
#endif

#ifdef NO_LIMITS

DEFINE_NO_TEST(NO_LIMITS);

int main(void)
{
        return run_tests("instructions", share_case);
}

#else

#include <link.h>
#include <linux/membarrier.h>
#include <stddef.h>
#include <sys/user.h>

/* MANY is less than 64: then a private lane thinks of its bias again, and looks at the clock. */
enum { FEW = 2, MANY = 10, WARM = 1000, SIZE = 65536, AT = 64 };

struct subject {
        ammap_t *map;
        size_t length;
        unsigned char bytes[4096];
};

static int read_bytes(struct subject *subject)
{
        return ammap_read_into(subject->map, AT, subject->bytes, subject->length);
}

static int update_bytes(struct subject *subject)
{
        return ammap_update_region(subject->map, AT, subject->bytes, subject->length);
}

static int take_slice(struct subject *subject)
{
        ammap_slice_t slice;
        int rc = ammap_as_slice(subject->map, AT, subject->length, &slice);

        return rc | ammap_slice_release(&slice);
}

static int take_mut_slice(struct subject *subject)
{
        ammap_mut_slice_t mut;
        int rc = ammap_as_mut_slice(subject->map, AT, subject->length, &mut);

        return rc | ammap_mut_slice_release(&mut);
}

static int downgrade(struct subject *subject)
{
        ammap_mut_slice_t mut;
        ammap_slice_t slice;
        int rc = ammap_as_mut_slice(subject->map, AT, subject->length, &mut);

        rc |= ammap_mut_slice_downgrade(&mut, &slice);
        return rc | ammap_slice_release(&slice);
}

static int detach(struct subject *subject)
{
        ammap_slice_t slice;
        int rc = ammap_as_slice(subject->map, AT, subject->length, &slice);

        rc |= ammap_slice_detach(&slice);
        return rc | ammap_slice_release(&slice);
}

static int load_word(struct subject *subject)
{
        uint64_t value;

        return ammap_load_u64(subject->map, AT, &value);
}

static int take_view(struct subject *subject)
{
        ammap_u64_view_t view;
        int rc = ammap_atomic_u64(subject->map, AT, &view);

        ammap_u64_view_release(&view);
        return rc;
}

static int wait_in_vain(struct subject *subject)
{
        return ammap_wait_u32(subject->map, AT, 1, -1); /* the word is 0 */
}

/* A row: the kind of map, the call and its bytes, and how many instructions it may take.
 *
 * A call that takes fewer passes, and the log says so (tests/test-instructions.log): put the
 * new figure here, in the commit that saves them, so that it cannot be lost again.
 * One that takes more fails.  Where more is worth its price, the commit that raises a
 * limit says what is had for it. */
static const struct row {
        ammap_share_t share;
        const char *name;
        int (*call)(struct subject *subject);
        size_t length;
        bool after_write; /* which takes a lane's bias towards readers away */
        int limit;
} rows[] = {
        /* clang-format off */
        { AMMAP_PRIVATE, "read 8",               read_bytes,     8,    false, 46 },
        { AMMAP_PRIVATE, "read 64",              read_bytes,     64,   false, 50 },
        { AMMAP_PRIVATE, "read 1024",            read_bytes,     1024, false, 183 },
        { AMMAP_PRIVATE, "read 4096",            read_bytes,     4096, false, 471 },
        { AMMAP_PRIVATE, "update 8",             update_bytes,   8,    false, 63 },
        { AMMAP_PRIVATE, "update 64",            update_bytes,   64,   false, 65 },
        { AMMAP_PRIVATE, "update 256",           update_bytes,   256,  false, 111 },
        { AMMAP_PRIVATE, "update 4096",          update_bytes,   4096, false, 483 },
        { AMMAP_PRIVATE, "slice",                take_slice,     64,   false, 90 },
        { AMMAP_PRIVATE, "slice after a write",  take_slice,     64,   true,  117 },
        { AMMAP_PRIVATE, "mut slice",            take_mut_slice, 64,   false, 96 },
        { AMMAP_PRIVATE, "mut slice, downgrade", downgrade,      64,   false, 237 },
        { AMMAP_PRIVATE, "slice, detach",        detach,         64,   false, 438 },
        { AMMAP_PRIVATE, "load_u64",             load_word,      8,    false, 54 },
        { AMMAP_PRIVATE, "view of a u64",        take_view,      8,    false, 279 },
        { AMMAP_PRIVATE, "wait, another value",  wait_in_vain,   4,    false, 192 },
        { AMMAP_SHARED,  "read 8",               read_bytes,     8,    false, 68 },
        { AMMAP_SHARED,  "read 64",              read_bytes,     64,   false, 72 },
        { AMMAP_SHARED,  "read 1024",            read_bytes,     1024, false, 213 },
        { AMMAP_SHARED,  "read 4096",            read_bytes,     4096, false, 501 },
        { AMMAP_SHARED,  "update 8",             update_bytes,   8,    false, 139 },
        { AMMAP_SHARED,  "update 64",            update_bytes,   64,   false, 141 },
        { AMMAP_SHARED,  "update 256",           update_bytes,   256,  false, 196 },
        { AMMAP_SHARED,  "update 4096",          update_bytes,   4096, false, 567 },
        { AMMAP_SHARED,  "slice",                take_slice,     64,   false, 118 },
        { AMMAP_SHARED,  "slice after a write",  take_slice,     64,   true,  118 },
        { AMMAP_SHARED,  "mut slice",            take_mut_slice, 64,   false, 183 },
        { AMMAP_SHARED,  "mut slice, downgrade", downgrade,      64,   false, 344 },
        { AMMAP_SHARED,  "slice, detach",        detach,         64,   false, 765 },
        { AMMAP_SHARED,  "load_u64",             load_word,      8,    false, 61 },
        { AMMAP_SHARED,  "view of a u64",        take_view,      8,    false, 302 },
        { AMMAP_SHARED,  "wait, another value",  wait_in_vain,   4,    false, 221 },
        /* clang-format on */
};

/* --- The child that is led ------------------------------------------------ */

struct board {
        const struct row *row;
        int times;
        _Atomic bool counting;
};

static void led_body(struct peer *parent, void *argument)
{
        struct board *board = argument;
        const struct row *row = board->row;
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        struct subject subject = { .length = row->length };
        int rc = 0;

        (void)parent;
        alarm(0); /* it would come in between */
        options.share = row->share;
        child_must_int(ammap_new_with(&subject.map, SIZE, &options), 0);
        for (int i = 0; i < WARM; i++)
                rc |= row->call(&subject);
        if (row->after_write)
                rc |= update_bytes(&subject);
        child_must(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0);
        raise(SIGSTOP);
        atomic_store_explicit(&board->counting, true, memory_order_relaxed);
        for (int i = board->times; i > 0; i--)
                rc |= row->call(&subject);
        atomic_store_explicit(&board->counting, false, memory_order_relaxed);
        raise(SIGSTOP);
        child_must_int(rc, 0);
}

/* --- The parent that counts ------------------------------------------------- */

/* Where the code of the program and of libammap lies; they are the same where it is static. */
struct code {
        struct {
                uintptr_t begin, end;
        } part[2];
        size_t parts;
};

static int note_code(struct dl_phdr_info *info, size_t size, void *noted)
{
        struct code *code = noted;

        (void)size;
        if (*info->dlpi_name && !strstr(info->dlpi_name, "/libammap.so"))
                return 0;
        for (int i = 0; i < info->dlpi_phnum; i++) {
                const ElfW(Phdr) *part = &info->dlpi_phdr[i];

                if (part->p_type == PT_LOAD && (part->p_flags & PF_X) && code->parts < COUNT_OF(code->part)) {
                        code->part[code->parts].begin = info->dlpi_addr + part->p_vaddr;
                        code->part[code->parts++].end = info->dlpi_addr + part->p_vaddr + part->p_memsz;
                }
        }
        return 0;
}

static bool is_of(const struct code *code, uintptr_t at)
{
        for (size_t i = 0; i < code->parts; i++)
                if (at >= code->part[i].begin && at < code->part[i].end)
                        return true;
        return false;
}

static long count_instructions(struct board *board, int times)
{
        struct code code = { .parts = 0 };
        struct peer peer;
        long count = 0;

        dl_iterate_phdr(note_code, &code);
        board->times = times;
        peer_start(&peer, led_body, board);
        wait_for_stop(peer.pid, SIGSTOP);
        while (!atomic_load(&board->counting))
                step_once(peer.pid);
        while (atomic_load(&board->counting)) {
                /* Not a pointer, whatever ptrace's type says. */
                uintptr_t at = (uintptr_t)ptrace(PTRACE_PEEKUSER, peer.pid, offsetof(struct user, regs.rip), NULL);

                count += is_of(&code, at);
                step_once(peer.pid);
        }
        ck_assert_int_eq(ptrace(PTRACE_CONT, peer.pid, NULL, NULL), 0);
        wait_for_stop(peer.pid, SIGSTOP);
        ck_assert_int_eq(ptrace(PTRACE_DETACH, peer.pid, NULL, NULL), 0);
        peer_end(&peer);
        return count;
}

DEFINE_LOOP_TEST("instructions", calls_keep_to_their_limits, 0, COUNT_OF(rows))
{
        const struct row *row = &rows[_i];
        const char *kind = row->share == AMMAP_SHARED ? "shared" : "private";
        struct board *board;
        cpu_set_t processors;
        double cost;

        if (row->length >= 128 && !__builtin_cpu_supports("avx")) {
                printf("%-7s  %-20s  not tried: the limit is that of a processor with AVX\n", kind, row->name);
                return;
        }
        board = board_of(sizeof(*board));
        board->row = row;
        stay_here(&processors);
        cost = (double)(count_instructions(board, MANY) - count_instructions(board, FEW)) / (MANY - FEW);
        sched_setaffinity(0, sizeof(processors), &processors);
        munmap(board, sizeof(*board));
        printf("%-7s  %-20s  %4.2f instructions, limit %d%s\n", kind, row->name, cost, row->limit,
               cost < row->limit ? ": to be lowered" : "");
        fflush(stdout);
        ck_assert_msg(cost <= row->limit, "%s, %s: %.2f instructions, and the limit is %d", kind, row->name, cost,
                      row->limit);
}

/* The words that change nothing of the code. */
static bool is_plain(const char *flags)
{
        char copy[512], *rest = copy;

        if (snprintf(copy, sizeof(copy), "%s", flags) >= (int)sizeof(copy))
                return false;
        for (const char *flag = strtok_r(rest, " \t\n", &rest); flag; flag = strtok_r(NULL, " \t\n", &rest))
                if (strcmp(flag, "-O2") != 0 && strncmp(flag, "-g", 2) != 0 && strncmp(flag, "-W", 2) != 0 &&
                    strcmp(flag, "-pipe") != 0)
                        return false;
        return true;
}

/* Without it those who are quick pay with fences. */
static bool fences_others(void)
{
        return (syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0) & MEMBARRIER_CMD_PRIVATE_EXPEDITED) > 0;
}

int main(void)
{
        const char *flags = getenv("CFLAGS"); /* make check says it */

        if (flags && !is_plain(flags)) {
                printf("instructions: the limits are those of plain -O2, not of %s\n", flags);
                return SKIPPED;
        }
        if (!stepping_works()) {
                printf("instructions: no single-stepping here\n");
                return SKIPPED;
        }
        if (!fences_others()) {
                printf("instructions: the limits are those of a kernel with membarrier\n");
                return SKIPPED;
        }
        return run_sharing("instructions");
}

#endif
