# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Journals that dead runs left: torn, strange, out of date. They are hints; the disk is what counts."""

from __future__ import annotations

import ast
import json
import os
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils._errors import StorageError
from plugins.module_utils.steps import base
from plugins.module_utils.steps.base import LEAD, restore
from plugins.module_utils.steps.files import Discard, MakeDirectory, MakeLink, Publish
from plugins.module_utils.steps.journal import Found, path_of
from plugins.module_utils.tools.hidden import HIDDEN
from tests.unit.core.cases import CASES, Case
from tests.unit.core.support import PLAIN, World, act, killed_at, kinds, plan, strings


def clone_of(world: World) -> dict[str, Any]:
    """Options of a raw clone, the disk of VM 5."""
    return {
        "driver": "qcow2",
        "datastore": world.system,
        "source": world.images / PLAIN,
        "destination": world.disk(),
        "format": "raw",
    }


def new_image(world: World) -> dict[str, Any]:
    """Options of an empty image, whose answer counts only when it was delivered."""
    return {
        "driver": "fs",
        "datastore": world.images,
        "datastore_id": 1,
        "image_id": 7,
        "regtime": 1,
        "format": "raw",
        "size": 2,
    }


def journal_of(world: World, datastore: Path) -> Path:
    """The one journal in a datastore."""
    (found,) = (datastore / HIDDEN).glob("*.journal")
    return found


def load_nothing(_head: dict[str, Any]) -> None:
    """Drivers that a journal names need no loading here."""


def found_at(path: Path) -> Found:
    """What stands in a journal."""
    return Found(str(path), path.read_bytes(), path.stat().st_mtime, load_nothing)


def delete_of(world: World, vm: int) -> dict[str, Any]:
    """Options of a delete."""
    return {"driver": "qcow2", "datastore": world.system, "path": world.disk(vm=vm).parent}


@pytest.fixture
def dead(world: World) -> World:
    """A world in which a clone died before its last step: the VM's directory is made, the disk is not in place."""
    world.raw()
    assert killed_at("2", "tm_clone", clone_of(world))
    assert world.disk().parent.is_dir() and not world.disk().exists()
    return world


def test_what_a_journal_holds(dead: World) -> None:
    found = found_at(journal_of(dead, dead.system))
    assert found.head["action"] == "tm_clone" and found.head["driver"] == "qcow2" and found.head["pid"] > 1
    assert kinds(found.steps) == ["copy-file", "make-directory", "publish"]
    assert found.begun == {0, 1} and not found.ended
    assert (dead.system / HIDDEN / "vm-5.journal").stat().st_mode & 0o777 == 0o600


def test_a_journal_is_on_disk_before_anything_is_made(world: World) -> None:
    world.raw()
    assert killed_at("0", "tm_clone", clone_of(world))
    found = found_at(journal_of(world, world.system))
    assert len(found.steps) == 3 and found.begun == set()


@pytest.mark.parametrize("lost", range(1, 60, 7))
def test_a_torn_last_line(dead: World, lost: int) -> None:
    path = journal_of(dead, dead.system)
    data = path.read_bytes()
    path.write_bytes(data[:-lost])
    act("tm_clone", **clone_of(dead))
    assert dead.disk().read_bytes() == (dead.images / PLAIN).read_bytes()
    assert dead.is_tidy()


@pytest.mark.parametrize("text", [b"", b"{", b"\0" * 4096, b"{}\n", b"[]\n", b"7\n", b'{"steps": 7}\n', b"\xff\xfe\n"])
def test_a_journal_with_nothing_in_it(dead: World, text: bytes) -> None:
    """After a loss of power a file may be there with nothing, or zeros, in it."""
    journal_of(dead, dead.system).write_bytes(text)
    act("tm_clone", **clone_of(dead))
    assert dead.disk().exists() and dead.is_tidy()


@pytest.mark.parametrize("line", [{"format": 2}, {"format": "x"}])
def test_a_journal_of_another_format(dead: World, line: dict[str, Any]) -> None:
    path = journal_of(dead, dead.system)
    path.write_text(json.dumps(line) + "\n")
    with pytest.raises(StorageError, match=f"The journal {path} has format {line['format']}, this build reads 1"):
        act("tm_clone", **clone_of(dead))
    assert path.exists()
    act("tm_delete", **delete_of(dead, 6))
    assert path.exists(), "who has nothing to do with it leaves it"


def test_a_journal_with_a_step_that_this_build_does_not_know(dead: World) -> None:
    path = journal_of(dead, dead.system)
    path.write_text(path.read_text().replace('"copy-file"', '"fly to the moon"'))
    with pytest.raises(StorageError, match="unknown step 'fly to the moon'"):
        act("tm_clone", **clone_of(dead))
    assert path.exists()
    act("tm_delete", **delete_of(dead, 6))


def test_a_journal_of_a_driver_that_this_build_does_not_know(dead: World) -> None:
    path = journal_of(dead, dead.system)
    path.write_text(path.read_text().replace('"driver":"qcow2"', '"driver":"of_another_site"'))
    with pytest.raises(StorageError, match="of_another_site"):
        act("tm_clone", **clone_of(dead))
    assert path.exists()


def test_a_journal_that_speaks_of_paths_outside_its_datastore(dead: World) -> None:
    """Who can write into a datastore must not gain by it what oneadmin may do elsewhere."""
    outside = dead.root / "outside"
    outside.mkdir()
    victim = outside / "victim"
    victim.write_text("x")
    path = journal_of(dead, dead.system)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for step in lines[1]["steps"]:
        if step["kind"] == "publish":
            step["path"] = str(victim)
    # one step that never began keeps the run from being whole
    lines = [line for line in lines if line.get("begin") != 0]
    lines.append({"begin": 2, "evidence": {"inode": victim.stat().st_ino}})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(StorageError, match="not inside"):
        act("tm_clone", **clone_of(dead))
    act("tm_delete", **delete_of(dead, 6))
    assert victim.read_text() == "x"


# ---------------------------------------------------------------- what came after the death


def test_a_new_image_that_nobody_heard_of_goes(world: World) -> None:
    assert killed_at("end", "ds_mkfs", new_image(world))
    (image,) = (path for path in world.images.iterdir() if path.name != HIDDEN)
    act("ds_rm", driver="fs", datastore=world.images, source=world.images / "x")
    assert not image.exists()


def test_a_new_image_goes_even_when_its_work_was_whole(world: World) -> None:
    """All steps had run, but the answer was not delivered: oned has forgotten this image."""
    assert killed_at("end", "ds_mkfs", new_image(world))
    path = journal_of(world, world.images)
    with path.open("a") as journal:
        journal.write('{"begin":1,"evidence":{"made":true}}\n')
    found = found_at(path)
    assert found.begun == set(range(len(found.steps)))
    act("ds_rm", driver="fs", datastore=world.images, source=world.images / "x")
    assert [path.name for path in world.images.iterdir()] == [HIDDEN]


def test_an_image_that_another_file_replaced_stays(world: World) -> None:
    """A stock driver, or a person, put something else there: it is not ours."""
    assert killed_at("end", "ds_mkfs", new_image(world))
    (image,) = (path for path in world.images.iterdir() if path.name != HIDDEN)
    image.rename(world.root / "kept so that its inode is not used again")
    image.write_text("somebody else's")
    act("ds_rm", driver="fs", datastore=world.images, source=world.images / "x")
    assert image.read_text() == "somebody else's"
    assert world.is_tidy()


def test_a_disk_that_another_driver_made_meanwhile_stays(world: World) -> None:
    world.raw()
    world.disk().parent.mkdir()
    (world.disk().parent / "disk.0").write_text("old")
    assert killed_at("end", "tm_clone", {**clone_of(world), "force": True})
    hidden = journal_of(world, world.system)
    # as if the machine had lost power before the last marks were on disk
    lines = hidden.read_text().splitlines(keepends=True)
    hidden.write_text("".join(line for line in lines if '"ended"' not in line))
    world.disk().rename(world.root / "kept")
    world.disk().write_text("made by another driver")
    act("tm_delete", **delete_of(world, 6))
    assert world.disk().read_text() == "made by another driver"
    assert world.is_tidy()


def test_a_directory_that_others_use_stays(dead: World) -> None:
    """The dead run made the VM's directory; somebody has put a file there since."""
    (dead.disk().parent / "deployment.0").write_text("x")
    act("tm_delete", **delete_of(dead, 6))
    assert (dead.disk().parent / "deployment.0").exists()
    assert dead.is_tidy()


def test_an_answer_that_was_delivered_survives_a_death_while_clearing_up(world: World) -> None:
    """The journal says that oned has the answer before the first thing is cleared."""
    from plugins.module_utils import _run

    outcome = _run.run("ds_mkfs", strings(new_image(world)), _run.Mode())
    image = Path(outcome.result["source"])
    journal = journal_of(world, world.images)
    shop = next(path for path in (world.images / HIDDEN).iterdir() if path.is_dir())
    kept = journal.read_text()
    outcome.close()
    assert image.exists() and not shop.exists() and not journal.exists()
    # the same again, with the journal as it stood when only its last line had been written
    journal.write_text(kept + '{"ended":1}\n')
    shop.mkdir()
    act("ds_rm", driver="fs", datastore=world.images, source=world.images / "x")
    assert image.exists() and world.is_tidy()


def test_workshops_without_a_journal_are_swept(world: World) -> None:
    for number in (1, 100):
        shop = world.root / str(number) / HIDDEN / "vm-99" / "0123"
        shop.mkdir(parents=True)
        (shop / "disk.0").write_text("x")
    act("tm_delete", **delete_of(world, 6))
    act("ds_rm", driver="fs", datastore=world.images, source=world.images / "x")
    assert world.is_tidy()


def test_files_of_others_beside_our_journals_are_left_alone(world: World) -> None:
    hidden = world.system / HIDDEN
    hidden.mkdir()
    (hidden / "a note").write_text("x")
    act("tm_delete", **delete_of(world, 6))
    assert (hidden / "a note").read_text() == "x"


# ---------------------------------------------------------------- records


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_step_survives_the_way_through_a_journal(case: Case, world: World) -> None:
    case.prepare(world)
    steps = plan(case.action, **case.options(world))
    assert isinstance(steps, list)
    for step in steps:
        again = restore(json.loads(json.dumps(step.record())))
        assert type(again) is type(step)
        assert vars(again) == vars(step)
        assert again.words() == step.words() and again.final == step.final


@pytest.mark.parametrize(
    "step",
    [
        MakeDirectory(LEAD, "{d}/vm", "{d}"),
        MakeLink(LEAD, "{d}/link", "target", "{d}"),
        MakeLink(LEAD, "{d}/link", "target", "{d}", "old"),
        Publish(LEAD, "{d}/part", "{d}/final", "{d}"),
        Publish(LEAD, "{d}/part", "{d}/final", "{d}", "{d}/aside"),
        Discard(LEAD, "{d}/final", "{d}/aside", "{d}"),
    ],
    ids=lambda step: step.kind,
)
def test_undo_of_a_step_that_never_happened_changes_nothing(folder: Path, step: Any) -> None:
    from plugins.module_utils.steps.base import Site, Timeouts
    from plugins.module_utils.tools.host import Host
    from tests.unit.core.support import tree

    for key, value in vars(step).items():
        if isinstance(value, str):
            setattr(step, key, value.replace("{d}", str(folder)))
    (folder / "final").write_text("somebody's")
    (folder / "vm").mkdir()
    before = tree(folder)
    step.undo(Site(Host("here"), None, "run", Timeouts()))
    assert tree(folder) == before


def test_where_journals_lie() -> None:
    assert path_of("/ds/1", "vm-5") == f"/ds/1/{HIDDEN}/vm-5.journal"
    assert os.path.basename(HIDDEN).startswith(".")


def test_every_step_is_known_to_who_finds_it_in_a_journal() -> None:
    """A file of steps that a driver loads only when it needs it would be unknown to the process that settles."""
    core = Path(base.__file__).parents[1]
    told = ast.parse((core / "steps" / "base.py").read_text())
    [kinds] = [node for node in told.body if isinstance(node, ast.FunctionDef) and node.name == "_kinds"]
    known = {name.name for node in ast.walk(kinds) if isinstance(node, ast.ImportFrom) for name in node.names}
    for driver in (core / "drivers").glob("*.py"):
        for node in ast.parse(driver.read_text()).body:
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("steps."):
                known.add(str(node.module).partition(".")[2])
    files = {path.stem for path in (core / "steps").glob("*.py") if "kind: ClassVar" in path.read_text()}
    assert files - known - {"base"} == set()
