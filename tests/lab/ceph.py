# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Ceph cluster of one monitor, one manager and one OSD, for tests: real daemons, some 400 MB of memory, 15 seconds.
With three OSDs, which lie in files then, one pool is erasure-coded, and the others have two copies: one OSD may die.

Everything of it lies in one folder. It listens on one address of the machine, or of a network namespace that *prefix*
enters. ``stop`` ends the daemons that it started, and the folder goes.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("ceph-mon", "ceph-mgr", "ceph-osd", "ceph-authtool", "monmaptool", "ceph", "rbd")
POOLS = ("one", "one2", "one_ec")
#: The pool that is erasure-coded where there are OSDs enough.
CODED = "one_ec"
#: Seconds until the cluster has to be healthy.
LIMIT = 90.0

_SERVER = """\
[global]
fsid = {fsid}
mon_initial_members = a
mon_host = [v2:{address}:{port}/0]
public_addr = {address}
auth_cluster_required = cephx
auth_service_required = cephx
auth_client_required = cephx
auth_allow_insecure_global_id_reclaim = false
osd_pool_default_size = {copies}
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 8
osd_pool_default_pgp_num = 8
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
osd_objectstore = {store}
memstore_device_bytes = {size}
bluestore_block_size = {size}
bluestore_cache_autotune = false
bluestore_cache_size = 16777216
osd_class_update_on_start = true
mon_allow_pool_size_one = true
mon_allow_pool_delete = true
mon_warn_on_pool_no_redundancy = false
mon_data_avail_warn = 2
mon_data_avail_crit = 1
mon_max_pg_per_osd = 500
mon_osd_full_ratio = 0.96
mon_osd_nearfull_ratio = 0.95
mon_osd_backfillfull_ratio = 0.955
mon_osd_min_down_reporters = 1
paxos_propose_interval = 0.02
paxos_min_wait = 0.01
mgr_initial_modules =
mon_cluster_log_to_stderr = false
run_dir = {folder}/run
admin_socket = {folder}/run/$cluster-$name.asok
pid_file = {folder}/run/$name.pid
log_file = {folder}/log/$name.log
mon_data = {folder}/mon
mgr_data = {folder}/mgr
osd_data = {folder}/osd.$id
crash_dir = {folder}/crash
keyring = {folder}/$name.keyring
"""

_CLIENT = """\
[global]
fsid = {fsid}
mon_host = [v2:{address}:{port}/0]
auth_client_required = cephx
keyring = {folder}/ceph.$name.keyring
log_file = /dev/null
"""


def missing() -> list[str]:
    """Programs that a cluster takes and this machine does not have."""
    return [name for name in PROGRAMS if not shutil.which(name)]


def is_there() -> bool:
    """Whether this machine has what a cluster takes."""
    return not missing()


class Cluster:
    """A running cluster. ``client.oneadmin`` may use the pools ``one``, ``one2`` and ``one_ec``, as stock's guide
    says.

    :param folder: a new folder of its own; its path must be short, sockets lie in it.
    :param address: where it listens.
    :param prefix: a command line that runs commands where that address is: ``ip netns exec …``.
    :param size: bytes of each OSD; :param osds: one in memory, or three.
    :ivar conf: configuration for clients, :ivar keyfile: the key of client.oneadmin, and nothing else.
    :ivar prefix: as given.
    """

    def __init__(
        self,
        folder: Path,
        address: str = "127.0.0.1",
        prefix: Sequence[str] = (),
        size: int = 2 << 30,
        osds: int = 1,
    ) -> None:
        self.folder = folder
        self.address = address
        self.conf = folder / "client.conf"
        self.keyfile = folder / "oneadmin.key"
        self.prefix = list(prefix)
        self._size = size
        self._osds = [f"osd.{number}" for number in range(osds)]
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        self._lines: dict[str, list[str]] = {}

    # ---------------------------------------------------------------- life

    def start(self) -> None:
        """Make the cluster and wait until it is healthy. What fails stops what was started."""
        try:
            self._make()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End all daemons; the folder goes."""
        for name in (*self._osds, "mgr.x", "mon.a"):
            self.kill(name)
        shutil.rmtree(self.folder, ignore_errors=True)

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """End one daemon: ``osd.0``, ``mon.a``."""
        daemon = self._daemons.pop(name, None)
        if daemon is not None:
            daemon.send_signal(number)
            daemon.wait(20)

    def running(self) -> list[str]:
        """The daemons that were started and not killed."""
        return list(self._daemons)

    def pause(self, name: str) -> None:
        """Let a daemon hang until :meth:`resume`: its clients wait."""
        self._daemons[name].send_signal(signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """Let a daemon go on."""
        self._daemons[name].send_signal(signal.SIGCONT)

    def restart(self, name: str) -> None:
        """Start a daemon that was killed."""
        self._spawn(name, self._lines[name])

    def _make(self) -> None:
        folder = self.folder
        for name in ("run", "log", "mon", "mgr", "crash", *self._osds):
            (folder / name).mkdir(parents=True)
        names = {
            "fsid": str(uuid.uuid4()),
            "address": self.address,
            "port": _free_port(self.address),
            "folder": folder,
            "size": self._size,
            # memory stores nothing that is erasure-coded and written over
            "store": "memstore" if len(self._osds) == 1 else "bluestore",
            "copies": min(len(self._osds), 2),
        }
        server = folder / "ceph.conf"
        server.write_text(_SERVER.format(**names))
        self.conf.write_text(_CLIENT.format(**names))
        self._server = ["-c", str(server)]
        mon, admin = str(folder / "mon.a.keyring"), str(folder / "client.admin.keyring")
        all_of = [word for service in ("mon", "osd", "mds", "mgr") for word in ("--cap", service, "allow *")]
        self._run("ceph-authtool", "-C", mon, "--gen-key", "-n", "mon.", "--cap", "mon", "allow *")
        self._run("ceph-authtool", "-C", admin, "--gen-key", "-n", "client.admin", *all_of)
        self._run("ceph-authtool", mon, "--import-keyring", admin)
        os.link(admin, folder / "ceph.client.admin.keyring")
        monmap = str(folder / "monmap")
        place = f"[v2:{self.address}:{names['port']}]"
        self._run("monmaptool", "--create", "--addv", "a", place, "--fsid", str(names["fsid"]), monmap)
        self._run("ceph-mon", *self._server, "--mkfs", "-i", "a", "--monmap", monmap, "--keyring", mon)
        self._spawn("mon.a", ["ceph-mon", *self._server, "-f", "-i", "a"])
        self._key("mgr.x", "mgr.x.keyring", "mon", "allow profile mgr", "osd", "allow *", "mds", "allow *")
        self._spawn("mgr.x", ["ceph-mgr", *self._server, "-f", "-i", "x"])
        for name in self._osds:
            self._add(name)
        self.ceph("osd", "set-require-min-compat-client", "luminous")
        coded = len(self._osds) > 2
        if coded:
            self.ceph("osd", "erasure-code-profile", "set", "two", "k=2", "m=1", "crush-failure-domain=osd")
        for pool in POOLS:
            if coded and pool == CODED:
                self.ceph("osd", "pool", "create", pool, "4", "4", "erasure", "two")
                self.ceph("osd", "pool", "set", pool, "allow_ec_overwrites", "true")
                self.ceph("osd", "pool", "set", pool, "min_size", "2")
            else:
                self.ceph("osd", "pool", "create", pool, "4", "4")
            self.ceph("osd", "pool", "application", "enable", pool, "rbd")
        pools = ", ".join(f"profile rbd pool={pool}" for pool in POOLS)
        self._key("client.oneadmin", "ceph.client.oneadmin.keyring", "mon", "profile rbd", "osd", pools)
        self.keyfile.write_text(self.ceph("auth", "print-key", "client.oneadmin"))
        self.wait_healthy()

    def _add(self, name: str) -> None:
        """Make and start an OSD."""
        number, secret = str(uuid.uuid4()), self._run("ceph-authtool", "--gen-print-key").strip()
        self.ceph("osd", "new", number, "-i", "-", given=json.dumps({"cephx_secret": secret}))
        self._run("ceph-authtool", "-C", str(self.folder / f"{name}.keyring"), "--name", name, "--add-key", secret)
        own = ["-i", name.partition(".")[2]]
        self._run("ceph-osd", *self._server, *own, "--mkfs", "--osd-uuid", number)
        self._spawn(name, ["ceph-osd", *self._server, "-f", *own])

    def wait_healthy(self, limit: float = LIMIT) -> None:
        """Wait until the cluster has nothing to complain of."""
        until = time.monotonic() + limit
        said = ""
        while time.monotonic() < until:
            said = self.ceph("health").strip()
            # its figures come a little later
            known = json.loads(self.ceph("df", "detail", "--format", "json"))["pools"]
            if said == "HEALTH_OK" and all(pool["stats"]["max_avail"] for pool in known) and len(known) >= len(POOLS):
                return
            time.sleep(0.2)
        raise TimeoutError(f"the cluster is not healthy after {limit:g} s: {said}")

    # ---------------------------------------------------------------- use

    def ceph(self, *words: str, given: str = "") -> str:
        """The command ``ceph`` as client.admin."""
        return self._run("ceph", "-c", str(self.conf), "--connect-timeout", "30", *words, given=given)

    def rbd(self, *words: str, given: bytes | None = None) -> str:
        """The command ``rbd`` as client.oneadmin."""
        line = ["rbd", "-c", str(self.conf), "--id", "oneadmin", *words]
        done = subprocess.run([*self.prefix, *line], input=given, capture_output=True, timeout=120, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(line)}: {done.stderr.decode()[-800:]}")
        return done.stdout.decode("utf-8", "surrogateescape")

    def content(self, volume: str) -> bytes:
        """All bytes of a volume, or of one of its snapshots: ``one/one-5@snap``."""
        line = ["rbd", "-c", str(self.conf), "--id", "oneadmin", "export", "--no-progress", volume, "-"]
        return subprocess.run([*self.prefix, *line], capture_output=True, timeout=120, check=True).stdout

    def _key(self, name: str, file: str, *caps: str) -> None:
        (self.folder / file).write_text(self.ceph("auth", "get-or-create", name, *caps))

    def _run(self, *argv: str, given: str = "") -> str:
        line = [*self.prefix, *argv]
        done = subprocess.run(line, input=given, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(argv)}: {done.stderr[-800:]}")
        return done.stdout

    def _spawn(self, name: str, argv: list[str]) -> None:
        """Start a daemon that ends with this process."""
        self._lines[name] = argv
        with open(self.folder / "log" / f"{name}.out", "ab") as said:
            line = ["setpriv", "--pdeathsig", "KILL", "--", *self.prefix, *argv]
            self._daemons[name] = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=said, stderr=said)


def _free_port(address: str) -> int:
    """A port that nobody listens on; outside of this machine's addresses the monitors' own."""
    try:
        with socket.socket() as found:
            found.bind((address, 0))
            return int(found.getsockname()[1])
    except OSError:
        return 3300


@contextmanager
def running() -> Iterator[Cluster]:
    """A cluster on this machine's loopback as long as it is needed."""
    place = Path(tempfile.mkdtemp(prefix="ceph-"))
    made = Cluster(place / "c")
    try:
        made.start()
        yield made
    finally:
        made.stop()
        shutil.rmtree(place, ignore_errors=True)
