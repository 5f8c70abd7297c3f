# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests of the lab look at: layouts on disk, what is left over, what runs."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tests.lab.ground import Ground, LabGround
from tests.lab.hosts.commands import USER_ID
from tests.lab.hosts.proc import HostProcess, read_stat

HIDDEN = ".one_storage"


def layout(ground: Ground, host: str, directory: str, names: Mapping[str, str] | None = None) -> dict[str, str]:
    """Everything below a directory of a host by relative path: what it is, and what it refers to.

    :param names: names to show instead of paths that differ from run to run, by path.
    """
    root = ground.path(host, directory)
    found: dict[str, str] = {}
    if not root.is_dir():
        return found
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if name.split("/")[0] != HIDDEN:
            found[_named(name, names)] = _named(_what(ground, host, f"{directory}/{name}", path), names)
    return found


def _named(text: str, names: Mapping[str, str] | None) -> str:
    for path, name in (names or {}).items():
        text = text.replace(path, name)
    return text


def _what(ground: Ground, host: str, path: str, seen: Path) -> str:
    if seen.is_symlink():
        return f"link to {os.readlink(seen)}"
    if seen.is_dir():
        return "directory"
    with seen.open("rb") as file:
        head = file.read(33000)
    if head[:4] == b"QFI\xfb":
        info = json.loads(ground.run(host, ["qemu-img", "info", "-U", "-f", "qcow2", "--output=json", path]))
        backing = info.get("backing-filename")
        return f"qcow2 on {backing} ({info['backing-filename-format']})" if backing else "qcow2"
    if head[4086:4096] == b"SWAPSPACE2":
        return "swap"
    if head[32769:32774] == b"CD001":
        return "iso"
    return "text " + head.decode() if len(head) < 20 and head.isascii() else "raw"


def left_of_ours(ground: Ground) -> list[str]:
    """What journals, workshops, probes and spare names are left in any datastore; all hosts are looked at.

    The receipt of a VM that was moved belongs to the VM's directory, and may stand as long as that.
    """
    found = []
    location = ground.oned.settings.datastore_location
    for host in (ground.frontend, *ground.nodes):
        root = ground.path(host, location)
        for store in sorted(root.iterdir()) if root.is_dir() else []:
            hidden = store / HIDDEN
            items = [item.name for item in hidden.glob("*") if not _stays(store, item)]
            found += [f"{host}:{store.name}/{HIDDEN}/{name}" for name in items]
            found += [f"{host}:{item.relative_to(root)}" for item in store.rglob("*.new")]
    return found


def _stays(store: Path, item: Path) -> bool:
    """Whether something in the hidden folder of a datastore may be there while nothing runs."""
    receipt = item.name.startswith("vm-") and item.name.endswith(".arrived")
    return item.name == "locks" or (receipt and (store / item.name[3 : -len(".arrived")]).is_dir())


def running(ground: LabGround, host: str) -> list[HostProcess]:
    """What of ours runs on a host: everything but idle shared connections, sshd's side of them, and dying shells."""
    return [
        process
        for process in ground.lab.processes(host)
        if not process.argv[0].startswith(("sshd:", "ssh: ")) and process.argv[0] != "sshd"
    ]


def all_running(ground: LabGround) -> list[tuple[str, tuple[str, ...]]]:
    """:func:`running` on all hosts, as (host, command line)."""
    return [(host, process.argv) for host in ground.lab.hosts for process in running(ground, host)]


def end_shared_connections(ground: LabGround) -> None:
    """End the idle masters of shared connections, which would stay for a minute."""
    for host in ground.lab.hosts:
        for process in ground.lab.processes(host):
            if process.argv[0].startswith("ssh: ") and "[mux]" in process.argv[0]:
                try:
                    os.kill(process.pid, signal.SIGTERM)
                except ProcessLookupError:
                    pass


def wait_for(what: str, condition: Callable[[], object], limit: float = 5.0) -> None:
    """Wait until *condition* is true, at most *limit* seconds; AssertionError says what did not come."""
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, f"not {what} after {limit:g} s"
        time.sleep(0.01)


# ---------------------------------------------------------------- contents

#: Kind, then link target or content, by "host:datastore/path". A shared datastore is the front-end's here.
State = dict[str, tuple[str, bytes]]


def _datastores(ground: LabGround) -> Iterator[tuple[str, str, Path]]:
    """(host, datastore, its folder) of every datastore there is, each shared one once."""
    location = ground.oned.settings.datastore_location
    shared = {str(number) for number in ground.lab.shared}
    for host in ground.lab.hosts:
        root = ground.path(host, location)
        for store in sorted(root.iterdir()) if root.is_dir() else []:
            if host == ground.frontend or store.name not in shared:
                yield host, store.name, store


def state(ground: LabGround) -> State:
    """All that is in all datastores, without what is ours to hide."""
    found: State = {}
    for host, name, store in _datastores(ground):
        for folder, folders, files in os.walk(store):
            if HIDDEN in folders:
                folders.remove(HIDDEN)
            for entry in folders + files:
                path = Path(folder, entry)
                key = f"{host}:{name}/{path.relative_to(store)}"
                if path.is_symlink():
                    found[key] = ("link", os.readlink(path).encode())
                else:
                    found[key] = ("directory", b"") if path.is_dir() else ("file", path.read_bytes())
    return found


def restore(ground: LabGround, wanted: State) -> None:
    """Bring all datastores into a state that :func:`state` saw."""
    now = state(ground)
    stores = {f"{host}:{name}": store for host, name, store in _datastores(ground)}
    for key in sorted(now, reverse=True):
        if wanted.get(key) != now[key]:
            store, _slash, path = key.partition("/")
            target = stores[store] / path
            if now[key][0] == "directory":
                target.rmdir()
            else:
                target.unlink()
    for key in sorted(wanted):
        if now.get(key) != wanted[key]:
            store, _slash, path = key.partition("/")
            kind, content = wanted[key]
            target = stores[store] / path
            if kind == "directory":
                target.mkdir()
            elif kind == "link":
                target.symlink_to(content.decode())
            else:
                target.write_bytes(content)
            os.chown(target, USER_ID, USER_ID, follow_symlinks=False)
    for folder in stores.values():
        for receipt in (folder / HIDDEN).glob("vm-*.arrived"):
            if not _stays(folder, receipt):
                receipt.unlink()


def differences(found: State, wanted: State) -> list[str]:
    """What is not as it should be. Of file systems, swap areas and ISOs, which carry dates and random ids, the kind and
    the size count."""
    return [
        f"{key}: {_shown(found.get(key))}, not {_shown(wanted.get(key))}"
        for key in sorted(found.keys() | wanted.keys())
        if _shown(found.get(key)) != _shown(wanted.get(key))
    ]


def _shown(item: tuple[str, bytes] | None) -> str:
    if item is None:
        return "nothing"
    kind, content = item
    if kind != "file":
        return f"{kind} {content.decode()}".strip()
    for name, start, magic in (("ext", 1080, b"\x53\xef"), ("swap", 4086, b"SWAPSPACE2"), ("iso", 32769, b"CD001")):
        if content[start : start + len(magic)] == magic:
            return f"{name} of {len(content)}"
    if content[:4] == b"QFI\xfb" and any(
        content[at + 1080 : at + 1082] == b"\x53\xef" for at in range(0, len(content), 65536)
    ):
        return f"qcow2 with ext of {len(content)}"
    return f"file of {len(content)}, sha256 {hashlib.sha256(content).hexdigest()[:16]}"


def wipe_hidden(ground: LabGround) -> None:
    """Remove what an earlier test left of ours."""
    for _host, _name, store in _datastores(ground):
        shutil.rmtree(store / HIDDEN, ignore_errors=True)


def wipe(ground: LabGround) -> None:
    """Empty every datastore, hidden things too."""
    for _host, _name, store in _datastores(ground):
        for item in store.iterdir():
            if item.is_dir() and not item.is_symlink():
                shutil.rmtree(item)
            else:
                item.unlink()


# ---------------------------------------------------------------- processes in the middle of their work


def stopped(ground: LabGround) -> HostProcess | None:
    """The process of ours that a fault test stopped at a step."""
    for host in ground.lab.hosts:
        for process in running(ground, host):
            stat = read_stat(process.pid)
            if stat is not None and stat.state == "T":
                return process
    return None


def on_its_way(ground: LabGround, host: str, *words: str) -> list[HostProcess]:
    """Processes of ours on a host whose command lines hold all these words."""
    return [process for process in running(ground, host) if all(word in " ".join(process.argv) for word in words)]


def end(process: HostProcess, number: signal.Signals = signal.SIGKILL) -> None:
    """Send a signal to a process, which may be gone."""
    try:
        os.kill(process.pid, number)
    except ProcessLookupError:
        pass
