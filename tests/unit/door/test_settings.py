# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Configuration files are read as a shell would read them, and never run."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from plugins.module_utils._errors import BadCall, StorageError
from plugins.plugin_utils.settings import MOST, Settings, read
from tests.unit.door.support import sentence

#: Lines that a shell and we read alike: what A is afterwards.
ALIKE: list[tuple[str, str]] = [
    ("A=1", "1"),
    ("A=", ""),
    ("A=''", ""),
    ('A=""', ""),
    ('A="x y"', "x y"),
    ("A='x y'", "x y"),
    ("export A=1", "1"),
    ("  export   A=1  ", "1"),
    ("\tA=1", "1"),
    ("readonly A=1", "1"),
    ("A=1 # text", "1"),
    ("A=1\t# text", "1"),
    ("A=x#y", "x#y"),
    ("A='x # y' # z", "x # y"),
    ('A="x # y"#z', "x # y#z"),
    ("A=1; B=2", "1"),
    ("A=\"a;b\"; B='c'", "a;b"),
    ("A=a'b c'\"d e\"f", "ab cd ef"),
    (r"A=a\ b", "a b"),
    (r'A="a\"b"', 'a"b'),
    (r'A="a\\b"', r"a\b"),
    (r'A="a\nb"', r"a\nb"),
    (r"A='a\"b'", r"a\"b"),
    (r"A='a\'", "a\\"),
    (r'A="\$HOME \`id\`"', "$HOME `id`"),
    ("A='$(touch canary) `touch canary` $HOME'", "$(touch canary) `touch canary` $HOME"),
    ('A=\'{{ lookup("pipe", "id") }}\'', '{{ lookup("pipe", "id") }}'),
    ("A='-b 4096 -E \"a,b\"'", '-b 4096 -E "a,b"'),
    ("A=ext2,ext3,ext4,xfs", "ext2,ext3,ext4,xfs"),
    ("A=a=b=c", "a=b=c"),
    ("A=1\nA=2", "2"),
    ("#A=1", ""),
    ("  # A=1", ""),
    ("A=1\n# A=2\n\n\n", "1"),
    ("if [ 1 = 2 ]; then A=3; fi", ""),
    ("A='é ü'", "é ü"),
    ("A='a\u2028b'", "a\u2028b"),
    ("A='a\x0cb'", "a\x0cb"),
]

#: Lines that a shell would act on or refuse: we keep to text.
OURS: list[tuple[str, str]] = [
    ("A=$(touch canary)", "$(touch"),
    ('A="$(touch canary)"', "$(touch canary)"),
    ("A=`touch canary`x", "`touch"),
    ('A="$HOME/x"', "$HOME/x"),
    ("A=1\r\nB=2\r\n", "1"),
    ('A="1"\r\n', "1"),
    ('A="open', "open"),
    ("A='open\nB=1", "open"),
    ("A=x\\", "x"),
    ("A =1", ""),
    ("A = 1", ""),
    ("A= 1", ""),
    ("echo A=1", ""),
    ("touch canary; A=1", ""),
    ("eval A=1", ""),
    ("A-B=1", ""),
    ("=1", ""),
    ("=", ""),
    ("A", ""),
    ("[A]", ""),
    ("\x00A=1", ""),
    ("A=\udcff", "\ufffd"),
]


def value(text: str, folder: Path) -> str:
    path = folder / "x.conf"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    return read(str(path)).get("A", "")


@pytest.mark.parametrize(("text", "wanted"), ALIKE)
def test_lines_that_a_shell_reads_alike(text: str, wanted: str, tmp_path: Path) -> None:
    assert value(text, tmp_path) == wanted
    shell = shutil.which("sh")
    assert shell
    done = subprocess.run(
        [shell, "-eu", "-c", 'A=; . "$1"; printf %s "$A"', "sh", str(tmp_path / "x.conf")],
        cwd=tmp_path,
        capture_output=True,
        timeout=10,
        check=True,
    )
    assert done.stdout.decode() == wanted
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize(("text", "wanted"), OURS)
def test_lines_that_stay_text(text: str, wanted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert value(text, tmp_path) == wanted
    assert not (tmp_path / "canary").exists()


def test_no_file_is_no_setting(tmp_path: Path) -> None:
    assert read(str(tmp_path / "none")) == {}
    assert Settings(str(tmp_path)).text("LAUNCHER", "auto") == "auto"


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(StorageError) as caught:
        read(str(tmp_path))
    assert sentence(caught.value) == f"Cannot read {tmp_path}: Is a directory"


def test_a_huge_file_is_read_in_part(tmp_path: Path) -> None:
    path = tmp_path / "x.conf"
    path.write_text("A=1\n" + "#" * (2 << 20) + "\nA=2\n")
    assert read(str(path)) == {"A": "1"}


# ---------------------------------------------------------------- what a site sets


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("ONE_STORAGE_")]:
        monkeypatch.delenv(name)
    path = tmp_path / "etc" / "one_storage" / "one_storage.conf"
    path.parent.mkdir(parents=True)
    path.touch()
    return path


def settings(path: Path, text: str = "") -> Settings:
    path.write_text(text)
    return Settings(str(path.parents[2]))


def test_the_environment_comes_first(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings(site, "LAUNCHER=ssh").launcher() == "ssh"
    monkeypatch.setenv("ONE_STORAGE_LAUNCHER", "in_process")
    assert settings(site, "LAUNCHER=ssh").launcher() == "in_process"
    # empty is not set
    monkeypatch.setenv("ONE_STORAGE_LAUNCHER", "")
    assert settings(site, "LAUNCHER=ssh").launcher() == "ssh"
    assert settings(site).launcher() == "auto"
    # a name without our prefix is not ours
    monkeypatch.setenv("LAUNCHER", "ansible")
    assert settings(site).launcher() == "auto"


@pytest.mark.parametrize(
    "value", ["0", "-1", "1.5", "ten", "1e3", "²", "٣", "9" * 5000, str(MOST + 1), "$(id)", " 1 2"]
)
def test_numbers_that_are_none(value: str, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = value if len(value) < 40 else value[:37] + "..."
    wanted = f"it must be a whole number from 1 to {MOST}"
    with pytest.raises(BadCall) as caught:
        settings(site, f"LOCK_TIMEOUT='{value}'").common()
    assert sentence(caught.value) == f"LOCK_TIMEOUT is '{shown.strip()}' in {site}: {wanted}"
    monkeypatch.setenv("ONE_STORAGE_LOCK_TIMEOUT", value)
    with pytest.raises(BadCall) as caught:
        settings(site).common()
    assert sentence(caught.value) == f"ONE_STORAGE_LOCK_TIMEOUT is '{shown.strip()}' in the environment: {wanted}"


def test_numbers(site: Path) -> None:
    found = settings(site, f'COMMAND_TIMEOUT=7\nSTALL_TIMEOUT="8"\nLOCK_TIMEOUT={MOST}')
    assert found.common() == {"command_timeout": 7, "stall_timeout": 8, "lock_timeout": MOST}
    assert settings(site).common() == {"command_timeout": 3600, "stall_timeout": 60, "lock_timeout": 120}
    assert found.number("ONED_TIMEOUT", 30) == 30


@pytest.mark.parametrize("value", ["SSH", "in process", "local", "auto;id"])
def test_launchers_that_are_none(value: str, site: Path) -> None:
    with pytest.raises(BadCall) as caught:
        settings(site, f"LAUNCHER='{value}'").launcher()
    assert sentence(caught.value) == (
        f"LAUNCHER is '{value}' in {site}: it must be one of auto, in_process, ssh, ansible"
    )


def test_datastore_conf_is_read_once_and_only_when_needed(site: Path) -> None:
    found = settings(site)
    conf = site.parents[1] / "datastore" / "datastore.conf"
    conf.parent.mkdir()
    conf.write_text("SUPPORTED_FS=xfs\n")
    assert found.datastore("SUPPORTED_FS", "ext4") == "xfs"
    conf.unlink()
    assert found.datastore("SUPPORTED_FS", "ext4") == "xfs"
    assert found.datastore("OTHER", "default") == "default"
