//! A nats-server whose disk was full: what could not write a stream once does not write it again, however much room there
//! is (nats-server `server/filestore.go`: a write error is kept), so it is started anew as soon as there is.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use service::Health;
use tokio::time::{Instant, sleep, timeout};

use super::child::Server;
use crate::http;

/// How often it is asked.
const LOOK_TIME: Duration = Duration::from_secs(2);
/// How long its answer may take.
const ANSWER_TIME: Duration = Duration::from_secs(5);
/// Free bytes that are worth a new start: less is full again at once.
const ROOM_MIN: u64 = 64 << 20;
/// How long a start is given before the next one, at first and at most.
const PAUSE: Duration = Duration::from_secs(30);
const PAUSE_MAX: Duration = Duration::from_secs(600);
/// What its health endpoint says where a stream could not be written.
const UNWRITTEN: &str = "write error";

/// What is to be done about it.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// It writes, or nothing is known.
    Well,
    /// It does not write, and waits for room or for its turn.
    Waits,
    /// It does not write, and would, if it were started anew.
    Restart,
}

/// When it was started anew, and how long the next time has to wait.
struct Patience {
    pause: Duration,
    restarted: Option<Instant>,
}

impl Patience {
    fn new() -> Self {
        Self { pause: PAUSE, restarted: None }
    }

    /// `writes` is what it says of itself, `room` how many bytes are free.
    fn judge(&mut self, writes: bool, room: u64, now: Instant) -> Verdict {
        let since = self.restarted.map(|at| now.duration_since(at));
        if writes {
            // It has written for as long as it would have to wait.
            if since.is_some_and(|since| since > self.pause) {
                *self = Self::new();
            }
            return Verdict::Well;
        }
        if room < ROOM_MIN || since.is_some_and(|since| since <= self.pause) {
            return Verdict::Waits;
        }
        if self.restarted.is_some() {
            self.pause = (self.pause * 2).min(PAUSE_MAX);
        }
        self.restarted = Some(now);
        Verdict::Restart
    }
}

/// A nats-server to be looked after: where it tells how it is, and where it writes.
#[derive(Debug)]
pub(crate) struct Monitor {
    pub(crate) port: u16,
    pub(crate) folder: PathBuf,
}

impl Monitor {
    /// Looks after the server until it is dropped.
    pub(crate) async fn look_after(&self, server: &Server, health: &Health) {
        let mut patience = Patience::new();
        let mut told = false;
        loop {
            sleep(LOOK_TIME).await;
            let Some(trouble) = self.trouble().await else { continue };
            match patience.judge(trouble.is_none(), self.room(), Instant::now()) {
                Verdict::Well if told => health.ready("disk"),
                Verdict::Well => continue,
                Verdict::Waits => health.unready("disk", self.explain(&trouble.unwrap_or_default())),
                Verdict::Restart => server.restart(),
            }
            told = true;
        }
    }

    /// What could not be written; the inner one is `None` where all can, the outer one where it does not tell.
    async fn trouble(&self) -> Option<Option<String>> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let answer = timeout(ANSWER_TIME, http::get(address, "/healthz")).await.ok()?.ok()?;
        unwritten(&answer)
    }

    /// Bytes that are free where it writes; all there are, where that cannot be told.
    fn room(&self) -> u64 {
        rustix::fs::statvfs(&self.folder).map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    fn explain(&self, trouble: &str) -> String {
        let megabytes = ROOM_MIN >> 20;
        let folder = self.folder.display();
        format!("nats-server: {trouble}; make room: with {megabytes} MB free in {folder} it is started anew")
    }
}

/// The same, of an answer of its health endpoint. Other troubles pass by themselves.
fn unwritten(answer: &http::Answer) -> Option<Option<String>> {
    if answer.code == 200 {
        return Some(None);
    }
    let said: serde_json::Value = serde_json::from_str(&answer.body).ok()?;
    let error = said.get("error")?.as_str()?;
    error.contains(UNWRITTEN).then(|| Some(error.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_started_anew_when_there_is_room_and_not_too_often() {
        let (mut patience, began) = (Patience::new(), Instant::now());
        let mut judge = |writes, room, seconds| patience.judge(writes, room, began + Duration::from_secs(seconds));
        assert_eq!(judge(true, 0, 0), Verdict::Well);
        assert_eq!(judge(false, ROOM_MIN - 1, 1), Verdict::Waits);
        assert_eq!(judge(false, ROOM_MIN, 2), Verdict::Restart);
        assert_eq!(judge(false, ROOM_MIN, 32), Verdict::Waits, "it has just begun");
        assert_eq!(judge(false, ROOM_MIN, 33), Verdict::Restart);
        assert_eq!(judge(false, ROOM_MIN, 93), Verdict::Waits, "twice as long");
        assert_eq!(judge(true, ROOM_MIN, 94), Verdict::Well, "for long enough");
        assert_eq!(judge(false, ROOM_MIN, 95), Verdict::Restart);
        for _ in 0..9 {
            assert_ne!(judge(false, ROOM_MIN, u64::from(u32::MAX)), Verdict::Well);
        }
    }

    #[test]
    fn only_what_was_not_written_counts() {
        let answer = |code, body: &str| http::Answer { code, body: body.to_owned() };
        assert_eq!(unwritten(&answer(200, r#"{"status":"ok"}"#)), Some(None));
        let full =
            r#"{"status":"unavailable","error":"JetStream stream '$G > A' write error: no space left on device"}"#;
        assert!(
            unwritten(&answer(503, full)).flatten().is_some_and(|error| error.ends_with("no space left on device"))
        );
        let recovering = r#"{"status":"unavailable","error":"JetStream is not current with the meta leader"}"#;
        assert_eq!(unwritten(&answer(503, recovering)), None);
        assert_eq!(unwritten(&answer(503, "?")), None);
    }
}
