# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may read a backup by its pseudo-URL: whom oned lets use it, and nobody by guessing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lxml import etree

from plugins.module_utils._errors import BadCall, Missing, NoAccess, StorageError
from plugins.module_utils.tools.sources.backup import is_backup
from plugins.plugin_utils import calls_ds
from plugins.plugin_utils.backup_reader import may_read
from plugins.plugin_utils.calls import Context
from plugins.plugin_utils.oned import Oned
from plugins.plugin_utils.settings import Settings
from tests.lab.oned import ApiServer, Image, ImageType
from tests.lab.oned import Oned as Store
from tests.lab.oned.common import Permissions
from tests.unit.door.support import sentence
from tests.unit.door.test_calls_ds import stdin

BOB, EVE = 7, 8
RSYNC = "rsync://108//0:aaaaaa,1:bbbbbb/ds/108/5/bbbbbb/disk.0.1"
RESTIC = "restic://109/4/0:aaaaaaaa/ds/100/6/backup/disk.0.0"


@pytest.fixture
def server() -> Iterator[ApiServer]:
    """Backups of bob's VMs 5 and 6, the second one by backup job 4, and an image that is no backup."""
    store = Store()
    store.users.ids.update(bob=BOB, eve=EVE)
    chain = [(0, "aaaaaa"), (1, "bbbbbb"), (2, "cccccc")]
    common = {"type": ImageType.BACKUP, "uid": BOB, "uname": "bob"}
    store.images = {
        40: Image(40, "chain", datastore_id=108, vms={5}, source="aaaaaa", increments=chain, **common),  # type: ignore[arg-type]
        41: Image(41, "full", datastore_id=109, vms={6}, source="aaaaaaaa", template={"BACKUP_JOB_ID": "4"}, **common),  # type: ignore[arg-type]
        42: Image(42, "no backup", datastore_id=108, source="aaaaaa", uid=EVE, vms={5}),
    }
    with ApiServer(store) as running:
        yield running


@pytest.fixture
def context(server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    (tmp_path / "one_auth").write_text(server.oned.settings.session)
    (tmp_path / "onegate_auth").write_text(f"{server.oned.users.account}:{server.oned.users.password}\n")
    monkeypatch.setenv("ONE_AUTH", str(tmp_path / "one_auth"))
    monkeypatch.setenv("ONE_CIPHER_AUTH", str(tmp_path / "onegate_auth"))
    return Context(Oned(server.url, deadline=20), Settings("/nowhere"))


def image(uid: int, name: str, **template: str) -> etree._Element:
    """A new image as the document of cp has it."""
    words = "".join(f"<{key}>{value}</{key}>" for key, value in template.items())
    return etree.fromstring(f"<IMAGE><UID>{uid}</UID><UNAME>{name}</UNAME><TEMPLATE>{words}</TEMPLATE></IMAGE>")


@pytest.mark.parametrize("url", [RSYNC, RESTIC, RSYNC.replace("0:aaaaaa,1:", "1:")])
def test_its_owner_may(context: Context, server: ApiServer, url: str) -> None:
    may_read(context, url, image(BOB, "bob"))
    assert [request.method for request in server.requests] == ["one.imagepool.info"]


@pytest.mark.parametrize("url", [RSYNC, RESTIC, "rsync://999//0:123456/ds/999/1/123456/disk.0.0"])
def test_oneadmin_may_without_a_question(context: Context, server: ApiServer, url: str) -> None:
    may_read(context, url, image(0, "oneadmin"))
    assert server.requests == []


def test_others_may_when_oned_lets_them(context: Context, server: ApiServer) -> None:
    for url in (RSYNC, RESTIC):
        with pytest.raises(NoAccess) as caught:
            may_read(context, url, image(EVE, "eve"))
        assert "eve may not make an image of backup 4" in sentence(caught.value)
        assert "Not authorized" in sentence(caught.value)
    server.oned.images[40].permissions = Permissions(owner=6, other=4)
    may_read(context, RSYNC, image(EVE, "eve"))
    server.oned.users.rules.add((EVE, 41))
    may_read(context, RESTIC, image(EVE, "eve"))


def test_an_owner_who_may_not_use_it_is_refused(context: Context, server: ApiServer) -> None:
    server.oned.images[40].permissions = Permissions(owner=2)
    with pytest.raises(NoAccess):
        may_read(context, RSYNC, image(BOB, "bob"))


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        # of another VM, another datastore, by another job, with a reference that is not of this chain, or not of any
        (RSYNC.replace("/5/", "/6/"), Missing),
        (RSYNC.replace("//108//", "//109//"), Missing),
        (RESTIC.replace("/4/", "//"), Missing),
        (RSYNC.replace("0:aaaaaa", "0:dddddd"), Missing),
        (RSYNC.replace("0:aaaaaa,1:bbbbbb", "0:bbbbbb"), Missing),
        (RSYNC.replace("bbbbbb", "cccccc"), Missing),
        (RSYNC.replace("disk.0.1", "../../../etc/shadow"), BadCall),
        ("rsync://108//0:aaaaaa", BadCall),
    ],
)
def test_nothing_is_had_by_guessing(context: Context, url: str, kind: type[StorageError]) -> None:
    """Not even by the owner of another backup."""
    with pytest.raises(kind) as caught:
        may_read(context, url, image(BOB, "bob"))
    assert sentence(caught.value)


@pytest.mark.parametrize("change", [str.upper, lambda scheme: f"{scheme}+other", lambda scheme: f"{scheme}+rbd"])
def test_a_scheme_that_is_spelt_otherwise_is_no_way_around(
    context: Context, server: ApiServer, change: Callable[[str], str]
) -> None:
    """oned's image says it, and DS cp would hand what it does not know to stock's helper for the scheme."""
    scheme, rest = RSYNC.split(":", 1)
    made = image(EVE, "eve")
    etree.SubElement(made, "PATH").text = f"{change(scheme)}:{rest}"
    store = "<DATASTORE><ID>1</ID><DS_MAD>fs</DS_MAD><BASE_PATH>/ds/1</BASE_PATH></DATASTORE>"
    with stdin(f"<D>{etree.tostring(made, encoding='unicode')}{store}</D>".encode()):
        call = calls_ds.call("fs", "cp", ["0"])
    with pytest.raises((NoAccess, BadCall)) as caught:
        call.complete(context, True)
    assert is_backup(f"{change(scheme)}:{rest}") and sentence(caught.value)


def test_what_oned_was_told_is_the_same_datastore(context: Context) -> None:
    may_read(context, RSYNC, image(BOB, "bob", FROM_BACKUP_DS="108"))
    with pytest.raises(BadCall, match="FROM_BACKUP_DS is 109"):
        may_read(context, RSYNC, image(BOB, "bob", FROM_BACKUP_DS="109"))


def test_without_the_account_that_speaks_for_users_only_owners_may(
    context: Context, server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONE_CIPHER_AUTH", "/nowhere/auth")
    may_read(context, RSYNC, image(BOB, "bob"))
    with pytest.raises(NoAccess, match="speaks for users in /nowhere/auth") as caught:
        may_read(context, RSYNC, image(EVE, "eve"))
    assert "ONE_CIPHER_AUTH" in sentence(caught.value)


def test_stocks_way(context: Context, server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONE_STORAGE_CHECK_BACKUP_OWNER", "no")
    may_read(context, RSYNC, image(EVE, "eve"))
    assert server.requests == []
