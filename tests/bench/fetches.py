# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Imports of a large image, against the plain tools that bring a file: what all our checks and care cost."""

from __future__ import annotations

import hashlib
from pathlib import Path
from statistics import median

from tests.bench.copies import MAKE
from tests.bench.hands import PYTHON
from tests.bench.rows import Findings, Row, interleaved
from tests.bench.scene import SCRATCH, SOURCES, SSH_IMAGES, Scene
from tests.bench.web import served

GIB = 8
MB = 1 << 20
#: Data in the image, in MB, in so many stretches: a tenth of it.
STRETCHES = 64
DATA = STRETCHES * 13
IMAGE = f"{SOURCES}/fetched.raw"
TARGET = f"{SCRATCH}/fetched"
LOCAL_TARGET, HTTP_TARGET = 1.3, 1.2
#: Each takes seconds, and much of it is the disk.
MOST_ROUNDS = 5


def measure(scene: Scene, rounds: int) -> Findings:
    """Both sides end with the file on the disk; a digest is compared with the tool that takes one."""
    scene.front.call([PYTHON, "-I", "-c", MAKE, IMAGE, str(GIB << 30), str(STRETCHES), str(DATA // STRETCHES * MB)])
    path = scene.lab.path(scene.front.host, IMAGE)
    digest = _md5(path)
    with served(path, scene.lab.leader(scene.front.host)) as url:
        curl = ["curl", "-sf", "-o", TARGET, url]
        samples = interleaved(
            {
                "cp": lambda: _tool(scene, ["cp", "--sparse=auto", IMAGE, TARGET]),
                "fs/cp": lambda: _ours(scene, IMAGE),
                "curl": lambda: _tool(scene, curl),
                "fs/cp http": lambda: _ours(scene, url),
                "curl, md5sum": lambda: _tool(scene, curl, ["md5sum", TARGET]),
                "fs/cp http md5": lambda: _ours(scene, url, digest),
            },
            min(rounds, MOST_ROUNDS),
            warm_up=0,
        )
    scene.front.call(["rm", "-f", IMAGE])
    rows = [
        Row(f"fs/cp, {what}", median(samples[ours]), median(samples[floor]), target, note=f"floor: {note} and sync")
        for what, ours, floor, target, note in (
            ("local", "fs/cp", "cp", LOCAL_TARGET, "cp --sparse=auto"),
            ("http", "fs/cp http", "curl", HTTP_TARGET, "curl -o"),
            ("http with md5", "fs/cp http md5", "curl, md5sum", HTTP_TARGET, "curl -o, md5sum"),
        )
    ]
    return Findings(rows, samples=samples)


def _tool(scene: Scene, *commands: list[str]) -> float:
    spent = sum(scene.front.time(command) for command in (*commands, ["sync", TARGET]))
    scene.front.call(["rm", "-f", TARGET])
    return spent


def _ours(scene: Scene, source: str, digest: str = "") -> float:
    template = {"MD5": digest} if digest else {}
    made = scene.life.import_image("fetched", SSH_IMAGES, source, template=template).check().object_id
    spent = scene.timed.milliseconds
    scene.life.delete_image(made).check()
    return spent


def _md5(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()
