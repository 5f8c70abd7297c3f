# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The shell library and the xpath command, as scripts of drivers use them: under bash, with and without ``set -eu``."""

from __future__ import annotations

import base64
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from lxml import etree

from tests.unit.door.front_end import Said, laid_out
from tests.unit.door.sshd import PROGRAM, Node, loopback
from tests.unit.door.support import ROOT
from tests.unit.door.test_authors import ARGUMENTS, HOSTILE, IMAGES

#: As drivers are written, and as careful ones are.
MODES = ["", "set -eu -o pipefail"]
#: What oned reads as a line of the log.
LOG = ("ERROR: ", "INFO: ", "WARN: ", "DEBUG: ")


@pytest.fixture(scope="module")
def tree() -> Iterator[Path]:
    with laid_out() as remotes:
        yield remotes


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    if not Path(PROGRAM).exists():
        pytest.skip("there is no sshd")
    with loopback() as made:
        yield made


class Bash:
    """Runs scripts that source the library."""

    def __init__(self, tree: Path, folder: Path, mode: str) -> None:
        self.library = tree / "one_storage" / "common.sh"
        self.folder = folder
        self.mode = mode

    def __call__(self, script: str, *arguments: str, env: Mapping[str, str] | None = None, stdin: str = "") -> Said:
        path = self.folder / "act"
        path.write_text(f"{self.mode}\n. '{self.library}'\n{script}\n")
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(self.folder), "ONE_STORAGE_LOCKS": str(self.folder)}
        done = subprocess.run(
            ["/bin/bash", str(path), *arguments],
            input=stdin.encode(),
            capture_output=True,
            env={**environment, **(env or {})},
            cwd=self.folder,
            timeout=60,
        )
        path.unlink()
        return Said(done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.fixture(params=MODES, ids=["plain", "strict"])
def bash(request: pytest.FixtureRequest, tree: Path, tmp_path: Path) -> Bash:
    return Bash(tree, tmp_path, request.param)


@pytest.fixture
def there(bash: Bash, node: Node) -> tuple[Bash, str, dict[str, str]]:
    """Bash, a host to log in to, and the environment for that."""
    return bash, node.name, {"SSH": str(node.ssh)}


def reasons(said: Said) -> list[str]:
    return [line for line in said.err.splitlines() if not line.startswith(LOG)]


# ---------------------------------------------------------------- words and values


def test_log_lines(bash: Bash) -> None:
    said = bash("log a; log_info b; log_warn c; log_error $'d\\nERROR: e'; log_debug \"$1\"; log_date", "%s \\n")
    assert said.err.splitlines() == [
        "INFO: act: a",
        "INFO: act: b",
        "WARN: act: c",
        "ERROR: act: d ERROR: e",
        "DEBUG: act: %s \\n",
    ]
    assert time.strptime(said.out.strip(), "%a %b %d %H:%M:%S %Y")
    said = bash('error_message "$1"', "two\nlines")
    assert (said.code, said.err) == (0, "two lines\n")


@pytest.mark.parametrize(("argument", "host", "path"), ARGUMENTS)
def test_arguments_with_a_host(bash: Bash, argument: str, host: str, path: str) -> None:
    assert bash('arg_host "$1"; arg_path "$1"', argument).out == f"{host}\n{path}\n"


@pytest.mark.parametrize("value", ["&", "<a b='c' d=\"e\">&amp;", "]]>", "&lt;", HOSTILE, "-n"])
def test_xml_that_is_escaped_is_read_back(bash: Bash, value: str) -> None:
    escaped = bash('xml_esc "$1"', value).out[:-1]
    assert etree.fromstring(f'<x y="{escaped}">{escaped}</x>').text == value


def test_small_ones(bash: Bash) -> None:
    said = bash(
        """
        for given in //a///b// / a//b/; do fix_dir_slashes "$given"; done
        contains a,b,c b , && ! contains a,bc b , && contains 'a b' b ' ' && ! contains 'a*' aa , && echo contains
        is_yes YES && is_yes true && ! is_yes no && ! is_yes '' && echo yes
        is_disk /d/0/5/disk.0.snap/1 && ! is_disk /d/0/5 && echo disk
        echo "$DS_DIR $QEMU_IMG $SCRIPT_NAME"
        """,
        env={"QEMU_IMG": "other", "ONE_LOCATION": "/srv/one"},
    )
    assert said.out == "/a/b\n/\na/b\ncontains\nyes\ndisk\n/srv/one/var/datastores other act\n"


def test_sourcing_is_quiet_and_leaves_nothing(bash: Bash) -> None:
    said = bash("")
    assert (said.code, said.out, said.err) == (0, "", "")
    assert os.listdir(bash.folder) == []


# ---------------------------------------------------------------- commands here

FAILURES: list[tuple[str, int, str, str]] = [
    ("exec_and_log 'ls /nope'", 2, "Error executing \"ls /nope\": ls: cannot access '/nope'", "ls: cannot"),
    ("exec_and_log 'ls /nope' 'Cannot list'", 2, "Cannot list", "ls: cannot access '/nope'"),
    ("exec_and_log -m 'Cannot list' -- ls '/no pe'", 2, "Cannot list", "ls: cannot access '/no pe'"),
    ("exec_and_log -- sh -c 'exit 9'", 9, 'Error executing "sh -c exit 9": it ended with code 9', "ended with"),
    ("exec_and_log no-such-tool", 127, 'Error executing "no-such-tool"', "no-such-tool"),
    ("exec_and_log ''", 1, 'Error executing "false"', "ended with code 1"),
    ("timeout_exec_and_log 1 'sleep 20'", 143, "Timeout executing sleep 20", "Timeout executing sleep 20"),
    ("timeout_exec_and_log 9 'false' 'No'", 1, "No", 'Command "false" failed'),
    ("timeout_exec_and_log 9 -- sh -c 'exit 124'", 124, "Error executing", "code 124"),
    ("multiline_exec_and_log $'echo no >&2\\nexit 5' 'Cannot'", 5, "Cannot", "no"),
    ("monitor_and_log $'echo out; echo no >&2; exit 6' poll", 6, 'Error executing "poll": no', "no"),
    ("f() { echo said >&2; return 7; }; exec_and_log f", 7, 'Error executing "f": said', "said"),
    ("f() { echo said >&2; exit 8; }; exec_and_log f", 8, 'Error executing "f": said', "said"),
]


@pytest.mark.parametrize(("script", "code", "reason", "logged"), FAILURES)
def test_what_fails_ends_the_script_with_one_sentence(
    bash: Bash, script: str, code: int, reason: str, logged: str
) -> None:
    said = bash(f"{script}\necho went on")
    assert (said.code, said.out) == (code, "")
    assert len(reasons(said)) == 1 and reasons(said)[0].startswith(reason), said.err
    log = [line for line in said.err.splitlines() if line.startswith("ERROR: act: ")]
    assert len(log) == 1 and logged in log[0], said.err


def test_a_deadline_of_the_site(bash: Bash) -> None:
    said = bash("exec_and_log 'sleep 20'", env={"ONE_STORAGE_COMMAND_TIMEOUT": "1"})
    assert (said.code, reasons(said)) == (143, ["Timeout executing sleep 20"])
    said = bash("multiline_exec_and_log 'sleep 20'", env={"ONE_STORAGE_COMMAND_TIMEOUT": "1"})
    assert (said.code, reasons(said)) == (143, ["Timeout executing a script"])


def test_what_succeeds_is_silent(bash: Bash) -> None:
    script = """
        exec_and_log 'echo dropped'
        multiline_exec_and_log 'echo dropped'
        timeout_exec_and_log 5 'echo dropped'
        exec_and_set_error true
        echo "[$ERROR]"
        exec_and_set_error false; echo "[$ERROR]"
        multiline_exec_and_set_error 'echo no >&2; exit 1' 'Cannot'; echo "[$ERROR]"
        exec_and_set_error 'echo a'; echo "[$ERROR]"
    """
    said = bash(script)
    assert said.out == '[]\n[Error executing "false": it ended with code 1]\n[Cannot]\n[]\n'
    assert reasons(said) == [] and len(said.err.splitlines()) == 2


def test_values_reach_a_command_as_they_are(bash: Bash) -> None:
    said = bash(
        """
        exec_and_log -- sh -c 'printf %s "$1" >one' sh "$1"
        multiline_exec_and_log 'printf %s "$1" >two' '' "$1"
        monitor_and_log 'printf %s "$1"' name "$1"
        cd /
        """,
        HOSTILE,
    )
    assert (said.code, said.err, said.out) == (0, "", HOSTILE + "\n")
    assert (bash.folder / "one").read_text() == (bash.folder / "two").read_text() == HOSTILE
    assert sorted(os.listdir(bash.folder)) == ["one", "two"]


def test_a_line_is_split_at_blanks_and_nothing_else(bash: Bash) -> None:
    (bash.folder / "x").touch()
    said = bash('exec_and_log "sh $1 * \\$(touch_canary) a  b"; cat out', str(bash.folder / "show"))
    assert said.code != 0
    (bash.folder / "show").write_text('printf "%s|" "$@" >out\n')
    said = bash("exec_and_log \"sh $1 * \\$(touch_canary) 'a  b'\"; cat out", str(bash.folder / "show"))
    assert said.out == "*|$(touch_canary)|'a|b'|"


def test_what_a_command_says_cannot_forge_its_code(bash: Bash) -> None:
    said = bash("exec_and_log -- printf '\\0\\0' ; f() { printf 'x\\0000\\0' >&2; return 3; }; exec_and_log f; echo on")
    assert (said.code, said.out) == (3, "")


def test_a_script_is_not_read_by_its_commands(bash: Bash) -> None:
    assert bash("monitor_and_log $'cat\\necho second'").out == "second\n"


def test_tries(bash: Bash) -> None:
    script = """
        again() {
            echo x >>n
            [ "$(wc -l <n)" -ge "$1" ] || { echo 'an active block job' >&2; return 5; }
            echo "done"
        }
        (retry_if 'active block job' 3 0 again 3) && cat n && rm n
        (retry_if 'active block job' 2 0 again 3; echo never) || echo "code $?"
        cat n; rm n
        retry_if_no_error 'something else' 3 0 again 3 || echo "code $?"
        cat n; rm n
        retry 3 again 2 2>/dev/null && retry 1 false || echo last
        rm n
    """
    said = bash(script)
    assert said.out == "done\nx\nx\nx\ncode 5\nx\nx\ncode 5\nx\ndone\nlast\n"
    assert said.err == "an active block job\n" * 2


# ---------------------------------------------------------------- locks


def test_a_lock_is_held_by_one(bash: Bash) -> None:
    script = """
        inside() { echo "in $1"; ("$BASH" -c '. "$0"; exclusive a.lock 0 echo stolen' "$LIBRARY") || echo "code $?"; }
        exclusive a.lock 1 inside one
        exclusive a.lock 0 echo free
        exclusive a.lock 0 sh -c 'sleep 20 >/dev/null 2>&1 & echo $! >pid'
        exclusive a.lock 0 echo 'not kept by children'
        kill "$(cat pid)"
        nested() { exclusive b.lock 0 "$BASH" -c '. "$0"; exclusive a.lock 0 true' "$LIBRARY" || echo "nested $?"; }
        exclusive a.lock 1 nested
        code=0
        exclusive a.lock 1 sh -c 'exit 7' || code=$?
        echo "code $code"
    """
    said = bash(script, env={"LIBRARY": str(bash.library), "SCRIPT_NAME": "act"})
    assert said.out.splitlines() == [
        "in one",
        "code 254",
        "free",
        "not kept by children",
        "nested 254",
        "code 7",
    ], said.err
    assert len(reasons(said)) == 2 and "is still held after 0 seconds" in reasons(said)[0]
    assert (bash.folder / "a.lock").stat().st_mode & 0o777 == 0o640


def test_locks_that_cannot_be(bash: Bash) -> None:
    said = bash("exclusive a.lock 1 echo done", env={"ONE_STORAGE_LOCKS": "/nowhere"})
    assert (said.code, said.out, reasons(said)) == (254, "", ["Cannot open the lock /nowhere/a.lock"])
    assert bash("exclusive ../a 1 echo done").code == 254


# ---------------------------------------------------------------- other hosts


def test_a_script_on_a_host(there: tuple[Bash, str, dict[str, str]], tmp_path: Path) -> None:
    bash, host, env = there
    script = """
        ssh_make_path "$1" "$2//c"
        ssh_exec_and_log "$1" 'cd "$1"; cat; printf %s "$2" >out' 'Cannot' "$2/c" "$3"
        ssh_monitor_and_log "$1" 'printf %s "$1"' name "$3"
        ssh_forward ssh_exec_and_log "$1" 'printf %s "$2" >"$1"' '' "$2/c/forwarded" "$3"
        printf 'put() { printf %%s "$1" >"$2"; }' >library
        ssh_exec_and_log_stdin "$1" 'put "$1" "$2"' library '' "$3" "$2/c/put"
    """
    said = bash(script, host, str(tmp_path / "a b"), HOSTILE, env=env)
    assert (said.code, said.err, said.out) == (0, "", HOSTILE + "\n")
    found = {path.name: path.read_text() for path in (tmp_path / "a b" / "c").iterdir()}
    assert found == {"out": HOSTILE, "put": HOSTILE, "forwarded": HOSTILE}


REMOTE: list[tuple[str, int, str, int]] = [
    ("ssh_exec_and_log \"$1\" 'echo no >&2; exit 9' 'Cannot do it'", 9, "Cannot do it", 1),
    ("ssh_exec_and_log \"$1\" 'echo no >&2; exit 9'", 9, 'Error executing "a script on node-7": no', 1),
    ("ssh_exec_and_log \"$1\" 'sleep 20' 'Too slow'", 143, "Too slow", 1),
    ("ssh_monitor_and_log \"$1\" 'sleep 20' poll", 143, "Timeout executing poll on node-7", 1),
    ("ssh_monitor_and_log \"$1\" 'echo no >&2; exit 9' poll", 9, 'Error executing "poll on node-7": no', 1),
    ('ssh_make_path "$1" /dev/null/x', 1, "Error creating directory /dev/null/x at node-7", 1),
    ("ssh_exec_and_log -oProxyCommand=x true", 255, "Error executing", 1),
    ("ssh_exec_and_log_no_error \"$1\" 'exit 2' 'Not done'; exit 3", 3, "Not done", 1),
    ('enable_local_monitoring "$1" /a/b ssh', 1, "'/a/b' is not the directory of a VM in a datastore", 0),
]


@pytest.mark.parametrize(("script", "code", "reason", "logged"), REMOTE)
def test_what_fails_on_a_host(
    there: tuple[Bash, str, dict[str, str]], script: str, code: int, reason: str, logged: int
) -> None:
    bash, host, env = there
    bash.mode = bash.mode.replace("-eu", "-u") if "no_error" in script else bash.mode
    said = bash(script, host, env={**env, "ONE_STORAGE_COMMAND_TIMEOUT": "2"})
    assert said.code == code, said.err
    assert len(reasons(said)) == 1 and reasons(said)[0].startswith(reason), said.err
    assert len(said.err.splitlines()) == 1 + logged


def test_a_code_that_is_no_failure(there: tuple[Bash, str, dict[str, str]]) -> None:
    bash, host, env = there
    said = bash("ssh_exec_and_log_no_error \"$1\" 'exit 2' 'Not done' 2 || echo \"code $?\"", host, env=env)
    assert (said.code, said.out, said.err) == (0, "code 2\n", "")


def test_the_marker_of_local_monitoring(there: tuple[Bash, str, dict[str, str]], tmp_path: Path) -> None:
    bash, host, env = there
    said = bash('enable_local_monitoring "$1" "$2/" ssh', host, f"{tmp_path}/100/5", env=env)
    assert (said.code, said.err) == (0, "")
    assert (tmp_path / "100" / ".monitor").read_text() == "ssh\n"
    bash('disable_local_monitoring "$1" "$2"', host, f"{tmp_path}/100/5", env=env)
    assert os.listdir(tmp_path / "100") == []


# ---------------------------------------------------------------- empty images


@pytest.mark.parametrize(("image_format", "fs", "wanted", "magic"), IMAGES)
def test_mkfs_commands_make_the_image(bash: Bash, image_format: str, fs: str, wanted: str, magic: bytes) -> None:
    path = bash.folder / "i $(touch canary)'\"m"
    script = 'commands=$(mkfs_command "$1" "$2" 8 ext4,xfs "$3" "$4") || exit; multiline_exec_and_log "$commands"'
    said = bash(script, str(path), image_format, fs, "-L 'a \"b'" if fs else "")
    assert (said.code, said.err) == (0, "")
    info = subprocess.run(["qemu-img", "info", "-f", wanted, path], capture_output=True, text=True, timeout=30)
    assert "8 MiB (8388608 bytes)" in info.stdout
    data = path.read_bytes()
    assert not magic or (data[1080:1082] == magic and data[1144:1150] == b'a "b\0\0')
    assert image_format != "swap" or data[4086:4096] == b"SWAPSPACE2"
    assert os.listdir(bash.folder) == [path.name]


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ("/x vmdk 1 ext4", "'vmdk' is not a format for an empty image: raw, qcow2, swap"),
        ("/x raw 1 ext4,xfs btrfs", "Unsupported file system type: btrfs. Supported types are: ext4,xfs"),
        ("/x raw '1;id' ext4", "The size '1;id' is not a number of MB"),
    ],
)
def test_images_that_are_not_made(bash: Bash, arguments: str, wanted: str) -> None:
    said = bash(f"commands=$(mkfs_command {arguments}) || exit; echo went on")
    assert (said.code, said.out, reasons(said)) == (255, "", [wanted])


# ---------------------------------------------------------------- xpath

DOCUMENT = (
    "<D><IMAGE><ID>7</ID><NAME>a &amp; b\n é</NAME><PATH><![CDATA[/x <y>]]></PATH><EMPTY/><BLANK> </BLANK>"
    "<TAG>1</TAG><TAG>2</TAG><TAG/></IMAGE></D>"
)
XPATHS: list[tuple[list[str], list[str], int]] = [
    (["/D/IMAGE/ID"], ["7"], 0),
    (["/D/IMAGE/NAME", "/D/IMAGE/PATH"], ["a & b\n é", "/x <y>"], 0),
    (["/D/IMAGE/NONE", "/D/IMAGE/ID", "/D/IMAGE/EMPTY"], ["", "7", ""], 2),
    (["/D/IMAGE/TAG", "%m%/D/IMAGE/TAG"], ["1", "1 2"], 0),
    (["/D/IMAGE/BLANK"], [" "], 0),
    (["-t", "/D/IMAGE/TAG", "%m%/D/IMAGE/TAG"], ["<TAG>1</TAG>", "<TAG>1</TAG> <TAG>2</TAG> <TAG/>"], 0),
    (["--subtree", "/D/IMAGE/PATH"], ["<PATH>/x &lt;y&gt;</PATH>"], 0),
    (["-s", "//ID"], ["7"], 0),
    (["--stdin", "//TAG[2]"], ["2"], 0),
    ([], [], 0),
    (["/N"] * 300, [""] * 300, 254),
]


@pytest.mark.parametrize(("arguments", "values", "missing"), XPATHS)
def test_xpath(tree: Path, arguments: list[str], values: list[str], missing: int) -> None:
    encoded = base64.b64encode(DOCUMENT.encode())
    wanted = "".join(f"{value}\0" for value in values).encode()
    for stdin, more in ((DOCUMENT.encode(), []), (encoded, []), (b"", ["-b", encoded.decode()])):
        command = [
            str(tree / "one_storage" / "xpath"),
            *more,
            *(word for word in arguments if not more or word != "-s"),
        ]
        if more and "--stdin" in command:
            continue
        done = subprocess.run(command, input=stdin, capture_output=True, timeout=30)
        assert (done.returncode, done.stdout, done.stderr) == (missing, wanted, b"")


BAD: list[tuple[list[str], str, str]] = [
    (["/D"], "", "There is no document on stdin"),
    (["/D"], "<D>", "The document is not XML"),
    (["/D"], '<!DOCTYPE D [<!ENTITY x SYSTEM "file:///etc/passwd">]><D>&x;</D>', "The document "),
    (["//["], "<D/>", "'//[' is not an XPath"),
    (["-x", "/D"], "<D/>", "xpath takes -s, -t, -b DATA and XPaths"),
]


@pytest.mark.parametrize(("arguments", "document", "wanted"), BAD)
def test_xpath_refuses(tree: Path, arguments: list[str], document: str, wanted: str) -> None:
    command = [str(tree / "one_storage" / "xpath"), *arguments]
    done = subprocess.run(command, input=document, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (255, "")
    assert len(done.stderr.splitlines()) == 1 and done.stderr.startswith(wanted)


def test_a_shell_driver_reads_its_document(bash: Bash) -> None:
    script = """
        values=()
        while IFS= read -r -d '' value; do values+=("$value"); done < <(xpath /D/IMAGE/ID %m%/D/IMAGE/TAG /D/IMAGE/NAME)
        printf '%s|' "${values[@]}"
    """
    assert bash(f"cd /\n{script}", stdin=DOCUMENT).out == "7|1 2|a & b\n é|"


def test_a_large_document(tree: Path) -> None:
    document = f"<D><A>{'x' * (1 << 20)}</A><B>end</B></D>"
    command = [str(tree / "one_storage" / "xpath"), "/D/B"]
    done = subprocess.run(command, input=base64.b64encode(document.encode()), capture_output=True, timeout=30)
    assert (done.returncode, done.stdout) == (0, b"end\0")


# ---------------------------------------------------------------- what others source

STOCK = ["scripts_common.sh", "datastore/libfs.sh", "datastore/xpath.rb", "datastore/url.rb", "tm/tm_common.sh"]


def test_helpers_of_stock_stay_untouched(tmp_path: Path) -> None:
    for name in STOCK:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"stock {name}\n")
    before = {name: (tmp_path / name).stat() for name in STOCK}
    command = ["python3", "-I", str(ROOT / "remotes" / "one_storage" / "build.py"), str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    for name in STOCK:
        after = (tmp_path / name).stat()
        assert (after.st_ino, after.st_mtime_ns) == (before[name].st_ino, before[name].st_mtime_ns), name
    laid = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert {Path(name).name for name in laid - set(STOCK)} & {Path(name).name for name in STOCK} == set()


def test_the_library_is_clean() -> None:
    files = [ROOT / "remotes" / "one_storage" / name for name in ("common.sh", "xpath")]
    done = subprocess.run(["shellcheck", *files], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
