# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The demonstration says what it lacks before it begins anything; its life is told by the lab's tests."""

from __future__ import annotations

import sys

import pytest

from tests.demo.__main__ import main
from tests.lab.ceph import PROGRAMS


@pytest.mark.parametrize("drivers", ["ceph", "ceph+ssh"])
def test_volumes_where_ceph_is_not_installed(
    drivers: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(sys, "argv", ["demo", "--drivers", "qcow2", drivers])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    said = capsys.readouterr()
    wanted = f"its programs are not all installed here: there is no {', '.join(PROGRAMS)}"
    assert said.err.endswith(f"{wanted}\n") and not said.out
