/* header.c - the header of a map that other processes have
 *
 * SPDX-License-Identifier: MIT
 */
#include "map/header.h"

#include "os/os.h"

#include <string.h>

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
        head->data = format_data(head->lanes, slots, head->page);
        head->pid_space = slots ? os_pid_space() : 0;
        os_boot(head->boot);
        atomic_init(&head->length, size);
}

bool header_is_known(const struct format_head *head)
{
        return memcmp(head->magic, FORMAT_MAGIC, sizeof head->magic) == 0 && head->version == FORMAT_VERSION &&
               head->order == FORMAT_ORDER;
}
