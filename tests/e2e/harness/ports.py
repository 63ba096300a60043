"""Free ports on loopback."""

import os
import random
import socket

# Below the ports that the kernel gives to clients: a server that starts again must find its port free.
# Each worker of a run that has several takes its ports from a range of its own.
_FIRST, _RANGE = 10000, 4000
_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw-1").removeprefix("gw")) + 1
_first = _FIRST + _worker * _RANGE
assert _first + _RANGE <= 32768, "more workers than there are ranges of ports"
# Another run on the same machine begins elsewhere.
_next = random.randrange(_RANGE)


def free_port() -> int:
    """A port that is free now and was not given before, unless all of the range were."""
    global _next
    for _ in range(_RANGE):
        port = _first + _next
        _next = (_next + 1) % _RANGE
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise RuntimeError(f"no port from {_first} on is free")


def listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False
