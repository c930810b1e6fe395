/* calm.h - calls of libc that a caller does not notice
 *
 * SPDX-License-Identifier: MIT
 *
 * Between these two calls there is no cancellation point, and errno may change.
 */
#ifndef OS_CALM_H
#define OS_CALM_H

#include <errno.h>
#include <pthread.h>

struct os_calm {
        int error, cancel;
};

static inline struct os_calm os_calm_begin(void)
{
        struct os_calm calm = { .error = errno };

        pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &calm.cancel);
        return calm;
}

/* Returns the result that it is given. */
static inline int os_calm_end(struct os_calm calm, int result)
{
        pthread_setcancelstate(calm.cancel, NULL);
        errno = calm.error;
        return result;
}

#endif /* OS_CALM_H */
