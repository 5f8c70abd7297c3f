# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups that go to a server over SSH: a real sshd on this machine, real rsync and real sftp."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils._errors import StorageError
from plugins.module_utils.tools.hidden import HIDDEN
from plugins.module_utils.tools.wire import Gone
from tests.unit.core.keeping import KINDS, Keeping
from tests.unit.core.support import act, killed_at
from tests.unit.door.sshd import Node, loopback


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with loopback() as found:
        yield found


@pytest.fixture(autouse=True)
def over(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONE_STORAGE_SSH", str(node.ssh))
    signal.alarm(120)


class Far(Keeping):
    """A repository on a server."""

    server = ""

    @property
    def backup_options(self) -> dict[str, Any]:
        return {**super().backup_options, "peer": self.server}


@pytest.mark.parametrize("kind", KINDS)
def test_a_chain_over_ssh(folder: Path, kind: str, node: Node) -> None:
    far = Far(folder, kind)
    far.server = node.name
    far.fill(2)
    assert [far.restored(number) for number in (0, 1)] == far.golden[0]
    assert far.verify()["sound"] and far.is_tidy()


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_is_not_there(folder: Path, kind: str) -> None:
    far = Far(folder, kind)
    far.server = "nowhere.invalid"
    far.prepare(0)
    with pytest.raises(StorageError) as caught:
        act("ds_backup", **far.backup_options, connect_timeout=5)
    assert "nowhere.invalid" in str(caught.value) and far.is_tidy()


@pytest.mark.parametrize("kind", KINDS)
def test_a_user_is_named(folder: Path, kind: str, node: Node) -> None:
    """The user in front of the host reaches every command line; another one is not let in."""
    far = Far(folder, kind)
    far.server = f"nobody@{node.name}"
    far.prepare(0)
    with pytest.raises(StorageError) as caught:
        act("ds_backup", **far.backup_options, connect_timeout=5)
    assert "Permission denied" in str(caught.value) and far.is_tidy()


def test_a_session_that_has_ended_writes_to_nobody(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its descriptor's number is soon that of another file: a beat would be written into what a tool says there."""
    from plugins.module_utils.tools import peer

    found: Any = peer.connect(node.name, peer.Settings())
    number = found._wire.writer
    found.close()
    handle = os.memfd_create("another")
    os.dup2(handle, number)
    with pytest.raises(Gone):
        found._wire.beat()
    assert os.fstat(number).st_size == 0
    for taken in {handle, number}:
        os.close(taken)


@pytest.mark.parametrize(
    "point", ["0+", *(pytest.param(point, marks=pytest.mark.full) for point in ("0", "1+", "2+", "end"))]
)
def test_a_lead_that_is_killed_leaves_nothing_on_the_server(folder: Path, node: Node, point: str) -> None:
    """Whoever serves it there empties the workshop, as nobody may come by for long; the next backup takes the rest."""
    far = Far(folder, "rsync")
    far.server = node.name
    far.back_up(0)
    far.prepare(1)
    assert killed_at(point, "ds_backup", far.backup_options)
    hidden = far.base / HIDDEN
    until = time.monotonic() + 20
    while os.listdir(hidden) != ["locks"] and time.monotonic() < until:
        time.sleep(0.05)
    assert os.listdir(hidden) == ["locks"]
    far.chain.append(f"1:{act('ds_backup', **far.backup_options)['reference']}")
    assert far.references() == sorted(word.partition(":")[2] for word in far.chain) and far.is_tidy()
    assert [far.restored(number) for number in (0, 1)] == far.golden[0]


@pytest.mark.parametrize("point", ["3+", pytest.param("end", marks=pytest.mark.full)])
def test_what_was_published_on_the_server_is_not_forgotten_by_others(folder: Path, node: Node, point: str) -> None:
    """An action on the VM's datastore that does not go to the server leaves it to the one that does."""
    far = Far(folder, "rsync")
    far.server = node.name
    far.prepare(0)
    assert killed_at(point, "ds_backup", far.backup_options)
    assert len(far.references()) == 1
    act("ds_rm", driver="fs", datastore=str(far.system), source=str(far.system / ("0" * 32)))
    assert [name for name in os.listdir(far.system / HIDDEN) if name.endswith(".journal")]
    reference = act("ds_backup", **far.backup_options)["reference"]
    assert far.references() == [reference] and far.is_tidy()
