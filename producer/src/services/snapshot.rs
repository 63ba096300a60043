//! `snapshot`: all states of the node, with the stamp they are true at. The engine is listed afresh.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bollard::models::ContainerSummary;
use domain::rpc::{SnapshotRequest, SnapshotResponse};
use domain::wire::Wire;
use domain::{Cause, ContainerId, Status};
use tokio::time::Instant;

use super::{Desk, Refusal};
use crate::core::Picture;
use crate::engine::connect::Connection;
use crate::engine::row;
use crate::look::Outcome;

/// Snapshots whose further pages can be asked for.
const SNAPSHOTS_MAX: usize = 4;
/// How long further pages can be asked for.
const SNAPSHOT_AGE_MAX: Duration = Duration::from_secs(60);
/// Most containers in a page.
const PAGE_MAX: usize = 500;
/// How long what was found may take to be sent.
const SENT_MAX: Duration = Duration::from_secs(5);
/// Most looks a second that rotation adds.
const ROTATION_A_SECOND: u64 = 20;
/// Rotation comes by every container within this time, where its bound allows.
const ROTATION: Duration = Duration::from_secs(120);

/// Snapshots of which pages may still be asked for, and where rotation is.
#[derive(Default)]
pub(crate) struct Snapshots {
    pages: Mutex<VecDeque<Pages>>,
    rotation: Mutex<Rotation>,
}

impl Snapshots {
    fn next_in_rotation(&self, ids: &[ContainerId]) -> Vec<ContainerId> {
        self.rotation.lock().unwrap_or_else(PoisonError::into_inner).next(ids, Instant::now())
    }
}

#[derive(Clone)]
struct Pages {
    token: String,
    at: Instant,
    picture: Arc<Picture>,
    missed: u32,
}

/// Looks at every container in turn, whatever its row says: a row has no pid and no restart count.
#[derive(Default)]
struct Rotation {
    last: Option<ContainerId>,
    at: Option<Instant>,
}

impl Rotation {
    /// The next ones whose turn it is, of sorted ids.
    fn next(&mut self, ids: &[ContainerId], now: Instant) -> Vec<ContainerId> {
        let elapsed = self.at.map_or(Duration::from_secs(1), |at| now.duration_since(at));
        self.at = Some(now);
        let total = u64::try_from(ids.len()).unwrap_or(u64::MAX);
        let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        let within = total.saturating_mul(millis).div_ceil(u64::try_from(ROTATION.as_millis()).unwrap_or(u64::MAX));
        let bound = ROTATION_A_SECOND.saturating_mul(millis).div_ceil(1000).max(1);
        let count = usize::try_from(within.min(bound).max(1)).unwrap_or(usize::MAX).min(ids.len());
        let start = self.last.map_or(0, |last| ids.partition_point(|id| *id <= last));
        let turn: Vec<_> = ids.iter().cycle().skip(start).take(count).copied().collect();
        self.last = turn.last().copied().or(self.last);
        turn
    }
}

impl Desk {
    pub(super) async fn snapshot(&self, request: &SnapshotRequest) -> Result<SnapshotResponse, Refusal> {
        if !request.page_token.is_empty() {
            return self.page(request);
        }
        let connection = self.connection.borrow().clone();
        let connection = connection.ok_or_else(|| {
            let reason = self.core.away().unwrap_or_else(|| "the engine is not connected yet".to_owned());
            Refusal::not_ready(format!("blind: {reason}"))
        })?;
        let epoch = self.core.stated_epoch();
        let epoch = epoch.ok_or_else(|| Refusal::not_ready("the engine's containers are not all stated yet"))?;
        self.look_where_needed(&connection, request.inspect_all).await?;
        let picture = tokio::time::timeout(SENT_MAX, self.core.picture_when_sent()).await.ok().flatten();
        let picture = picture.ok_or_else(|| Refusal::not_ready("what was found waits to be sent"))?;
        if picture.epoch != epoch {
            return Err(Refusal::not_ready("a new epoch has begun"));
        }
        // Only now: counts that an answer does not bear would be lost.
        let missed = self.core.take_missed();
        if request.digest == Some(picture.digest) {
            return Ok(SnapshotResponse {
                responder: self.core.responder(),
                seq: picture.seq,
                same: true,
                digest: picture.digest,
                containers: Vec::new(),
                next_page_token: String::new(),
                missed_events: missed,
            });
        }
        let token = format!("{:016x}", service::random());
        let pages = Pages { token, at: Instant::now(), picture: Arc::new(picture), missed };
        let response = self.respond(&pages, 0, request.page_size);
        if !response.next_page_token.is_empty() {
            let mut kept = self.snapshots.pages.lock().unwrap_or_else(PoisonError::into_inner);
            kept.push_back(pages);
            if kept.len() > SNAPSHOTS_MAX {
                kept.pop_front();
            }
        }
        Ok(response)
    }

    fn page(&self, request: &SnapshotRequest) -> Result<SnapshotResponse, Refusal> {
        let parsed = request.page_token.split_once('.').and_then(|(token, from)| Some((token, from.parse().ok()?)));
        let (token, from) = parsed.ok_or_else(|| Refusal::invalid("that is no page token"))?;
        let mut kept = self.snapshots.pages.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|pages| pages.at.elapsed() < SNAPSHOT_AGE_MAX);
        let pages = kept.iter().find(|pages| pages.token == token).cloned();
        drop(kept);
        let pages = pages.filter(|pages| pages.picture.epoch == self.core.epoch());
        let pages = pages.ok_or_else(|| Refusal::not_found("that snapshot is too old: ask for a new one"))?;
        Ok(self.respond(&pages, from, request.page_size))
    }

    fn respond(&self, pages: &Pages, from: usize, page_size: u32) -> SnapshotResponse {
        let picture = &pages.picture;
        let size = usize::try_from(page_size).ok().filter(|size| *size != 0).unwrap_or(PAGE_MAX).min(PAGE_MAX);
        let mut response = SnapshotResponse {
            responder: self.core.responder(),
            seq: picture.seq,
            same: false,
            digest: picture.digest,
            containers: picture.containers.iter().skip(from).take(size).cloned().collect(),
            next_page_token: String::new(),
            missed_events: pages.missed,
        };
        // States are of many sizes: a page that is too big is halved until it fits.
        while response.containers.len() > 1 && response.encode().len() > self.bytes_max {
            response.containers.truncate(response.containers.len() / 2);
        }
        let next = from + response.containers.len();
        if next < picture.containers.len() {
            response.next_page_token = format!("{}.{next}", pages.token);
        }
        response
    }

    /// Lists the engine and looks where its rows do not fit what is known.
    async fn look_where_needed(&self, connection: &Connection, inspect_all: bool) -> Result<(), Refusal> {
        let rows = match connection.list(self.core.limits.list_max).await {
            Ok(rows) => rows,
            Err(error) => {
                self.core.blind(&error.to_string(), self.core.cause(Cause::Snapshot), false);
                self.statements.request(Cause::List, None);
                return Err(Refusal::not_ready(format!("blind: {error}")));
            }
        };
        let known = self.core.ids(|_| true);
        let listed: BTreeSet<ContainerId> = rows.iter().filter_map(|row| row.id.as_deref()?.parse().ok()).collect();
        let now = service::clock::now().0.saturating_add(connection.clock_ahead).div_euclid(1_000_000_000);
        let mut to_look: BTreeSet<ContainerId> = rows
            .iter()
            .filter_map(|row| Some((row.id.as_deref()?.parse().ok()?, row)))
            .filter(|(id, row)| inspect_all || self.is_doubtful(id, row, now))
            .map(|(id, _)| id)
            .collect();
        // What is known and not listed is gone, unless it was made since.
        to_look.extend(known.iter().filter(|id| !listed.contains(*id)));
        let listed: Vec<ContainerId> = listed.into_iter().collect();
        to_look.extend(self.snapshots.next_in_rotation(&listed));
        let to_look = to_look.into_iter().collect();
        let outcomes = self.looker.look_at_all(to_look, Cause::Snapshot, false).await;
        for outcome in outcomes {
            if let Outcome::Failed(reason) = outcome {
                return Err(Refusal::not_ready(format!("a look failed: {reason}")));
            }
        }
        Ok(())
    }

    fn is_doubtful(&self, id: &ContainerId, row: &ContainerSummary, now: i64) -> bool {
        // A start that failed late leaves the row as it was.
        let Some(known) = self.core.published(id) else { return true };
        matches!(known.status, Status::Created) || !row::fits(row, &known, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotation_comes_by_everyone() {
        let ids: Vec<ContainerId> = (0..50).map(|n| [n; 32].into()).collect();
        let mut rotation = Rotation::default();
        let mut now = Instant::now();
        let mut seen = BTreeSet::new();
        for _ in 0..24 {
            let turn = rotation.next(&ids, now);
            assert!((1..=4).contains(&turn.len()), "{}", turn.len());
            seen.extend(turn);
            now += Duration::from_secs(5);
        }
        assert_eq!(seen.len(), 50);
        assert!(rotation.next(&[], now).is_empty());
        let many: Vec<ContainerId> = (0..=255u8)
            .flat_map(|a| {
                (0..=255u8).map(move |b| {
                    let mut id = [a; 32];
                    id[31] = b;
                    id.into()
                })
            })
            .collect();
        assert_eq!(rotation.next(&many, now + Duration::from_secs(5)).len(), 100);
    }
}
