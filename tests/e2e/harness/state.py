"""The one shape in which states are compared: the contract's fields as JSON has them, whatever they came from.

A missing key is an absent value. Nothing here is shared with the program: each reader is written from the contract.
"""

import json
import re
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from harness.stubs import container_pb2

# What the engine itself says of a container.
FROM_ENGINE = (
    "id name node image image_id status exit_code error oom_killed health pid created_at started_at finished_at"
    " restart_count project service labels ports"
).split()
# What only deckwatch says.
OF_DECKWATCH = "last_status stop_cause epoch seq as_of observed_at status_since truncated".split()
FIELDS = FROM_ENGINE + OF_DECKWATCH

# What another look alone may change.
OF_THE_LOOK = "epoch seq as_of observed_at".split()

INTEGERS = "exit_code pid restart_count epoch seq as_of".split()
BOOLEANS = "oom_killed truncated".split()
TIMES = "created_at started_at finished_at observed_at status_since".split()
JSON = "labels ports".split()

RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z")


def from_redis(fields: dict[str, str]) -> dict:
    state = {}
    for name, text in fields.items():
        assert text != "", f"{name} is an empty string instead of absent"
        if name in INTEGERS:
            assert re.fullmatch(r"-?\d+", text), f"{name} is not an integer: {text!r}"
            state[name] = int(text)
        elif name in BOOLEANS:
            assert text in ("true", "false"), f"{name} is not a truth value: {text!r}"
            state[name] = text == "true"
        elif name in JSON:
            state[name] = json.loads(text)
        else:
            state[name] = text
    return checked(state)


def from_json(item: dict) -> dict:
    """An item of `-o json`."""
    for name, value in item.items():
        assert value is not None and value != "", f"{name} is {value!r} instead of absent"
    return checked(dict(item))


def from_record(container: container_pb2.Container) -> dict:
    state = {}
    for field, value in container.ListFields():
        if field.name not in ("labels", "ports"):
            state[field.name] = _plain(field, value)
    for name in (*BOOLEANS, "restart_count", "epoch", "seq", "as_of"):
        state.setdefault(name, False if name in BOOLEANS else 0)
    state["labels"] = dict(container.labels)
    state["ports"] = [{field.name: value for field, value in port.ListFields()} for port in container.ports]
    return checked(state)


def _plain(field, value):
    if field.enum_type is not None:
        word = field.enum_type.values_by_number[value].name
        kind = re.sub(r"(?<!^)(?=[A-Z])", "_", field.enum_type.name).upper()
        return word.removeprefix(f"{kind}_").lower()
    if isinstance(value, Timestamp):
        return rfc3339(value)
    return value


def rfc3339(time: Timestamp) -> str:
    whole = datetime.fromtimestamp(time.seconds, UTC)
    return f"{whole:%Y-%m-%dT%H:%M:%S}.{time.nanos:09d}Z"


def checked(state: dict) -> dict:
    """What holds for every state, from wherever it comes. No labels, no ports and nothing cut may be left out."""
    unknown = set(state) - set(FIELDS)
    assert not unknown, f"fields that the contract does not know: {unknown}"
    for name in TIMES:
        if name in state:
            assert RFC3339.fullmatch(state[name]), f"{name} is not RFC 3339 with nine decimals: {state[name]!r}"
            assert state[name] >= "1970", f"{name} is no time: {state[name]!r}"
    return {"labels": {}, "ports": [], "truncated": False} | state


def differences(left: dict, right: dict, fields: list[str]) -> list[str]:
    return [
        f"{name}: {left.get(name)!r} is not {right.get(name)!r}" for name in fields if left.get(name) != right.get(name)
    ]
