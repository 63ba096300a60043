//! Keeps the leases of a role for one instance: reads the bucket, decides, writes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::node::Lease as Value;
use domain::wire::Wire;
use domain::{Instance, Partitions};
use futures::{StreamExt, stream};
use tokio::sync::{Notify, watch};

use super::roster::{Found, Mine, Roster, Step};
use super::{Lease, State, TAKE_AFTER};
use crate::kv::{Bucket, Error, Listed};
use crate::{Context, Stop};

/// How often the bucket is looked at.
const LOOK_TIME: Duration = Duration::from_millis(500);
/// How long what is under way at a stop may take, and each of the last writes.
const END_TIME: Duration = Duration::from_secs(1);
/// How often this instance says that it is there.
const OWN_TIME: Duration = Duration::from_millis(800);
/// Writes under way at once.
const WRITES_MAX: usize = 32;

/// Keeps the leases of a role for one instance.
pub struct Keeper {
    bucket: Bucket,
    role: &'static str,
    instance: Instance,
    roster: Roster,
    states: Vec<watch::Sender<State>>,
    ended: Arc<Notify>,
    own: Own,
}

/// This instance's own key.
#[derive(Default)]
struct Own {
    /// None: the next look tells it.
    revision: Option<u64>,
    counter: u64,
    raised: Option<Instant>,
}

/// Does the work beside the leases, which are given back when it has ended.
pub async fn beside<F: Future>(keeper: Keeper, context: &Context, work: F) -> F::Output {
    let done = Stop::new();
    let working = async {
        let result = work.await;
        // Given back last: who takes it then finds nothing under way.
        done.trigger();
        result
    };
    tokio::join!(working, keeper.keep(context, &done)).0
}

impl Keeper {
    /// The leases of all partitions, none held yet, and who keeps them.
    pub fn new(bucket: Bucket, role: &'static str, instance: Instance, partitions: Partitions) -> (Self, Vec<Lease>) {
        let ended = Arc::new(Notify::new());
        let leases: Vec<_> = partitions.all().map(|partition| Lease::new(partition, Arc::clone(&ended))).collect();
        let states: Vec<_> = leases.iter().map(|lease| lease.state.clone()).collect();
        let roster = Roster::new(instance, states.len());
        (Self { bucket, role, instance, roster, states, ended, own: Own::default() }, leases)
    }

    async fn keep(mut self, context: &Context, done: &Stop) {
        let stopped = async || {
            tokio::select! {
                () = context.stop.stopped() => {}
                () = done.stopped() => {}
            }
        };
        while !context.stop.is_stopped() && !done.is_stopped() {
            let late = async {
                stopped().await;
                tokio::time::sleep(END_TIME).await;
            };
            tokio::select! {
                () = self.look() => {}
                () = late => break,
            }
            self.tell(context);
            tokio::select! {
                () = stopped() => {}
                () = self.ended.notified() => {}
                () = tokio::time::sleep(LOOK_TIME) => {}
            }
        }
        // The others are not to wait for this one to take what it gives back.
        if let Some(revision) = self.own.revision {
            drop(tokio::time::timeout(END_TIME, self.remove(self.instance, revision)).await);
        }
        loop {
            let is_done = done.is_stopped();
            let mut mine = self.mine();
            for (mine, state) in mine.iter_mut().zip(&self.states) {
                mine.working = !state.borrow().dropped;
            }
            let steps = self.roster.last_steps(Instant::now(), &mine);
            drop(tokio::time::timeout(END_TIME, self.act(steps)).await);
            self.tell(context);
            if is_done {
                return;
            }
            tokio::select! {
                () = done.stopped() => {}
                () = self.ended.notified() => {}
                () = tokio::time::sleep(LOOK_TIME) => {}
            }
        }
    }

    fn mine(&self) -> Vec<Mine> {
        let mine = self.states.iter().map(|state| {
            let State { working, healthy, .. } = *state.borrow();
            Mine { healthy, working }
        });
        mine.collect()
    }

    /// One round: raise what is held, see what others do, take and give back.
    async fn look(&mut self) {
        let mine = self.mine();
        let joins = mine.iter().all(|mine| mine.healthy);
        // First of all: it must not wait for answers to questions.
        let due = self.roster.due(Instant::now(), &mine);
        let raising: Vec<_> = due.into_iter().map(|partition| (partition, Step::Write)).collect();
        self.act_on(raising).await;
        if joins {
            self.raise_own().await;
        }
        if let Err(error) = self.see().await {
            tracing::debug!(role = self.role, %error, "the leases cannot be read");
            return;
        }
        let steps = self.roster.steps(Instant::now(), &self.mine(), joins);
        self.act(steps).await;
        for (member, revision) in self.roster.forgotten(Instant::now()) {
            self.remove(member, revision).await;
        }
    }

    fn member_key(&self, member: Instance) -> String {
        format!("{}.member.{member}", self.role)
    }

    async fn raise_own(&mut self) {
        if self.own.raised.is_some_and(|raised| raised.elapsed() < OWN_TIME) {
            return;
        }
        let Some(revision) = self.own.revision else { return };
        let counter = self.own.counter + 1;
        let value = Value { holder: Some(self.instance), counter }.encode();
        match self.bucket.update(&self.member_key(self.instance), value.into(), revision).await {
            Ok(revision) => self.own = Own { revision: Some(revision), counter, raised: Some(Instant::now()) },
            Err(error) => {
                self.own.revision = None;
                tracing::debug!(role = self.role, %error, "cannot say that this instance is there");
            }
        }
    }

    async fn see(&mut self) -> Result<(), Error> {
        let members = self.bucket.list(&format!("{}.member.*", self.role)).await?;
        let leases = self.bucket.list(&format!("{}.*", self.role)).await?;
        let now = Instant::now();
        let own = self.member_key(self.instance);
        let own = members.iter().find(|listed| listed.key == own);
        if self.own.revision.is_none() {
            self.own.revision = Some(own.map_or(0, |own| own.entry.revision));
        }
        let written_at = own.map(|own| own.written_at);
        let found = |listed: &Listed| Found {
            revision: listed.entry.revision,
            value: Value::decode(&listed.entry.value).ok(),
            // By times of the server alone: that of this instance's own key, just written, is now.
            age: written_at.and_then(|now| age(now.0, listed.written_at.0)),
        };
        let named = |listed: &Listed| Value::decode(&listed.entry.value).ok().and_then(|value| value.holder);
        let members = members.iter().filter_map(|listed| Some((named(listed)?, found(listed)))).collect();
        let number = |listed: &Listed| listed.key.rsplit('.').next().and_then(|number| number.parse::<usize>().ok());
        let leases: BTreeMap<_, _> =
            leases.iter().filter_map(|listed| Some((number(listed)?, found(listed)))).collect();
        self.roster.take_in(now, &leases, &members);
        Ok(())
    }

    async fn act(&mut self, steps: Vec<Step>) {
        self.act_on(steps.into_iter().enumerate().collect()).await;
    }

    async fn act_on(&mut self, steps: Vec<(usize, Step)>) {
        let mut writes = Vec::new();
        for (partition, step) in steps {
            let (revision, value) = match step {
                Step::Nothing => continue,
                Step::Write => self.roster.next(partition),
                Step::Drain | Step::Release => {
                    // Nobody begins any more, and who works ends.
                    let was_working = self.take_back(partition);
                    if was_working || step == Step::Drain {
                        continue;
                    }
                    self.roster.last(partition)
                }
            };
            let (bucket, key) = (self.bucket.clone(), format!("{}.{partition}", self.role));
            writes.push(async move {
                let began = Instant::now();
                (partition, began, value, bucket.update(&key, value.encode().into(), revision).await)
            });
        }
        let mut writes = stream::iter(writes).buffer_unordered(WRITES_MAX);
        while let Some((partition, began, value, written)) = writes.next().await {
            self.note(partition, began, value, &written);
        }
    }

    /// Says whether somebody works still.
    fn take_back(&self, partition: usize) -> bool {
        self.states[partition].send_if_modified(|state| state.until.take().is_some());
        self.states[partition].borrow().working
    }

    /// Takes note of what became of a write.
    fn note(&mut self, partition: usize, began: Instant, value: Value, written: &Result<u64, Error>) {
        match written {
            Ok(revision) => {
                if value.holder.is_none() {
                    tracing::info!(role = self.role, partition, "gave the lease back");
                }
                if value.holder.is_some() && !self.is_held(partition) && !self.roster.is_drained(partition) {
                    tracing::info!(role = self.role, partition, "took the lease");
                }
                self.roster.wrote(partition, began, *revision, value);
                let until = value.holder.is_some() && !self.roster.is_drained(partition);
                // Nobody takes it earlier than so long after the write, which came later than its beginning.
                let until = until.then_some(began + TAKE_AFTER);
                self.states[partition].send_modify(|state| state.until = until);
            }
            Err(Error::Conflict) => {
                self.roster.lost(Instant::now(), partition);
                self.take_back(partition);
            }
            // Nothing is known; what was held is held until another could have taken it.
            Err(Error::NoStream(_) | Error::Unreachable(_)) => {}
        }
    }

    fn is_held(&self, partition: usize) -> bool {
        self.states[partition].borrow().is_held()
    }

    /// Removes an instance's key, if it is as it was seen. Of no consequence if it fails.
    async fn remove(&self, member: Instance, revision: u64) {
        if let Err(error) = self.bucket.remove(&self.member_key(member), revision).await {
            tracing::debug!(role = self.role, %member, %error, "cannot remove the key of an instance that is gone");
        }
    }

    /// Says how much this instance works on.
    fn tell(&self, context: &Context) {
        let now = Instant::now();
        for (partition, state) in self.states.iter().enumerate() {
            let anothers = self.roster.is_anothers(now, partition);
            state.send_if_modified(|state| std::mem::replace(&mut state.anothers, anothers) != anothers);
        }
        let held = self.states.iter().filter(|state| state.borrow().is_held()).count();
        context.metrics.partitions_held(self.role, held);
        let others = if held == 0 { ", and stands by" } else { "" };
        context.health.note(format!("{} works on {held} of {} partitions{others}", self.role, self.states.len()));
    }
}

/// How much older a key is than another. None where it is newer by more than a look can explain: clocks were set.
fn age(now: i64, written_at: i64) -> Option<Duration> {
    let nanos = now.saturating_sub(written_at);
    match u64::try_from(nanos) {
        Ok(nanos) => Some(Duration::from_nanos(nanos)),
        Err(_) => Duration::from_nanos(nanos.unsigned_abs()).lt(&TAKE_AFTER).then_some(Duration::ZERO),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_from_the_future_has_no_age() {
        let second = 1_000_000_000;
        assert_eq!(age(7 * second, 5 * second), Some(Duration::from_secs(2)));
        assert_eq!(age(5 * second, 6 * second), Some(Duration::ZERO), "written between the two");
        assert_eq!(age(5 * second, 60 * second), None);
    }
}
