# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks of a pool of a real cluster: one in order is left as it was, what is broken is named with what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils._check_pool import checked
from plugins.module_utils._errors import BadCall
from plugins.module_utils._info import MODULES
from plugins.module_utils.tools import programs
from tests.unit.core.pools import Pools


def check(pools: Pools, name: str = "host01", **options: Any) -> dict[str, Any]:
    """What host_check answers of one pool; settings beside the right ones."""
    defaults = {key: rule.get("default") for key, rule in MODULES["host_check"].options.items()}
    settings = {"pool": "one", "ceph_user": "oneadmin", "ceph_conf": str(pools.cluster.conf)}
    store = {"id": 130, "settings": {**settings, **options.pop("settings", {})}}
    store.update({key: options.pop(key) for key in ("secret", "libvirt") if key in options})
    given = {"name": name, "needs": [], "folders": [], "check": False, "pools": [store], **options}
    return MODULES["host_check"].run({**defaults, **given})


def test_a_pool_in_order(pools: Pools) -> None:
    found = check(pools)
    assert found["problems"] == []
    [row] = found["pools"]
    assert (row["id"], row["pool"], row["error"]) == (130, "one", "") and row["ms"] > 0
    assert pools.names() == [] and pools.trash() == [] and pools.left() == []


def test_check_mode_makes_nothing(pools: Pools) -> None:
    [row] = check(pools, check=True)["pools"]
    assert (row["ms"], row["error"]) == (None, "")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"pool": "nix"}, "there is no pool 'nix'; make it, or correct POOL_NAME"),
        ({"data_pool": "nix"}, "there is no pool 'nix'; make it, or correct EC_POOL_NAME"),
        ({"ceph_user": "nobody"}, "does not let client.nobody in.*bring the keyring of client.nobody"),
        ({"ceph_conf": "/nix/ceph.conf"}, "/nix/ceph.conf cannot be read.*bring the file"),
        ({"ceph_key": "/nix/key"}, "/nix/key cannot be read.*bring the file"),
    ],
)
def test_what_is_broken_is_named(pools: Pools, settings: dict[str, str], said: str) -> None:
    import re

    [problem] = check(pools, settings=settings)["problems"]
    assert (problem["check"], problem["thing"]) == ("probe", "datastore 130")
    assert re.search(said, problem["sentence"]), problem["sentence"]
    assert problem["sentence"].startswith("datastore 130: ")


@pytest.mark.full
def test_erasure_coded_pools(pools: Pools) -> None:
    ceph = pools.cluster.ceph
    ceph("osd", "erasure-code-profile", "set", "flat", "k=2", "m=1", "crush-failure-domain=osd", "--force")
    ceph("osd", "pool", "create", "coded", "1", "1", "erasure", "flat")
    try:
        [problem] = check(pools, settings={"data_pool": "coded"})["problems"]
        assert problem["sentence"].endswith(
            "the pool coded takes no overwrites; ceph osd pool set coded allow_ec_overwrites true"
        )
        [problem] = check(pools, settings={"pool": "coded"})["problems"]
        assert "erasure coded, which cannot have the names of volumes; name it in EC_POOL_NAME" in problem["sentence"]
    finally:
        ceph("osd", "pool", "delete", "coded", "coded", "--yes-i-really-really-mean-it")


@pytest.mark.full
def test_a_user_who_may_only_read(pools: Pools, tmp_path: Path) -> None:
    key = tmp_path / "key"
    caps = ("mon", "profile rbd", "osd", "profile rbd-read-only pool=one")
    pools.cluster.ceph("auth", "get-or-create", "client.reader", *caps)
    key.write_text(pools.cluster.ceph("auth", "get-key", "client.reader"))
    try:
        [problem] = check(pools, settings={"ceph_user": "reader", "ceph_key": str(key)})["problems"]
        assert "ceph auth caps client.reader mon 'profile rbd' osd 'profile rbd pool=one'" in problem["sentence"]
    finally:
        pools.cluster.ceph("auth", "rm", "client.reader")
    assert pools.names() == [] and pools.left() == []


def test_libvirts_secret(pools: Pools) -> None:
    [problem] = check(pools, libvirt="test:///default", secret="")["problems"]
    assert problem["sentence"].endswith("it has no CEPH_SECRET, by which libvirt finds the key for guests; set it")
    [problem] = check(pools, libvirt="nonsense:///", secret="7ebb2445-e96e-44c6-b7c7-07dc7a50f311")["problems"]
    assert "libvirt cannot be asked for its secrets" in problem["sentence"]
    # a libvirt without secrets
    number = "7ebb2445-e96e-44c6-b7c7-07dc7a50f311"
    [problem] = check(pools, libvirt="test:///default", secret=number)["problems"]
    assert f"libvirt has no secret {number}; virsh secret-define" in problem["sentence"]


@pytest.mark.parametrize(
    ("store", "said"),
    [
        ({"id": 5}, "has no settings that name it"),
        ({"id": 5, "settings": {"ceph_user": "one"}}, "has no settings that name it"),
        ({"settings": {"pool": "one"}}, "has no id of a datastore"),
        ({"id": True, "settings": {"pool": "one"}}, "has no id of a datastore"),
    ],
)
def test_what_the_caller_did_not_describe(store: dict[str, Any], said: str) -> None:
    with pytest.raises(BadCall, match=said):
        checked(store)


def test_what_qemu_loads(tmp_path: Path) -> None:
    [row] = [row for row in programs.look(["qemu-block:no-such"], str(tmp_path)) if row["name"] != "python"]
    assert row["problem"].startswith("QEMU has no module for no-such")
