"""Who is whose child, from /proc: to see that nothing stays behind."""

from pathlib import Path


def descendants(pid: int) -> dict[int, str]:
    """Living descendants of a process, each with its start: a number that is given again is another process."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and (stat := _stat(int(folder.name))):
            children.setdefault(int(stat[1]), []).append(int(folder.name))
    found, rest = {}, [pid]
    while rest:
        for child in children.get(rest.pop(), []):
            if stat := _stat(child):
                found[child] = stat[19]
                rest.append(child)
    return found


def children(pid: int) -> dict[int, str]:
    """The same, of its own children alone."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and (stat := _stat(int(folder.name))) and int(stat[1]) == pid:
            found[int(folder.name)] = stat[19]
    return found


def still_there(processes: dict[int, str]) -> list[int]:
    return [pid for pid, started in processes.items() if (stat := _stat(pid)) and stat[19] == started]


def naming(text: str) -> list[str]:
    """Command lines of all processes that name a text."""
    return list(pids_naming(text).values())


def pids_naming(text: str) -> dict[int, str]:
    """The same, by process id."""
    lines = {}
    for folder in Path("/proc").iterdir():
        try:
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text in line:
            lines[int(folder.name)] = line
    return lines


def _stat(pid: int) -> list[str] | None:
    """What follows the name in /proc/<pid>/stat: state, parent, …, start time. None for the dead."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields
