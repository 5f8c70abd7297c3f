# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sums up what ``host_check`` and ``mesh_check`` found on many hosts: a table, and a sentence for each fault."""

from __future__ import annotations

from ..module_utils._errors import one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any

    Found = dict[str, Any]

CHECKS = ("mesh", "mounts", "tools", "space", "time", "sudo", "probe")
#: A probe that takes longer than this many times what it takes on most hosts is worth a note, if it takes a second.
_SLOW = 5
_NOTED_MS = 1000


def report(hosts: Found, meshes: Found, finished: Found, names: dict[str, str] | None = None) -> Found:
    """What is not in order, host by host.

    :param hosts: results of ``host_check`` by the inventory's names, also those that Ansible did not reach.
    :param meshes: results of ``mesh_check`` by front-end.
    :param finished: results of ``host_check`` with ``finish``, of those hosts that were asked.
    :param names: OpenNebula's names by the inventory's, where they differ.
    :returns: ``ok``; ``problems`` and ``notes``, each with ``host``, ``check``, ``thing`` and ``sentence``; ``rows``, a
        line of the table for each host; ``finish``, one host of each group that has the same storage; ``lines``.
    """
    called = {name: host for host, name in (names or {}).items()}
    problems = _of_mesh(meshes, called)
    told = {(one["host"], one["check"]) for one in problems}
    unreached = {one["thing"] for one in problems if one["check"] == "mesh" and one["host"] in meshes}
    for host, result in sorted(hosts.items()):
        if "datastores" in result:
            problems += [{"host": host, **one} for one in result["problems"]]
        elif not result.get("unreachable") or (names or {}).get(host, host) not in unreached:
            problems.append(_silent(host, result))
    groups = _groups(hosts, finished, meshes)
    problems += _elsewhere(groups, hosts)
    for host, result in sorted(finished.items()):
        problems += [{"host": host, **one} for one in result.get("problems", []) if (host, one["check"]) not in told]
    problems = _once(problems)
    rows = [_row(host, result, meshes, problems, names or {}) for host, result in hosts.items()]
    found: Found = {
        "ok": not problems,
        "problems": problems,
        "notes": _versions(hosts) + _slow(hosts),
        "rows": rows,
        "finish": sorted({group[0] for groups_of in groups.values() for group in groups_of}),
    }
    found["lines"] = _lines(found)
    return found


def _of_mesh(meshes: Found, called: dict[str, str]) -> list[Found]:
    problems = []
    for frontend, result in sorted(meshes.items()):
        if "logins" not in result:
            if not result.get("unreachable"):
                problems.append({**_silent(frontend, result), "check": "mesh"})
            continue
        for one in result["problems"]:
            host = called.get(one["host"], one["host"]) or frontend
            problems.append({"host": host, "check": one["check"], "thing": one["thing"], "sentence": one["sentence"]})
    return problems


def _silent(host: str, result: Found) -> Found:
    why = one_line(str(result.get("msg") or "no answer"), 300)
    what = "Ansible does not reach it" if result.get("unreachable") else "It could not be checked"
    return {"host": host, "check": "mesh" if result.get("unreachable") else "tools", "thing": host,
            "sentence": f"{what}: {why}"}  # fmt: skip


def _once(problems: list[Found]) -> list[Found]:
    """Without what several front-ends found alike."""
    found: list[Found] = []
    for one in problems:
        if one not in found:
            found.append(one)
    return sorted(found, key=lambda one: (one["host"], CHECKS.index(one["check"]), one["thing"]))


def _groups(hosts: Found, finished: Found, first: Collection[str]) -> dict[int, list[list[str]]]:
    """By datastore, the hosts that have the same storage: those that hang together by whose files they saw.

    The largest group is first; of two that are as large, that with one of *first*.
    """
    links: dict[int, dict[str, set[str]]] = {}
    for results in (hosts, finished):
        for host, result in results.items():
            for store in result.get("datastores", []):
                if not store["seen"]:
                    continue
                at = links.setdefault(store["id"], {})
                at.setdefault(host, set()).update(store["seen"])
                for other in store["seen"]:
                    at.setdefault(other, set()).add(host)
    return {
        number: sorted(_connected(at), key=lambda group: (-len(group), not set(group) & set(first), group))
        for number, at in sorted(links.items())
    }


def _connected(links: dict[str, set[str]]) -> list[list[str]]:
    groups, done = [], set()
    for first in sorted(links):
        if first in done:
            continue
        group, waiting = set(), [first]
        while waiting:
            host = waiting.pop()
            if host not in group:
                group.add(host)
                waiting += links.get(host, ())
        done |= group
        groups.append(sorted(group))
    return groups


def _elsewhere(groups: dict[int, list[list[str]]], hosts: Found) -> list[Found]:
    """A sentence for each host that has another storage than most."""
    problems = []
    for number, (most, *others) in groups.items():
        for host in sorted(host for group in others for host in group):
            store: Found = next((one for one in hosts.get(host, {}).get("datastores", []) if one["id"] == number), {})
            where = f"{store.get('path', '')} lies on {store.get('mount', '?')} there"
            with_whom = most[0] if len(most) == 1 else f"{len(most)} other hosts, {most[0]} among them"
            problems.append({
                "host": host, "check": "mounts", "thing": f"datastore {number}",
                "sentence": f"datastore {number}: it is not the storage of {with_whom} ({where}); mount that",
            })  # fmt: skip
    return problems


def _versions(hosts: Found) -> list[Found]:
    """Programs of another version than on most hosts: worth knowing, and right in the middle of an upgrade."""
    versions: dict[str, dict[str, str]] = {}
    for host, result in hosts.items():
        for one in result.get("programs", []):
            if one["version"] and not one["problem"]:
                versions.setdefault(one["name"], {})[host] = one["version"]
    notes = []
    for name, found in sorted(versions.items()):
        count = list(found.values())
        usual = max(sorted(set(count)), key=count.count)
        for host, version in sorted(found.items()):
            if version != usual and 2 * count.count(usual) > len(count):
                sentence = f"{name} is {version}, and {usual} on {count.count(usual)} other hosts"
                notes.append({"host": host, "check": "tools", "thing": name, "sentence": sentence})
    return notes


def _tried(result: Found) -> list[Found]:
    """What a host tried: directories of datastores, and pools."""
    return [*result.get("datastores", []), *result.get("pools", [])]


def _slow(hosts: Found) -> list[Found]:
    times: dict[int, dict[str, int]] = {}
    for host, result in hosts.items():
        for store in _tried(result):
            if store.get("ms") is not None:
                times.setdefault(store["id"], {})[host] = store["ms"]
    notes = []
    for number, found in sorted(times.items()):
        usual = sorted(found.values())[(len(found) - 1) // 2]
        for host, took in sorted(found.items()):
            if took >= _NOTED_MS and took > _SLOW * usual:
                sentence = f"datastore {number}: the probe took {took} ms, and {usual} on other hosts"
                notes.append({"host": host, "check": "probe", "thing": f"datastore {number}", "sentence": sentence})
    return notes


def _row(host: str, result: Found, meshes: Found, problems: list[Found], names: dict[str, str]) -> Found:
    """A host's line: ``ok``, how much is broken, or a dash where nothing was checked; the slowest probe in ms."""
    broken = dict.fromkeys(CHECKS, 0)
    for one in problems:
        broken[one["check"]] += one["host"] == host
    probes = [store["ms"] for store in _tried(result) if store.get("ms") is not None]
    name = names.get(host, host)
    logins = [one for mesh in meshes.values() for one in mesh.get("logins", []) if one["host"] == name]
    reached = [one for one in logins if not one["error"]]
    checked = {
        "mesh": bool(logins) or bool(meshes.get(host, {}).get("logins")),
        "time": bool(reached) or bool(meshes.get(host, {}).get("logins")),
        "mounts": bool(result.get("datastores")),
        "tools": bool(result.get("programs")),
        "space": bool(result.get("folders") or result.get("datastores")),
        "sudo": bool(result.get("sudo")),
        "probe": bool(probes),
    }
    cells = {check: "ok" if checked[check] else "-" for check in CHECKS}
    if probes:
        cells["probe"] = f"{max(probes)} ms"
    if len(reached) < len(logins):
        cells["mesh"] = "BROKEN"
    cells.update({check: f"{number} BROKEN" for check, number in broken.items() if number})
    return {"host": host, **cells}


def _lines(found: Found) -> list[str]:
    """The table and the sentences, as text."""
    titles = ("host", *CHECKS)
    table = [titles, *(tuple(row[title] for title in titles) for row in found["rows"])]
    widths = [max(len(row[column]) for row in table) for column in range(len(titles))]
    lines = ["  ".join(word.ljust(width) for word, width in zip(row, widths)).rstrip() for row in table]
    lines += [f"{one['host']}: {one['sentence']}" for one in found["problems"]]
    lines += [f"note: {one['host']}: {one['sentence']}" for one in found["notes"]]
    number = len(found["problems"])
    broken = f"{number} {'thing is' if number == 1 else 'things are'} broken."
    lines.append(broken if number else "All is in order.")
    return lines
