//! Tells the processor which bytes will be read soon.

/// Bytes from which on the processor sees by itself that text is read in order.
#[cfg(target_arch = "x86_64")]
const MOST: usize = 1024;
#[cfg(target_arch = "x86_64")]
const CACHE_LINE: usize = 64;

/// Has `bytes` brought into the cache; the caller goes on at once.
#[cfg(target_arch = "x86_64")]
#[inline]
#[allow(
    unsafe_code,
    reason = "prefetching has no safe form; it reads nothing and can't fail"
)]
pub(super) fn fetch_ahead(bytes: &[u8]) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    for line in bytes.get(..MOST).unwrap_or(bytes).chunks(CACHE_LINE) {
        // SAFETY: the pointer is that of a slice; and the instruction takes any address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
}

/// Has item number `at` of a list brought into the cache.
#[cfg(target_arch = "x86_64")]
#[inline]
#[allow(
    unsafe_code,
    reason = "prefetching has no safe form; it reads nothing and can't fail"
)]
pub(super) fn fetch_item<T>(items: &[T], at: usize) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: the instruction takes any address; the pointer is never followed.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(items.as_ptr().wrapping_add(at).cast()) };
}

/// Other processors are not told; there is no stable way.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
pub(super) fn fetch_ahead(_: &[u8]) {}

/// Other processors are not told; there is no stable way.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
pub(super) fn fetch_item<T>(_: &[T], _: usize) {}
