/* import.c - what others send: forged memory, imported and used
 *
 * SPDX-License-Identifier: MIT
 */
#include "forged.h"

#include <sys/mman.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
        static const struct {
                unsigned ours;
                int system;
        } seals[] = { { AMMAP_SEAL_SHRINK, F_SEAL_SHRINK },
                      { AMMAP_SEAL_GROW, F_SEAL_GROW },
                      { AMMAP_SEAL_WRITE, F_SEAL_WRITE },
                      { AMMAP_SEAL_SEAL, F_SEAL_SEAL } };
        struct input input = { bytes, bytes + size };
        ammap_t *map = (ammap_t *)&input;
        struct forged forged;
        int fd, add = 0, rc;
        char path[64];

        name_file(path, 0);
        make_genuine(path);
        take_forged(&input, &forged);
        fd = memfd_create("forged", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        put_forged(&forged, fd);
        for (size_t i = 0; i < COUNT_OF(seals); i++)
                if (forged.seals & seals[i].ours)
                        add |= seals[i].system;
        MUST(fcntl(fd, F_ADD_SEALS, add) == 0, "seals");
        rc = ammap_import(&map, fd, &forged.options);
        check_answer(&forged, true, rc, map);
        if (rc == 0)
                use_forged(&forged, map, &input);
        close(fd);
        return 0;
}
