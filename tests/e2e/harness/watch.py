"""`deckwatch watch`, read while it runs."""

import json

from harness.wait import eventually


class Watch:
    """`deckwatch watch -o json` while it runs."""

    def __init__(self, stack, name: str, *flags: str):
        self.process = stack.ask_process(name, "watch", "-o", "json", *flags)

    def __enter__(self) -> "Watch":
        return self

    def __exit__(self, *_) -> None:
        assert self.process.stop(10) == 0

    @property
    def lines(self) -> list[dict]:
        whole = self.process.stdout.read_text().rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines()]

    def wait_for(self, container, status: str) -> list[dict]:
        def told():
            lines = self.lines
            states = [line["container"]["status"] for line in lines if of(line, container)]
            assert states and states[-1] == status, states
            return lines

        return eventually(told, 15, f"watch tells that {container.name} is {status}")


def of(line: dict, container) -> bool:
    return line["type"] == "container" and line["container"]["id"] == container.id
