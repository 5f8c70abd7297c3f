# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images as volumes of a real Ceph cluster: what comes in, what is made, copied, measured, exported, deleted."""

from __future__ import annotations

import gzip
import hashlib
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils._errors import BadCall, Corrupt, Missing, NoAccess, Refused, StorageError, Unsupported
from tests.unit.core.pools import Pools, digest, image, info, qemu
from tests.unit.core.support import MIB, act, explained

# -------------------------------------------------------------------- cp


def packed(pools: Pools, kind: str) -> Path:
    """The image ``image("source")`` in some packing."""
    raw = pools.file()
    path = pools.folder / f"source.{kind}"
    if kind == "gz":
        path.write_bytes(gzip.compress(raw.read_bytes()))
    elif kind == "tar":
        subprocess.run(["tar", "-cf", path, "-C", pools.folder, raw.name], check=True)
    elif kind == "raw":
        return raw
    else:
        qemu("convert", "-f", "raw", "-O", kind, raw, path)
    return path


@pytest.mark.parametrize("kind", ["raw", "gz", "tar", "qcow2", "vmdk"])
def test_an_import_holds_what_the_source_holds(pools: Pools, kind: str) -> None:
    """gz: stock takes it for the tarball of a backup."""
    path = packed(pools, kind)
    result = act("ds_cp", **pools.new(5, source=path, size=6))
    assert (result["source"], result["format"]) == ("one/one-5", "raw")
    assert pools.content("one/one-5") == image("source")
    assert pools.names() == ["one-5"]
    assert pools.left() == []
    again = act("ds_cp", **pools.new(5, source=path, size=6))
    assert (again["changed"], again["source"]) == (False, "one/one-5")


def test_zeros_and_holes_of_a_source_take_no_room(pools: Pools) -> None:
    path = pools.folder / "sparse"
    with open(path, "wb") as file:
        file.write(b"begin" * 1000)
        file.truncate(200 * MIB)
    zeros = pools.folder / "zeros.gz"
    zeros.write_bytes(gzip.compress(bytes(64 * MIB), 1))
    act("ds_cp", **pools.new(5, source=path, size=200))
    act("ds_cp", **pools.new(6, source=zeros, size=64))
    assert pools.look.ask("used", pool="one", names=["one-5", "one-6"]) == {
        "one-5": [["", 4 * MIB]],
        "one-6": [["", 0]],
    }
    assert info("one/one-5", pools.cluster)["size"] == 200 * MIB
    assert info("one/one-6", pools.cluster)["size"] == 64 * MIB


def test_a_size_that_is_no_whole_number_of_sectors_is_rounded_up(pools: Pools) -> None:
    for number, kind in ((5, "raw"), (6, "gz")):
        content = image("odd")[: MIB + 77]
        path = pools.file("odd", content)
        if kind == "gz":
            path = pools.file("odd.gz", gzip.compress(content))
        act("ds_cp", **pools.new(number, source=path, size=2))
        assert pools.content(f"one/one-{number}") == content.ljust(MIB + 512, b"\0")


def test_digests_are_checked_and_a_wrong_one_leaves_nothing(pools: Pools) -> None:
    path = pools.file()
    right = hashlib.sha256(path.read_bytes()).hexdigest()
    act("ds_cp", **pools.new(5, source=path, size=6, sha256=right, md5=digest(path.read_bytes())))
    assert pools.content("one/one-5") == image("source")
    with pytest.raises(Corrupt, match=r"The md5 of .* is .*, not 0{32}; nothing was changed"):
        act("ds_cp", **pools.new(6, source=path, size=6, md5="0" * 32))
    assert pools.names() == ["one-5"]
    assert pools.left() == []


@pytest.mark.parametrize("kind", ["raw", "gz", "qcow2"])
def test_what_is_larger_than_was_counted_is_refused(pools: Pools, kind: str) -> None:
    with pytest.raises(Refused, match=r"more than the 5 MB that were counted|larger than the 5 MB"):
        act("ds_cp", **pools.new(5, source=packed(pools, kind), size=5))
    assert pools.names() == []
    assert pools.left() == []


def test_a_volume_that_is_another_images_is_not_taken_for_ours(pools: Pools) -> None:
    pools.volume("one-5", image("somebody's"))
    with pytest.raises(Refused, match="one/one-5 is there and was not made for this image"):
        act("ds_cp", **pools.new(5, source=pools.file(), size=6))
    assert pools.content("one/one-5") == image("somebody's")
    assert pools.left() == []


@pytest.mark.parametrize(
    ("more", "error", "said"),
    [
        ({"pool": "nix"}, Missing, "there is no pool 'nix'"),
        ({"ceph_user": "nobody"}, NoAccess, "the cluster does not let client.nobody in"),
        ({"ceph_conf": "/nix/ceph.conf"}, Missing, "/nix/ceph.conf"),
        ({"ceph_key": "/nix/key"}, Missing, "/nix/key"),
        ({"convert_to": "qcow2"}, Unsupported, "cannot be qcow2"),
        ({"source": "/nix/image"}, Missing, "/nix/image"),
        ({"source": "/etc/one/secret"}, Refused, "RESTRICTED_DIRS"),
        ({"pool": "a/b"}, BadCall, "is not the name of a volume"),
        ({"data_pool": "nix"}, StorageError, "nix|not there"),
        ({"staging_dir": "relative"}, BadCall, "not an absolute path"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_call_that_cannot_be_done_says_why_and_leaves_nothing(
    pools: Pools, more: dict[str, Any], error: type[StorageError], said: str
) -> None:
    with pytest.raises(error, match=said):
        act("ds_cp", **{**pools.new(5, source=pools.file(), size=6), **more})
    assert pools.names() == []
    assert pools.left() == []


def test_each_attribute_changes_what_happens(pools: Pools) -> None:
    """A key file in place of the keyring, monitors in place of a configuration, a data pool, another pool."""
    path = pools.file()
    mon = next(
        line.split("= ")[1] for line in pools.cluster.conf.read_text().splitlines() if line.startswith("mon_host")
    )
    bare = {"ceph_conf": "", "ceph_host": mon, "ceph_key": str(pools.cluster.keyfile)}
    act("ds_cp", **{**pools.new(5, source=path, size=6), **bare})
    act("ds_cp", **pools.new(6, source=path, size=6, data_pool="one_ec"))
    act("ds_cp", **pools.new(7, source=path, size=6, rbd_format=1))
    act("ds_cp", **pools.new(8, source=path, size=6, pool="one2"))
    for volume in ("one/one-5", "one/one-6", "one/one-7", "one2/one-8"):
        assert pools.content(volume) == image("source")
    assert info("one/one-6", pools.cluster)["data_pool"] == "one_ec"
    # clusters do not make the old format any more: then it is their default
    assert info("one/one-7", pools.cluster)["format"] == 2
    for number in (5, 6, 7):
        act("ds_rm", **pools.options(source=f"one/one-{number}"))
    assert pools.names() == []


def test_a_check_changes_nothing(pools: Pools) -> None:
    path = pools.file()
    told = explained("ds_cp", **pools.new(5, source=path, size=6))["actions"]
    assert [line.split(": ", 1)[1] for line in told] == [f"copy {path}", "put the image one/one-5 in place"]
    assert pools.names() == []
    assert pools.left() == []


# -------------------------------------------------------------------- mkfs


@pytest.mark.parametrize(
    ("more", "sign"),
    [
        ({}, (0, b"\0" * 4096)),
        ({"fs": "ext4", "fs_options": ["-L", "two words"]}, (1144, b"two words")),
        ({"fs": "xfs", "size": 300}, (0, b"XFSB")),
        ({"format": "swap"}, (4086, b"SWAPSPACE2")),
    ],
    ids=["empty", "ext4", "xfs", "swap"],
)
def test_an_empty_image_is_what_was_asked_for(pools: Pools, more: dict[str, Any], sign: tuple[int, bytes]) -> None:
    given = {"size": 8, **more}
    assert act("ds_mkfs", **pools.new(5, **given))["source"] == "one/one-5"
    found = pools.content("one/one-5")
    assert len(found) == given["size"] * MIB
    assert found[sign[0] : sign[0] + len(sign[1])] == sign[1]
    assert pools.left() == []


def test_an_image_that_will_be_saved_as_is_only_named(pools: Pools) -> None:
    assert act("ds_mkfs", **pools.new(5, size=8, format="save_as"))["source"] == "one/one-5"
    assert pools.names() == []


def test_a_file_system_that_is_not_supported_makes_nothing(pools: Pools) -> None:
    """Stock imports the file that mkfs failed on."""
    with pytest.raises(BadCall, match="Unsupported file system type 'ntfs'"):
        act("ds_mkfs", **pools.new(5, size=8, fs="ntfs"))
    with pytest.raises(StorageError, match="mkfs|format"):
        act("ds_mkfs", **pools.new(5, size=8, fs="ext4", fs_options=["--nonsense"]))
    assert pools.names() == []
    assert pools.left() == []


# -------------------------------------------------------------------- clone


def test_a_copy_stands_on_nothing_and_has_no_snapshots(pools: Pools) -> None:
    held = pools.reverted()
    act("ds_clone", **pools.new(6, source="one/one-5"))
    act("ds_clone", **pools.new(7, source="one/one-5", pool="one2", data_pool="one_ec"))
    act("ds_clone", **pools.new(8, source="one/one-5", rbd_format=1))
    tree = pools.tree()
    for volume, pool, number in (("one/one-6", "one", 2), ("one2/one-7", "one_ec", 2), ("one/one-8", "one", 2)):
        assert pools.content(volume) == held["now"]
        assert tree[volume][1:3] == (number, pool)
        assert tree[volume][4:] == ("", {})
    with pytest.raises(Missing, match="one/one-99 is not there"):
        act("ds_clone", **pools.new(9, source="one/one-99"))
    assert pools.left() == []


# -------------------------------------------------------------------- monitor


def test_the_room_of_a_pool_with_a_quota_is_what_the_quota_leaves(pools: Pools) -> None:
    """Stock says that all of the quota is free, and nothing of a pool that is not there."""
    free = act("ds_monitor", **pools.options())["free_mb"]
    assert free > 500
    pools.cluster.ceph("osd", "pool", "set-quota", "one2", "max_bytes", str(100 * MIB))
    try:
        told = act("ds_monitor", **pools.options(pool="one2"))
    finally:
        pools.cluster.ceph("osd", "pool", "set-quota", "one2", "max_bytes", "0")
    # each is rounded down
    assert 99 <= told["free_mb"] + told["used_mb"] <= 100
    assert told["total_mb"] == told["used_mb"] + told["free_mb"]
    with pytest.raises(Missing, match="there is no pool 'nix'"):
        act("ds_monitor", **pools.options(pool="nix"))


# -------------------------------------------------------------------- export


def test_an_export_names_the_volume_and_its_digest(pools: Pools) -> None:
    held = pools.reverted()
    told = act("ds_export", **pools.options(source="one/one-5", size=6, url_host="host01"))
    assert told["import_source"] == f"rbd://host01/one/one-5?CEPH_USER=oneadmin&CEPH_CONF={pools.cluster.conf}"
    assert (told["md5"], told["size"], told["format"], told["dispose"]) == (digest(held["now"]), 6, "raw", False)
    of_2 = act("ds_export", **pools.options(source="one/one-5", size=6, url_host="host01", target_snapshot=3))
    assert of_2["import_source"].startswith("rbd://host01/one/one-5-1:2:3@3?")
    assert of_2["md5"] == digest(held["3"])
    with pytest.raises(Missing, match="has no snapshot 8"):
        act("ds_export", **pools.options(source="one/one-5", url_host="host01", target_snapshot=8))
    place = pools.folder / "a b"
    place.write_bytes(pools.cluster.keyfile.read_bytes())
    with pytest.raises(Refused, match="characters that marketplaces"):
        act("ds_export", **pools.options(source="one/one-5", url_host="host01", ceph_key=place))


# -------------------------------------------------------------------- rm


def test_a_delete_takes_everything_of_the_image_and_nothing_of_its_neighbour(pools: Pools) -> None:
    """one-1 stands beside one-10, of which a VM has a clone: stock takes the clone away with one-1."""
    pools.reverted("one-1")
    pools.volume("one-10")
    pools.snapshot("one-10", "snap")
    pools.clone("one-10", "snap", "one-10-3-0")
    # somebody flattened the clone of a base that stands on one-10, so that only the name is like ours
    pools.volume("one-11")
    before = {
        name: found for name, found in pools.tree().items() if not name.startswith("one/one-1-") and name != "one/one-1"
    }
    act("ds_rm", **pools.options(source="one/one-1"))
    assert pools.tree() == before
    assert pools.left() == []
    assert act("ds_rm", **pools.options(source="one/one-1"))["changed"] is False


def test_what_a_clone_still_needs_is_kept_and_said(pools: Pools) -> None:
    pools.volume("one-5")
    pools.snapshot("one-5", "snap")
    pools.clone("one-5", "snap", "one-5-3-0")
    before = pools.tree()
    with pytest.raises(Refused, match=r"one/one-5 cannot be deleted: the volume one/one-5-3-0 stands on its snapshot"):
        act("ds_rm", **pools.options(source="one/one-5"))
    with pytest.raises(Refused, match="one/one-5-3-0 stands on"):
        act("ds_rm", **pools.options(source="one/one-5", ceph_trash=True))
    assert pools.tree() == before
    pools.look.ask("discard", pool="one", name="one-5-3-0")
    with pytest.raises(Refused, match="one/one-5-3-0 in the trash stands on .*purge the trash first"):
        act("ds_rm", **pools.options(source="one/one-5"))
    assert pools.left() == []


def test_a_delete_to_the_trash_keeps_the_name_and_stands_alone(pools: Pools) -> None:
    held = pools.reverted()
    act("ds_rm", **pools.options(source="one/one-5", ceph_trash=True))
    assert pools.names() == []
    assert pools.trash() == ["one-5", "one-5-1:2:3"]
    number = next(item["id"] for item in pools.look.ask("trash", pool="one") if item["name"] == "one-5")
    pools.cluster.rbd("trash", "restore", f"one/{number}")
    assert pools.content("one/one-5") == held["now"]
    assert "parent" not in info("one/one-5", pools.cluster)
    assert pools.left() == []


@pytest.mark.parametrize("source", ["one/one-5@snap", "one-5", "/var/lib/one/x", "one/", "", "one/a b", "one/n/one-5"])
def test_what_is_no_volumes_name_is_refused(pools: Pools, source: str) -> None:
    pools.volume("one-5")
    with pytest.raises(BadCall, match="is not the name of a volume"):
        act("ds_rm", **pools.options(source=source))
    assert pools.names() == ["one-5"]


@pytest.mark.parametrize("count", [10, pytest.param(30, marks=pytest.mark.full)])
def test_many_copies_and_deletes_at_once(pools: Pools, count: int) -> None:
    """Of one image, as processes of oned would."""
    signal.alarm(90)
    pools.volume("one-5")

    def one(number: int) -> None:
        act("ds_clone", **pools.new(number, source="one/one-5", lock_timeout=25))
        if number % 2:
            act("ds_rm", **pools.options(source=f"one/one-{number}", lock_timeout=25))

    with ThreadPoolExecutor(count) as workers:
        list(workers.map(one, range(100, 100 + count)))
    assert pools.names() == sorted(["one-5", *(f"one-{number}" for number in range(100, 100 + count, 2))])
    assert {found[3] for found in pools.tree().values()} == {digest(image("one-5"))}
    assert pools.left() == []
