# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The capacity report: what hosts said of their datastores, put together for a whole site, and the page that shows it.

Sizes are in bytes. Datastores of one host that share a file system share its room: it is counted once.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Rows = list[dict[str, Any]]

#: Above these a datastore is told among the problems.
FULL = 0.9
PROMISED = 1.0
_CONSUMERS = 20
_SIZES = ("total_bytes", "used_bytes", "free_bytes")


def report(site: dict[str, Any], answers: dict[str, Any], made: str) -> dict[str, Any]:
    """The whole report, as plain data.

    :param site: what the command ``site --looks`` printed.
    :param answers: by host, empty for the front-end, what :mod:`datastores_info` returned as ``datastores``; None of a
        host that did not answer.
    :param made: when, for people.
    """
    problems: list[str] = []
    rows: Rows = []
    consumers: Rows = []
    for store in site["datastores"]:
        found = _answers_of(store, site["looks"], answers, problems)
        rows += [_row(store, host, answer) for host, answer in found]
        for host, answer in found:
            for one in (answer or {}).get("largest") or []:
                consumers.append(_consumer(store, host, one, site["names"]))
    pools = _pools(rows)
    for row in rows:
        problems += _problems_of(row)
    for pool in pools:
        if pool["used_part"] is not None and pool["used_part"] >= FULL:
            problems.append(f"{pool['name']} is {pool['used_part']:.0%} full")
        if (pool["overcommit"] or 0) > PROMISED:
            problems.append(f"{pool['name']} has promised {pool['overcommit']:.0%} of what there is")
    consumers.sort(key=lambda one: (-one["allocated_bytes"], one["where"], one["name"]))
    depths: dict[int, int] = {}
    for row in rows:
        for depth, count in (row["depths"] or {}).items():
            depths[int(depth)] = depths.get(int(depth), 0) + count
    return {
        "made": made,
        "totals": {
            **{name: sum(pool[name] for pool in pools) for name in (*_SIZES, "logical_bytes", "allocated_bytes")},
            "overcommit": _part(
                sum(pool["logical_bytes"] for pool in pools),
                sum(pool["total_bytes"] for pool in pools if pool["promises"]),
            ),
            "datastores": len(site["datastores"]),
            "hosts": len(site["hosts"]),
            "items": sum(row["items"] or 0 for row in rows),
            "snapshots": sum(row["snapshots"] or 0 for row in rows),
            "broken": sum(row["broken"] or 0 for row in rows),
        },
        "pools": sorted(pools, key=lambda pool: (-(pool["used_part"] or 0), pool["name"])),
        "datastores": rows,
        "depths": [{"depth": depth, "count": depths[depth]} for depth in sorted(depths)],
        "consumers": consumers[:_CONSUMERS],
        "problems": list(dict.fromkeys(problems)),
    }


def page(found: dict[str, Any], template: str) -> str:
    """The report as one HTML page, which needs neither network nor scripts.

    :param template: of Jinja; whatever the report says is escaped.
    """
    from jinja2 import StrictUndefined
    from jinja2.sandbox import SandboxedEnvironment

    from ..module_utils.tools.progress import size_of

    environment = SandboxedEnvironment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters["size"] = lambda count: "–" if count is None else size_of(int(count))
    environment.filters["part"] = lambda part: "–" if part is None else f"{part:.0%}"
    environment.filters["point"] = lambda number: f"{max(float(number), 0):.2f}"
    return environment.from_string(template).render(report=found, full=FULL, promised=PROMISED)


def _answers_of(
    store: dict[str, Any], looks: dict[str, Rows], answers: dict[str, Any], problems: list[str]
) -> list[tuple[str, dict[str, Any] | None]]:
    """Each host that looks at a datastore with what it said, None for nothing; one without a host when nobody does."""
    found: list[tuple[str, dict[str, Any] | None]] = []
    for host, asked in looks.items():
        if store["id"] not in [one["id"] for one in asked]:
            continue
        said = answers.get(host)
        if not said:
            problems.append(f"{host or 'the front-end'} does not tell of its datastores")
            found.append((host, None))
            continue
        found += [(host, one) for one in said if one["id"] == store["id"]]
    return found or [("", None)]


def _row(store: dict[str, Any], host: str, answer: dict[str, Any] | None) -> dict[str, Any]:
    """A datastore as one host sees it, or, when none says, as oned last heard of it."""
    row = {
        "id": store["id"],
        "name": store["name"],
        "type": store["type"],
        "driver": store["tm_mad"] if store["type"] == "system" else store["ds_mad"],
        "shared": store["shared"],
        "host": host,
        "pool": f"datastore {store['id']}",
        "measured": False,
        "error": (answer or {}).get("error", ""),
        "warnings": (answer or {}).get("warnings") or [],
        "missed": (answer or {}).get("missed") or [],
    }
    sums = ("items", "logical_bytes", "allocated_bytes", "snapshots", "depth", "depths", "broken")
    if answer and not answer.get("error"):
        sizes = {name: answer[name] for name in _SIZES}
        values = {name: answer.get(name) for name in sums}
        row.update(measured=True, pool=_room_of(host, answer["pool"]))
    else:
        sizes = {name: store[name.replace("_bytes", "_mb")] << 20 for name in _SIZES}
        values = dict.fromkeys(sums)
    row.update(sizes)
    row.update(values)
    row["used_part"] = _part(sizes["used_bytes"], sizes["total_bytes"])
    row["overcommit"] = _part(values["logical_bytes"], sizes["total_bytes"])
    return row


def _room_of(host: str, pool: str) -> str:
    """A name for what has room of its own: a pool of a cluster is one for all hosts, a file system is its host's."""
    return pool if pool.startswith("Ceph ") else f"{host or 'front-end'}: {pool}"


def _pools(rows: Rows) -> Rows:
    """What has room of its own: a file system with all datastores in it."""
    found: dict[str, Rows] = {}
    for row in rows:
        found.setdefault(row["pool"], []).append(row)
    pools = []
    for key, members in found.items():
        first = members[0]
        # several hosts may see the same pool of a cluster
        members = list({one["id"]: one for one in members}.values()) if key.startswith("Ceph ") else members
        logical, allocated = (sum(one[name] or 0 for one in members) for name in ("logical_bytes", "allocated_bytes"))
        sizes = {name: first[name] for name in _SIZES}
        if not sizes["total_bytes"]:
            # of a host that was not heard, say: nothing is known
            continue
        names = sorted({f"{one['name']} ({one['id']})" for one in members})
        more = " and more" if len(names) > 3 else ""
        where = "" if key.startswith("Ceph ") else first["host"] or ("front-end" if first["measured"] else "")
        pools.append(
            {
                "key": key,
                # what keeps backups promises nothing to guests
                "promises": any(one["logical_bytes"] is not None for one in members),
                "name": ", ".join(names[:3]) + more + (f" on {where}" if where else ""),
                "host": where,
                "datastores": sorted({one["id"] for one in members}),
                **sizes,
                "logical_bytes": logical,
                # files may have gone between the two looks
                "allocated_bytes": min(allocated, sizes["used_bytes"]),
                "used_part": _part(sizes["used_bytes"], sizes["total_bytes"]),
                "overcommit": _part(logical, sizes["total_bytes"]) if logical else None,
            }
        )
    return pools


def _problems_of(row: dict[str, Any]) -> list[str]:
    where = f"datastore {row['name']} ({row['id']})" + (f" on {row['host']}" if row["host"] else "")
    found = [f"{where}: {row['error']}"] if row["error"] else []
    found += [f"{where}: {sentence}" for sentence in row["warnings"]]
    found += [f"{where}: {sentence}" for sentence in row["missed"]]
    if row["broken"]:
        found.append(f"{where}: {row['broken']} with a chain that is not whole, see chains_info")
    return found


def _consumer(store: dict[str, Any], host: str, one: dict[str, Any], names: dict[str, Any]) -> dict[str, Any]:
    key = f"{store['id']}/{one['name']}" if one["vm"] is None else f"vm/{one['vm']}"
    known = names.get(key) or {}
    if one["vm"] is None:
        what = f"image {known['id']}" if known else "no image that OpenNebula knows"
    else:
        what = f"disk {one['disk']} of VM {one['vm']}" + ("" if known else ", which OpenNebula does not know")
    return {
        "name": known.get("name") or one["name"],
        "what": what,
        "owner": known.get("owner", ""),
        "known": bool(known),
        "where": f"{store['name']} ({store['id']})" + (f" on {host}" if host else ""),
        "path": one["path"],
        **{name: one[name] for name in ("allocated_bytes", "virtual_bytes", "snapshots", "depth")},
    }


def _part(count: Any, total: Any) -> float | None:
    return round(count / total, 4) if total and count is not None else None
