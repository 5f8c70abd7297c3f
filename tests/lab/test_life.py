# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM's whole life on real hosts: every pairing of drivers, every launcher, every disk and every layout."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pytest

from tests.lab.ground import LabGround
from tests.lab.looking import layout
from tests.lab.pool import described
from tests.lab.scene import ANSIBLE
from tests.lab.story import ALL, Chapter, Story

THROUGH_ANSIBLE = {"ONE_STORAGE_LAUNCHER": "ansible", "ONE_STORAGE_ANSIBLE": ANSIBLE}

#: A chain on the VM's own datastore: one layer, reached through a link, and a link of the directory to itself.
_LAYERS = {
    "disk.0": "link to disk.0.snap/0",
    "disk.0.snap": "directory",
    "disk.0.snap/disk.0.snap": "link to .",
}
_OTHERS = {"disk.3": "swap", "disk.4": "iso"}
_RAW = {"disk.0": "raw", "disk.1": "raw", "disk.2": "raw", **_OTHERS}
#: Both images are copied, into layers of the VM's own.
_COPIES = {
    **_LAYERS,
    "disk.0.snap/0": "qcow2",
    "disk.1": "link to disk.1.snap/0",
    "disk.1.snap": "directory",
    "disk.1.snap/0": "qcow2",
    "disk.1.snap/disk.1.snap": "link to .",
    "disk.2": "qcow2",
    **_OTHERS,
}
_MARKED = {".monitor": "text ssh\n"}

#: What the VM's directory holds while it runs (contract-tm 6.1 to 6.3): OS is the image of disk 0, DATA that of disk 1.
VM: dict[str, dict[str, str]] = {
    "qcow2": {
        **_LAYERS,
        "disk.0.snap/0": "qcow2 on OS (qcow2)",
        "disk.1": "link to DATA.snap/0",
        "disk.2": "qcow2",
        **_OTHERS,
    },
    "shared": {**_RAW, "disk.1": "link to DATA"},
    "ssh": _RAW,
    "local": _COPIES,
    "qcow2+ssh": _COPIES,
    "shared+ssh": _RAW,
    "ceph": {"disk.4": "iso"},
    "ceph+ssh": _RAW,
}

#: What the image datastore holds then, names without its folder.
IMAGES: dict[str, dict[str, str]] = {
    "qcow2": {
        "os": "qcow2",
        "data": "qcow2",
        "data.snap": "directory",
        "data.snap/0": "link to DATA",
        "data.snap/data.snap": "link to .",
    },
    "shared": {"os": "raw", "data": "raw"},
    "ssh": {"os": "raw", "data": "raw"},
    "local": {"os": "qcow2", "data": "qcow2"},
    "qcow2+ssh": {"os": "qcow2", "data": "qcow2"},
    "shared+ssh": {"os": "raw", "data": "raw"},
    "ceph": {},
    "ceph+ssh": {},
}

#: What its pool holds then (contract-tm 6.6).
POOL: dict[str, dict[str, str]] = {
    "ceph": {
        "os": described("", ["snap"]),
        "data": described(),
        "os-VM-0": described("os@snap"),
        "one-sys-VM-2": described(),
        "one-sys-VM-3": described(),
    },
    "ceph+ssh": {"os": described(), "data": described()},
}


class Layouts:
    """Compares the layout with the tables after each chapter in which the VM lives."""

    def __init__(self, ground: LabGround, story: Story) -> None:
        self.ground = ground
        self.story = story
        self.wrong: list[str] = []
        self.looked = 0

    def __call__(self, chapter: Chapter) -> None:
        if chapter.title not in ("CREATE", "STOP", "RESUME", "MIGRATE") or not chapter.ok:
            return
        self.looked += 1
        pairing, settings = self.story.pairing, self.ground.oned.settings
        images = [self.ground.oned.image(number).source.replace("//", "/") for number in self.story._images]
        names = {images[0]: "OS", images[1]: "DATA", images[0].split("/")[-1]: "os", images[1].split("/")[-1]: "data"}
        host = self.story._where()
        system = f"{settings.datastore_location}/{pairing.system_ds}"
        self._compare(chapter, "VM", layout(self.ground, host, f"{system}/{self.story.vm}", names), VM[pairing.name])
        around = layout(self.ground, host, system, names)
        around = {name: what for name, what in around.items() if name.split("/")[0] != str(self.story.vm)}
        marked = _MARKED if pairing.own_disks else {}
        self._compare(chapter, "system datastore", around, marked)
        store = f"{settings.datastore_location}/{pairing.image_ds}"
        for seen in {self.ground.frontend, *(self.ground.nodes if pairing.shared_images else ())}:
            self._compare(chapter, f"images on {seen}", layout(self.ground, seen, store, names), IMAGES[pairing.name])
        if self.ground.pool and pairing.images_in_pool:
            names = {image.rpartition("/")[2]: label for image, label in zip(images, ("os", "data"), strict=True)}
            found = {self._named(name, names): what for name, what in self.ground.pool.volumes().items()}
            found = {name: self._named(what, names) for name, what in found.items()}
            self._compare(chapter, "pool", found, POOL[pairing.name])

    def _named(self, text: str, names: dict[str, str]) -> str:
        """A name of a volume, or what it stands on, without numbers that differ from run to run."""
        for image, label in names.items():
            text = re.sub(rf"\b{image}(?=[-@]|$)", label, text)
        return text.replace(f"-{self.story.vm}-", "-VM-")

    def _compare(self, chapter: Chapter, what: str, found: dict[str, Any], wanted: dict[str, str]) -> None:
        for name in sorted(found.keys() | wanted.keys()):
            if found.get(name) != wanted.get(name):
                self.wrong.append(f"{chapter.title} {what}: {name} is {found.get(name)}, not {wanted.get(name)}")


def live(ground: LabGround, pairing: str, environment: dict[str, str]) -> set[str]:
    """Tell the story; the launchers that were used. Everything that was wrong fails the test."""
    story = Story(ground, ALL[pairing], {"ONE_STORAGE_TRACE": "1", **environment})
    layouts = Layouts(ground, story)
    right = story.tell(layouts)
    wrong = list(layouts.wrong)
    calls = [call for chapter in story.chapters for call in chapter.calls]
    for chapter in story.chapters:
        wrong += [f"{chapter.title}: {call.command}: {call.stderr}" for call in chapter.calls if not call.ok]
        wrong += [f"{chapter.title}: {check.what}: {check.detail}" for check in chapter.checks if not check.ok]
    # on success oned hears nothing but the answer, and that is one line
    wrong += [f"{call.command}: {call.reason}" for call in calls if call.ok and call.reason != "-"]
    wrong += [f"{call.command}: {call.more_lines}" for call in calls if call.more_lines]
    assert not wrong and right and layouts.looked == 4, "\n".join(wrong)
    # an import says what came, every other call what the trace asks for
    said = [log.text for call in calls for log in call.logs if not log.text.startswith("cp: imported ")]
    told = [text for text in said if "launcher " in text]
    assert told == said, said
    return {text.split("launcher ")[1].split(",")[0] for text in told}


#: Of the pairings, those that a short run has with Ansible; and of volumes.
_SHORT_ANSIBLE = ("qcow2", "ssh")
_LONG = ("ceph+ssh",)


def _pairings(short: Sequence[str]) -> list[Any]:
    return [name if name in short else pytest.param(name, marks=pytest.mark.full) for name in ALL]


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize("pairing", _pairings([name for name in ALL if name not in _LONG]))
def test_whole_life(tidy: LabGround, pairing: str) -> None:
    """The default: in process on the front-end, over ssh on nodes."""
    assert live(tidy, pairing, {}) == {"in process", "ssh"}


@pytest.mark.full
@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize("pairing", ALL)
def test_whole_life_with_the_ssh_launcher(tidy: LabGround, pairing: str) -> None:
    assert live(tidy, pairing, {"ONE_STORAGE_LAUNCHER": "ssh"}) == {"in process", "ssh"}


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize("pairing", _pairings(_SHORT_ANSIBLE))
def test_whole_life_with_the_ansible_launcher(bare_nodes: LabGround, tidy: LabGround, pairing: str) -> None:
    """The nodes have Python and their tools, and nothing of ours."""
    assert live(tidy, pairing, THROUGH_ANSIBLE) == {"ansible"}
