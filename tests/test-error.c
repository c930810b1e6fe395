/* test-error.c - lib/error.c: codes, their names and sentences, the version
 *
 * SPDX-License-Identifier: MIT
 *
 * The values are ABI and pinned one by one.  Names and sentences: of every
 * code, of every errno, of what is no code at all; constant, never NULL, the
 * same from any thread.
 */
#include "support.h"

static const struct {
        int code;
        int value;
        const char *name;
} codes[] = {
        { AMMAP_OK, 0, "AMMAP_OK" },
        { AMMAP_ERR_INVALID, -10001, "AMMAP_ERR_INVALID" },
        { AMMAP_ERR_SIZE, -10002, "AMMAP_ERR_SIZE" },
        { AMMAP_ERR_BOUNDS, -10003, "AMMAP_ERR_BOUNDS" },
        { AMMAP_ERR_MISALIGNED, -10004, "AMMAP_ERR_MISALIGNED" },
        { AMMAP_ERR_BUSY, -10005, "AMMAP_ERR_BUSY" },
        { AMMAP_ERR_TIMEOUT, -10006, "AMMAP_ERR_TIMEOUT" },
        { AMMAP_ERR_DEADLOCK, -10007, "AMMAP_ERR_DEADLOCK" },
        { AMMAP_ERR_OWNER_DEAD, -10008, "AMMAP_ERR_OWNER_DEAD" },
        { AMMAP_ERR_READ_ONLY, -10009, "AMMAP_ERR_READ_ONLY" },
        { AMMAP_ERR_UNSUPPORTED, -10010, "AMMAP_ERR_UNSUPPORTED" },
        { AMMAP_ERR_FORMAT, -10011, "AMMAP_ERR_FORMAT" },
        { AMMAP_ERR_UNSEALED, -10012, "AMMAP_ERR_UNSEALED" },
        { AMMAP_ERR_FAULT, -10013, "AMMAP_ERR_FAULT" },
        { AMMAP_ERR_LIMIT, -10014, "AMMAP_ERR_LIMIT" },
};

static const struct {
        int code;
        const char *name;
} system_codes[] = {
        { -EPERM, "EPERM" },   { -ENOENT, "ENOENT" }, { -EINTR, "EINTR" },     { -EBADF, "EBADF" },
        { -EAGAIN, "EAGAIN" }, { -ENOMEM, "ENOMEM" }, { -EACCES, "EACCES" },   { -EFAULT, "EFAULT" },
        { -EBUSY, "EBUSY" },   { -EEXIST, "EEXIST" }, { -EINVAL, "EINVAL" },   { -ENFILE, "ENFILE" },
        { -EMFILE, "EMFILE" }, { -EFBIG, "EFBIG" },   { -ENOSPC, "ENOSPC" },   { -ENOSYS, "ENOSYS" },
        { -ERANGE, "ERANGE" }, { -EDOM, "EDOM" },     { -EDEADLK, "EDEADLK" }, { -ETIMEDOUT, "ETIMEDOUT" },
};

static const int no_codes[] = {
        1, 2, ENOMEM, 10001, 10008, -9999, -10000, -10015, -10016, -4096, -100000, INT_MAX, INT_MIN, INT_MIN + 1,
};

DEFINE_TEST("error", values_are_pinned)
{
        for (size_t i = 0; i < COUNT_OF(codes); i++)
                ck_assert_int_eq(codes[i].code, codes[i].value);
}

DEFINE_TEST("error", every_code_has_its_name)
{
        for (size_t i = 0; i < COUNT_OF(codes); i++)
                ck_assert_str_eq(ammap_errname(codes[i].code), codes[i].name);
        for (size_t i = 0; i < COUNT_OF(system_codes); i++)
                ck_assert_str_eq(ammap_errname(system_codes[i].code), system_codes[i].name);
}

DEFINE_TEST("error", every_code_has_a_sentence_of_its_own)
{
        for (size_t i = 0; i < COUNT_OF(codes); i++) {
                const char *text = ammap_strerror(codes[i].code);

                ck_assert_ptr_nonnull(text);
                ck_assert_msg(strchr(text, ' ') || i == 0, "'%s' is no sentence", text);
                for (size_t k = 0; k < i; k++)
                        ck_assert_str_ne(text, ammap_strerror(codes[k].code));
        }
        for (size_t i = 0; i < COUNT_OF(system_codes); i++) {
                const char *text = ammap_strerror(system_codes[i].code);

                ck_assert_ptr_nonnull(text);
                ck_assert_uint_gt(strlen(text), 0);
                for (size_t k = 0; k < i; k++)
                        ck_assert_str_ne(text, ammap_strerror(system_codes[k].code));
        }
}

/* Each cause that a code stands for is in its sentence, and what to do about it. */
DEFINE_TEST("error", sentences_name_causes_and_cures)
{
        static const struct {
                int code;
                const char *words[8];
        } wanted[] = {
                { AMMAP_ERR_INVALID, { "NULL", "flag", "option", "contradict", "AMMAP_OPTIONS_INIT", "lanes" } },
                { AMMAP_ERR_SIZE, { "zero", "capacity", "options.capacity", "platform", "empty", "file" } },
                { AMMAP_ERR_FORMAT, { "file", "descriptor", "damaged", "raw", "options.share", "another map" } },
                { AMMAP_ERR_UNSEALED, { "file", "descriptor", "AMMAP_SEAL_SHRINK", "options.allow_faults" } },
        };

        for (size_t i = 0; i < COUNT_OF(wanted); i++)
                for (const char *const *word = wanted[i].words; *word; word++)
                        ck_assert_msg(strstr(ammap_strerror(wanted[i].code), *word), "%s: nothing of %s",
                                      ammap_errname(wanted[i].code), *word);
}

DEFINE_TEST("error", what_is_no_code_is_unknown)
{
        for (size_t i = 0; i < COUNT_OF(no_codes); i++) {
                ck_assert_str_eq(ammap_errname(no_codes[i]), "UNKNOWN");
                ck_assert_ptr_nonnull(ammap_strerror(no_codes[i]));
                ck_assert_uint_gt(strlen(ammap_strerror(no_codes[i])), 0);
        }
}

/* The whole width around zero and around the codes: never NULL, never empty,
 * and the C library's own name where it has one. */
DEFINE_TEST("error", every_number_is_answered)
{
        for (int code = -11000; code < 1000; code++) {
                ck_assert_ptr_nonnull(ammap_strerror(code));
                ck_assert_ptr_nonnull(ammap_errname(code));
                ck_assert_uint_gt(strlen(ammap_strerror(code)), 0);
                ck_assert_uint_gt(strlen(ammap_errname(code)), 0);
        }
#if defined(__GLIBC__) && (__GLIBC__ > 2 || __GLIBC_MINOR__ >= 32)
        for (int number = 1; number < 200; number++) {
                const char *name = strerrorname_np(number);

                ck_assert_str_eq(ammap_errname(-number), name ? name : "UNKNOWN");
        }
#endif
}

DEFINE_TEST("error", the_text_is_constant)
{
        for (size_t i = 0; i < COUNT_OF(codes); i++) {
                const char *text = ammap_strerror(codes[i].code);
                const char *name = ammap_errname(codes[i].code);
                char copy[256];

                snprintf(copy, sizeof(copy), "%s", text);
                (void)ammap_strerror(-ENOMEM);
                (void)ammap_strerror(12345);
                ck_assert_ptr_eq(ammap_strerror(codes[i].code), text);
                ck_assert_ptr_eq(ammap_errname(codes[i].code), name);
                ck_assert_str_eq(text, copy);
        }
        for (size_t i = 0; i < COUNT_OF(system_codes); i++) {
                const char *text = ammap_strerror(system_codes[i].code);
                char copy[256];

                snprintf(copy, sizeof(copy), "%s", text);
                (void)ammap_strerror(-EDOM);
                (void)ammap_strerror(-54321);
                ck_assert_str_eq(text, copy);
        }
}

static void *ask_for_all(void *argument)
{
        (void)argument;
        for (int round = rounds(200); round > 0; round--)
                for (size_t i = 0; i < COUNT_OF(codes); i++) {
                        thread_check(!strcmp(ammap_errname(codes[i].code), codes[i].name));
                        thread_check(ammap_strerror(codes[i].code)[0]);
                        thread_check(ammap_strerror(-(int)i)[0]);
                }
        return NULL;
}

DEFINE_TEST("error", any_thread_may_ask)
{
        struct task tasks[4];

        for (size_t i = 0; i < COUNT_OF(tasks); i++)
                task_start(&tasks[i], ask_for_all, NULL);
        for (size_t i = 0; i < COUNT_OF(tasks); i++)
                task_join(&tasks[i]);
}

DEFINE_TEST("error", the_version_is_the_headers)
{
        char text[32];

        snprintf(text, sizeof(text), "%d.%d.%d", AMMAP_VERSION_MAJOR, AMMAP_VERSION_MINOR, AMMAP_VERSION_PATCH);
        ck_assert_str_eq(AMMAP_VERSION, text);
        ck_assert_str_eq(ammap_version(), AMMAP_VERSION);
}

int main(void)
{
        return run_tests("error", test_case);
}
