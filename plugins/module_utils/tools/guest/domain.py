# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One disk of a running domain: found by its target, its chain as libvirt has it, libvirt's errors as sentences."""

from __future__ import annotations

import os
import time

from .guard import find

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

#: Longest document of a domain that is read.
_XML_BYTES = 4 << 20


class Trouble(Exception):
    """An error for our caller: code of the family in ``_errors``, sentence, what to do."""

    def __init__(self, code: str, sentence: str, todo: str = "", detail: str = "") -> None:
        super().__init__(sentence)
        self.record = {"code": code, "sentence": sentence, "todo": todo, "detail": detail}


class Guest:
    """A running domain and one of its disks.

    :raises Trouble: no bindings, no libvirt, no such domain or disk.
    """

    def __init__(self, orders: dict[str, Any]) -> None:
        try:
            import libvirt
            from lxml import etree
        except ImportError as error:
            raise Trouble(
                "missing",
                f"Python's {error.name} is not installed",
                "install the packages python3-libvirt and python3-lxml on this host",
            ) from None
        self.libvirt = libvirt
        self.etree = etree
        libvirt.registerErrorHandler(lambda _context, _error: None, None)
        self.name: str = orders["domain"]
        self.domain = self.ask("reach libvirt", lambda: libvirt.open(orders["uri"]))
        self.domain = self.ask(
            "find the domain", lambda: find(self.domain, self.name), "does the virtual machine run on this host"
        )
        if not self.domain.isActive():
            raise Trouble("missing", f"The domain {self.name} does not run")
        self.target: str = orders["target"]
        self._link: str = orders["link"]
        self.disk()

    def also(self, target: str, link: str) -> Guest:
        """Another disk of the same domain."""
        import copy

        other = copy.copy(self)
        other.target, other._link = target, link
        other.disk()
        return other

    def targets(self) -> list[str]:
        """The targets of all disks of the domain."""
        text = self.ask("read the domain", self.domain.XMLDesc)
        return [target.get("dev") for target in parse(self.etree, text, self.name).findall("devices/disk/target")]

    def ask(self, doing: str, call: Callable[[], Any], todo: str = "") -> Any:
        """Call libvirt; its error becomes a sentence."""
        try:
            return call()
        except self.libvirt.libvirtError as error:
            code = "tool-failed"
            if error.get_error_code() == self.libvirt.VIR_ERR_NO_DOMAIN:
                code = "missing"
            if "No space left" in str(error):
                code = "no-space"
            raise Trouble(code, f"Cannot {doing} of {self.name}: {error}", todo) from None

    def disk(self) -> Any:
        """The disk's element of the domain's document."""
        text = self.ask("read the domain", self.domain.XMLDesc)
        return find_disk(self.etree, text, self.target, self.name)

    def chain(self) -> list[str]:
        """The files of the disk, top first, as libvirt names them."""
        return chain_of(self.disk())

    def linked(self) -> list[int]:
        """How deep those layers lie that libvirt and QEMU know by the disk's link, wherever it leads now."""
        return [depth for depth, name in enumerate(self.chain()) if is_link(name, self._link)]

    def check(self, expected: list[str]) -> None:
        """Compare libvirt's chain with the one that the headers tell.

        :param expected: real paths, top first.
        """
        found = self.chain()
        wrong = differs(found, expected, self._link)
        if wrong:
            raise Trouble("corrupt", f"The disk {self.target} of {self.name} {wrong}", detail=f"libvirt: {found}")

    def job(self) -> dict[str, Any]:
        """The job that runs on the disk; empty when there is none."""
        return dict(self.ask("look for jobs", lambda: self.domain.blockJobInfo(self.target)))


def find_disk(etree: Any, text: str, target: str, name: str) -> Any:
    """The element of a disk in a domain's document; ``Trouble`` when it has none."""
    for disk in parse(etree, text, name).findall("devices/disk"):
        found = disk.find("target")
        if found is not None and found.get("dev") == target:
            return disk
    raise Trouble("missing", f"The domain {name} has no disk {target}")


def parse(etree: Any, text: str, name: str) -> Any:
    """A domain's document."""
    if len(text) > _XML_BYTES:
        raise Trouble("corrupt", f"The document of {name} is too long to be right")
    return etree.fromstring(text.encode(), etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False))


def chain_of(disk: Any) -> list[str]:
    """The files of a disk's element, top first; what is no file has an empty name."""
    found = []
    layer = disk
    while layer is not None:
        source = layer.find("source")
        if source is not None:
            found.append(source.get("file") or "")
        layer = layer.find("backingStore")
    return found


def differs(found: list[str], expected: list[str], link: str) -> str:
    """In which way libvirt's chain is not that of the headers; empty when it is.

    The disk's own link stands for the file that it led to when the domain was started, wherever it leads now: the
    layers above and below tell which one that is.
    """
    if len(found) != len(expected):
        return f"has {len(found)} layers in libvirt and {len(expected)} on disk"
    for name, path in zip(found, expected):
        if not is_link(name, link) and os.path.realpath(name) != path:
            return f"has the layer '{name}' in libvirt where {path} is on disk"
    return ""


def is_link(name: str, link: str) -> bool:
    """Whether libvirt's name of a layer is the disk's link, whose path may be spelt with more slashes."""
    return name != "" and os.path.normpath("/" + name.lstrip("/")) == link


def indexed(disk: Any, target: str, depth: int) -> str:
    """A layer as libvirt addresses it: ``vda[3]``."""
    for _step in range(depth):
        disk = disk.find("backingStore")
    return f"{target}[{disk.get('index')}]"


def pause_for_tests(orders: dict[str, Any], place: str) -> None:
    """Stand still here when a fault test says so, until somebody kills us."""
    if orders.get("pause") == place:
        time.sleep(600)
