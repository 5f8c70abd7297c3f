# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Trouble while a backup is on its way, or in the repository: one sentence, every point stays, the next is right."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import pytest

from tests.lab.backing import KINDS
from tests.lab.ground import LabGround
from tests.lab.harming import Harmed
from tests.lab.looking import end, on_its_way, wait_for
from tests.lab.oned import Outcome

#: KB per second: what a backup sends takes some seconds.
_SLOW = {"rsync": {"RSYNC_ARGS": "-aS --bwlimit=400"}, "restic": {"RESTIC_BWLIMIT": "400"}}
_STAGING = "/var/tmp/staging"


@pytest.fixture
def harmed(tidy: LabGround, kind: str) -> Iterator[Harmed]:
    made = Harmed(tidy, "local", kind, "cbt", None)
    made.begin()
    made.tamper()
    made.one_point()
    yield made
    made.close()


def slow(harmed: Harmed) -> None:
    """The repository takes what it gets slowly."""
    harmed.ground.oned.datastore(harmed.store).template.update(_SLOW[harmed.kind])


def quick(harmed: Harmed) -> None:
    """As quickly as it can."""
    for name in _SLOW[harmed.kind]:
        harmed.ground.oned.datastore(harmed.store).template.pop(name, None)


def much(harmed: Harmed) -> None:
    """So much has changed that it takes a while to send, and cannot be packed."""
    path = harmed.ground.path(harmed._where(), "/var/tmp/much")
    path.write_bytes(noise(5 << 20))
    command = f"write -q -s /var/tmp/much {1 << 20} {5 << 20}"
    harmed.ground.run(harmed._where(), ["qemu-io", "-f", harmed._format(0), "-c", command, harmed._disk(0)])
    harmed.golden[0][1 << 20 : 6 << 20] = noise(5 << 20)


def noise(size: int) -> bytes:
    """The same at each call."""
    import random

    return random.Random(7).randbytes(size)


# ---------------------------------------------------------------- while data is on its way


@contextmanager
def small_server(harmed: Harmed) -> Iterator[None]:
    """The repository's file system is a small one."""
    folder = harmed.root()
    harmed.ground.lab.tiny(harmed.ground.nodes[1], folder, 40)
    try:
        yield
    finally:
        harmed.ground.lab.untiny(harmed.ground.nodes[1], folder)


def fill_server(harmed: Harmed) -> None:
    """Somebody else writes there until it is full."""
    fill(harmed, harmed.ground.nodes[1], harmed.root())


def fill(harmed: Harmed, host: str, folder: str) -> None:
    try:
        with harmed.ground.path(host, f"{folder}/filler").open("wb") as file:
            while True:
                file.write(bytes(1 << 20))
    except OSError:
        pass


def cut(harmed: Harmed) -> None:
    """The server's cable is pulled."""
    harmed.ground.lab.cut(harmed.ground.nodes[1])


@contextmanager
def healed(harmed: Harmed) -> Iterator[None]:
    try:
        yield
    finally:
        harmed.ground.lab.heal(harmed.ground.nodes[1])


def no_sshd(harmed: Harmed) -> None:
    """The server's sshd ends, and its sessions."""
    harmed.ground.lab.stop_sshd(harmed.ground.nodes[1])


@contextmanager
def sshd_again(harmed: Harmed) -> Iterator[None]:
    try:
        yield
    finally:
        harmed.ground.lab.start_sshd(harmed.ground.nodes[1])


def sender_dies(harmed: Harmed) -> None:
    """rsync, or restic, on the VM's host."""
    killed(harmed, harmed.ground.nodes[0], sends(harmed.kind))


def receiver_dies(harmed: Harmed) -> None:
    """What takes the data on the server."""
    server = harmed.ground.nodes[1]
    if harmed.kind == "rsync":
        killed(harmed, server, "rsync --server")
        return
    # sshd serves SFTP itself, and all else that goes over the same connection
    found = [one for one in harmed.ground.lab.processes(server) if "oneadmin@" in one.argv[0]]
    assert found
    for process in found:
        end(process)


def killed(harmed: Harmed, host: str, words: str) -> None:
    found = on_its_way(harmed.ground, host, words)
    assert found
    for process in found:
        end(process)


@dataclass(frozen=True)
class Trouble:
    """One trouble.

    :ivar makes: when data is on its way; :ivar around: what is so meanwhile.
    :ivar said: a word of oned's sentence.
    :ivar swept: kinds of repository whose server cannot be reached when all is taken back: the next backup sweeps.
    """

    makes: Callable[[Harmed], None]
    around: Callable[[Harmed], AbstractContextManager[None]] = lambda _harmed: nullcontext()
    said: str = ""
    swept: Sequence[str] = ()


ON_THE_WAY = {
    "the server is full": Trouble(fill_server, small_server, "space"),
    "the cable is pulled": Trouble(cut, healed, swept=KINDS),
    "sshd ends": Trouble(no_sshd, sshd_again, swept=KINDS),
    "the sender dies": Trouble(sender_dies),
    "the receiver dies": Trouble(receiver_dies, swept=("restic",)),
}


@pytest.mark.full
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("trouble", ON_THE_WAY)
def test_trouble_while_data_is_on_its_way(harmed: Harmed, trouble: str) -> None:
    now = ON_THE_WAY[trouble]
    much(harmed)
    slow(harmed)
    harmed.front_end.more = {"ONE_STORAGE_STALL_TIMEOUT": "4", "ONE_STORAGE_CONNECT_TIMEOUT": "4"}
    outcomes: list[Outcome] = []
    with now.around(harmed):
        event = threading.Thread(target=lambda: outcomes.append(harmed.life.back_up(harmed.vm, harmed.store)))
        event.start()
        wait_for("copying", lambda: on_its_way(harmed.ground, harmed.ground.nodes[0], sends(harmed.kind)), 60)
        time.sleep(2)
        assert event.is_alive(), outcomes
        now.makes(harmed)
        begun = time.monotonic()
        event.join(120)
        assert not event.is_alive() and time.monotonic() - begun < 60
    quick(harmed)
    harmed.front_end.more = {}
    outcome = outcomes[0]
    assert not outcome.ok and now.said in outcome.reason and "Traceback" not in outcome.reason, outcome.reason
    harmed.unharmed(harmed.kind in now.swept)
    for point in harmed.points:
        harmed.restore(point)
    harmed.finish()


def sends(kind: str) -> str:
    # before it stores, restic may have to make the repository
    return {"rsync": "rsync -aS", "restic": "backup --force"}[kind]


# ---------------------------------------------------------------- before it begins


@pytest.mark.parametrize("kind", ["restic", pytest.param("rsync", marks=pytest.mark.full)])
def test_no_room_no_access_no_lock(harmed: Harmed) -> None:
    """Each is one sentence, and is over with its cause."""
    oned, server, lab = harmed.ground.oned, harmed.ground.nodes[1], harmed.ground.lab
    settings = f"{oned.settings.remotes}/etc/datastore"
    conf = harmed.ground.path(harmed.ground.frontend, f"{settings}/datastore.conf")

    def fails(*words: str) -> None:
        harmed.scribble()
        outcome = harmed.life.back_up(harmed.vm, harmed.store)
        assert not outcome.ok and all(word in outcome.reason for word in words), outcome.reason

    lab.tiny(server, harmed.root(), 8)
    fails("MB free")
    lab.untiny(server, harmed.root())
    harmed.unharmed()

    # the lab lays no settings of stock's, but who came before may have
    before = conf.read_bytes() if conf.exists() else None
    harmed.ground.run(harmed.ground.frontend, ["mkdir", "-p", settings])
    conf.write_bytes((before or b"") + f'\nBACKUP_BASE_PATH="{_STAGING}"\n'.encode())
    try:
        lab.tiny(harmed._where(), _STAGING, 1)
        fails("no room for the backup")
        lab.untiny(harmed._where(), _STAGING)
        # where there is room it is as good a place as any
        harmed.one_point()
        left = [path.name for path in harmed.ground.path(harmed._where(), _STAGING).rglob("*") if path.name != "locks"]
        assert left == [".one_storage"], left
    finally:
        conf.unlink()
        if before is not None:
            conf.write_bytes(before)
        harmed.ground.own(harmed.ground.frontend, settings)

    if harmed.kind == "restic":
        template = oned.datastore(harmed.store).template
        right = template["RESTIC_PASSWORD"]
        template["RESTIC_PASSWORD"] = "another"
        fails("RESTIC_PASSWORD")
        template["RESTIC_PASSWORD"] = right
        harmed.unharmed()
    for point in harmed.points:
        harmed.restore(point)
    harmed.finish()


# ---------------------------------------------------------------- in the repository


def halved(data: bytes) -> bytes:
    return data[: len(data) // 2]


def altered(data: bytes) -> bytes:
    place = len(data) // 2
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {"truncated": halved, "altered": altered}


@pytest.mark.full
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("what", ["increment", "full"])
def test_damage_in_the_repository_is_never_restored(harmed: Harmed, damage: str, what: str) -> None:
    """Neither in place, nor as new images, nor into a merged increment; with the file as it was all of it works."""
    first = harmed.stored()
    much(harmed)
    harmed.one_point()
    harmed.one_point()
    there = first if what == "full" else set(harmed.stored()) - set(first)
    victim = max(there, key=lambda path: path.stat().st_size)
    whole = victim.read_bytes()
    victim.chmod(0o644)
    victim.write_bytes(DAMAGES[damage](whole))
    was = {disk: bytes(harmed.golden[disk]) for disk in harmed.disks()}
    last = harmed.points[-1]
    outcome = harmed.life.restore_in_place(harmed.vm, last.image, last.increment)
    assert not outcome.ok and "Traceback" not in outcome.reason, outcome.reason
    harmed.left_alone(was)
    new = harmed.life.restore_as_new(last.image, harmed.pairing.image_ds, NAME="damaged")
    harmed.allocation.settle()
    made = [one for one in harmed.ground.oned.images.values() if one.name.startswith("damaged")]
    assert not new.ok or any(one.state.name == "ERROR" for one in made), (new.calls, made)
    for one in made:
        harmed.life.delete_image(one.id)
    harmed.ground.oned.templates.clear()
    merged = harmed.life.flatten(last.image, 1)
    assert not merged.ok and "Traceback" not in merged.reason, merged.reason
    victim.write_bytes(whole)
    for point in harmed.points:
        harmed.restore(point)
    harmed.flatten(1)
    harmed.check()
    harmed.finish()
