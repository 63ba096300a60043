//! Which server of a cluster has which key, and what its refusals mean: pure.

use redis::{Arg, Cmd, ErrorKind, RedisError, ServerErrorKind, Value};

use super::address::Endpoint;

/// How many slots a cluster has.
const SLOTS: u16 = 16384;

/// Who has each slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slots {
    /// By slot, the number of its master.
    owners: Vec<Option<usize>>,
    masters: Vec<Endpoint>,
    replicas: Vec<Endpoint>,
}

impl Slots {
    /// From the answer to `CLUSTER SLOTS`. `asked` gave it: that server does not always know its own name.
    pub(super) fn parse(answer: &Value, asked: &Endpoint) -> Option<Self> {
        let Value::Array(ranges) = answer else { return None };
        let mut slots = Self { owners: vec![None; usize::from(SLOTS)], masters: Vec::new(), replicas: Vec::new() };
        for range in ranges {
            let Value::Array(parts) = range else { return None };
            let [Value::Int(first), Value::Int(last), master, replicas @ ..] = parts.as_slice() else { return None };
            let (first, last) = (usize::try_from(*first).ok()?, usize::try_from(*last).ok()?);
            if let Some(master) = endpoint(master, asked) {
                let number = slots.number(master);
                slots.owners.get_mut(first..=last)?.fill(Some(number));
            }
            slots.replicas.extend(replicas.iter().filter_map(|replica| endpoint(replica, asked)));
        }
        Some(slots)
    }

    fn number(&mut self, master: Endpoint) -> usize {
        self.masters.iter().position(|known| *known == master).unwrap_or_else(|| {
            self.masters.push(master);
            self.masters.len() - 1
        })
    }

    /// The master of a slot, if it has one.
    pub(super) fn owner(&self, slot: u16) -> Option<&Endpoint> {
        self.masters.get((*self.owners.get(usize::from(slot))?)?)
    }

    /// A slot has another master now.
    pub(super) fn moved(&mut self, slot: u16, to: Endpoint) {
        let number = self.number(to);
        if let Some(owner) = self.owners.get_mut(usize::from(slot)) {
            *owner = Some(number);
        }
    }

    /// Those that have slots, sorted; `None` where a slot has no master, so that some keys are nowhere.
    pub(super) fn masters(&self) -> Option<Vec<&Endpoint>> {
        let mut numbers: Vec<usize> = self.owners.iter().copied().collect::<Option<_>>()?;
        numbers.sort_unstable();
        numbers.dedup();
        let mut masters: Vec<_> = numbers.into_iter().filter_map(|number| self.masters.get(number)).collect();
        masters.sort();
        Some(masters)
    }

    /// All servers that may know more.
    pub(super) fn servers(&self) -> impl Iterator<Item = &Endpoint> {
        self.masters.iter().chain(&self.replicas)
    }
}

fn endpoint(value: &Value, asked: &Endpoint) -> Option<Endpoint> {
    let Value::Array(parts) = value else { return None };
    let [host, Value::Int(port), ..] = parts.as_slice() else { return None };
    let host = match redis::from_redis_value_ref::<Option<String>>(host).ok()?.as_deref() {
        None | Some("") => asked.host.clone(),
        // It is not known yet.
        Some("?") => return None,
        Some(host) => host.to_owned(),
    };
    Some(Endpoint { host, port: u16::try_from(*port).ok()? })
}

/// The slot of what a command is about: its first argument, or the first key of a function. Who answers one without a key
/// does not matter.
pub(super) fn slot(command: &Cmd) -> u16 {
    let mut arguments = command.args_iter().filter_map(|argument| {
        let Arg::Simple(argument) = argument else { return None };
        Some(argument)
    });
    let is_function = arguments.next().is_some_and(|name| name.starts_with(b"FCALL"));
    slot_of(arguments.nth(if is_function { 2 } else { 0 }).unwrap_or_default())
}

/// What of a key decides on its slot, where that is not the whole key.
fn tag(key: &[u8]) -> Option<&[u8]> {
    let begin = key.iter().position(|&byte| byte == b'{')? + 1;
    let length = key.get(begin..)?.iter().position(|&byte| byte == b'}').filter(|&length| length > 0)?;
    key.get(begin..begin + length)
}

fn slot_of(key: &[u8]) -> u16 {
    crc16(tag(key).unwrap_or(key)) % SLOTS
}

/// CRC-16/XMODEM, as the specification of Redis Cluster asks for.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            let shifted = crc << 1;
            if crc & 0x8000 == 0 { shifted } else { shifted ^ 0x1021 }
        })
    })
}

/// What a refusal means for where to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The slot is that server's.
    Moved(Endpoint),
    /// The key is not here, and if it is anywhere, it is there: its slot is being moved.
    Ask(Endpoint),
    /// The slot is being moved, or was moved meanwhile.
    Again,
    /// It is about no slot.
    Else,
}

/// Reads a refusal that `asked` gave.
pub(super) fn refusal(source: &RedisError, asked: &Endpoint) -> Refusal {
    let there = || {
        let there = Endpoint::parse(source.redirect_node()?.0)?;
        Some(if there.host.is_empty() { Endpoint { host: asked.host.clone(), ..there } } else { there })
    };
    let ErrorKind::Server(kind) = source.kind() else { return Refusal::Else };
    if kind == ServerErrorKind::Moved {
        there().map_or(Refusal::Else, Refusal::Moved)
    } else if kind == ServerErrorKind::Ask {
        there().map_or(Refusal::Else, Refusal::Ask)
    } else if kind == ServerErrorKind::TryAgain || kind == ServerErrorKind::ExecAbort {
        // A transaction is refused as a whole when one of its commands is.
        Refusal::Again
    } else {
        Refusal::Else
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> Endpoint {
        Endpoint { host: "h".to_owned(), port }
    }

    fn server(host: Value, port: u16) -> Value {
        Value::Array(vec![host, Value::Int(port.into()), Value::SimpleString("id".to_owned())])
    }

    fn range(first: i64, last: i64, servers: Vec<Value>) -> Value {
        Value::Array([Value::Int(first), Value::Int(last)].into_iter().chain(servers).collect())
    }

    fn host() -> Value {
        Value::BulkString(b"h".to_vec())
    }

    #[test]
    fn keys_of_a_node_are_in_one_slot() {
        // The first is from the specification.
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(slot_of(b"deckwatch:{n1}:node"), slot_of(b"n1"));
        assert_eq!(slot_of(b"deckwatch:{n1}:container:x{y}"), slot_of(b"n1"));
        // An empty tag is none.
        assert_eq!((tag(b"a{}b{c}"), tag(b"a{b"), tag(b"{}")), (None, None, None));
        assert_eq!(slot_of(b"foo"), 12182);
    }

    #[test]
    fn a_command_goes_where_its_key_is() {
        let slot = |words: &[&str]| {
            let mut command = redis::cmd(words[0]);
            command.arg(&words[1..]);
            slot(&command)
        };
        assert_eq!(slot(&["HGET", "foo", "x"]), 12182);
        assert_eq!(slot(&["FCALL", "f", "1", "foo"]), 12182);
        assert_eq!(slot(&["FCALL_RO", "f", "1", "d:{foo}:node", "x"]), 12182);
        assert_eq!(slot(&["PING"]), slot(&["HGET", ""]));
    }

    #[test]
    fn who_has_a_slot_is_told_and_may_change() {
        let answer = Value::Array(vec![
            range(0, 8191, vec![server(host(), 1), server(host(), 3)]),
            range(8192, 16383, vec![server(Value::Nil, 2)]),
        ]);
        let mut slots = Slots::parse(&answer, &at(9)).unwrap();
        assert_eq!((slots.owner(0), slots.owner(16383)), (Some(&at(1)), Some(&at(2))));
        assert_eq!(slots.masters().unwrap(), [&at(1), &at(2)]);
        assert_eq!(slots.servers().count(), 3);
        slots.moved(5, at(3));
        assert_eq!((slots.owner(5), slots.owner(6)), (Some(&at(3)), Some(&at(1))));
        assert_eq!(slots.masters().unwrap(), [&at(1), &at(2), &at(3)]);
    }

    #[test]
    fn half_a_cluster_has_no_list_of_masters() {
        let half = Value::Array(vec![range(0, 8191, vec![server(host(), 1)])]);
        let slots = Slots::parse(&half, &at(9)).unwrap();
        assert_eq!((slots.owner(1), slots.owner(9000), slots.masters()), (Some(&at(1)), None, None));
        let unknown = range(8192, 16383, vec![server(Value::BulkString(b"?".to_vec()), 2)]);
        let slots = Slots::parse(&Value::Array(vec![range(0, 8191, vec![server(host(), 1)]), unknown]), &at(9));
        assert_eq!(slots.unwrap().masters(), None);
        assert_eq!(Slots::parse(&Value::Array(vec![range(0, 16384, vec![server(host(), 1)])]), &at(9)), None);
        assert_eq!(Slots::parse(&Value::Okay, &at(9)), None);
    }

    #[test]
    fn refusals_say_where_to_ask() {
        let said = |text: &str| {
            let error = redis::parse_redis_value(format!("-{text}\r\n").as_bytes()).unwrap().extract_error();
            refusal(&error.unwrap_err(), &at(9))
        };
        assert_eq!(said("MOVED 3999 h:6381"), Refusal::Moved(at(6381)));
        assert_eq!(said("MOVED 3999 :6381"), Refusal::Moved(at(6381)));
        assert_eq!(said("ASK 3999 h:1"), Refusal::Ask(at(1)));
        assert_eq!(said("TRYAGAIN wait"), Refusal::Again);
        assert_eq!(said("CLUSTERDOWN Hash slot not served"), Refusal::Else);
        assert_eq!(said("MOVED"), Refusal::Else);
    }
}
