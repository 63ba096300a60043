"""A nats-server with TLS and the accounts that `deckwatch accounts` writes, and clients with a member's key."""

import asyncio
import base64
import json
import shutil
import ssl
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TypeVar

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import NoRespondersError

from harness.paths import tool
from harness.ports import free_port, listening
from harness.process import Process
from harness.program import Result, deckwatch
from harness.wait import eventually

T = TypeVar("T")

# What stands before an Ed25519 seed in PKCS #8 (RFC 8410).
PKCS8 = bytes.fromhex("302e020100300506032b657004220420")


class Certificates:
    """An authority, and a server's certificate for these names."""

    def __init__(self, folder: Path, names: list[str]):
        self.ca, self.server, self.key = folder / "ca.pem", folder / "server.pem", folder / "server.key"
        folder.mkdir(exist_ok=True)
        kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        authority = folder / "ca.key"
        _openssl("req", "-x509", *kind, "-subj", "/CN=test", "-keyout", authority, "-out", self.ca)
        alternatives = ",".join(f"{'IP' if name[0].isdigit() else 'DNS'}:{name}" for name in names)
        signed = ["-CA", self.ca, "-CAkey", authority, "-addext", f"subjectAltName={alternatives}"]
        plain = ["-addext", "basicConstraints=critical,CA:FALSE"]
        _openssl("req", "-x509", *kind, *signed, *plain, "-subj", "/CN=nats", "-keyout", self.key, "-out", self.server)

    @property
    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.ca))


def _openssl(*argv) -> bytes:
    done = subprocess.run(["openssl", *map(str, argv)], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


class Nkey:
    """A user's key: `nkey`, the seed, as `deckwatch accounts` wrote it."""

    def __init__(self, file: Path):
        self.file = file
        self.public = (file.parent / "nkey.pub").read_text().strip()

    def sign(self, nonce: str) -> bytes:
        text = self.file.read_text().strip()
        raw = base64.b32decode(text + "=" * (-len(text) % 8))
        with tempfile.NamedTemporaryFile() as key, tempfile.NamedTemporaryFile() as message:
            key.write(PKCS8 + raw[2:34])
            key.flush()
            message.write(nonce.encode())
            message.flush()
            signed = _openssl("pkeyutl", "-sign", "-rawin", "-inkey", key.name, "-keyform", "DER", "-in", message.name)
        return base64.b64encode(signed)


@asynccontextmanager
async def secured(url: str | list[str], key: Nkey, certificates: Certificates) -> AsyncIterator[Client]:
    """A connection with a key, over TLS."""
    client = Client()

    async def say_nothing(_: Exception) -> None:
        """nats-py prints what nobody listens to."""

    # nats-py signs by itself only with a package of its own.
    client._public_nkey = key.public
    context = certificates.context
    await client.connect(url, tls=context, signature_cb=key.sign, allow_reconnect=False, error_cb=say_nothing)
    try:
        yield client
    finally:
        await client.close()


class Secured:
    def __init__(self, folder: Path, nodes: list[str], partitions: int = 1):
        self.folder, self.accounts = folder, folder / "accounts"
        self.port = free_port()
        self.url = f"nats://127.0.0.1:{self.port}"
        self.certificates = Certificates(folder / "tls", ["127.0.0.1"])
        self.say(*nodes, "--partitions", str(partitions))
        config = folder / "nats.conf"
        config.write_text(
            f'listen: "127.0.0.1:{self.port}"\n'
            f'jetstream {{ store_dir: "{folder / "nats"}", sync_interval: always }}\n'
            f'tls {{ cert_file: "{self.certificates.server}", key_file: "{self.certificates.key}" }}\n'
            "include accounts/server/accounts.conf\n"
        )
        self.process = Process("nats-server", [tool("nats-server"), "-c", config], folder)

    def say(self, *argv: str) -> Result:
        """`deckwatch accounts …`."""
        result = deckwatch("accounts", "--dir", str(self.accounts), *argv)
        assert result.code == 0, result
        return result

    @property
    def config(self) -> Path:
        return self.accounts / "server" / "accounts.conf"

    @property
    def log(self) -> str:
        return self.process.stderr.read_text()

    def start(self) -> "Secured":
        self.process.start()
        # JetStream is up a moment after the port.
        eventually(
            lambda: listening(self.port) and self.ask("operator", "$JS.API.INFO"), 20, "nats-server is up"
        )
        return self

    def stop(self) -> None:
        self.process.stop()

    def settings(self, member: str) -> dict[str, str]:
        """The environment of a program with this member's key."""
        return {
            "DECKWATCH_NATS": self.url,
            "DECKWATCH_NATS_CA": str(self.certificates.ca),
            "DECKWATCH_NATS_NKEY": str(self.accounts / member / "nkey"),
            "DECKWATCH_DATA_DIR": str(self.folder / f"data-{member}"),
        }

    def connection(self, member: str) -> AbstractAsyncContextManager[Client]:
        return secured(self.url, Nkey(self.accounts / member / "nkey"), self.certificates)

    def as_member(self, member: str, act: Callable[[Client], Awaitable[T]]) -> T:
        """What `act` comes to with a connection of this member."""

        async def run() -> T:
            async with self.connection(member) as client:
                return await act(client)

        return asyncio.run(run())

    def ask(self, member: str, subject: str, payload: bytes = b"", headers: dict | None = None) -> Msg | None:
        """The answer; `None` where nobody listens, or nobody is permitted to."""

        async def act(client: Client) -> Msg | None:
            return await request(client, subject, payload, headers)

        return self.as_member(member, act)

    def extents(self) -> dict[str, dict]:
        """What every stream is and holds."""

        async def act(client: Client) -> dict[str, dict]:
            listed = json.loads((await client.request("$JS.API.STREAM.LIST", timeout=10)).data)["streams"]
            return {each["config"]["name"]: {part: each[part] for part in ("config", "created", "state")} for each in listed}

        found = self.as_member("operator", act)
        for each in found.values():
            # Readers come and go.
            each["state"].pop("consumer_count")
        return found


async def request(client: Client, subject: str, payload: bytes = b"", headers: dict | None = None) -> Msg | None:
    try:
        return await client.request(subject, payload, timeout=2, headers=headers)
    except (NoRespondersError, nats.errors.TimeoutError):
        return None


def refusal(answer: Msg | None) -> int | None:
    """The code of a stream's refusal."""
    return None if answer is None else json.loads(answer.data).get("error", {}).get("err_code")
