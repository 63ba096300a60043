"""Stubs generated from `proto/` with protoc, as a user in another language would."""

import atexit
import shutil
import sys
import tempfile
from importlib import resources

from grpc_tools import protoc

from harness.paths import PROTO


def _generate() -> None:
    target = tempfile.mkdtemp(prefix="deckwatch-stubs-")
    atexit.register(shutil.rmtree, target, ignore_errors=True)
    files = sorted(str(path.relative_to(PROTO)) for path in PROTO.glob("deckwatch/v1/*.proto"))
    known = str(resources.files("grpc_tools") / "_proto")
    code = protoc.main(["protoc", f"-I{PROTO}", f"-I{known}", f"--python_out={target}", *files])
    if code or not files:
        raise RuntimeError(f"protoc could not read {PROTO}")
    sys.path.insert(0, target)


_generate()

from deckwatch.v1 import container_pb2, node_pb2, observation_pb2, record_pb2, rpc_pb2  # noqa: E402

__all__ = ["container_pb2", "node_pb2", "observation_pb2", "record_pb2", "rpc_pb2"]
