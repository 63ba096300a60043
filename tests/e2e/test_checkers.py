"""The checks that the other tests rest on find what they are there to find."""

import pytest

from harness import state, truth
from harness.events import Filter
from harness.order import assert_ordered
from harness.stream import Entry, assert_same_story
from harness.stubs import container_pb2, record_pb2

ID = "a" * 64


def record(stamp=None, about=ID, as_of=None, node="n1", **fields) -> Entry:
    """A record of a container's state, unless a field says otherwise."""
    message = record_pb2.Record(node=node, writer=1, **fields)
    single = stamp is not None and "-" not in stamp
    if single:
        message.epoch, message.seq = map(int, stamp.split("."))
    if len(about) == 64:
        message.container_id = about
    if message.WhichOneof("subject") is None:
        message.container.id, message.container.node = about, node
        message.container.epoch, message.container.seq = message.epoch, message.seq
        message.container.as_of = message.seq if as_of is None else as_of
    headers = {} if stamp is None else {"Deckwatch-Stamp": stamp}
    payload = message.SerializeToString()
    record.sequence += 1
    return Entry.of(record.sequence, f"deckwatch.state.0.{node}.{about}", headers, payload)


record.sequence = 0


def hello(epoch: int, previous: tuple[int, int] | None = None) -> Entry:
    change = {"hello": {"previous": {"epoch": previous[0], "last_seq": previous[1]}} if previous else {}}
    return record(f"{epoch}.1", about="node", node_change=change)


def gap(epoch: int, first: int, last: int | None) -> Entry:
    fields = {"epoch": epoch, "from_seq": first} | ({"to_seq": last} if last is not None else {})
    return record(f"{epoch}.{first}-{'' if last is None else last}", about="gap", gap=fields)


def test_what_is_in_order_passes():
    story = assert_ordered(
        [
            hello(1),
            record("1.2"),
            gap(1, 3, 5),
            record("1.6"),
            hello(2, previous=(1, 6)),
            record("2.2"),
            gap(2, 3, None),
            hello(5),
            record(None, about="node", node_change={"cursor": {}}),
            record("5.2"),
            record("9.9", node="another"),
        ],
        "n1",
    )
    assert story.epochs == [1, 2, 5] and [entry.stamp for entry in story.stamp_gaps] == ["1.3-5", "2.3-"]


def test_a_fresh_node_may_begin_with_a_gap():
    assert assert_ordered([gap(0, 1, None), hello(7)], "n1").epochs == [7]


@pytest.mark.parametrize(
    ("entries", "complaint"),
    [
        (lambda: [hello(1), record("1.3")], "after 1.1"),
        (lambda: [hello(1), record("1.2"), record("1.2")], "after 1.2"),
        (lambda: [record("1.1")], "begins with its hello"),
        (lambda: [hello(1), record("1.2"), hello(2, previous=(1, 3))], "no gap after 1.2"),
        (lambda: [hello(1), record("1.2"), hello(2)], "no gap after 1.2"),
        (lambda: [hello(1), hello(3, previous=(1, 1))], "without a gap"),
        (lambda: [hello(1), gap(1, 2, None), record("1.2")], "after an open gap"),
        (lambda: [hello(1), gap(1, 3, 4)], "after 1.1"),
        (lambda: [hello(2, previous=None)], "without a gap"),
        (lambda: [hello(1), gap(1, 2, None), hello(2), hello(1)], "after epoch 2"),
        (lambda: [hello(1), record("1.2", as_of=9), record("1.3", as_of=8)], "steps back"),
    ],
)
def test_what_is_out_of_order_fails(entries, complaint):
    with pytest.raises(AssertionError, match=complaint):
        assert_ordered(entries(), "n1")


def test_a_record_that_contradicts_its_header_fails():
    lying = record("1.2")
    lying.record.seq = 3
    with pytest.raises(AssertionError, match="bears the stamp"):
        assert_ordered([hello(1), lying], "n1")


def test_a_record_that_was_taken_back_fails():
    told, other = record("1.2"), record("1.2", repeated=True)
    assert_same_story([told], [told])
    with pytest.raises(AssertionError, match="is gone"):
        assert_same_story([told], [])
    with pytest.raises(AssertionError, match="was changed"):
        assert_same_story([told], [Entry.of(told.sequence, other.subject, {}, other.payload)])


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"error": ""}, "empty string"),
        ({"pid": "x"}, "not an integer"),
        ({"oom_killed": "1"}, "not a truth value"),
        ({"started_at": "0001-01-01T00:00:00.000000000Z"}, "is no time"),
        ({"started_at": "2026-01-01T00:00:00Z"}, "nine decimals"),
        ({"secret": "x"}, "does not know"),
    ],
)
def test_a_state_that_is_not_by_the_contract_fails(fields, complaint):
    with pytest.raises(AssertionError, match=complaint):
        state.from_redis(fields)


def test_a_record_reads_as_redis_does():
    container = container_pb2.Container(
        id=ID, status=container_pb2.CONTAINER_STATUS_START_FAILED, exit_code=0, stop_cause="STOP_CAUSE_OOM_KILLED"
    )
    container.created_at.FromJsonString("2026-01-02T03:04:05.6Z")
    container.ports.add(container_port=80, protocol="tcp")
    assert state.from_record(container) == {
        "id": ID,
        "status": "start_failed",
        "exit_code": 0,
        "stop_cause": "oom_killed",
        "created_at": "2026-01-02T03:04:05.600000000Z",
        "oom_killed": False,
        "truncated": False,
        "restart_count": 0,
        "epoch": 0,
        "seq": 0,
        "as_of": 0,
        "labels": {},
        "ports": [{"container_port": 80, "protocol": "tcp"}],
    }


def test_times_have_nine_decimals():
    assert truth.nine_decimals("2026-01-02T03:04:05Z") == "2026-01-02T03:04:05.000000000Z"
    assert truth.nine_decimals("2026-01-02T03:04:05.12Z") == "2026-01-02T03:04:05.120000000Z"
    assert truth.nine_decimals("0001-01-01T00:00:00Z") is None


# --- an engine's events, filtered ---


def chunk(text: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(text), text)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_events_are_swallowed_one_by_one_however_their_bytes_arrive(size):
    head, end = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0\r\n\r\n"
    events = [b'{"Action":"%b"}\n' % action for action in (b"start", b"die", b"stop")]
    other = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
    # Two events in one chunk, and one in two.
    told = head + chunk(events[0] + events[1]) + chunk(events[2][:5]) + chunk(events[2][5:]) + end + other
    through = Filter(lambda event: event["Action"] != "die")
    assert through.request(b"GET /v1.41/events?since=1 HTTP/1.1\r\n\r\n").startswith(b"GET")
    passed = b"".join(through.answer(told[at : at + size]) for at in range(0, len(told), size))
    assert passed == head + chunk(events[0]) + chunk(events[2]) + end + other
