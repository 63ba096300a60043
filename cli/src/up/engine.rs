//! A first look at the engine, so that `up` tells at once what a producer would only wait for.

use std::time::Duration;

use domain::NodeName;
use producer::engine::dial::Line;
use service::Failure;

use crate::address::{self, EngineAddress};

/// How long the look may take.
const LOOK_TIME: Duration = Duration::from_secs(4);

/// The engine, as it answered.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// The name it gives its node.
    pub(crate) node: Option<NodeName>,
    /// Its version.
    pub(crate) version: String,
}

/// Asks the engine who it is.
pub(crate) async fn look(told: Option<&EngineAddress>) -> Result<Seen, Failure> {
    let address = address::engine(told)?.to_string();
    let unanswered =
        |why: String| Failure::unanswered(format!("cannot ask the engine at {address}: {why}; {}", advice(&why)));
    let line = Line::to(&address).map_err(unanswered)?;
    let asked = async {
        let docker = line.docker.clone().negotiate_version().await?;
        docker.info().await
    };
    let info = match tokio::time::timeout(LOOK_TIME, asked).await {
        Err(_) => Err("no answer".to_owned()),
        Ok(answered) => answered.map_err(|error| line.why(&error)),
    };
    let info = info.map_err(unanswered)?;
    Ok(Seen {
        node: info.name.as_deref().and_then(NodeName::from_engine),
        version: info.server_version.unwrap_or_default(),
    })
}

/// What to do about an engine that cannot be asked.
pub(crate) fn advice(why: &str) -> &'static str {
    if why.to_ascii_lowercase().contains("permission denied") {
        "run as root, or join the group that may use it (often `docker`)"
    } else {
        "start Docker, or name where the engine is with --engine"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_engine_that_is_not_there() {
        let failure = look(Some(&"unix:///nowhere/docker.sock".parse().unwrap())).await.unwrap_err();
        assert_eq!(failure.exit, service::Exit::Unanswered);
        assert!(failure.message.ends_with("start Docker, or name where the engine is with --engine"), "{failure}");
    }

    #[test]
    fn who_may_not_ask_is_told_how_to() {
        assert!(advice("client error (Connect): Permission denied (os error 13)").starts_with("run as root"));
    }
}
