//! What a step does with a minibatch, as its plan says it: each way of dividing the work is taken where it is meant to be.

use byhand_layers::Shape;
use byhand_models::Spec;
use byhand_trainer::Plan;

const MLP_512: &str = "dense(512) relu dense(512) relu dense(10)";
const MLP: &str = "dense(50) relu dense(50) relu dense(10)";
const LENET: &str = "conv(8,5) relu pool(2) conv(16,5) relu pool(2) dense(256) relu dense(10)";
const LARGE: &str = "conv(32,3,pad=1) relu conv(32,3,pad=1) relu pool(2) dense(10)";

const NORMED: &str = "conv(8,3) batchnorm relu pool(2) dense(10) batchnorm";

const RESIDUAL: &str = "conv(8,3) residual(conv(8,3,pad=1) batchnorm | conv(8,1) batchnorm) globalavgpool residual(dense(8) relu dense(8)) dense(10)";

const PLANS: [(&str, usize, &str); 20] = [
    (RESIDUAL, 32, "2 shards of up to 16 in blocks of 16, tiles of 16; 3 stages"),
    (NORMED, 128, "4 shards of up to 32 in blocks of 32, tiles of 16; 3 stages"),
    (
        MLP_512,
        1,
        "tensor parallel 784-512-512 on 2 ranks; tail 1 shard of 1 in blocks of 1, one by one; deferred gradients: 1, 3, 5",
    ),
    (
        MLP_512,
        8,
        "tensor parallel 784-512-512 on 2 ranks; tail 1 shard of 8 in blocks of 8, one by one; deferred gradients: 1, 3, 5",
    ),
    (
        MLP_512,
        16,
        "tensor parallel 784-512-512 on 2 ranks; tail 1 shard of 16 in blocks of 16, tiles of 16; deferred gradients: 1, 3, 5",
    ),
    (
        MLP_512,
        32,
        "tensor parallel 784-512-512 on 2 ranks; tail 1 shard of 32 in blocks of 32, tiles of 16; deferred gradients: 1, 3",
    ),
    (
        MLP_512,
        128,
        "tensor parallel 784-512-512 on 2 ranks; tail 2 shards of up to 64 in blocks of 64, tiles of 16; deferred gradients: 1, 3",
    ),
    (MLP_512, 1000, "4 shards of up to 256 in blocks of 256, tiles of 16"),
    (MLP, 8, "1 shard of 8 in blocks of 8, one by one; deferred gradients: 1, 3, 5"),
    (
        MLP,
        16,
        "row parallel 784-50 on 2 ranks; tail 1 shard of 16 in blocks of 16, tiles of 16; deferred gradients: 1, 3",
    ),
    (
        MLP,
        32,
        "row parallel 784-50 on 2 ranks; tail 1 shard of 32 in blocks of 32, tiles of 16; deferred gradients: 1, 3",
    ),
    (
        MLP,
        128,
        "row parallel 784-50 on 2 ranks; tail 2 shards of up to 64 in blocks of 64, tiles of 16; deferred gradients: 1",
    ),
    (MLP, 1000, "4 shards of up to 256 in blocks of 64, tiles of 16"),
    (LENET, 1, "1 shard of 1 in blocks of 1, one by one; deferred gradients: 7, 9"),
    (LENET, 8, "2 shards of up to 4 in blocks of 4, tiles of 16; deferred gradients: 7, 9"),
    (LENET, 32, "2 shards of up to 16 in blocks of 16, tiles of 16; deferred gradients: 7"),
    (LENET, 1000, "8 shards of up to 128 in blocks of 64, tiles of 16"),
    (LARGE, 8, "4 shards of up to 2 in blocks of 2, one by one; deferred gradients: 6"),
    (
        "dropout(0.5) dense(512) relu dense(10)",
        32,
        "2 shards of up to 16 in blocks of 16, tiles of 16; deferred gradients: 2",
    ),
    ("relu", 32, "1 shard of 32 in blocks of 32, tiles of 16"),
];

#[test]
fn plans() {
    for (layers, batch_size, expected) in PLANS {
        let network = layers.parse::<Spec>().unwrap().build(Shape::new(1, 28, 28)).unwrap();
        assert_eq!(Plan::new(&network, batch_size).to_string(), expected, "{layers} at {batch_size}");
    }
}
