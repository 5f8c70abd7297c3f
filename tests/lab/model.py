# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a VM's disks and the images behind them must look like on disk, by the rules of the layout (contract-tm 6).

A model is told what happened, and tells what has to be there: every name, what it is and what it refers to, and every
byte that a guest must find. It knows nothing of the drivers' code.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.lab.model_pool import Family

#: Of a layer: the image, which lies in another datastore, or nothing below it.
IMAGE, NOTHING = -1, -2


@dataclass
class Image:
    """An image in its datastore.

    :ivar label: in lower case what its name is shown as, in upper case its whole path.
    :ivar around: what lies there for it, by name.
    :ivar layers: number of the layer below each, when a VM left it as a chain.
    :ivar family: the volumes that it is, in a pool.
    """

    label: str
    id: int
    format: str
    content: bytes
    snapshots: dict[int, bytes] = field(default_factory=dict)
    around: dict[str, str] = field(default_factory=dict)
    layers: dict[int, int] = field(default_factory=dict)
    active: int = 0
    family: Family | None = None

    @property
    def top(self) -> str:
        """What comes after its path where its content is: a chain in place goes on beside the file of the image."""
        return f".snap/{self.active}" if self.layers and self.around[self.label] == self.format else ""

    def __post_init__(self) -> None:
        self.around = self.around or {self.label: self.format}


class Disk:
    """A disk that comes from an image.

    :param in_place: whether the VM's host sees the image datastore and a persistent disk is the image itself.
    :param standing: whether the VM's own layers stand on the image.
    :ivar now: every byte that the guest sees; :ivar snapshots: the same for each snapshot, by id.
    """

    def __init__(self, number: int, image: Image, persistent: bool, in_place: bool, standing: bool) -> None:
        self.number = number
        self.image = image
        self.persistent = persistent
        self.format = image.format
        self.linked = persistent and in_place
        self.layered = image.format == "qcow2"
        self.now = bytearray(image.content)
        self.snapshots = dict(image.snapshots) if persistent else {}
        self.next = max(self.snapshots, default=-1) + 1
        self.layers: dict[int, int] = {}
        self.active = 0
        self.copied = bool(persistent and f"{image.label}.snap" in image.around)
        if self.layered:
            self.layers = {0: IMAGE if standing and not persistent else NOTHING}
            if persistent and image.layers:
                self.layers, self.active = dict(image.layers), image.active

    # ------------------------------------------------------------ what happens

    def create(self) -> None:
        """A snapshot: with layers the next number becomes the active one."""
        self.snapshots[self.next] = bytes(self.now)
        if self.layered:
            self.layers[self.next + 1] = self.active
            self.active = self.next + 1
        self.next += 1

    def revert(self, number: int) -> None:
        """Back to a snapshot."""
        self.now = bytearray(self.snapshots[number])
        if self.layered:
            self.layers[self.active] = number

    def delete(self, number: int) -> None:
        """A snapshot less: what stood on its layer stands on what is below."""
        del self.snapshots[number]
        if self.layered:
            below = self.layers.pop(number)
            self.layers = {layer: below if on == number else on for layer, on in self.layers.items()}

    def write(self, pattern: int, start: int, length: int) -> None:
        """The guest writes, in bytes."""
        self.now[start : start + length] = bytes([pattern]) * length

    # ------------------------------------------------------------ what must be there

    @property
    def name(self) -> str:
        """Its name in the VM's directory."""
        return f"disk.{self.number}"

    def file_of(self, snapshot: int) -> str:
        """The file of a snapshot: beside the image (``LABEL.snap/1``) or in the VM's directory (``disk.0.snap/1``)."""
        return f"{self.image.label.upper() if self.linked else self.name}.snap/{snapshot}"

    def place(self, directory: str) -> str:
        """Where a guest finds the disk, of a VM in *directory*."""
        return f"{directory}/{self.name}"

    def place_of(self, snapshot: int, directory: str, source: str) -> str:
        """Where a snapshot is to be read; *source* is the image."""
        return f"{source}.snap/{snapshot}" if self.linked else f"{directory}/{self.file_of(snapshot)}"

    def _layer(self, below: int, folder: str) -> str:
        if below == NOTHING:
            return "qcow2"
        return f"qcow2 on {self.image.label.upper() if below == IMAGE else f'{folder}/{below}'} (qcow2)"

    def in_directory(self) -> dict[str, str]:
        """What the VM's directory holds of it."""
        snap = f"{self.name}.snap"
        if self.linked:
            target = self.image.label.upper()
            return {self.name: f"link to {target}.snap/{self.active}" if self.layered else f"link to {target}"}
        if not self.layered:
            copies = {f"{snap}/{number}": "raw" for number in self.snapshots}
            folder = {snap: "directory"} if self.copied or self.next else {}
            return {self.name: "raw", **folder, **copies}
        layers = {f"{snap}/{number}": self._layer(below, snap) for number, below in self.layers.items()}
        return {self.name: f"link to {snap}/{self.active}", snap: "directory", f"{snap}/{snap}": "link to .", **layers}

    def beside_image(self) -> dict[str, str]:
        """What lies for its image while the VM has it."""
        label = self.image.label
        if not self.linked:
            return self.image.around
        snap = f"{label}.snap"
        if not self.layered:
            folder = {snap: "directory"} if self.next else {}
            return {label: "raw", **folder, **{f"{snap}/{number}": "raw" for number in self.snapshots}}
        layers = {
            f"{snap}/{number}": self._layer(below, f"{label.upper()}.snap") for number, below in self.layers.items()
        }
        return {
            label: "qcow2",
            snap: "directory",
            f"{snap}/{snap}": "link to .",
            **layers,
            f"{snap}/0": f"link to {label.upper()}",
        }

    def come_home(self, absolute: bool) -> None:
        """The VM ends, and the persistent image becomes what the disk is now.

        :param absolute: whether layers name each other by whole paths.
        """
        image = self.image
        if self.linked:
            image.around = self.beside_image()
        elif not self.layered:
            folder = {f"{image.label}.snap": "directory"} if self.copied or self.next else {}
            copies = {f"{image.label}.snap/{number}": "raw" for number in self.snapshots}
            image.around = {image.label: "raw", **folder, **copies}
        else:
            snap = f"{image.label}.snap"
            folder_name = f"{image.label.upper()}.snap" if absolute else snap
            layers = {f"{snap}/{number}": self._layer(below, folder_name) for number, below in self.layers.items()}
            image.around = {
                image.label: f"link to {snap}/{self.active}",
                snap: "directory",
                f"{snap}/{snap}": "link to .",
                **layers,
            }
        image.content, image.snapshots = bytes(self.now), dict(self.snapshots)
        image.layers, image.active = dict(self.layers), self.active
