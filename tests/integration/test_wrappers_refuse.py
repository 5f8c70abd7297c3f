# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad input to real wrappers: one plain sentence, a code, no answer, no change."""

from __future__ import annotations

import base64
import os
import re
import shlex
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.door.front_end import STORES, VM, FrontEnd, Said, refused, started

DS_ACTIONS = ("cp", "mkfs", "clone", "rm", "stat", "monitor", "export")
ROOT = os.geteuid() == 0


@pytest.fixture
def front_end(remotes: Path) -> Iterator[FrontEnd]:
    with started(remotes) as made:
        made.raw(made.store(100) / "image")
        made.raw(made.store(104) / "image")
        # what tells hosts to monitor a datastore is no one action's
        (made.store(105) / ".monitor").write_text("ssh\n")
        made.raw(made.sources / "a.img")
        yield made


# ---------------------------------------------------------------- stdin

HOSTILE: list[tuple[str, bytes, str]] = [
    ("empty", b"", "There is no document on stdin"),
    ("blank", b" \n", "There is no document on stdin"),
    ("not base64", b"hello, world", "The document on stdin is neither XML nor base64"),
    ("not XML", base64.b64encode(b"hello"), "The document on stdin is not XML: .+"),
    ("cut off", base64.b64encode(b"<DS_DRIVER_ACTION_DATA><IMAGE>"), "The document on stdin is not XML: .+"),
    (
        "external entity",
        base64.b64encode(b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>'),
        "The document on stdin brings a document type of its own, which is not read",
    ),
    (
        "entity bomb",
        b'<!DOCTYPE x [<!ENTITY a0 "ha">'
        + b"".join(b'<!ENTITY a%d "%s">' % (n, b"&a%d;" % (n - 1) * 20) for n in range(1, 10))
        + b"]><x>&a9;</x>",
        "The document on stdin (is not XML: .*|brings a document type of its own, which is not read)",
    ),
    ("nothing in it", base64.b64encode(b"<x/>"), "The document on stdin has no DATASTORE"),
    ("other XML", b"<VM><ID>1</ID></VM>", "The document on stdin has no DATASTORE"),
]


@pytest.mark.parametrize("action", DS_ACTIONS)
@pytest.mark.parametrize(("stdin", "wanted"), [row[1:] for row in HOSTILE], ids=[row[0] for row in HOSTILE])
def test_documents_that_are_none(front_end: FrontEnd, action: str, stdin: bytes, wanted: str) -> None:
    before = front_end.state()
    refused(front_end, front_end.run(f"datastore/fs/{action}", "1", stdin=stdin), wanted, before)


def test_a_hundred_megabytes(front_end: FrontEnd) -> None:
    before = front_end.state()
    said = front_end.run("datastore/fs/cp", "1", stdin=b"QUFB" * (25 << 20))
    refused(front_end, said, "The document on stdin is larger than 16 MB", before)


# ---------------------------------------------------------------- command lines

Call = tuple[str, list[str], str]


def _calls(front_end: FrontEnd) -> list[Call]:
    image, disk, place = front_end.image("qcow2"), front_end.disk("qcow2"), front_end.disk("qcow2", "")
    clean = re.escape(f"{front_end.root}/datastores/101/{VM}")
    other = place.replace(f"/{VM}", "/8")
    return [
        ("clone", [], r"clone takes 2 to 4 arguments \(.*\), not 0"),
        ("clone", [image, disk, "7", "100", "x"], r"clone takes 2 to 4 arguments \(.*\), not 5"),
        ("ln", [image], r"ln takes 2 to 4 arguments \(.*\), not 1"),
        ("mv", [disk], r"mv takes 2 to 4 arguments \(.*\), not 1"),
        ("mvds", [], r"mvds takes 2 to 4 arguments \(.*\), not 0"),
        ("delete", [], r"delete takes 1 to 3 arguments \(.*\), not 0"),
        ("context", [disk], "context takes at least 2 arguments .*"),
        ("mkimage", ["1", disk], r"mkimage takes 3 to 5 arguments \(.*\), not 2"),
        ("mkswap", ["1"], r"mkswap takes 2 to 4 arguments \(.*\), not 1"),
        ("clone", [image, disk, "8", "100"], f"The path {clean}/disk.0 belongs to VM 7, the call to VM 8"),
        ("clone", [image, disk, "seven", "100"], "'seven' is not the id of a VM"),
        ("clone", [image, disk, "7", "x"], "'x' is not the id of a datastore"),
        ("clone", [image, disk, "7", "999"], r"oned does not give datastore 999: .*\[999\]\."),
        ("clone", [image, disk.replace("localhost", "-oX=id")], "'-oX=id' is not the name of a host"),
        ("clone", [image, disk.replace("localhost", "$(id)")], r"'\$\(id\)' is not the name of a host"),
        ("clone", [image, disk.replace("localhost", "")], "'' is not the name of a host"),
        ("clone", [image, disk.partition(":")[2]], "The disk '.*' is not host:path"),
        ("clone", [image.replace("image", "none"), disk], r"The image .*/none is not there on \S+ .*"),
        ("clone", [image, other + "/disk.0"], r"oned does not give VM 8: .*\[8\]\."),
        ("clone", [image, disk.replace("disk.0", "disk.5")], "VM 7 has no disk 5"),
        ("clone", [image, place], f"{clean} is not a disk"),
        ("clone", [image, place + "/../../100/7/disk.0"], "The disk '.*' contains '..'"),
        ("ln", [image.replace("image", "none"), disk], "The image .*/none is not there on .*"),
        ("mkimage", ["x", "raw", disk], "'x' is not a size in MB"),
        ("mkimage", ["1", "vmdk", disk], "value of format must be one of: raw, qcow2, swap, got: vmdk"),
        ("mkimage", ["0", "raw", disk], "The size 0 MB is not possible: .*"),
        ("mkswap", ["-1", disk], "'-1' is not a size in MB"),
        ("mkswap", ["9999999999", disk], "The size 9999999999 MB is not possible: .*"),
        ("delete", [place.rpartition("/")[0]], "The path '.*' is not in a VM's directory of a datastore"),
        ("delete", ["localhost:/"], "The path '/' is not in a VM's directory of a datastore"),
        ("delete", [disk + ".snap"], "The path '.*' is not in a VM's directory of a datastore"),
        ("mv", [disk, place], ".* are not the same disk, or directory, of one VM"),
        ("mv", [place, other], ".* are not the same disk, or directory, of one VM"),
        ("context", ["/none/context.sh", disk, "7", "101"], "The context file /none/context.sh is not there on .*"),
        ("context", ["context.sh", disk, "7", "101"], "The context file 'context.sh' is not an absolute path"),
        ("context", ["/etc/hostname:'a/b'", disk], "'a/b' cannot be the name of a file in the context image.*"),
        ("context", ["/etc/hostname:'a", disk], "The quote in .* is not closed"),
    ]  # fmt: skip


def test_command_lines(front_end: FrontEnd) -> None:
    """All in one test, on one tree: nothing may change it."""
    (front_end.store(101) / str(VM)).mkdir()
    front_end.raw(front_end.store(101) / str(VM) / "disk.3")
    before = front_end.state()
    for action, arguments, wanted in _calls(front_end):
        refused(front_end, front_end.run(f"tm/qcow2/{action}", *arguments), wanted, before)


@pytest.mark.parametrize(
    ("wrapper", "arguments", "wanted"),
    [
        ("datastore/fs/cp", ["1", "2"], r"cp takes 0 to 1 arguments \(ID\), not 2"),
        ("datastore/fs/monitor", ["1", "2", "3"], r"monitor takes 0 to 1 arguments \(ID\), not 3"),
    ],
)
def test_command_lines_of_datastores(front_end: FrontEnd, wrapper: str, arguments: list[str], wanted: str) -> None:
    before = front_end.state()
    refused(front_end, front_end.run(wrapper, *arguments), wanted, before)


def test_a_directory_that_is_not_there(front_end: FrontEnd) -> None:
    before = front_end.state()
    place = front_end.disk("qcow2", "")
    said = front_end.run("tm/qcow2/mv", place, place.replace("/101/", "/103/"))
    refused(front_end, said, f"The directory .*/101/{VM} is not there on .*", before)


def test_bytes_that_are_no_text(front_end: FrontEnd) -> None:
    before = front_end.state()
    wrong: list[list[str | bytes]] = [
        [b"h:/ds/100/\xff", front_end.disk("qcow2")],
        [front_end.image("qcow2"), b"\xff:/ds/101/7/disk.0"],
    ]
    for arguments in wrong:
        said = front_end.run("tm/qcow2/clone", *arguments)
        refused(front_end, said, "The argument '.*' is not text in UTF-8", before)
    refused(front_end, front_end.run("datastore/fs/cp", b"\xff"), "The argument '' is not text in UTF-8", before)
    said = front_end.run("tm/qcow2/delete", "💾:/ds/101/7/disk.0")
    refused(front_end, said, "'💾' is not the name of a host", before)


# ---------------------------------------------------------------- documents that ask for what must not be


def _documents(front_end: FrontEnd) -> list[tuple[str, bytes, str]]:
    root, sources = front_end.root, front_end.sources
    front_end.qcow2(sources / "big.qcow2", 64 << 20)
    backing = sources / "overlay.qcow2"
    front_end.qcow2(backing)
    data = bytearray(backing.read_bytes())
    data[8:16], data[16:20] = (0x200).to_bytes(8, "big"), (11).to_bytes(4, "big")
    data[0x200:0x20B] = b"/etc/passwd"
    backing.write_bytes(data)
    (sources / "packed.gz").write_bytes(b"\x1f\x8b\x08" + bytes(100))
    (sources / "folder").mkdir()
    (sources / "away").symlink_to("/etc/passwd")
    inside = f"{root}//datastores/100"
    return [
        ("cp", front_end.cp("/etc/passwd"), "Not allowed to copy image from /etc/passwd, check RESTRICTED_DIRS .*"),
        ("cp", front_end.cp(sources / ".." / "one_auth"), "Not allowed to copy image from .*"),
        ("cp", front_end.cp(sources / "away"), "Not allowed to copy image from .*/away, .*"),
        ("cp", front_end.cp("etc/passwd"), "The source 'etc/passwd' is neither an absolute path nor a URL"),
        ("cp", front_end.cp("quux://host/x"), r"Images cannot be imported from 'quux://' \(use a path, .*"),
        ("cp", front_end.cp("ssh://host/x"), r"'ssh://host/x' is not a source \(write ssh://\[user@\]host:path\)"),
        ("cp", front_end.cp("http://127.0.0.1:9/a b"), "'http://127.0.0.1:9/a b' is not a URL"),
        ("cp", front_end.cp("http://127.0.0.1:9/a"), "Cannot .*127.0.0.1:9.*[Rr]efused.*"),
        ("cp", front_end.cp(sources / "none"), r"Cannot read .*/none: No such file or directory on .*"),
        ("cp", front_end.cp(sources / "folder"), "The source .*/folder is a directory.*"),
        ("cp", front_end.cp(sources / "big.qcow2"), ".*/big.qcow2 has a virtual size of 64 MB, more than the 8 MB .*"),
        ("cp", front_end.cp(sources / "overlay.qcow2"), ".*/overlay.qcow2 .*(backing|refers).*"),
        ("cp", front_end.cp(sources / "packed.gz"), ".*/packed.gz is broken: gzip says .*"),
        ("cp", front_end.cp(sources / "a.img", attributes={"BASE_PATH": "x/1"}), ".*'x/1' is not an absolute path"),
        ("cp", front_end.cp(sources / "a.img", attributes={"BASE_PATH": f"{root}/../1"}), ".* contains '..'"),
        ("cp", front_end.cp(sources / "a.img", attributes={"BASE_PATH": f"{root}/a b"}), ".* has blanks"),
        ("cp", front_end.cp(sources / "a.img", attributes={"BRIDGE_LIST": "-h"}), "'-h' is not the name of a host"),
        ("stat", front_end.stat("/etc/passwd"), "Not allowed to copy image from /etc/passwd, .*"),
        ("stat", front_end.stat(sources / "none"), "Cannot read .*/none: No such file or directory on .*"),
        ("mkfs", front_end.mkfs(size=0), "The size 0 MB is not possible: .*"),
        ("mkfs", front_end.mkfs(size=-5), "The size -5 MB is not possible: .*"),
        ("mkfs", front_end.mkfs(image_format="vmdk"), "value of format must be one of: .*, got: vmdk"),
        ("mkfs", front_end.mkfs(fs="ntfs"), "Unsupported file system type 'ntfs': SUPPORTED_FS has ext2, .*"),
        ("mkfs", front_end.mkfs(fs="ext4 -d /etc"), "Unsupported file system type 'ext4 -d /etc': .*"),
        ("clone", front_end.clone(f"{inside}/none"), "The image .*/100/none is not there on .*"),
        ("clone", front_end.clone("image"), "The image 'image' is not an absolute path.*"),
        ("rm", front_end.rm("/etc/passwd"), "The image /etc/passwd is not inside .*/datastores/100.*"),
        ("rm", front_end.rm(f"{inside}/../104/image"), "The image .* contains '..'.*"),
        ("rm", front_end.rm(inside), "The image .* is not inside .*"),
        ("rm", front_end.rm(f"{inside}/"), "The image .* is not inside .*"),
        ("rm", front_end.rm(f"{inside}/.one_storage"), ".* is not an image of .*"),
        ("rm", front_end.rm(f"{inside}/a/b"), ".* is not an image of .*"),
        ("rm", front_end.rm("/etc/passwd", attributes={"BASE_PATH": "/"}), "The image /etc/passwd is not inside /.*"),
        ("monitor", front_end.monitor(attributes={"BASE_PATH": "x"}), ".*'x' is not an absolute path"),
    ]  # fmt: skip


def test_documents(front_end: FrontEnd) -> None:
    rows = _documents(front_end)
    before = front_end.state()
    for action, stdin, wanted in rows:
        refused(front_end, front_end.run(f"datastore/fs/{action}", "1", stdin=stdin), wanted, before)


# ---------------------------------------------------------------- nothing of it is run


#: Texts that a shell, a template engine or a command's option parser would act upon.
ODD = [
    "with blanks",
    "$(touch canary)",
    "`touch canary`",
    "a;touch canary",
    "a' ; touch canary ; '",
    'a" ; touch canary ; "',
    "a\ntouch canary\n",
    "a|touch canary",
    "{{ lookup('pipe', 'touch canary') }}",
    "{% for x in lookup('pipe', 'touch canary') %}{% endfor %}",
    "-rf",
    "--help",
    "json:{}",
    "a:b=c,d",
    "*",
    "~",
    "é \u2028 💾",
]


def test_odd_names_are_only_names(front_end: FrontEnd) -> None:
    """A file may be called anything: it is imported, sized and put into a context image under its name."""
    for number, name in enumerate(ODD, 1):
        source = front_end.raw(front_end.sources / name)
        said = front_end.run("datastore/fs/cp", "1", stdin=front_end.cp(source, number=number, mad="ssh"))
        assert said.code == 0 and re.fullmatch(r"INFO: cp: imported [^\n]*\n", said.err), (name, said)
        copy, image_format = said.out.split()
        assert Path(copy).read_bytes() == source.read_bytes() and image_format == "raw"
        said = front_end.run("datastore/fs/stat", "1", stdin=front_end.stat(source))
        assert (said.code, said.out) == (0, "1\n"), (name, said)
    assert not list(front_end.root.rglob("canary"))
    assert not Path("canary").exists()


def test_odd_texts_everywhere_else(front_end: FrontEnd) -> None:
    image, disk = front_end.image("qcow2"), front_end.disk("qcow2")
    before = front_end.state()
    for text in ODD:
        calls: list[Said] = [
            front_end.run("tm/qcow2/clone", f"{image}{text}", disk, "7", "100"),
            front_end.run("tm/qcow2/clone", image, f"{text}:{disk.partition(':')[2]}"),
            front_end.run("tm/qcow2/clone", image, disk, text),
            front_end.run("tm/qcow2/mkimage", "1", text, disk),
            front_end.run("tm/ssh/context", f"/none/{text}", front_end.disk("ssh")),
            front_end.run("datastore/fs/mkfs", "1", stdin=front_end.mkfs(fs=text)),
            front_end.run("datastore/fs/mkfs", "1", stdin=front_end.mkfs(image_format=text)),
            front_end.run("datastore/fs/clone", "1", stdin=front_end.clone(f"{front_end.root}/{text}")),
            front_end.run("datastore/fs/cp", "1", stdin=front_end.cp(f"/none/{text}")),
            front_end.run("datastore/fs/cp", "1", stdin=front_end.cp(text)),
        ]
        for said in calls:
            assert said.code != 0 and said.out == "" and said.reason, (text, said)
            assert "unexpected" not in said.err, said.err
    # what is gone is removed: that is no error, and nothing else goes
    for text in ("with blanks", "$(touch canary)", "*", "{{ lookup('pipe', 'touch canary') }}"):
        said = front_end.run("datastore/fs/rm", "1", stdin=front_end.rm(f"{front_end.store(100)}/{text}"))
        assert (said.code, said.out) == (0, ""), said
    assert front_end.state() == before
    assert not list(front_end.root.rglob("canary")) and not Path("canary").exists()


# ---------------------------------------------------------------- oned


def _clone(front_end: FrontEnd, **env: str) -> Said:
    image, disk = front_end.image("qcow2"), front_end.disk("qcow2")
    return front_end.run("tm/qcow2/clone", image, disk, "7", "100", env=env)


ONED: list[tuple[str, Callable[[FrontEnd], dict[str, str]], str]] = []


def _oned(name: str, wanted: str) -> Callable[[Callable[[FrontEnd], dict[str, str] | None]], None]:
    def keep(prepare: Callable[[FrontEnd], dict[str, str] | None]) -> None:
        ONED.append((name, lambda front_end: prepare(front_end) or {}, wanted))

    return keep


@_oned("silent", r"oned did not answer at http://127.0.0.1:\d+/RPC2 within 1 seconds")
def _silent(front_end: FrontEnd) -> dict[str, str]:
    front_end.server.faults.delay = 30
    return {"ONE_STORAGE_ONED_TIMEOUT": "1"}


@_oned("refuses", r"oned does not answer at http://127.0.0.1:\d+/RPC2: connection refused")
def _refuses(front_end: FrontEnd) -> dict[str, str]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return {"ONE_XMLRPC": f"http://127.0.0.1:{taken.getsockname()[1]}/RPC2"}


@_oned("hangs up", r"http://127.0.0.1:\d+/RPC2 does not answer like oned: ''")
def _hangs_up(front_end: FrontEnd) -> None:
    front_end.server.faults.hang_up = True


@_oned("wrong session", "oned does not give datastore 100: .*authenticated.*")
def _wrong(front_end: FrontEnd) -> None:
    front_end.server.faults.wrong_auth = True


@_oned("no session", r"Cannot read the credentials for oned in /none: No such file or directory \(set ONE_AUTH\)")
def _none(front_end: FrontEnd) -> dict[str, str]:
    return {"ONE_AUTH": "/none"}


@_oned("not XML", "oned's answer is not XML: .*")
def _garbage(front_end: FrontEnd) -> None:
    front_end.server.faults.garbage = b"It works!"


@_oned("no VM", r"oned does not give VM 7: \[one.vm.info\] Error getting virtual machine \[7\]\.")
def _no_vm(front_end: FrontEnd) -> None:
    front_end.oned.vms.clear()


@_oned("no address", "ONE_XMLRPC is 'here', which is not an http or https address")
def _no_address(front_end: FrontEnd) -> dict[str, str]:
    return {"ONE_XMLRPC": "here"}


@_oned("setting", r"ONE_STORAGE_ONED_TIMEOUT is 'soon' in the environment: it must be a whole number .*")
def _setting(front_end: FrontEnd) -> dict[str, str]:
    return {"ONE_STORAGE_ONED_TIMEOUT": "soon"}


@_oned("launcher", "ONE_STORAGE_LAUNCHER is 'magic' in the environment: it must be one of .*")
def _launcher(front_end: FrontEnd) -> dict[str, str]:
    return {"ONE_STORAGE_LAUNCHER": "magic"}


@_oned("open quote", "QCOW2_OPTIONS has an open quote")
def _quote(front_end: FrontEnd) -> dict[str, str]:
    return {"QCOW2_OPTIONS": "'a"}


@pytest.mark.parametrize(("name", "prepare", "wanted"), ONED, ids=[row[0] for row in ONED])
def test_an_oned_that_does_not_help(
    front_end: FrontEnd, name: str, prepare: Callable[[FrontEnd], dict[str, str]], wanted: str
) -> None:
    env = prepare(front_end)
    before = front_end.state()
    begin = time.monotonic()
    refused(front_end, _clone(front_end, **env), wanted, before)
    assert time.monotonic() - begin < 20


# ---------------------------------------------------------------- hosts


def _fake_ssh(front_end: FrontEnd, script: str) -> dict[str, str]:
    """An ssh that does this; what real ones do is tested on the lab."""
    path = front_end.root / "ssh"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return {"ONE_STORAGE_SSH": str(path), "ONE_STORAGE_LAUNCHER": "ssh", "ONE_STORAGE_CONNECT_TIMEOUT": "1"}


LOGIN = "Cannot log in to host01: "


@pytest.mark.parametrize(
    ("script", "wanted"),
    [
        ("echo 'ssh: connect to host h port 22: Connection refused' >&2; exit 255", LOGIN + "ssh: .* refused"),
        ("echo 'ssh: Could not resolve hostname h: Name or service not known' >&2; exit 255", LOGIN + ".*not known"),
        ("echo 'me@h: Permission denied (publickey).' >&2; exit 255", LOGIN + r".*Permission denied .*\(let .*\)"),
        ("echo 'Host key verification failed.' >&2; exit 255", LOGIN + r".* \(add the host's key .*\)"),
        ("exec cat", "host01 does not answer within 1 seconds"),
        ("echo hello", "(Cannot log in to|Python does not start on) host01.*"),
        ("echo \"sh: can't open file '/var/tmp/one/one_storage/node.py'\" >&2; exit 2", "host01 .*none of our files.*"),
    ],
)  # fmt: skip
def test_a_host_that_does_not_help(front_end: FrontEnd, script: str, wanted: str) -> None:
    env = _fake_ssh(front_end, script)
    before = front_end.state()
    image, disk = front_end.image("qcow2"), front_end.disk("qcow2").replace("localhost", "host01")
    begin = time.monotonic()
    said = front_end.run("tm/qcow2/clone", image, disk, "7", "100", env=env)
    refused(front_end, said, wanted, before)
    assert time.monotonic() - begin < 20


def test_in_process_does_not_reach_a_node(front_end: FrontEnd) -> None:
    before = front_end.state()
    said = front_end.run("tm/qcow2/delete", front_end.disk("qcow2").replace("localhost", "host01"))
    wanted = r"The launcher in_process cannot reach host01 \(set LAUNCHER to auto, ssh or ansible\)"
    refused(front_end, said, wanted, before)


# ---------------------------------------------------------------- this machine

#: Runs a command where a tool is missing or a datastore is small, in mounts of its own.
HIDE = 'mount --bind /dev/null "$1" && shift && exec "$@"'
SMALL = 'mount -t tmpfs -o size=1m,mode=755 none "$1" && cd "$1" && shift && "$@"; code=$?; find . >&3; exit $code'

needs_root = pytest.mark.skipif(not ROOT, reason="needs root for mounts and other users")


def _own_mounts(script: str, *arguments: str) -> list[str]:
    return ["unshare", "--mount", "--propagation", "private", "--", "/bin/sh", "-c", script, "sh", *arguments]


@needs_root
@pytest.mark.parametrize(
    ("tool", "wrapper"),
    [("qemu-img", "mkfs"), ("mkfs.ext4", "mkfs"), ("qemu-img", "clone"), ("setpriv", "mkfs"), ("xorriso", "context")],
)
def test_a_missing_tool(front_end: FrontEnd, tool: str, wrapper: str) -> None:
    path = next(
        path for path in (Path("/usr/bin", tool), Path("/usr/sbin", tool), Path("/sbin", tool)) if path.exists()
    )
    hidden = _own_mounts(HIDE, str(path.resolve()))
    calls: dict[str, tuple[str, list[str], bytes]] = {
        "mkfs": ("datastore/fs/mkfs", ["1"], front_end.mkfs(fs="ext4", image_format="qcow2")),
        "clone": ("tm/ssh/clone", [front_end.image("ssh"), front_end.disk("ssh"), "7", "104"], b""),
        "context": ("tm/qcow2/context", ["/etc/hostname", front_end.disk("qcow2"), "7", "101"], b""),
    }
    if wrapper == "clone":
        front_end.vm("raw", SIZE="2")
    before = front_end.state()
    name, arguments, stdin = calls[wrapper]
    said = front_end.run(name, *arguments, stdin=stdin, before=hidden)
    refused(front_end, said, f".*{re.escape(tool)} is not installed.*", before)
    if (tool, wrapper) == ("qemu-img", "mkfs"):
        # the same call with everything there
        assert front_end.run(name, *arguments, stdin=stdin).code == 0


@needs_root
@pytest.mark.parametrize("action", ["cp", "mkfs", "clone", "mkswap"])
def test_a_full_disk(front_end: FrontEnd, action: str, tmp_path: Path) -> None:
    source = front_end.sources / "full.img"
    source.write_bytes(os.urandom(4 << 20))
    listing = tmp_path / "listing"
    calls: dict[str, tuple[str, list[str], bytes]] = {
        "cp": ("datastore/fs/cp", ["1"], front_end.cp(source)),
        "mkfs": ("datastore/fs/mkfs", ["1"], front_end.mkfs(size=8192, fs="ext4")),
        "clone": ("tm/shared/clone", [f"x:{source}", front_end.disk("qcow2"), "7", "100"], b""),
        "mkswap": ("tm/qcow2/mkswap", ["1", front_end.disk("qcow2"), "7", "101"], b""),
    }
    name, arguments, stdin = calls[action]
    store = front_end.store(100 if name.startswith("datastore") else 101)
    script = SMALL.replace(">&3", f">{shlex.quote(str(listing))}")
    if action == "mkswap":
        # not a byte is left for the journal
        script = script.replace('cd "$1"', 'cd "$1" && { head -c 2m /dev/zero >fill 2>/dev/null; true; }')
    before = front_end.state()
    said = front_end.run(name, *arguments, stdin=stdin, before=_own_mounts(script, str(store)))
    refused(front_end, said, ".*No space left on device.*", before)
    left = set(listing.read_text().split()) - {".", "./fill", "./.one_storage", "./.one_storage/locks"}
    assert left == set()


@needs_root
@pytest.mark.parametrize("action", ["cp", "mkfs", "rm", "clone", "delete", "monitor"])
def test_no_permission(front_end: FrontEnd, action: str) -> None:
    nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]
    (front_end.root / "one_auth").chmod(0o644)
    inside = f"{front_end.root}//datastores/100"
    calls: dict[str, tuple[str, list[str], bytes, str]] = {
        "cp": ("datastore/fs/cp", ["1"], front_end.cp(front_end.sources / "a.img"), ".*Permission denied.*"),
        "mkfs": ("datastore/fs/mkfs", ["1"], front_end.mkfs(), ".*Permission denied.*"),
        "rm": ("datastore/fs/rm", ["1"], front_end.rm(f"{inside}/image"), ".*Permission denied.*"),
        "clone": ("tm/qcow2/clone", [front_end.image("qcow2"), front_end.disk("qcow2")], b"", ".*Permission denied.*"),
        "delete": ("tm/qcow2/delete", [front_end.disk("qcow2")], b"", ".*Permission denied.*"),
        "monitor": (
            "datastore/fs/monitor",
            ["1"],
            front_end.monitor(attributes={"BASE_PATH": f"{inside}/new"}),
            "Cannot look at the space of the datastore .*: Permission denied.*",
        ),
    }
    (front_end.store(101) / str(VM)).mkdir()
    front_end.raw(front_end.store(101) / str(VM) / "disk.0")
    name, arguments, stdin, wanted = calls[action]
    before = front_end.state()
    refused(front_end, front_end.run(name, *arguments, stdin=stdin, before=nobody), wanted, before)


@needs_root
def test_a_source_that_may_not_be_read(front_end: FrontEnd) -> None:
    nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]
    secret = front_end.raw(front_end.sources / "secret.img")
    secret.chmod(0o600)
    before = front_end.state()
    front_end.store(100).chmod(0o777)
    before = front_end.state()
    for action in ("cp", "stat"):
        stdin = getattr(front_end, action)(secret)
        said = front_end.run(f"datastore/fs/{action}", "1", stdin=stdin, before=nobody)
        refused(front_end, said, r"Cannot read .*/secret.img: Permission denied on .*", before)


# ---------------------------------------------------------------- standard streams

CLOSE = 'eval "exec $1"; shift; exec "$@"'


def _closed(how: str) -> list[str]:
    return ["/bin/sh", "-c", CLOSE, "sh", how]


def test_closed_stdin(front_end: FrontEnd) -> None:
    before = front_end.state()
    said = front_end.run("datastore/fs/cp", "1", before=_closed("0<&-"))
    refused(front_end, said, "There is no document on stdin", before)


@pytest.mark.parametrize("how", ["2>&-", "0<&- 2>&-"])
def test_closed_stderr_changes_nothing(front_end: FrontEnd, how: str) -> None:
    """A closed stream's number would be given to the next file that is opened: an image with a log line in it."""
    env = {"ONE_STORAGE_TRACE": "1"}
    said = front_end.run(
        "tm/qcow2/clone", front_end.image("qcow2"), front_end.disk("qcow2"), before=_closed(how), env=env
    )
    assert (said.code, said.out, said.err) == (0, "", "")
    disk = front_end.store(101) / str(VM) / "disk.0"
    assert disk.read_bytes() == (front_end.store(100) / "image").read_bytes()
    # a failure has nobody to tell, but it is one
    assert front_end.run("tm/qcow2/clone", "x", before=_closed(how)).code == 1


def test_closed_stdout_is_an_answer_that_failed(front_end: FrontEnd) -> None:
    stdin = front_end.cp(front_end.sources / "a.img", mad="ssh")
    said = front_end.run("datastore/fs/cp", "1", stdin=stdin, before=_closed("1>&-"))
    assert said.code == 1 and said.reason
    # and is made good by the next call
    said = front_end.run("datastore/fs/cp", "1", stdin=stdin)
    assert said.code == 0 and said.out.endswith(" raw\n") and front_end.hidden() == []


def test_what_is_not_here(front_end: FrontEnd, remotes: Path) -> None:
    """A wrapper linked under another name, as stock names some, says what it cannot do."""
    before = front_end.state()
    for name, wanted in (
        ("tm/qcow2/recovery", "recovery: Operation not supported"),
        ("datastore/fs/restore", "restore: Operation not supported"),
        ("tm/none/clone", "There is no tm driver 'none': this build has [a-z0-9_, ]*qcow2, shared, ssh"),
    ):
        path = remotes / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes((remotes / "tm/qcow2/clone").read_bytes())
        path.chmod(0o755)
        arguments = [front_end.image("qcow2"), front_end.disk("qcow2")] if name.startswith("tm") else ["1"]
        try:
            refused(front_end, front_end.run(name, *arguments), wanted, before)
        finally:
            path.unlink()


def test_stores_are_all_there(front_end: FrontEnd) -> None:
    assert {number for pair in STORES.values() for number in pair} == set(front_end.oned.datastores)
