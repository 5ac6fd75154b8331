//! Wall time whose throughput is printed in its own unit: GFLOP/s, where criterion's would read "Gelem/s".

use criterion::Throughput;
use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use std::time::{Duration, Instant};

/// Wall time; elements are floating-point operations.
#[derive(Clone, Copy, Debug)]
pub struct FlopRate;

impl Measurement for FlopRate {
    type Intermediate = Instant;
    type Value = Duration;

    fn start(&self) -> Instant {
        WallTime.start()
    }

    fn end(&self, start: Instant) -> Duration {
        WallTime.end(start)
    }

    fn add(&self, a: &Duration, b: &Duration) -> Duration {
        WallTime.add(a, b)
    }

    fn zero(&self) -> Duration {
        WallTime.zero()
    }

    fn to_f64(&self, time: &Duration) -> f64 {
        WallTime.to_f64(time)
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        self
    }
}

impl ValueFormatter for FlopRate {
    fn scale_values(&self, typical: f64, nanoseconds: &mut [f64]) -> &'static str {
        WallTime.formatter().scale_values(typical, nanoseconds)
    }

    fn scale_throughputs(
        &self,
        typical: f64,
        per_call: &Throughput,
        nanoseconds: &mut [f64],
    ) -> &'static str {
        let Throughput::Elements(flops) = per_call else {
            return WallTime.formatter().scale_throughputs(typical, per_call, nanoseconds);
        };
        for value in nanoseconds {
            *value = *flops as f64 / *value;
        }
        "GFLOP/s"
    }

    fn scale_for_machines(&self, nanoseconds: &mut [f64]) -> &'static str {
        WallTime.formatter().scale_for_machines(nanoseconds)
    }
}
