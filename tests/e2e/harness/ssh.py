"""A program `ssh` that knows one host: what it is asked to run there is what leads to an engine of this machine."""

import sys
from pathlib import Path

HOST = "elsewhere"

PROGRAM = """\
#!{python}
import os, socket, sys, threading

host, *command = sys.argv[sys.argv.index("--") + 1 :]
if host != "{host}":
    sys.exit(f"ssh: Could not resolve hostname {{host}}: Name or service not known")
if command != ["docker", "system", "dial-stdio"]:
    sys.exit(f"not a command: {{command}}")
engine = socket.socket(socket.AF_UNIX)
engine.connect("{socket}")


def forth():
    while data := os.read(0, 65536):
        engine.sendall(data)
    engine.shutdown(socket.SHUT_WR)


threading.Thread(target=forth, daemon=True).start()
while data := engine.recv(65536):
    os.write(1, data)
"""


def install(folder: Path, engine: str) -> str:
    """Puts it into a folder; the search path that finds it first."""
    program = folder / "ssh"
    program.write_text(PROGRAM.format(python=sys.executable, host=HOST, socket=engine.removeprefix("unix://")))
    program.chmod(0o755)
    return str(folder)
