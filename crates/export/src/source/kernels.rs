//! The kernels of whole numbers that exported crates have, compiled here too: what a model will say there is known here, to the bit.

#![allow(dead_code, unreachable_pub, reason = "the file is a module of the crates that are written")]

include!("int8.rs.in");
