//! A table that is kept live.

use std::time::Duration;

use service::Failure;

use crate::ask;
use crate::out::{self, Ended};

/// How often a live table is drawn anew.
const LIVE_TIME: Duration = Duration::from_secs(1);
/// Puts the cursor home, and clears what is below it.
const HOME_AND_CLEAR: &str = "\x1b[H\x1b[J";

/// Draws what was read again and again, until Ctrl-C. While Redis is away it shows what was, and says so.
pub(crate) async fn table<T>(
    first: T,
    read: impl AsyncFn() -> Result<T, Failure>,
    stale: impl Fn(&T) -> Option<String>,
    render: impl Fn(&T) -> String,
) -> Result<(), Ended> {
    let draw = async {
        let mut shown = first;
        let mut warning = stale(&shown);
        loop {
            let table = render(&shown);
            let warning_line = warning.map(|reason| format!("\nnot current: {}\n", out::one_line(&reason)));
            out::data(&format!("{HOME_AND_CLEAR}{table}{}", warning_line.unwrap_or_default()))?;
            tokio::time::sleep(LIVE_TIME).await;
            warning = match read().await {
                Ok(read) => {
                    shown = read;
                    stale(&shown)
                }
                Err(failure) => Some(failure.to_string()),
            };
        }
    };
    tokio::select! {
        ended = draw => ended,
        () = ask::told_to_end() => Ok(()),
    }
}
