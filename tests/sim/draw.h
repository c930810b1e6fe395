/* draw.h - operations of the current thread, each with its checks
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef DRAW_H
#define DRAW_H

#include "model.h"

void make_map(unsigned lanes, bool shared);
void import_maps(void);
void warm_up(void);
void do_read(struct range range, enum patience patience);
void do_update(struct range range, enum patience patience);
struct held *do_slice(struct range range, enum patience patience);
struct held *do_mut_slice(struct range range, enum patience patience);
void do_downgrade(void);
void do_release(void);
void do_watch(struct range range);
void do_copy(struct range to, struct range from);
void do_resize(unsigned map, unsigned words);
void do_freeze(unsigned map);

#endif /* DRAW_H */
