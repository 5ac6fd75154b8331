//! Memory that numbers are computed in.

use crate::number::Number;
use std::ops::{Deref, DerefMut};

/// A slice of a fixed length that begins at a border of 64 bytes: a vector of sixteen numbers whose place is a multiple of sixteen
/// then lies in one cache line, where elsewhere each load and store of one would touch two. (A large `Vec` never begins there:
/// allocators put 16 bytes of their own before it.)
///
/// ```
/// let buffer = byhand_tensor::Buffer::<f32>::zeros(100);
/// assert_eq!((buffer.len(), buffer.as_ptr() as usize % 64), (100, 0));
/// ```
#[derive(Debug, Default)]
pub struct Buffer<T> {
    numbers: Vec<T>,
    start: usize,
    len: usize,
}

impl<T: Number> Buffer<T> {
    const ALIGN: usize = 64;

    /// `len` zeros.
    pub fn zeros(len: usize) -> Self {
        let numbers = vec![T::ZERO; len.saturating_add(Self::ALIGN / size_of::<T>())];
        // usize::MAX means that the border cannot be found: slower, never wrong.
        let start =
            Some(numbers.as_ptr().align_offset(Self::ALIGN)).filter(|&start| start + len <= numbers.len());
        Self { start: start.unwrap_or(0), numbers, len }
    }
}

impl<T: Number> From<&[T]> for Buffer<T> {
    fn from(numbers: &[T]) -> Self {
        let mut buffer = Self::zeros(numbers.len());
        buffer.copy_from_slice(numbers);
        buffer
    }
}

impl<T: Number> Clone for Buffer<T> {
    fn clone(&self) -> Self {
        Self::from(&**self)
    }
}

impl<T> Deref for Buffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.numbers[self.start..][..self.len]
    }
}

impl<T> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.numbers[self.start..][..self.len]
    }
}

impl<T: PartialEq> PartialEq for Buffer<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}
