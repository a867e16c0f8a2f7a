//! Settings of the C library's allocator, so that memory given back can be used again.

/// Bytes from which on a block gets pages of its own; the most that can be set. The default is
/// 128 KiB: buffers of pages and packets would be mapped, cleared and unmapped again and again
/// (half of the time at small limits). Lists of files, tens of MiB, are to go where packets were.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const OWN_PAGES: libc::c_int = 32 << 20;

/// Bytes at the end of the heap that may stay unused.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const UNUSED: libc::c_int = 8 << 20;

/// Lets all threads share one heap.
///
/// By default each thread gets heaps of its own and keeps what is freed there: up to twice of what
/// is in use, and a memory limit could not be kept. Threads allocate seldom here, for buffers are
/// recycled. Call it before there are threads.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(
    unsafe_code,
    reason = "mallopt has no safe form; it only changes numbers inside the allocator"
)]
pub fn share_heap() {
    for (what, value) in [
        (libc::M_ARENA_MAX, 1),
        (libc::M_MMAP_THRESHOLD, OWN_PAGES),
        (libc::M_TRIM_THRESHOLD, UNUSED),
    ] {
        // Where it is refused the defaults stay, and the limit is kept less well.
        let _ = unsafe { libc::mallopt(what, value) };
    }
}

/// Gives back to the system what lies unused within the heap.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(
    unsafe_code,
    reason = "malloc_trim has no safe form; it only gives unused pages back"
)]
pub fn give_back() {
    let _ = unsafe { libc::malloc_trim(0) };
}

/// Other C libraries do so by themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn give_back() {}

/// Other C libraries have one heap.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn share_heap() {}
