/* header.c - the header of a map that other processes have
 *
 * SPDX-License-Identifier: MIT
 */
#include "map/header.h"

#include "map/options.h"
#include "memory/region.h"
#include "os/os.h"

#include <string.h>

#define CAPACITY_MAX (UINT64_C(1) << 47)

void header_fill(struct format_head *head, uint64_t size, const ammap_options_t *options, uint32_t slots)
{
        memset(head, 0, sizeof *head);
        memcpy(head->magic, FORMAT_MAGIC, sizeof head->magic);
        head->version = FORMAT_VERSION;
        head->order = FORMAT_ORDER;
        head->lock_word = slots ? (uint32_t)os_slot_word() : 0;
        head->page = (uint32_t)os_page_size();
        head->capacity = options->capacity;
        head->lanes = (uint32_t)options->lanes;
        head->slots = slots;
        head->data = options->huge && options->capacity >= os_huge_size()
                             ? format_data_huge(head->lanes, slots, head->page)
                             : format_data(head->lanes, slots, head->page);
        head->pid_space = slots ? os_pid_space() : 0;
        os_boot(head->boot);
        atomic_init(&head->length, size);
}

static bool is_known(const struct format_head *head)
{
        return memcmp(head->magic, FORMAT_MAGIC, sizeof head->magic) == 0 && head->version == FORMAT_VERSION &&
               head->order == FORMAT_ORDER;
}

void header_options(const struct format_head *head, ammap_options_t *options)
{
        options->share = AMMAP_SHARED;
        options->capacity = head->capacity;
        options->lanes = head->lanes;
}

bool header_is_shared(const struct format_head *head, uint64_t size)
{
        uint64_t length = atomic_load(&head->length);
        ammap_options_t options = { 0 };

        if (!is_known(head) || head->lock_word != os_slot_word() || head->page != os_page_size() || head->lanes == 0 ||
            head->capacity == 0 || head->slots == 0 || head->slots > FORMAT_SLOTS_MAX)
                return false;
        header_options(head, &options);
        if (options_check(length, &options) < 0)
                return false;
        return format_data_is_right(head) && size >= head->data + region_pages(length);
}

/* The page may be another machine's, if it is one that ours fit into. */
bool header_is_file(const struct format_head *head, uint64_t size)
{
        uint64_t length = atomic_load(&head->length);

        return is_known(head) && head->lock_word == 0 && head->slots == 0 && head->page >= os_page_size() &&
               (head->page & (head->page - 1)) == 0 && head->lanes > 0 && head->lanes <= AMMAP_LANES_MAX &&
               head->lanes <= head->capacity && head->capacity <= CAPACITY_MAX && length > 0 &&
               length <= head->capacity && format_data_is_right(head) && size >= head->data + head->capacity;
}
