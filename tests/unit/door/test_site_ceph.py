# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the pool of a Ceph datastore is reached is told with what a site has."""

from __future__ import annotations

from pathlib import Path

import pytest

from plugins.plugin_utils.documents import parse
from plugins.plugin_utils.site import _datastore

STORE = (
    "<DATASTORE><ID>100</ID><NAME>rbd</NAME><TYPE>0</TYPE><DS_MAD>{mad}</DS_MAD><TM_MAD>ceph</TM_MAD>"
    "<BASE_PATH>/var/lib/one//datastores/100</BASE_PATH><TEMPLATE>{template}</TEMPLATE></DATASTORE>"
)


def test_attributes_and_the_sites_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONE_LOCATION", str(tmp_path))
    told = "<CEPH_USER>libvirt</CEPH_USER><CEPH_HOST>mon1 mon2</CEPH_HOST><RBD_FORMAT>9</RBD_FORMAT>"
    found = _datastore(parse(STORE.format(mad="os_ceph", template=told).encode(), "a datastore"))
    assert found["settings"] == {
        "pool": "one", "data_pool": "", "ceph_user": "libvirt", "ceph_key": "", "ceph_conf": "",
        "ceph_host": "mon1 mon2", "staging_dir": "/var/tmp",
    }  # fmt: skip
    file = tmp_path / "var" / "remotes" / "etc" / "datastore" / "ceph" / "ceph.conf"
    file.parent.mkdir(parents=True)
    file.write_text("POOL_NAME=vms\n")
    found = _datastore(parse(STORE.format(mad="ceph", template="").encode(), "a datastore"))
    assert found["settings"]["pool"] == "vms"


def test_datastores_of_directories_have_none() -> None:
    assert "settings" not in _datastore(parse(STORE.format(mad="fs", template="").encode(), "a datastore"))
