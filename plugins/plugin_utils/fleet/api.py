# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an administrator asks of oned's API, method by method. Most of it is begun by oned and goes on there."""

from __future__ import annotations

import time

from ...module_utils._errors import DeadlineOver, Missing, Refused
from ..documents import number, parse, text
from ..oned import Oned

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from lxml.etree import _Element

_POOL = 64 << 20
#: Bits of PERMISSIONS in the order in which one.image.chmod takes them.
_BITS = [f"{who}_{what}" for who in ("OWNER", "GROUP", "OTHER") for what in "UMA"]
READY, DISABLED, LOCKED, ERROR, DELETE = 1, 3, 4, 5, 7
#: What RECOVER does in one.vm.recover when it is to try again.
_RETRY = 2


class Api(Oned):
    """oned, with what only administrators ask of it. One for each thread."""

    def ask(self, method: str, arguments: list[int | bool | str], what: str, wanted: str) -> str:
        """A call that changes something; a refusal of oned's is a ``Refused`` with its words."""
        return self.call(method, arguments, what, wanted=wanted, otherwise=Refused)

    def templates(self) -> _Element:
        """All templates of VMs."""
        body = self.call("one.templatepool.info", [-2, -1, -1], "the templates", _POOL)
        return parse(body.encode(), "oned's document of the templates", _POOL)

    # ------------------------------------------------------------ images

    def clone_image(self, ident: int, name: str, store: int) -> int:
        """Begin a copy; the new image's id."""
        return int(self.ask("one.image.clone", [ident, name, store], f"image {ident}", "clone"))

    def rename_image(self, ident: int, name: str) -> None:
        """Give an image another name, which its owner has for no other one."""
        self.ask("one.image.rename", [ident, name], f"image {ident}", "rename")

    def own_image(self, ident: int, user: int, group: int) -> None:
        """Give an image to a user and a group."""
        self.ask("one.image.chown", [ident, user, group], f"image {ident}", "give away")

    def permit_image(self, ident: int, like: _Element) -> None:
        """Give an image the permissions that another's document has."""
        bits: list[int | bool | str] = [number(like, f"PERMISSIONS/{bit}", 0) for bit in _BITS]
        self.ask("one.image.chmod", [ident, *bits], f"image {ident}", "change the permissions of")

    def describe_image(self, ident: int, values: dict[str, str]) -> None:
        """Add attributes to an image's template, or change them."""
        from lxml import etree

        root = etree.Element("TEMPLATE")
        for key, value in values.items():
            etree.SubElement(root, key).text = value
        self.ask("one.image.update", [ident, etree.tostring(root, encoding="unicode"), 1], f"image {ident}", "update")

    def persist_image(self, ident: int, persistent: bool) -> None:
        """Make an image persistent, or not."""
        self.ask("one.image.persistent", [ident, persistent], f"image {ident}", "change")

    def enable_image(self, ident: int, enabled: bool) -> None:
        """Let VMs have an image, or keep it from them."""
        wanted = "enable" if enabled else "disable"
        self.ask("one.image.enable", [ident, enabled], f"image {ident}", wanted)

    def remove_image(self, ident: int) -> None:
        """Begin to delete an image; never by force, which could leave its file."""
        self.ask("one.image.delete", [ident, False], f"image {ident}", "delete")

    def flatten_image(self, ident: int, snapshot: int) -> None:
        """Begin to make a snapshot the whole image; all its snapshots go."""
        self.ask("one.image.snapshotflatten", [ident, snapshot], f"image {ident}", "flatten")

    def drop_image_snapshot(self, ident: int, snapshot: int) -> None:
        """Begin to delete a snapshot of an image."""
        self.ask("one.image.snapshotdelete", [ident, snapshot], f"snapshot {snapshot} of image {ident}", "delete")

    # ------------------------------------------------------------ VMs

    def migrate_vm(self, ident: int, host: int) -> None:
        """Begin to move a VM that is off to another host, which has to have room for it."""
        arguments: list[int | bool | str] = [ident, host, False, True, -1, 0]
        self.ask("one.vm.migrate", arguments, f"VM {ident}", "migrate")

    def retry_vm(self, ident: int) -> None:
        """Let oned try a transfer again that failed."""
        self.ask("one.vm.recover", [ident, _RETRY], f"VM {ident}", "recover")

    def drop_vm_snapshot(self, ident: int, disk: int, snapshot: int) -> None:
        """Begin to delete a snapshot of a VM's disk."""
        what = f"snapshot {snapshot} of disk {disk} of VM {ident}"
        self.ask("one.vm.disksnapshotdelete", [ident, disk, snapshot], what, "delete")

    # ------------------------------------------------------------ waiting

    def settled_image(self, ident: int, until: float) -> _Element | None:
        """An image's document once nothing is being done with it; None when it is gone."""
        return _settled(lambda: self.image(ident), _image_rests, f"image {ident}", until)


def _image_rests(image: _Element) -> bool:
    return number(image, "STATE", 0) not in (0, LOCKED, DELETE)


def _settled(
    look: Callable[[], _Element], rests: Callable[[_Element], bool], what: str, until: float
) -> _Element | None:
    pause = 0.05
    while True:
        try:
            found = look()
        except Missing:
            return None
        if rests(found):
            return found
        if time.monotonic() >= until:
            raise DeadlineOver(f"oned has not come to an end with {what}: its state is {text(found, 'STATE')}")
        time.sleep(pause)
        pause = min(pause * 1.5, 2)
