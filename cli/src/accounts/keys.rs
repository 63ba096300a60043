//! Keys on disk: made once, never written over, readable for their owner alone.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use nkeys::{KeyPair, KeyPairType};
use service::Failure;

use super::{make_folder, unusable};

/// Where a key came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Made now.
    New,
    /// It was there.
    Kept,
    /// Only its public half is here.
    Elsewhere,
}

/// A member's key.
#[derive(Clone, Debug)]
pub(super) struct Key {
    /// What the server knows of it.
    pub(super) public: String,
    /// Where it came from.
    pub(super) state: State,
}

impl Key {
    /// The key in this folder, made if there is none.
    pub(super) fn ensure(folder: &Path) -> Result<Self, Failure> {
        let (secret, public) = (folder.join("nkey"), folder.join("nkey.pub"));
        make_folder(folder).map_err(|error| unusable(folder, &error))?;
        let told = read(&public).map_err(|error| unusable(&public, &error))?;
        let seed = read(&secret).map_err(|error| unusable(&secret, &error))?;
        let wrong = |path: &Path, why: &str| {
            Failure::failed(format!(
                "{} is not what this program wrote: {why}; remove it to have another key made",
                path.display()
            ))
        };
        let pair = seed.map(|seed| KeyPair::from_seed(seed.trim()).map_err(|_| wrong(&secret, "no seed of an nkey")));
        match (pair.transpose()?, told) {
            (Some(pair), _) if pair.key_pair_type() != KeyPairType::User => Err(wrong(&secret, "no key of a user")),
            (Some(pair), Some(told)) if pair.public_key() != told => Err(wrong(&public, "another key's")),
            (Some(pair), told) => {
                if told.is_none() {
                    write(&public, &format!("{}\n", pair.public_key())).map_err(|error| unusable(&public, &error))?;
                }
                Ok(Self { public: pair.public_key(), state: State::Kept })
            }
            (None, Some(told)) => match KeyPair::from_public_key(&told) {
                Ok(pair) if pair.key_pair_type() == KeyPairType::User => {
                    Ok(Self { public: told, state: State::Elsewhere })
                }
                Ok(_) | Err(_) => Err(wrong(&public, "no public nkey of a user")),
            },
            (None, None) => {
                let pair = KeyPair::new_user();
                let seed = pair.seed().map_err(|error| Failure::failed(format!("cannot make a key: {error}")))?;
                // The public half last: where it stands the other one was written.
                for (path, text) in [(&secret, &seed), (&public, &pair.public_key())] {
                    write(path, &format!("{text}\n")).map_err(|error| unusable(path, &error))?;
                }
                Ok(Self { public: pair.public_key(), state: State::New })
            }
        }
    }
}

fn read(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes a file whole or not at all, readable for its owner alone.
pub(super) fn write(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&new)?;
    // One that was left behind keeps the permissions that it had.
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_key_is_made_once_and_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let of_node = folder.path().join("node-n1");
        let made = Key::ensure(&of_node).unwrap();
        assert_eq!(made.state, State::New);
        assert_eq!((mode(&of_node), mode(&of_node.join("nkey"))), (0o700, 0o600));
        let again = Key::ensure(&of_node).unwrap();
        assert_eq!((again.state, &again.public), (State::Kept, &made.public));
        fs::remove_file(of_node.join("nkey")).unwrap();
        let moved = Key::ensure(&of_node).unwrap();
        assert_eq!((moved.state, &moved.public), (State::Elsewhere, &made.public));
    }

    #[test]
    fn what_is_no_key_is_not_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("nkey");
        let account = KeyPair::new_account().seed().unwrap();
        for text in ["", "SUAnonsense", &account] {
            fs::write(&secret, text).unwrap();
            let failure = Key::ensure(folder.path()).unwrap_err();
            assert!(failure.message.contains("is not what this program wrote"), "{failure}");
            assert_eq!(fs::read_to_string(&secret).unwrap(), text);
        }
        fs::write(&secret, KeyPair::new_user().seed().unwrap()).unwrap();
        fs::write(folder.path().join("nkey.pub"), KeyPair::new_user().public_key()).unwrap();
        assert!(Key::ensure(folder.path()).unwrap_err().message.contains("another key's"));
    }
}
