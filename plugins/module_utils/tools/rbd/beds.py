# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection, and the object ``one_storage`` of each pool, in which locks and journals lie. Runs as a program.

Both are entries of the object's map: ``lock/<key>`` has the holders as JSON, ``journal/<key>`` the text of a journal.
A lock is changed only if it still is what was read, which the OSD compares in the same operation. Entries of an object
that is there can be written in a full pool too, so that what is full can still be emptied.
"""

from __future__ import annotations

import errno
import json
import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OBJECT = "one_storage"
#: Seconds between two signs of life in the locks that are held.
BEAT = 8.0
_CREATE_IDEMPOTENT = 0
#: Seconds that what a dead client still has on its way is refused.
_FENCED = 3600
#: Entries that are read at once.
_PAGE = 1000


class Cluster:
    """A connection with the bindings that it needs.

    :ivar rbd: the module ``rbd``; :ivar address: by which the cluster knows us.
    """

    def __init__(self, access: dict[str, Any], limit: float) -> None:
        try:
            import rados
            import rbd
        except ImportError as error:
            raise OSError(
                errno.ENOENT, f"Python's {error.name} is not installed: install python3-rados and python3-rbd"
            ) from None
        import os

        self.rados, self.rbd = rados, rbd
        conf = access["conf"] or ("/etc/ceph/ceph.conf" if os.path.exists("/etc/ceph/ceph.conf") else "")
        settings = {"client_mount_timeout": str(max(1, int(limit)))}
        if access["keyfile"]:
            settings["keyfile"] = access["keyfile"]
        if access["hosts"] and not access["conf"]:
            # the datastore's own word on where its monitors are counts more than what this host happens to have
            settings["mon_host"] = ",".join(access["hosts"].replace(",", " ").split())
        for path in (access["conf"], access["keyfile"]):
            if path:
                # librados would say no more than that something is not there
                try:
                    with open(path, "rb"):
                        pass
                except OSError as error:
                    raise OSError(error.errno, f"{path} cannot be read: {error.strerror}") from None
        user = f"client.{access['user'] or 'admin'}"
        # no file at all is something else than the empty name, which stands for librados' own places
        file = {"conffile": conf} if conf else {}
        self._cluster = rados.Rados(name=user, conf=settings, **file)
        try:
            self._cluster.connect(timeout=int(limit))
        except rados.TimedOut:
            raise OSError(errno.ETIMEDOUT, "the Ceph cluster does not answer") from None
        except rados.Error as error:
            # a key that is wrong, or not there, is ENOENT or EINVAL to librados as well
            raise OSError(errno.EACCES, f"the cluster does not let {user} in: {error}") from None
        self.address = self._cluster.get_addrs()
        self._pools: dict[str, Any] = {}
        self._held: dict[tuple[str, str], str] = {}
        self._guard = threading.Lock()
        threading.Thread(target=self._live, daemon=True).start()

    def pool(self, name: str) -> Any:
        """A pool. In a full one its user gets an error, and does not wait for room."""
        if name not in self._pools:
            try:
                found = self._cluster.open_ioctx(name)
            except self.rados.ObjectNotFound:
                raise OSError(errno.ENOENT, f"there is no pool '{name}'") from None
            found.set_osdmap_full_try()
            self._pools[name] = found
        return self._pools[name]

    def pool_name(self, number: int) -> str:
        """The name of a pool."""
        return str(self._cluster.pool_reverse_lookup(number))

    def figures(self) -> dict[str, Any]:
        """What ``ceph df detail`` tells."""
        return self.order({"prefix": "df", "detail": "detail"})

    def order(self, words: dict[str, str]) -> dict[str, Any]:
        """What the monitors answer to a command of theirs, which only looks."""
        code, out, said = self._cluster.mon_command(json.dumps({**words, "format": "json"}), b"")
        if code:
            raise OSError(-code, said)
        found: dict[str, Any] = json.loads(out)
        return found

    def fence(self, address: str) -> None:
        """Refuse what a dead client still has on its way, and end its watches."""
        if address and address != self.address:
            self._cluster.blocklist_add(address, _FENCED)
            self._cluster.wait_for_latest_osdmap()

    # ---------------------------------------------------------------- entries

    def read(self, pool: str, entry: str) -> str:
        """An entry; empty when it is not there."""
        with self.rados.ReadOpCtx() as operation:
            found, _code = self.pool(pool).get_omap_vals_by_keys(operation, (entry,))
            try:
                self.pool(pool).operate_read_op(operation, OBJECT)
            except self.rados.ObjectNotFound:
                return ""
            return str(dict(found).get(entry, b""), "utf-8")

    def entries(self, pool: str, prefix: str) -> list[str]:
        """Names of all entries that begin so, without that beginning."""
        names: list[str] = []
        after = ""
        while True:
            with self.rados.ReadOpCtx() as operation:
                found, _code = self.pool(pool).get_omap_vals(operation, after, prefix, _PAGE)
                try:
                    self.pool(pool).operate_read_op(operation, OBJECT)
                except self.rados.ObjectNotFound:
                    return []
                page = [name for name, _value in found]
            names += page
            if len(page) < _PAGE:
                return [name[len(prefix) :] for name in names]
            after = page[-1]

    def write_entry(self, pool: str, entry: str, text: str, before: str | None = None) -> bool:
        """Write an entry, with no text remove it; False when it is not what it was *before*."""
        for _try in range(2):
            with self.rados.WriteOpCtx() as operation:
                if before is not None:
                    operation.omap_cmp(entry, before)
                if text:
                    self.pool(pool).set_omap(operation, (entry,), (text.encode(),))
                else:
                    self.pool(pool).remove_omap_keys(operation, (entry,))
                try:
                    self.pool(pool).operate_write_op(operation, OBJECT)
                    return True
                except self.rados.ObjectNotFound:
                    self._make(pool)
                except self.rados.Error as error:
                    if abs(error.errno) == errno.ECANCELED:
                        return False
                    raise
        return False

    def _make(self, pool: str) -> None:
        with self.rados.WriteOpCtx() as operation:
            operation.new(_CREATE_IDEMPOTENT)
            self.pool(pool).operate_write_op(operation, OBJECT)

    # ---------------------------------------------------------------- locks

    def lock(self, pool: str, key: str, holder: dict[str, Any]) -> dict[str, Any]:
        """Become one of the holders of a lock, if its others let us: ``held``, and these ``others``."""
        entry = f"lock/{key}"
        while True:
            before = self.read(pool, entry)
            holders: list[dict[str, Any]] = json.loads(before) if before else []
            if holders and not (holder["shared"] and all(other["shared"] for other in holders)):
                return {"held": False, "others": holders}
            holder.update(address=self.address, at=int(time.time()), beat=0)
            if self.write_entry(pool, entry, json.dumps([*holders, holder]), before):
                self.adopt(pool, key, holder["id"])
                return {"held": True, "others": holders}

    def adopt(self, pool: str, key: str, number: str) -> None:
        """From now on give signs of life for a lock."""
        with self._guard:
            self._held[(pool, key)] = number

    def unlock(self, pool: str, key: str, number: str) -> None:
        """Cease to hold a lock: our own, or that of a dead run, whose client is shut out first."""
        with self._guard:
            ours = self._held.pop((pool, key), "") == number
        while True:
            before = self.read(pool, f"lock/{key}")
            holders: list[dict[str, Any]] = json.loads(before) if before else []
            for other in holders:
                if other["id"] == number and not ours:
                    self.fence(other["address"])
            left = [other for other in holders if other["id"] != number]
            if len(left) == len(holders) or self.write_entry(
                pool, f"lock/{key}", json.dumps(left) if left else "", before
            ):
                return

    def _live(self) -> None:
        """Give signs of life; the whole process ends when a lock is not ours any more."""
        import os

        while True:
            time.sleep(BEAT)
            with self._guard:
                held = dict(self._held)
            for (pool, key), number in held.items():
                try:
                    if not self._beat(pool, key, number):
                        with self._guard:
                            lost = (pool, key) in self._held
                        if lost:
                            os._exit(3)
                except (self.rados.Error, OSError):
                    # the cluster is slow or full; when it has shut us out the next call says so
                    continue

    def _beat(self, pool: str, key: str, number: str) -> bool:
        for _try in range(20):
            before = self.read(pool, f"lock/{key}")
            holders: list[dict[str, Any]] = json.loads(before) if before else []
            mine = [holder for holder in holders if holder["id"] == number]
            if not mine:
                return False
            mine[0].update(beat=mine[0]["beat"] + 1, at=int(time.time()), address=self.address)
            if self.write_entry(pool, f"lock/{key}", json.dumps(holders), before):
                return True
        return True
