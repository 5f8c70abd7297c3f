# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Datastore calls: from the document on stdin to options or to one sentence, and the answers."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from plugins.module_utils import _actions, _options
from plugins.module_utils._errors import BadCall, Corrupt, StorageError, Unsupported
from plugins.plugin_utils import calls_ds
from plugins.plugin_utils.answer import Voice
from tests.unit.door.support import CAPTURES, complete, sentence

ACTIONS = ("cp", "mkfs", "clone", "rm", "stat", "monitor")
STORE = "<ID>1</ID><DS_MAD>fs</DS_MAD><BASE_PATH>/ds//1</BASE_PATH><TYPE>0</TYPE>"
IMAGE = "<ID>7</ID><PATH>/srv/a.img</PATH><SOURCE>/ds//1/abc</SOURCE><SIZE>10</SIZE><REGTIME>99</REGTIME>"


@contextmanager
def stdin(data: bytes) -> Iterator[None]:
    """File descriptor 0 with these bytes; the tests' own comes back."""
    saved = os.dup(0)
    handle = os.memfd_create("stdin")
    os.write(handle, data)
    os.lseek(handle, 0, os.SEEK_SET)
    os.dup2(handle, 0)
    os.close(handle)
    try:
        yield
    finally:
        os.dup2(saved, 0)
        os.close(saved)


def document(store: str = STORE, image: str = IMAGE, template: str = "", more: str = "") -> str:
    """A document as oned makes it; *template* is the datastore's."""
    return (
        f"<DS_DRIVER_ACTION_DATA><IMAGE>{image}</IMAGE>"
        f"<DATASTORE>{store}<TEMPLATE>{template}</TEMPLATE></DATASTORE>{more}</DS_DRIVER_ACTION_DATA>"
    )


def options(action: str, text: str, root: str = "/nowhere", mad: str = "fs") -> dict[str, Any]:
    with stdin(base64.b64encode(text.encode())):
        return complete(calls_ds.call(mad, action, ["7"]), root=root)


# ---------------------------------------------------------------- what oned really sent


@pytest.mark.parametrize(
    "path",
    [path for path in sorted(CAPTURES.glob("ds.*.xml")) if path.name.split(".")[1] in ACTIONS],
    ids=lambda path: path.name,
)
def test_recorded_documents_are_understood(path: Path) -> None:
    action, drivers = path.name.split(".")[1:3]
    given = options(action, path.read_text())
    checked = _options.check("x", _actions.ACTIONS[f"ds_{action}"].options, given)
    root = etree.parse(str(path)).getroot()
    assert checked["driver"] == "fs"
    if action not in ("stat",):
        assert checked["datastore"] == root.findtext("DATASTORE/BASE_PATH")
    if action in ("cp", "mkfs", "clone"):
        for option, element in (
            ("datastore_id", "DATASTORE/ID"),
            ("image_id", "IMAGE/ID"),
            ("regtime", "IMAGE/REGTIME"),
        ):
            assert str(checked[option]) == root.findtext(element)
    if action in ("cp", "stat"):
        assert checked["source"] == root.findtext("IMAGE/PATH")
        assert checked["safe_dirs"] == ["/srv/images", "/var/tmp"] and checked["restricted_dirs"] == ["/"]
        assert checked["decompress"] is True and checked["plain"] is False
    if action in ("cp", "clone"):
        assert checked["convert_to"] == (root.findtext("DATASTORE/TEMPLATE/DRIVER") or "")
    if action in ("cp", "mkfs"):
        assert str(checked["size"]) == root.findtext("IMAGE/SIZE")
    if action == "rm":
        assert checked["source"] == root.findtext("IMAGE/SOURCE")
    if action in ("mkfs", "clone"):
        assert checked["format"] == root.findtext("IMAGE/FORMAT")
    if action == "mkfs":
        assert checked["fs"] == (root.findtext("IMAGE/FS") or "")
        assert checked["supported_fs"] == ["ext2", "ext3", "ext4", "xfs"]
    assert drivers.startswith("fs-") or action == "monitor"


def test_every_action_was_recorded() -> None:
    recorded = {path.name.split(".")[1] for path in CAPTURES.glob("ds.*.xml")}
    assert set(ACTIONS) <= recorded


# ---------------------------------------------------------------- options


def test_cp_gives_all_options_of_the_module() -> None:
    image = IMAGE.replace("</PATH>", "</PATH><TEMPLATE><MD5> abc </MD5><SHA1>def</SHA1></TEMPLATE>")
    given = options("cp", document(image=image, template="<SAFE_DIRS>/a /b</SAFE_DIRS><DRIVER>QCOW2</DRIVER>"))
    assert given == {
        "driver": "fs",
        "datastore": "/ds//1",
        "datastore_id": 1,
        "image_id": 7,
        "regtime": 99,
        "safe_dirs": ["/a", "/b"],
        "restricted_dirs": [],
        "source": "/srv/a.img",
        "size": 10,
        "convert_to": "qcow2",
        "md5": "abc",
        "sha1": "def",
        "sha256": "",
        "limit_rate": "",
        "tls_verify": True,
        "helpers": "/nowhere/datastore",
        "s3_access_key_id": "",
        "s3_secret_access_key": "",
        "s3_region": "",
        "s3_endpoint": "",
        "s3_aws": "",
        "decompress": True,
        "plain": False,
        "sparse": True,
    }


def test_credentials_come_with_the_marketplace() -> None:
    """They stand beside the image, as oned sends them (contract-ds 6.2)."""
    template = (
        "<ACCESS_KEY_ID>id</ACCESS_KEY_ID><SECRET_ACCESS_KEY> key </SECRET_ACCESS_KEY><REGION>eu</REGION>"
        "<ENDPOINT>https://s3.example</ENDPOINT><AWS>no</AWS>"
    )
    given = options("cp", document(more=f"<MARKETPLACE><TEMPLATE>{template}</TEMPLATE></MARKETPLACE>"))
    found = {name: value for name, value in given.items() if name.startswith("s3_")}
    assert found == {
        "s3_access_key_id": "id",
        "s3_secret_access_key": "key",
        "s3_region": "eu",
        "s3_endpoint": "https://s3.example",
        "s3_aws": "no",
    }


@pytest.mark.parametrize(
    ("template", "kind", "store", "name", "value"),
    [
        ("<CONVERT>no</CONVERT><DRIVER>qcow2</DRIVER>", "0", "0", "convert_to", ""),
        ("<CONVERT>YES</CONVERT><DRIVER>qcow2</DRIVER>", "0", "0", "convert_to", "qcow2"),
        ("<DRIVER>qcow2</DRIVER>", "1", "0", "convert_to", ""),
        ("<DRIVER>qcow2</DRIVER>", "3", "2", "convert_to", ""),
        ("<DRIVER>vmdk</DRIVER>", "0", "0", "convert_to", ""),
        ("<LIMIT_TRANSFER_BW> 10M </LIMIT_TRANSFER_BW>", "0", "0", "limit_rate", "10M"),
        ("<TLS_VERIFY>NO</TLS_VERIFY>", "0", "0", "tls_verify", False),
        ("<TLS_VERIFY>yes</TLS_VERIFY>", "0", "0", "tls_verify", True),
        ("<SPARSE>NO</SPARSE>", "0", "0", "sparse", False),
        ("<NO_DECOMPRESS>YES</NO_DECOMPRESS>", "0", "0", "decompress", False),
        ("", "3", "2", "decompress", False),
        ("<NO_DECOMPRESS>no</NO_DECOMPRESS>", "3", "2", "decompress", True),
        ("", "3", "2", "plain", True),
        ("<LIMIT_IMAGE_SIZE>no</LIMIT_IMAGE_SIZE>", "0", "0", "size", 0),
        ("<RESTRICTED_DIRS> /a\n/b </RESTRICTED_DIRS>", "0", "0", "restricted_dirs", ["/a", "/b"]),
    ],
)
def test_attributes_of_cp(template: str, kind: str, store: str, name: str, value: object) -> None:
    text = document(
        store=STORE.replace("<TYPE>0", f"<TYPE>{store}"), image=f"{IMAGE}<TYPE>{kind}</TYPE>", template=template
    )
    assert options("cp", text)[name] == value


def test_the_folder_that_oned_chose_is_the_driver() -> None:
    text = document(store=STORE.replace("fs", "ceph"))
    assert [options(action, text)["driver"] for action in ACTIONS] == ["fs"] * 6


def test_stat_answers_within_the_90_seconds_that_oned_waits() -> None:
    with stdin(document().encode()):
        from tests.unit.door.support import context

        given = calls_ds.call("fs", "stat", []).complete(context(), True)
    assert given["stall_timeout"] <= 70 and given["command_timeout"] <= 70


def test_file_systems_come_from_datastore_conf(tmp_path: Path) -> None:
    conf = tmp_path / "etc" / "datastore" / "datastore.conf"
    conf.parent.mkdir(parents=True)
    conf.write_text('SUPPORTED_FS="ext4, xfs"\nFS_OPTS_ext4="-b 4096 -L \'my disk\'"\n')
    given = options("mkfs", document(image=f"{IMAGE}<FS> EXT4 </FS><FORMAT>raw</FORMAT>"), root=str(tmp_path))
    assert given["fs"] == "ext4"
    assert given["fs_options"] == ["-b", "4096", "-L", "my disk"]
    assert given["supported_fs"] == ["ext4", "xfs"]
    # a name that could not be a variable's is not looked up; the driver refuses it
    assert options("mkfs", document(image=f"{IMAGE}<FS>../x</FS>"), root=str(tmp_path))["fs_options"] == []
    conf.write_text('FS_OPTS_ext4="-L \'my disk"\n')
    with pytest.raises(BadCall, match="^FS_OPTS_ext4 in datastore.conf has an open quote$"):
        options("mkfs", document(image=f"{IMAGE}<FS>ext4</FS>"), root=str(tmp_path))


@pytest.mark.parametrize("encoded", [True, False])
@pytest.mark.parametrize("around", ["{}", "\n {} \n"])
def test_documents_come_encoded_or_plain(encoded: bool, around: str) -> None:
    data = document().encode()
    whole = around.format(base64.encodebytes(data).decode() if encoded else data.decode())
    with stdin(whole.encode()):
        assert complete(calls_ds.call("fs", "rm", ["7"]))["source"] == "/ds//1/abc"


# ---------------------------------------------------------------- sentences

NO = "The document on stdin has no"
HAS = "The document on stdin has"
NO_NUMBER = "which is not a number"
BAD: list[tuple[str, str, str]] = [
    ("cp", "<X/>", f"{NO} DATASTORE"),
    ("cp", f"<X><DATASTORE>{STORE}</DATASTORE></X>", f"{NO} IMAGE"),
    ("rm", f"<X><DATASTORE>{STORE}</DATASTORE></X>", f"{NO} IMAGE"),
    ("stat", f"<X><DATASTORE>{STORE}</DATASTORE></X>", f"{NO} IMAGE"),
    ("cp", document(image=IMAGE.replace("PATH", "P")), f"{NO} PATH"),
    ("cp", document(image=IMAGE.replace("/srv/a.img", " ")), f"{NO} PATH"),
    ("clone", document(image=IMAGE.replace("PATH", "P")), f"{NO} PATH"),
    ("stat", document(image="<SIZE/>"), f"{NO} PATH"),
    ("rm", document(image=IMAGE.replace("SOURCE", "S")), f"{NO} SOURCE"),
    ("cp", document(store=STORE.replace("BASE_PATH", "B")), f"{NO} BASE_PATH"),
    ("rm", document(store=STORE.replace("/ds//1", "")), f"{NO} BASE_PATH"),
    ("monitor", document(store=STORE.replace("BASE_PATH", "B")), f"{NO} BASE_PATH"),
    ("cp", document(store=STORE.replace("DS_MAD", "D")), f"{NO} DS_MAD"),
    ("cp", document(store=STORE.replace("<ID>1</ID>", "")), f"{NO} ID"),
    ("mkfs", document(image=IMAGE.replace("<ID>7</ID>", "")), f"{NO} ID"),
    ("mkfs", document(image=IMAGE.replace("SIZE", "S")), f"{NO} SIZE"),
    ("mkfs", document(image=IMAGE.replace("10", "ten")), f"{HAS} 'ten' for SIZE, {NO_NUMBER}"),
    ("cp", document(image=IMAGE.replace("10", "1_0")), f"{HAS} '1_0' for SIZE, {NO_NUMBER}"),
    ("cp", document(image=IMAGE.replace("10", "١٠")), f"{HAS} '١٠' for SIZE, {NO_NUMBER}"),
    ("cp", document(image=IMAGE.replace("10", "1.5")), f"{HAS} '1.5' for SIZE, {NO_NUMBER}"),
    (
        "cp",
        document(image=IMAGE.replace("10", "9" * 5000)),
        f"{HAS} '{'9' * 37}...' for SIZE, {NO_NUMBER}",
    ),
    ("cp", document(image=IMAGE.replace("7", "$(id)")), f"{HAS} '$(id)' for ID, {NO_NUMBER}"),
    ("cp", document(store=STORE.replace("/ds//1", "/my ds/1")), "The datastore's path '/my ds/1' has blanks"),
    ("mkfs", document(store=STORE.replace("/ds//1", "/ds/1\n")), "The datastore's path '/ds/1' has blanks"),
    (
        "cp",
        document(template="<NFS_AUTO_ENABLE>YES</NFS_AUTO_ENABLE>"),
        "Datastore 1 has NFS_AUTO_ENABLE=YES, which these drivers do not support",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("action", "text", "wanted"), BAD, ids=lambda value: str(value)[-60:])
def test_bad_documents_give_one_sentence(action: str, text: str, wanted: str) -> None:
    with pytest.raises(StorageError) as caught:
        options(action, text)
    assert sentence(caught.value) == wanted
    assert isinstance(caught.value, (BadCall, Unsupported))


def test_bridges_of_a_clones_origin() -> None:
    text = document(template="<BRIDGE_LIST>h1</BRIDGE_LIST>", more="<SOURCE_BRIDGE_LIST>h2 h3</SOURCE_BRIDGE_LIST>")
    with stdin(text.encode()):
        call = calls_ds.call("fs", "clone", ["7"])
    assert (call.bridges, call.origins) == (["h1"], ["h2", "h3"])


@pytest.mark.parametrize("action", ["cp", "mkfs", "clone", "rm", "monitor", "export", "stat"])
def test_bridges_of_the_datastore(action: str) -> None:
    text = document(template="<BRIDGE_LIST>h1\nh2  h3</BRIDGE_LIST>")
    with stdin(text.encode()):
        call = calls_ds.call("fs", action, ["7"])
    assert call.bridges == ([] if action == "stat" else ["h1", "h2", "h3"])
    assert call.turn == 7


@pytest.mark.parametrize(
    ("action", "given", "wanted"),
    [
        ("cp", ["1", "2"], "cp takes 0 to 1 arguments (ID), not 2"),
        ("monitor", ["1", ""], "monitor takes 0 to 1 arguments (ID), not 2"),
        ("backup", ["h:/ds/0/1", "0", "x", "-", "1", "0"], "backup: Operation not supported"),
        ("call", [], "call: Operation not supported"),
    ],
)
def test_bad_command_lines(action: str, given: list[str], wanted: str) -> None:
    with pytest.raises(StorageError) as caught:
        calls_ds.call("fs", action, given)
    assert sentence(caught.value) == wanted


# ---------------------------------------------------------------- answers


class Ear(Voice):
    """A voice that is listened to here."""

    def __init__(self) -> None:
        super().__init__("/remotes/datastore/fs/cp")
        self.said: list[str] = []

    def answer(self, text: str) -> None:
        self.said.append(text)

    def lines(self, values: list[str]) -> None:
        self.said += values


@pytest.mark.parametrize(
    ("action", "result", "said"),
    [
        ("cp", {"source": "/ds//1/abc", "format": "qcow2"}, ["/ds//1/abc qcow2"]),
        ("clone", {"source": "/ds//1/abc", "format": "raw"}, ["/ds//1/abc raw"]),
        ("mkfs", {"source": "/ds//1/abc"}, ["/ds//1/abc"]),
        ("stat", {"size": 16}, ["16"]),
        ("rm", {"source": "/ds//1/abc"}, []),
        ("monitor", {"used_mb": 1, "free_mb": 2, "total_mb": 3}, ["USED_MB=1", "FREE_MB=2", "TOTAL_MB=3"]),
    ],
)
def test_answers(action: str, result: dict[str, Any], said: list[str]) -> None:
    ear = Ear()
    with stdin(document().encode()):
        call = calls_ds.call("fs", action, ["1"])
    call.reply(ear, result)
    assert ear.said == said


@pytest.mark.parametrize("source", ["", "/ds/a b", "/ds/a\nRM SUCCESS 4 -", "/ds/a\t", "/ds/\u2028a"])
def test_an_answer_that_oned_would_misread_is_not_given(source: str) -> None:
    ear = Ear()
    with stdin(document().encode()):
        call = calls_ds.call("fs", "cp", ["1"])
    with pytest.raises(Corrupt, match="is empty or has blanks$"):
        call.reply(ear, {"source": source, "format": "raw"})
    assert ear.said == []
