//! Who computes: decides how long a step takes, and none of its bits.

use super::config::StepConfig;
use super::cost;
use super::crew::{Awake, Crew};
use super::plan::Plan;

/// What threads help with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Help {
    /// Threads that steps may use: 1 where there is nothing to share.
    pub(super) threads: usize,
    /// The second of two shards has weights of its own.
    pub(super) replicates: bool,
    /// A range of the parameters is so large that threads share its update.
    shares_update: bool,
    /// Two ranks are all that there is to share in forward and backward passes: another thread stays awake between
    /// them.
    is_ranks_alone: bool,
    /// Shards are computed in stages, and what one thread does between two of them is short: another one stays awake.
    is_in_stages: bool,
}

impl Help {
    /// How `threads` threads help with a plan.
    pub(super) fn new(plan: &Plan, config: &StepConfig, threads: usize) -> Help {
        let shards = plan.shards(plan.batch_size());
        let descends = config.is_plain_descent();
        let updated = |&(_, deferred): &(usize, bool)| !(deferred && descends);
        let shares_update = plan.ranges().filter(updated).any(|(len, _)| len > cost::CHUNK);
        let is_ranks_alone = shards == 1 && plan.has_ranks() && threads > 1;
        let replicates = shards == 2
            && descends
            && !plan.has_ranks()
            && plan.tail().norms() == 0
            && threads > 1
            && plan.batch_size() <= cost::REPLICA_SAMPLES
            && plan.defers().contains(&true);
        let is_shared = shards > 1 || shares_update || is_ranks_alone;
        let threads = if is_shared { threads } else { 1 };
        let is_in_stages = threads > 1 && shards > 1 && plan.tail().norms() > 0;
        Help { threads, replicates, shares_update, is_ranks_alone, is_in_stages }
    }

    /// Calls the threads that help with a minibatch of `samples`; they may sleep when the guard is dropped.
    pub(super) fn begin<'a>(&self, crew: &'a Crew, plan: &Plan, samples: usize) -> Awake<'a> {
        let (is_long, shards) = (self.shares_update, plan.shards(samples));
        let stays_awake = self.is_in_stages || (self.is_ranks_alone && !crew.is_alone());
        if self.threads > 1 && (shards > 1 || is_long || stays_awake) {
            // Ranks are two.
            let helpers = if shards > 1 || is_long { self.threads - 1 } else { 1 };
            crew.call(helpers, cost::patience(plan.work(samples)));
        }
        crew.begin(stays_awake)
    }
}
