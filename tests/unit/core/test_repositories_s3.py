# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""restic in an object store: real restic, and moto on the loopback in the store's place."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils import _actions, _options
from plugins.module_utils._errors import BadCall, StorageError
from plugins.module_utils.tools.repositories import place_of, secrets_of
from tests.unit.core.keeping import VM, Keeping
from tests.unit.core.reading import read
from tests.unit.core.stored import shown
from tests.unit.core.support import act, bytes_of

BUCKET = "backups"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """URL of a store with an empty bucket."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(Path(sys.executable).parent / "moto_server"), "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(urllib.request.Request(f"{url}/{BUCKET}", method="PUT"), timeout=5).close()
                break
            except OSError:
                assert time.monotonic() < until and process.poll() is None
                time.sleep(0.1)
        yield url
    finally:
        process.kill()
        process.wait()


@pytest.fixture(autouse=True)
def longer() -> None:
    """Starting the store takes its time."""
    signal.alarm(150)


class InStore(Keeping):
    """A repository in a bucket."""

    endpoint = ""

    @property
    def options(self) -> dict[str, Any]:
        return {
            **super().options,
            "repository_backend": "s3",
            "repository_s3_endpoint": self.endpoint,
            "repository_s3_bucket": BUCKET,
            "repository_s3_access_key_id": "somebody",
            "repository_s3_secret_access_key": "a secret",
            "repository_s3_path_style": True,
        }


@pytest.mark.parametrize("count", [1, pytest.param(3, marks=pytest.mark.full)])
def test_a_chain_in_an_object_store(folder: Path, endpoint: str, count: int) -> None:
    store = InStore(folder, "restic")
    store.endpoint = endpoint
    store.fill(count)
    store.flatten(2)
    assert len(store.chain) == min(count, 2)
    for number in range(count)[-2:]:
        assert store.restored(number) == store.golden[0][number]
    assert store.verify()["sound"] and store.is_tidy()
    known = {key: value for key, value in store.options.items() if key != "vm_id"}
    assert act("ds_monitor", **known)["total_mb"] == -1, "the door tells what oned counts"
    act("ds_rm", **store.options, source="x", increments=store.chain)
    assert "is not in the repository" in store.verify()["backups"][0]["problems"][0]


@pytest.mark.full
def test_each_point_is_restored_out_of_an_object_store(folder: Path, endpoint: str) -> None:
    """In place, and as what a new image is made from; a merged chain too."""
    store = InStore(folder, "restic")
    store.endpoint = endpoint
    store.fill(3)
    _restore_each(store, folder, range(3))
    store.flatten(2)
    _restore_each(store, folder, range(1, 3))


def _restore_each(store: InStore, folder: Path, points: range) -> None:
    directory = folder / "100" / str(VM)
    directory.mkdir(parents=True, exist_ok=True)
    access = {name: value for name, value in store.options.items() if name.startswith("repository")}
    # with the defaults, as whoever calls has them
    listing = {**store.options, "increments": store.chain, "datastore_id": 100}
    whole = _options.check("ds_ls", _actions.ACTIONS["ds_ls"].options, listing)
    place = place_of(whole, str(store.base))
    for number in points:
        listed = act("ds_ls", **listing, increment_id=number)
        url = listed["disks"]["0"]
        data, source = read(url, repository=place, secrets=secrets_of(store.options), stall=60)
        assert shown(data, folder) == store.golden[0][number] and not source.warning
        given = {"driver": "qcow2", "datastore": str(folder / "100"), "path": str(directory), "disks": ["0:qcow2"]}
        result = act("tm_restore", **given, sizes=["0:4"], sources=[f"0:{url}"], **access,
                     repository_path=str(store.base))  # fmt: skip
        assert result["restored"] == ["disk.0"]
        assert bytes_of(directory / "disk.0", "qcow2") == store.golden[0][number]
    assert list(store.tmp.iterdir()) == []


@pytest.mark.full
def test_a_store_that_is_not_there(folder: Path) -> None:
    """restic tries again for a quarter of an hour; then it is one sentence, without the secret."""
    store = InStore(folder, "restic")
    store.endpoint = "http://127.0.0.1:9"
    store.prepare(0)
    with pytest.raises(StorageError) as caught:
        act("ds_backup", **store.backup_options, command_timeout=10)
    assert "a secret" not in str(caught.value) + caught.value.detail and store.is_tidy()


@pytest.mark.parametrize("missing", ["repository_s3_bucket", "repository_s3_secret_access_key", "repository_password"])
def test_what_is_missing_is_named(folder: Path, missing: str) -> None:
    store = InStore(folder, "restic")
    store.prepare(0)
    with pytest.raises(BadCall) as caught:
        act("ds_backup", **{**store.backup_options, missing: ""})
    assert missing.replace("repository", "RESTIC").upper() in str(caught.value)
