# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked of libvirt about one disk of a running guest: a program of its own, run on the host of the guest.

It is a process and not a call, because a call into libvirt cannot be broken off, and because the host may be a peer,
which has Python and nothing of ours: the text of this file is all that goes there. It needs the Python bindings of
libvirt and lxml on that host. Arguments are one document of JSON, and so is the answer.

Disks are addressed by their target (``vda``): libvirt knows a path only as the domain was given it (contract-tm Q21).
A disk that was started by its link keeps that name in libvirt and QEMU for the file that the link led to then, and
QEMU opens a file by its name again when it changes what it may do with it. So no operation here makes QEMU open such a
file again after the link has moved: the top becomes read-only while its link still leads to it, and nothing is
committed into a layer below.
"""

from __future__ import annotations

import json
import os
import select
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

#: Longest document of a domain that is read.
_XML_BYTES = 4 << 20
#: Seconds in which the guard tries to release a guest whose owner died.
_GUARD_SECONDS = 300.0
#: Our own workshops have this folder in their path (tools/host.py).
_HIDDEN = "/.one_storage/"


class Trouble(Exception):
    """An error for our caller: code of the family in ``_errors``, sentence, what to do."""

    def __init__(self, code: str, sentence: str, todo: str = "", detail: str = "") -> None:
        super().__init__(sentence)
        self.record = {"code": code, "sentence": sentence, "todo": todo, "detail": detail}


# ---------------------------------------------------------------- the guard


class Guard:
    """A process that lets the guest go when its owner dies, or holds it longer than it may.

    It is forked before libvirt is loaded, leads a session of its own, and does not die with its parent.

    :param limit: seconds that a guest may be held.
    """

    def __init__(self, uri: str, domain: str, target: str, limit: float) -> None:
        reader, self._writer = os.pipe()
        self.limit = limit
        self._since = 0.0
        self._mine = os.fork()
        if self._mine == 0:
            try:
                os.setsid()
                os.close(self._writer)
                nothing = os.open("/dev/null", os.O_RDWR)
                for number in (0, 1, 2):
                    os.dup2(nothing, number)
                _watch(reader, limit, lambda held: _let_go(uri, domain, target, held))
            finally:
                os._exit(0)
        os.close(reader)

    def holds(self, letter: str) -> None:
        """Say, before it is done, that the guest is frozen (F), suspended (S) or being copied (C)."""
        if letter != "C":
            self._since = time.monotonic()
        os.write(self._writer, letter.encode())

    def released(self, letter: str) -> None:
        """Say that this is over."""
        os.write(self._writer, letter.lower().encode())

    def in_time(self) -> bool:
        """Whether the guest was held all the time until now, and not released by the guard."""
        return time.monotonic() - self._since < self.limit

    def end(self) -> None:
        """Nothing is held any more: the guard ends."""
        os.close(self._writer)
        os.waitpid(self._mine, 0)


def _watch(reader: int, limit: float, let_go: Callable[[set[str]], None]) -> None:
    """Follow what is held, until the owner is gone."""
    held: set[str] = set()
    until = 0.0
    while True:
        stopped = held & {"F", "S"}
        ready = select.select([reader], [], [], max(0.0, until - time.monotonic()) if stopped else None)[0]
        if not ready:
            let_go(stopped)
            held -= stopped
            continue
        said = os.read(reader, 64).decode()
        for letter in said:
            if letter.isupper():
                held.add(letter)
                until = time.monotonic() + limit
            else:
                held.discard(letter.upper())
        if not said:
            break
    if held:
        let_go(held)


def _let_go(uri: str, domain: str, target: str, held: set[str]) -> None:
    """Thaw, resume, end the copy: in a process that has not used libvirt before."""
    if os.fork() == 0:
        try:
            _release(uri, domain, target, held)
        finally:
            os._exit(0)
    os.wait()


def _release(uri: str, domain: str, target: str, held: set[str]) -> None:
    import libvirt

    until = time.monotonic() + _GUARD_SECONDS
    left = set(held)
    while left and time.monotonic() < until:
        try:
            guest = libvirt.open(uri).lookupByName(domain)
            if "S" in left:
                if guest.state()[0] == libvirt.VIR_DOMAIN_PAUSED:
                    guest.resume()
                left.discard("S")
            if "C" in left:
                if guest.blockJobInfo(target).get("type") == libvirt.VIR_DOMAIN_BLOCK_JOB_TYPE_COPY:
                    guest.blockJobAbort(target)
                left.discard("C")
            if "F" in left:
                guest.agentSetResponseTimeout(10)
                guest.fsThaw()
                left.discard("F")
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                return
            time.sleep(0.5)


# ---------------------------------------------------------------- one guest


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
            "find the domain", lambda: self.domain.lookupByName(self.name), "does the virtual machine run on this host"
        )
        if not self.domain.isActive():
            raise Trouble("missing", f"The domain {self.name} does not run")
        self.target: str = orders["target"]
        self._link: str = orders["link"]
        self.disk()

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

    def wait(self, stall: float, over: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait until a job is as it should be, or is gone; the last look at it.

        :param stall: seconds without progress after which the job is ended.
        """
        seen: object = None
        until, pause = time.monotonic() + stall, 0.02
        while True:
            job = self.job()
            if not job or over(job):
                return job
            now = (job.get("cur"), job.get("end"))
            if now != seen:
                seen, until = now, time.monotonic() + stall
            if time.monotonic() > until:
                self.ask("end a job", lambda: self.domain.blockJobAbort(self.target))
                raise Trouble("deadline", f"A job on the disk {self.target} of {self.name} came to a standstill")
            time.sleep(pause)
            pause = min(pause * 1.5, 0.5)

    def quiet(self, stall: float) -> bool:
        """Bring the disk to rest: a pull that a dead run began is waited for, its copy is ended.

        :returns: whether there was such a job.
        :raises Trouble: the job is somebody else's.
        """
        job = self.job()
        if not job:
            return False
        if job["type"] == self.libvirt.VIR_DOMAIN_BLOCK_JOB_TYPE_PULL:
            self.wait(stall, lambda _job: False)
            return True
        mirror = self.disk().find("mirror/source")
        if mirror is not None and _HIDDEN in (mirror.get("file") or ""):
            self.ask("end a copy", lambda: self.domain.blockJobAbort(self.target))
            return True
        raise Trouble(
            "busy", f"Another job runs on the disk {self.target} of {self.name}", "wait for it, then run it again"
        )

    # ------------------------------------------------------------ hold and release

    def hold(self, guard: Guard, how: str) -> str:
        """Bring the guest to a stop: its file systems by the agent, else all of it; what was reached.

        :param how: ``agent``, ``suspend``, or ``auto``: the agent, else suspend.
        :raises Trouble: neither is possible.
        """
        said = ""
        if how != "suspend":
            guard.holds("F")
            try:
                self.domain.agentSetResponseTimeout(max(1, int(guard.limit / 2)))
                self.domain.fsFreeze()
                return "agent"
            except self.libvirt.libvirtError as error:
                said = str(error)
                self._thaw(guard, quietly=True)
        if how == "agent":
            raise Trouble("tool-failed", f"The agent in {self.name} does not freeze its file systems: {said}")
        if self.domain.state()[0] == self.libvirt.VIR_DOMAIN_PAUSED:
            return "paused"
        guard.holds("S")
        try:
            self.domain.suspend()
        except self.libvirt.libvirtError as error:
            self._resume(guard)
            raise Trouble("tool-failed", f"{self.name} cannot be frozen ({said}) nor suspended: {error}") from None
        return "suspend"

    def release(self, guard: Guard, held: str) -> None:
        """Let the guest go on. What fails here is left to the guard, which tries longer."""
        if held == "agent":
            self._thaw(guard)
        if held == "suspend":
            self._resume(guard)

    def _thaw(self, guard: Guard, quietly: bool = False) -> None:
        try:
            self.domain.fsThaw()
        except self.libvirt.libvirtError:
            # an agent that is not there froze nothing; one that is slow may freeze yet, so the guard thaws again
            if not quietly:
                return
        guard.released("F")

    def _resume(self, guard: Guard) -> None:
        try:
            if self.domain.state()[0] == self.libvirt.VIR_DOMAIN_PAUSED:
                self.domain.resume()
            guard.released("S")
        except self.libvirt.libvirtError:
            pass


def find_disk(etree: Any, text: str, target: str, name: str) -> Any:
    """The element of a disk in a domain's document; ``Trouble`` when it has none."""
    if len(text) > _XML_BYTES:
        raise Trouble("corrupt", f"The document of {name} is too long to be right")
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    for disk in etree.fromstring(text.encode(), parser).findall("devices/disk"):
        found = disk.find("target")
        if found is not None and found.get("dev") == target:
            return disk
    raise Trouble("missing", f"The domain {name} has no disk {target}")


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
        known_by_link = name != "" and os.path.normpath("/" + name.lstrip("/")) == link
        if not known_by_link and os.path.realpath(name) != path:
            return f"has the layer '{name}' in libvirt where {path} is on disk"
    return ""


# ---------------------------------------------------------------- what can be asked


def look(guest: Guest, orders: dict[str, Any], guard: Guard) -> dict[str, Any]:
    """Whether libvirt's chain is the one of the headers."""
    guest.check(orders["expected"])
    return {}


def snapshot(guest: Guest, orders: dict[str, Any], guard: Guard) -> dict[str, Any]:
    """Let the guest write to a new layer from one moment on, at which it is held."""
    libvirt = guest.libvirt
    guest.quiet(orders["stall"])
    guest.check(orders["expected"])
    etree = guest.etree
    wish = etree.Element("domainsnapshot")
    disks = etree.SubElement(wish, "disks")
    for target in etree.fromstring(guest.domain.XMLDesc().encode()).findall("devices/disk/target"):
        ours = target.get("dev") == guest.target
        disk = etree.SubElement(disks, "disk", name=target.get("dev"), snapshot="external" if ours else "no")
        if ours:
            etree.SubElement(disk, "driver", type="qcow2")
            etree.SubElement(disk, "source", file=orders["layer"])
    flags = (
        libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY
        | libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_ATOMIC
        | libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA
        | libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_REUSE_EXT
    )
    held = guest.hold(guard, orders["quiesce"])
    try:
        _pause_for_tests(orders, "held")
        text = etree.tostring(wish, encoding="unicode")
        guest.ask("take a snapshot", lambda: guest.domain.snapshotCreateXML(text, flags))
        whole = held == "paused" or guard.in_time()
    finally:
        guest.release(guard, held)
    return {"consistency": held if whole else "none"}


def pull(guest: Guest, orders: dict[str, Any], guard: Guard) -> dict[str, Any]:
    """Let the top take over all that is above a base; the base becomes what it stands on.

    A pull that still runs, of a run that died, is waited for first, and may be all that was to be done.

    :raises Trouble: the chain is not what it should be, before or after.
    """
    libvirt = guest.libvirt
    if guest.quiet(orders["stall"]):
        return {"adopted": True}
    guest.check(orders["expected"])
    known = guest.chain()
    depth: int = orders["depth"]
    base = None
    flags = 0
    if depth:
        base = indexed(guest.disk(), guest.target, depth)
        by_link = os.path.normpath("/" + known[depth].lstrip("/")) == orders["link"]
        if orders["relative"]:
            flags = libvirt.VIR_DOMAIN_BLOCK_REBASE_RELATIVE
        elif by_link:
            # libvirt would write the link as the name of the base, and the link leads to the top
            base = None
    guest.ask("pull layers", lambda: guest.domain.blockRebase(guest.target, base, 0, flags))
    _pause_for_tests(orders, "pulling")
    guest.wait(orders["stall"], lambda _job: False)
    if base is not None:
        _name(guest, orders["name"])
    left = guest.chain()
    if len(left) != (len(known) - depth + 1 if base is not None else 1):
        raise Trouble("tool-failed", f"The layers of {guest.target} of {guest.name} were not pulled", detail=str(left))
    return {"adopted": False}


def indexed(disk: Any, target: str, depth: int) -> str:
    """A layer as libvirt addresses it: ``vda[3]``."""
    for _step in range(depth):
        disk = disk.find("backingStore")
    return f"{target}[{disk.get('index')}]"


def _name(guest: Guest, name: str) -> None:
    """Give the top's backing file the name that its neighbours would have: libvirt's leads there too, on a detour."""
    import libvirt_qemu

    def monitor(command: str, **arguments: Any) -> Any:
        text = json.dumps({"execute": command, "arguments": arguments})
        said = guest.ask(command, lambda: libvirt_qemu.qemuMonitorCommand(guest.domain, text, 0))
        return json.loads(said).get("return")

    top = guest.chain()[0]
    for node in monitor("query-named-block-nodes", flat=True) or []:
        if node.get("file") == top and node.get("drv") == "qcow2":
            if node["image"].get("backing-filename") != name:
                words = {"device": node["node-name"], "image-node-name": node["node-name"], "backing-file": name}
                monitor("change-backing-file", **words)
            return


def copy(guest: Guest, orders: dict[str, Any], guard: Guard) -> dict[str, Any]:
    """Copy the disk, as it is at one moment at which the guest is held, into a file that is there."""
    libvirt, etree = guest.libvirt, guest.etree
    guest.quiet(orders["stall"])
    guest.check(orders["expected"])
    wish = etree.Element("disk", type="file")
    etree.SubElement(wish, "driver", type=orders["format"])
    etree.SubElement(wish, "source", file=orders["destination"])
    flags = libvirt.VIR_DOMAIN_BLOCK_COPY_REUSE_EXT | libvirt.VIR_DOMAIN_BLOCK_COPY_TRANSIENT_JOB
    text = etree.tostring(wish, encoding="unicode")

    def ready(_job: dict[str, Any]) -> bool:
        mirror = guest.disk().find("mirror")
        return mirror is not None and mirror.get("ready") == "yes"

    def gone() -> NoReturn:
        raise Trouble("tool-failed", f"The copy of {guest.target} of {guest.name} broke off", "look at the guest's log")

    guard.holds("C")
    whole = False
    try:
        guest.ask("copy a disk", lambda: guest.domain.blockCopy(guest.target, text, flags=flags))
        _pause_for_tests(orders, "copying")
        if not guest.wait(orders["stall"], ready):
            gone()
        held = guest.hold(guard, orders["quiesce"])
        try:
            _pause_for_tests(orders, "held")
            if not guest.job():
                gone()
            # without a pivot the copy ends with all that was written until now
            guest.ask("end a copy", lambda: guest.domain.blockJobAbort(guest.target))
            whole = held == "paused" or guard.in_time()
        finally:
            guest.release(guard, held)
    finally:
        if guest.job():
            guest.ask("end a copy", lambda: guest.domain.blockJobAbort(guest.target))
        guard.released("C")
    if not whole:
        raise Trouble("deadline", f"{guest.name} went on before the copy of {guest.target} had ended")
    return {"consistency": held}


def _pause_for_tests(orders: dict[str, Any], place: str) -> None:
    """Stand still here when a fault test says so, until somebody kills us."""
    if orders.get("pause") == place:
        time.sleep(600)


_OPERATIONS: dict[str, Callable[[Guest, dict[str, Any], Guard], dict[str, Any]]] = {
    "look": look,
    "snapshot": snapshot,
    "pull": pull,
    "copy": copy,
}


def main(arguments: list[str]) -> None:
    """Do what the document of JSON in the first argument asks for, and print the answer as one."""
    orders: dict[str, Any] = json.loads(arguments[0])
    guard = Guard(orders["uri"], orders["domain"], orders["target"], float(orders["freeze_timeout"]))
    try:
        answer = _OPERATIONS[orders["operation"]](Guest(orders), orders, guard)
        answer["ok"] = True
    except Trouble as trouble:
        answer = {"ok": False, **trouble.record}
    finally:
        guard.end()
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
