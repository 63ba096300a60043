//! Asking producers for the statement that ends a rebuild.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use async_nats::{Client, Request as NatsRequest};
use domain::names::Request;
use domain::rpc::ResyncRequest;
use domain::wire::Wire;
use domain::{NodeName, Prefix};
use tokio::task::JoinSet;

use crate::batch::Known;

/// How long an answer may take.
const ANSWER_TIME: Duration = Duration::from_secs(2);
/// The wait after the first question that nobody answered; then twice as long each time, up to a heartbeat.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// When to ask whom. A node that answers is asked again after a heartbeat, if its statement is not whole by then.
#[derive(Default)]
pub(crate) struct Asks {
    nodes: BTreeMap<NodeName, Ask>,
    running: JoinSet<(NodeName, bool)>,
}

struct Ask {
    token: String,
    /// The statement was under way when last looked at.
    stated: bool,
    next: Instant,
    wait: Duration,
    running: bool,
}

impl Asks {
    /// Looks which nodes are being built anew.
    pub(crate) fn look(&mut self, nodes: &BTreeMap<NodeName, Known>, now: Instant, heartbeat: Duration) {
        self.nodes.retain(|name, ask| {
            nodes.get(name).and_then(Known::rebuild).is_some_and(|rebuild| rebuild.token == ask.token)
        });
        for (name, known) in nodes {
            let Some(rebuild) = known.rebuild() else { continue };
            let ask = self.nodes.entry(name.clone()).or_insert_with(|| Ask {
                token: rebuild.token.clone(),
                stated: rebuild.stated,
                next: now,
                wait: FIRST_WAIT,
                running: false,
            });
            match (ask.stated, rebuild.stated) {
                // It comes: one that is large takes its time.
                (false, true) => ask.next = now + 2 * heartbeat,
                // It ended, and was not whole.
                (true, false) => ask.next = now,
                (true, true) | (false, false) => {}
            }
            ask.stated = rebuild.stated;
        }
    }

    /// Asks those whose time has come.
    pub(crate) fn ask(&mut self, client: &Client, prefix: &Prefix, now: Instant, heartbeat: Duration) {
        for (name, ask) in &mut self.nodes {
            if ask.running || ask.next > now {
                continue;
            }
            ask.running = true;
            ask.next = now + ask.wait;
            ask.wait = (2 * ask.wait).min(heartbeat);
            let request = ResyncRequest { request_id: ask.token.clone(), ..ResyncRequest::default() };
            let (client, name, subject) = (client.clone(), name.clone(), prefix.rpc(name, Request::Resync));
            self.running.spawn(async move {
                let answered = question(&client, subject, request.encode()).await;
                (name, answered)
            });
        }
    }

    /// Waits for an answer; for ever where none is awaited.
    pub(crate) async fn answered(&mut self, heartbeat: Duration) {
        match self.running.join_next().await {
            None => std::future::pending().await,
            Some(Err(_)) => {}
            Some(Ok((name, answered))) => {
                if let Some(ask) = self.nodes.get_mut(&name) {
                    ask.running = false;
                    if answered && !ask.stated {
                        ask.next = Instant::now() + heartbeat;
                    }
                }
            }
        }
    }
}

/// Asks with an inbox of its own: the client remembers every question of its shared inbox that got no answer.
async fn question(client: &Client, subject: String, payload: Vec<u8>) -> bool {
    let request = NatsRequest::new().inbox(client.new_inbox()).timeout(Some(ANSWER_TIME)).payload(payload.into());
    match client.send_request(subject, request).await {
        Ok(answer) => answer.headers.is_none_or(|headers| headers.get("Nats-Service-Error-Code").is_none()),
        Err(_) => false,
    }
}
