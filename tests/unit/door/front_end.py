# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A front-end on this machine for tests of single wrappers: the remotes tree, datastores, an oned with one VM.

Wrappers run as processes, with the command line, the stdin and the little environment that oned gives them.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.lab.ground import lay_out
from tests.lab.oned import ApiServer, Datastore, DatastoreType, Image, ImageType, Oned, Settings, Vm, write_session
from tests.lab.oned.disk import Disk
from tests.lab.oned.messages import clone_action, encode, image_action, monitor_action, stat_action

MIB = 1 << 20
#: What oned's driver programs take for a line of the log.
SEVERITY = re.compile(r"^(ERROR|INFO|WARN|DEBUG):\s+(\d+)?\s*(.*)$")
VM = 7
#: Datastores by driver: (image datastore, system datastore).
STORES = {"qcow2": (100, 101), "shared": (102, 103), "ssh": (104, 105), "local": (106, 107)}


@dataclass
class Said:
    """How a wrapper ended and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def plain(self) -> list[str]:
        """Lines of stderr that oned would show to the user, glued together."""
        return [line for line in self.err.splitlines() if not SEVERITY.match(line.strip())]

    @property
    def reason(self) -> str:
        """The one plain line."""
        assert len(self.plain) == 1, self.err
        return self.plain[0]


class FrontEnd:
    """See the module.

    :ivar root: folder with everything: ``datastores``, ``sources``, ``home``.
    :ivar remotes: the drivers' tree.
    """

    def __init__(self, root: Path, remotes: Path) -> None:
        self.root = root
        self.remotes = remotes
        self.oned = Oned(Settings(frontend=os.uname().nodename, var_location=f"{root}/"))
        self.server = ApiServer(self.oned)
        self.sources = root / "sources"
        for folder in ("sources", "home", "datastores"):
            (root / folder).mkdir()
        write_session(root / "one_auth", self.oned.settings.session)
        for mad, (images, system) in STORES.items():
            self._store(images, mad, DatastoreType.IMAGE, SAFE_DIRS=str(self.sources), RESTRICTED_DIRS="/")
            self._store(system, mad, DatastoreType.SYSTEM)
        self.vm()

    def _store(self, number: int, mad: str, kind: DatastoreType, **template: str) -> None:
        store = Datastore(
            number,
            f"ds{number}",
            ds_mad="fs" if kind is DatastoreType.IMAGE else "-",
            tm_mad=mad,
            base_path=f"{self.root}//datastores/{number}",
            type=kind,
            template=template,
        )
        self.oned.datastores[number] = store
        self.store(number).mkdir()

    def store(self, number: int) -> Path:
        """The folder of a datastore."""
        return self.root / "datastores" / str(number)

    def vm(self, image_format: str = "raw", **attributes: str) -> Vm:
        """The VM, with a disk 0 of this format and a volatile disk 1."""
        disks = [
            Disk({"DISK_ID": "0", "FORMAT": image_format, "SIZE": "1", "ORIGINAL_SIZE": "1", **attributes}),
            Disk({"DISK_ID": "1", "FORMAT": image_format, "SIZE": "2", "TYPE": "fs", "FS": "ext4"}),
        ]
        made = Vm(VM, "seven", disks=disks)
        self.oned.vms[VM] = made
        return made

    # ------------------------------------------------------------ what is there

    def raw(self, path: Path, size: int = MIB) -> Path:
        """A raw image with some data at its beginning."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(hashlib.shake_128(path.name.encode()).digest(70_000))
        os.truncate(path, size)
        return path

    def qcow2(self, path: Path, size: int = MIB) -> Path:
        """A qcow2 image."""
        path.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            ["qemu-img", "create", "-q", "-f", "qcow2", path, str(size)], check=True, capture_output=True, timeout=30
        )
        return path

    def disk(self, mad: str, name: str = "disk.0") -> str:
        """A disk of the VM as an argument, on this machine, in oned's spelling."""
        return f"localhost:{self.root}//datastores/{STORES[mad][1]}/{VM}{'/' + name if name else ''}"

    def image(self, mad: str, name: str = "image") -> str:
        """An image as an argument."""
        return f"{os.uname().nodename}:{self.root}//datastores/{STORES[mad][0]}/{name}"

    def state(self) -> dict[str, tuple[object, ...]]:
        """Everything below the datastores and sources: kind, mode and content; but for the file of locks."""
        found: dict[str, tuple[object, ...]] = {}
        for top in (self.root / "datastores", self.sources, self.root / "home"):
            for path in sorted(top.rglob("*")):
                info = path.lstat()
                key = str(path.relative_to(self.root))
                if path.is_symlink():
                    found[key] = ("link", os.readlink(path))
                elif path.is_dir():
                    found[key] = ("directory", oct(info.st_mode))
                else:
                    digest = hashlib.sha256(path.read_bytes()).hexdigest()
                    found[key] = ("file", oct(info.st_mode), info.st_size, info.st_mtime_ns, digest)
        return {
            key: value
            for key, value in found.items()
            if not key.endswith(("/.one_storage/locks", "/.one_storage", "home/one_storage.looks"))
        }

    def hidden(self) -> list[str]:
        """What journals and workshops left, locks aside."""
        return sorted(key for key in self.state() if "/.one_storage/" in key)

    # ------------------------------------------------------------ calls

    def environment(self, **more: str) -> dict[str, str]:
        """What oned gives its drivers, as far as it matters."""
        return {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            "HOME": str(self.root / "home"),
            "ONE_AUTH": str(self.root / "one_auth"),
            "ONE_XMLRPC": self.server.url,
            "ONE_STORAGE_LAUNCHER": "in_process",
            **more,
        }

    def run(
        self,
        wrapper: str,
        *arguments: str | bytes,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
        before: Sequence[str] = (),
        timeout: float = 60,
    ) -> Said:
        """Run ``tm/qcow2/clone``, ``datastore/fs/cp``, … to its end.

        :param env: more environment.
        :param before: a command that runs the wrapper, with its arguments.
        :param timeout: seconds; it is killed then, and the test fails.
        """
        done = subprocess.run(
            [*before, str(self.remotes / wrapper), *arguments],
            input=stdin,
            capture_output=True,
            env=self.environment(**(env or {})),
            cwd=self.root,
            timeout=timeout,
        )
        return Said(done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace"))

    def cp(
        self,
        source: Path | str,
        mad: str = "qcow2",
        number: int = 1,
        size: int = 8,
        attributes: Mapping[str, str] | None = None,
        kind: ImageType = ImageType.OS,
    ) -> bytes:
        """stdin of an import. *attributes* are those of the datastore's template."""
        image = Image(number, "new", regtime=1000 + number, path=str(source), size=size, type=kind)
        return encode(image_action(image, self._with(mad, attributes)))

    def mkfs(
        self, mad: str = "qcow2", number: int = 1, size: int = 1, image_format: str = "raw", fs: str = ""
    ) -> bytes:
        """stdin of mkfs."""
        image = Image(number, "new", regtime=1000 + number, format=image_format, fs=fs, size=size)
        return encode(image_action(image, self._with(mad)))

    def clone(self, source: str, mad: str = "qcow2", number: int = 1, image_format: str = "raw") -> bytes:
        """stdin of clone."""
        image = Image(number, "new", regtime=1000 + number, path=source, format=image_format, size=1)
        return encode(clone_action(image, self._with(mad)))

    def rm(self, source: str, mad: str = "qcow2", attributes: Mapping[str, str] | None = None) -> bytes:
        """stdin of rm."""
        return encode(image_action(Image(1, "old", source=source), self._with(mad, attributes)))

    def export(
        self,
        source: str,
        mad: str = "qcow2",
        image_format: str = "raw",
        size: int = 1,
        attributes: Mapping[str, str] | None = None,
    ) -> bytes:
        """stdin of an export; the marketplace's driver makes the document out of oned's."""
        image = Image(1, "old", source=source, format=image_format, size=size)
        return encode(image_action(image, self._with(mad, attributes)))

    def stat(self, source: Path | str, mad: str = "qcow2") -> bytes:
        """stdin of stat."""
        return encode(stat_action(str(source), self._with(mad)))

    def monitor(self, mad: str = "qcow2", attributes: Mapping[str, str] | None = None) -> bytes:
        """stdin of monitor."""
        return encode(monitor_action(self.oned.settings, self._with(mad, attributes)))

    def _with(self, mad: str, attributes: Mapping[str, str] | None = None) -> Datastore:
        store = self.oned.datastores[STORES[mad][0]]
        given = dict(attributes or {})
        return Datastore(
            store.id,
            store.name,
            ds_mad=store.ds_mad,
            tm_mad=store.tm_mad,
            base_path=given.pop("BASE_PATH", store.base_path),
            template={**store.template, **given},
        )


def refused(front_end: FrontEnd, said: Said, wanted: str, before: dict[str, tuple[object, ...]]) -> None:
    """A bad call as it has to end: one plain sentence like *wanted* (a pattern), a code, no answer and no change."""
    assert said.code not in (0, None), said
    assert said.out == ""
    # the core adds what became of the steps, of which there were none or none is left
    assert re.fullmatch(wanted, said.reason.replace("; nothing was changed", "")), said.err
    assert "Traceback" not in said.err and "unexpected error" not in said.err, said.err
    now = front_end.state()
    assert now == before, {key for key in {*now, *before} if now.get(key) != before.get(key)}


@contextmanager
def laid_out() -> Iterator[Path]:
    """The remotes tree in a folder that every user can read."""
    folder = Path(tempfile.mkdtemp(prefix="one_storage-"))
    try:
        folder.chmod(0o755)
        lay_out(folder / "remotes")
        yield folder / "remotes"
    finally:
        shutil.rmtree(folder)


def quick_folder() -> str | None:
    """A folder in memory where there is one that is large enough and runs programs: wrappers flush all they write."""
    memory = "/dev/shm"
    try:
        about = os.statvfs(memory)
    except OSError:
        return None
    room = about.f_bavail * about.f_frsize >= 1 << 30
    return memory if room and not about.f_flag & os.ST_NOEXEC and os.access(memory, os.W_OK) else None


@contextmanager
def started(remotes: Path) -> Iterator[FrontEnd]:
    """A front-end with its oned running."""
    folder = Path(tempfile.mkdtemp(prefix="one_storage-", dir=quick_folder())).resolve()
    try:
        folder.chmod(0o755)
        made = FrontEnd(folder, remotes)
        with made.server:
            yield made
    finally:
        shutil.rmtree(folder)
