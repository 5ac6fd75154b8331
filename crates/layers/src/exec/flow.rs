//! Where gradients lie on the way back through operations that read what earlier ones wrote.
//!
//! Activation 0 is the input, activation `i + 1` what operation `i` writes. On the way back each activation has one gradient, in a *slot*
//! that is free again when the operation that wrote the activation has read it. What is read twice gets two gradients, of which the
//! second is added to the first. In a chain two slots take turns.

/// Where the gradients lie that an operation reads and writes.
#[derive(Clone, Debug, Default)]
pub(super) struct Flow {
    /// Of its output.
    pub(super) dy: usize,
    /// What becomes of it, for each of its inputs.
    pub(super) to: Vec<Give>,
}

/// How an input gets its gradient from an operation: it is written, then added.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Give {
    /// The activation that is read.
    pub(super) input: usize,
    /// The slot that the gradient is written to; none, where it is the gradient of the output as it lies.
    pub(super) write: Option<usize>,
    /// The slot that is then added to another, and that other.
    pub(super) add: Option<(usize, usize)>,
}

/// What an operation does with the gradient of its output.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Back {
    /// It writes the gradient of each input.
    Writes,
    /// It hands the gradient on, as it is, to each input.
    HandsOn,
}

/// The flow of each of some operations, given what each reads; how many slots it takes, two at least; and where the input's gradient
/// is in the end.
pub(super) fn flows(operations: &[(Vec<usize>, Back)]) -> (Vec<Flow>, usize, usize) {
    let mut slots = Slots { of: vec![None; operations.len() + 1], len: 2 };
    slots.of[operations.len()] = Some(0);
    let mut flows = Vec::with_capacity(operations.len());
    for (place, (reads, back)) in operations.iter().enumerate().rev() {
        // What nobody reads has a gradient of nothing, and there is no such.
        let dy = slots.of[place + 1].expect("an operation whose output is read, or the last");
        let mut to = Vec::with_capacity(reads.len());
        for &input in reads {
            let (write, add) = match back {
                Back::Writes => {
                    let written = slots.free();
                    (Some(written), slots.put(input, written))
                }
                Back::HandsOn if slots.of[input].is_none() => {
                    slots.of[input] = Some(dy);
                    (None, None)
                }
                Back::HandsOn => match slots.put_of(input, dy) {
                    Some(to) => (None, Some((dy, to))),
                    None => {
                        let copy = slots.free();
                        (Some(copy), slots.put(input, copy))
                    }
                },
            };
            to.push(Give { input, write, add });
        }
        slots.of[place + 1] = None;
        flows.push(Flow { dy, to });
    }
    flows.reverse();
    (flows, slots.len, slots.of[0].unwrap_or(0))
}

/// Which slot holds the gradient of which activation.
struct Slots {
    of: Vec<Option<usize>>,
    len: usize,
}

impl Slots {
    /// The first slot that holds nothing.
    fn free(&mut self) -> usize {
        let slot = (0..).find(|slot| !self.of.contains(&Some(*slot))).unwrap_or(0);
        self.len = self.len.max(slot + 1);
        slot
    }

    /// The slot of an input's gradient, if that may be added to: it is no other's, and not `dy` itself.
    fn put_of(&self, input: usize, dy: usize) -> Option<usize> {
        let slot = self.of[input]?;
        let is_shared = self.of.iter().filter(|of| **of == Some(slot)).count() > 1;
        (!is_shared && slot != dy).then_some(slot)
    }

    /// Makes a gradient that was written to a slot that of an input, or adds it to what that has: from where, to where.
    fn put(&mut self, input: usize, written: usize) -> Option<(usize, usize)> {
        let Some(slot) = self.of[input] else {
            self.of[input] = Some(written);
            return None;
        };
        match self.put_of(input, written) {
            Some(to) => Some((written, to)),
            // Others still need what lies there.
            None => {
                self.of[input] = Some(written);
                Some((slot, written))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn give(input: usize, write: Option<usize>, add: Option<(usize, usize)>) -> Give {
        Give { input, write, add }
    }

    #[test]
    fn in_a_chain_two_slots_take_turns() {
        let (flows, slots, input) = flows(&[0, 1, 2].map(|read| (vec![read], Back::Writes)));
        assert_eq!((slots, input), (2, 1));
        let turns: Vec<_> = flows.iter().map(|flow| (flow.dy, flow.to[0])).collect();
        let expected =
            [(0, give(0, Some(1), None)), (1, give(1, Some(0), None)), (0, give(2, Some(1), None))];
        assert_eq!(turns, expected);
    }

    /// Every gradient of every graph of sums and doublings is what adding up all ways from the output to it makes it.
    #[test]
    fn what_is_read_twice_gets_the_sum() {
        let (writes, hands_on) = (Back::Writes, Back::HandsOn);
        let graphs: [&[(&[usize], Back)]; 7] = [
            // residual(f), residual(f g), residual(f | g)
            &[(&[0], writes), (&[1, 0], hands_on)],
            &[(&[0], writes), (&[1], writes), (&[2, 0], hands_on)],
            &[(&[0], writes), (&[0], writes), (&[1, 2], hands_on)],
            // x + x, and residual(residual(f))
            &[(&[0], writes), (&[1, 1], hands_on), (&[2], writes)],
            &[(&[0], writes), (&[1, 0], hands_on), (&[2, 0], hands_on)],
            // concat(f | x | g h) behind a layer, and two residuals in turn
            &[(&[0], writes), (&[1], writes), (&[1], writes), (&[3], writes), (&[2, 1, 4], writes)],
            &[(&[0], writes), (&[1, 0], hands_on), (&[2], writes), (&[3, 2], hands_on), (&[4], writes)],
        ];
        for graph in graphs {
            let operations: Vec<_> = graph.iter().map(|(reads, back)| (reads.to_vec(), *back)).collect();
            let (flows, slots, input) = flows(&operations);
            // An operation that writes doubles the gradient, and adds its place.
            let through =
                |place: usize, dy: f64| if graph[place].1 == writes { 2.0 * dy + place as f64 } else { dy };
            let mut expected = vec![0.0; graph.len() + 1];
            let mut found = vec![f64::NAN; slots];
            (expected[graph.len()], found[0]) = (1.0, 1.0);
            for (place, (reads, _)) in graph.iter().enumerate().rev() {
                let dy = expected[place + 1];
                reads.iter().for_each(|&read| expected[read] += through(place, dy));
                let Flow { dy, to } = &flows[place];
                assert_eq!(found[*dy], expected[place + 1], "{graph:?}, operation {place}");
                for give in to {
                    if let Some(slot) = give.write {
                        found[slot] = through(place, found[*dy]);
                    }
                    if let Some((from, to)) = give.add {
                        found[to] += found[from];
                    }
                }
            }
            assert_eq!(found[input], expected[0], "{graph:?}");
        }
    }
}
