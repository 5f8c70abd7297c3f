# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Let Galaxy's importer look at the collection's archive: metadata, checksums, changelog, README, roles, runtime.

What it would only repeat is off: ansible-lint, ansible-doc and ansible-test are checks of their own. Galaxy asks for a
repository's address, and this project has no public one yet, so the archive that is looked at is built with an
example's. A warning counts as a failure.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.tools.stage import ROOT, stage

WORK = ROOT / ".cache" / "importer"
BIN = Path(sys.executable).parent
SECONDS = 300
REPOSITORY = "repository: https://example.org/one_storage/drivers\n"
SETTINGS = {"RUN_ANSIBLE_DOC": "no", "RUN_ANSIBLE_LINT": "no", "CHECK_REQUIRED_TAGS": "yes"}


def archive(collection: Path, target: Path) -> Path:
    """The archive in target of a collection's folder, which names an example's repository from then on."""
    about = collection / "galaxy.yml"
    written = about.read_text(encoding="utf-8")
    if "\nrepository:" not in written:
        about.write_text(written + REPOSITORY, encoding="utf-8")
    command = [str(BIN / "ansible-galaxy"), "collection", "build", "--force", "--output-path", str(target)]
    subprocess.run(command, cwd=collection, check=True, stdout=subprocess.DEVNULL, timeout=SECONDS)
    (built,) = target.glob("*.tar.gz")
    return built


def complaints(said: str) -> list[str]:
    """The importer's errors and warnings, a line each."""
    return [line for line in said.splitlines() if line.startswith(("ERROR", "WARNING", "CRITICAL"))]


def look(built: Path, folder: Path) -> tuple[int, str]:
    """The importer's exit code and words about an archive; it writes its result to folder."""
    env = {**os.environ, **{f"GALAXY_IMPORTER_{name}": value for name, value in SETTINGS.items()}}
    env |= {"PATH": os.pathsep.join([str(BIN), os.environ["PATH"]]), "ANSIBLE_HOME": str(folder / "ansible")}
    env["GALAXY_IMPORTER_ANSIBLE_LOCAL_TMP"] = str(folder / "tmp")
    done = subprocess.run(
        [sys.executable, "-m", "galaxy_importer.main", str(built)],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    return done.returncode, done.stdout


def main() -> int:
    """Build, look, and say what is wrong; 1 when something is."""
    shutil.rmtree(WORK, ignore_errors=True)
    (WORK / "tmp").mkdir(parents=True)
    code, said = look(archive(stage(target=WORK / "collection"), WORK), WORK)
    wrong = complaints(said)
    if code or wrong:
        print("\n".join(wrong) or said, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
