//! The function library: loaded at the start, and again when the server says that it lost it.

use domain::Prefix;
use redis::FromRedisValue;
use service::redis::{Error, Store};
use view::SCHEMA;
use view::store::is_not_loaded;

/// The library's source; `@LIBRARY@` stands for its name.
pub const LIBRARY_SOURCE: &str = include_str!("library.lua");

/// The library with the names that belong to a prefix.
pub fn library(prefix: &Prefix) -> String {
    LIBRARY_SOURCE.replace("@LIBRARY@", &prefix.library(SCHEMA))
}

/// Loads the library, over an older text of the same version, into every server that has keys of its own.
pub(crate) async fn load(store: &Store, prefix: &Prefix) -> Result<(), Error> {
    let mut load = redis::cmd("FUNCTION");
    load.arg("LOAD").arg("REPLACE").arg(library(prefix));
    store.each::<String>(&load).await.map(drop)
}

/// A function of the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    Apply,
    Mend,
    Pending,
    Told,
    Share,
    Beat,
}

impl Function {
    fn as_str(self) -> &'static str {
        match self {
            Self::Apply => "apply",
            Self::Mend => "mend",
            Self::Pending => "pending",
            Self::Told => "told",
            Self::Share => "share",
            Self::Beat => "beat",
        }
    }

    fn writes(self) -> bool {
        match self {
            Self::Apply | Self::Mend | Self::Told | Self::Share | Self::Beat => true,
            Self::Pending => false,
        }
    }

    /// The command that calls it.
    pub(crate) fn call(self, prefix: &Prefix, key: &str, args: &[String]) -> redis::Cmd {
        let mut call = redis::cmd(if self.writes() { "FCALL" } else { "FCALL_RO" });
        call.arg(format!("{}_{}", prefix.library(SCHEMA), self.as_str())).arg(1).arg(key).arg(args);
        call
    }
}

/// Calls a function; loads the library first if the server has it not.
pub(crate) async fn call<T: FromRedisValue>(
    store: &Store,
    prefix: &Prefix,
    function: Function,
    key: &str,
    args: &[String],
) -> Result<T, Error> {
    let call = function.call(prefix, key, args);
    match store.query(&call).await {
        Err(error) if is_not_loaded(&error) => {
            load(store, prefix).await?;
            store.query(&call).await
        }
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_prefix() {
        let text = library(&"my-deck".parse().unwrap());
        assert!(text.starts_with("#!lua name=my_deck_v1\n"));
        for function in [Function::Apply, Function::Mend, Function::Pending, Function::Told, Function::Share] {
            assert!(text.contains(&format!("'my_deck_v1_{}'", function.as_str())), "{function:?}");
        }
        assert!(!text.contains('@'));
    }
}
