"""`/livez`, `/readyz` with reasons, and `/metrics`, of each role."""

import re

import pytest

from harness import http
from harness.engine import STUBBORN
from harness.ports import free_port
from harness.program import deckwatch
from harness.stack import Role
from harness.wait import eventually

ROLES = ["producer", "sequencer", "projector", "reconciler", "up"]


@pytest.fixture(scope="module")
def stack(stack, engine):
    """With a reconciler; and `up`, an installation of its own."""
    stack.reconciler = stack.make_reconciler("reconciler")
    flags = ["--engine", engine.address, "--node", "up", "--data-dir", str(stack.folder / "up")]
    stack.up = Role("up", stack.folder, *flags, "--nats-port", "0", "--redis-port", "0")
    for role in (stack.reconciler, stack.up):
        stack.roles.append(role)
        role.start()
    for role in (stack.reconciler, stack.up):
        role.wait_ready()
    return stack


@pytest.mark.parametrize("role", ROLES)
def test_alive_and_ready(stack, role):
    port = getattr(stack, role).port
    assert http.get(port, "/livez")[0] == 200
    assert http.get(port, "/readyz")[0] == 200
    assert http.get(port, "/nothing")[0] == 404


@pytest.mark.parametrize(
    ("role", "sample"),
    [
        *((role, r"deckwatch_build_info\{.*version=.*\}") for role in ROLES),
        ("producer", r'deckwatch_observations_total\{cause="event"\}'),
        ("producer", r'deckwatch_observations_total\{cause="list"\}'),
        ("producer", r"deckwatch_spool_bytes"),
        ("sequencer", r'deckwatch_records_total\{type="container"\}'),
        ("sequencer", r'deckwatch_records_total\{type="node_change"\}'),
        ("sequencer", r'deckwatch_nodes\{status="alive"\}'),
        ("projector", r"deckwatch_projector_lag_records"),
        ("projector", r'deckwatch_event_to_store_seconds_bucket\{.*le="\+Inf".*\}'),
    ],
)
def test_metrics_by_the_contract(stack, containers, role, sample):
    containers.run(STUBBORN)
    stack.wait_settled()

    def measured():
        found = [name for name in http.samples(getattr(stack, role).port) if re.fullmatch(sample, name)]
        assert found, http.get(getattr(stack, role).port, "/metrics")[1]
        return found

    eventually(measured, 10, sample)


def test_metrics_count(stack, containers):
    def counted() -> float:
        return http.samples(stack.producer.port)['deckwatch_observations_total{cause="event"}']

    containers.run(STUBBORN)
    eventually(lambda: counted() > 0, 10, "an observation is counted")
    stack.wait_settled()
    before = counted()
    containers.run(STUBBORN)
    stack.wait_settled()
    eventually(lambda: counted() == before + 2, 10, "create and start are counted")


@pytest.mark.parametrize("role", ROLES)
def test_no_label_names_a_container(stack, containers, role):
    container = containers.run(STUBBORN)
    stack.wait_settled()
    text = http.get(getattr(stack, role).port, "/metrics")[1]
    assert container.id[:12] not in text and container.name not in text


# --- `healthcheck`: what a container's engine asks ---


@pytest.mark.parametrize("role", ROLES)
def test_healthcheck_of_one_that_is_ready(stack, role):
    port = getattr(stack, role).port
    for asked in (["--admin", f"127.0.0.1:{port}"], [role, "--admin", str(port)]):
        result = deckwatch("healthcheck", *asked)
        assert (result.code, result.out, result.err) == (0, "ready\n", ""), result
    anywhere = {"DECKWATCH_ADMIN": f"0.0.0.0:{port}"}
    assert deckwatch("healthcheck", role, env=anywhere).code == 0


def test_healthcheck_of_one_that_is_not(stack):
    """The reason is that of `/readyz`; nobody there is not ready either."""
    port = free_port()
    result = deckwatch("healthcheck", "projector", "--admin", str(port))
    assert result.code == 1 and str(port) in result.err and len(result.err.splitlines()) == 1, result
    stack.redis.kill()
    try:

        def says_why():
            result = deckwatch("healthcheck", "projector", "--admin", str(stack.projector.port))
            assert result.code == 1 and result.out == "" and "redis" in result.err.lower(), result
            assert len(result.err.splitlines()) == 1, result

        eventually(lambda: says_why() is None, 15, "not ready, with a reason")
    finally:
        stack.redis.start()
    eventually(lambda: deckwatch("healthcheck", "--admin", str(stack.projector.port)).code == 0, 30, "ready again")
