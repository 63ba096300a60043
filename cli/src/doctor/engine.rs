//! The engine: may it be asked, and is it new enough.

use std::time::Duration;

use bollard::errors::Error;
use domain::NodeName;
use producer::engine::dial::Line;
use service::nats::parse_version;

use super::check::Check;
use super::clock::Reading;
use crate::address::EngineAddress;
use crate::up::engine::advice;

/// How long the engine may take.
const ANSWER_TIME: Duration = Duration::from_secs(5);
/// Oldest version of the engine's interface that is known to work: Docker Engine 20.10, Podman 4.
const API_MIN: (u64, u64, u64) = (1, 41, 0);

/// What was found, and the node's name unless it is told.
pub(super) async fn checks(address: &EngineAddress) -> (Vec<Check>, Option<NodeName>) {
    let failed = |why: String| {
        let failed = Check::failed("engine", format!("cannot ask it at {address}: {why}"), advice(&why));
        (vec![failed], None)
    };
    let line = match Line::to(&address.to_string()) {
        Ok(line) => line,
        Err(why) => return failed(why),
    };
    let asked = async {
        let docker = line.docker.clone().negotiate_version().await?;
        let version = docker.version().await?;
        let before = service::clock::now();
        let info = docker.info().await?;
        Ok::<_, Error>((version, before, info, service::clock::now()))
    };
    let answered = match tokio::time::timeout(ANSWER_TIME, asked).await {
        Err(_) => Err(format!("no answer within {} s", ANSWER_TIME.as_secs())),
        Ok(answered) => answered.map_err(|error| line.why(&error)),
    };
    let (version, before, info, after) = match answered {
        Ok(answered) => answered,
        Err(why) => return failed(why),
    };
    let engine = version.version.unwrap_or_default();
    let mut found = vec![Check::ok("engine", format!("version {engine} at {address}"))];
    found.push(api(version.api_version.as_deref().unwrap_or_default()));
    let theirs = info.system_time.as_deref().and_then(|time| time.parse().ok());
    found.extend(theirs.map(|theirs| Reading { before, theirs, after }.check("engine")));
    (found, info.name.as_deref().and_then(NodeName::from_engine))
}

fn api(version: &str) -> Check {
    let what = "engine API";
    if parse_version(version).is_some_and(|version| version >= API_MIN) {
        return Check::ok(what, format!("version {version}"));
    }
    let (major, minor, _) = API_MIN;
    let advice = format!("use an engine with version {major}.{minor} or newer: Docker Engine 20.10, Podman 4");
    Check::failed(what, format!("version {version}: too old"), advice)
}

#[cfg(test)]
mod tests {
    use super::super::check::Outcome;
    use super::*;

    #[test]
    fn versions_of_the_interface() {
        let judged = |version| api(version).outcome;
        assert_eq!([judged("1.41"), judged("1.51"), judged("2.0")], [Outcome::Ok; 3]);
        assert_eq!([judged("1.40"), judged("1.9"), judged("")], [Outcome::Failed; 3]);
    }
}
