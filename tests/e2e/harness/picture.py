"""What deckwatch says of one node, compared with the engine: however its servers and roles were started."""

from harness import stream
from harness.engine import Engine
from harness.order import Story, assert_ordered
from harness.store import Store, assert_equals_engine, assert_equals_record
from harness.stream import Entry
from harness.wait import eventually


class Picture:
    def __init__(self, engine: Engine, node: str, nats_url: str, store: Store):
        self.engine, self.node, self.store = engine, node, store
        self._nats_url = nats_url

    def equal(self) -> bool:
        assert_equals_engine(self.store, self.engine.states(self.node))
        return True

    def wait_equal(self, within: float = 20, since: float | None = None) -> None:
        eventually(self.equal, within, "Redis equals the engine", since, every=0.2)

    def entries(self, first: int = 1, subject: str = "") -> list[Entry]:
        return stream.read(self._nats_url, first=first, subject=subject)

    def of_container(self, container) -> list[Entry]:
        return self.entries(subject=f"deckwatch.state.0.{self.node}.{container.id}")

    def wait_settled(self, within: float = 20) -> tuple[list[Entry], Story]:
        """Redis, the engine and the subjects agree, and the order holds: returns the records and their story."""
        self.wait_equal(within)

        def agreed() -> list[Entry]:
            entries = self.entries()
            assert_equals_record(self.store, entries)
            return entries

        entries = eventually(agreed, within, "Redis equals the subjects", every=0.2)
        return entries, assert_ordered(entries, self.node)
