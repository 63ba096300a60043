"""Several instances of each role share the partitions: who dies, freezes, comes or goes, and another number of them."""

import signal
import time

import pytest

from harness import bus, http, stream
from harness.churn import Churn
from harness.engine import STUBBORN
from harness.nodes import assert_each_equals
from harness.order import assert_ordered
from harness.stack import BRISK, Role, Stack
from harness.store import Store
from harness.stubs import node_pb2
from harness.wait import eventually, promised

PARTITIONS = 4
# Seconds in which what a killed instance worked on is another's work.
TAKEN_OVER = 6
# Seconds in which that of one that ends well is.
HANDED_OVER = 2


def partition(name: str, count: int) -> int:
    """FNV-1a 32 modulo the number of partitions."""
    number = 0x811C9DC5
    for byte in name.encode():
        number = (number ^ byte) * 0x01000193 % 2**32
    return number % count


# One name of each partition.
NAMES = [
    next(name for name in (f"node-{number}" for number in range(99)) if partition(name, PARTITIONS) == p)
    for p in range(PARTITIONS)
]


class Fleet:
    """A producer of each partition on one engine, and as many of the other roles as a test wants."""

    def __init__(self, stack: Stack, partitions: int):
        self.stack, self.partitions = stack, partitions
        self.stores = [Store(stack.store.client, name) for name in NAMES]
        stack.roles = [stack.make_producer(f"producer-{name}", node=name) for name in NAMES]

    def role(self, role: str, number: int) -> Role:
        flags = [] if role == "reconciler" else ["--partitions", str(self.partitions)]
        made = getattr(self.stack, f"make_{role}")(f"{role}-{number}-of-{self.partitions}", *flags)
        self.stack.roles.insert(0, made)
        return made

    def add(self, role: str, number: int) -> Role:
        made = self.role(role, number)
        made.start()
        made.wait_ready()
        return made

    def entries(self, number: int) -> list[stream.Entry]:
        return stream.read(self.stack.nats.url, f"DECKWATCH_STATE_{number}")

    def right(self) -> bool:
        truths = [(store, self.stack.engine.states(store.node)) for store in self.stores]
        assert_each_equals(truths, partitions=self.partitions)
        return True

    def wait_right(self, within: float = 30) -> None:
        eventually(self.right, within, "all nodes are right", every=0.2)

    def told(self, container) -> bool:
        """Redis knows of it on each node."""
        missing = [store.node for store in self.stores if store.state(container.id) is None]
        assert not missing, f"not yet on {missing}"
        return True

    def holders(self, role: str) -> list[int]:
        values = [bus.last_value(self.stack.nats.url, "DECKWATCH_LEASES", f"{role}.{p}") for p in range(self.partitions)]
        return [node_pb2.Lease.FromString(value).instance for value in values]

    def check_stories(self, epochs: list[int], gaps: int = 0) -> None:
        """The whole record: each stamp of each node once, in order."""
        for name in NAMES:
            story = assert_ordered(self.entries(partition(name, self.partitions)), name)
            assert story.epochs == epochs and len(story.stamp_gaps) == gaps and not story.engine_gaps, story


def held(role: Role) -> int:
    """As the instance says itself."""
    samples = http.samples(role.port)
    found = [int(value) for name, value in samples.items() if name.startswith("deckwatch_partitions_held")]
    assert len(found) == 1, f"{role.process.name} says of {len(found)} roles what it holds"
    return found[0]


def recovered(role: Role) -> list[str]:
    """What a sequencer logged when it began to write."""
    return [line for line in role.process.stderr.read_text().splitlines() if "recovered" in line]


def share(roles: list[Role], counts: list[int]) -> bool:
    found = sorted(held(role) for role in roles)
    assert found == sorted(counts), f"{found} is not {counts}"
    return True


@pytest.fixture(scope="module")
def fleet(tmp_path_factory, engine, binary):
    """Two sequencers and two projectors for four partitions."""
    fleet = Fleet(Stack(tmp_path_factory.mktemp("fleet"), engine, NAMES[0], settings=BRISK), PARTITIONS)
    for number in (1, 2):
        for role in ("projector", "sequencer"):
            fleet.role(role, number)
    try:
        fleet.stack.launch()
        yield fleet
    finally:
        fleet.stack.stop()


def of(fleet: Fleet, role: str) -> list[Role]:
    return [each for each in fleet.stack.roles if each.process.name.startswith(role) and each.process.running]


def test_work_is_shared_and_moves_with_no_stamp_lost(fleet, containers):
    """Killed, added, ended well, frozen: after each the shares are even, and the record is whole."""
    stack = fleet.stack
    roles = ("sequencer", "projector")
    for role in roles:
        eventually(lambda role=role: share(of(fleet, role), [2, 2]), 20, f"both {role}s work on two partitions")
        assert "works on 2 of 4 partitions" in http.readiness(of(fleet, role)[0].port)[1]
    fleet.wait_right()
    with Churn(containers, threads=1, pause=0.05) as churn:
        survivor = of(fleet, "sequencer")[1]
        # Who came first had all four, and gave two away.
        before = len(recovered(survivor))
        for role in roles:
            of(fleet, role)[0].kill()
        killed, later = time.monotonic(), containers.run(STUBBORN)
        promised(lambda: fleet.told(later), TAKEN_OVER, "all partitions go on without the killed ones", killed)
        for role in roles:
            assert share(of(fleet, role), [4])
        # What the other read along is enough.
        ends = recovered(survivor)[before:]
        assert len(ends) == 2 and all("read_along=true" in line for line in ends), ends

        for role in roles:
            fleet.add(role, 3)
            eventually(lambda role=role: share(of(fleet, role), [2, 2]), 20, f"the new {role} has its share")
            before = fleet.holders(role)
            fleet.add(role, 4)
            eventually(lambda role=role: share(of(fleet, role), [1, 1, 2]), 20, f"three {role}s share")
            moved = sum(now != then for now, then in zip(fleet.holders(role), before, strict=True))
            assert moved == 1, f"{moved} partitions of the {role}s moved, and one had to"

        for role in roles:
            leaving = next(each for each in of(fleet, role) if held(each) == 2)
            leaving.stop()
            left = time.monotonic()
            promised(lambda role=role: share(of(fleet, role), [2, 2]), HANDED_OVER, f"the other {role}s go on", left)
        assert churn.done > 20
    fleet.wait_right()
    fleet.check_stories([1])
    assert_few_members(stack)


def assert_few_members(stack: Stack) -> None:
    """Who ended well left no key."""
    keys = bus.keys(stack.nats.url, "DECKWATCH_LEASES")
    members = [key for key in keys if ".member." in key]
    # Two of each work, and one of each was killed.
    assert len(members) <= 6, members


def test_a_frozen_one_that_wakes_believes_in_nothing(fleet, containers):
    frozen, other = of(fleet, "sequencer")
    with Churn(containers, threads=1, pause=0.05):
        frozen.process.signal(signal.SIGSTOP)
        stopped, later = time.monotonic(), containers.run(STUBBORN)
        promised(lambda: fleet.told(later), TAKEN_OVER, "the other goes on", stopped)
        assert held(other) == PARTITIONS
        frozen.process.signal(signal.SIGCONT)
        eventually(lambda: share([frozen, other], [2, 2]), 20, "it has a share again")
        frozen.wait_ready()
        after = containers.run(STUBBORN)
        eventually(lambda: fleet.told(after), 20, "all partitions go on")
    fleet.wait_right()
    fleet.check_stories([1])


def test_one_partition_becomes_four(tmp_path_factory, engine, containers):
    """`repartition`: refused while anybody works, says what it will do, and the picture is right again."""
    fleet = Fleet(Stack(tmp_path_factory.mktemp("repartition"), engine, NAMES[0], settings=BRISK), 1)
    stack = fleet.stack
    workers = [fleet.role(role, 1) for role in ("reconciler", "projector", "sequencer")]
    containers.run(STUBBORN)
    try:
        stack.launch()
        fleet.wait_right()
        command = ("repartition", "--partitions", str(PARTITIONS))
        refused = stack.ask(*command, "--yes")
        assert refused.code == 1 and "still run" in refused.err and refused.out == "", refused
        assert bus.stream_exists(stack.nats.url, "DECKWATCH_STATE_0")

        workers[0].stop()
        workers[1].stop()
        # What was killed is seen to be gone, too.
        workers[2].kill()
        planned = stack.ask(*command)
        assert planned.code == 1 and "from 1 to 4 partitions" in planned.out and "--yes" in planned.err, planned
        assert fleet.entries(0), "nothing is changed"
        later = containers.run(STUBBORN)
        done = stack.ask(*command, "--yes")
        assert done.code == 0 and "there are 4 partitions" in done.out, done
        again = stack.ask(*command, "--yes")
        assert again.code == 0 and "already" in again.out, again

        fleet.partitions = PARTITIONS
        for role in ("sequencer", "projector", "reconciler"):
            fleet.add(role, 2)
        eventually(lambda: fleet.told(later), 30, "every producer stated what it has")
        fleet.wait_right()
        for name in NAMES:
            entries = fleet.entries(partition(name, PARTITIONS))
            assert {entry.node for entry in entries} == {name}
            story = assert_ordered(entries, name)
            # The life that went on meanwhile is closed, and what it said is named as lost.
            assert story.stamp_gaps and story.epochs[-1] > 1, story
    finally:
        stack.stop()


def test_who_is_refused_does_not_flap(own_stack, containers):
    """Not ready as long as its records are refused, and ready and right when they are taken again."""
    stack = own_stack
    stack.wait_settled()
    bus.change(stack.nats.url, "DECKWATCH_STATE_0", max_msg_size=1)
    containers.run(STUBBORN)
    eventually(lambda: http.readiness(stack.sequencer.port)[0] == 503, 20, "it says that it is not ready")
    told = stack.sequencer.process.stderr.read_text()

    def refused_again() -> bool:
        """It tries again and again, and is ready for no moment: those are too short to be met by asking."""
        lines = stack.sequencer.process.stderr.read_text().removeprefix(told).splitlines()
        assert not any(" ready part=" in line and 'condition="records"' in line for line in lines), lines
        assert sum("recovered" in line for line in lines) >= 4, lines
        return http.readiness(stack.sequencer.port)[0] == 503

    eventually(refused_again, 20, "it is refused again and again")
    bus.change(stack.nats.url, "DECKWATCH_STATE_0", max_msg_size=-1)
    stack.sequencer.wait_ready()
    _, story = stack.wait_settled()
    assert story.epochs == [1] and not story.stamp_gaps
