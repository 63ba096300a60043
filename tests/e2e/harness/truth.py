"""The truth: what the engine's own `inspect` says, put into the contract's fields."""

ERROR_MAX = 4096
PROJECT = "com.docker.compose.project"
SERVICE = "com.docker.compose.service"

# Statuses that have an exit code.
ENDED = ("exited", "dead", "restarting", "start_failed", "removed")


def container_state(inspect: dict, node: str) -> dict:
    engine, config = inspect["State"], inspect["Config"]
    labels = config.get("Labels") or {}
    status = _status(engine)
    state = {
        "id": inspect["Id"],
        "name": inspect["Name"].removeprefix("/"),
        "node": node,
        "image": config["Image"],
        "image_id": inspect["Image"],
        "status": status,
        "exit_code": engine["ExitCode"] if status in ENDED else None,
        "error": engine["Error"].encode()[:ERROR_MAX].decode(errors="ignore") or None,
        "oom_killed": engine["OOMKilled"],
        "health": _health(engine),
        "pid": engine["Pid"] or None,
        "created_at": nine_decimals(inspect["Created"]),
        "started_at": nine_decimals(engine["StartedAt"]),
        "finished_at": nine_decimals(engine["FinishedAt"]),
        "restart_count": inspect["RestartCount"],
        "project": labels.get(PROJECT) or None,
        "service": labels.get(SERVICE) or None,
        "labels": labels,
        "ports": _ports(inspect),
    }
    return {name: value for name, value in state.items() if value is not None}


def _status(engine: dict) -> str:
    if engine["Status"] == "created" and engine["Error"]:
        return "start_failed"
    return engine["Status"]


def _health(engine: dict) -> str | None:
    status = (engine.get("Health") or {}).get("Status")
    return None if status in (None, "", "none") else status


def nine_decimals(text: str) -> str | None:
    """The engine leaves out trailing zeros, and says year 1 where there is no time."""
    if text.startswith("0001-"):
        return None
    assert text.endswith("Z"), f"not UTC: {text}"
    whole, _, fraction = text[:-1].partition(".")
    return f"{whole}.{fraction:0<9}Z"


def _ports(inspect: dict) -> list[dict]:
    """Every exposed port; with its place on the host once for each place where it is published now."""
    published = (inspect.get("NetworkSettings") or {}).get("Ports") or {}
    exposed = inspect["Config"].get("ExposedPorts") or {}
    ports = []
    for name in set(published) | set(exposed):
        number, protocol = name.split("/")
        port = {"container_port": int(number), "protocol": protocol}
        for place in published.get(name) or [{}]:
            there = {}
            if place.get("HostIp"):
                there["host_ip"] = place["HostIp"]
            if place.get("HostPort"):
                there["host_port"] = int(place["HostPort"])
            ports.append(port | there)
    return sorted_ports(ports)


def sorted_ports(ports: list[dict]) -> list[dict]:
    return sorted(
        ports,
        key=lambda port: (
            port["container_port"],
            ["tcp", "udp", "sctp"].index(port["protocol"]),
            port.get("host_ip", ""),
            port.get("host_port", 0),
        ),
    )
