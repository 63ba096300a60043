//! An engine that is reached over ssh, as the engine's own client does it: `ssh <host> docker system dial-stdio`.
//!
//! The client library speaks to sockets, so there is one, in a folder that nobody else can enter; each connection to it
//! is an `ssh` of its own.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{UnixListener, UnixStream};
use tokio::process::Command;
use tokio::task::JoinSet;

/// What an address over ssh begins with.
pub(crate) const SCHEME: &str = "ssh://";
/// How long ssh may take to connect, in seconds.
const CONNECT_SECONDS: u32 = 5;
/// How often a silent connection is asked if it is alive, in seconds.
const ALIVE_SECONDS: u32 = 15;
/// Connections at once.
const CONNECTIONS_MAX: usize = 64;
/// How long the other side may take to end once nobody asks any more.
const END_WAIT: Duration = Duration::from_secs(5);
/// How long ssh may take to say why it ended.
const SAY_WAIT: Duration = Duration::from_secs(1);
/// Most bytes of what ssh says that are kept.
const SAID_MAX: u64 = 4096;

/// Where ssh goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    user: Option<String>,
    host: String,
    port: Option<u16>,
}

impl Host {
    /// What stands behind `ssh://`: `[<user>@]<host>[:<port>]`. `None` where it is none, or could be taken for an option.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_suffix('/').unwrap_or(text);
        let (user, rest) = text.rsplit_once('@').map_or((None, text), |(user, rest)| (Some(user.to_owned()), rest));
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse().ok().filter(|port| *port > 0)?)),
            None => (rest, None),
        };
        let is_word = |text: &str| {
            !text.is_empty()
                && !text.starts_with('-')
                && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
        };
        let fits = is_word(host) && user.as_deref().is_none_or(is_word);
        fits.then(|| Self { user, host: host.to_owned(), port })
    }

    fn command(&self) -> Command {
        let mut command = Command::new("ssh");
        // Nobody is there to be asked.
        command.args(["-T", "-o", "BatchMode=yes", "-o", &format!("ConnectTimeout={CONNECT_SECONDS}")]);
        command.args(["-o", &format!("ServerAliveInterval={ALIVE_SECONDS}")]);
        if let Some(user) = &self.user {
            command.args(["-l", user]);
        }
        if let Some(port) = self.port {
            command.args(["-p", &port.to_string()]);
        }
        command.args(["--", &self.host, "docker", "system", "dial-stdio"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }
}

/// A socket that leads to the engine, for as long as this lives.
pub(crate) struct Tunnel {
    folder: PathBuf,
    said: Arc<Mutex<String>>,
    accepting: JoinSet<()>,
}

impl Tunnel {
    /// Opens the socket; the first `ssh` is started by the first connection to it.
    pub(crate) fn open(host: Host) -> std::io::Result<Self> {
        let folder = std::env::temp_dir().join(format!("deckwatch-ssh-{:016x}", service::random()));
        DirBuilder::new().mode(0o700).create(&folder)?;
        let said = Arc::<Mutex<String>>::default();
        let mut tunnel = Self { folder, said: Arc::clone(&said), accepting: JoinSet::new() };
        let listener = UnixListener::bind(tunnel.socket())?;
        tunnel.accepting.spawn(accept(listener, host, said));
        Ok(tunnel)
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.join("engine.sock")
    }

    /// What ssh said last, if it said anything.
    pub(crate) fn said(&self) -> Option<String> {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        Some(said.clone()).filter(|said| !said.is_empty())
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.accepting.abort_all();
        if let Err(error) = remove(&self.folder, &self.socket()) {
            tracing::debug!(%error, folder = %self.folder.display(), "cannot remove the folder of a socket");
        }
    }
}

fn remove(folder: &Path, socket: &Path) -> std::io::Result<()> {
    std::fs::remove_file(socket)?;
    std::fs::remove_dir(folder)
}

async fn accept(listener: UnixListener, host: Host, said: Arc<Mutex<String>>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((near, _)) => {
                    connections.spawn(carry(near, host.command(), Arc::clone(&said)));
                }
                Err(error) => {
                    tracing::warn!(%error, "the socket that leads to an engine over ssh takes no connection");
                    return;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One connection, until either side ends it.
async fn carry(near: UnixStream, mut command: Command, said: Arc<Mutex<String>>) {
    let say = |text: &str| text.trim().clone_into(&mut said.lock().unwrap_or_else(PoisonError::into_inner));
    // It is killed when it is dropped.
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return say(&format!("cannot start ssh: {error}")),
    };
    let (Some(mut stdin), Some(mut stdout), Some(stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return;
    };
    let (mut from, mut to) = near.into_split();
    tokio::select! {
        // How it ends is of no account: whoever asked has an answer, or not.
        back = copy(&mut stdout, &mut to) => drop(back),
        () = async {
            drop(copy(&mut from, &mut stdin).await);
            drop(stdin.shutdown().await);
            tokio::time::sleep(END_WAIT).await;
        } => {}
    }
    let mut errors = Vec::new();
    drop(tokio::time::timeout(SAY_WAIT, stderr.take(SAID_MAX).read_to_end(&mut errors)).await);
    say(&String::from_utf8_lossy(&errors));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_never_an_option() {
        let command = |text: &str| {
            let command = Host::parse(text)?.command();
            let args: Vec<_> = command.as_std().get_args().map(|arg| arg.to_string_lossy().into_owned()).collect();
            let start = args.iter().position(|arg| arg == "-l" || arg == "-p" || arg == "--")?;
            args.get(start..).map(|args| args.join(" "))
        };
        let dial = "docker system dial-stdio";
        assert_eq!(command("host"), Some(format!("-- host {dial}")));
        assert_eq!(command("me@h.example:22/"), Some(format!("-l me -p 22 -- h.example {dial}")));
        for bad in ["", "-oProxyCommand=x", "-l@h", "a@-h", "h:0", "h:x", "h:", "@h", "a b", "h/path", "a@b@c", "h;x"] {
            assert_eq!(Host::parse(bad), None, "{bad}");
        }
    }

    #[tokio::test]
    async fn nobody_else_can_enter_and_nothing_is_left_behind() {
        use std::os::unix::fs::PermissionsExt;
        let tunnel = Tunnel::open(Host::parse("nowhere.invalid").expect("a host")).expect("a socket");
        let folder = tunnel.folder.clone();
        assert!(tunnel.socket().exists());
        assert_eq!(folder.metadata().expect("a folder").permissions().mode() & 0o777, 0o700);
        drop(tunnel);
        assert!(!folder.exists());
    }
}
