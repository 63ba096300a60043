"""Fixtures: one engine for each worker of the run, one installation for each file that asks for it."""

import secrets

import pytest

from harness import stack as stacks
from harness.daemon import Daemon, machine_programs
from harness.engine import Engine
from harness.paths import BINARY
from harness.stack import BRISK, Stack


@pytest.fixture(scope="session")
def machine_engine():
    """The machine's own engine, or one in its place: its containers can publish ports on the machine."""
    engine = Engine(run=secrets.token_hex(4))
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def engine(request):
    """The engine whose containers are watched. A picture is of a whole engine, so no two workers share one."""
    if not hasattr(request.config, "workerinput"):
        yield request.getfixturevalue("machine_engine")
        return
    worker = request.config.workerinput["workerid"]
    with Daemon(worker, machine_programs(), secrets.token_hex(4), bridged=True) as daemon:
        yield daemon.engine


@pytest.fixture(scope="session")
def binary():
    if not BINARY.exists():
        pytest.fail(f"{BINARY} is missing: run `make build`, or set DECKWATCH_BIN", pytrace=False)
    return BINARY


@pytest.fixture
def containers(engine):
    """The engine; what a test made is gone when it ends."""
    yield engine
    engine.remove_all()


@pytest.fixture(scope="module")
def stack(tmp_path_factory, engine, binary):
    """An installation shared by the tests of one file."""
    yield from _installation(tmp_path_factory, engine)


@pytest.fixture(scope="module")
def brisk_stack(tmp_path_factory, engine, binary):
    """An installation of short times, shared by the tests of one file."""
    yield from _installation(tmp_path_factory, engine, BRISK)


@pytest.fixture
def own_stack(tmp_path_factory, engine, binary):
    """An installation for one test that breaks it."""
    yield from _installation(tmp_path_factory, engine)


def _installation(tmp_path_factory, engine, settings=None):
    stack = Stack(tmp_path_factory.mktemp("stack"), engine, settings=settings)
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Shows the ends of the outputs of all that runs when a test fails."""
    report = (yield).get_result()
    if report.failed:
        for stack in stacks.alive:
            report.sections.append((f"processes of {stack.folder.name}", stack.tail()))
