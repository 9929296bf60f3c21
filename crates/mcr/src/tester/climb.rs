//! The most groups that are all forwarded: which count to try next (RFC 3918, section 7.1).
//!
//! Counts double until one fails, then the gap is bisected to the group; or a list is gone through upwards. Trials
//! are somebody else's to make.

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Try so many groups.
    Try(u16),
    /// It is found.
    Done(Capacity),
}

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// The most groups that were all forwarded; 0 if not one was.
    pub groups: u16,
    /// The fewest that were not; absent where all that could be tried were forwarded.
    pub failed: Option<u16>,
}

/// One climb.
#[derive(Debug)]
pub struct Climb {
    /// Counts to try in ascending order; empty: all, by doubling and bisection.
    list: Vec<u16>,
    /// The most that can be tried.
    most: u16,
    passed: u16,
    failed: Option<u16>,
}

impl Climb {
    /// Through `list`, or where that is empty through all counts, up to `most`.
    pub fn new(mut list: Vec<u16>, most: u16) -> Self {
        list.sort_unstable();
        list.dedup();
        Self { list, most: most.max(1), passed: 0, failed: None }
    }

    /// The next count, or what was found.
    pub fn poll(&self) -> Step {
        let next = if self.list.is_empty() { self.bisected() } else { self.listed() };
        match next {
            Some(count) => Step::Try(count),
            None => Step::Done(Capacity { groups: self.passed, failed: self.failed }),
        }
    }

    /// Enters whether the count last asked for was forwarded whole.
    pub fn handle(&mut self, forwarded: bool) {
        let Step::Try(count) = self.poll() else { return };
        if forwarded {
            self.passed = count;
        } else {
            self.failed = Some(count);
        }
    }

    fn listed(&self) -> Option<u16> {
        self.list.iter().copied().find(|count| *count > self.passed).filter(|_| self.failed.is_none())
    }

    fn bisected(&self) -> Option<u16> {
        match self.failed {
            Some(failed) => Some(self.passed.midpoint(failed)).filter(|count| *count > self.passed),
            None => {
                Some(self.passed.saturating_mul(2).clamp(1, self.most)).filter(|count| *count > self.passed)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The counts tried on a device of `capacity` groups, and what is found.
    fn run(list: &[u16], most: u16, capacity: u16) -> (Vec<u16>, Capacity) {
        let mut climb = Climb::new(list.to_vec(), most);
        let mut tried = Vec::new();
        loop {
            match climb.poll() {
                Step::Done(found) => return (tried, found),
                Step::Try(count) => {
                    tried.push(count);
                    climb.handle(count <= capacity);
                }
            }
        }
    }

    #[test]
    fn doubles_then_bisects() {
        let (tried, found) = run(&[], 1000, 20);
        assert_eq!(tried, [1, 2, 4, 8, 16, 32, 24, 20, 22, 21]);
        assert_eq!(found, Capacity { groups: 20, failed: Some(21) });
    }

    #[test]
    fn ends_at_the_most() {
        let (tried, found) = run(&[], 100, 5000);
        assert_eq!(tried, [1, 2, 4, 8, 16, 32, 64, 100]);
        assert_eq!(found, Capacity { groups: 100, failed: None });
    }

    #[test]
    fn a_list_is_gone_through_to_the_first_that_fails() {
        assert_eq!(
            run(&[500, 10, 100, 10], 1000, 99),
            (vec![10, 100], Capacity { groups: 10, failed: Some(100) })
        );
        assert_eq!(run(&[10], 1000, 99).1, Capacity { groups: 10, failed: None });
    }

    proptest! {
        #[test]
        fn finds_the_capacity(most in 1u16.., capacity in 0u16..) {
            let (tried, found) = run(&[], most, capacity);
            prop_assert_eq!(found.groups, capacity.min(most));
            prop_assert_eq!(found.failed, (capacity < most).then(|| capacity + 1));
            prop_assert!(tried.len() <= 32);
        }
    }
}
