//! Ports for the servers that `up` runs.

use std::net::{Ipv4Addr, TcpListener};

use service::Failure;

/// A port of loopback that nobody else can take as long as this is held.
#[derive(Debug)]
pub(crate) struct Port {
    listener: TcpListener,
    number: u16,
}

impl Port {
    /// The port asked for; without a wish the usual one where it is free, else any. 0 asks for any.
    pub(crate) fn choose(asked: Option<u16>, usual: u16, flag: &str) -> Result<Self, Failure> {
        match asked {
            Some(port) => Self::take(port).map_err(|error| {
                Failure::failed(format!("cannot use port {port}: {error}; choose another with {flag}, 0 for any"))
            }),
            None => Self::take(usual)
                .or_else(|_| Self::take(0))
                .map_err(|error| Failure::failed(format!("cannot find a free port: {error}; choose one with {flag}"))),
        }
    }

    fn take(port: u16) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let number = listener.local_addr()?.port();
        Ok(Self { listener, number })
    }

    /// The number.
    pub(crate) fn number(&self) -> u16 {
        self.number
    }

    /// Lets the server have it.
    pub(crate) fn release(self) {
        drop(self.listener);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_a_must_and_the_usual_one_is_not() {
        let taken = Port::choose(Some(0), 1, "--nats-port").unwrap();
        let failure = Port::choose(Some(taken.number()), 1, "--nats-port").unwrap_err();
        assert!(failure.message.contains("--nats-port"), "{failure}");
        let other = Port::choose(None, taken.number(), "--nats-port").unwrap();
        assert_ne!(other.number(), taken.number());
    }
}
