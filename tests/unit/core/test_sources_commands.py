# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sources that commands write: other hosts over a stand-in for ssh, Ceph over one for rbd, helpers of other drivers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils._errors import (
    BadCall,
    DeadlineOver,
    Missing,
    NoAccess,
    Refused,
    StorageError,
    ToolFailed,
    Unreachable,
)
from plugins.module_utils.tools import command
from plugins.module_utils.tools.sources import Options, open_source, stdout
from tests.unit.core.reading import ended, read, refused, running, script
from tests.unit.core.support import MIB, pattern

DATA = pattern("stream", 3 * MIB + 77)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stdout, "PAUSES", (0.01, 0.02, 0.03))


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for ssh: it notes its words, and does what a login shell on the host would do."""
    notes = tmp_path / "notes"
    path = script(tmp_path / "ssh", f'printf "%s\\n" "$@" >> {notes}\nfor last; do :; done\nexec /bin/sh -c "$last"\n')
    monkeypatch.setenv("ONE_STORAGE_SSH", str(path))
    return notes


def changed(ssh: Path, text: str) -> None:
    """Let the stand-in do something else."""
    script(ssh.parent / "ssh", text)


# ---------------------------------------------------------------- ssh


@pytest.mark.parametrize("name", ["plain", "a b", "it's", "$(touch hacked)`x`;&|", "-n", "a:b", "--"])
def test_a_file_of_another_host(ssh: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(DATA)
    data, source = read(f"ssh://host01:{tmp_path}/{name}")
    assert data == DATA
    assert (source.name, source.path, source.length) == (f"ssh://host01:{tmp_path}/{name}", "", None)
    words = ssh.read_text().splitlines()
    assert "BatchMode=yes" in words and "ControlMaster=no" in words and "ControlPath=none" in words
    assert words[words.index("--") + 1] == "host01"


@pytest.mark.parametrize(
    ("where", "host", "user"),
    [
        ("oneadmin@host01", "host01", "oneadmin"),
        ("10.0.0.1", "10.0.0.1", ""),
        ("u@[fe80::1%eth0]", "fe80::1%eth0", "u"),
    ],
)
def test_where_ssh_goes(ssh: Path, tmp_path: Path, where: str, host: str, user: str) -> None:
    (tmp_path / "x").write_bytes(b"content")
    data, source = read(f"ssh://{where}:{tmp_path}/x")
    assert data == b"content" and source.name == f"ssh://{host}:{tmp_path}/x"
    words = ssh.read_text().splitlines()
    assert words[words.index("--") + 1] == host
    assert [word for word in words if word.startswith("User=")] == ([f"User={user}"] if user else [])


@pytest.mark.parametrize(
    "url",
    [
        *("ssh://host", "ssh://host:", "ssh://:/x", "ssh://@host:/x", "ssh://-oProxyCommand=x:/x", "ssh://a b:/x"),
        *("ssh://-u@host:/x", "ssh://u x@host:/x", "ssh://host:/x\0y", "ssh://[::1/x"),
    ],
)
def test_what_ssh_is_not_asked(ssh: Path, url: str) -> None:
    refused(url, BadCall, "is not (a source|the name of a (host|user))")
    assert not ssh.exists()


def test_a_path_below_the_home_of_the_user(ssh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "--help").write_bytes(b"content")
    assert read("ssh://host:--help")[0] == b"content"


def test_an_empty_file(ssh: Path, tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    assert read(f"ssh://host:{tmp_path}/x")[0] == b""


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        (
            "echo 'cat: /x: No such file or directory' >&2; exit 1",
            Missing,
            "^Cannot read ssh://host:/x: cat: /x: No such",
        ),
        ("echo 'cat: /x: Permission denied' >&2; exit 1", NoAccess, "Permission denied"),
        ("exit 3", ToolFailed, "^Cannot read ssh://host:/x: it ended with code 3"),
        ("echo abc; echo 'cat: /x: Input/output error' >&2; exit 1", ToolFailed, "Input/output error"),
        ("echo 'u@host: Permission denied (publickey).' >&2; exit 255", Unreachable, "^Cannot log in to host: "),
        (
            "echo abc; echo 'Connection to host closed.' >&2; exit 255",
            Unreachable,
            "^The transfer of ssh://host:/x broke",
        ),
        ("echo abc; kill -9 $$", ToolFailed, "it ended with code -9"),
    ],
)
def test_what_fails_on_another_host(ssh: Path, text: str, kind: type[StorageError], said: str) -> None:
    changed(ssh, text)
    refused("ssh://host:/x", kind, said)


def test_a_full_sshd_is_tried_again(ssh: Path) -> None:
    count = ssh.parent / "count"
    refusal = "echo 'kex_exchange_identification: no' >&2; exit 255"
    changed(ssh, f"echo x >> {count}\nif [ $(wc -l < {count}) -lt 3 ]; then {refusal}; fi\nprintf content")
    assert read("ssh://host:/x")[0] == b"content"
    assert count.read_text() == "x\n" * 3
    count.unlink()
    refused("ssh://host:/x", Unreachable, "Cannot log in to host", retry=False)
    assert count.read_text() == "x\n"


@pytest.mark.parametrize("text", ["sleep 60", "echo abc; sleep 60", "echo abc; exec >&-; sleep 60"])
def test_a_host_that_is_silent(ssh: Path, text: str) -> None:
    mark = f"silent-{time.monotonic_ns()}"
    changed(ssh, f": {mark}; {text}")
    refused(f"ssh://host:/{mark}", DeadlineOver, "(sent nothing for 1 seconds|does not end)", within=5, stall=1)
    assert ended(mark)


def test_no_ssh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONE_STORAGE_SSH", "/nowhere/ssh")
    refused("ssh://host:/x", Missing, "the command /nowhere/ssh is not installed")


def test_a_rate_is_kept(ssh: Path, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(DATA)
    begun = time.monotonic()
    assert read(f"ssh://host:{tmp_path}/x", rate=len(DATA) // 2)[0] == DATA
    # not faster; how much slower is the machine's affair
    assert 1.9 < time.monotonic() - begun < 6


def test_closing_ends_the_command(ssh: Path) -> None:
    mark = f"closed-{time.monotonic_ns()}"
    changed(ssh, "echo abc; sleep 60; echo x")
    source = open_source(f"ssh://host:/{mark}", Options())
    assert running(mark)
    source.close()
    source.close()
    assert ended(mark)


def test_a_stop_ends_a_wait(ssh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopping: list[bool] = []
    monkeypatch.setattr(command, "_stopping", stopping)
    changed(ssh, "echo abc; sleep 60")
    threading.Timer(0.5, stopping.append, [True]).start()
    begun = time.monotonic()
    with pytest.raises(InterruptedError):
        read("ssh://host:/x", stall=30)
    assert 0.4 < time.monotonic() - begun < 4


# ---------------------------------------------------------------- rbd


@pytest.fixture
def rbd(ssh: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for rbd on the host; its words are noted one by one."""
    notes = ssh.parent / "rbd-notes"
    script(ssh.parent / "rbd", f'printf "<%s>" "$@" > {notes}\nprintf exported\n')
    monkeypatch.setenv("PATH", f"{ssh.parent}:{os.environ['PATH']}")
    return notes


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("", ""),
        ("?CEPH_USER=lib%20virt", "<--id><lib virt>"),
        ("?CEPH_USER=a&CEPH_KEY=/etc/k'ey&CEPH_CONF=/etc/conf", "<--id><a><--keyfile></etc/k'ey><--conf></etc/conf>"),
        ("?CEPH_USER=&OTHER=x", ""),
    ],
)
def test_an_image_of_ceph(ssh: Path, rbd: Path, query: str, words: str) -> None:
    data, source = read(f"rbd://oneadmin@bridge/pool/one-12@snap{query}")
    assert data == b"exported"
    assert source.name == "rbd://bridge/pool/one-12@snap" + ("?..." if query else "")
    assert rbd.read_text() == words + "<export><--no-progress><pool/one-12@snap><->"
    assert "User=oneadmin" in ssh.read_text()


@pytest.mark.parametrize(
    "url",
    [
        *("rbd://host", "rbd://host/pool", "rbd:///pool/image", "rbd://host/-x/y", "rbd://host:22/pool/image"),
        *("rbd://host/pool/image?CEPH_USER=-x", "rbd://[::1/pool/image"),
    ],
)
def test_what_ceph_is_not_asked(rbd: Path, url: str) -> None:
    refused(url, BadCall, "is not a source")
    assert not rbd.exists()


# ---------------------------------------------------------------- helpers


class Helpers:
    """A folder of datastore scripts with a helper for rsync://, and what it leaves for its clean-up."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.content = folder / "content of it"
        self.content.write_bytes(DATA)
        self.scratch = folder / "scratch"

    def put(self, command: str, clean: str = "", rest: str = "", name: str = "rsync_downloader.rb") -> None:
        """The helper makes a scratch directory and prints the two commands."""
        clean = clean or f"rm -r {self.scratch}"
        script(
            self.folder / name,
            f"mkdir {self.scratch}\nprintf '%s\\n' \"$@\" > {self.folder}/words\necho a line\n"
            f'cat <<\'EOF\'\ncommand="{command}"\nclean_command="{clean}"\nEOF\n{rest}\n',
        )

    def options(self, **more: Any) -> dict[str, Any]:
        return {"helpers": str(self.folder), **more}


@pytest.fixture
def helpers(tmp_path: Path) -> Helpers:
    return Helpers(tmp_path)


URL = "rsync://100//0:6da1c7,1:06132a/var/lib/one/datastores/100/13/06132a/disk.0.1"


@pytest.mark.parametrize("scheme", ["rsync", "rsync+rbd", "netapp", "purefa", "thirdparty"])
def test_a_helper(helpers: Helpers, scheme: str) -> None:
    helpers.put(
        f"cat '{helpers.content}' | cat; test -d {helpers.scratch}", name=f"{scheme.split('+')[0]}_downloader.sh"
    )
    url = URL.replace("rsync", scheme)
    data, source = read(url, **helpers.options())
    assert data == DATA
    assert (source.name, source.path, source.length, source.warning) == (url, "", None, "")
    assert (helpers.folder / "words").read_text() == url + "\n"
    assert not helpers.scratch.exists()


def test_quotes_of_a_helper_are_the_shells(helpers: Helpers) -> None:
    helpers.put(r"printf '%s' \"a\$HOME b\" \`echo c\`", "rmdir '" + str(helpers.scratch) + "'")
    assert read(URL, **helpers.options())[0].decode() == f"a{os.environ['HOME']} bc"
    assert not helpers.scratch.exists()


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("echo 'cat: gone' >&2; exit 1", ToolFailed, f"^Cannot read {URL}: cat: gone"),
        ("echo abc; exit 4", ToolFailed, "it ended with code 4"),
        ("echo abc; sleep 60", DeadlineOver, "sent nothing for 1 seconds"),
    ],
)
def test_a_clean_up_follows_a_failure(helpers: Helpers, text: str, kind: type[StorageError], said: str) -> None:
    helpers.put(text)
    refused(URL, kind, said, **helpers.options(stall=1))
    assert not helpers.scratch.exists()


def test_a_clean_up_follows_when_the_reader_has_enough(helpers: Helpers) -> None:
    helpers.put("cat /dev/zero")
    source = open_source(URL, Options(**helpers.options()))
    next(source.chunks())
    assert helpers.scratch.exists()
    source.close()
    assert not helpers.scratch.exists()
    source.close()


def test_a_clean_up_that_fails_is_told(helpers: Helpers) -> None:
    helpers.put("echo abc", "exit 5")
    data, source = read(URL, **helpers.options())
    assert data == b"abc\n" and source.warning == f"The clean-up after {URL} ended with code 5"


def test_a_clean_up_has_a_deadline(helpers: Helpers) -> None:
    mark = f"cleaning-{time.monotonic_ns()}"
    helpers.put("echo abc", f": {mark}; sleep 60; :")
    data, source = read(URL, **helpers.options(command=1))
    assert data == b"abc\n" and "did not end within 1 seconds" in source.warning
    assert ended(mark)


def test_a_clean_up_follows_a_stop(helpers: Helpers, monkeypatch: pytest.MonkeyPatch) -> None:
    stopping: list[bool] = []
    monkeypatch.setattr(command, "_stopping", stopping)
    helpers.put("echo abc; sleep 60", f"sleep 3; rm -r {helpers.scratch}")
    threading.Timer(0.5, stopping.append, [True]).start()
    begun = time.monotonic()
    with pytest.raises(InterruptedError):
        read(URL, **helpers.options())
    assert time.monotonic() - begun < 3, "nobody waits for a clean-up then"
    gone(helpers.scratch)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_clean_up_follows_the_death_of_the_reader(helpers: Helpers, number: signal.Signals) -> None:
    mark = f"dying-{time.monotonic_ns()}"
    helpers.put(f": {mark}; echo abc; sleep 60")
    code = (
        "from plugins.module_utils.tools.sources import Options, open_source\n"
        f"source = open_source({URL!r}, Options(helpers={str(helpers.folder)!r}))\n"
        "print('ready', flush=True)\nlist(source.chunks())\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]
    ) as reader:
        assert reader.stdout and reader.stdout.readline() == b"ready\n"
        reader.send_signal(number)
        assert reader.wait(10) == -number
    gone(helpers.scratch)
    until = time.monotonic() + 5
    while [pid for pid in running(mark) if b"/bin/sh" in Path(f"/proc/{pid}/cmdline").read_bytes()]:
        assert time.monotonic() < until, "the helper's command lives on"
        time.sleep(0.05)


def gone(path: Path) -> None:
    """Wait until something is no more."""
    until = time.monotonic() + 5
    while path.exists():
        assert time.monotonic() < until, f"{path} is still there"
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("command", "rest", "said"),
    [
        ("x", "echo 'no such backup' >&2; exit 1", "no such backup"),
        ("x", "exit 2", "it ended with code 2"),
        ("", "", "it names no command"),
        ("unfinished'\\", "", "rsync_downloader.rb: "),
    ],
)
def test_a_helper_that_fails(helpers: Helpers, command: str, rest: str, said: str) -> None:
    helpers.put(command, rest=rest)
    error = refused(URL, ToolFailed, said, **helpers.options())
    assert str(error).startswith(f"Cannot prepare {URL}: rsync_downloader.rb: ")
    if "unfinished" not in command:
        assert not helpers.scratch.exists()


def test_a_helper_has_a_deadline(helpers: Helpers) -> None:
    helpers.put("x", rest="while :; do echo x; sleep 0.1; done")
    refused(URL, DeadlineOver, "did not end within 1 seconds", within=5, **helpers.options(command=1))


def test_a_helper_that_says_too_much(helpers: Helpers) -> None:
    helpers.put("x", rest="cat /dev/zero")
    refused(URL, StorageError, "says too much", **helpers.options())


@pytest.mark.parametrize(
    "text", ["$(x)", "`x`", "a b", "a;b", "a&b", "a|b", "a'b", 'a"b', "a\\b", "a\nb", "a>b", "a*b"]
)
def test_no_url_brings_a_shell_its_characters(helpers: Helpers, text: str) -> None:
    helpers.put("echo abc")
    refused(URL + text, BadCall, "has characters that must not reach rsync_downloader.rb", **helpers.options())
    assert not (helpers.folder / "words").exists()


def test_lxd_writes_its_image_itself(helpers: Helpers) -> None:
    script(
        helpers.folder / "lxd_downloader.sh", f"printf '%s' \"$1\" > {helpers.folder}/words\ncat '{helpers.content}'\n"
    )
    url = "lxd://https://images.example/rootfs.tar.xz?size=5120&filesystem=ext4&format=raw"
    data, source = read(url, **helpers.options())
    assert data == DATA and source.name == "lxd://https://images.example/rootfs.tar.xz?..."
    assert (helpers.folder / "words").read_text() == url
    refused(url + ";x", BadCall, "must not reach lxd_downloader.sh", **helpers.options())


@pytest.mark.parametrize("scheme", ["restic", "restic+rbd", "rsync", "lxd", "netapp", "purefa"])
def test_a_helper_that_is_not_there(tmp_path: Path, scheme: str) -> None:
    name = f"{scheme.split('+')[0]}_downloader"
    # neither what is no program, nor a folder, is one
    (tmp_path / f"{name}.rb").touch()
    (tmp_path / f"{name}.d").mkdir()
    said = f"^Images cannot be imported from '{scheme.replace('+', '[+]')}://': there is no {tmp_path}/{name}.[*]"
    refused(f"{scheme}://1/2/3", Missing, said, helpers=str(tmp_path))
    refused(f"{scheme}://1/2/3", Missing, f"there is no remotes/datastore/{name}.[*]")


def test_onebex_has_a_downloader_of_its_own(tmp_path: Path) -> None:
    script(tmp_path / "onebex_downloader.rb", "exit 0")
    refused("onebex://1:2", Refused, "cannot be imported from 'onebex://'", helpers=str(tmp_path))
