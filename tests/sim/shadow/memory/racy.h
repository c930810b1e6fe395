/* racy.h - the library's racy.h, without its assembly
 *
 * SPDX-License-Identifier: MIT
 *
 * A load in assembly is no call, so no scheduler sees it.  The library's own file has the same
 * copy in relaxed atomics, for other processors: that is taken here.
 */
#include "memory/word.h"
#include "os/os.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#pragma push_macro("__x86_64__")
#pragma push_macro("__aarch64__")
#undef __x86_64__
#undef __aarch64__
#include_next "memory/racy.h"
#pragma pop_macro("__aarch64__")
#pragma pop_macro("__x86_64__")
