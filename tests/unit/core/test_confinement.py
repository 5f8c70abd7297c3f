# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How copies of backups are held back: every attribute of contract-ds 10.6 changes what is run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils._errors import BadCall, Unsupported
from plugins.module_utils.tools import confinement
from plugins.module_utils.tools.host import Host
from tests.unit.core.keeping import Keeping
from tests.unit.core.support import act

NONE = dict.fromkeys(confinement.OPTIONS, -1)


def built(**given: int) -> list[str]:
    return confinement.command(confinement.limits_of({**NONE, **given}), 108, "run1", ("RESTIC_PASSWORD_FILE",))


def test_nothing_is_put_in_front_without_limits() -> None:
    assert built() == []


@pytest.mark.parametrize(
    ("given", "command"),
    [
        ({"nice": 19}, ["nice", "-n", "19"]),
        ({"ionice": 7}, ["ionice", "-c2", "-n7"]),
        ({"nice": 5, "ionice": 0}, ["nice", "-n", "5", "ionice", "-c2", "-n0"]),
    ],
)
def test_niceness(given: dict[str, int], command: list[str]) -> None:
    assert built(**given) == command


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"cpu_quota": 50}, "CPUQuota=50%"),
        ({"memory_max_mb": 512}, "MemoryMax=512M"),
        ({"max_riops": 100}, 'IOReadIOPSMax="/a \\"b\\" 5%%" 100'),
        ({"max_wiops": 100}, 'IOWriteIOPSMax="/a \\"b\\" 5%%" 100'),
    ],
)
def test_slices(given: dict[str, int], line: str) -> None:
    command = built(**given, nice=3, ionice=4)
    assert command[:2] == ["env", f"XDG_RUNTIME_DIR=/run/user/{os.geteuid()}"]
    assert command[2:4] == ["systemd-run", "--user"] and command[-1] == "--"
    assert {"--slice=backup.108.slice", "--unit=one_storage-run1", "--pipe", "--wait"} <= set(command)
    assert {"--nice=3", "--property=IOSchedulingPriority=4", "--setenv=RESTIC_PASSWORD_FILE"} <= set(command)
    limits = confinement.limits_of({**NONE, **given})
    assert confinement.slice_text(limits, '/a "b" 5%') == f"[Slice]\n{line}\n"


@pytest.mark.parametrize("given", [{"nice": 20}, {"ionice": 8}, {"cpu_quota": 0}, {"memory_max_mb": -5}])
def test_numbers_that_mean_nothing(given: dict[str, int]) -> None:
    with pytest.raises(BadCall):
        built(**given)


def test_a_host_without_a_systemd_of_the_user_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not silence: a site that set a limit counts on it. Nothing is left of the backup that was not made."""
    monkeypatch.setenv("HOME", str(folder))

    def refused(_host: Host, argv: list[str], *_more: Any, **_named: Any) -> dict[str, Any]:
        assert argv[0] == "systemctl"
        return {"rc": 1, "out": "", "err": "Failed to connect to bus: No such file or directory"}

    keeping = Keeping(folder, "rsync")
    keeping.prepare(0)
    monkeypatch.setattr(Host, "run", refused)
    with pytest.raises(Unsupported) as caught:
        act("ds_backup", **keeping.backup_options, cpu_quota=50)
    assert "user's systemd" in str(caught.value) and "nothing was changed" in str(caught.value)
    assert keeping.references() == [] and keeping.is_tidy()
    unit = folder / ".config" / "systemd" / "user" / "backup.100.slice"
    assert unit.read_text() == "[Slice]\nCPUQuota=50%\n"


@pytest.mark.parametrize("kind", ["rsync", pytest.param("restic", marks=pytest.mark.full)])
def test_a_backup_runs_under_nice(folder: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tool in between tells how nice it is, to other processes and on the disk."""
    keeping = Keeping(folder, kind)
    keeping.prepare(0)
    (folder / "bin").mkdir()
    program = folder / "bin" / kind
    program.write_text(f'#!/bin/sh\necho "$(nice) $(ionice)" >>{folder}/nice\nexec /usr/bin/{kind} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}/bin:{os.environ['PATH']}")
    act("ds_backup", **keeping.backup_options, nice=7, ionice=5)
    assert (folder / "nice").read_text().splitlines().count("7 best-effort: prio 5") == 1
