# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/backups.md as it is written: its templates make datastores that are backed up to and verified."""

from __future__ import annotations

import getpass
import os
import re
from pathlib import Path

import pytest

from plugins.plugin_utils.backups_doctor import visited
from tests.integration.test_backups_command import Kept
from tests.unit.core.test_repositories_s3 import BUCKET, endpoint  # noqa: F401  # a fixture
from tests.unit.door.front_end import started

GUIDE = Path(__file__).parents[2] / "docs" / "backups.md"
ROOT = GUIDE.parents[1]


def templates() -> dict[str, dict[str, str]]:
    """The templates in the guide, by the heading above each."""
    found = {}
    for heading, body in re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", GUIDE.read_text(encoding="utf-8"), re.M | re.S):
        for block in re.findall(r"```ini\n(.*?)```", body, re.S):
            found[heading] = {
                name.strip(): value.strip().strip('"') for name, value in re.findall(r"^(\w+) = (.+)$", block, re.M)
            }
    return found


CASES = [heading if "rsync" in heading else pytest.param(heading, marks=pytest.mark.full) for heading in templates()]


@pytest.mark.parametrize("heading", CASES)
def test_a_template_of_the_guide(remotes: Path, heading: str, request: pytest.FixtureRequest) -> None:
    wanted = templates()[heading]
    with started(remotes) as made:
        site = Kept(made, wanted["DS_MAD"])
        here = {"RSYNC_HOST": os.uname().nodename, "RESTIC_SFTP_SERVER": os.uname().nodename}
        here |= {"RSYNC_USER": getpass.getuser(), "RESTIC_SFTP_USER": getpass.getuser()}
        if wanted.get("RESTIC_BACKEND") == "s3":
            here |= {"RESTIC_S3_ENDPOINT": request.getfixturevalue("endpoint"), "RESTIC_S3_BUCKET": BUCKET}
        attributes = {name: here.get(name, value) for name, value in wanted.items() if name not in ("NAME", "TYPE")}
        assert attributes.pop("DS_MAD") == site.kind and attributes.pop("TM_MAD") == "-"
        assert wanted["TYPE"] == "BACKUP_DS"
        site.attributes = attributes
        site.front_end.oned.datastores[108].template = dict(attributes)
        site.front_end.oned.datastores[108].name = wanted["NAME"]
        site.chain(7, 2)
        report = site.told("verify", wanted["NAME"], "--restore", "last")
        assert report["sound"], report
        assert report["images"][0]["backups"][1]["restored"] == ["0"]


def test_every_code_of_the_doctor_is_in_the_guide() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    table = text.partition("## When the doctor speaks")[2].partition("\n## ")[0]
    told = {code for row in re.findall(r"^\| (`.+?) \|", table, re.M) for code in re.findall(r"`([a-z-]+)`", row)}
    code = (ROOT / "plugins/module_utils/drivers/vm_backup_doctor.py").read_text(encoding="utf-8")
    code += Path(visited.__code__.co_filename).read_text(encoding="utf-8")
    said = set(re.findall(r'(?:self\.(?:note|problem)\(|"(?:note|problem)", )\s*"([a-z-]+)"', code))
    assert said - told == set() and told - said == set()
