# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command ``backups``: verify the backups of a datastore, or ask the doctor of a VM's. It asks oned as the user of
ONE_AUTH.

Images are verified by processes of their own, so many at once, so that one that fails, or whose server hangs, takes
nobody along.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys

from ..module_utils._errors import BadCall, StorageError, one_line
from .calls import Context
from .oned import Oned
from .settings import Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Seconds that oned may take for an answer.
_ONED_SECONDS = 30


def main(script: str, arguments: list[str]) -> int:
    """Do it and report; exit code 0 when all is sound, 1 when something is wrong or cannot be looked at.

    :param script: path of the command, which lies in ``<remotes>/one_storage``.
    """
    given = _parser().parse_args(arguments)
    settings = Settings(os.path.dirname(os.path.dirname(os.path.abspath(script))))
    try:
        context = Context(Oned(deadline=settings.number("ONED_TIMEOUT", _ONED_SECONDS)), settings)
        if given.what == "doctor":
            report = _doctor(context, given)
        else:
            report = _verify(context, given, script)
    except StorageError as error:
        print(f"backups: {one_line(str(error), 600)}", file=sys.stderr)
        return 1
    if given.json:
        print(json.dumps(report))
    return 0 if report["sound"] else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="backups", description="Look after backups.")
    parts = parser.add_subparsers(dest="what", required=True, metavar="verify|doctor")
    verify = parts.add_parser("verify", help="compare the backups of a datastore with their manifests")
    verify.add_argument("datastore", help="id or name of the backup datastore")
    verify.add_argument("--image", type=int, action="append", default=[], help="only this backup; may be repeated")
    verify.add_argument("--quick", action="store_true", help="names and sizes alone, not every byte")
    verify.add_argument("--restore", choices=["none", "last", "all"], default="none", help="try to restore (none)")
    verify.add_argument("--at-once", type=int, default=1, metavar="N", help="images that are looked at at once (1)")
    doctor = parts.add_parser("doctor", help="compare disks, libvirt and OpenNebula on virtual machines' backups")
    doctor.add_argument("vm", type=int, nargs="+", help="id of a virtual machine")
    doctor.add_argument("--repair", action="store_true", help="do what it says, where it can be done")
    for part in (verify, doctor):
        part.add_argument("--json", action="store_true", help="one JSON document in place of lines")
    return parser


# ---------------------------------------------------------------- verify


def _verify(context: Context, given: argparse.Namespace, script: str) -> dict[str, Any]:
    from .backups_verify import images_of, store_of, verified

    if not 1 <= given.at_once <= 64:
        raise BadCall(f"{given.at_once} images cannot be looked at at once: it must be 1 to 64")
    store = store_of(context, given.datastore)
    wanted = given.image or images_of(context, store)
    say = (lambda row: None) if given.json else _tell_image
    rows = []
    if len(wanted) == 1:
        rows.append(verified(context, store, wanted[0], not given.quick, given.restore))
        say(rows[0])
    else:
        for row in _each(wanted, given, script):
            rows.append(row)
            say(row)
    wrong = [row for row in rows if not row["sound"]]
    if not given.json:
        print(f"{len(rows)} backups, {len(wrong)} with problems")
    ident = int(store.document.findtext("ID") or -1)
    return {"datastore": ident, "images": rows, "sound": not wrong}


def _each(wanted: list[int], given: argparse.Namespace, script: str) -> Any:
    """A row for each image, in their order, as they come."""
    from concurrent.futures import ThreadPoolExecutor

    def one(image: int) -> dict[str, Any]:
        more = ["--quick"] if given.quick else []
        # it dies with us; each of its own waits has an end
        argv = ["setpriv", "--pdeathsig", "TERM", "--", sys.executable, "-I", os.path.abspath(script), "verify"]
        argv += [given.datastore, "--image", str(image), "--restore", given.restore, "--json", *more]
        ended = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        try:
            return dict(json.loads(ended.stdout)["images"][0])
        except (ValueError, LookupError):
            said = ended.stderr.strip().splitlines()[-1:] or [f"It ended with code {ended.returncode}"]
            problem = one_line(said[0].removeprefix("backups: "), 600)
        empty: dict[str, Any] = {"name": "", "vm": -1, "notes": [], "backups": [], "sound": False}
        return {"image": image, "problems": [problem], **empty}

    with ThreadPoolExecutor(given.at_once) as pool:
        yield from pool.map(one, wanted)


def _tell_image(row: dict[str, Any]) -> None:
    count = len(row["backups"])
    what = f"image {row['image']} {row['name']}".strip() + (f", VM {row['vm']}" if row["vm"] >= 0 else "")
    print(f"{'sound' if row['sound'] else 'WRONG'}  {what}, {count} backup{'' if count == 1 else 's'}", flush=True)
    for problem in row["problems"]:
        print(f"       {problem}", flush=True)
    for note in row["notes"]:
        print(f"       ({note})", flush=True)


# ---------------------------------------------------------------- doctor


def _doctor(context: Context, given: argparse.Namespace) -> dict[str, Any]:
    from .backups_doctor import visited

    rows = []
    for vm in given.vm:
        row = visited(context, vm, given.repair)
        rows.append(row)
        if not given.json:
            _tell_vm(row)
    return {"vms": rows, "sound": all(row["sound"] for row in rows)}


def _tell_vm(row: dict[str, Any]) -> None:
    print(f"{'sound' if row['sound'] else 'WRONG'}  VM {row['vm']} {row['name']}".rstrip())
    for step in row["done"]:
        print(f"       done: {step}")
    for found in row["findings"]:
        mends = " (--repair does it)" if found["repairable"] else ""
        print(f"       {found['level']}: {found['sentence']}. What to do: {found['todo']}{mends}", flush=True)
