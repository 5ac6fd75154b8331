//! After the first step, training allocates nothing: counted. (One test, so that nobody else allocates meanwhile.)
#![allow(unsafe_code, reason = "a global allocator is unsafe to implement")]

#[path = "all/common.rs"]
mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

use byhand_datasets::batches::epoch_order_into;
use byhand_datasets::{Augment, Preprocessing};
use byhand_trainer::{Hardest, ImageBatch, StepConfig, Trainer};
use common::{cnn, mlp, normed, residual, theta, train, wide};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn steps_allocate_nothing() {
    let augmented = Augment {
        shift: 1,
        rotate: 0.1,
        elastic: 1.0,
        flip: true,
        erase: 5,
        mixup: 0.3,
        ..Augment::default()
    };
    // Kept until the end: the threads of a dropped trainer allocate while they end, some time later.
    let mut trainers = Vec::new();
    for (name, network) in
        [("cnn", cnn()), ("mlp", mlp()), ("wide", wide()), ("normed", normed()), ("residual", residual())]
    {
        for optimizer in ["sgd", "adam"] {
            for threads in [1, 2] {
                for batch_size in [1, 32, 200] {
                    for augment in [Augment::default(), augmented] {
                        // With all that may be done to images, all that may be done to weights.
                        let care = (!augment.is_identity()).then_some(0.5);
                        let config = StepConfig {
                            weight_decay: care.unwrap_or(0.0),
                            clip: care,
                            ema: care,
                            optimizer: optimizer.parse().unwrap(),
                            batch_size,
                            threads,
                            ..StepConfig::default()
                        };
                        let mut trainer = Trainer::new(&network, theta(&network), config).unwrap();
                        let mut order = vec![0; train().len()];
                        let mut hardest = Hardest::new(1, train().len());
                        let allocations = trainer.session(|trainer| {
                            let mut before = 0;
                            for step in 0..12 {
                                epoch_order_into(1, step, &mut order);
                                // The last minibatch is a smaller one.
                                let size = if step == 11 { batch_size.div_ceil(2) } else { batch_size };
                                let batch =
                                    ImageBatch::new(train(), &order[..size], Preprocessing::default());
                                trainer.step(1e-3, &batch.augmented(&augment, 1, step)).unwrap();
                                hardest.record(&order[..size], trainer.residuals());
                                assert!(!hardest.epoch(step, 0.5).is_empty());
                                if step == 1 {
                                    before = ALLOCATIONS.load(Ordering::SeqCst);
                                }
                            }
                            ALLOCATIONS.load(Ordering::SeqCst) - before
                        });
                        let case = format!("{name}, {optimizer}, batch {batch_size}, {threads} threads");
                        assert_eq!(allocations, 0, "{case}");
                        trainers.push(trainer);
                    }
                }
            }
        }
    }
}
