//! Where the engine is.

use std::fmt;
use std::str::FromStr;

use domain::NodeName;
use producer::engine::ssh::Host;
use service::Failure;

/// Where the engine is when nobody says.
const DEFAULT: &str = "unix:///var/run/docker.sock";

/// Address of an engine: `unix:///var/run/docker.sock`, `tcp://host:2375`, `http://…`, `https://…`, `ssh://user@host`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EngineAddress(String);

impl FromStr for EngineAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let hint = "use for example unix:///var/run/docker.sock, tcp://10.0.0.1:2375 or ssh://user@host";
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(format!("not an address of an engine; {hint}"));
        };
        let fits = match scheme {
            "unix" => rest.starts_with('/') && rest.len() > 1,
            "tcp" | "http" | "https" => host_and_port(rest),
            "ssh" => Host::parse(rest).is_some(),
            _ => false,
        };
        if fits { Ok(Self(text.to_owned())) } else { Err(format!("not an address of an engine; {hint}")) }
    }
}

/// A host, and a port if there is a colon after it.
fn host_and_port(text: &str) -> bool {
    let text = text.trim_end_matches('/');
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        Some(_) | None => (text, None),
    };
    let host_fits = !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || c == '/' || c == '@');
    host_fits && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

impl fmt::Display for EngineAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where the engine of a node is: `<node>=<address>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeEngine {
    pub(crate) node: NodeName,
    pub(crate) address: EngineAddress,
}

impl FromStr for NodeEngine {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((node, address)) = text.split_once('=') else {
            return Err("say whose engine it is: use for example n1=tcp://10.0.0.1:2375".to_owned());
        };
        let node = node.parse().map_err(|error| format!("{error}"))?;
        Ok(Self { node, address: address.parse()? })
    }
}

/// Where the engine is: what was told, `$DOCKER_HOST`, or the usual place.
pub(crate) fn engine(told: Option<&EngineAddress>) -> Result<EngineAddress, Failure> {
    let environment = std::env::var_os("DOCKER_HOST").map(|address| address.to_string_lossy().into_owned());
    told_or_found(told, environment.as_deref())
}

fn told_or_found(told: Option<&EngineAddress>, environment: Option<&str>) -> Result<EngineAddress, Failure> {
    match (told, environment) {
        (Some(told), _) => Ok(told.clone()),
        (None, None | Some("")) => Ok(EngineAddress(DEFAULT.to_owned())),
        (None, Some(found)) => found.parse().map_err(|why| {
            Failure::usage(format!("$DOCKER_HOST is `{found}`: {why}; name where the engine is with --engine"))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_engines() {
        for good in [
            "unix:///var/run/docker.sock",
            "tcp://h",
            "tcp://10.0.0.1:2375",
            "https://h:2376/",
            "tcp://[::1]:2375",
            "ssh://me@h",
        ] {
            assert!(good.parse::<EngineAddress>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "somewhere",
            "unix://",
            "unix://docker.sock",
            "tcp://",
            "tcp://:1",
            "tcp://h:0",
            "tcp://h:port",
            "ftp://h",
            "ssh://-h",
            "tcp://a b:1",
        ] {
            assert!(bad.parse::<EngineAddress>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_engine_of_a_node_names_both() {
        let good: NodeEngine = "n1=tcp://h:1".parse().unwrap();
        assert_eq!((good.node.as_str(), good.address.to_string()), ("n1", "tcp://h:1".to_owned()));
        for bad in ["", "tcp://h:1", "n1", "n1=", "n1=x", "=tcp://h:1", "a.b=tcp://h:1"] {
            assert!(bad.parse::<NodeEngine>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_told_counts_more_than_the_environment() {
        let told = "tcp://h:1".parse().unwrap();
        let chosen = |told, environment| told_or_found(told, environment).map(|address| address.to_string());
        assert_eq!(chosen(Some(&told), Some("ftp://foo")), Ok("tcp://h:1".to_owned()));
        assert_eq!(chosen(None, Some("tcp://h:2")), Ok("tcp://h:2".to_owned()));
        assert_eq!(chosen(None, Some("")), Ok(DEFAULT.to_owned()));
        let failure = chosen(None, Some("ftp://foo")).unwrap_err();
        assert_eq!(failure.exit, service::Exit::Usage);
        assert!(failure.message.contains("$DOCKER_HOST") && failure.message.contains("ftp://foo"), "{failure}");
    }
}
