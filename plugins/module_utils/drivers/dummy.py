# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Drivers ``dummy``: every answer is a constant and nothing is done, for trying oned without storage (contract-ds 13,
contract-tm 7.0, 7.10)."""

from __future__ import annotations

from .._errors import Unsupported
from .base import Answer, Driver, Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ..steps.claim import Claim
    from .base import Reply

#: MD5 digest of nothing.
_MD5 = "d41d8cd98f00b204e9800998ecf8427e"


def _room(used: int, free: int, total: int) -> dict[str, Any]:
    """The answer to ``usage``, out of MB."""
    return {"used_bytes": used << 20, "free_bytes": free << 20, "total_bytes": total << 20, "pool": "dummy"}


class Dummy(Driver):
    """Both drivers.

    :ivar answers: values by action; what is not named is not supported.
    """

    name = "dummy"
    answers: dict[str, dict[str, Any]] = {}

    def constant(self, action: str) -> dict[str, Any]:
        """The answer; ``Unsupported`` when there is none."""
        if action not in self.answers:
            raise Unsupported(f"{self.kind}/{self.name} {action}: Operation not supported")
        return dict(self.answers[action])

    def method(self, action: str) -> Callable[[Request], Reply]:
        """A function that gives the constant answer."""
        values = self.constant(action)
        return lambda _request: Answer(**values)

    def idle(self, action: str, options: dict[str, Any]) -> bool:
        """What has nothing to tell needs no host, and so no peer either."""
        return not self.constant(action)

    def claims_for(self, action: str, options: dict[str, Any]) -> list[Claim]:
        """Nothing is held."""
        return []


class DsDummy(Dummy):
    """Images."""

    kind = "ds"
    answers = {
        "cp": {"source": "dummy_path", "format": "dummy_format"},
        "mkfs": {"source": "dummy_path"},
        "clone": {"source": "dummy_path"},
        "rm": {},
        "stat": {"size": 1024},
        "monitor": {"used_mb": 9720, "free_mb": 20480, "total_mb": 20480},
        "usage": _room(9720, 20480, 20480),
        "contents": {"items": [], "missed": []},
        "snap_delete": {},
        "snap_revert": {},
        "snap_flatten": {},
        "export": {
            "file": "dummy_path",
            "import_source": "dummy_path",
            "md5": _MD5,
            "size": 1024,
            "format": "dummy_format",
            "dispose": False,
            "dispose_cmd": "",
        },
        "restore": {"template_id": 0, "image_ids": ["dummy_image"]},
    }


class TmDummy(Dummy):
    """Disks of VMs."""

    kind = "tm"
    answers = {
        **{
            action: {}
            for action in (
                *("clone", "ln", "mv", "mvds", "cpds", "delete", "context", "mkimage", "mkswap", "resize"),
                *("premigrate", "postmigrate", "failmigrate", "snap_create", "snap_delete", "snap_revert", "restore"),
            )
        },
        "monitor": {"used_mb": 1429920, "free_mb": 3333260, "total_mb": 4796800},
        "usage": _room(1429920, 3333260, 4796800),
        "contents": {"items": [], "missed": []},
    }
