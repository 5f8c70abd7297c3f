# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backup datastores through their real wrappers, with real rsync and restic: oned's words in, oned's words out."""

from __future__ import annotations

import base64
import getpass
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.core.keeping import KINDS, PASSWORD, document
from tests.unit.door.front_end import FrontEnd, Said, started

VM = 22
DEPLOY = "23672dbf-10b1-4550-b28e-04955c137a55"
PER_KIND = pytest.mark.parametrize("kind", KINDS)


class Site:
    """A front-end that is the VM's host and the backup server, too."""

    def __init__(self, front_end: FrontEnd, kind: str) -> None:
        self.front_end, self.kind = front_end, kind
        self.store = front_end.root / "datastores" / "a backup store"
        self.store.mkdir()
        self.folder = front_end.root / "datastores" / "101" / str(VM)
        self.attributes = {
            "RSYNC_HOST": os.uname().nodename,
            "RSYNC_USER": getpass.getuser(),
            "RESTIC_SFTP_SERVER": os.uname().nodename,
            "RESTIC_SFTP_USER": getpass.getuser(),
            "RESTIC_PASSWORD": PASSWORD,
            "RESTIC_TMP_DIR": str(front_end.root / "home"),
        }

    def prepare(self, number: int = 0, size: int = 0) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        folder = self.folder / "backup"
        folder.mkdir(parents=True)
        path = folder / f"disk.0.{number}"
        backing = ["-u", "-F", "qcow2", "-b", "lower"] if number else []
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *backing, path, "4M"], check=True)
        if size:
            with open(path, "ab") as file:
                file.write(os.urandom(size))
        (folder / "vm.xml").write_bytes(document((0,), 4 << 20))

    def document(self, *more: str) -> bytes:
        template = "".join(f"<{name}><![CDATA[{value}]]></{name}>" for name, value in self.attributes.items())
        return (
            f"<DS_DRIVER_ACTION_DATA>{''.join(more)}<DATASTORE><ID>108</ID><DS_MAD>{self.kind}</DS_MAD>"
            f"<BASE_PATH><![CDATA[{self.store}]]></BASE_PATH><TYPE>3</TYPE><TEMPLATE>{template}</TEMPLATE></DATASTORE>"
            "</DS_DRIVER_ACTION_DATA>"
        ).encode()

    def image(self, chain: list[str]) -> str:
        rows = "".join(
            f"<INCREMENT><ID>{word.partition(':')[0]}</ID><SOURCE>{word.partition(':')[2]}</SOURCE></INCREMENT>"
            for word in chain
        )
        source = chain[-1].partition(":")[2]
        return (
            f"<IMAGE><ID>7</ID><SOURCE>{source}</SOURCE><FORMAT>raw</FORMAT><VMS><ID>{VM}</ID></VMS><TEMPLATE/>"
            f"<BACKUP_INCREMENTS>{rows}</BACKUP_INCREMENTS></IMAGE>"
        )

    @property
    def words(self) -> list[str]:
        """oned's command line of a backup."""
        return [f"{os.uname().nodename}:{self.folder}", "0:1:", DEPLOY, "-", str(VM), "101"]

    def backup(self) -> Said:
        return self.front_end.run(f"datastore/{self.kind}/backup", *self.words, stdin=self.document())

    def run(self, action: str, *words: str, stdin: bytes = b"") -> Said:
        return self.front_end.run(f"datastore/{self.kind}/{action}", *words, stdin=stdin)

    def begun(self) -> subprocess.Popen[bytes]:
        """A backup that takes its time, once it copies."""
        process = subprocess.Popen(
            [str(self.front_end.remotes / "datastore" / self.kind / "backup"), *self.words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.front_end.environment(),
        )
        assert process.stdin
        process.stdin.write(self.document())
        process.stdin.close()
        until = time.monotonic() + 30
        while not self.copying():
            assert time.monotonic() < until and process.poll() is None, process.stderr and process.stderr.read()
            time.sleep(0.02)
        return process

    def copying(self) -> list[int]:
        from plugins.module_utils.steps.cancel import copying

        return copying(self.kind, str(self.folder))


@pytest.fixture
def site(remotes: Path, kind: str) -> Iterator[Site]:
    with started(remotes) as made:
        yield Site(made, kind)


def ended(process: subprocess.Popen[bytes]) -> tuple[int, str, str]:
    assert process.stdout and process.stderr
    code = process.wait(60)
    return code, process.stdout.read().decode(), process.stderr.read().decode()


@PER_KIND
def test_the_life_of_a_chain(site: Site) -> None:
    chain = []
    for number in range(3):
        site.prepare(number)
        said = site.backup()
        assert said.code == 0, said.err
        found = re.fullmatch(r"([0-9a-f]+) (\d+) raw\n", said.out)
        assert found and len(found[1]) == (6 if site.kind == "rsync" else 8)
        chain.append(f"{number}:{found[1]}")
    image = site.image(chain)
    listed = site.run("ls", "7", stdin=site.document(image, f"<VM><ID>{VM}</ID></VM>"))
    url = json.loads(listed.out)["0"]
    assert url.startswith(f"{site.kind}://108//{','.join(chain)}/") and url.endswith("/disk.0.2"), listed
    first = json.loads(site.run("ls", "-i", "0", stdin=site.document(image)).out)["0"]
    assert first.startswith(f"{site.kind}://108//{chain[0]}/") and first.endswith("/disk.0.0")
    sized = site.run("stat", "0", stdin=base64.b64encode(site.document(f"<IMAGE><PATH>{url}</PATH></IMAGE>")))
    assert (sized.code, sized.out) == (0, "4\n"), sized.err
    figures = site.run("monitor", "108", stdin=base64.b64encode(site.document()))
    assert re.fullmatch(r"USED_MB=\d+\nFREE_MB=\d+\nTOTAL_MB=\d+\n", figures.out), figures
    keep = "<EXTRA_DATA><KEEP_LAST>2</KEEP_LAST></EXTRA_DATA>"
    merged = site.run("increment_flatten", "7", stdin=base64.b64encode(site.document(image, keep)))
    assert merged.code == 0, merged.err
    answer = re.fullmatch(rf"(\d+) 1:([0-9a-f]+),{chain[2]}\n", merged.out)
    assert answer, merged.out
    image = site.image([f"1:{answer[2]}", chain[2]])
    again = site.run("increment_flatten", "7", stdin=base64.b64encode(site.document(image, keep)))
    assert (again.code, again.out) == (0, ""), "nothing is left to merge"
    for _again in range(2):
        gone = site.run("rm", "7", stdin=base64.b64encode(site.document(image)))
        assert (gone.code, gone.out, gone.err) == (0, "", "")
    kept = site.store / str(VM)
    assert not list(kept.iterdir() if site.kind == "rsync" else (kept / "snapshots").iterdir())
    assert site.front_end.hidden() == []


@PER_KIND
def test_what_these_datastores_do_not_do(site: Site) -> None:
    for action in ("cp", "clone", "mkfs", "export", "snap_delete", "snap_flatten", "snap_revert"):
        said = site.run(action, "7", stdin=b"x" * 100_000)
        assert said.code == 1 and said.reason == f"ds/{site.kind} {action}: Operation not supported"


@PER_KIND
def test_a_second_backup_is_refused_and_a_cancelled_one_leaves_nothing(site: Site) -> None:
    site.prepare(size=60 << 20)
    site.attributes.update(RSYNC_ARGS="-aS --bwlimit=1000", RESTIC_BWLIMIT="1000")
    # what is on this machine is not slowed down by restic itself: it is held still
    process = site.begun()
    held = site.copying()
    for pid in held:
        os.kill(pid, signal.SIGSTOP)
    second = site.backup()
    assert second.code == 1 and f"VM {VM} is being backed up already" in second.reason
    for pid in held:
        os.kill(pid, signal.SIGCONT)
    began = time.monotonic()
    cancelled = site.run("backup_cancel", site.words[0], DEPLOY, stdin=b"<VM><ID>22</ID></VM>")
    assert (cancelled.code, cancelled.out) == (0, ""), cancelled.err
    assert time.monotonic() - began < 30
    code, out, err = ended(process)
    assert code != 0 and out == "" and "nothing was changed" in err, err
    assert site.copying() == []
    kept = site.store / str(VM)
    left = list(kept.glob("*")) if site.kind == "rsync" else list((kept / "snapshots").glob("*"))
    assert left == [] and site.front_end.hidden() == []
    if site.kind == "restic":
        assert list((kept / "locks").iterdir()) == []
    site.attributes.update(RSYNC_ARGS="-aS", RESTIC_BWLIMIT="-1")
    assert site.backup().code == 0, "the next one begins anew"


@PER_KIND
def test_a_cancel_without_a_backup_is_a_success(site: Site) -> None:
    said = site.run("backup_cancel", site.words[0], DEPLOY, stdin=b"<VM><ID>22</ID></VM>")
    assert (said.code, said.out, said.err) == (0, "", "")


def test_a_cancel_ends_what_other_drivers_do(remotes: Path) -> None:
    """Processes of Ruby with the VM's name, and an rsync of its directory; not those of another VM."""
    with started(remotes) as front_end:
        site = Site(front_end, "rsync")
        theirs = _named(front_end.root, "ruby", "prebackup_live", DEPLOY, "9")
        copy = _named(front_end.root, "rsync", "main", "-aS", f"{site.folder}/backup/", "x")
        others = [
            _named(front_end.root, "ruby", "prebackup", "another", "9"),
            _named(front_end.root, "ruby", "monitor", DEPLOY, "9"),
            _named(front_end.root, "rsync", "main", "-aS", f"{site.folder}1/backup/", "x"),
        ]
        said = site.run("backup_cancel", site.words[0], DEPLOY, stdin=b"<VM/>")
        assert said.code == 0, said.err
        assert [process.wait(5) for process in (theirs, copy)] == [-signal.SIGTERM] * 2
        assert [process.poll() for process in others] == [None] * 3
        for process in others:
            process.kill()
            process.wait()


def _named(folder: Path, name: str, script: str, *words: str) -> subprocess.Popen[bytes]:
    """A process that goes by a name, runs a script of that name and waits."""
    path = folder / script
    path.write_text("import time\nprint(flush=True)\ntime.sleep(120)\n")
    process = subprocess.Popen([name, str(path), *words], executable="/usr/bin/python3", stdout=subprocess.PIPE)
    assert process.stdout
    process.stdout.readline()
    return process


@PER_KIND
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere", "0", "d", "-", "22", "101"], "'nowhere' is not the directory of a VM"),
        (["host:/a/22"], "backup takes 6 arguments"),
        (["host:/a/22", "0", "d", "x", "22", "101"], "'x' is not the id of a backup job"),
        (["host:/a/22", "0", "d", "-", "../22", "101"], "'../22' is not the id of a virtual machine"),
    ],
)
def test_bad_calls_are_one_sentence(site: Site, words: list[str], said: str) -> None:
    found = site.front_end.run(f"datastore/{site.kind}/backup", *words, stdin=site.document())
    assert found.code == 1 and found.reason.startswith(said), found.err


@PER_KIND
def test_a_datastore_that_lacks_its_server(site: Site) -> None:
    site.prepare()
    del site.attributes["RSYNC_HOST"], site.attributes["RESTIC_SFTP_SERVER"]
    assert "Datastore 108 has no RS" in site.backup().reason or "Datastore 108 has no RESTIC" in site.backup().reason
