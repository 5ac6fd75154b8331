//! Some features of every tile of a block, lent to be written while somebody else writes the others.

use super::block::Block;
use std::marker::PhantomData;
use std::ops::Range;

/// Numbers of a block to be written: of every tile equally many, side by side, equally far apart. Of a block of one tile that is a
/// slice; of more it is what slices cannot say once features are parted, since every tile has some of each part.
///
/// ```
/// use byhand_tensor::{Block, Tiles};
/// // Two single samples of three features.
/// let mut numbers = [1, 2, 3, 4, 5, 6];
/// let (first, others) = Tiles::new(Block::single(2), &mut numbers).split_at(1);
/// assert_eq!((first.width(), others.width()), (1, 2));
/// // Of one tile, or undivided, it is a slice.
/// let mut numbers = [1, 2, 3];
/// let (_, others) = Tiles::new(Block::single(1), &mut numbers).split_at(1);
/// assert_eq!(others.into_slice(), [2, 3]);
/// ```
#[derive(Debug)]
pub struct Tiles<'a, T> {
    pub(crate) start: *mut T,
    tiles: usize,
    width: usize,
    /// Numbers from the first of one tile to the first of the next.
    stride: usize,
    numbers: PhantomData<&'a mut [T]>,
}

// SAFETY: it is a mutable borrow of numbers that no other part has.
unsafe impl<T: Send> Send for Tiles<'_, T> {}

impl<'a, T> Tiles<'a, T> {
    /// All numbers of a block.
    ///
    /// # Panics
    /// If there are not equally many of each tile.
    #[track_caller]
    pub fn new(block: Block, numbers: &'a mut [T]) -> Self {
        let tiles = block.tiles();
        let width = numbers.len() / tiles.max(1);
        assert_eq!(width * tiles, numbers.len(), "numbers of {block:?}");
        Self { start: numbers.as_mut_ptr(), tiles, width, stride: width, numbers: PhantomData }
    }

    /// Numbers of each tile.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The first `mid` numbers of every tile, and the others.
    ///
    /// # Panics
    /// If there are not so many.
    #[track_caller]
    pub fn split_at(self, mid: usize) -> (Self, Self) {
        let Self { start, tiles, width, stride, numbers } = self;
        assert!(mid <= width, "the first {mid} of {width} numbers of a tile");
        let others = Self { start: start.wrapping_add(mid), tiles, width: width - mid, stride, numbers };
        (Self { start, tiles, width: mid, stride, numbers }, others)
    }

    /// These numbers of every tile.
    ///
    /// # Panics
    /// If there are not so many.
    #[track_caller]
    pub fn part(self, range: Range<usize>) -> Self {
        self.split_at(range.end).0.split_at(range.start).1
    }

    /// The same for a while.
    pub fn reborrow(&mut self) -> Tiles<'_, T> {
        let Self { start, tiles, width, stride, .. } = *self;
        Tiles { start, tiles, width, stride, numbers: PhantomData }
    }

    /// All of it, where that is one slice.
    ///
    /// # Panics
    /// If it is a part of several tiles.
    #[track_caller]
    pub fn into_slice(self) -> &'a mut [T] {
        let Self { start, tiles, width, stride, .. } = self;
        assert!(tiles <= 1 || width == stride, "{width} of {stride} numbers of {tiles} tiles are no slice");
        // SAFETY: tiles that follow each other are `tiles * width` numbers of the slice that was lent, and no other part has them.
        unsafe { std::slice::from_raw_parts_mut(start, tiles * width) }
    }

    /// The numbers of each tile.
    pub fn slices(self) -> impl ExactSizeIterator<Item = &'a mut [T]> {
        let Self { start, tiles, width, stride, .. } = self;
        // SAFETY: the numbers of a tile are in the slice that was lent, and neither another tile nor another part has them.
        (0..tiles).map(move |t| unsafe { std::slice::from_raw_parts_mut(start.add(t * stride), width) })
    }

    /// Features from one tile to the next, where this is `features` features of every tile of `block`.
    ///
    /// # Panics
    /// If it is not.
    #[inline]
    #[track_caller]
    pub(crate) fn feature_stride(&self, block: Block, features: usize) -> usize {
        let Self { tiles, width, stride, .. } = *self;
        let fits = tiles == block.tiles() && (tiles == 0 || width == features * block.lanes());
        assert!(
            fits && stride % block.lanes() == 0,
            "{tiles} tiles of {width} numbers for {features} features of {block:?}"
        );
        stride / block.lanes()
    }
}
