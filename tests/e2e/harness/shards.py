"""Redis of several servers: a master with a replica that sentinels watch, and a cluster."""

import subprocess
from pathlib import Path

import redis
from redis.cluster import RedisCluster
from redis.sentinel import Sentinel

from harness.paths import tool
from harness.ports import free_port
from harness.process import Process, Processes
from harness.servers import RedisServer
from harness.wait import eventually

SERVICE = "main"
SLOTS = 16384


class RedisGroup:
    """What a stack needs of its store."""

    url: str
    process: Processes

    def client(self) -> redis.Redis | RedisCluster:
        raise NotImplementedError


class Watched(RedisGroup):
    """A master, a replica, and three sentinels."""

    def __init__(self, folder: Path, down_after: float = 2):
        self.servers = [RedisServer(folder, "one", *FAST), RedisServer(folder, "two", *FAST)]
        self._ports = [free_port() for _ in range(3)]
        hosts = ",".join(f"127.0.0.1:{port}" for port in self._ports)
        self.url = f"redis+sentinel://{hosts}/{SERVICE}"
        self.sentinels = []
        for port in self._ports:
            conf = folder / f"sentinel-{port}.conf"
            conf.write_text(
                f"bind 127.0.0.1\nport {port}\ndir {folder}\n"
                f"sentinel monitor {SERVICE} 127.0.0.1 {self.servers[0].port} 2\n"
                f"sentinel down-after-milliseconds {SERVICE} {int(down_after * 1000)}\n"
                f"sentinel failover-timeout {SERVICE} 10000\n"
            )
            self.sentinels.append(Process(f"sentinel-{port}", [tool("redis-server"), conf, "--sentinel"], folder))
        self.process = Processes(self.sentinels + [server.process for server in self.servers])

    def start(self) -> "Watched":
        first, second = self.servers
        first.start()
        second.start()
        second.client().replicaof("127.0.0.1", first.port)
        eventually(lambda: self.role(second) == "slave" and self.in_step(), 20, "the replica is in step")
        for sentinel in self.sentinels:
            sentinel.start()
        eventually(self._agreed, 30, "the sentinels know each other and the replica", every=0.2)
        return self

    def client(self) -> redis.Redis:
        hosts = [("127.0.0.1", port) for port in self._ports]
        return Sentinel(hosts, socket_timeout=2).master_for(SERVICE, decode_responses=True, socket_timeout=5)

    def role(self, server: RedisServer) -> str:
        return server.client().role()[0]

    def in_step(self) -> bool:
        """The replica has all that the master has."""
        return any(self._holds(server) for server in self.servers)

    def _holds(self, server: RedisServer) -> bool:
        role = server.client().role()
        return role[0] == "master" and any(int(offset) == role[1] for _, _, offset in role[2])

    def master(self) -> RedisServer:
        """That of the sentinels' own opinion."""
        sentinel = redis.Redis(port=self._ports[0], decode_responses=True, socket_timeout=2)
        _, port = sentinel.sentinel_get_master_addr_by_name(SERVICE)
        return next(server for server in self.servers if server.port == int(port))

    def _agreed(self) -> bool:
        for port in self._ports:
            sentinel = redis.Redis(port=port, decode_responses=True, socket_timeout=2)
            seen = sentinel.sentinel_master(SERVICE)
            known = (seen["num-other-sentinels"], seen["num-slaves"])
            assert known == (2, 1), f"{known} other sentinels and replicas"
        return True


class Cluster(RedisGroup):
    """Three masters, each with a replica."""

    def __init__(self, folder: Path, node_timeout: float = 2):
        flags = ["--cluster-enabled", "yes", "--cluster-node-timeout", str(int(node_timeout * 1000)), *FAST]
        flags += ["--cluster-replica-validity-factor", "0"]
        self._folder = folder
        self._flags = flags
        self.servers = [self._make(number) for number in range(6)]
        self.url = "redis+cluster://" + ",".join(f"127.0.0.1:{server.port}" for server in self.servers[:2])
        self.process = Processes([server.process for server in self.servers])

    def _make(self, number: int) -> RedisServer:
        # The port for the cluster's own talk is usually 10000 higher, and may be anybody's.
        return RedisServer(self._folder, f"shard-{number}", *self._flags, "--cluster-port", str(free_port()))

    def start(self) -> "Cluster":
        for server in self.servers:
            server.start()
        hosts = [f"127.0.0.1:{server.port}" for server in self.servers]
        self._cli("--cluster", "create", *hosts, "--cluster-replicas", "1", "--cluster-yes")
        self.wait_whole()
        return self

    def client(self) -> RedisCluster:
        return RedisCluster(host="127.0.0.1", port=self.servers[0].port, decode_responses=True, socket_timeout=5)

    def add(self) -> RedisServer:
        """A seventh server, a master without slots."""
        server = self._make(len(self.servers))
        self.servers.append(server)
        self.process = Processes([server.process for server in self.servers])
        server.start()
        self._cli("--cluster", "add-node", f"127.0.0.1:{server.port}", f"127.0.0.1:{self.servers[0].port}")
        self.wait_whole()
        return server

    def owner(self, key: str) -> RedisServer:
        """The master that has the key's slot."""
        return self._server(self._slots()[self.slot(key)])

    def slot(self, key: str) -> int:
        return self._living().client().execute_command("CLUSTER KEYSLOT", key)

    def masters(self) -> list[RedisServer]:
        return [self._server(port) for port in sorted(set(self._slots().values()))]

    def begin_move(self, slot: int, source: RedisServer, target: RedisServer) -> None:
        source.client().execute_command("CLUSTER SETSLOT", slot, "MIGRATING", self._id(target))
        target.client().execute_command("CLUSTER SETSLOT", slot, "IMPORTING", self._id(source))

    def move_keys(self, slot: int, source: RedisServer, target: RedisServer, count: int = 1000) -> int:
        keys = source.client().execute_command("CLUSTER GETKEYSINSLOT", slot, count)
        if keys:
            source.client().execute_command("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
        return len(keys)

    def end_move(self, slot: int, source: RedisServer, target: RedisServer) -> None:
        while self.move_keys(slot, source, target):
            pass
        for server in [target, source, *self.masters()]:
            server.client().execute_command("CLUSTER SETSLOT", slot, "NODE", self._id(target))

    def wait_whole(self, within: float = 60) -> None:
        eventually(self._whole, within, "the cluster is whole", every=0.2)

    def _id(self, server: RedisServer) -> str:
        return server.client().execute_command("CLUSTER MYID")

    def _living(self) -> RedisServer:
        return next(server for server in self.servers if server.process.running)

    def _slots(self) -> dict[int, int]:
        """The port of each slot's master."""
        owners = {}
        for first, last, (_, port, *_), *_ in self._living().client().execute_command("CLUSTER SLOTS"):
            owners |= dict.fromkeys(range(first, last + 1), port)
        return owners

    def _server(self, port: int) -> RedisServer:
        return next(server for server in self.servers if server.port == port)

    def _whole(self) -> bool:
        running = [server for server in self.servers if server.process.running]
        for server in running:
            info = server.client().execute_command("CLUSTER INFO")
            known = (info["cluster_state"], info["cluster_slots_ok"], info["cluster_known_nodes"])
            assert known == ("ok", str(SLOTS), str(len(self.servers))), f"{server.port}: {known}"
        return True

    def _cli(self, *words: str) -> None:
        done = subprocess.run([tool("redis-cli"), *words], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr


# A replica is in step at once: no waiting for others that might want the same copy.
FAST = ["--repl-diskless-sync-delay", "0"]
