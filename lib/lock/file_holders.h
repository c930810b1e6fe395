/* file_holders.h - who holds which lanes of a map in a file, for one who asks
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef FILE_HOLDERS_H
#define FILE_HOLDERS_H

#include "lock/file_lock.h"
#include "lock/holders.h"

/* Add them: those of all lanes, but of those whose writers died those in the lanes that are
 * asked for, and in those beside them. */
void file_holders(struct file *file, struct lane_range lanes, struct holders *list);

#endif /* FILE_HOLDERS_H */
