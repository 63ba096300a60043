//! Stand-ins: while a node's producer is gone, its engine is watched from here, with the producer's own code.
//!
//! Who begins is decided here, by whoever holds the partition's lease. Who ends is decided by the claim of the node's
//! epoch: a producer that finds a stand-in claims the next one, and a stand-in whose claim is passed ends. So a stand-in
//! that works goes on though the lease is lost, and never do two work.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::NodeName;
use domain::names::Request;
use domain::node::NodeClaim;
use domain::rpc::{ReplayRequest, ReplayResponse};
use domain::wire::Wire;
use futures::{StreamExt, stream};
use service::kv::Bucket;
use service::lease::Lease;
use service::{Context, Failure, Health, Stop};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};
use view::producer::{Unanswered, ask};

use crate::Config;
use crate::worker::Desk;

/// How long whoever serves a node may take to say so: it costs no look at the engine.
const WHO_WAIT: Duration = Duration::from_secs(2);
/// So many looks in a row without an answer mean that a producer is gone.
const LOOKS: u32 = 2;
/// A stand-in has no restart that would be waited for.
const LOOKS_AFTER_STAND_IN: u32 = 1;
/// How long a stand-in that failed is not tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(30);

/// Who answers for a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    /// Its producer.
    Producer,
    /// A stand-in.
    StandIn,
    /// Nobody; and who claimed its epoch last was a stand-in, or not.
    Nobody { after_stand_in: bool },
    /// That cannot be known now.
    Unknown,
}

/// How this instance is placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// It holds the lease.
    Holder,
    /// It does not, or no longer.
    Other,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Nothing.
    Stay,
    /// Begin to stand in.
    Begin,
    /// End it.
    End,
}

/// How many looks in a row nobody answered for a node.
#[derive(Clone, Copy, Debug, Default)]
struct Silence(u32);

impl Silence {
    /// One look. `running`: a stand-in of this instance works, or tries to.
    fn step(&mut self, heard: Heard, role: Role, running: bool) -> Step {
        let Heard::Nobody { after_stand_in } = heard else {
            if heard != Heard::Unknown {
                self.0 = 0;
            }
            return if heard == Heard::Producer && running { Step::End } else { Step::Stay };
        };
        self.0 = self.0.saturating_add(1);
        match (running, role) {
            (false, Role::Holder) => {
                let looks = if after_stand_in { LOOKS_AFTER_STAND_IN } else { LOOKS };
                if self.0 >= looks { Step::Begin } else { Step::Stay }
            }
            // It does not get to work, as its engine is out of reach: let others try.
            (true, Role::Other) if self.0 >= LOOKS => Step::End,
            (true, _) | (false, Role::Other) => Step::Stay,
        }
    }
}

/// The stand-ins of a partition.
pub(crate) struct StandIns<'a> {
    desk: &'a Desk,
    context: &'a Context,
    interval: Duration,
    nodes: BTreeMap<NodeName, Watched>,
}

/// A node whose engine's address is known.
struct Watched {
    config: producer::Config,
    health: Health,
    silence: Silence,
    running: Option<Running>,
    /// When a failure was.
    failed: Option<Instant>,
}

struct Running {
    stop: Stop,
    task: JoinHandle<Result<(), Failure>>,
}

impl<'a> StandIns<'a> {
    /// None works yet.
    pub(crate) fn new(config: &Config, desk: &'a Desk, context: &'a Context) -> Self {
        let own = config.stand_ins.iter().filter(|(node, _)| desk.partitions.of(node) == desk.partition);
        let watched = own.map(|(node, config)| {
            let health = context.health.of(&format!("stand-in for {node}"));
            let config = config.clone();
            (node.clone(), Watched { config, health, silence: Silence::default(), running: None, failed: None })
        });
        Self { desk, context, interval: config.interval, nodes: watched.collect() }
    }

    /// Looks each interval, and as soon as the lease is held, who answers for the nodes. Never ends.
    pub(crate) async fn run(&mut self, lease: &Lease) {
        if self.nodes.is_empty() {
            return std::future::pending().await;
        }
        let mut ticks = interval(self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut role = Role::Other;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = lease.turned(role == Role::Holder) => {}
            }
            role = if lease.is_held() { Role::Holder } else { Role::Other };
            self.look(role).await;
        }
    }

    /// Ends them all.
    pub(crate) async fn end(&mut self) {
        self.nodes.values().filter_map(|watched| watched.running.as_ref()).for_each(|running| running.stop.trigger());
        for (node, watched) in &mut self.nodes {
            if let Some(running) = watched.running.take() {
                watched.ended(node, running).await;
            }
        }
    }

    async fn look(&mut self, role: Role) {
        for (node, watched) in &mut self.nodes {
            if let Some(running) = watched.running.take_if(|running| running.task.is_finished()) {
                watched.ended(node, running).await;
            }
        }
        let wanted = self.nodes.iter().filter(|(_, watched)| role == Role::Holder || watched.running.is_some());
        let asked: Vec<_> = wanted.map(|(node, _)| heard(self.desk, node.clone())).collect();
        let mut answers = stream::iter(asked).buffer_unordered(self.desk.limits.nodes);
        while let Some((node, heard)) = answers.next().await {
            if let Some(watched) = self.nodes.get_mut(&node) {
                watched.take_in(&node, heard, role, self.context);
            }
        }
    }
}

impl Watched {
    fn take_in(&mut self, node: &NodeName, heard: Heard, role: Role, context: &Context) {
        match self.silence.step(heard, role, self.running.is_some()) {
            Step::Stay => {}
            Step::Begin if self.failed.is_some_and(|at| at.elapsed() < AGAIN_AFTER) => {}
            Step::Begin => {
                tracing::info!(%node, "its producer is gone: standing in for it");
                let stop = Stop::new();
                let of_its_own = Context { stop: stop.clone(), health: self.health.clone(), ..context.clone() };
                let task = tokio::spawn(producer::run(self.config.clone(), of_its_own));
                self.running = Some(Running { stop, task });
            }
            Step::End => self.running.iter().for_each(|running| running.stop.trigger()),
        }
        if self.running.is_none() && matches!(heard, Heard::Producer | Heard::StandIn) {
            // Nobody needs this engine to be in reach.
            self.failed = None;
            self.health.forget();
        }
    }

    async fn ended(&mut self, node: &NodeName, Running { task, .. }: Running) {
        let ended = task.await.unwrap_or_else(|error| Err(Failure::failed(format!("the stand-in broke: {error}"))));
        self.health.forget();
        match ended {
            Ok(()) => tracing::info!(%node, "no longer standing in for its producer"),
            Err(failure) => {
                self.health.unready("engine", failure.message);
                self.failed = Some(Instant::now());
            }
        }
    }
}

/// Who answers for a node.
async fn heard(desk: &Desk, node: NodeName) -> (NodeName, Heard) {
    // No epoch is 0: it asks only who is there.
    let question = ReplayRequest { epoch: 0, from_seq: 0, to_seq: 0 };
    let subject = desk.prefix.rpc(&node, Request::Replay);
    let heard = match ask::<_, ReplayResponse>(&desk.client, subject, &question, WHO_WAIT).await {
        Ok(answer) if answer.responder.stand_in => Heard::StandIn,
        Ok(answer) => of_producer(answer.responder.epoch, claim(desk, &node).await.as_ref()),
        // An error is an answer too: somebody is there.
        Err(Unanswered::Refused { .. } | Unanswered::Unreadable(_)) => Heard::Producer,
        Err(Unanswered::Nobody | Unanswered::Late(_)) => {
            Heard::Nobody { after_stand_in: claim(desk, &node).await.is_some_and(|claim| claim.stand_in) }
        }
        Err(Unanswered::Away(_)) => Heard::Unknown,
    };
    (node, heard)
}

/// What a producer's answer says. One whose life is over may answer once more, when it was cut off or stood still: it is
/// yet to see that another has claimed the node.
fn of_producer(epoch: u64, claim: Option<&NodeClaim>) -> Heard {
    if claim.is_some_and(|claim| claim.epoch > epoch) { Heard::Unknown } else { Heard::Producer }
}

/// Who claimed the node's last epoch, where that is known.
async fn claim(desk: &Desk, node: &NodeName) -> Option<NodeClaim> {
    let bucket = Bucket::new(desk.client.clone(), desk.prefix.nodes_bucket());
    let entry = bucket.get(node.as_str()).await.ok().flatten();
    entry.and_then(|entry| NodeClaim::decode(&entry.value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GONE: Heard = Heard::Nobody { after_stand_in: false };
    const STAND_IN_GONE: Heard = Heard::Nobody { after_stand_in: true };

    /// What each look of a holder comes to, a stand-in running from where it begins.
    fn steps(heard: &[Heard]) -> Vec<Step> {
        let (mut silence, mut running) = (Silence::default(), false);
        let step = |heard: &Heard| {
            let step = silence.step(*heard, Role::Holder, running);
            running = (running || step == Step::Begin) && step != Step::End;
            step
        };
        heard.iter().map(step).collect()
    }

    #[test]
    fn a_producer_is_gone_after_two_looks_in_a_row() {
        use Step::{Begin, Stay};
        assert_eq!(steps(&[GONE, GONE]), [Stay, Begin]);
        assert_eq!(steps(&[GONE, Heard::Producer, GONE, GONE]), [Stay, Stay, Stay, Begin]);
        assert_eq!(steps(&[GONE, Heard::StandIn, GONE, GONE]), [Stay, Stay, Stay, Begin]);
        assert_eq!(steps(&[GONE, Heard::Unknown, GONE]), [Stay, Stay, Begin]);
    }

    #[test]
    fn a_stand_in_is_followed_after_one_look() {
        assert_eq!(steps(&[Heard::StandIn, STAND_IN_GONE]), [Step::Stay, Step::Begin]);
    }

    #[test]
    fn a_stand_in_ends_when_the_producer_answers() {
        use Step::{Begin, End, Stay};
        assert_eq!(steps(&[GONE, GONE, Heard::StandIn, Heard::Producer]), [Stay, Begin, Stay, End]);
        assert_eq!(steps(&[GONE, GONE, GONE, GONE]), [Stay, Begin, Stay, Stay], "it has yet to claim");
    }

    #[test]
    fn the_answer_of_a_life_that_is_over_ends_no_stand_in() {
        let claim = |epoch| NodeClaim { epoch, engine_id: "e".into(), instance: domain::Instance(1), stand_in: true };
        assert_eq!(of_producer(5, Some(&claim(6))), Heard::Unknown);
        assert_eq!([5, 4].map(|epoch| of_producer(5, Some(&claim(epoch)))), [Heard::Producer; 2]);
        assert_eq!(of_producer(5, None), Heard::Producer);
        let mut silence = Silence::default();
        assert_eq!(silence.step(Heard::Unknown, Role::Holder, true), Step::Stay);
    }

    #[test]
    fn without_the_lease_none_begins_and_one_that_works_goes_on() {
        let mut silence = Silence::default();
        let mut step = |heard, running| silence.step(heard, Role::Other, running);
        assert_eq!([GONE, GONE, STAND_IN_GONE].map(|heard| step(heard, false)), [Step::Stay; 3]);
        assert_eq!([Heard::StandIn, Heard::Unknown, GONE].map(|heard| step(heard, true)), [Step::Stay; 3]);
        assert_eq!(step(GONE, true), Step::End, "it does not get to work");
    }
}
