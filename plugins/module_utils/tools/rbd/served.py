# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program's door: orders come on stdin, a line of JSON each, some with bytes behind it; a line of JSON answers."""

from __future__ import annotations

import errno
import json
import os
import threading
import time

from .beds import Cluster
from .content import Content
from .diffs import Diffs
from .survey import Survey
from .volumes import Volumes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

#: Seconds between two words on how far a long call is.
_WORD = 0.5
#: What librbd and librados say with a number, in words.
_SAID = {
    errno.ENOENT: "it is not there",
    errno.EEXIST: "it is there already",
    errno.EBUSY: "it is in use",
    errno.ENOTEMPTY: "it has snapshots",
    errno.EROFS: "another client is writing to it",
    errno.ENOSPC: "No space left in the pool",
    errno.EDQUOT: "the pool's quota is used up",
    errno.EACCES: "this user of the cluster may not do that",
    errno.EPERM: "this user of the cluster may not do that",
    errno.ESHUTDOWN: "another run took this one for dead and shut it out of the cluster",
    errno.ETIMEDOUT: "the cluster does not answer",
}


class Door:
    """Our side of the two pipes."""

    def __init__(self) -> None:
        # librados may print: what it says must not stand between our lines
        self._out = os.dup(1)
        os.dup2(2, 1)
        self._in = os.fdopen(os.dup(0), "rb", buffering=1 << 20)
        self._guard = threading.Lock()
        self._spoken = 0.0

    def order(self) -> tuple[dict[str, Any], bytes]:
        """The next order, and the bytes that came with it. The process ends when there is none."""
        line = self._in.readline()
        if not line.endswith(b"\n"):
            os._exit(0)
        order: dict[str, Any] = json.loads(line)
        count = order.pop("bytes", 0)
        data = self._in.read(count) if count else b""
        if len(data) < count:
            os._exit(0)
        return order, data

    def say(self, message: dict[str, Any]) -> None:
        """Answer."""
        data = memoryview(json.dumps(message).encode() + b"\n")
        with self._guard:
            while data:
                data = data[os.write(self._out, data) :]

    def passed(self, done: int, total: int) -> int:
        """Say how far a call is, now and then."""
        now = time.monotonic()
        if now - self._spoken >= _WORD:
            self._spoken = now
            self.say({"done": done, "total": total})
        return 0


def main() -> None:
    """Connect, then do what is asked for until the other end closes."""
    door = Door()
    try:
        # what is imported takes as long as the rest; who started us does not know yet whom we shall talk to
        import rados  # noqa: F401
        import rbd  # noqa: F401
    except ImportError:
        # the connection says so
        pass
    first, _data = door.order()
    try:
        cluster = Cluster(first["access"], first["limit"])
    except Exception as error:
        door.say(_trouble(error))
        os._exit(1)
    door.say({"value": cluster.address})
    operations = _operations(cluster, door)
    while True:
        order, data = door.order()
        name = order.pop("op")
        if name == "write":
            # its trouble is told by the call that asks whether all arrived
            operations[name](data, order["offset"])
            continue
        try:
            door.say({"value": operations[name](**order)})
        except Exception as error:
            door.say(_trouble(error))


#: What may be asked for, by whom it is done.
OPERATIONS = {
    "cluster": "figures fence read entries write_entry lock adopt unlock",
    "volumes": "names number look children trash create clone rename remove resize flatten discard restore label"
    " set_label snapshot protect forget",
    "content": "begin write check finish leave fill copy export digest hashed used",
    "diffs": "note own owner pick",
    "survey": "survey standing discarded purge",
}


def _operations(cluster: Cluster, door: Door) -> dict[str, Callable[..., Any]]:
    volumes = Volumes(cluster, door.passed)
    doers = {
        "cluster": cluster,
        "volumes": volumes,
        "content": Content(volumes),
        "diffs": Diffs(volumes),
        "survey": Survey(volumes),
    }
    return {name: getattr(doers[doer], name) for doer, names in OPERATIONS.items() for name in names.split()}


def _trouble(error: Exception) -> dict[str, Any]:
    """An error as number and words; what no number stands for is ours to mend."""
    number = getattr(error, "errno", None)
    number = abs(number) if isinstance(number, int) else errno.EIO
    own = type(error).__module__ == "builtins"
    words = str(getattr(error, "strerror", None) or error) if own else _SAID.get(number, "")
    return {"error": [number, words or str(error)], "detail": f"{type(error).__name__}: {error}"}
