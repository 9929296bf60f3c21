//! Shared memory: a mapping of a descriptor, unmapped on drop.
//!
//! What other processes or the kernel may write is reached through atomics only; plain bytes are handed
//! out by the modules that know when nobody writes them.
#![expect(unsafe_code, reason = "mmap and the views into it")]

use std::io;
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// A readable and writable shared mapping.
#[derive(Debug)]
pub struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping is owned memory without thread affinity; shared parts are reached by atomics.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Maps the first `len` bytes of `fd`, shared. Errors are those of mmap(2).
    pub fn new(fd: impl AsFd, len: usize) -> io::Result<Self> {
        let flags = MapFlags::SHARED;
        // SAFETY: a fresh address chosen by the kernel, so no existing memory is affected.
        let base =
            unsafe { mmap(std::ptr::null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, flags, fd, 0) }?;
        let base = NonNull::new(base.cast()).ok_or_else(|| io::Error::other("mmap returned null"))?;
        Ok(Self { base, len })
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is mapped.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The 32-bit word at `offset`. Panics if it is misaligned or out of range.
    pub fn atomic_u32(&self, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4) && offset + 4 <= self.len, "word at {offset} of {}", self.len);
        // SAFETY: in range by the assertion.
        let word = unsafe { self.base.add(offset) };
        // SAFETY: aligned by the assertion and page-aligned base; lives as long as `self`; only accessed atomically.
        unsafe { AtomicU32::from_ptr(word.as_ptr().cast()) }
    }

    /// Asks the processor for the cache line at `offset`, to be read soon. A hint where there is such, else nothing.
    pub fn prefetch(&self, offset: usize) {
        #[cfg(target_arch = "x86_64")]
        if offset < self.len {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            // SAFETY: in range by the condition.
            let line = unsafe { self.base.add(offset) };
            // SAFETY: it reads nothing into a register and has no effect on memory.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
        }
    }

    /// The whole mapping as 64-bit counters.
    pub fn counters(&self) -> &[AtomicU64] {
        // SAFETY: the base is page-aligned, the length is the mapping's, every bit pattern is valid, and all
        // access to a mapping used for counters goes through these atomics.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr().cast(), self.len / 8) }
    }

    /// The bytes at `offset`. Panics if they are out of range.
    ///
    /// # Safety
    /// Nobody, the kernel and other processes included, writes these bytes while the slice lives.
    pub unsafe fn bytes(&self, offset: usize, len: usize) -> &[u8] {
        assert!(offset <= self.len && len <= self.len - offset, "{len} bytes at {offset} of {}", self.len);
        // SAFETY: in range by the assertion.
        let start = unsafe { self.base.add(offset) };
        // SAFETY: in range, initialised by the kernel, and not written meanwhile as the caller promises.
        unsafe { std::slice::from_raw_parts(start.as_ptr(), len) }
    }

    /// The bytes at `offset`, to be written. Panics if they are out of range.
    ///
    /// # Safety
    /// Nobody else, the kernel and other processes included, reads or writes these bytes while the slice lives.
    pub unsafe fn bytes_mut(&mut self, offset: usize, len: usize) -> &mut [u8] {
        assert!(offset <= self.len && len <= self.len - offset, "{len} bytes at {offset} of {}", self.len);
        // SAFETY: in range by the assertion.
        let start = unsafe { self.base.add(offset) };
        // SAFETY: in range, initialised by the kernel, and ours alone meanwhile as the caller promises.
        unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), len) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: base and len are those of the mapping made in `new`; no reference outlives `self`.
        let unmapped = unsafe { munmap(self.base.as_ptr().cast(), self.len) };
        debug_assert!(unmapped.is_ok(), "munmap of an own mapping");
    }
}
