//! Random numbers of one seed: a stream per concern, so that a draw more in one shifts no other.

/// What a stream of numbers decides.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Concern {
    /// Which faults this seed has, and how often.
    Swarm,
    /// When faults happen, and to whom.
    Faults,
    /// Files that are applied.
    Operations,
    /// Latencies, and what is lost with a stream.
    Network,
    /// How long a commit takes.
    Store,
    /// Starts, checkpoints and deaths of trainers.
    Trainers,
    /// What survives of an agent, and when it is back.
    Agents,
    /// What a trial is.
    Trials,
}

/// A stream of numbers (SplitMix64).
#[derive(Clone, Debug)]
pub(crate) struct Random {
    state: u64,
}

impl Random {
    pub fn new(seed: u64, concern: Concern) -> Random {
        Random { state: mixed(seed ^ mixed(concern as u64 + 1)) }
    }

    /// A stream of one thing among many.
    pub fn of(seed: u64, concern: Concern, thing: u64) -> Random {
        Random { state: mixed(Random::new(seed, concern).state ^ mixed(thing)) }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(self.state)
    }

    /// A stream that begins with the next number: however much of it is used, this one goes on
    /// the same.
    pub fn next_draw(&mut self) -> Random {
        Random { state: self.next() }
    }

    /// From 0 up to but without `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// From `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// An index into something of this length, which is not 0.
    pub fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).expect("smaller than a length")
    }

    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1_000) < per_mille
    }

    pub fn is_heads(&mut self) -> bool {
        self.chance(500)
    }

    /// From 0 to `high`, small numbers far more often: the logarithm is uniform.
    pub fn skewed(&mut self, high: u64) -> u64 {
        let bits = self.below(u64::from(64 - high.leading_zeros()) + 1);
        self.below((1 << bits).min(high + 1))
    }
}

fn mixed(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
