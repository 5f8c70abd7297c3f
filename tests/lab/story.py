# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The story that the demonstration tells and the tests check: a VM's whole life on one pairing of drivers.

A non-persistent disk, a persistent one, a volatile one, a swap disk and the context ISO go through CREATE, STOP,
RESUME, MIGRATE and SHUTDOWN. The guest writes while it runs; after each event the contents of every disk are compared
with what they must be.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from tests.lab.ground import Ground
from tests.lab.oned import (
    Call,
    DatastoreType,
    Life,
    Outcome,
    Runner,
    Vm,
    use_image,
    use_swap,
    use_volatile,
)
from tests.lab.pairings import ALL, PAIRINGS, VOLUMES, Pairing
from tests.lab.pool import POOL, VOLUME, described

__all__ = ["ALL", "PAIRINGS", "VOLUMES", "Chapter", "Check", "Pairing", "Story"]

MB = 1 << 20
SIZE = 16
CONTEXT = {"HELLO": "world", "TOKEN": "s3cret 'quoted' $(id)"}


@dataclass
class Check:
    """One thing that was looked at."""

    what: str
    ok: bool
    detail: str = ""


@dataclass
class Chapter:
    """An event, the calls it made and what was found afterwards."""

    title: str
    calls: list[Call] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether every call and every check was right."""
        return all(call.ok for call in self.calls) and all(check.ok for check in self.checks)


class Story:
    """One life. :meth:`tell` yields its chapters in order.

    :param environment: more environment for the wrappers, such as the launcher to use.
    :param observer: sees each call as it ends.
    """

    def __init__(
        self,
        ground: Ground,
        pairing: Pairing,
        environment: dict[str, str] | None = None,
        observer: Callable[[Call], None] | None = None,
    ) -> None:
        self.ground = ground
        self.pairing = pairing
        self.runner: Runner = ground.runner(environment)
        self.runner.observer = observer
        self.life = Life(ground.oned, self.runner, guest=self._guest)
        self.chapters: list[Chapter] = []
        #: Told the name of each event before it begins.
        self.on_event: Callable[[str], None] = lambda _title: None
        #: What each disk must hold, by disk id.
        self.golden: dict[int, bytearray] = {}
        self.vm = -1
        self._writes = 0
        self._images: list[int] = []

    # ------------------------------------------------------------ the guest

    def _guest(self, step: str, vm: Vm) -> None:
        """What the guest writes between two events: a new pattern to every disk it may write to."""
        if step not in ("deploy", "restore"):
            return
        self._writes += 1
        for disk, content in self.golden.items():
            pattern = 16 * self._writes + disk
            offset = self._writes * MB
            content[offset : offset + MB // 2] = bytes([pattern]) * (MB // 2)
            path = self._opened(self._disk(disk))
            self.ground.run(
                vm.record.hostname,
                ["qemu-io", "-f", self._format(disk), "-c", f"write -P {pattern} {offset} {MB // 2}", path],
            )

    def _format(self, disk: int) -> str:
        found = next(item for item in self._vm().disks if item.id == disk)
        return found.format

    def _disk(self, disk: int) -> str:
        """Where a disk is: a path, or ``rbd:<pool>/<volume>`` by the rules of names (contract-tm 6.6)."""
        if self.pairing.disks_in_pool and disk != self._vm().context_disk_id:
            known = self._vm().disk(disk)
            if known.is_volatile:
                return f"{VOLUME}{POOL}/one-sys-{self.vm}-{disk}"
            source = f"{VOLUME}{known.attributes['SOURCE']}"
            return f"{source}-{self.vm}-{disk}" if known.is_clone else source
        return f"{self._directory()}/disk.{disk}"

    def _source(self, image: int) -> str:
        """Where an image is, in the same way."""
        return f"{VOLUME if self.pairing.images_in_pool else ''}{self.ground.oned.image(image).source}"

    def _told(self, disk: int, host: str) -> str:
        """A disk and where it is, for people."""
        return f"disk.{disk} {'in the pool' if self._disk(disk).startswith(VOLUME) else f'on {host}'}"

    def _opened(self, place: str) -> str:
        """A place as QEMU's programs open it."""
        return self.ground.pool.opened(place) if self.ground.pool else place

    def _directory(self) -> str:
        settings = self.ground.oned.settings
        return str(PurePosixPath(settings.system_dir(self.pairing.system_ds, self.vm)))

    def _vm(self) -> Vm:
        return self.ground.oned.vm(self.vm)

    @staticmethod
    def _as_attached(place: str) -> str:
        """A place as libvirt is told it: OpenNebula writes paths with a double slash."""
        return place.replace("/datastores/", "//datastores/")

    # ------------------------------------------------------------ the chapters

    def prepare(self) -> None:
        """Datastores in oned and the files that the images are made of."""
        pairing, oned = self.pairing, self.ground.oned
        in_pool = self.ground.pool.template() if self.ground.pool else {}
        template = {"SAFE_DIRS": self.sources, "RESTRICTED_DIRS": "/", **(in_pool if pairing.images_in_pool else {})}
        if pairing.image_tm == "ssh" and pairing.disk_format == "raw":
            template["DRIVER"] = "raw"
        if pairing.image_ds not in oned.datastores:
            self.life.create_datastore(
                f"img_{pairing.image_tm}",
                pairing.image_mad,
                pairing.image_tm,
                ds_id=pairing.image_ds,
                template=template,
            )
        if pairing.system_ds not in oned.datastores:
            self.life.create_datastore(
                f"sys_{pairing.system_tm}",
                tm_mad=pairing.system_tm,
                type=DatastoreType.SYSTEM,
                ds_id=pairing.system_ds,
                template=in_pool if pairing.disks_in_pool else None,
            )
        source, frontend = f"{self.sources}/base.{pairing.disk_format}", self.ground.frontend
        self.ground.run(frontend, ["mkdir", "-p", self.sources])
        self.ground.run(frontend, ["qemu-img", "create", "-q", "-f", pairing.disk_format, source, f"{SIZE}M"])
        self.ground.run(
            frontend,
            ["qemu-io", "-f", pairing.disk_format, "-c", f"write -P 1 0 {MB}", "-c", "write -P 2 9M 1M", source],
        )
        self.base = bytearray(SIZE * MB)
        self.base[:MB] = bytes([1]) * MB
        self.base[9 * MB : 10 * MB] = bytes([2]) * MB

    @property
    def sources(self) -> str:
        """The folder on the front-end where images are imported from."""
        return str(PurePosixPath(self.ground.oned.settings.var_location) / "sources")

    def tell(self, on_chapter: Callable[[Chapter], None] | None = None) -> bool:
        """Live the whole life; True when everything was right. It ends at the first event that fails."""
        self.prepare()
        for title, event, look in self.events():
            chapter = Chapter(title)
            self.chapters.append(chapter)
            self.on_event(title)
            for outcome in event():
                chapter.calls += outcome.calls
                if not outcome.ok:
                    chapter.checks.append(Check(title.lower(), False, outcome.reason))
            if chapter.ok:
                chapter.checks += look()
            if on_chapter:
                on_chapter(chapter)
            if not chapter.ok:
                return False
        return True

    def events(self) -> list[tuple[str, Callable[[], list[Outcome]], Callable[[], list[Check]]]]:
        """Each event by its name: what happens, and what is looked at then."""
        return [
            ("IMPORT", self._import, self._look_images),
            ("CREATE", self._create, self._look_disks),
            ("STOP", self._stop, self._look_disks),
            ("RESUME", self._resume, self._look_disks),
            ("MIGRATE", self._migrate, self._look_disks),
            ("SHUTDOWN", self._shutdown, self._look_after),
            ("CLEAN UP", self._clean_up, self._look_empty),
        ]

    def _import(self) -> list[Outcome]:
        source = f"{self.sources}/base.{self.pairing.disk_format}"
        first = self.life.import_image(f"{self.pairing.name}-os", self.pairing.image_ds, source)
        second = self.life.import_image(f"{self.pairing.name}-data", self.pairing.image_ds, source, persistent=True)
        self._images = [first.object_id, second.object_id]
        return [first, second]

    def _create(self) -> list[Outcome]:
        system, persistent = self._images
        kind = "qcow2" if self.pairing.disk_format == "qcow2" else "raw"
        outcome = self.life.create_vm(
            self.pairing.name,
            [use_image(system), use_image(persistent), use_volatile(20, kind, "ext4"), use_swap(8)],
            self.pairing.system_ds,
            self.ground.nodes[0],
            context=CONTEXT,
            vm_id=self._next_vm(),
        )
        return [outcome]

    def _next_vm(self) -> int:
        self.vm = max(self.ground.oned.vms, default=-1) + 1
        self.golden = {0: bytearray(self.base), 1: bytearray(self.base)}
        return self.vm

    def _stop(self) -> list[Outcome]:
        return [self.life.stop(self.vm)]

    def _resume(self) -> list[Outcome]:
        return [self.life.resume(self.vm, self.ground.nodes[0])]

    def _migrate(self) -> list[Outcome]:
        if len(self.ground.nodes) < 2:
            return []
        return [self.life.migrate(self.vm, self.ground.nodes[1])]

    def _shutdown(self) -> list[Outcome]:
        return [self.life.terminate(self.vm)]

    def _clean_up(self) -> list[Outcome]:
        return [self.life.delete_image(image) for image in self._images]

    # ------------------------------------------------------------ looking

    @contextmanager
    def _raw(self, host: str, place: str, disk_format: str) -> Iterator[str]:
        """A file on a host that has what a guest would read from a disk, a snapshot or an image."""
        scratch = f"{self.sources}/look.raw" if host == self.ground.frontend else "/var/tmp/look.raw"
        self.ground.run(
            host, ["qemu-img", "convert", "-U", "-f", disk_format, "-O", "raw", self._opened(place), scratch]
        )
        yield scratch
        self.ground.run(host, ["rm", "-f", scratch])

    def _content(self, host: str, path: str, disk_format: str) -> str:
        """SHA-256 of what a guest would read from a disk."""
        if path.startswith(VOLUME) and self.ground.pool:
            return hashlib.sha256(self.ground.pool.content(path)).hexdigest()
        with self._raw(host, path, disk_format) as scratch:
            return hashlib.sha256(self.ground.path(host, scratch).read_bytes()).hexdigest()

    def _same(self, what: str, host: str, path: str, disk_format: str, golden: bytearray) -> Check:
        found, wanted = self._content(host, path, disk_format), hashlib.sha256(golden).hexdigest()
        return Check(what, found == wanted, f"sha256 {found[:12]}" if found == wanted else f"{found} is not {wanted}")

    def _look_images(self) -> list[Check]:
        checks = []
        for image in self._images:
            known = self.ground.oned.image(image)
            checks.append(
                self._same(f"image {known.name}", self.ground.frontend, self._source(image), known.format, self.base)
            )
        return checks

    def _where(self) -> str:
        """The host that has the VM's files now."""
        vm = self._vm()
        return self.ground.frontend if vm.state.name in ("STOPPED", "UNDEPLOYED") else vm.record.hostname

    def _look_disks(self) -> list[Check]:
        host = self._where()
        directory = self._directory()
        checks = [
            self._same(self._told(disk, host), host, self._disk(disk), self._format(disk), golden)
            for disk, golden in self.golden.items()
        ]
        checks.append(self._filesystem(host))
        with self._raw(host, self._disk(3), "raw") as scratch:
            swap = self.ground.run(host, ["blkid", "-p", "-s", "TYPE", "-s", "LABEL", "-o", "value", scratch]).split()
        checks.append(Check(f"{self._told(3, host)} is swap", sorted(swap) == ["swap", "swap"], " ".join(swap)))
        checks.append(self._context(host))
        if self.pairing.local:
            for other in {self.ground.frontend, *self.ground.nodes} - {host}:
                if self.ground.path(other, directory) != self.ground.path(host, directory):
                    gone = not self.ground.path(other, directory).exists()
                    checks.append(Check(f"nothing left on {other}", gone, "" if gone else directory))
        return checks

    def _filesystem(self, host: str) -> Check:
        """The volatile disk carries a clean ext4."""
        with self._raw(host, self._disk(2), self._format(2)) as scratch:
            kind = self.ground.run(host, ["blkid", "-p", "-s", "TYPE", "-o", "value", scratch]).strip()
            self.ground.run(host, ["e2fsck", "-f", "-n", scratch])
        return Check(f"{self._told(2, host)} is a clean ext4", kind == "ext4", kind)

    def _context(self, host: str) -> Check:
        """The context ISO holds the very context.sh that oned wrote."""
        scratch = "/var/tmp/look.sh" if host != self.ground.frontend else f"{self.sources}/look.sh"
        self.ground.run(
            host, ["xorriso", "-osirrox", "on", "-indev", f"stdio:{self._disk(4)}", "-extract", "/context.sh", scratch]
        )
        found = self.ground.path(host, scratch).read_text()
        self.ground.run(host, ["rm", "-f", scratch])
        wanted = self.ground.path(
            self.ground.frontend, f"{self.ground.oned.settings.vm_home(self.vm)}/context.sh"
        ).read_text()
        return Check(f"disk.4 on {host} holds context.sh", found == wanted, f"{len(found)} bytes")

    def _look_after(self) -> list[Check]:
        """The persistent image has what the guest wrote, the other is as it was, and nothing else is left."""
        images = [self.ground.oned.image(image) for image in self._images]
        frontend = self.ground.frontend
        wanted = (("unchanged", self.base), ("kept", self.golden[1]))
        checks = [
            self._same(f"image {image.name} {how}", frontend, self._source(image.id), image.format, content)
            for image, (how, content) in zip(images, wanted, strict=True)
        ]
        names = {PurePosixPath(image.source).name for image in images}
        return [*checks, *self._leftovers(names)]

    def _look_empty(self) -> list[Check]:
        return self._leftovers(set())

    def _leftovers(self, images: set[str]) -> list[Check]:
        """Every file in both datastores on every host that is neither an image nor ours to keep."""
        allowed = {".one_storage", ".monitor"} | images | {name + ".snap" for name in images}
        checks = []
        for host in sorted({self.ground.frontend, *self.ground.nodes}):
            found = []
            for datastore in (self.pairing.image_ds, self.pairing.system_ds):
                root = self.ground.path(host, f"{self.ground.oned.settings.datastore_location}/{datastore}")
                if root.is_dir():
                    found += [f"{datastore}/{item.name}" for item in root.iterdir() if item.name not in allowed]
                    found += [
                        f"{datastore}/.one_storage/{item.name}"
                        for item in (root / ".one_storage").glob("*")
                        if item.name != "locks"
                    ]
            checks.append(Check(f"no leftovers on {host}", not found, json.dumps(found) if found else ""))
        if self.pairing.images_in_pool and self.ground.pool:
            left = self.ground.pool.left()
            stands = self.ground.pool.volumes()
            left += [f"{name} {what}" for name, what in stands.items() if what != described() or name not in images]
            left += [f"no {name}" for name in images - stands.keys()]
            checks.append(Check("no leftovers in the pool", not left, json.dumps(left) if left else ""))
        return checks
