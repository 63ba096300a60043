"""Several addresses of NATS: one that is away and one that is silent do not keep a role from the third."""

import socket

import pytest

from harness.engine import STUBBORN
from harness.ports import free_port


@pytest.fixture
def silent():
    """A server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"nats://127.0.0.1:{server.getsockname()[1]}"


def test_the_one_that_answers_is_found(own_stack, containers, silent):
    addresses = f"nats://127.0.0.1:{free_port()},{silent},{own_stack.nats.url}"
    for role in ("sequencer", "projector"):
        own_stack.role(role).kill()
        other = getattr(own_stack, f"make_{role}")(f"another-{role}", "--nats", addresses)
        other.process.argv = without_first_nats(other.process.argv)
        own_stack.roles.append(other)
        other.start()
        other.wait_ready(60)
        containers.run(STUBBORN)
        own_stack.wait_equal(60)
    answered = own_stack.ask("gaps", "--nats", addresses)
    assert answered.code == 0, answered


def without_first_nats(argv: list[str]) -> list[str]:
    """A harness's role has the server's own address first."""
    first = argv.index("--nats")
    return argv[:first] + argv[first + 2 :]
