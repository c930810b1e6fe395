// lib.rs - the mmap-io way: memmap2's MmapMut in parking_lot's RwLock
//
// SPDX-License-Identifier: MIT
//
// Does what AnonymousMmap of mmap-io 1.0 does, in the same order: the range
// check first, then the lock, then the copy.  There a slice is a guard that is
// returned by value; here the guard's one pointer lies in the caller's
// structure, so nothing is allocated for it either.

use std::mem;
use std::os::raw::{c_int, c_void};
use std::slice;

use memmap2::MmapMut;
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

const ERR_BOUNDS: c_int = -10003;
const ENOMEM: c_int = 12;

pub struct Map {
    lock: RwLock<MmapMut>,
    len: u64,
}

/// How ammap_slice_t and ammap_mut_slice_t begin.
#[repr(C)]
pub struct Slice {
    data: *const u8,
    length: usize,
    lock: *const RwLock<MmapMut>,
}

#[inline]
fn range(offset: u64, length: u64, total: u64) -> Option<(usize, usize)> {
    let end = offset.saturating_add(length);
    if end > total || offset > total {
        return None;
    }
    Some((offset as usize, end as usize))
}

#[no_mangle]
pub unsafe extern "C" fn ammap_new(map: *mut *mut Map, size: u64) -> c_int {
    match MmapMut::map_anon(size as usize) {
        Ok(bytes) => {
            *map = Box::into_raw(Box::new(Map { lock: RwLock::new(bytes), len: size }));
            0
        }
        Err(error) => -error.raw_os_error().unwrap_or(ENOMEM),
    }
}

#[no_mangle]
pub unsafe extern "C" fn ammap_free(map: *mut Map) -> c_int {
    drop(Box::from_raw(map));
    0
}

#[no_mangle]
pub unsafe extern "C" fn ammap_as_mut_ptr(map: *const Map) -> *mut c_void {
    (*map).lock.write().as_mut_ptr() as *mut c_void
}

#[no_mangle]
pub unsafe extern "C" fn ammap_read_into(map: *const Map, offset: u64, buffer: *mut u8, length: usize) -> c_int {
    let map = &*map;
    let (start, end) = match range(offset, length as u64, map.len) {
        Some(range) => range,
        None => return ERR_BOUNDS,
    };
    let guard = map.lock.read();
    slice::from_raw_parts_mut(buffer, length).copy_from_slice(&guard[start..end]);
    0
}

#[no_mangle]
pub unsafe extern "C" fn ammap_update_region(map: *const Map, offset: u64, data: *const u8, length: usize) -> c_int {
    let map = &*map;
    let (start, end) = match range(offset, length as u64, map.len) {
        Some(range) => range,
        None => return ERR_BOUNDS,
    };
    let mut guard = map.lock.write();
    guard[start..end].copy_from_slice(slice::from_raw_parts(data, length));
    0
}

#[no_mangle]
pub unsafe extern "C" fn ammap_as_slice(map: *const Map, offset: u64, length: u64, slice: *mut Slice) -> c_int {
    let map = &*map;
    let (start, end) = match range(offset, length, map.len) {
        Some(range) => range,
        None => return ERR_BOUNDS,
    };
    let guard = map.lock.read();
    (*slice).data = guard[start..end].as_ptr();
    (*slice).length = end - start;
    (*slice).lock = RwLockReadGuard::rwlock(&guard);
    mem::forget(guard);
    0
}

#[no_mangle]
pub unsafe extern "C" fn ammap_slice_release(slice: *mut Slice) -> c_int {
    (*(*slice).lock).force_unlock_read();
    0
}

#[no_mangle]
pub unsafe extern "C" fn ammap_as_mut_slice(map: *const Map, offset: u64, length: u64, slice: *mut Slice) -> c_int {
    let map = &*map;
    let (start, end) = match range(offset, length, map.len) {
        Some(range) => range,
        None => return ERR_BOUNDS,
    };
    let mut guard = map.lock.write();
    (*slice).data = guard[start..end].as_mut_ptr();
    (*slice).length = end - start;
    (*slice).lock = RwLockWriteGuard::rwlock(&guard);
    mem::forget(guard);
    0
}

#[no_mangle]
pub unsafe extern "C" fn ammap_mut_slice_release(slice: *mut Slice) -> c_int {
    (*(*slice).lock).force_unlock_write();
    0
}
