//! Memory for the bytes of pieces: blocks of one size, chained.
//!
//! A piece is known by its first block. All of it is taken from one fixed supply, so that what strangers send
//! cannot take more, and memory is touched only as it is first used.

/// Bytes in a block. A piece of an Ethernet frame (1,480 or 1,448 bytes) fills six with little waste, and the
/// smallest takes one.
pub(super) const BLOCK_BYTES: usize = 256;

/// Bytes of memory a block takes.
pub(super) const BLOCK_COST: usize = BLOCK_BYTES + size_of::<Link>();

/// Stands for no block.
pub(super) const NONE: u16 = u16::MAX;

/// What is known of a block beside its bytes; place and length are kept in a piece's first.
#[derive(Debug, Clone, Copy)]
struct Link {
    /// The next block of the same piece, or of the free ones.
    next: u16,
    /// First block of the next piece of the same datagram.
    following: u16,
    offset: u16,
    len: u16,
}

/// The supply.
#[derive(Debug)]
pub(super) struct Blocks {
    bytes: Vec<[u8; BLOCK_BYTES]>,
    links: Vec<Link>,
    /// Used before and free now.
    free: u16,
    available: usize,
}

/// Blocks a piece of so many bytes takes.
pub(super) const fn blocks_for(len: usize) -> usize {
    len.div_ceil(BLOCK_BYTES)
}

impl Blocks {
    /// A supply of `count` blocks, fewer than [`NONE`].
    pub(super) fn new(count: usize) -> Self {
        let (bytes, links) = (Vec::with_capacity(count), Vec::with_capacity(count));
        Self { bytes, links, free: NONE, available: count }
    }

    /// Places for blocks and for what is known of them.
    #[cfg(test)]
    pub(super) fn capacities(&self) -> (usize, usize) {
        (self.bytes.capacity(), self.links.capacity())
    }

    /// Free blocks.
    pub(super) fn available(&self) -> usize {
        self.available
    }

    /// Keeps a piece; `None`, and nothing kept, where blocks do not suffice or it is empty.
    pub(super) fn keep(&mut self, offset: u16, piece: &[u8]) -> Option<u16> {
        let len = u16::try_from(piece.len()).ok().filter(|&len| len > 0)?;
        if blocks_for(piece.len()) > self.available {
            return None;
        }
        // Last block first, so that each knows its next.
        let mut first = NONE;
        for part in piece.chunks(BLOCK_BYTES).rev() {
            first = self.take(Link { next: first, following: NONE, offset, len });
            self.bytes[usize::from(first)][..part.len()].copy_from_slice(part);
        }
        Some(first)
    }

    /// Gives back a piece; answers the piece that followed it.
    pub(super) fn release(&mut self, piece: u16) -> u16 {
        let following = self.links[usize::from(piece)].following;
        let mut block = piece;
        while block != NONE {
            let link = &mut self.links[usize::from(block)];
            let next = link.next;
            link.next = self.free;
            self.free = block;
            self.available += 1;
            block = next;
        }
        following
    }

    /// Where in its datagram a piece begins and ends, in bytes.
    pub(super) fn range(&self, piece: u16) -> (u32, u32) {
        let link = &self.links[usize::from(piece)];
        (link.offset.into(), u32::from(link.offset) + u32::from(link.len))
    }

    /// The piece that follows another one.
    pub(super) fn following(&self, piece: u16) -> u16 {
        self.links[usize::from(piece)].following
    }

    /// Puts a piece behind another one.
    pub(super) fn set_following(&mut self, piece: u16, following: u16) {
        self.links[usize::from(piece)].following = following;
    }

    /// Whether a piece has just these bytes.
    pub(super) fn holds(&self, piece: u16, bytes: &[u8]) -> bool {
        let len = usize::from(self.links[usize::from(piece)].len);
        let mut block = piece;
        len == bytes.len()
            && bytes.chunks(BLOCK_BYTES).all(|part| {
                let at = usize::from(block);
                block = self.links[at].next;
                self.bytes[at].starts_with(part)
            })
    }

    /// Writes a piece to the start of `into`, which has room for it.
    pub(super) fn copy(&self, piece: u16, into: &mut [u8]) {
        let len = usize::from(self.links[usize::from(piece)].len);
        let mut block = piece;
        for part in into[..len].chunks_mut(BLOCK_BYTES) {
            let at = usize::from(block);
            part.copy_from_slice(&self.bytes[at][..part.len()]);
            block = self.links[at].next;
        }
    }

    /// A block, where one is known to be available.
    fn take(&mut self, link: Link) -> u16 {
        self.available -= 1;
        if self.free == NONE {
            // Fewer than NONE were ever available.
            let block = self.links.len() as u16;
            self.links.push(link);
            self.bytes.push([0; BLOCK_BYTES]);
            return block;
        }
        let block = self.free;
        self.free = self.links[usize::from(block)].next;
        self.links[usize::from(block)] = link;
        block
    }
}
