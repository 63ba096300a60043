//! Which instance is to work on which partition.

use std::collections::{BTreeMap, BTreeSet};

use domain::Instance;

/// How a partition's lease stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nobody holds it.
    Free,
    /// The holder raises its counter.
    Live(Instance),
    /// The holder does not raise it any more: others may take it.
    Stale(Instance),
}

impl Standing {
    /// Who holds it, or held it last.
    pub fn holder(self) -> Option<Instance> {
        match self {
            Self::Free => None,
            Self::Live(holder) | Self::Stale(holder) => Some(holder),
        }
    }
}

/// Whose each partition is to be, by the leases as they stand and the instances that are alive; `None` where it stays
/// as it is: held by an instance that is not among them, or nobody is alive.
///
/// Shares differ by one at most. Who holds too much keeps its share, and nothing moves but what is above it and what is
/// held by nobody: all instances that see the same come to the same.
pub fn shares(leases: &[Standing], members: &BTreeSet<Instance>) -> Vec<Option<Instance>> {
    let is_stranger = |standing: &Standing| matches!(standing, Standing::Live(holder) if !members.contains(holder));
    let shared = leases.iter().filter(|standing| !is_stranger(standing)).count();
    let mut rest = quotas(leases, members, shared);
    let mut whose: Vec<_> = leases
        .iter()
        .map(|standing| {
            let left = rest.get_mut(&standing.holder()?).filter(|left| **left > 0)?;
            *left -= 1;
            standing.holder()
        })
        .collect();
    let mut takers = rest.into_iter().flat_map(|(member, left)| std::iter::repeat_n(member, left));
    for (whose, _) in whose.iter_mut().zip(leases).filter(|(whose, standing)| whose.is_none() && !is_stranger(standing))
    {
        *whose = takers.next();
    }
    whose
}

/// How many partitions each instance is to have. Where they do not come out even, those have one more that hold most.
fn quotas(leases: &[Standing], members: &BTreeSet<Instance>, shared: usize) -> BTreeMap<Instance, usize> {
    let Some(each) = shared.checked_div(members.len()) else { return BTreeMap::new() };
    let holds = |member: &Instance| leases.iter().filter(|standing| standing.holder() == Some(*member)).count();
    let mut ordered: Vec<_> = members.iter().map(|member| (holds(member), *member)).collect();
    ordered.sort_by_key(|(holds, member)| (std::cmp::Reverse(*holds), *member));
    let more = shared % members.len();
    ordered.iter().enumerate().map(|(place, (_, member))| (*member, each + usize::from(place < more))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use Standing::{Free, Live, Stale};

    fn me(number: u64) -> Instance {
        Instance(number)
    }

    fn members(numbers: &[u64]) -> BTreeSet<Instance> {
        numbers.iter().copied().map(Instance).collect()
    }

    fn told(leases: &[Standing], alive: &[u64]) -> Vec<u64> {
        shares(leases, &members(alive)).into_iter().map(|whose| whose.map_or(0, |Instance(number)| number)).collect()
    }

    #[test]
    fn free_ones_are_shared_evenly() {
        assert_eq!(told(&[Free; 4], &[1]), [1, 1, 1, 1]);
        assert_eq!(told(&[Free; 4], &[1, 2]), [1, 1, 2, 2]);
        assert_eq!(told(&[Free; 4], &[1, 2, 3]), [1, 1, 2, 3]);
        assert_eq!(told(&[Free; 2], &[1, 2, 3]), [1, 2], "one stands by");
        assert_eq!(told(&[Free; 2], &[]), [0, 0]);
    }

    #[test]
    fn a_newcomer_gets_what_is_above_the_shares_of_the_others() {
        assert_eq!(told(&[Live(me(1)); 4], &[1, 2]), [1, 1, 2, 2]);
        let both = [Live(me(2)), Live(me(1)), Live(me(2)), Live(me(1))];
        assert_eq!(told(&both, &[1, 2, 3]), [2, 1, 3, 1], "nothing else moves");
        assert_eq!(told(&both, &[1, 2]), [2, 1, 2, 1], "nothing moves");
    }

    #[test]
    fn what_a_dead_one_held_goes_to_who_has_least() {
        let leases = [Live(me(1)), Stale(me(2)), Live(me(1)), Stale(me(2)), Live(me(3))];
        assert_eq!(told(&leases, &[1, 3]), [1, 1, 1, 3, 3]);
        let given_back = [Live(me(1)), Free, Live(me(1)), Free, Live(me(3))];
        assert_eq!(told(&given_back, &[1, 3]), [1, 1, 1, 3, 3]);
    }

    #[test]
    fn who_stood_still_gets_back_what_nobody_took() {
        assert_eq!(told(&[Stale(me(2)), Stale(me(1))], &[1, 2]), [2, 1]);
    }

    #[test]
    fn who_works_and_is_not_well_keeps_what_it_works_on() {
        assert_eq!(told(&[Live(me(9)), Live(me(1)), Live(me(1))], &[1, 2]), [0, 1, 2]);
    }

    /// Numbers that look random, the same in each run (xorshift64*).
    fn dice(state: &mut u64, below: u64) -> u64 {
        *state ^= *state >> 12;
        *state ^= *state << 25;
        *state ^= *state >> 27;
        state.wrapping_mul(0x2545_F491_4F6C_DD1D) % below
    }

    #[test]
    fn shares_are_even_and_no_more_moves_than_must() {
        let mut seed = 0x9E37_79B9;
        for _ in 0..20_000 {
            let alive: BTreeSet<_> = (1..=5).filter(|_| dice(&mut seed, 2) > 0).map(Instance).collect();
            let leases: Vec<_> = (0..dice(&mut seed, 12))
                .map(|_| match (dice(&mut seed, 4), me(1 + dice(&mut seed, 6))) {
                    (0, _) => Free,
                    (1, holder) => Stale(holder),
                    (_, holder) => Live(holder),
                })
                .collect();
            let at = format!("{leases:?} {alive:?}");
            let whose = shares(&leases, &alive);
            assert_eq!(whose.len(), leases.len(), "{at}");
            let is_stranger = |standing: &Standing| matches!(standing, Live(holder) if !alive.contains(holder));
            for (whose, standing) in whose.iter().zip(&leases) {
                assert_eq!(whose.is_none(), alive.is_empty() || is_stranger(standing), "{at}: {whose:?}");
            }
            let count = |member| whose.iter().filter(|whose| **whose == Some(member)).count();
            let counts: Vec<_> = alive.iter().map(|member| count(*member)).collect();
            let (most, least) = (counts.iter().max().unwrap_or(&0), counts.iter().min().unwrap_or(&0));
            assert!(most - least <= 1, "{at}: {whose:?}");
            // However the odd ones are dealt out, so many are above a share at least.
            let holds = |member| leases.iter().filter(|standing| standing.holder() == Some(member)).count();
            let mut held: Vec<_> = alive.iter().map(|member| holds(*member)).collect();
            held.sort_unstable_by(|a, b| b.cmp(a));
            let shared: usize = counts.iter().sum();
            let (each, more) = (shared / alive.len().max(1), shared % alive.len().max(1));
            let must =
                held.iter().enumerate().map(|(place, held)| held.saturating_sub(each + usize::from(place < more)));
            let moved = leases.iter().zip(&whose).filter(|(standing, whose)| {
                standing.holder().is_some_and(|holder| alive.contains(&holder) && **whose != Some(holder))
            });
            assert_eq!(moved.count(), must.sum::<usize>(), "{at}: {whose:?}");
        }
    }
}
