# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What monitord is told: its configuration, the messages as a receiver reads them, keys, and faults.

Messages go over a real socket; what was encrypted is decrypted by openssl.
"""

from __future__ import annotations

import base64
import os
import re
import socket
import subprocess
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils._errors import BadCall, Missing, StorageError, Unreachable
from plugins.plugin_utils import monitord
from plugins.plugin_utils.monitord import DATAGRAM_BYTES, Monitord, Target, disk_list, network, settings, vm_lines
from plugins.plugin_utils.rsa import read_key

#: What stock installs, shortened.
STOCK = """
#*******************************************************************************
# NETWORK = [ PORT = 1 ] is a comment
#*******************************************************************************
MANAGER_TIMER = 15
LOG = [ SYSTEM = "FILE", DEBUG_LEVEL = 3 ]
NETWORK = [
    ADDRESS         = "0.0.0.0", # all of them
    MONITOR_ADDRESS = "auto",
    PORT    = 4124,
    THREADS = 16,
    PUBKEY  = "",
    PRIKEY  = ""
]
PROBES_PERIOD = [ BEACON_HOST = 30, MONITOR_VM = 30 ]
"""


class Receiver:
    """A socket on this machine that takes messages apart as monitord does."""

    def __init__(self, family: socket.AddressFamily = socket.AF_INET) -> None:
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.socket.bind(("127.0.0.1" if family == socket.AF_INET else "::1", 0))
        self.port: int = self.socket.getsockname()[1]

    def messages(self) -> list[tuple[list[str], bytes]]:
        """Head and payload of everything that has come."""
        found: list[tuple[list[str], bytes]] = []
        self.socket.setblocking(False)
        while True:
            try:
                data = self.socket.recv(1 << 17)
            except BlockingIOError:
                return found
            assert data.endswith(b"\n") and data.count(b"\n") == 1
            *head, payload = data.decode("ascii").split()
            found.append((head, zlib.decompress(base64.b64decode(payload, validate=True))))

    def vms(self, decrypt: Callable[[bytes], bytes] = bytes) -> dict[int, str]:
        """The decoded disk lists of all VMs."""
        found = {}
        for head, payload in self.messages():
            assert head == ["MONITOR_VM", "SUCCESS", "-1", "0"]
            for line in decrypt(payload).decode().splitlines():
                match = re.fullmatch(r'VM=\[ID=(\d+), MONITOR="([A-Za-z0-9+/=]*)"\]', line)
                assert match, line
                assert int(match[1]) not in found
                found[int(match[1])] = base64.b64decode(match[2], validate=True).decode()
        return found


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.socket.close()


def vm(number: int, disks: int = 1, snapshots: int = 0) -> dict[str, Any]:
    return {
        "id": number,
        "disks": [
            {
                "id": disk,
                "size_mb": 100 * number + disk,
                "snapshots": [{"id": at, "size_mb": number + at} for at in range(snapshots)],
            }
            for disk in range(disks)
        ],
    }


# ---------------------------------------------------------------- messages


def test_the_list_of_a_vm() -> None:
    assert disk_list(vm(7, 2, 2)) == (
        "DISK_SIZE = [ ID=0, SIZE=700 ]\n"
        "SNAPSHOT_SIZE = [ ID=0, DISK_ID=0, SIZE=7 ]\n"
        "SNAPSHOT_SIZE = [ ID=1, DISK_ID=0, SIZE=8 ]\n"
        "DISK_SIZE = [ ID=1, SIZE=701 ]\n"
        "SNAPSHOT_SIZE = [ ID=0, DISK_ID=1, SIZE=7 ]\n"
        "SNAPSHOT_SIZE = [ ID=1, DISK_ID=1, SIZE=8 ]\n"
    )
    [line] = vm_lines([vm(7)], "{id}: {text}")
    assert base64.b64decode(line.removeprefix("7: ")).decode() == "DISK_SIZE = [ ID=0, SIZE=700 ]\n"


def test_one_vm_is_one_message(receiver: Receiver) -> None:
    Monitord(Target(port=receiver.port)).send_vms([vm(7, 2, 3)])
    assert receiver.vms() == {7: disk_list(vm(7, 2, 3))}


def test_many_vms_are_several_messages(receiver: Receiver) -> None:
    """A thousand VMs do not fit into a datagram (Q23)."""
    many = [vm(number, 2, 3) for number in range(1000)]
    Monitord(Target(port=receiver.port)).send_vms(many)
    assert receiver.vms() == {each["id"]: disk_list(each) for each in many}


def test_nothing_to_say_is_no_message(receiver: Receiver) -> None:
    Monitord(Target(port=receiver.port)).send_vms([])
    assert receiver.messages() == []


def test_an_address_of_the_newer_kind() -> None:
    receiver = Receiver(socket.AF_INET6)
    Monitord(Target("::1", receiver.port)).send_vms([vm(1)])
    assert list(receiver.vms()) == [1]
    receiver.socket.close()


def test_a_vm_that_fits_into_no_message(receiver: Receiver) -> None:
    large = vm(1, 2000, 3)
    # numbers that do not compress
    for disk in large["disks"]:
        for snapshot in disk["snapshots"]:
            snapshot["size_mb"] = int.from_bytes(os.urandom(12), "big")
    with pytest.raises(StorageError, match="has [0-9]+ bytes, too many for a message"):
        Monitord(Target(port=receiver.port)).send_vms([vm(2), large])


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (Target("127.0.0.1", 1), ""),
        (Target("host.invalid"), "Cannot send to monitord at host.invalid:4124: "),
        (Target("a" * 70 + "."), "Cannot send to monitord at a+.:4124: "),
        (Target(key="/nonexistent"), "Cannot read the public key /nonexistent: No such file or directory"),
    ],
)
def test_faults(target: Target, words: str) -> None:
    if not words:
        # nobody listens: with UDP that is no error, or one that the second message tells
        try:
            Monitord(target).send_vms([vm(number, 2, 3) for number in range(1000)])
        except Unreachable as error:
            assert str(error) == "Cannot send to monitord at 127.0.0.1:1: Connection refused"
        return
    with pytest.raises((Unreachable, Missing), match=words):
        Monitord(target).send_vms([vm(1)])


# ---------------------------------------------------------------- keys


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keys of the kinds that there are, made by openssl."""
    folder = tmp_path_factory.mktemp("keys")
    for bits in (1024, 2048, 3000):
        openssl("genrsa", "-out", folder / f"{bits}", str(bits))
        openssl("rsa", "-in", folder / f"{bits}", "-pubout", "-out", folder / f"{bits}.pub")
        openssl("rsa", "-in", folder / f"{bits}", "-RSAPublicKey_out", "-out", folder / f"{bits}.rsa")
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", folder / "ec")
    openssl("ec", "-in", folder / "ec", "-pubout", "-out", folder / "ec.pub")
    (folder / "text").write_text("no key at all\n")
    (folder / "empty").touch()
    (folder / "cut").write_text((folder / "2048.pub").read_text()[:200] + "\n-----END PUBLIC KEY-----\n")
    return folder


def openssl(*argv: str | Path, stdin: bytes = b"") -> bytes:
    done = subprocess.run(["openssl", *map(str, argv)], input=stdin, capture_output=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout


def decrypted(key: Path, size: int) -> Callable[[bytes], bytes]:
    """What monitord does with a payload: block by block."""

    def decrypt(payload: bytes) -> bytes:
        assert len(payload) % size == 0
        blocks = (payload[start : start + size] for start in range(0, len(payload), size))
        command = ("pkeyutl", "-decrypt", "-inkey", key, "-pkeyopt", "rsa_padding_mode:pkcs1")
        return b"".join(openssl(*command, stdin=block) for block in blocks)

    return decrypt


@pytest.mark.parametrize(("name", "size"), [("1024.pub", 128), ("2048.pub", 256), ("2048.rsa", 256), ("3000.rsa", 375)])
def test_encrypted_messages_are_read_with_the_private_key(keys: Path, receiver: Receiver, name: str, size: int) -> None:
    some = [vm(number, 2, 3) for number in range(3)]
    Monitord(Target(port=receiver.port, key=str(keys / name))).send_vms(some)
    found = receiver.vms(decrypted(keys / name.partition(".")[0], size))
    assert found == {each["id"]: disk_list(each) for each in some}


def test_each_block_is_filled_up_anew(keys: Path) -> None:
    """PKCS#1 v1.5 is only worth anything with random bytes before the data, none of them zero."""
    key = read_key(str(keys / "1024.pub"))
    assert key.size == 128
    blocks = [key.encrypt(b"x") for _number in range(50)]
    assert len(set(blocks)) == 50
    for block in blocks[:10]:
        assert decrypted(keys / "1024", 128)(block) == b"x"
    assert len(key.encrypt(b"x" * 117)) == 128 and len(key.encrypt(b"x" * 118)) == 256 and key.encrypt(b"") == b""


def test_encrypted_messages_of_many_vms_fit(keys: Path, receiver: Receiver) -> None:
    key = str(keys / "1024.pub")
    Monitord(Target(port=receiver.port, key=key)).send_vms([vm(number, 2, 3) for number in range(1000)])
    sizes = [len(base64.b64encode(zlib.compress(payload))) for _head, payload in receiver.messages()]
    assert len(sizes) > 10 and max(sizes) < DATAGRAM_BYTES


@pytest.mark.parametrize("name", ["text", "empty", "cut", "ec.pub", "2048", "ec"])
def test_files_that_are_no_rsa_public_key(keys: Path, name: str) -> None:
    with pytest.raises(BadCall, match=f"{keys / name} is not an RSA public key in PEM form"):
        read_key(str(keys / name))


# ---------------------------------------------------------------- configuration


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (STOCK, {"MONITOR_ADDRESS": "auto", "PORT": "4124", "PUBKEY": "", "ADDRESS": "0.0.0.0"}),
        ('NETWORK=[PORT="5",MONITOR_ADDRESS="a,b]=#c"]', {"PORT": "5", "MONITOR_ADDRESS": "a,b]=#c"}),
        ('NETWORK = [ pubkey = "/etc/one/a \\"b\\".pem" ]', {"PUBKEY": '/etc/one/a "b".pem'}),
        ("NETWORK = [ PORT = 7 # seven\n]", {"PORT": "7"}),
        ("", {}),
        ("NETWORK = [", {}),
        ("NETWORK = [ PORT = ]", {}),
        ('NETWORK = "x"', {}),
        ("OTHER = [ PORT = 1 ]", {}),
        ('NETWORK = [ PORT = "5', {"PORT": "5"}),
    ],
)
def test_the_configuration_is_read(text: str, wanted: dict[str, str]) -> None:
    found = network(text)
    assert {name: found.get(name) for name in wanted} == wanted
    assert bool(found) is bool(wanted)


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The three places of a configuration, in a folder of one's own."""
    found = [tmp_path / name / "etc" / "monitord.conf" for name in ("db", "one", "location")]
    for path in found:
        path.parent.mkdir(parents=True)
    monkeypatch.setattr(monitord, "PLACES", tuple(str(path) for path in found[:2]))
    monkeypatch.setenv("ONE_LOCATION", str(tmp_path / "location"))
    return found


def test_the_first_configuration_that_is_there_counts(places: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings() is None
    for path in reversed(places):
        path.write_text(STOCK.replace("4124", str(1000 + len(path.parts[-3]))))
        found = settings()
        assert found and (found.port, found.address, found.key) == (1000 + len(path.parts[-3]), "127.0.0.1", "")
    for path in places[:2]:
        path.unlink()
    monkeypatch.delenv("ONE_LOCATION")
    assert settings() is None


def test_an_address_and_a_key_are_taken(places: list[Path]) -> None:
    places[1].write_text('NETWORK = [ MONITOR_ADDRESS = "10.0.0.1", PUBKEY = "/etc/one/key.pem" ]')
    found = settings()
    assert found and (found.address, found.port, found.key) == ("10.0.0.1", 4124, "/etc/one/key.pem")


@pytest.mark.parametrize("port", ["0", "65536", "x", "", "-1", "٣"])
def test_ports_that_there_are_not(places: list[Path], port: str) -> None:
    places[0].write_text(f'NETWORK = [ PORT = "{port}" ]')
    with pytest.raises(BadCall, match="for PORT"):
        settings()


def test_a_configuration_of_somebody_else_is_not_believed(places: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody may make the first of the places, which is below /var/tmp."""
    places[0].write_text(STOCK)
    if os.geteuid() == 0:
        os.chown(places[0], 12345, 12345)
    else:
        monkeypatch.setattr(os, "getuid", lambda: 12345)
    assert settings() is None
    if os.geteuid() == 0:
        os.chown(places[0], 0, 0)
    else:
        monkeypatch.undo()
        monkeypatch.setattr(monitord, "PLACES", (str(places[0]),))
    assert settings() is not None
