/* wrapped.h - the headers of the calls that are wrapped, and their names as the linker knows them
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef AMMAP_TESTS_WRAPPED_H
#define AMMAP_TESTS_WRAPPED_H

#include "support.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/vfs.h>

/* Names that musl has for the ones without the number: here they are functions, which nobody calls. */
#undef open64
#undef mmap64
#undef stat64
#undef fstat64
#undef fstatfs64
#undef ftruncate64
#undef fallocate64
#undef lseek64
#undef pread64
#undef pwrite64
#undef fcntl64
#undef getrlimit64

#endif
