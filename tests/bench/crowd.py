# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Image datastores with so many files, for actions that should not be slower for them."""

from __future__ import annotations

from tests.bench.hands import PYTHON
from tests.bench.scene import Scene
from tests.lab.oned import Datastore

_FILL = "import os, sys\nfor number in range(int(sys.argv[2])): open(os.path.join(sys.argv[1], f'{number:032x}'), 'x')"


def datastore(scene: Scene, number: int, files: int) -> Datastore:
    """A new datastore that holds *files* empty files; what is there already stays."""
    found = scene.ground.oned.datastores.get(number)
    if found is None:
        found = scene.life.create_datastore(f"{files} files", tm_mad="qcow2", ds_id=number)
        scene.front.call(["mkdir", "-p", found.base_path])
        scene.front.call([PYTHON, "-I", "-c", _FILL, found.base_path, str(files)])
    return found
