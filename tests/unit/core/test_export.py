# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Exports of images: which file is named, its digest, and what becomes of a file that was made for one."""

from __future__ import annotations

import hashlib
import itertools
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils import _run
from plugins.module_utils._errors import BadCall, Corrupt, Missing, Refused, StorageError
from plugins.module_utils.tools import digest
from plugins.module_utils.tools.hidden import HIDDEN
from plugins.module_utils.tools.host import Host
from tests.unit.core import chains
from tests.unit.core.support import (
    CHAINED,
    MIB,
    PLAIN,
    World,
    act,
    bytes_of,
    explained,
    info,
    killed_at,
    killed_at_change,
    pattern,
    plan,
    strings,
    tool,
    words,
)

DAY = 86400


def export(world: World, source: Path | None = None, **more: Any) -> dict[str, Any]:
    """Export an image of datastore 1."""
    return act("ds_export", driver="fs", datastore=world.images, source=source or world.images / PLAIN, **more)


def md5(path: Path | str) -> str:
    """The digest that another tool takes."""
    return tool("md5sum", path).split()[0]


def exports(world: World) -> list[Path]:
    """Files that were made for exports."""
    folder = world.images / HIDDEN / "exports"
    return sorted(folder.iterdir()) if folder.is_dir() else []


def snapshots(world: World, count: int = 2, name: str = PLAIN) -> Path:
    """A persistent qcow2 image with snapshots as stock keeps them (contract-ds 8.8): SOURCE is the lowest layer.

    Layer n has the byte n + 1 in its n-th block of 64 KiB.
    """
    source = world.qcow2(name)
    snap = world.images / f"{name}.snap"
    snap.mkdir()
    (snap / f"{name}.snap").symlink_to(".")
    (snap / "0").symlink_to(source)
    for number in range(1, count + 1):
        backing = snap / str(number - 1)
        tool("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", backing, snap / str(number))
        where = f"{number * 64}k 64k"
        tool("qemu-io", "-f", "qcow2", "-c", f"write -q -P {number + 1} {where}", snap / str(number))
    return source


def with_layers(name: str, layers: int) -> bytes:
    """What a guest sees of such an image up to a layer."""
    content = bytearray(pattern(name, 70000).ljust(2 * MIB, b"\0"))
    for number in range(1, layers + 1):
        content[number * 65536 : (number + 1) * 65536] = bytes([number + 1]) * 65536
    return bytes(content)


# ---------------------------------------------------------------- images that stand alone


@pytest.mark.parametrize("size", [0, 1, 511, 70_001, 3 * MIB + 17])
def test_a_raw_image_is_named_where_it_lies(world: World, size: int) -> None:
    content = pattern("x", size)
    (world.images / PLAIN).write_bytes(content)
    before = world.tree()
    result = export(world)
    assert result["import_source"] == result["file"] == str(world.images / PLAIN)
    assert result["md5"] == hashlib.md5(content).hexdigest()
    assert result["size"] == -(-size // MIB)
    assert (result["format"], result["dispose"], result["dispose_cmd"]) == ("raw", False, "")
    assert not result["changed"] and result["actions"] == []
    assert world.tree() == before and world.is_tidy()


def test_the_source_is_told_in_oneds_own_spelling(world: World) -> None:
    world.raw()
    source = f"{world.root}//1/{PLAIN}"
    result = act("ds_export", driver="fs", datastore=f"{world.root}//1", source=source)
    assert result["import_source"] == source


def test_a_qcow2_image_without_layers_is_named_where_it_lies(world: World) -> None:
    path = world.qcow2(size=3 * MIB)
    result = export(world, format="qcow2")
    assert (result["file"], result["format"], result["dispose"]) == (str(path), "qcow2", False)
    assert result["md5"] == md5(path)
    assert result["size"] == 3
    assert world.is_tidy()


def test_the_size_that_oned_counts_is_told(world: World) -> None:
    world.raw()
    assert export(world, size=77)["size"] == 77


def test_other_formats_are_not_opened(world: World) -> None:
    path = world.images / PLAIN
    tool("qemu-img", "create", "-q", "-f", "vmdk", path, "4M")
    result = export(world, format="vmdk", size=4)
    assert (result["format"], result["size"], result["md5"]) == ("vmdk", 4, md5(path))


def test_what_a_guest_wrote_into_a_raw_image_means_nothing(world: World) -> None:
    """A qcow2 header with a backing file, as the first bytes of a raw disk: raw stays raw."""
    world.qcow2("base")
    tool("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", world.images / "base", world.images / PLAIN)
    result = export(world)
    assert (result["file"], result["format"]) == (str(world.images / PLAIN), "raw")
    assert result["md5"] == md5(world.images / PLAIN)


@pytest.mark.parametrize("format_", ["raw", "qcow2"])
def test_a_check_reads_and_makes_nothing(world: World, format_: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (world.raw if format_ == "raw" else world.qcow2)(PLAIN)
    monkeypatch.setattr(digest, "digest", lambda *_arguments: pytest.fail("it was read"))
    result = explained("ds_export", driver="fs", datastore=world.images, source=world.images / PLAIN, format=format_)
    assert (result["file"], result["md5"], result["changed"]) == (str(world.images / PLAIN), "", False)
    assert world.hidden() == {}


# ---------------------------------------------------------------- holes


def test_holes_are_not_read(disk_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two stretches of data in 300 MB; where the file system tells, only they are read."""
    path = disk_world.images / PLAIN
    with path.open("wb") as file:
        file.truncate(300 * MIB + 5)
        file.seek(100 * MIB)
        file.write(pattern("a", MIB))
        file.seek(300 * MIB)
        file.write(b"end!!")
    read = 0
    real = os.pread

    def counted(handle: int, size: int, offset: int) -> bytes:
        nonlocal read
        data = real(handle, size, offset)
        read += len(data)
        return data

    monkeypatch.setattr(os, "pread", counted)
    taken, length = digest.digest(str(path))
    assert (taken, length) == (md5(path), 300 * MIB + 5)
    assert read < 2 * MIB


@pytest.mark.full
def test_five_gib_of_nothing(disk_world: World) -> None:
    """Not much more than hashing as many zeros: nothing is read, and nothing else is done."""
    path = disk_world.raw(size=5 << 30)
    begun = time.monotonic()
    result = export(disk_world)
    spent = time.monotonic() - begun
    taken = hashlib.md5()
    one = bytes(MIB)
    floor = time.monotonic()
    taken.update(path.open("rb").read(MIB))
    for _number in range(5 * 1024 - 1):
        taken.update(one)
    floor = time.monotonic() - floor
    assert result["md5"] == taken.hexdigest()
    assert result["size"] == 5 * 1024
    assert spent < max(3 * floor, floor + 4), f"{spent:.1f} s, and hashing alone {floor:.1f} s"
    assert os.stat(path).st_blocks < 1000


@pytest.mark.parametrize("how", ["grows", "is written", "shrinks"])
def test_a_file_that_changes_while_it_is_read(world: World, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = world.raw(content=pattern("x", 3 * MIB), size=3 * MIB)
    real = os.pread

    def meanwhile(handle: int, size: int, offset: int) -> bytes:
        if offset == MIB:
            if how == "shrinks":
                os.truncate(path, MIB)
            else:
                with path.open("r+b") as file:
                    file.seek(0 if how == "is written" else 3 * MIB)
                    file.write(b"new")
        return real(handle, size, offset)

    monkeypatch.setattr(os, "pread", meanwhile)
    with pytest.raises(StorageError, match=rf"Cannot read .*{PLAIN}.*: the file (changed|became shorter)"):
        export(world)
    assert world.is_tidy()


# ---------------------------------------------------------------- chains


def test_a_chain_is_written_anew_and_is_to_be_disposed_of(world: World) -> None:
    source = world.layered()
    before = world.tree()
    seen = bytes_of(source, "qcow2")
    result = export(world, source, format="qcow2")
    (made,) = exports(world)
    assert result["file"] == result["import_source"] == str(made)
    assert made.name.startswith(CHAINED)
    assert result["dispose"] is True and result["changed"] is True
    assert result["md5"] == md5(made)
    assert (result["format"], result["size"]) == ("qcow2", 2)
    assert "backing-filename" not in info(made)
    assert bytes_of(made, "qcow2") == seen
    assert world.tree() == before
    tool("sh", "-c", result["dispose_cmd"])
    assert exports(world) == [] and world.hidden()["1"] == ["exports", "locks"]


def test_two_exports_of_one_chain_have_a_file_each(world: World) -> None:
    """A marketplace disposes of its own."""
    source = world.layered()
    first, second = (export(world, source, format="qcow2") for _number in range(2))
    assert first["file"] != second["file"] and first["md5"] == md5(second["file"])
    tool(*first["dispose_cmd"].split())
    assert [str(path) for path in exports(world)] == [second["file"]]


@pytest.mark.parametrize("count", [1, 2, 20])
def test_the_active_layer_is_the_image(world: World, count: int) -> None:
    """SOURCE is the lowest layer: its bytes alone are not the image."""
    source = snapshots(world, count)
    result = export(world, source, format="qcow2")
    assert result["dispose"] is True
    assert bytes_of(Path(result["file"]), "qcow2") == with_layers(PLAIN, count)


@pytest.mark.parametrize("number", range(3))
def test_a_snapshot_of_layers(world: World, number: int) -> None:
    source = snapshots(world, 3)
    result = export(world, source, format="qcow2", target_snapshot=number)
    assert bytes_of(Path(result["file"]), "qcow2") == with_layers(PLAIN, number)
    # the lowest stands alone: it is the image's own file
    assert result["dispose"] is (number > 0)
    assert result["md5"] == md5(result["file"])


def test_a_snapshot_that_was_given_another_file(world: World) -> None:
    source = snapshots(world, 3)
    (world.images / f"{PLAIN}.snap" / "1.current").write_text(f"/elsewhere/{PLAIN}.snap/2\n")
    result = export(world, source, format="qcow2", target_snapshot=1)
    assert bytes_of(Path(result["file"]), "qcow2") == with_layers(PLAIN, 2)


def test_a_snapshot_of_a_raw_image_is_a_file(world: World) -> None:
    source = world.raw()
    snap = world.images / f"{PLAIN}.snap"
    snap.mkdir()
    (snap / "0").write_bytes(b"snapshot 0")
    (snap / "3").write_bytes(b"snapshot 3")
    result = export(world, source, target_snapshot=3)
    assert (result["file"], result["dispose"]) == (str(snap / "3"), False)
    assert result["md5"] == hashlib.md5(b"snapshot 3").hexdigest()
    assert export(world, source)["file"] == str(source)


@pytest.mark.parametrize("image_format", ["raw", "qcow2"])
def test_an_image_whose_snapshots_are_full_copies(world: World, image_format: str) -> None:
    """As the ssh driver keeps them: the highest number is a snapshot like all others, the image lies beside them."""
    chain = chains.copies(world, 2, image_format)
    for number in (-1, 0, 1):
        result = export(world, chain.source, format=image_format, target_snapshot=number)
        wanted = chain.source if number < 0 else chain.snap / str(number)
        assert (result["file"], result["dispose"]) == (str(wanted), False)
        assert bytes_of(Path(result["file"]), image_format) == chain.golden[number]


@pytest.mark.parametrize(("image_format", "number"), [("qcow2", 2), ("qcow2", 7), ("raw", 7)])
def test_a_snapshot_that_is_not_there(world: World, image_format: str, number: int) -> None:
    """The highest layer is the one that is written to: it is no snapshot."""
    source = snapshots(world, 2)
    with pytest.raises(Missing, match=f"The image {source} has no snapshot {number}"):
        export(world, source, format=image_format, target_snapshot=number)
    assert exports(world) == []


def test_what_it_would_do(world: World) -> None:
    source = world.layered()
    steps = plan("ds_export", driver="fs", datastore=world.images, source=source, format="qcow2")
    said = words(steps, world)
    assert said[0] == f"write /1/{CHAINED}.snap/1 as a qcow2 image of its own"
    assert said[-1].startswith(f"put the export /1/{HIDDEN}/exports/{CHAINED}-")
    assert world.hidden() == {}


# ---------------------------------------------------------------- over SSH, and shells


def test_a_url_for_others(world: World) -> None:
    world.raw()
    assert export(world, url_host="bridge.example")["import_source"] == f"ssh://bridge.example:{world.images}/{PLAIN}"


def test_a_chain_is_disposed_of_where_it_lies(world: World) -> None:
    result = export(world, world.layered(), format="qcow2", url_host="bridge")
    assert result["import_source"] == f"ssh://bridge:{result['file']}"
    assert result["dispose_cmd"] == f"ssh -n -o BatchMode=yes bridge rm -f {result['file']}"


def test_the_command_needs_no_quotes(world: World) -> None:
    """Drivers of marketplaces run it with a shell, or take it apart at its blanks: both must come to the same."""
    for host in ("", "bridge-1.example"):
        command = export(world, world.images / CHAINED if host else world.layered(), format="qcow2", url_host=host)[
            "dispose_cmd"
        ]
        assert shlex.split(command) == command.split()
        said = subprocess.run(["sh", "-c", f"printf '%s\\n' {command}"], capture_output=True, text=True, check=True)
        assert said.stdout.split("\n")[:-1] == command.split()


@pytest.mark.parametrize("name", ["a b", "a;id", "a$(id)", "a'b", "a*", "ä", "a:b", "a#b", "~a", "a\\b"])
def test_a_path_that_a_shell_would_take_apart_is_refused(world: World, name: str) -> None:
    store = world.root / name
    store.mkdir()
    shutil.move(world.raw(), store)
    with pytest.raises(Refused, match="has characters that marketplaces"):
        act("ds_export", driver="fs", datastore=store, source=store / PLAIN)
    assert sorted(path.name for path in store.iterdir()) == [".one_storage", PLAIN]


def test_no_chain_is_written_where_a_shell_would_take_its_path_apart(world: World) -> None:
    world.layered()
    store = world.images.rename(world.root / "a b")
    snap = store / f"{CHAINED}.snap"
    tool("qemu-img", "rebase", "-u", "-f", "qcow2", "-F", "qcow2", "-b", snap / "0", snap / "1")
    with pytest.raises(Refused, match="has characters that marketplaces"):
        act("ds_export", driver="fs", datastore=store, source=store / CHAINED, format="qcow2")
    assert sorted(path.name for path in (store / HIDDEN).iterdir()) == ["locks"]


@pytest.mark.parametrize("host", ["-oProxyCommand=id", "a b", "a;id", "fe80::1", "a:b"])
def test_a_host_that_cannot_stand_in_a_url(world: World, host: str) -> None:
    world.raw()
    with pytest.raises(BadCall):
        export(world, url_host=host)


# ---------------------------------------------------------------- refused


def _outside(world: World) -> Path:
    (world.images / PLAIN).symlink_to("/etc/passwd")
    return world.images / PLAIN


def _elsewhere(world: World) -> Path:
    secret = world.root / "secret"
    secret.write_bytes(b"secret")
    tool("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", secret, world.images / PLAIN)
    return world.images / PLAIN


def _loop(world: World) -> Path:
    one, other = world.images / PLAIN, world.images / "other"
    tool("qemu-img", "create", "-q", "-f", "qcow2", one, "1M")
    tool("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", one, other)
    tool("qemu-img", "rebase", "-u", "-f", "qcow2", "-F", "qcow2", "-b", other, one)
    return one


def _folder(world: World) -> Path:
    (world.images / PLAIN).mkdir()
    return world.images / PLAIN


HOSTILE = {
    "a link that leads out": (_outside, "raw", Refused, "outside of"),
    "a link that leads out, qcow2": (_outside, "qcow2", Refused, "outside of"),
    "a backing file elsewhere": (_elsewhere, "qcow2", Refused, "outside of"),
    "a loop": (_loop, "qcow2", Corrupt, "form a loop"),
    "no qcow2": (lambda world: world.raw(), "qcow2", Corrupt, "is not a qcow2 image"),
    "a directory": (_folder, "raw", Refused, "is not a regular file"),
    "nothing": (lambda world: world.images / PLAIN, "raw", Missing, "is not there"),
    "another datastore": (lambda world: world.root / "2" / PLAIN, "raw", Refused, "is not inside"),
    "the folder of locks": (lambda world: world.images / HIDDEN, "raw", Refused, "is not an image"),
    "a file deeper": (lambda world: world.images / "x" / "y", "raw", Refused, "is not an image"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_refused(world: World, what: str) -> None:
    make, image_format, kind, sentence = HOSTILE[what]
    source = make(world)
    before = world.tree()
    with pytest.raises(kind, match=sentence):
        export(world, source, format=image_format)
    assert world.tree() == before and world.is_tidy()


# ---------------------------------------------------------------- kills, and what nobody disposed of


def chain_options(world: World) -> dict[str, Any]:
    """The export of a chain."""
    return {"driver": "fs", "datastore": world.images, "source": world.images / CHAINED, "format": "qcow2"}


def neighbour(world: World) -> None:
    """Another action in the datastore."""
    act("ds_rm", driver="fs", datastore=world.images, source=world.images / "nothing")


def moments() -> Iterator[str]:
    """Before and after each step."""
    return (f"{number}{side}" for number in itertools.count() for side in ("", "+"))


def test_killed_at_any_step_it_is_taken_back_by_the_next_action(world: World) -> None:
    world.layered()
    before = world.tree()
    for point in moments():
        if not killed_at(point, "ds_export", chain_options(world)):
            break
        neighbour(world)
        assert world.tree() == before and exports(world) == [], f"killed at {point}"
    assert point == "3"
    for path in exports(world):
        path.unlink()
    assert killed_at("end", "ds_export", chain_options(world))
    neighbour(world)
    assert exports(world) == [], "nobody got the answer"
    assert world.hidden()["1"] == ["exports", "locks"]


def test_killed_at_any_change_of_the_disk(world: World) -> None:
    world.layered()
    before = world.tree()
    for number in itertools.count():
        survived = not killed_at_change(number, "ds_export", chain_options(world))
        neighbour(world)
        assert world.tree() == before
        left = [name for name in world.hidden().get("1", []) if name not in ("locks", "exports")]
        if survived:
            assert number > 10 and len(left) == 1
            break
        # once the answer may be out the file stays; its owner disposes of it
        assert len(left) <= 1 and all(name.startswith("exports/") for name in left), f"killed at {number}: {left}"
        for path in exports(world):
            path.unlink()


def test_an_export_whose_digest_fails_is_taken_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.layered()

    def broken(path: str, _name: str = "md5") -> tuple[str, int]:
        raise OSError(5, "Input/output error", path)

    monkeypatch.setattr(digest, "digest", broken)
    with pytest.raises(StorageError, match="Input/output error.*nothing was changed"):
        act("ds_export", **chain_options(world))
    assert exports(world) == [] and world.hidden()["1"] == ["exports", "locks"]


def test_what_nobody_disposed_of_goes_after_a_day(world: World) -> None:
    world.layered()
    old, young = (Path(act("ds_export", **chain_options(world))["file"]) for _number in range(2))
    now = time.time()
    os.utime(old, (now - DAY - 10, now - DAY - 10))
    os.utime(young, (now - DAY + 60, now - DAY + 60))
    neighbour(world)
    assert exports(world) == [young]
    assert Host("here").sweep(str(world.images)) == []
    assert exports(world) == [young]


def test_an_export_holds_the_image_and_no_other_export(world: World) -> None:
    """While it runs another export may, a removal of the image may not."""
    world.layered()
    outcome = _run.run("ds_export", strings(chain_options(world)), _run.Mode())
    try:
        assert act("ds_export", **chain_options(world))["md5"] == outcome.result["md5"]
        with pytest.raises(StorageError, match="Another action has held image-"):
            act("ds_rm", driver="fs", datastore=world.images, source=world.images / CHAINED, lock_timeout=1)
    finally:
        outcome.close()
    assert len(exports(world)) == 2
