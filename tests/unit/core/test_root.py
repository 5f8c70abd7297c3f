# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Root does not leave its own files in a datastore that belongs to somebody else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from plugins.module_utils import _run
from plugins.module_utils._errors import NoAccess

OWNER = 9869


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be refused as root")
def test_root_is_refused_in_a_datastore_of_another_user(tmp_path: Path) -> None:
    datastore = tmp_path / "101"
    disk = datastore / "5" / "disk.0"
    disk.parent.mkdir(parents=True)
    disk.write_bytes(b"guest")
    os.chown(datastore, OWNER, OWNER)
    with pytest.raises(NoAccess, match=f"{datastore} belongs to user {OWNER} and this runs as root"):
        _run.run("tm_delete", {"driver": "qcow2", "datastore": str(datastore), "path": str(disk)}, _run.Mode())
    assert disk.read_bytes() == b"guest"
    assert sorted(path.name for path in datastore.iterdir()) == ["5"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can have a datastore of its own here")
def test_root_may_work_in_its_own_datastore(tmp_path: Path) -> None:
    datastore = tmp_path / "101"
    disk = datastore / "5" / "disk.0"
    disk.parent.mkdir(parents=True)
    disk.write_bytes(b"guest")
    outcome = _run.run("tm_delete", {"driver": "qcow2", "datastore": str(datastore), "path": str(disk)}, _run.Mode())
    outcome.close()
    assert not disk.exists()
