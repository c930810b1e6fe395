/* rivals.h - three locks that the library's is compared with
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef BENCH_RIVALS_H
#define BENCH_RIVALS_H

/* Of one lock, which guards RIVAL_BYTES; the threads are numbered from 0. */
enum { RIVAL_BYTES = 64 };

struct rival {
        const char *name;
        void (*read)(unsigned thread, void *buffer);
        void (*write)(unsigned thread, const void *data);
};

enum { RIVAL_COUNTED, RIVAL_BRAVO, RIVAL_RCU, RIVALS };
extern const struct rival rivals[RIVALS];

/* All as before their first use. */
void rivals_reset(void);

#endif
