"""A role's `/livez`, `/readyz` and `/metrics`."""

import re
import urllib.error
import urllib.request


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def readiness(port: int) -> tuple[int, str]:
    return get(port, "/readyz")


def samples(port: int) -> dict[str, float]:
    """`/metrics` as sample with labels → value."""
    status, text = get(port, "/metrics")
    assert status == 200, f"/metrics answers {status}"
    found = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, value = re.fullmatch(r"(\S+(?:\{.*\})?) (\S+)(?: \S+)?", line).groups()
            found[name] = float(value)
    return found
