"""The four requests to a producer, over NATS's service API with generated stubs; its heartbeat; a second producer."""

import pytest

from harness import bus, http
from harness.bus import ServiceError
from harness.engine import STUBBORN
from harness.order import assert_ordered
from harness.state import FROM_ENGINE, differences, from_record
from harness.stubs import node_pb2, record_pb2, rpc_pb2
from harness.wait import eventually, promised


def ask(stack, what: str, request, response):
    return response.FromString(bus.request(stack.nats.url, f"deckwatch.rpc.{stack.node}.{what}", request))


def snapshot(stack, **request) -> rpc_pb2.SnapshotResponse:
    return ask(stack, "snapshot", rpc_pb2.SnapshotRequest(**request).SerializeToString(), rpc_pb2.SnapshotResponse)


def resync(stack, **request) -> rpc_pb2.ResyncResponse:
    return ask(stack, "resync", rpc_pb2.ResyncRequest(**request).SerializeToString(), rpc_pb2.ResyncResponse)


def replay(stack, **request) -> rpc_pb2.ReplayResponse:
    return ask(stack, "replay", rpc_pb2.ReplayRequest(**request).SerializeToString(), rpc_pb2.ReplayResponse)


def logs(stack, **request) -> rpc_pb2.LogsResponse:
    return ask(stack, "logs", rpc_pb2.LogsRequest(**request).SerializeToString(), rpc_pb2.LogsResponse)


def hello(stack):
    return next(entry for entry in stack.entries() if entry.kind == "node_change.hello")


def assert_answers_for(stack, responder: rpc_pb2.Responder) -> None:
    said = hello(stack).record
    assert (responder.node, responder.epoch, responder.stand_in) == (stack.node, said.epoch, False)
    assert responder.instance == said.node_state.instance != 0
    assert responder.engine_id == said.node_change.hello.engine.id


def test_the_service_is_listed(stack):
    (info,) = bus.gather(stack.nats.url, f"$SRV.INFO.deckwatch-{stack.node}")
    assert (info["type"], info["name"]) == ("io.nats.micro.v1.info_response", f"deckwatch-{stack.node}")
    subjects = {endpoint["subject"] for endpoint in info["endpoints"]}
    assert subjects == {f"deckwatch.rpc.{stack.node}.{what}" for what in ("snapshot", "resync", "replay", "logs")}
    names = {answer["name"] for answer in bus.gather(stack.nats.url, "$SRV.PING")}
    assert f"deckwatch-{stack.node}" in names


def test_snapshot(stack, containers):
    for _ in range(3):
        containers.run(STUBBORN)
    stack.wait_settled()
    answer = snapshot(stack)
    assert_answers_for(stack, answer.responder)
    truth = containers.states(stack.node)
    assert [container.id for container in answer.containers] == sorted(truth)
    for container in answer.containers:
        assert not differences(from_record(container), truth[container.id], FROM_ENGINE)
    assert answer.seq >= max(entry.record.seq for entry in stack.entries()) and not answer.same
    assert not answer.next_page_token and answer.missed_events == 0

    same = snapshot(stack, digest=answer.digest, digest_version=answer.digest_version)
    assert same.same and not same.containers
    containers.run(STUBBORN)
    stack.wait_settled()
    other = snapshot(stack, digest=answer.digest, digest_version=answer.digest_version)
    assert not other.same and len(other.containers) == len(truth) + 1


def test_snapshot_in_pages(stack, containers):
    for _ in range(5):
        containers.create(STUBBORN)
    stack.wait_settled()
    ids, token, pages = [], "", 0
    while pages == 0 or token:
        page = snapshot(stack, page_size=2, page_token=token)
        assert len(page.containers) <= 2
        ids += [container.id for container in page.containers]
        token, pages = page.next_page_token, pages + 1
    assert ids == sorted(containers.states(stack.node)) and pages == (len(ids) + 1) // 2


def test_resync_of_one(stack, containers):
    container = containers.run(STUBBORN)
    stack.wait_settled()
    before = stack.of_container(container)
    correction = record_pb2.Correction(
        drift=record_pb2.DRIFT_KIND_EDITED_STORE, container_id=container.id, fields=["name"]
    )
    assert_answers_for(stack, resync(stack, container_ids=[container.id], corrections=[correction]).responder)

    def looked_again():
        after = stack.of_container(container)[len(before) :]
        assert [entry.record.cause for entry in after] == [record_pb2.CAUSE_RESYNC], after
        return after[0]

    again = promised(looked_again, 5, "the record of a resync")
    assert not again.record.HasField("event") and again.state["status"] == "running"
    entries, _ = stack.wait_settled()
    told = [entry for entry in entries if entry.kind == "correction"]
    assert len(told) == 1 and told[0].record.correction == correction and told[0].about == "gap"
    assert told[0].sequence < again.sequence, "the reason stands before what was done"


def test_resync_of_one_that_is_gone(stack, containers):
    """Nothing comes of it: no record that brings it back."""
    container = containers.run(STUBBORN)
    container.remove(force=True)
    stack.wait_settled()
    resync(stack, container_ids=[container.id])
    resync(stack, container_ids=[], request_id="after-it")
    wait_for_statement(stack, "after-it")
    stack.wait_settled()
    assert stack.of_container(container)[-1].state["status"] == "removed"


def wait_for_statement(stack, request_id: str):
    """The entries from the `stating` that answers a request to its `listed`."""

    def closed():
        entries = stack.entries()
        for index, entry in enumerate(entries):
            if entry.kind == "node_change.stating" and request_id in entry.record.node_change.stating.request_ids:
                for end, later in enumerate(entries[index:], index):
                    if later.kind == "node_change.listed":
                        return entries[index : end + 1]
        return None

    return promised(closed, 5, "the statement that was asked for")


def test_resync_of_all_is_a_statement(stack, containers):
    made = {containers.run(STUBBORN).id for _ in range(2)}
    stack.wait_settled()
    assert_answers_for(stack, resync(stack, request_id="all-of-it").responder)
    statement = wait_for_statement(stack, "all-of-it")
    listed = statement[-1].record.node_change.listed
    assert listed.complete and listed.whole
    ids = {container_id.hex() for container_id in listed.container_ids}
    assert ids == set(containers.states(stack.node)) >= made
    stated = {entry.about for entry in statement if entry.record.HasField("container")}
    assert stated >= ids
    stack.wait_settled()


def test_replay_repeats_nothing_on_the_subjects(stack, containers):
    containers.run(["true"]).wait()
    entries, _ = stack.wait_settled()
    last = max(entry.record.seq for entry in entries)
    answer = replay(stack, epoch=1, from_seq=1, to_seq=last)
    assert answer.status == rpc_pb2.REPLAY_STATUS_COMING
    assert_answers_for(stack, answer.responder)
    assert replay(stack, epoch=99, from_seq=1, to_seq=2).status == rpc_pb2.REPLAY_STATUS_UNKNOWN
    assert replay(stack, epoch=0).responder.node == stack.node
    resync(stack, request_id="after-the-replay")
    wait_for_statement(stack, "after-the-replay")
    _, story = stack.wait_settled()
    assert story.epochs == [1] and not story.stamp_gaps


def test_logs(stack, containers):
    container = containers.run(["sh", "-c", "echo one; echo two; echo three; sleep 0.2; echo four >&2"])
    container.wait()
    lines = logs(stack, container_id=container.id, lines=3).lines
    assert [line.text for line in lines] == [b"two", b"three", b"four"]
    streams = [rpc_pb2.LOG_STREAM_STDOUT, rpc_pb2.LOG_STREAM_STDOUT, rpc_pb2.LOG_STREAM_STDERR]
    assert [line.stream for line in lines] == streams
    answer = logs(stack, container_id=container.id)
    assert len(answer.lines) == 4 and not answer.truncated
    assert_answers_for(stack, answer.responder)


@pytest.mark.parametrize(
    ("what", "payload"),
    [
        ("logs", rpc_pb2.LogsRequest(container_id="f" * 64).SerializeToString()),
        ("logs", rpc_pb2.LogsRequest(container_id="not an id").SerializeToString()),
        ("resync", rpc_pb2.ResyncRequest(container_ids=["not an id"]).SerializeToString()),
        ("snapshot", b"\xff\xff\xff"),
    ],
)
def test_what_cannot_be_answered_is_an_error(stack, what, payload):
    with pytest.raises(ServiceError) as raised:
        bus.request(stack.nats.url, f"deckwatch.rpc.{stack.node}.{what}", payload)
    assert raised.value.code.isdigit() and raised.value.text
    assert stack.producer.ready


def test_heartbeat(stack):
    said = hello(stack).record
    messages = bus.overhear(stack.nats.url, f"deckwatch.beat.{stack.node}", lambda: None, lambda heard: len(heard) > 1)
    beats = [node_pb2.Heartbeat.FromString(message.data) for message in messages]
    for beat in beats:
        assert (beat.node, beat.epoch, beat.instance) == (stack.node, 1, said.node_state.instance)
        assert beat.last_seq >= beat.acknowledged_seq > 0
        assert beat.engine_id == said.node_change.hello.engine.id and not beat.stand_in


def test_what_cannot_be_read_is_put_aside(stack):
    """Poison on a node's subject: kept with a reason, and the node goes on."""
    bus.publish_acknowledged(stack.nats.url, f"deckwatch.raw.{stack.node}", b"\xff\xff not protobuf")

    def put_aside():
        return bus.stream_size(stack.nats.url, "DECKWATCH_DEAD") == 1

    promised(put_aside, 5, "the dead letter")
    samples = http.samples(stack.sequencer.port)
    counted = {name: count for name, count in samples.items() if name.startswith("deckwatch_dead_letters_total")}
    assert counted == {'deckwatch_dead_letters_total{reason="invalid"}': 1}
    stack.wait_settled()


def test_a_second_producer_is_passive(stack, containers):
    second = stack.make_producer("second-producer")
    second.start()
    stack.roles.append(second)

    def passive():
        status, reason = http.readiness(second.port)
        assert status == 503 and reason.strip(), (status, reason)
        return reason

    print(eventually(passive, 20, "the second producer is not ready"))
    containers.run(["true"]).wait()
    _, story = stack.wait_settled()
    assert story.epochs == [1] and len(bus.gather(stack.nats.url, f"$SRV.PING.deckwatch-{stack.node}")) == 1
    assert second.process.running and http.readiness(second.port)[0] == 503

    stack.producer.kill()
    eventually(lambda: second.ready, 60, "the second producer takes over")
    containers.run(["true"]).wait()
    _, story = stack.wait_settled()
    assert story.epochs == [1, 2]
    stack.producer.start()
    eventually(lambda: http.readiness(stack.producer.port)[0] == 503, 20, "the first one is passive now")
    assert_ordered(stack.entries(), stack.node)
