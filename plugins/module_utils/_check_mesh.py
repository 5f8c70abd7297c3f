# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who can log in where, and whose clock is off: from the front-end to all nodes, and from node to node with its agent.

A node is asked once, over one connection: it tells its time and tries the logins that it is to try.
"""

from __future__ import annotations

import os

from ._errors import BadCall, Missing, StorageError
from .tools import ssh
from .tools.command import run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Where OpenNebula's service keeps oneadmin's agent (contract-ds 7.3).
_AGENT = "/var/run/one/ssh-agent.sock"
_AT_ONCE = 32

# Tells the time, then tries the command lines that come on stdin, a few at a time.
_NODE = """
import concurrent.futures, json, subprocess, sys, time
now, begun = time.time(), time.monotonic()
order = json.load(sys.stdin)
def login(line):
    start = time.monotonic()
    try:
        done = subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, timeout=order["seconds"])
        code, said = done.returncode, done.stderr.decode("utf-8", "replace")[-2000:]
    except subprocess.TimeoutExpired:
        code, said = 255, "no answer in %d seconds" % order["seconds"]
    except OSError as error:
        code, said = 255, str(error)
    return {"rc": code, "said": said, "ms": int(1000 * (time.monotonic() - start))}
with concurrent.futures.ThreadPoolExecutor(8) as pool:
    tried = list(pool.map(login, order["lines"]))
print(json.dumps({"now": now, "spent": time.monotonic() - begun, "tried": tried}))
"""


def mesh_check(params: dict[str, Any]) -> dict[str, Any]:
    """Try the logins and measure the clocks, this host being the front-end.

    :param params: the options of the module ``mesh_check``.
    :raises BadCall: a name that no host has.
    :raises Missing: there is no agent to lend.
    """
    from concurrent.futures import ThreadPoolExecutor

    hosts = sorted({ssh.check_host(name) for name in params["hosts"]})
    if params["sample"] < 0:
        raise BadCall("The sample is less than 0")
    hops = pairs(hosts, params["mesh"], params["sample"])
    agent = params["agent"] or os.environ.get("SSH_AUTH_SOCK", "") or _AGENT
    if any(hops.values()) and not os.path.exists(agent):
        raise Missing(
            f"There is no SSH agent at {agent}",
            todo="start it, it is part of OpenNebula's service, or name its socket; nodes log in to each other by it",
        )
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        asked = list(pool.map(lambda host: _ask(host, hops[host], agent, params), hosts))
    logins = [one for one, _tried in asked]
    open_to = {one["host"] for one in logins if not one["error"]}
    # a host that nobody gets to is told once, not by all who try
    tried = [hop for _one, hops_of in asked for hop in hops_of if hop["to"] in open_to]
    problems = [
        {"host": "", "about": one["host"], "check": "mesh", "thing": one["host"], "sentence": one["error"]}
        for one in logins
        if one["error"]
    ]
    return {"logins": logins, "hops": tried, "problems": problems + _broken(tried) + _clocks(logins, params)}


def pairs(hosts: list[str], mesh: str, sample: int) -> dict[str, list[str]]:
    """Where each host is to log in.

    :param mesh: ``ring``: to the next one, and to *sample* others by chance; ``full``: to all; ``none``.
    """
    import random

    found: dict[str, list[str]] = {}
    for index, host in enumerate(hosts):
        others = [*hosts[index + 1 :], *hosts[:index]]
        if mesh == "ring":
            others = others[:1] + random.sample(others[1:], min(sample, len(others[1:])))
        found[host] = others if mesh != "none" else []
    return found


def _ask(
    host: str, targets: list[str], agent: str, params: dict[str, Any]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """How one login went, with the host's clock, and how those from there did."""
    import json
    import time

    seconds = params["connect_timeout"]
    # a login as a copy of data makes it: a connection of its own, the agent lent for it
    line = ssh.command(host, ["/usr/bin/python3", "-I", "-c", _NODE], agent=bool(targets), connect=seconds)
    lines = [ssh.command(target, ["true"], connect=seconds) for target in targets]
    order = json.dumps({"seconds": seconds + 10, "lines": lines}).encode()
    row: dict[str, Any] = {"host": host, "ms": None, "offset": None, "unsure": None, "error": ""}
    before, begun = time.time(), time.monotonic()
    try:
        ended = run(line, params["command_timeout"], stdin=order, variables={"SSH_AUTH_SOCK": agent}, most=1 << 22)
        took = time.monotonic() - begun
        told = json.loads(str(ended["out"]).strip().splitlines()[-1]) if ended["rc"] == 0 else None
        if told is None:
            raise ssh.failure(host, str(ended["err"]), int(ended["rc"]))
    except (ValueError, IndexError):
        row["error"] = f"{host} answers a login with something else than it was asked for"
        return row, []
    except OSError as error:
        row["error"] = f"Cannot log in to {host}: {error.strerror or error}"
        return row, []
    except StorageError as error:
        row["error"] = str(error)
        return row, []
    # it looked at its clock at some moment of the time that it did not spend on logins of its own
    unsure = max(0.0, took - told["spent"]) / 2
    row.update(ms=int(2000 * unsure), offset=round(told["now"] - before - unsure, 3), unsure=round(unsure, 3))
    hops = []
    for target, one in zip(targets, told["tried"]):
        failed = str(ssh.failure(target, one["said"], one["rc"])) if one["rc"] else ""
        hops.append({"from": host, "to": target, "ms": one["ms"], "error": failed})
    return row, hops


def _broken(hops: list[dict[str, Any]]) -> list[dict[str, str]]:
    """A sentence for each pair of nodes, one that names both when neither gets to the other."""
    failed = {(hop["from"], hop["to"]): hop["error"] for hop in hops if hop["error"]}
    found = []
    for (host, target), error in sorted(failed.items()):
        both = (target, host) in failed
        if both and target < host:
            continue
        turned = f", nor can {target} to {host}" if both else ""
        sentence = f"{error[0].upper()}{error[1:]}{turned}"
        found.append({"host": host, "about": target, "check": "mesh", "thing": target, "sentence": sentence})
    return found


def _clocks(logins: list[dict[str, Any]], params: dict[str, Any]) -> list[dict[str, str]]:
    """Whose clock is off; when most nodes agree against this host, it is its own."""
    known = [one for one in logins if one["offset"] is not None]
    limit = params["max_offset"]
    middle = sorted(one["offset"] for one in known)[len(known) // 2] if len(known) > 2 else 0.0
    found: list[tuple[str, float]] = []
    if abs(middle) > limit + max([one["unsure"] for one in known], default=0):
        found.append(("", -middle))
    else:
        middle = 0.0
    for one in known:
        off = one["offset"] - middle
        if abs(off) > limit + one["unsure"]:
            found.append((one["host"], off))
    return [
        {
            "host": host,
            "about": host,
            "check": "time",
            "thing": "clock",
            "sentence": f"Its clock is {_words(off)} {'ahead of' if off > 0 else 'behind'} "
            f"{'that of the front-end' if host else 'those of the nodes'}; set it, and see to its NTP service",
        }
        for host, off in found
    ]


def _words(seconds: float) -> str:
    seconds = abs(seconds)
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
