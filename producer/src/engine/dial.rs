//! How an engine is reached at its address.

use std::sync::Arc;

use bollard::Docker;
use bollard::errors::Error;
use service::causes;

use super::ssh::{Host, SCHEME, Tunnel};

/// What leads to an engine.
#[derive(Clone)]
pub struct Line {
    /// Asks it; for as long as this line is kept.
    pub docker: Docker,
    tunnel: Option<Arc<Tunnel>>,
}

impl Line {
    /// What leads to the engine at an address. Asks nothing.
    ///
    /// # Errors
    /// Why nothing can, for people.
    pub fn to(address: &str) -> Result<Self, String> {
        let connect = |address: &str| Docker::connect_with_host(address).map_err(|error| causes(&error));
        let Some(host) = address.strip_prefix(SCHEME) else {
            return Ok(Self { docker: connect(address)?, tunnel: None });
        };
        let host = Host::parse(host).ok_or("that is no host of ssh")?;
        let tunnel = Tunnel::open(host).map_err(|error| format!("cannot make a socket: {error}"))?;
        let docker = connect(&format!("unix://{}", tunnel.socket().display()))?;
        Ok(Self { docker, tunnel: Some(Arc::new(tunnel)) })
    }

    /// Why a question has no answer. What ssh says tells more than that the connection ended.
    pub fn why(&self, error: &Error) -> String {
        self.tunnel.as_ref().and_then(|tunnel| tunnel.said()).unwrap_or_else(|| causes(error))
    }
}
