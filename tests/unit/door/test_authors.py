# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The helpers for authors of drivers in Python, against real commands, a real sshd, and a real script's exit."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lxml import etree

from plugins.module_utils._errors import BadCall, Missing, StorageError
from plugins.plugin_utils import authors
from tests.unit.door.front_end import SEVERITY
from tests.unit.door.sshd import PROGRAM, Node, loopback
from tests.unit.door.support import ROOT

HOSTILE = "a b;'\"$(touch canary)`touch canary`\\ *\n$1 é"


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    if not Path(PROGRAM).exists():
        pytest.skip("there is no sshd")
    with loopback() as made:
        yield made


@pytest.fixture
def on_node(node: Node, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a host that ssh logs in to."""
    monkeypatch.setenv("HOME", str(node.home))
    monkeypatch.setenv("ONE_STORAGE_SSH", str(node.ssh))
    return node.name


# ---------------------------------------------------------------- texts

ARGUMENTS = [
    ("host01:/var/lib/one//datastores/0/5/disk.0", "host01", "/var/lib/one/datastores/0/5/disk.0"),
    ("host01:/a/b/", "host01", "/a/b"),
    ("host01:/a:b", "host01", "/a:b"),
    ("/var//lib/", "/var/lib", "/var/lib"),
    ("host01", "host01", "host01"),
    ("host01:", "host01", ""),
    ("", "", ""),
]


@pytest.mark.parametrize(("argument", "host", "path"), ARGUMENTS)
def test_arguments_with_a_host(argument: str, host: str, path: str) -> None:
    assert (authors.arg_host(argument), authors.arg_path(argument)) == (host, path)


@pytest.mark.parametrize(
    ("path", "wanted"), [("//a///b//", "/a/b"), ("/", "/"), ("//", "/"), ("a//b/", "a/b"), ("", ""), ("/a b/", "/a b")]
)
def test_slashes(path: str, wanted: str) -> None:
    assert authors.fix_dir_slashes(path) == wanted


@pytest.mark.parametrize("value", ["&", "<a b='c' d=\"e\">&amp;", "]]>", "&lt;", HOSTILE])
def test_xml_that_is_escaped_is_read_back(value: str) -> None:
    escaped = authors.xml_esc(value)
    root = etree.fromstring(f"<x y=\"{escaped}\" z='{escaped}'>{escaped}</x>")
    assert root.text == value
    # a parser makes a blank of a line's end in an attribute
    assert root.get("y") == root.get("z") == value.replace("\n", " ")


def test_small_ones() -> None:
    assert authors.contains("a,b,c", "b") and not authors.contains("a,bc", "b") and authors.contains("a b", "b", " ")
    assert [authors.is_disk(path) for path in ("/d/0/5/disk.0", "/d/0/5/disk.12.snap/1", "/d/0/5", "/d/disk.x")] == [
        True,
        True,
        False,
        False,
    ]
    assert authors.is_yes("Yes") and not authors.is_yes("no") and not authors.is_yes("")
    assert time.strptime(authors.log_date(), "%a %b %d %H:%M:%S %Y")


# ---------------------------------------------------------------- empty images

IMAGES = [
    ("raw", "", "raw", b""),
    ("qcow2", "", "qcow2", b""),
    ("raw", "ext4", "raw", b"\x53\xef"),
    ("qcow2", "ext4", "qcow2", b""),
    ("swap", "", "raw", b""),
]


@pytest.mark.parametrize(("image_format", "fs", "wanted", "magic"), IMAGES)
def test_mkfs_commands_make_the_image(image_format: str, fs: str, wanted: str, magic: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a b"
    for command in authors.mkfs_command(str(path), image_format, 8, fs=fs, options=["-L", "a b"] if fs else []):
        authors.exec_and_log(command)
    info = authors.exec_and_log(["qemu-img", "info", "-f", wanted, "--output=json", str(path)])
    assert '"virtual-size": 8388608' in info
    assert not magic or path.read_bytes()[1080:1082] == magic
    if image_format == "swap":
        assert path.read_bytes()[4086:4096] == b"SWAPSPACE2"
    assert os.listdir(tmp_path) == ["a b"]


@pytest.mark.parametrize(
    ("image_format", "fs", "wanted"),
    [
        ("vmdk", "", "'vmdk' is not a format for an empty image"),
        ("raw", "btrfs", "Unsupported file system type: btrfs. Supported types are: ext2,ext3,ext4,xfs"),
        ("raw", "ext4;id", "Unsupported file system type: ext4;id"),
    ],
)
def test_images_that_are_not_made(image_format: str, fs: str, wanted: str) -> None:
    with pytest.raises(BadCall, match=wanted):
        authors.mkfs_command("/x", image_format, 1, fs=fs)


# ---------------------------------------------------------------- commands here


def test_a_command_gets_its_arguments_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert authors.exec_and_log(["printf", "%s", HOSTILE]) == HOSTILE
    assert authors.exec_and_log(["cat"], stdin=HOSTILE.encode()) == HOSTILE
    assert authors.exec_and_log(["sh", "-c", 'printf %s "$SECRET"'], variables={"SECRET": HOSTILE}) == HOSTILE
    assert authors.multiline_exec_and_log('printf %s "$1"', values=[HOSTILE]) == HOSTILE
    assert authors.monitor_and_log('printf %s "$1"', values=[HOSTILE]) == HOSTILE
    assert os.listdir(tmp_path) == []


def test_a_long_answer_is_whole() -> None:
    assert authors.monitor_and_log("seq 100000") == "".join(f"{number}\n" for number in range(1, 100001))


def test_a_line_for_a_shell_is_refused() -> None:
    with pytest.raises(BadCall, match="A command is a list of arguments, not a line for a shell"):
        authors.exec_and_log("rm -rf /nowhere")
    with pytest.raises(BadCall, match="none may contain a NUL"):
        authors.exec_and_log(["true", "a\0b"])


def test_a_command_that_fails() -> None:
    with pytest.raises(authors.CommandFailed) as caught:
        authors.exec_and_log(["sh", "-c", "echo first >&2; echo last >&2; exit 7"], "Cannot do it")
    assert (str(caught.value), caught.value.exit_code) == ("Cannot do it", 7)
    assert "first\nlast" in caught.value.detail
    with pytest.raises(authors.CommandFailed, match=r'^Error executing "false": it ended with code 1$'):
        authors.exec_and_log(["false"])
    with pytest.raises(authors.CommandFailed, match="the command no-such-tool is not installed") as caught:
        authors.exec_and_log(["no-such-tool"])
    assert caught.value.exit_code == 127


def test_a_script_ends_at_its_first_failure(tmp_path: Path) -> None:
    with pytest.raises(authors.CommandFailed) as caught:
        authors.multiline_exec_and_log('false | true\ntouch "$1"', values=[str(tmp_path / "x")])
    assert caught.value.exit_code == 1
    assert os.listdir(tmp_path) == []


def test_a_script_is_not_read_by_its_commands() -> None:
    assert authors.monitor_and_log("cat\necho second") == "second\n"


def test_the_time_is_over(tmp_path: Path) -> None:
    begun = time.monotonic()
    with pytest.raises(authors.TimedOut, match="did not end within 0.3 seconds") as caught:
        authors.timeout_exec_and_log(0.3, ["sh", "-c", f"sleep 3; touch {tmp_path}/x"])
    assert caught.value.exit_code == 143
    assert time.monotonic() - begun < 2.8
    time.sleep(3)
    assert os.listdir(tmp_path) == []


def test_an_error_that_is_only_set(capfd: pytest.CaptureFixture[str]) -> None:
    assert authors.exec_and_set_error(["true"]) == ""
    assert authors.exec_and_set_error(["sh", "-c", "echo oh >&2; exit 3"]).endswith(": oh")
    assert authors.multiline_exec_and_set_error("echo no >&2; exit 3", "Cannot") == "Cannot"
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 2 and all(SEVERITY.match(line) for line in lines)
    assert "failed with code 3: oh" in lines[0] and "failed with code 3: no" in lines[1]


def test_tries(tmp_path: Path) -> None:
    counter = tmp_path / "n"
    script = 'echo x >>"$0"; test "$(wc -l <"$0")" -ge "$1" || { echo "active block job" >&2; exit 5; }; echo done'
    command = ["sh", "-c", script, str(counter)]
    assert authors.retry_if("active block job", 3, 0.01, [*command, "3"]) == "done\n"
    assert counter.read_text() == "x\nx\nx\n"
    counter.unlink()
    with pytest.raises(authors.CommandFailed, match="active block job") as caught:
        authors.retry_if("active block job", 3, 0.01, [*command, "9"])
    assert caught.value.exit_code == 5
    assert counter.read_text() == "x\nx\nx\n"
    counter.unlink()
    assert authors.retry_if_no_error("something else", 3, 0.01, [*command, "9"]).code == 5
    assert counter.read_text() == "x\n"
    with pytest.raises(BadCall, match="is not a regular expression"):
        authors.retry_if("(", 3, 0.01, ["true"])


def test_tries_of_a_function() -> None:
    seen: list[int] = []

    def third() -> bool:
        seen.append(1)
        if len(seen) == 1:
            raise Missing("Not yet there")
        return len(seen) == 3

    assert authors.retry(5, third, 0.01) and len(seen) == 3
    seen.clear()
    assert not authors.retry(2, third, 0.01) and len(seen) == 2


# ---------------------------------------------------------------- locks


def test_a_lock_is_held_by_one(tmp_path: Path) -> None:
    with authors.exclusive("a.lock", 1, str(tmp_path)):
        busy = pytest.raises(authors.LockBusy, match="is still held after 0.1 seconds")
        with busy as caught, authors.exclusive("a.lock", 0.1, str(tmp_path)):
            raise AssertionError("two at once")
        assert caught.value.exit_code == 254
        with authors.exclusive("b.lock", 0.1, str(tmp_path)):
            pass
    with authors.exclusive("a.lock", 0.1, str(tmp_path)):
        pass
    assert (tmp_path / "a.lock").stat().st_mode & 0o777 == 0o640


def test_a_lock_is_flock_and_children_do_not_keep_it(tmp_path: Path) -> None:
    with authors.exclusive("a.lock", 1, str(tmp_path)):
        with (tmp_path / "a.lock").open() as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        child = subprocess.Popen(["sleep", "20"], close_fds=False)
    try:
        with (tmp_path / "a.lock").open() as other:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        child.kill()
        child.wait(10)


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "/x", "a/b"])
def test_names_that_are_no_locks(name: str, tmp_path: Path) -> None:
    with pytest.raises(BadCall, match="is not the name of a lock"), authors.exclusive(name, 1, str(tmp_path)):
        pass
    with pytest.raises(Missing, match="Cannot open the lock"), authors.exclusive("x", 1, str(tmp_path / "none")):
        pass


# ---------------------------------------------------------------- other hosts


def test_a_script_on_a_host(on_node: str, tmp_path: Path) -> None:
    path = tmp_path / "a b"
    authors.ssh_make_path(on_node, f"{path}//c/")
    authors.ssh_make_path(on_node, f"{path}/c")
    script = 'cd "$1"; cat; printf %s "$2" >out; printf %s "$LC_ALL" >locale'
    authors.ssh_exec_and_log(on_node, script, values=[f"{path}/c", HOSTILE])
    assert (path / "c" / "out").read_text() == HOSTILE
    assert (path / "c" / "locale").read_text() == "C"
    assert sorted(os.listdir(path / "c")) == ["locale", "out"]
    assert authors.ssh_monitor_and_log(on_node, 'printf %s "$1"', values=[HOSTILE]) == HOSTILE


def test_a_library_before_the_script(on_node: str, tmp_path: Path) -> None:
    library = tmp_path / "library.sh"
    library.write_text('put() { printf %s "$1" >"$2"; }')
    authors.ssh_exec_and_log_stdin(on_node, 'put "$1" "$2"', str(library), values=[HOSTILE, f"{tmp_path}/out"])
    assert (tmp_path / "out").read_text() == HOSTILE
    with pytest.raises(Missing, match="Cannot read"):
        authors.ssh_exec_and_log_stdin(on_node, "true", str(tmp_path / "none"))


def test_a_script_that_fails_on_a_host(on_node: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(authors.CommandFailed) as caught:
        authors.ssh_exec_and_log(on_node, "echo first >&2; echo last >&2; exit 9", "Cannot do it")
    assert (str(caught.value), caught.value.exit_code) == (f"Cannot do it on {on_node}", 9)
    assert "first\nlast" in caught.value.detail
    with pytest.raises(authors.CommandFailed, match=f"^Error executing the poll: last on {on_node}$"):
        authors.ssh_monitor_and_log(on_node, "echo last >&2; exit 9", "poll")
    assert capfd.readouterr().err == ""
    assert authors.ssh_exec_and_log_no_error(on_node, "exit 2", ok=2) == 2
    assert capfd.readouterr().err == ""
    assert authors.ssh_exec_and_log_no_error(on_node, "exit 2", "Not done") == 2
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 2 and SEVERITY.match(lines[0]) and lines[1] == f"Not done on {on_node}"


def test_a_script_on_a_host_that_takes_too_long(on_node: str, tmp_path: Path) -> None:
    begun = time.monotonic()
    with pytest.raises(authors.TimedOut, match=f"did not end within 1 seconds on {on_node}") as caught:
        authors.ssh_exec_and_log(on_node, 'sleep 3; touch "$1"', timeout=1, values=[f"{tmp_path}/x"])
    assert caught.value.exit_code == 143 and time.monotonic() - begun < 3
    time.sleep(3)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("host", ["", "-oProxyCommand=touch canary", "a b", "a;b"])
def test_names_that_are_no_hosts(host: str, on_node: str) -> None:
    with pytest.raises(BadCall, match="is not the name of a host"):
        authors.ssh_exec_and_log(host, "true")


def test_a_host_that_cannot_be_reached(on_node: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONE_STORAGE_CONNECT_TIMEOUT", "1")
    with pytest.raises(authors.CommandFailed, match="Could not resolve hostname no-such-host") as caught:
        authors.ssh_exec_and_log("no-such-host", "true")
    assert caught.value.exit_code == 255


def test_the_marker_of_local_monitoring(on_node: str, tmp_path: Path) -> None:
    vm = tmp_path / "100" / "5"
    authors.enable_local_monitoring(on_node, f"{vm}/", "ssh")
    assert (tmp_path / "100" / ".monitor").read_text() == "ssh\n"
    before = (tmp_path / "100" / ".monitor").stat()
    authors.enable_local_monitoring(on_node, str(vm), "ssh")
    assert (tmp_path / "100" / ".monitor").stat().st_ino == before.st_ino
    authors.enable_local_monitoring(on_node, str(vm), "qcow2")
    assert (tmp_path / "100" / ".monitor").read_text() == "qcow2\n"
    authors.disable_local_monitoring(on_node, str(vm))
    authors.disable_local_monitoring(on_node, str(vm))
    assert os.listdir(tmp_path / "100") == []
    for path in (tmp_path / "100", tmp_path):
        with pytest.raises(BadCall, match="is not the directory of a VM"):
            authors.enable_local_monitoring(on_node, str(path), "ssh")


# ---------------------------------------------------------------- a whole script

PROGRAM_TEXT = """
import sys
sys.path.insert(0, sys.argv.pop(1))
from plugins.plugin_utils.authors import *

def act(arguments):
{body}

main(act)
"""


def driver(body: str, tmp_path: Path, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
    path = tmp_path / "act"
    path.write_text(PROGRAM_TEXT.format(body=textwrap.indent(textwrap.dedent(body), "    ")))
    command = [sys.executable, str(path), str(ROOT), "one", "two"]
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=30)
    return subprocess.CompletedProcess(command, done.returncode, done.stdout.decode(), done.stderr.decode())


SCRIPTS = [
    ("return ' '.join(arguments)", 0, "one two\n", []),
    ("return ['USED_MB=1', 'FREE_MB=2']", 0, "USED_MB=1\nFREE_MB=2\n", []),
    ("log('hello'); log_warn('a\\nb'); log_error('c'); log_debug('d')", 0, "", []),
    ("exec_and_log(['sh', '-c', 'exit 42'], 'It broke')", 42, "", ["It broke"]),
    ("timeout_exec_and_log(0.1, ['sleep', '9'])", 143, "", ["Timeout executing"]),
    ("return text(read_document(), 'A')", 0, "<&\n", []),
    ("exec_and_log('id')", 1, "", ["A command is a list of arguments"]),
    ("error_message('one\\nline'); raise SystemExit(3)", 3, "", ["one line"]),
    ("return 1 / 0", 1, "", ["An unexpected error: ZeroDivisionError"]),
    ("log_function('WARNING', 'x')", 1, "", ["'WARNING' is no severity"]),
]


@pytest.mark.parametrize(("body", "code", "out", "reasons"), SCRIPTS)
def test_how_a_script_ends(body: str, code: int, out: str, reasons: list[str], tmp_path: Path) -> None:
    done = driver(body, tmp_path, b"<X><A>&lt;&amp;</A></X>")
    assert (done.returncode, done.stdout) == (code, out), done.stderr
    plain = [line for line in done.stderr.splitlines() if not SEVERITY.match(line)]
    assert len(plain) == len(reasons)
    assert all(line.startswith(reason) for line, reason in zip(plain, reasons, strict=True)), done.stderr
    assert "act: " in done.stderr or code in (0, 3)


def test_log_lines(tmp_path: Path) -> None:
    done = driver("log('hello'); log_info('i'); log_warn('a\\nb'); log_error('c'); log_debug('d')", tmp_path)
    assert done.stderr == "INFO: act: hello\nINFO: act: i\nWARN: act: a b\nERROR: act: c\nDEBUG: act: d\n"


def test_every_error_is_one_of_the_family() -> None:
    for kind in (authors.CommandFailed, authors.TimedOut, authors.LockBusy):
        assert issubclass(kind, StorageError)
