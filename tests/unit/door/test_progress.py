# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command ``progress``: what it shows of real locks, journals and status files, on terminals, in logs, as JSON."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils.steps.journal import Journal
from plugins.module_utils.tools.hidden import HIDDEN
from plugins.module_utils.tools.host import Host
from plugins.module_utils.tools.progress import Progress
from plugins.plugin_utils import watching
from plugins.plugin_utils.progress_view import Style, clock_of, line, summary, table
from tests.lab.oned import ApiServer, Oned
from tests.lab.oned.states import HostState

ROOT = Path(__file__).resolve().parents[3]
ENTRY = "import sys; from plugins.plugin_utils.transfers import main; sys.exit(main(sys.argv[1:]))"
COMMAND = [sys.executable, "-c", ENTRY]
HERE = os.uname().nodename
GIB = 1 << 30


def row(**more: Any) -> dict[str, Any]:
    """An operation as the view gets it."""
    texts = dict.fromkeys(("datastore", "object", "state", "run", "action", "driver", "peer", "what", "host"), "")
    numbers = dict.fromkeys(watching._NUMBERS)
    usual = {"datastore": "/d/100", "object": "vm-5", "state": "running", "seen_on": "host01", "action": "tm_mv"}
    return {**texts, **numbers, **usual, **more}


COPY = row(what="copy x", done_bytes=GIB, total_bytes=4 * GIB, rate=100 << 20, left_seconds=31)


class Datastores:
    """A folder of datastores in which something goes on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.host = Host("here")

    def add(self, number: int, key: str, what: str = "", done: int = 0, total: int | None = None) -> Path:
        """An action that holds its lock, has a journal and, if something moves, a status file."""
        store = self.folder / str(number)
        (store / HIDDEN).mkdir(parents=True, exist_ok=True)
        self.host.lock(str(store), key, False, 0)
        head = {"run": f"run-{key}", "action": "ds_cp", "driver": "fs", "peer": None, "pid": 1}
        Journal(str(store), key, head).plan([])
        if what:
            status = store / HIDDEN / f"{key}.status"
            progress = Progress(str(status), str(status) + ".new", f"run-{key}", what, total)
            progress.done = done
            progress._rate = 10 << 20
            progress._write()
        return store


@pytest.fixture
def stores(tmp_path: Path) -> Datastores:
    return Datastores(tmp_path / "datastores")


def run(*arguments: str | Path, text: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """The command, to its end."""
    command = [*COMMAND, *map(str, arguments)]
    env = {**os.environ, "PATH": "/usr/bin:/bin", **environment}
    return subprocess.run(
        command, input=text, capture_output=True, text=True, timeout=60, check=False, env=env, cwd=ROOT
    )


# ---------------------------------------------------------------- the command


def test_lines_and_json(stores: Datastores) -> None:
    stores.add(1, "image-a", "copy https://x/y\x1b[2J\n<b>", 210 << 20, 420 << 20)
    stores.add(100, "vm-5")
    said = run(stores.folder)
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout.splitlines() == [
        "1: copy https://x/y [2J <b>: 210.0 MB of 420.0 MB, 10.0 MB/s, 21 s left",
        "100: ds_cp vm-5: it begins",
    ]
    stores.host.unlock(str(stores.folder / "100"), "vm-5")
    assert "100: ds_cp vm-5: it begins (ended without a word)" in run(stores.folder).stdout
    told = json.loads(run("--json", stores.folder / "1").stdout)
    [one] = told["operations"]
    assert (one["done_bytes"], one["total_bytes"], one["left_seconds"]) == (210 << 20, 420 << 20, 21)
    assert (one["object"], one["state"], one["seen_on"], told["missed"]) == ("image-a", "running", HERE, [])


def test_nothing_runs(tmp_path: Path) -> None:
    assert run(tmp_path).stdout == "nothing runs\n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["/nowhere/at/all"], "progress: /nowhere/at/all is not a folder\n"),
        (["--hosts", "a b"], "progress: 'a b' is not the name of a host\n"),
        (["--hosts=-oProxyCommand=id"], "progress: '-oProxyCommand=id' is not the name of a host\n"),
        (["--hosts", "-"], "progress: No host is named\n"),
        (["--every", "0", "-w", "/"], "progress: 0 seconds are not possible: it must be from 0.1 to 3600\n"),
        (["--hosts", "all"], "progress: oned does not answer at http://127.0.0.1:1/RPC2: connection refused\n"),
    ],
)
def test_misuse_is_one_sentence(arguments: list[str], sentence: str, tmp_path: Path) -> None:
    (tmp_path / "auth").write_text("oneadmin:x")
    said = run(*arguments, ONE_XMLRPC="http://127.0.0.1:1/RPC2", ONE_AUTH=str(tmp_path / "auth"))
    assert (said.returncode, said.stdout, said.stderr) == (1, "", sentence)


def test_hosts_of_opennebula(stores: Datastores, tmp_path: Path) -> None:
    """Every host but those that are switched off is asked by ssh; the others are seen all the same."""
    stores.add(1, "image-a", "copy x", 1, 2)
    oned = Oned()
    oned.add_host("host01")
    oned.add_host("host02", state=HostState.OFFLINE)
    (tmp_path / "auth").write_text(oned.settings.session)
    ssh = tmp_path / "ssh"
    ssh.write_text('#!/bin/sh\nfor word; do case $word in host*) echo "no route to $word" >&2;; esac; done\nexit 255\n')
    ssh.chmod(0o755)
    with ApiServer(oned) as server:
        told = {"ONE_XMLRPC": server.url, "ONE_AUTH": str(tmp_path / "auth"), "ONE_STORAGE_SSH": str(ssh)}
        said = run("-H", "all", stores.folder, **told)
    assert said.returncode == 1
    assert said.stdout.startswith(f"{HERE} 1: copy x: ")
    assert said.stderr == "progress: Cannot log in to host01: no route to host01\n"


def test_names_on_stdin(stores: Datastores) -> None:
    stores.add(1, "image-a", "copy x", 1, 2)
    said = run("-H", "-", "--json", stores.folder, text="localhost\nlocalhost\n")
    assert [one["object"] for one in json.loads(said.stdout)["operations"]] == ["image-a"]


@pytest.fixture
def watched(stores: Datastores) -> Iterator[Any]:
    """Starts the command with --watch; it is ended with the test."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        command = [*COMMAND, "--watch", "-n", "0.2", *arguments, str(stores.folder)]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT))
        return started[-1]

    yield start
    for one in started:
        one.kill()
        one.wait()
        assert one.stdout
        one.stdout.close()


def read_line(process: subprocess.Popen[str]) -> str:
    """The next line; none when it does not come within 20 seconds."""
    assert process.stdout
    guard = threading.Timer(20, process.kill)
    guard.start()
    try:
        return process.stdout.readline()
    finally:
        guard.cancel()


def test_a_log_hears_of_beginnings_and_ends(stores: Datastores, watched: Any) -> None:
    store = stores.add(1, "image-a", "copy x", 1, 2)
    process = watched()
    assert read_line(process).startswith(f"{HERE} 1: copy x: 1 bytes of 2 bytes")
    for name in ("status", "journal"):
        (store / HIDDEN / f"image-a.{name}").unlink()
    # nothing more came while nothing changed
    assert read_line(process) == f"{HERE} 1: copy x: no longer there\n"
    assert read_line(process) == "nothing runs\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0


def test_json_line_by_line(stores: Datastores, watched: Any) -> None:
    stores.add(1, "image-a", "copy x", 1, 2)
    process = watched("--json")
    told = [json.loads(read_line(process)) for _number in range(2)]
    assert [len(one["operations"]) for one in told] == [1, 1]


def test_on_a_terminal_it_is_drawn_in_place(stores: Datastores) -> None:
    for number in range(5):
        stores.add(number, f"image-{number}", f"copy {number}", 1, 2)
    pid, terminal = pty.fork()
    if pid == 0:
        time.sleep(0.2)
        os.environ["TERM"] = "xterm"
        os.chdir(ROOT)
        os.execv(COMMAND[0], [*COMMAND, "-w", "-n", "0.2", str(stores.folder)])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("hhhh", 24, 80, 0, 0))
    shown = b""
    until = time.monotonic() + 20
    while shown.count(b"\x1b[7A") < 2 and time.monotonic() < until:
        if select.select([terminal], [], [], 1)[0]:
            shown += os.read(terminal, 65536)
    os.kill(pid, signal.SIGINT)
    # what it writes meanwhile has to be read, or it waits for us
    while select.select([terminal], [], [], 5)[0]:
        try:
            if not os.read(terminal, 65536):
                break
        except OSError:
            break
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(terminal)
    frame = plain(shown.decode().split("\x1b[7A")[1])
    assert frame.splitlines()[0].startswith("5 operations on 1 host, 50.0 MB/s")
    assert "copy 4" in frame and "50%" in frame


# ---------------------------------------------------------------- the view


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)


@pytest.mark.parametrize("width", [20, 33, 48, 60, 80, 120, 250])
@pytest.mark.parametrize("height", [4, 8, 24])
def test_no_line_is_wider_than_the_terminal(width: int, height: int) -> None:
    long = "copy " + "x" * 300
    rows = [
        COPY,
        row(),
        row(what=long, rate=1 << 50, done_bytes=1, left_seconds=10**9),
        row(state="left"),
        row(what="写入" * 90),
    ]
    rows += [row(seen_on="h" * 99, datastore="/d/" + "y" * 99)] * 30
    lines = table(rows, ["a\x1b[2Jb" * 40] * 9, Style(width, height, True, True))
    assert len(lines) <= height
    for one in lines:
        assert sum(2 if "一" <= char <= "鿿" else 1 for char in plain(one)) <= width, plain(one)
        assert "\x1b[2J" not in one


def test_what_a_wide_terminal_shows() -> None:
    lines = [plain(one) for one in table([COPY, row(state="left", steps=3, begun=2)], [], Style(100, 24, True, False))]
    assert lines[0].startswith("1 operation on 1 host, 100.0 MB/s, 1 left by runs that died")
    assert re.fullmatch(r"host01 +100 +copy x +####\.{10}  25% +1\.0 GB of 4\.0 GB +100\.0 MB/s +0:31", lines[2])
    assert re.fullmatch(r"host01 +100 +tm_mv vm-5 +step 2 of 3 +died", lines[3])


def test_without_colours() -> None:
    assert not any("\x1b" in one for one in table([COPY], ["x"], Style(80, 24, False, True)))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, ""), (-5, "0:00"), (7, "0:07"), (750, "12:30"), (10931, "3:02:11"), (10**7, "115 days")],
)
def test_time_left(seconds: Any, text: str) -> None:
    assert clock_of(seconds) == text


def test_sentences() -> None:
    assert summary([]) == "nothing runs"
    assert line(COPY) == "host01 100: copy x: 1.0 GB of 4.0 GB, 100.0 MB/s, 31 s left"
    assert line(row(steps=3, begun=1, state="left"), False) == "100: tm_mv vm-5: step 1 of 3 (ended without a word)"


def test_a_datastore_that_hosts_share_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching.Watch, "_listen", lambda self, host: None)
    watch = watching.Watch(["host01", "host02"], ["/d"], 1)
    same = {"datastore": "/d/1", "object": "image-a", "run": "r1", "host": "host02", "what": "copy x"}
    for host in watch.hosts:
        told = {"operations": [same, {"datastore": "/d/2", "object": "vm-5"}], "missed": []}
        watch._hear(host, json.dumps(told).encode())
    rows, missed = watch.now()
    assert missed == []
    # of what has no run nobody knows that it is the same
    assert [(one["object"], one["seen_on"]) for one in rows] == [
        ("vm-5", "host01"),
        ("image-a", "host02"),
        ("vm-5", "host02"),
    ]


@pytest.mark.parametrize("junk", ['{"operations": [5], "missed": []}', "{}", "[]", "{", '{"operations": 1}'])
def test_a_host_that_says_nonsense(junk: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching.Watch, "_listen", lambda self, host: None)
    watch = watching.Watch(["host01"], ["/d"], 1)
    with pytest.raises((ValueError, KeyError, TypeError, AttributeError)):
        watch._hear("host01", junk.encode())


def test_a_host_that_is_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its storage hangs: the session stands, and nothing comes."""
    ssh = tmp_path / "ssh"
    ssh.write_text("#!/bin/sh\nprintf '\\000\\000\\000\\002{}'\nexec sleep 30\n")
    ssh.chmod(0o755)
    monkeypatch.setenv("ONE_STORAGE_SSH", str(ssh))
    monkeypatch.setattr(watching, "_SILENCE", 0.5)
    watch = watching.Watch(["host01"], ["/d"], 0)
    watch.wait(20)
    assert watch.now() == ([], ["host01 has not answered for 0.5 seconds (does a mount hang there)"])
    watch.close()
