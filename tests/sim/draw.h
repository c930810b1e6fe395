/* draw.h - operations of the current thread, each with its checks
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef DRAW_H
#define DRAW_H

#include "model.h"

void make_map(unsigned lanes, enum place place);
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
void do_rest(int64_t time); /* asleep, and for nothing that others have */

/* How long the current thread's next call is to wait that has a time. */
void next_timeout(int64_t time);

/* As if a lane had been read so often that it is to have its bias at the next counted read. */
void bias_soon(struct range range);

/* As if so many others read in a lane; and no more. */
void add_readers(struct range range, uint64_t count);
void take_readers(struct range range);

/* turns.c: scenes of those who wait for long */
void past_a_writer(unsigned number);
void past_a_turn(unsigned number);
void past_a_look(unsigned number);
void past_a_reader(unsigned number);
void past_writers(unsigned number);
void claimed_in_vain(unsigned number);
void given_up(unsigned number);
void one_wake_up(unsigned number);
void turn_of_nobody(unsigned number);
void turn_of_no_reader(unsigned number);
void stopped(unsigned number);
void named(unsigned number);
void bias_back(unsigned number);
void settled_back(unsigned number);
void settled(unsigned number);
void asks(unsigned number);
void crowded(unsigned number);
void shrinks(unsigned number);
void another_slice(unsigned number);
void next_owner(unsigned number);

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

/* visits.c */
void visits_begin(void);
void visit(enum place place);
void do_visit(void);

/* hoard.c */
void hoard_begin(void);
void hoard_end(void);

/* looks.c */
void do_holders(struct range range);
void do_clone(unsigned map);

#endif /* DRAW_H */
