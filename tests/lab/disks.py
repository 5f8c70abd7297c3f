# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The story of a VM's disks while it is off: snapshots, going back, saving, growing, and moves in between.

Both disks, the VM's own and the persistent one, go through all of it, by the lines and documents that oned sends. After
each event every byte of both disks is compared, and of each image that was saved.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.lab.oned import Outcome
from tests.lab.story import MB, Check, Story

DISKS = (0, 1)


class DiskStory(Story):
    """A life in which :meth:`tell` goes through snapshots."""

    def __init__(self, *arguments: object, **more: object) -> None:
        super().__init__(*arguments, **more)  # type: ignore[arg-type]
        self._then: dict[tuple[int, int], bytes] = {}
        self._taken = dict.fromkeys(DISKS, -1)
        self._saved: list[tuple[int, bytes]] = []

    def events(self) -> list[tuple[str, Callable[[], list[Outcome]], Callable[[], list[Check]]]]:
        life, look = self.life, self._look_disks
        return [
            ("IMPORT", self._import, self._look_images),
            ("CREATE", self._create, look),
            ("POWEROFF", lambda: [life.poweroff(self.vm)], look),
            ("SNAPSHOT 0", self._snapshot, look),
            ("SNAPSHOT 1", self._snapshot, look),
            ("SNAPSHOT 2", self._snapshot, look),
            ("SAVE", lambda: self._save(-1), self._look_saved),
            ("SAVE 1", lambda: self._save(1), self._look_saved),
            ("RESIZE", self._grow, look),
            ("REVERT 1", lambda: self._revert(1), look),
            ("DELETE 2", lambda: self._delete(2), look),
            ("RESUME", lambda: [life.resume(self.vm, self.ground.nodes[0])], look),
            ("STOP", self._stop, look),
            ("SAVE 0, STOPPED", lambda: self._save(0), self._look_saved),
            ("RESUME, STOPPED", self._resume, look),
            ("MIGRATE", self._migrate, look),
            ("POWEROFF AGAIN", lambda: [life.poweroff(self.vm)], look),
            ("SNAPSHOT 3", self._snapshot, look),
            ("DELETE 1", lambda: self._delete(1), look),
            ("REVERT 0", lambda: self._revert(0), look),
            ("SAVE 3", lambda: self._save(3), self._look_saved),
            ("SHUTDOWN", self._shutdown, list),
            ("CLEAN UP", self._clean_up, self._look_empty),
        ]

    def _write(self) -> None:
        """What a guest would have written while the VM was up, to all disks."""
        self._guest("deploy", self._vm())

    def _snapshot(self) -> list[Outcome]:
        outcomes = []
        for disk in DISKS:
            outcomes.append(self.life.snapshot_disk(self.vm, disk))
            self._taken[disk] += 1
            self._then[disk, self._taken[disk]] = bytes(self.golden[disk])
        self._write()
        return outcomes

    def _revert(self, number: int) -> list[Outcome]:
        outcomes = [self.life.revert_disk(self.vm, disk, number) for disk in DISKS]
        for disk in DISKS:
            self.golden[disk] = bytearray(self._then[disk, number])
        return outcomes

    def _delete(self, number: int) -> list[Outcome]:
        return [self.life.delete_snapshot(self.vm, disk, number) for disk in DISKS]

    def _grow(self) -> list[Outcome]:
        size = (len(self.golden[0]) >> 20) + 4
        for disk in DISKS:
            self.golden[disk] += bytes(4 * MB)
        return [self.life.resize_disk(self.vm, disk, size) for disk in DISKS]

    def _save(self, number: int) -> list[Outcome]:
        outcomes = []
        for disk in DISKS:
            outcome = self.life.save_disk(self.vm, disk, f"{self.pairing.name}-{len(self._saved)}", number)
            outcomes.append(outcome)
            content = self.golden[disk] if number < 0 else self._then[disk, number]
            image = max(self.ground.oned.images)
            self._saved.append((image, bytes(content)))
            self._images.append(image)
        return outcomes

    def _look_saved(self) -> list[Check]:
        found = []
        for image, content in self._saved:
            known = self.ground.oned.image(image)
            found.append(
                self._same(f"image {known.name}", self.ground.frontend, known.source, known.format, bytearray(content))
            )
        return found + self._look_disks()
