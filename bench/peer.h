/* peer.h - the call boundary that all who are measured stand behind
 *
 * SPDX-License-Identifier: MIT
 *
 * A peer is a shared library that exports a part of libammap's own interface
 * under the very same names.  So libammap needs no adapter that would be
 * charged to it, and none of the others has a shorter way: each operation is
 * one call through a pointer that dlsym gave.
 */
#ifndef BENCH_PEER_H
#define BENCH_PEER_H

#include <ammap.h>

#define PEERS_MAX 8

struct peer {
        const char *name;
        int (*new_map)(ammap_t **map, uint64_t size);
        int (*free_map)(ammap_t *map);
        void *(*address)(ammap_t *map);
        int (*read_into)(ammap_t *map, uint64_t offset, void *buffer, size_t length);
        int (*update)(ammap_t *map, uint64_t offset, const void *data, size_t length);
        int (*take)(ammap_t *map, uint64_t offset, uint64_t length, ammap_slice_t *slice);
        int (*release)(ammap_slice_t *slice);
        int (*take_mut)(ammap_t *map, uint64_t offset, uint64_t length, ammap_mut_slice_t *slice);
        int (*release_mut)(ammap_mut_slice_t *slice);
        /* NULL where the peer has no such thing. */
        int (*new_with)(ammap_t **map, uint64_t size, const ammap_options_t *options);
        int (*try_read)(ammap_t *map, uint64_t offset, void *buffer, size_t length);
        int (*try_update)(ammap_t *map, uint64_t offset, const void *data, size_t length);
        int (*downgrade)(ammap_mut_slice_t *from, ammap_slice_t *to);
        int (*open_map)(ammap_t **map, const char *path, uint64_t size, const ammap_options_t *options);
        int (*wait_peer)(ammap_t *map, uint64_t offset, uint32_t expected, int64_t timeout_ns, int32_t pid);
        int (*export_map)(ammap_t *map, unsigned rights, int *fd);
        int (*import_map)(ammap_t **map, int fd, const ammap_options_t *options);
        int (*view)(ammap_t *map, uint64_t offset, size_t count, ammap_u32_view_t *view);
        void (*release_view)(ammap_u32_view_t *view);
        int (*wait)(ammap_t *map, uint64_t offset, uint32_t expected, int64_t timeout_ns);
        int (*wake)(ammap_t *map, uint64_t offset, int count);
        const char *(*version)(void);
        bool threads;   /* it is for threads, */
        bool processes; /* it is for processes */
};

/* Load NAME=PATH.  Exits with a message where that fails. */
void peer_load(struct peer *peer, char *name_and_path);

/* Whether the peer is for such work. */
bool peer_can(const struct peer *peer, bool processes);

/* A map of the peer's, or NULL where the peer cannot make such a one; the
 * options may be NULL. */
ammap_t *peer_new(const struct peer *peer, uint64_t size, const ammap_options_t *options);

/* The same for other processes, too, that have a descriptor by fork: fd. */
ammap_t *peer_share(const struct peer *peer, uint64_t size, int *fd);

/* The map behind fd, at an address that is different for each n, from 0, where
 * processes do this that were just forked by the same one. */
ammap_t *peer_import(const struct peer *peer, int fd, int n);

void peer_free(const struct peer *peer, ammap_t *map);

#endif
