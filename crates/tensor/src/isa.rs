//! Which instruction set the kernels use: found out at run time, overridden by `BYHAND_ISA`.

use std::cell::Cell;
use std::fmt;
use std::sync::OnceLock;

/// An instruction set that every kernel is compiled for.
///
/// All but [`Isa::Portable`] have fused multiply-add and give equal bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Isa {
    /// Plain Rust, no fused multiply-add: runs anywhere.
    Portable,
    /// Sixteen-lane arrays compiled for AVX2 and FMA or for NEON: the shape of AVX-512 on a machine without it. Slow; for tests
    /// that results do not depend on the vector width. Only with the feature `proofs`.
    Wide,
    /// x86-64 with AVX2 and FMA: 8 lanes, 16 registers.
    Avx2,
    /// x86-64 with AVX-512F: 16 lanes, 32 registers.
    Avx512,
    /// 64-bit Arm: 4 lanes, 32 registers.
    Neon,
}

thread_local! {
    static FORCED: Cell<Option<Isa>> = const { Cell::new(None) };
}

impl Isa {
    /// Every instruction set, slowest first.
    pub const ALL: [Isa; 5] = [Isa::Portable, Isa::Wide, Isa::Neon, Isa::Avx2, Isa::Avx512];

    /// The set in use: the one [`Isa::with`] asks for, else the one the environment variable `BYHAND_ISA` names (if this
    /// machine has it), else the best this machine has.
    #[inline]
    pub fn active() -> Isa {
        FORCED.get().unwrap_or_else(Self::of_process)
    }

    /// The sets this machine can run, slowest first.
    pub fn available() -> Vec<Isa> {
        Self::ALL.into_iter().filter(|isa| isa.is_available()).collect()
    }

    /// Runs `f` with this set in use on the current thread. For tests and benchmarks.
    ///
    /// # Panics
    /// If this machine does not have it.
    #[track_caller]
    pub fn with<R>(self, f: impl FnOnce() -> R) -> R {
        assert!(self.is_available(), "instruction set {self} is not available on this machine");
        struct Restore(Option<Isa>);
        impl Drop for Restore {
            fn drop(&mut self) {
                FORCED.set(self.0);
            }
        }
        let _restore = Restore(FORCED.replace(Some(self)));
        f()
    }

    /// The name `BYHAND_ISA` knows it by.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Portable => "portable",
            Isa::Wide => "wide",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
            Isa::Neon => "neon",
        }
    }

    /// Whether multiply-adds round once; all such sets give equal bits.
    pub fn is_fused(self) -> bool {
        self != Isa::Portable
    }

    fn is_available(self) -> bool {
        match self {
            Isa::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(all(target_arch = "x86_64", feature = "proofs"))]
            Isa::Wide => Isa::Avx2.is_available(),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => is_x86_feature_detected!("avx512f") && Isa::Avx2.is_available(),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            #[cfg(all(target_arch = "aarch64", feature = "proofs"))]
            Isa::Wide => Isa::Neon.is_available(),
            #[allow(unreachable_patterns, reason = "which arms are left depends on the architecture")]
            _ => false,
        }
    }

    #[inline]
    fn of_process() -> Isa {
        static CHOSEN: OnceLock<Isa> = OnceLock::new();
        *CHOSEN.get_or_init(|| {
            let asked = std::env::var("BYHAND_ISA").ok();
            let named = asked.and_then(|name| Self::ALL.into_iter().find(|isa| isa.name() == name));
            named
                .filter(|isa| isa.is_available())
                .or_else(|| Self::available().pop())
                .unwrap_or(Isa::Portable)
        })
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
