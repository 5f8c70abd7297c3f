# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The story of all events: every row of the table of events (contract-tm 3), in an order that one VM can live.

After each event every host is looked at (:mod:`.looks`).
"""

from __future__ import annotations

from collections.abc import Callable

from tests.lab.acts import Acts
from tests.lab.looks import FILES, OTHER_SYSTEM
from tests.lab.oned import DatastoreType, Outcome
from tests.lab.story import Chapter, Check

Event = tuple[str, Callable[[], list[Outcome]]]

#: Events that there are only where disks have snapshots; elsewhere the first is refused.
OF_SNAPSHOTS = (
    "SNAPSHOT 0",
    "SNAPSHOT 1",
    "SNAPSHOT 2",
    "SAVE SNAPSHOT",
    "REVERT",
    "DELETE SNAPSHOT",
    "SNAPSHOT, SUSPENDED",
    "SNAPSHOT, RUNNING",
    "DELETE SNAPSHOT, RUNNING",
)
#: Those that there are only where disks move from one system datastore to another.
OF_DATASTORES = ("MIGRATE, ANOTHER DATASTORE", "MIGRATE, BACK")


class Events(Acts):
    """A life of every event."""

    def prepare(self) -> None:
        """As any story, with a second system datastore and files to boot from."""
        super().prepare()
        for other in OTHER_SYSTEM.get(self.pairing.system_ds, ()):
            if other not in self.ground.oned.datastores:
                driver = self.pairing.system_tm
                self.life.create_datastore(f"sys2_{driver}", tm_mad=driver, type=DatastoreType.SYSTEM, ds_id=other)
        if self.files not in self.ground.oned.datastores:
            driver = "ssh" if self.files == FILES[False] else "shared"
            template = {"SAFE_DIRS": self.sources, "RESTRICTED_DIRS": "/"}
            self.life.create_datastore(
                f"files_{driver}", tm_mad=driver, type=DatastoreType.FILE, ds_id=self.files, template=template
            )
        for name in ("kernel", "initrd"):
            self.ground.run(
                self.ground.frontend, ["dd", "if=/dev/urandom", f"of={self.sources}/{name}", "bs=1k", "count=70"]
            )

    def events(self) -> list[tuple[str, Callable[[], list[Outcome]], Callable[[], list[Check]]]]:
        told = [*self._off(), *self._moves(), *self._live(), *self._ends()]
        if not self.pairing.snapshots:
            told = [(title, event) for title, event in told if title not in OF_SNAPSHOTS]
            told.insert(5, ("SNAPSHOT, REFUSED", self._refused))
        return [(title, event, self._look) for title, event in told]

    def _off(self) -> list[Event]:
        life, first, second = self.life, *self.ground.nodes[:2]
        kept = 0 if self.pairing.snapshots else -1
        return [
            ("IMPORT", self._import),
            ("CREATE", self._create),
            ("POWEROFF", lambda: [life.poweroff(self.vm)]),
            ("ATTACH, OFF", lambda: self._attach("os")),
            ("DETACH, OFF", self._detach),
            ("SNAPSHOT 0", self._snapshot),
            ("SNAPSHOT 1", self._snapshot),
            ("SNAPSHOT 2", self._snapshot),
            ("SAVE", lambda: self._save(-1)),
            ("SAVE SNAPSHOT", lambda: self._save(1)),
            ("RESIZE, OFF", self._resize),
            ("REVERT", lambda: self._revert(1)),
            ("DELETE SNAPSHOT", lambda: self._delete(2)),
            ("MIGRATE, OFF", lambda: [life.migrate(self.vm, second)]),
            ("BOOT", lambda: [life.resume(self.vm, second)]),
            ("ATTACH", lambda: self._attach("more")),
            ("DETACH", self._detach),
            ("ATTACH VOLATILE", self._attach_volatile),
            ("DETACH VOLATILE", self._detach),
            ("RESIZE", self._resize),
            ("SUSPEND", lambda: [life.suspend(self.vm)]),
            ("SNAPSHOT, SUSPENDED", self._snapshot),
            ("SAVE, SUSPENDED", lambda: self._save(-1)),
            ("WAKE", lambda: [life.resume(self.vm, second)]),
            ("MIGRATE", lambda: [life.migrate(self.vm, first)]),
            ("STOP", self._stop),
            ("SAVE, STOPPED", lambda: self._save(kept)),
            ("RESUME", lambda: [life.resume(self.vm, second)]),
            ("UNDEPLOY", lambda: [life.undeploy(self.vm)]),
            ("SAVE, UNDEPLOYED", lambda: self._save(-1)),
            ("RESIZE, UNDEPLOYED", self._resize),
            ("REDEPLOY", lambda: [life.resume(self.vm, first)]),
        ]

    def _moves(self) -> list[Event]:
        first, second = self.ground.nodes[:2]
        if self.pairing.system_ds not in OTHER_SYSTEM:
            return []
        (other,) = OTHER_SYSTEM[self.pairing.system_ds]
        return [
            ("MIGRATE, ANOTHER DATASTORE", lambda: self._to_datastore(other, second)),
            ("MIGRATE, BACK", lambda: self._to_datastore(self.pairing.system_ds, first)),
        ]

    def _live(self) -> list[Event]:
        if not self.hypervisors:
            return []
        return [
            ("SNAPSHOT, RUNNING", lambda: self._with_machine(self._snapshot)),
            ("DELETE SNAPSHOT, RUNNING", lambda: self._with_machine(self._delete_youngest)),
            ("SAVE, RUNNING", lambda: self._with_machine(lambda: self._save(-1))),
            ("LIVE MIGRATION", lambda: self._with_machine(lambda: self._migrate_live(False))),
            ("LIVE MIGRATION THAT FAILS", lambda: self._with_machine(lambda: self._migrate_live(True))),
        ]

    def _ends(self) -> list[Event]:
        return [
            ("TERMINATE", self._terminate),
            ("CREATE AGAIN", self._create),
            ("DELETE", self._hard_delete),
            ("CREATE ONCE MORE", self._create),
            ("DELETE DURING A MIGRATION", self._delete_both),
            ("TERMINATE, STOPPED", self._terminate_stopped),
            ("CLEAN UP", self._clean_up),
        ]


def wrong(story: Events) -> list[str]:
    """What was not right, in order."""
    found = []
    for chapter in story.chapters:
        found += [f"{chapter.title}: {call.command}: {call.stderr}" for call in chapter.calls if not call.ok]
        found += [f"{chapter.title}: {check.what}: {check.detail}" for check in chapter.checks if not check.ok]
    return found


def actions(chapter: Chapter) -> str:
    """The calls of an event by their names, without suffixes."""
    return " ".join(call.action.partition(".")[0] for call in chapter.calls)
