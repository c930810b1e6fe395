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

/* What a thread draws, and what it has. */
struct chance *mine(void);
uint32_t below(uint32_t count);
struct range draw_range(void);
uint64_t offset_of(struct range range);
bool may_wait(struct range range, enum how how);
bool holds_any(void);
bool has_room(void);
struct held *any_own(enum how how, bool whichever);

/* Parts of them: a call begins, what it is given, and a slice's end. */
int64_t begin(struct range range, enum how how, enum patience patience);
void overwrite(const struct held *own);
void release(struct held *own);

/* tasks.c */
void do_detach(void);
void do_mend(struct range range);

/* words.c */
void do_view(struct range range);
void do_view_end(void);
void do_load(struct range range);
void do_wait_word(struct range range);
void do_wake_word(struct range range);

/* looks.c */
void do_holders(struct range range);
void do_clone(unsigned map);

#endif /* DRAW_H */
