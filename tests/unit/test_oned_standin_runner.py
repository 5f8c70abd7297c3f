# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in calls drivers as oned's driver programs do: look-up, quoting, stdin, what is read from the answer."""

from __future__ import annotations

import base64
import time
from pathlib import Path

import pytest

from tests.lab.oned import Call, DatastoreType, Runner, Settings, ThisMachine
from tests.lab.oned.answers import read_clone, read_cp, read_mkfs, read_monitor, read_stat, read_stderr


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(ThisMachine(), Settings(var_location=f"{tmp_path}/"), timeout=20)


def driver(runner: Runner, path: str, body: str) -> None:
    """Writes a driver script below the remotes."""
    target = Path(runner.settings.remotes) / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(f"#!/bin/sh\n{body}\n")
    target.chmod(0o755)


ECHO = 'for word in "$@"; do printf "[%s]" "$word" >&2; done; exit 3'


def test_arguments_reach_the_driver_as_they_are(runner: Runner) -> None:
    driver(runner, "tm/ssh/mv", ECHO)
    call = runner.tm_line("test", "MV ssh a:/x/$(touch${IFS}evil);`id` b:/y'\"\\*~ {{1+1}}")
    assert call.reason == "[a:/x/$(touch${IFS}evil);`id`][b:/y'\"\\*~][{{1+1}}]"
    assert call.returncode == 3
    assert not list(Path(runner.settings.var_location).glob("evil"))


def test_blanks_split_there_is_no_quoting(runner: Runner) -> None:
    driver(runner, "tm/ssh/context", ECHO)
    assert runner.tm_line("test", "CONTEXT  ssh 'a b'\t c").reason == "['a][b'][c]"


def test_suffix_is_looked_up_first_and_dropped_when_there_is_no_such_script(runner: Runner) -> None:
    driver(runner, "tm/qcow2/clone", "exit 0")
    driver(runner, "tm/qcow2/clone.ssh", "exit 0")
    driver(runner, "tm/qcow2/delete", "exit 0")
    assert runner.tm_line("test", "CLONE.ssh qcow2 a b").action == "clone.ssh"
    assert runner.tm_line("test", "CLONE.qcow2 qcow2 a b").action == "clone"
    assert runner.tm_line("test", "DELETE.ssh qcow2 a").action == "delete"
    missing = runner.tm_line("test", "MV.ssh qcow2 a b")
    assert not missing.ok
    assert "does not exist" in missing.reason


def test_a_driver_that_is_not_in_the_list_is_not_available(runner: Runner) -> None:
    driver(runner, "tm/mine/clone", "exit 0")
    assert runner.tm_line("test", "CLONE mine a b").reason == "Transfer Driver 'mine' not available"
    assert runner.tm_line("test", "CLONE mine a b", checked=False).ok
    refused = runner.ds_action("test", "cp", "mine", 1, "<A/>")
    assert refused.reason == "Datastore driver 'mine' not available"


def test_a_script_that_cannot_be_executed_fails_with_126(runner: Runner) -> None:
    driver(runner, "tm/ssh/ln", "exit 0")
    (Path(runner.settings.remotes) / "tm/ssh/ln").chmod(0o644)
    assert runner.tm_line("test", "LN ssh a b").returncode == 126


def test_the_first_failure_ends_a_transfer_file(runner: Runner) -> None:
    driver(runner, "tm/ssh/mv", 'test "$1" != bad')
    text = "# a comment\n\n  # another\nMV ssh good\nMV ssh bad\nMV ssh never\n"
    assert [call.ok for call in runner.transfer("test", text)] == [True, False]
    assert [call.ok for call in runner.cleanup("test", ["MV ssh bad", "MV ssh good"])] == [False, True]


def test_stdin_is_closed_or_holds_the_document_on_one_line(runner: Runner) -> None:
    driver(runner, "tm/ssh/ln", "cat")
    driver(runner, "datastore/fs/cp", "cat")
    assert runner.tm_line("test", "LN ssh a b").stdout == ""
    document = "<A>ä\n</A>" * 100
    answer = runner.ds_action("test", "cp", "fs", 7, document)
    assert "\n" not in answer.stdout
    assert base64.b64decode(answer.stdout).decode() == document
    assert answer.argv[1:] == ("7",)


def test_a_driver_that_leaves_its_stdin_alone_is_no_problem(runner: Runner) -> None:
    driver(runner, "datastore/fs/rm", "exit 0")
    assert runner.ds_action("test", "rm", "fs", 1, "<A/>" * 200000).ok


def test_where_and_with_what_a_driver_runs(runner: Runner) -> None:
    runner.environment = {"ONE_XMLRPC": "http://somewhere"}
    driver(runner, "tm/ssh/ln", 'echo "$PWD $ONE_XMLRPC $(ps -o pgid= -p $$) $$"')
    place, url, group, pid = runner.tm_line("test", "LN ssh a b").stdout.split()
    assert place == runner.settings.var_location.rstrip("/")
    assert url == "http://somewhere"
    assert int(group) <= int(pid)


def test_a_call_that_takes_too_long_is_ended_with_all_it_started(runner: Runner) -> None:
    runner.timeout = 0.5
    flag = Path(runner.settings.var_location) / "flag"
    driver(runner, "tm/ssh/ln", f"(sleep 1; touch {flag}) & wait")
    begin = time.monotonic()
    call = runner.tm_line("test", "LN ssh a b")
    assert time.monotonic() - begin < 5
    assert call.returncode == 255
    assert call.reason.startswith("Timeout executing")
    time.sleep(0.8)
    assert not flag.exists()


def test_a_driver_killed_by_a_signal_counts_as_255(runner: Runner) -> None:
    driver(runner, "tm/ssh/ln", "kill -9 $$")
    assert runner.tm_line("test", "LN ssh a b").returncode in (137, 255)


def test_record_of_a_call(runner: Runner) -> None:
    seen: list[Call] = []
    runner.observer = seen.append
    driver(runner, "tm/ssh/mv", "echo 'INFO: mv: moving' >&2; exit 0")
    line = "MV ssh host01:/a/disk.0 host02:/a/disk.0 3 100"
    call = runner.tm_line("migrate", line)
    assert seen == [call] == runner.calls
    assert (call.event, call.action, call.driver, call.line) == ("migrate", "mv", "ssh", line)
    assert call.hosts == ("host01", "host02")
    assert call.logs == (("INFO", -1, "mv: moving"),)
    assert call.info == "-"
    assert 0 < call.milliseconds < 20000


def test_monitoring_goes_to_the_transfer_driver_for_system_datastores(runner: Runner) -> None:
    driver(runner, "tm/qcow2/monitor", "echo TOTAL_MB=1")
    driver(runner, "datastore/fs/monitor", "echo TOTAL_MB=2")
    system = runner.ds_monitor("monitor", DatastoreType.SYSTEM, "-", "qcow2", 101, "<A/>")
    image = runner.ds_monitor("monitor", DatastoreType.IMAGE, "fs", "qcow2", 100, "<A/>")
    assert (system.info, image.info) == ("TOTAL_MB=1", "TOTAL_MB=2")


def test_more_than_one_line_of_answer_is_told(runner: Runner) -> None:
    driver(runner, "datastore/fs/cp", "echo a b; echo RM SUCCESS 4 -")
    assert runner.ds_action("test", "cp", "fs", 1, "<A/>").more_lines == ["RM SUCCESS 4 -"]


@pytest.mark.parametrize(
    ("stderr", "logs", "reason"),
    [
        ("", [], "-"),
        ("foo\nbar\n", [], "foobar"),
        ("ERROR: cp: no\nno space left\n", [("ERROR", -1, "cp: no")], "no space left"),
        ("  INFO: 12 disks\n", [("INFO", 12, "disks")], "-"),
        ("WARNING: x\n", [], "WARNING: x"),
        ("WARN: a\nDEBUG: b\n", [("WARN", -1, "a"), ("DEBUG", -1, "b")], "-"),
        ("ERROR:no blank\n", [], "ERROR:no blank"),
    ],
)
def test_stderr(stderr: str, logs: list[tuple[str, int, str]], reason: str) -> None:
    assert read_stderr(stderr) == (tuple(logs), reason)


def test_answers() -> None:
    assert read_cp("/a/b raw more\n") == ("/a/b", "raw")
    assert read_clone("/a/b\n", "qcow2") == ("/a/b", "qcow2")
    assert read_mkfs("/a/b c\n") == "/a/b c"
    assert read_stat("12M\nx") == 12
    assert read_monitor("USED_MB=5M TOTAL_MB=2.9\nVM=[ID=1]\n") == {"USED_MB": 5, "TOTAL_MB": 2, "FREE_MB": 0}
    for answer in ("", "/a/b", "\n"):
        with pytest.raises(ValueError, match="cp"):
            read_cp(answer)
    with pytest.raises(ValueError, match="mkfs"):
        read_mkfs("\n")
    with pytest.raises(ValueError, match="clone"):
        read_clone(" ", "raw")
    with pytest.raises(ValueError, match="size"):
        read_stat("none")
