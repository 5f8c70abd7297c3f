# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Templates out of backups: what is left out, against recorded VMs; tokens of users; repositories by attributes."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from lxml import etree

from plugins.module_utils._errors import BadCall, NoAccess
from plugins.plugin_utils.repositories import repository_options
from plugins.plugin_utils.restored import DROPPED, Wishes, image_template, vm_of, vm_template
from plugins.plugin_utils.server_auth import token
from tests.lab.oned.users import Users
from tests.unit.door.support import CAPTURES, sentence

VMS = sorted(path.name for path in CAPTURES.glob("*.show-x.onevm.*.xml"))


def template(inner: str, user: str = "", wishes: Wishes | None = None, images: dict[int, int] | None = None,
             tpm: str = "") -> etree._Element:  # fmt: skip
    """The template that comes of a VM with this inside."""
    vm = etree.fromstring(f"<VM><ID>5</ID><TEMPLATE>{inner}</TEMPLATE><USER_TEMPLATE>{user}</USER_TEMPLATE></VM>")
    text, _notes = vm_template(vm, wishes or Wishes(), "new", images or {}, tpm)
    return etree.fromstring(text)


def flat(root: etree._Element) -> dict[str, str]:
    """Texts by path."""
    tree = root.getroottree()
    return {tree.getpath(node).removeprefix("/TEMPLATE/"): node.text or "" for node in root.iter() if not len(node)}


@pytest.mark.parametrize("name", VMS)
def test_nothing_that_oned_put_in_comes_back(name: str) -> None:
    vm = vm_of((CAPTURES / name).read_bytes())
    text, notes = vm_template(vm, Wishes(), "new", {0: 70, 1: 71}, "")
    root = etree.fromstring(text)
    assert root.tag == "TEMPLATE" and notes == []
    for key, dropped in DROPPED.items():
        for node in root.findall(key) if key else [root]:
            assert not {str(child.tag) for child in node} & set(dropped), key
    disks = root.findall("DISK")
    assert [disk.findtext("IMAGE_ID") for disk in disks] == ["70", "71", None]
    assert [disk.findtext("TYPE") for disk in disks] == [None, None, "fs"]
    assert disks[2].findtext("SIZE") and disks[0].findtext("SIZE") is None
    assert root.findtext("NAME") == "new" and root.findtext("MEMORY") and root.findtext("CPU")
    assert root.findtext("CONTEXT/HELLO") == "world" and root.findtext("CONTEXT/DISK_ID") is None
    assert root.findtext("OS/MACHINE") and root.findtext("OS/UUID") is None


NIC = (
    "<NIC><NIC_ID>0</NIC_ID><NETWORK>n</NETWORK><NETWORK_ID>1</NETWORK_ID><MAC>02</MAC><IP>1</IP><IP6>f</IP6>"
    "<MODEL>virtio</MODEL></NIC>"
)
TABLE = {
    "addresses: one of them": (NIC, {}, {"NIC/NETWORK": "n", "NIC/IP": "1", "NIC/MODEL": "virtio"}),
    "addresses: IP6": ("<NIC><MAC>02</MAC><IP6>f</IP6></NIC>", {}, {"NIC/IP6": "f"}),
    "addresses: MAC": ("<NIC><MAC>02</MAC></NIC>", {}, {"NIC/MAC": "02"}),
    "no address": (NIC, {"no_ip": True}, {"NIC/NETWORK": "n", "NIC/MODEL": "virtio"}),
    "no NIC": (NIC + "<NIC_ALIAS><IP>1</IP></NIC_ALIAS><CPU>1</CPU>", {"no_nic": True}, {"CPU": "1"}),
    "alias": ("<NIC_ALIAS><NIC_ID>2</NIC_ID><PARENT>NIC0</PARENT></NIC_ALIAS>", {}, {"NIC_ALIAS/PARENT": "NIC0"}),
    "context": (
        "<CONTEXT><DISK_ID>1</DISK_ID><ETH0_IP>1</ETH0_IP><ETH12_MAC>1</ETH12_MAC><PCI0_ADDRESS>1</PCI0_ADDRESS>"
        "<METHOD>mine</METHOD><NETWORK>YES</NETWORK></CONTEXT>", {},
        {"CONTEXT/METHOD": "mine", "CONTEXT/NETWORK": "YES"}),
    "graphics": ("<GRAPHICS><PORT>5905</PORT><TYPE>VNC</TYPE></GRAPHICS>", {}, {"GRAPHICS/TYPE": "VNC"}),
    "numa": ("<NUMA_NODE><CPUS>0</CPUS><NODE_ID>0</NODE_ID><MEMORY>1</MEMORY></NUMA_NODE>", {},
             {"NUMA_NODE/MEMORY": "1"}),
    "PCI": ("<PCI><ADDRESS>a</ADDRESS><BUS>1</BUS><SHORT_ADDRESS>a</SHORT_ADDRESS><VENDOR>v</VENDOR></PCI>", {},
            {"PCI/VENDOR": "v"}),
    "CD-ROM keeps its image": (
        "<DISK><DISK_ID>0</DISK_ID><TYPE>CDROM</TYPE><IMAGE_ID>9</IMAGE_ID><SIZE>1</SIZE></DISK>", {},
        {"DISK/IMAGE_ID": "9"}),
    "a volatile disk in the backup": (
        "<DISK><DISK_ID>1</DISK_ID><TYPE>fs</TYPE><SIZE>1</SIZE></DISK>", {}, {"DISK/IMAGE_ID": "71"}),
    "a swap disk": ("<DISK><DISK_ID>4</DISK_ID><TYPE>swap</TYPE><SIZE>1</SIZE></DISK>", {},
                    {"DISK/TYPE": "swap", "DISK/SIZE": "1"}),
    "a disk that is in no backup": (
        "<DISK><DISK_ID>4</DISK_ID><TYPE>FILE</TYPE><IMAGE_ID>9</IMAGE_ID></DISK>", {}, {"DISK/IMAGE_ID": "9"}),
    "empty": ("<EMPTY/><RAW><TYPE>kvm</TYPE></RAW>", {}, {"RAW/TYPE": "kvm"}),
}  # fmt: skip


@pytest.mark.parametrize("name", list(TABLE))
def test_what_stays(name: str) -> None:
    inner, wishes, wanted = TABLE[name]
    found = flat(template(inner, wishes=Wishes(**wishes), images={0: 70, 1: 71}))  # type: ignore[arg-type]
    assert found == {**wanted, "NAME": "new"}


def test_the_user_s_own_attributes_win_and_nothing_is_quoted() -> None:
    odd = 'it\'s "quoted" \\ [x] ]]&gt; &amp; $(y)\nnext line'
    found = flat(template("<A>1</A><B>2</B>", f"<B>{odd}</B><LABELS>l</LABELS>", tpm="c3RhdGU="))
    assert found == {
        "A": "1", "B": "it's \"quoted\" \\ [x] ]]> & $(y)\nnext line", "LABELS": "l", "NAME": "new",
        "TPM_STATE": "c3RhdGU=",
    }  # fmt: skip


def test_a_disk_without_its_image_is_told() -> None:
    vm = etree.fromstring("<VM><TEMPLATE><DISK><DISK_ID>4</DISK_ID><IMAGE_ID>9</IMAGE_ID></DISK></TEMPLATE></VM>")
    _text, notes = vm_template(vm, Wishes(), "new", {}, "")
    assert notes == ["Disk 4 is not in the backup: the VM template has its old image 9"]


def test_the_template_of_an_image() -> None:
    root = etree.fromstring(image_template('a "b" & c', 3, "rsync://1//0:aabbcc//b/5/aabbcc/disk.3.0", 108, 4))
    assert {str(node.tag): node.text for node in root} == {
        "NAME": 'a "b" & c', "TYPE": "DATABLOCK", "PATH": "rsync://1//0:aabbcc//b/5/aabbcc/disk.3.0",
        "FROM_BACKUP_DS": "108", "BACKUP_JOB_ID": "4",
    }  # fmt: skip
    assert etree.fromstring(image_template("x", 0, "u", 1, -1)).findtext("TYPE") == "OS"


def test_vm_xml_that_is_none() -> None:
    with pytest.raises(BadCall, match="describes a HOST, not a VM"):
        vm_of(b"<HOST/>")


# ---------------------------------------------------------------- tokens


@pytest.fixture
def auth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "onegate_auth"
    path.write_text("serveradmin:of the server\n")
    monkeypatch.setenv("ONE_CIPHER_AUTH", str(path))
    return path


@pytest.mark.parametrize("name", ["bob", "a", "x" * 15, "x" * 16, "name with blanks", "ünï"])
def test_a_token_is_opened_by_openssl(auth: Path, name: str) -> None:
    users = Users()
    users.ids[name] = 7
    assert users.of_token(token(name)) == name


def test_a_token_ends(auth: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    users = Users()
    users.ids["bob"] = 7
    made = token("bob")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 119)
    assert users.of_token(made) == "bob"
    monkeypatch.setattr(time, "time", lambda: now + 121)
    with pytest.raises(ValueError, match="holds no more"):
        users.of_token(made)


@pytest.mark.parametrize("text", [None, "", "no colon", "serveradmin:", "\xff"])
def test_no_account(auth: Path, text: str | None) -> None:
    if text is None:
        auth.unlink()
    else:
        auth.write_bytes(text.encode("latin-1"))
    with pytest.raises(NoAccess) as caught:
        token("bob")
    assert str(auth) in sentence(caught.value) and "ONE_CIPHER_AUTH" in sentence(caught.value)


@pytest.mark.parametrize("name", ["", "a:b", "a\nb"])
def test_no_name_of_a_user(auth: Path, name: str) -> None:
    with pytest.raises(BadCall, match="cannot be the name of a user"):
        token(name)


# ---------------------------------------------------------------- repositories


def store(**attributes: str) -> etree._Element:
    inner = "".join(f"<{name}>{value}</{name}>" for name, value in attributes.items())
    return etree.fromstring(f"<DATASTORE><ID>108</ID><TEMPLATE>{inner}</TEMPLATE></DATASTORE>")


def test_a_repository_of_rsync() -> None:
    found = repository_options(store(RSYNC_HOST="b1", RSYNC_ARGS="-a '--chmod=F600 x'"), "rsync")
    assert (found["repository_host"], found["repository_user"]) == ("b1", "oneadmin")
    assert found["repository_args"] == ["-a", "--chmod=F600 x"]


def test_a_repository_of_restic() -> None:
    found = repository_options(
        store(RESTIC_SFTP_SERVER="b1", RESTIC_PASSWORD="p", RESTIC_COMPRESSION="MAX", RESTIC_BWLIMIT="9"), "restic"
    )
    assert (found["repository_backend"], found["repository_compression"]) == ("sftp", "max")
    assert (found["repository_bandwidth"], found["repository_connections"]) == (9, 5)


@pytest.mark.parametrize(
    ("kind", "given", "wanted"),
    [
        ("rsync", {}, "Datastore 108 has no RSYNC_HOST"),
        ("restic", {}, "Datastore 108 has no RESTIC_SFTP_SERVER"),
        ("restic", {"RESTIC_SFTP_SERVER": "b", "RESTIC_BWLIMIT": "fast"}, "which is not a number"),
    ],
)
def test_a_repository_that_is_not_told(kind: str, given: dict[str, str], wanted: str) -> None:
    with pytest.raises(BadCall, match=wanted):
        repository_options(store(**given), kind)
