/* client.c - what a program does with the installed library, as C and as C++
 *
 * SPDX-License-Identifier: MIT
 */
#include <ammap.h>
#include <string.h>

int main(void)
{
        ammap_t *map;
        char text[6] = "";
        ammap_slice_t slice;
        ammap_u64_view_t view;

        if (strcmp(ammap_version(), AMMAP_VERSION) != 0 || ammap_new(&map, 4096) != AMMAP_OK)
                return 1;
        if (ammap_update_region(map, 8, "hello", 5) != AMMAP_OK || ammap_read_into(map, 8, text, 5) != AMMAP_OK)
                return 2;
        if (ammap_as_slice(map, 8, 5, &slice) != AMMAP_OK || memcmp(slice.data, text, 5) != 0)
                return 3;
        if (ammap_free(map) != AMMAP_ERR_BUSY)
                return 4;
        ammap_slice_release(&slice);
        /* std::atomic and _Atomic have the operators in common. */
        if (ammap_atomic_u64(map, 0, &view) != AMMAP_OK || ++*view.value != 1)
                return 5;
        ammap_u64_view_release(&view);
        return ammap_free(map) == AMMAP_OK ? 0 : 6;
}
