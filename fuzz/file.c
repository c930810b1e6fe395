/* file.c - what others leave: forged files, opened and used
 *
 * SPDX-License-Identifier: MIT
 */
#include "forged.h"

/* A file with the magic and without the version was left by one who died while he made it, and is
 * made anew, where a size says how long; so is one that is empty. */
static bool is_unmade(const struct forged *forged)
{
        if (forged->size == 0)
                return true;
        return forged->size >= 8 && memcmp(forged->bytes, "ammap\0\r\n", 8) == 0 &&
               (forged->size < 12 || number_at(forged->bytes, 8, 4) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
        struct input input = { bytes, bytes + size };
        ammap_t *map = (ammap_t *)&input;
        struct forged forged;
        uint64_t asked;
        char path[64];
        int fd, rc;

        name_file(path, 0);
        make_genuine(path);
        take_forged(&input, &forged);
        asked = take_byte(&input) % 4 ? 0 : 1 + take_below(&input, 20000);
        fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        put_forged(&forged, fd);
        if (asked && is_unmade(&forged) && !forged.options.read_only) {
                /* Of whatever lay there nothing is left. */
                rc = ammap_open(&map, path, asked, &forged.options);
                must_be_code(rc, "open");
                if (rc == 0 && forged.options.share != AMMAP_RAW)
                        MUST(ammap_len(map) == asked, "a new map of %llu bytes", (unsigned long long)ammap_len(map));
                forged.lock_is_damaged = false;
                if (rc == 0)
                        forged.size = (uint64_t)lseek(fd, 0, SEEK_END);
        } else if (asked && (forged.options.capacity || forged.options.lanes > asked)) {
                rc = ammap_open(&map, path, asked, &forged.options);
                must_be_code(rc, "open");
        } else {
                rc = ammap_open(&map, path, asked, &forged.options);
                check_answer(&forged, false, rc, map);
        }
        if (rc == 0)
                use_forged(&forged, map, &input);
        close(fd);
        unlink(path);
        return 0;
}
