//! The passes of a dense layer.

use crate::check;
use crate::dispatch::Scalar;
use crate::geometry::Dense;
use crate::kernels::dense::{self, Apply, BackwardInput, Forward, Keep, Kept};
use crate::layout::{Block, Input, LANES, Tiles};
use std::ops::Range;

/// The name in messages.
const NAME: &str = "dense";

impl Dense {
    /// Scratch that each of the passes may use. What is in it before does not matter.
    pub fn scratch_len(&self, block: Block) -> usize {
        // The operands of the parameter gradient, or what the other passes pack.
        let passes = dense::forward_len(self, block).max(dense::backward_input_len(self, block));
        self.kept_len(block, false).max(passes)
    }

    /// `y = W x + b`: `[outputs x 16] = [outputs x inputs] * [inputs x 16]` for each tile. Overwrites `y`.
    ///
    /// # Panics
    /// If something has not the length its shape says, or rows are given that may not be.
    #[track_caller]
    pub fn forward<T: Scalar>(
        &self,
        block: Block,
        w: &[T],
        b: Option<&[T]>,
        x: Input<'_, T>,
        y: Tiles<'_, T>,
        scratch: &mut [T],
    ) {
        self.check_weight(w.len());
        self.check_input(block, x);
        if let Input::Rows(_) = x {
            check::scratch(NAME, scratch.len(), dense::forward_rows_len(self, block));
        }
        check::scratch(NAME, scratch.len(), dense::forward_len(self, block));
        if let Some(b) = b {
            check::length(NAME, "the bias", b.len(), self.outputs);
        }
        let y_features = y.feature_stride(block, self.outputs);
        if block.is_empty() {
            return;
        }
        T::dense_forward(Forward { dense: *self, block, w, b, x, y, y_features, scratch });
    }

    /// `dx = W^T dy`: `[inputs x 16] = [inputs x outputs] * [outputs x 16]` for each tile, or the rows `inputs` of it, which are
    /// then all that `dx` holds. Overwrites `dx`.
    ///
    /// # Panics
    /// If there are not such inputs, or something has not the length its shape says.
    #[track_caller]
    pub fn backward_input<T: Scalar>(
        &self,
        inputs: Range<usize>,
        block: Block,
        w: &[T],
        dy: &[T],
        dx: Tiles<'_, T>,
        scratch: &mut [T],
    ) {
        check::range(NAME, "inputs", &inputs, self.inputs);
        check::features(NAME, "dy", dy.len(), block, self.outputs);
        self.check_weight(w.len());
        check::scratch(NAME, scratch.len(), dense::backward_input_len(self, block));
        let dx_features = dx.feature_stride(block, inputs.len());
        if block.is_empty() || inputs.is_empty() {
            return;
        }
        T::dense_backward_input(BackwardInput {
            dense: *self,
            inputs,
            block,
            w,
            dy,
            dx,
            dx_features,
            scratch,
        });
    }

    /// `dW += dy x^T`: `[outputs x inputs] += [outputs x samples] * [samples x inputs]`, and `db += dy 1`, or the rows `outputs` of both,
    /// which are then all that they hold. Adds to both.
    ///
    /// # Panics
    /// If there are not such outputs, a slice has not the length its shape says, or rows are given that may not be.
    #[track_caller]
    pub fn backward_params<T: Scalar>(
        &self,
        outputs: Range<usize>,
        block: Block,
        x: Input<'_, T>,
        dy: &[T],
        dw: &mut [T],
        db: Option<&mut [T]>,
        scratch: &mut [T],
    ) {
        let kept_len = self.kept_len(block, matches!(x, Input::Rows(_)));
        check::scratch(NAME, scratch.len(), kept_len);
        let kept = &mut scratch[..kept_len];
        self.keep(block, x, dy, 0, kept);
        let kept = Kept::new(block, block, kept);
        let kept = match x {
            Input::Block(_) => kept,
            Input::Rows(rows) => kept.with_rows(rows),
        };
        self.apply(outputs, &[kept], None, dw, db);
    }

    /// Numbers that [`keep`](Self::keep) fills for a block, or for several that make up such a one, if its x are rows or not.
    pub fn kept_len(&self, block: Block, of_rows: bool) -> usize {
        block.len(self.kept_features(of_rows))
    }

    /// Keeps the operands of the parameter gradient of a block, for [`apply`](Self::apply): they become the samples
    /// from `first` on of `kept`, which has the [length](Self::kept_len) for all samples that are to be kept. There lie x in
    /// panels of sixteen inputs, `[panel][sample][16]`, and dy in columns, `[output][sample]`: the order in which their
    /// products walk through them, however many blocks they come from. Of rows only dy is kept, and x must be
    /// [given](Kept::with_rows) again.
    ///
    /// # Panics
    /// If a slice has not the length its shape says, or `kept` no room.
    #[track_caller]
    pub fn keep<T: Scalar>(&self, block: Block, x: Input<'_, T>, dy: &[T], first: usize, kept: &mut [T]) {
        self.check_input(block, x);
        check::features(NAME, "dy", dy.len(), block, self.outputs);
        let features = self.kept_features(matches!(x, Input::Rows(_)));
        let room = kept.len() / features;
        assert_eq!(kept.len(), room * features, "dense: {features} numbers are kept of each sample");
        let end = first.checked_add(block.len(1));
        assert!(end.is_some_and(|end| end <= room), "dense: {block:?} from {first} on of {room}");
        if block.is_empty() {
            return;
        }
        T::dense_keep(Keep { dense: *self, block, x, dy, first, room, kept });
    }

    /// What becomes of rows `rows` of a parameter by the gradient of all kept samples, `G = dy x^T` and `g = dy 1`: with a rate
    /// `W -= rate * G` and `b -= rate * g`, a step of plain gradient descent whose gradient is never stored; without one
    /// `W += G` and `b += g`. `w` and `b` are those rows. Each number is summed over the samples in order.
    ///
    /// # Panics
    /// If there are not such rows, or a slice has not the length its shape says.
    #[track_caller]
    pub fn apply<T: Scalar>(
        &self,
        rows: Range<usize>,
        kept: &[Kept<'_, T>],
        rate: Option<T>,
        w: &mut [T],
        b: Option<&mut [T]>,
    ) {
        check::range(NAME, "rows", &rows, self.outputs);
        check::length(NAME, "the rows", w.len(), rows.len() * self.inputs);
        if let Some(b) = &b {
            check::length(NAME, "the rows of the bias", b.len(), rows.len());
        }
        for Kept { block, room, numbers, rows } in kept {
            assert!(block.samples() <= *room, "dense: {block:?} in a buffer for {room}");
            let features = self.kept_features(rows.is_some());
            assert_eq!(Some(numbers.len()), room.checked_mul(features), "dense: length of what was kept");
            if let Some(rows) = rows {
                self.check_input(*block, Input::Rows(*rows));
            }
        }
        if kept.iter().all(|kept| kept.block.is_empty()) {
            return;
        }
        T::dense_apply(Apply { dense: *self, rows, kept, rate, w, b });
    }

    /// Kept numbers of a sample.
    fn kept_features(&self, of_rows: bool) -> usize {
        let x = if of_rows { 0 } else { self.inputs.next_multiple_of(LANES) };
        x + self.outputs
    }

    #[track_caller]
    fn check_input<T>(&self, block: Block, x: Input<'_, T>) {
        match x {
            Input::Block(x) => check::features(NAME, "x", x.len(), block, self.inputs),
            Input::Rows(rows) => {
                assert!(self.takes_rows(rows.stride), "dense: {} inputs cannot be rows", self.inputs);
                let sizes = (rows.len(), rows.width());
                assert_eq!(sizes, (block.samples(), self.inputs), "dense: rows of {block:?}");
                let is_slice = rows.as_slice().is_some();
                assert!(is_slice || block.lanes() == LANES, "dense: rows that lie apart are for tiles");
            }
        }
    }

    #[track_caller]
    fn check_weight(&self, w: usize) {
        check::length(NAME, "the weight", w, self.inputs * self.outputs);
    }
}
