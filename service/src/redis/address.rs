//! Addresses of Redis: one server, several that sentinels watch over, or a cluster.

use std::fmt;
use std::str::FromStr;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo};

/// What an address may look like.
const HINT: &str = "use for example redis://127.0.0.1:6379, redis+sentinel://host:26379,host2:26379/<service name> \
                    or redis+cluster://host:6379,host2:6379";
/// Port of a sentinel unless another one is named.
const SENTINEL_PORT: u16 = 26379;
/// Port of a server unless another one is named.
const SERVER_PORT: u16 = 6379;

/// Address of Redis.
#[derive(Clone)]
pub struct Address {
    pub(super) reach: Reach,
    url: String,
}

/// How the server that answers is found.
#[derive(Clone, Debug)]
pub(super) enum Reach {
    /// It is this one.
    One(ConnectionInfo),
    /// Sentinels are asked for it.
    Sentinel(Sentinels),
    /// Each key has its own; any of these tells which.
    Cluster(Vec<ConnectionInfo>),
}

/// Sentinels, and what they are asked for.
#[derive(Clone, Debug)]
pub(super) struct Sentinels {
    /// Each sentinel, as a server of the service is reached: with its user, password and database.
    pub(super) hosts: Vec<ConnectionInfo>,
    /// The name that they know the service by.
    pub(super) service: String,
}

/// Host and port of a server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Endpoint {
    pub(super) host: String,
    pub(super) port: u16,
}

impl Endpoint {
    /// Where the server is; `None` for a socket in a folder.
    pub(super) fn of(info: &ConnectionInfo) -> Option<Self> {
        let (ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. }) = info.addr() else {
            return None;
        };
        Some(Self { host: host.clone(), port: *port })
    }

    /// From `host:port`, where the host may be an IPv6 address without brackets.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        Some(Self { host: host.trim_matches(['[', ']']).to_owned(), port: port.parse().ok()? })
    }

    /// The same as `like`, but there.
    pub(super) fn reached_like(&self, like: &ConnectionInfo) -> ConnectionInfo {
        let Self { host, port } = self.clone();
        let addr = if let ConnectionAddr::TcpTls { insecure, tls_params, .. } = like.addr() {
            ConnectionAddr::TcpTls { host, port, insecure: *insecure, tls_params: tls_params.clone() }
        } else {
            ConnectionAddr::Tcp(host, port)
        };
        like.clone().set_addr(addr)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let url = if text.contains("://") { text.to_owned() } else { format!("redis://{text}") };
        let (scheme, rest) = url.split_once("://").unwrap_or(("", ""));
        let reach = match scheme {
            "redis" | "rediss" | "unix" | "redis+unix" => server(&url).map(Reach::One),
            "redis+sentinel" => sentinels("redis", rest),
            "rediss+sentinel" => sentinels("rediss", rest),
            "redis+cluster" => cluster("redis", rest),
            "rediss+cluster" => cluster("rediss", rest),
            _ => Err("not an address of Redis".to_owned()),
        };
        let reach = reach.map_err(|why| format!("{why}; {HINT}"))?;
        Ok(Self { reach, url })
    }
}

/// The parts of an address that names several hosts.
struct Parts<'a> {
    /// `<user>:<password>@`, or nothing.
    credentials: &'a str,
    hosts: Vec<&'a str>,
    path: &'a str,
    query: &'a str,
}

fn parts(rest: &str) -> Parts<'_> {
    // A password may hold any of the characters that are looked for behind it.
    let (credentials, rest) = rest.split_at(rest.rfind('@').map_or(0, |at| at + 1));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
    Parts { credentials, hosts: hosts.split(',').collect(), path, query }
}

fn sentinels(scheme: &str, rest: &str) -> Result<Reach, String> {
    let Parts { credentials, hosts, path, query } = parts(rest);
    if path.is_empty() || path.contains('/') {
        return Err("the name of the service that the sentinels watch is missing".to_owned());
    }
    let database = match query.split_once('=') {
        None if query.is_empty() => "0",
        Some(("db", database)) => database,
        Some(_) | None => return Err(format!("`{query}` is not known")),
    };
    let hosts = hosts.into_iter().map(|host| {
        let host = with_port(host, SENTINEL_PORT)?;
        server(&format!("{scheme}://{credentials}{host}/{database}"))
    });
    Ok(Reach::Sentinel(Sentinels { hosts: hosts.collect::<Result<_, _>>()?, service: path.to_owned() }))
}

fn cluster(scheme: &str, rest: &str) -> Result<Reach, String> {
    let Parts { credentials, hosts, path, query } = parts(rest);
    if !path.is_empty() || !query.is_empty() {
        return Err("a cluster has one database, and no name".to_owned());
    }
    let hosts = hosts.into_iter().map(|host| {
        let host = with_port(host, SERVER_PORT)?;
        server(&format!("{scheme}://{credentials}{host}"))
    });
    Ok(Reach::Cluster(hosts.collect::<Result<_, _>>()?))
}

fn with_port(host: &str, port: u16) -> Result<String, String> {
    if host.is_empty() {
        return Err("a host is missing".to_owned());
    }
    let last = host.rsplit(']').next().unwrap_or(host);
    Ok(if last.contains(':') { host.to_owned() } else { format!("{host}:{port}") })
}

fn server(url: &str) -> Result<ConnectionInfo, String> {
    url.into_connection_info().map_err(|error| error.to_string())
}

impl Address {
    /// The address whole, with a user and a password that it may bear: for the settings of a program that is run, never
    /// for a log or for arguments, which all of the machine can read.
    pub fn whole(&self) -> &str {
        &self.url
    }

    /// Several servers share the keys.
    pub fn is_cluster(&self) -> bool {
        matches!(self.reach, Reach::Cluster(_))
    }

    /// The same servers, spoken to with other settings.
    pub(super) fn with(mut self, change: impl Fn(RedisConnectionInfo) -> RedisConnectionInfo) -> Self {
        let changed = |info: &mut ConnectionInfo| {
            let settings = change(info.redis_settings().clone());
            *info = info.clone().set_redis_settings(settings);
        };
        match &mut self.reach {
            Reach::One(info) => changed(info),
            Reach::Sentinel(Sentinels { hosts, .. }) | Reach::Cluster(hosts) => hosts.iter_mut().for_each(changed),
        }
        self
    }

    /// One of the servers or sentinels that it names.
    pub(super) fn any(&self) -> Option<&ConnectionInfo> {
        match &self.reach {
            Reach::One(info) => Some(info),
            Reach::Sentinel(Sentinels { hosts, .. }) | Reach::Cluster(hosts) => hosts.first(),
        }
    }
}

impl fmt::Display for Address {
    /// The address alone: never a user or a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |hosts: &[ConnectionInfo]| {
            let hosts = hosts.iter().filter_map(Endpoint::of).map(|host| host.to_string());
            hosts.collect::<Vec<_>>().join(",")
        };
        match &self.reach {
            Reach::One(info) => write!(f, "redis://{}", info.addr()),
            Reach::Sentinel(Sentinels { hosts, service }) => write!(f, "redis+sentinel://{}/{service}", list(hosts)),
            Reach::Cluster(hosts) => write!(f, "redis+cluster://{}", list(hosts)),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Result<String, String> {
        text.parse::<Address>().map(|address| address.to_string())
    }

    #[test]
    fn an_address_is_shown_without_its_password() {
        let address: Address = "redis://me:secret@10.0.0.1:7000".parse().unwrap();
        assert_eq!(address.to_string(), "redis://10.0.0.1:7000");
        assert_eq!(address.whole(), "redis://me:secret@10.0.0.1:7000");
        assert_eq!(shown("h:1").unwrap(), "redis://h:1");
        assert!(shown("http://x").is_err());
        assert!(shown("redis://h:port").is_err());
    }

    #[test]
    fn sentinels_are_named_with_the_service_that_they_watch() {
        let text = "redis+sentinel://me:a%40b@h1:1,h2,[::1]:3/main?db=4";
        let address: Address = text.parse().unwrap();
        assert_eq!(address.to_string(), "redis+sentinel://h1:1,h2:26379,[::1]:3/main");
        let Reach::Sentinel(Sentinels { hosts, service }) = &address.reach else { panic!("{address}") };
        assert_eq!(service, "main");
        for host in hosts {
            let settings = host.redis_settings();
            let given = (settings.username(), settings.password(), settings.db());
            assert_eq!(given, (Some("me"), Some("a@b"), 4));
        }
        for wrong in ["h1:1", "h1:1/", "h1:1/a/b", "h1:1,/main", "h1:1/main?x=1", "h1:1/main?db=x", "/main"] {
            assert!(shown(&format!("redis+sentinel://{wrong}")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_cluster_is_named_by_some_of_its_servers() {
        let address: Address = "rediss+cluster://:secret@h1:1,h2".parse().unwrap();
        assert_eq!(address.to_string(), "redis+cluster://h1:1,h2:6379");
        assert!(address.is_cluster() && address.any().unwrap().redis_settings().password() == Some("secret"));
        for wrong in ["", "h1:1/2", "h1:1?db=1", "h1:1,"] {
            assert!(shown(&format!("redis+cluster://{wrong}")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_server_that_is_named_later_is_reached_like_the_others() {
        let address: Address = "rediss+cluster://me:secret@h1:1".parse().unwrap();
        let info = Endpoint::parse("fe80::1:7000").unwrap().reached_like(address.any().unwrap());
        assert!(matches!(info.addr(), ConnectionAddr::TcpTls { host, port: 7000, .. } if host == "fe80::1"));
        assert_eq!(info.redis_settings().password(), Some("secret"));
        assert_eq!(Endpoint::parse("nowhere"), None);
    }
}
