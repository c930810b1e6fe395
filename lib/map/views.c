/* views.c - the live views of a map
 *
 * SPDX-License-Identifier: MIT
 */
#include "map/views.h"

#include <stdlib.h>

void views_add(struct ammap *map, struct view *view, uint64_t begin, uint64_t end)
{
        *view = (struct view){ .next = map->view, .link = &map->view, .begin = begin, .end = end };
        if (map->view)
                map->view->link = &view->next;
        map->view = view;
        atomic_fetch_add(&map->views, 1);
}

void views_drop(struct ammap *map, struct view *view)
{
        *view->link = view->next;
        if (view->next)
                view->next->link = view->link;
        free(view);
        atomic_fetch_sub(&map->views, 1);
}

bool views_reach(const struct ammap *map, uint64_t offset)
{
        const struct view *view = map->view;

        while (view && view->end <= offset)
                view = view->next;
        return view;
}
