//! `resync`: look again, and publish what is found.

use std::sync::Arc;

use domain::rpc::{ResyncRequest, ResyncResponse};
use domain::{Cause, Observed};

use super::{Desk, Refusal};
use crate::core::Draft;

/// Most bytes of a request's id.
const REQUEST_ID_MAX: usize = 64;

impl Desk {
    pub(super) fn resync(&self, request: ResyncRequest) -> Result<ResyncResponse, Refusal> {
        let ResyncRequest { container_ids, request_id, passed_epoch, corrections } = request;
        if request_id.len() > REQUEST_ID_MAX {
            return Err(Refusal::invalid(format!("the id of a request has at most {REQUEST_ID_MAX} bytes")));
        }
        let open = self.core.open_epoch();
        if container_ids.is_empty() {
            // Kept also while none can be made, so that the answer names it.
            self.statements.request(Cause::Resync, Some(request_id).filter(|id| !id.is_empty()));
        }
        let Some(epoch) = open else {
            return Err(Refusal::not_ready("the producer's hello is not stored yet"));
        };
        if passed_epoch >= epoch {
            self.passed.send_replace(passed_epoch);
            return Ok(ResyncResponse { responder: self.core.responder() });
        }
        let cause = self.core.cause(Cause::Resync);
        for correction in corrections {
            self.core.history(Draft { cause, event: None, observed: Observed::Correction(correction) });
        }
        let looker = Arc::clone(&self.looker);
        // What it comes to is published; who asked is told that it is being done.
        tokio::spawn(async move { looker.look_at_all(container_ids, Cause::Resync, true).await });
        Ok(ResyncResponse { responder: self.core.responder() })
    }
}
