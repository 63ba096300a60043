"""`forget`: a node is retired, and its name is free for another engine."""

import signal

import pytest

from harness.engine import STUBBORN
from harness.liar import Liar
from harness.stack import Role, Stack
from harness.wait import eventually

SERVICE = {"com.docker.compose.project": "shop", "com.docker.compose.service": "web"}


@pytest.fixture(scope="module")
def quick(tmp_path_factory, engine, binary):
    """An installation in which a silent producer's node is soon lost."""
    stack = Stack(tmp_path_factory.mktemp("stack"), engine)
    stack.sequencer = stack.make_sequencer("sequencer", "--heartbeat", "1s", "--lost-after", "2s")
    stack.projector = stack.make_projector("projector", "--heartbeat", "1s")
    stack.producer.process.argv += ["--heartbeat", "1s"]
    stack.roles = [stack.sequencer, stack.projector, stack.producer]
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()


def refused(result, code: int, *words: str) -> None:
    assert result.code == code and result.out == "" and len(result.err.splitlines()) == 1, result
    for word in words:
        assert word in result.err, result


def assert_is_another_engine(newcomer: Role, holder: str, own: str) -> None:
    newcomer.process.stderr.unlink(missing_ok=True)
    newcomer.process.start()
    assert newcomer.process.wait(20) == 1
    said = newcomer.process.stderr.read_text().splitlines()[-1]
    assert f"is the engine {holder}" in said and f"this engine is {own}" in said and "forget" in said, said


def test_a_node_that_nobody_knows(quick):
    refused(quick.ask("forget", "another"), 1, "another", "deckwatch nodes")
    refused(quick.ask("forget", "not.a.name"), 2, "not.a.name")


def test_a_node_that_is_alive(quick):
    refused(quick.ask("forget", quick.node), 1, quick.node, "stop its producer")
    quick.wait_equal()


def test_a_sequencer_that_is_away(quick):
    quick.sequencer.stop()
    refused(quick.ask("forget", quick.node), 3, quick.node, "sequencer")
    quick.sequencer.start()
    quick.sequencer.wait_ready()
    quick.wait_equal()


def test_a_forgotten_name_is_free(quick, containers, tmp_path):
    """Another engine under a taken name is refused, whether the node is alive or lost; after `forget` it gets it."""
    container = containers.run(STUBBORN, labels=SERVICE)
    quick.wait_settled()
    identity = quick.engine.client.info()["ID"]
    other = identity[::-1]
    assert other != identity
    lie = {b'"ID":"(%s)"' % identity.encode(): other.encode()}
    with Liar(tmp_path / "other.sock", quick.engine.address, lie) as liar:
        newcomer = quick.make_producer("newcomer", watched=liar.address)
        newcomer.process.argv += ["--heartbeat", "1s"]
        assert_is_another_engine(newcomer, identity, other)
        assert quick.producer.ready
        quick.wait_settled()

        quick.producer.stop()
        eventually(lambda: quick.store.node_fields()["status"] == "lost", 30, "the node is lost")
        assert_is_another_engine(newcomer, identity, other)

        quick.projector.process.signal(signal.SIGSTOP)
        try:
            refused(quick.ask("forget", quick.node), 3, quick.node, "is forgotten, but Redis", "projector")
        finally:
            quick.projector.process.signal(signal.SIGCONT)
        result = quick.ask("forget", quick.node)
        assert (result.code, result.err) == (0, "") and quick.node in result.out, result
        assert quick.store.keys(f"*{quick.node}*") == [] and quick.store.keys("deckwatch:service:*") == []
        assert not quick.store.client.exists("deckwatch:nodes", f"deckwatch:id:{container.id}")
        last = [entry for entry in quick.entries() if entry.about == "node"][-1]
        assert last.kind == "node_change.forgotten"
        assert quick.ask("forget", quick.node).code == 0, "again, and nothing more happens"

        newcomer.start()
        quick.roles.append(newcomer)
        newcomer.wait_ready()
        quick.wait_equal()
        assert quick.store.node_fields()["engine_id"] == other
        newcomer.stop()
        quick.roles.remove(newcomer)
