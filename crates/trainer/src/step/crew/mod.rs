//! The threads of a trainer: work is handed over by fork and join, which here costs about a microsecond and no
//! allocation.
//!
//! rayon's threads fall asleep between two steps, and waking one costs more than a small step. So the pool is entered
//! once, for a whole run ([`Crew::enter`]), and while it lasts every other thread of the pool stays in [`stand_by`]:
//! it looks for work for some tens of microseconds, then sleeps until [`Crew::call`]. Calls that bring no help,
//! because the machine is busy, are made more and more rarely: a thread woken onto the caller's own core would only
//! cost it time.
//!
//! What runs where has no influence on results: see [`Plan`](super::Plan).

#[cfg(feature = "parallel")]
mod parallel;
#[cfg(not(feature = "parallel"))]
mod sequential;

#[cfg(feature = "parallel")]
pub(crate) use parallel::{Awake, Crew};
#[cfg(not(feature = "parallel"))]
pub(crate) use sequential::{Awake, Crew};

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::Crew;

    /// Doubles every number, by joins down to single ones.
    fn double(crew: &Crew, numbers: &mut [u64]) {
        match numbers {
            [] => {}
            [number] => *number *= 2,
            _ => {
                let (a, b) = numbers.split_at_mut(numbers.len() / 2);
                crew.join(|| double(crew, a), || double(crew, b));
            }
        }
    }

    #[test]
    fn every_half_of_every_join_runs_once() {
        for threads in [1, 2, 5] {
            let crew = Crew::new(threads);
            crew.start().unwrap();
            // Twice, and once without entering.
            for _ in 0..2 {
                crew.enter(|| {
                    for round in 0..200 {
                        let mut numbers: Vec<u64> = (0..37).collect();
                        crew.call(threads - 1, round % 3);
                        double(&crew, &mut numbers);
                        assert!(numbers.iter().enumerate().all(|(i, &n)| n == 2 * i as u64));
                        assert!(crew.thread() < threads);
                    }
                });
            }
            let mut numbers = [1, 2, 3];
            double(&crew, &mut numbers);
            assert_eq!(numbers, [2, 4, 6]);
        }
    }

    #[cfg(feature = "parallel")]
    #[test]
    fn after_a_late_half_some_are_done_alone() {
        let crew = Crew::new(2);
        crew.start().unwrap();
        let (mut a, mut b) = (0, 0);
        crew.enter(|| {
            // As if another job had the other half's processor.
            crew.remember(true);
            let helped = crew.helped();
            for _ in 0..16 {
                crew.call(1, 0);
                crew.join_equal(|| a += 1, || b += 1);
            }
            assert_eq!(crew.helped(), helped);
            for _ in 0..200 {
                crew.call(1, 0);
                crew.join_equal(|| a += 1, || b += 1);
            }
        });
        assert_eq!((a, b), (216, 216));
    }

    #[cfg(feature = "parallel")]
    #[test]
    fn a_thread_asleep_is_woken() {
        let crew = Crew::new(2);
        crew.start().unwrap();
        crew.enter(|| {
            for _ in 0..5 {
                std::thread::sleep(std::time::Duration::from_millis(2));
                // The first half waits for a word of the second, which only another thread can begin meanwhile. It calls
                // until it hears one: a thread that falls asleep between a call and a join misses the call.
                let (word, heard) = std::sync::mpsc::channel();
                let mut met = false;
                let crew = &crew;
                let first = || {
                    let heard = heard;
                    for _ in 0..2_000 {
                        crew.call(1, 0);
                        met = heard.recv_timeout(std::time::Duration::from_millis(10)).is_ok();
                        if met {
                            break;
                        }
                    }
                };
                crew.join(first, || _ = word.send(()));
                assert!(met, "nobody began the second half while the first was waiting");
            }
        });
    }

    #[test]
    fn a_panic_travels_and_the_crew_survives() {
        for threads in [1, 2] {
            let crew = Crew::new(threads);
            crew.start().unwrap();
            for half in 0..2 {
                let run = || {
                    crew.enter(|| {
                        crew.join(|| assert_eq!(half, 1, "first half"), || assert_eq!(half, 0, "second half"))
                    });
                };
                assert!(catch_unwind(AssertUnwindSafe(run)).is_err());
            }
            let mut numbers = [7];
            crew.enter(|| double(&crew, &mut numbers));
            assert_eq!(numbers, [14]);
        }
    }
}
