# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wrappers in a tree that lies side by side with stock's: the prefix is oned's name for a driver, not ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from plugins.module_utils._errors import BadCall
from plugins.module_utils.drivers.ssh import marker
from plugins.plugin_utils.door import Wrapper
from plugins.plugin_utils.settings import prefix_of


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "one_storage").mkdir()
    (tmp_path / "one_storage" / "PREFIX").write_text("os_\n")
    return tmp_path


@pytest.mark.parametrize(
    ("path", "mad", "driver", "action", "system"),
    [
        ("tm/os_qcow2/clone", "os_qcow2", "qcow2", "clone", ""),
        ("tm/os_qcow2/clone.os_ssh", "os_qcow2", "qcow2", "clone", "ssh"),
        ("datastore/os_fs/cp", "os_fs", "fs", "cp", ""),
        # drivers of others keep their names
        ("tm/mine/clone.theirs", "mine", "mine", "clone", "theirs"),
    ],
)
def test_what_a_wrapper_is(tree: Path, path: str, mad: str, driver: str, action: str, system: str) -> None:
    found = Wrapper(str(tree / path))
    assert (found.mad, found.driver, found.action, found.system, found.prefix) == (mad, driver, action, system, "os_")


def test_without_a_prefix_names_are_as_they_are(tmp_path: Path) -> None:
    found = Wrapper(str(tmp_path / "tm/os_qcow2/clone.os_ssh"))
    assert (found.driver, found.system, found.prefix) == ("os_qcow2", "os_ssh", "") and prefix_of(str(tmp_path)) == ""


class _Nothing:
    """A host that has no file."""

    def host(self, _where: str) -> _Nothing:
        return self

    def read(self, _path: str) -> None:
        return None


class _Request(dict[str, str]):
    site = _Nothing()


def test_the_marker_says_the_name() -> None:
    [step] = marker(_Request(monitor="os_ssh"), "/ds/105", "lead")  # type: ignore[arg-type]
    assert "os_ssh" in str(vars(step).values())


@pytest.mark.parametrize("name", ["", "../x", "a b", "a\nb", "é"])
def test_a_marker_that_names_no_driver_is_refused(name: str) -> None:
    with pytest.raises(BadCall, match="is not the name of a driver"):
        marker(_Request(monitor=name), "/ds/105", "lead")  # type: ignore[arg-type]
