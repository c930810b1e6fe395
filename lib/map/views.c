/* views.c - the live views of a map
 *
 * SPDX-License-Identifier: MIT
 */
#include "map/views.h"

#include <stdlib.h>

void views_add(struct ammap *map, struct view *view, uint64_t begin, uint64_t end)
{
        struct views *views = map->joint_views;

        *view = (struct view){ .next = views->first, .link = &views->first, .map = map, .begin = begin, .end = end };
        atomic_thread_fence(memory_order_release); /* a child that finds it on the list finds it whole */
        if (views->first)
                views->first->link = &view->next;
        views->first = view;
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
        const struct view *view = map->joint_views->first;

        while (view && view->end <= offset)
                view = view->next;
        return view;
}
