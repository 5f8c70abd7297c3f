# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Growing the disks of a VM that does not run (contract-tm 7.1)."""

from __future__ import annotations

from .._errors import Refused
from ..steps.base import LEAD
from ..steps.layers import GrowInPlace
from ..tools import chain
from .base import Answer, Plan, Request
from .vm_files import check_size
from .vm_layers import claims_of
from .vm_snapshots import Snapshots

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..steps.claim import Claim
    from .base import Reply


class Resizing(Snapshots):
    """Disks that grow."""

    def idle(self, action: str, options: dict[str, Any]) -> bool:
        """The hypervisor itself grows the disk of a running VM."""
        return action == "resize" and bool(options.get("running"))

    def claims_resize(self, options: dict[str, Any]) -> list[Claim]:
        return claims_of(options, self._persistent(options))

    def resize(self, request: Request) -> Reply:
        """Grow the file that is written to. Snapshots keep their size."""
        size = check_size(request["size"])
        stack = self._stack(request)
        before = chain.read(stack.host, stack.file, stack.format).virtual_size
        if before > size << 20:
            raise Refused(
                f"The disk {stack.disk.path} cannot be made smaller: it has {-(-before >> 20)} MB, not {size} MB",
                stack.host.name,
            )
        stack.check()
        if before == size << 20:
            return Answer(path=stack.disk.path)
        return Plan([GrowInPlace(LEAD, stack.file, stack.format, before, size, allocate=not request["sparse"])])
