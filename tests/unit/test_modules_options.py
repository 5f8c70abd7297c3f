# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Both doors read options alike: AnsibleModule and the core's own checker give the same values and the same sentence.

AnsibleModule runs for real, in a process of its own (it reads and ends processes), which is this file again: it takes
rows of (action, options) as JSON on stdin and answers with one object each.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest

from plugins.module_utils._actions import ACTIONS
from plugins.module_utils._errors import BadCall
from plugins.module_utils._options import check

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 60

Row = tuple[str, dict[str, Any]]

CLONE: dict[str, Any] = {"driver": "qcow2", "datastore": "/d", "source": "/s", "destination": "/d/1/disk.0"}
CP: dict[str, Any] = {
    "driver": "fs", "datastore": "/d", "datastore_id": 1, "image_id": 2, "regtime": 3, "source": "/s"
}  # fmt: skip
CONTEXT: dict[str, Any] = {"driver": "ssh", "datastore": "/d", "destination": "/d/1/disk.1", "files": ["/a"]}

# One option each, with everything else in order.
INTEGERS = [
    5,
    "5",
    " 5 ",
    "-5",
    "+5",
    "5.0",
    5.0,
    "1e3",
    "0x10",
    "5.5",
    5.5,
    "",
    " ",
    "five",
    "5 MB",
    True,
    False,
    None,
]
INTEGERS += [None, [5], {"a": 5}, "nan", "1_000", "{{ 5 }}", "$(id)", "9" * 30, -1, 0, 1 << 70]
FLAGS = [True, False, "yes", "NO", " on ", "off", "1", "0", 1, 0, 1.0, 0.0, "t", "F", "y", "n", "TRUE", "false"]
FLAGS += ["maybe", "", 2, -1, 0.5, None, [], ["yes"], {}, "{{ true }}", "2"]
TEXTS = ["", "a b", "ä\n", 5, 5.5, True, None, ["a"], {"a": 1}, [], "{{ lookup('pipe', 'id') }}", "'\"$(id)`id`"]
LISTS = [[], ["a"], ["a", 5, True, None, ["b"]], "a", "a, b", "", ",", 5, 5.5, True, None, {"a": 1}, {}, "{{ [] }}"]
CHOICES = ["raw", "qcow2", "RAW", "", "vmdk", None, True, "True", "False", 5, ["raw"], "raw ", "{{ 'raw' }}"]

ROWS: list[Row] = [
    ("tm_clone", {}),
    ("tm_clone", CLONE),
    ("tm_clone", {"driver": "qcow2"}),
    ("tm_clone", {**CLONE, "sizes": 5}),
    ("tm_clone", {**CLONE, "sizes": 5, "Size": 6, "a b": 7, "{{ x }}": 8}),
    # of several mistakes one is told, the same one
    ("tm_clone", {"driver": "qcow2", "sizes": 5, "size": "five", "format": "vmdk"}),
    ("tm_clone", {**CLONE, "sizes": 5, "size": "five", "format": "vmdk"}),
    ("tm_clone", {**CLONE, "sizes": 5, "format": "vmdk"}),
    ("tm_clone", {**CLONE, "size": "five", "sparse": "maybe", "command_timeout": "ten"}),
    ("ds_monitor", {"driver": "fs"}),
    ("ds_monitor", {"driver": "fs", "datastore": "/d", "peer": "host01"}),
    *[("ds_cp", {**CP, "image_id": value}) for value in INTEGERS],
    *[("tm_clone", {**CLONE, "size": value}) for value in INTEGERS],
    *[("tm_clone", {**CLONE, "sparse": value}) for value in FLAGS],
    *[("tm_clone", {**CLONE, "source": value}) for value in TEXTS],
    *[("tm_clone", {**CLONE, "ciphers": value}) for value in TEXTS],
    *[("tm_clone", {**CLONE, "peer": value}) for value in TEXTS],
    *[("tm_clone", {**CLONE, "qcow2_options": value}) for value in LISTS],
    *[("tm_context", {**CONTEXT, "files": value}) for value in LISTS],
    *[("tm_clone", {**CLONE, "format": value}) for value in CHOICES],
    *[("ds_cp", {**CP, "convert_to": value}) for value in CHOICES],
]


def full_name(action: str) -> str:
    """The name by which Ansible calls the module."""
    return f"one_storage.drivers.{action}"


def by_ansible(action: str, options: dict[str, Any]) -> dict[str, Any]:
    """What AnsibleModule makes of options: ``params``, or the sentence ``msg``."""
    from ansible.module_utils.basic import AnsibleModule
    from ansible.module_utils.testing import patch_module_args

    said = io.StringIO()
    given = {**options, "_ansible_module_name": full_name(action)}
    with patch_module_args(given), contextlib.redirect_stdout(said):
        try:
            return {"params": AnsibleModule(argument_spec=ACTIONS[action].options, supports_check_mode=True).params}
        except SystemExit:
            return {"msg": json.loads(said.getvalue())["msg"]}


def by_core(action: str, options: dict[str, Any]) -> dict[str, Any]:
    """What the core's checker makes of them, in the same form."""
    try:
        return {"params": check(full_name(action), ACTIONS[action].options, options)}
    except BadCall as error:
        return {"msg": error.sentence}


def in_order(told: dict[str, Any]) -> dict[str, Any]:
    """The answer with a list of valid booleans sorted: Ansible prints them in the order of a set."""
    if "msg" not in told:
        return told
    start, found, end = told["msg"].partition("Valid booleans include: ")
    return {"msg": start + found + ", ".join(sorted(re.split(", ", end)))} if found else told


@pytest.fixture(scope="module")
def ansible_says() -> list[dict[str, Any]]:
    """What AnsibleModule makes of each row of the table."""
    ran = subprocess.run(
        [sys.executable, "-m", "tests.unit.test_modules_options"],
        input=json.dumps(ROWS),
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=SECONDS,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return cast("list[dict[str, Any]]", json.loads(ran.stdout))


@pytest.mark.parametrize("number", range(len(ROWS)), ids=lambda number: f"{ROWS[number][0]}-{number}")
def test_both_doors_read_options_alike(number: int, ansible_says: list[dict[str, Any]]) -> None:
    action, options = ROWS[number]
    ours = by_core(action, options)
    assert in_order(ours) == in_order(ansible_says[number]), options
    # 1 is True and 5.0 is 5 for Python, but not for who reads the result
    if "params" in ours:
        assert json.dumps(ours["params"], sort_keys=True) == json.dumps(ansible_says[number]["params"], sort_keys=True)


def test_the_table_has_good_and_bad_rows(ansible_says: list[dict[str, Any]]) -> None:
    """A table in which everything is refused for one and the same reason would prove nothing."""
    sentences = {answer["msg"] for answer in ansible_says if "msg" in answer}
    assert len(sentences) > 40
    assert sum("params" in answer for answer in ansible_says) > 60


@pytest.mark.parametrize("number", ["1e999999999", "-1e999999999", "Infinity", "-inf", "9" * 5000])
def test_numbers_that_would_hang_or_break_ansible_are_refused_at_once(number: str) -> None:
    told = by_core("tm_clone", {**CLONE, "size": number})
    assert told["msg"].endswith(f"\"'{number}'\" cannot be converted to an int")


if __name__ == "__main__":
    json.dump([by_ansible(action, options) for action, options in json.load(sys.stdin)], sys.stdout)
