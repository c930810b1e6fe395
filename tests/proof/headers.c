/* headers.c - proved: what is believed of a map that other processes have
 *
 * SPDX-License-Identifier: MIT
 *
 * The functions are those of lib/; what stands here of them is what they promise (prove.sh).
 */
#include "proof.h"

#include "map/header.c"

/* --- memory/format.h --- */

/*@ logic integer slots_at(integer lanes) = 256 + (lanes + 1) * 128;
    logic integer records_end(integer lanes, integer slots) = slots_at(lanes) + slots * 128;
 */

/*@ assigns \nothing;
    ensures \result == slots_at(lanes);
 */
static inline uint64_t format_slots(uint32_t lanes);

/*@ requires slots <= 4095 && page >= 8;
    assigns \nothing;
    ensures \result % page == 0;
    ensures records_end(lanes, slots) <= \result < records_end(lanes, slots) + page;
 */
static inline uint64_t format_pages(uint32_t lanes, uint32_t slots, uint32_t page);

/*@ requires slots <= 4095 && page >= 8;
    assigns \nothing;
    ensures records_end(lanes, slots) + slots * page <= \result;
    ensures \result < records_end(lanes, slots) + slots * page + page;
 */
static inline uint64_t format_data(uint32_t lanes, uint32_t slots, uint32_t page);

/*@ requires slots <= 4095 && page >= 8;
    assigns \nothing;
    ensures \result % (page / 8 * page) == 0;
    ensures records_end(lanes, slots) + slots * page <= \result;
    ensures \result < records_end(lanes, slots) + slots * page + page + page / 8 * page;
 */
static inline uint64_t format_data_huge(uint32_t lanes, uint32_t slots, uint32_t page);

/*@ requires \valid_read(head) && head->slots <= 4095 && head->page >= 8;
    assigns \nothing;
    ensures \result ==> records_end(head->lanes, head->slots) + head->slots * head->page <= head->data;
    ensures \result ==> head->data <= 0x4000000000000000;
 */
static inline bool format_data_is_right(const struct format_head *head);

/* --- map/options.c: taken as it is here; tests/test-range.c looks whether it is --- */

/*@ requires \valid(options);
    assigns *options;
    ensures \result <= 0;
    ensures \result == 0 ==> 1 <= size <= options->capacity <= 0x800000000000;
    ensures \result == 0 ==> 1 <= options->lanes <= 4096 && options->lanes <= options->capacity;
    ensures \old(options->lanes) != 0 ==> options->lanes == \old(options->lanes);
    ensures \old(options->capacity) != 0 ==> options->capacity == \old(options->capacity);
 */
int options_check(uint64_t size, ammap_options_t *options);

/* --- map/header.c: of a copy that nobody else changes --- */

/* The rounding of pages.c; of a length that is too long for that, anything. */
/*@ assigns \nothing;
    ensures length <= 0x800000000000 ==> length <= \result <= length + 0x80000000;
 */
size_t region_pages(uint64_t length);

/*@ assigns \nothing; */
static bool is_known(const struct format_head *head);

/*@ requires \valid_read(head) && \valid(options) && \separated(head, options);
    assigns *options;
    ensures options->capacity == head->capacity && options->lanes == head->lanes;
 */
void header_options(const struct format_head *head, ammap_options_t *options);

/*@ assigns \nothing; */
size_t ammap__os_slot_word(void);

/* The map lies in what there is of the file, and behind the locks. */
/*@ predicate is_sound(struct format_head *head) =
        1 <= head->lanes <= 4096 && head->lanes <= head->capacity <= 0x800000000000 &&
        1 <= head->length <= head->capacity && head->slots <= 4095 &&
        records_end(head->lanes, head->slots) + head->slots * head->page <= head->data;
 */

/*@ requires \valid_read(head);
    assigns \nothing;
    ensures \result ==> is_sound(head) && head->slots >= 1 && head->data + head->length <= size;
 */
bool header_is_shared(const struct format_head *head, uint64_t size);

/*@ requires \valid_read(head);
    assigns \nothing;
    ensures \result ==> is_sound(head) && head->slots == 0 && head->data + head->capacity <= size;
 */
bool header_is_file(const struct format_head *head, uint64_t size);
