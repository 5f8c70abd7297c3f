# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The capacity report: what is counted once, what nobody saw, what is wrong; and its page, in a real browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from lxml import html

from plugins.plugin_utils.capacity import page, report
from plugins.plugin_utils.documents import parse
from plugins.plugin_utils.site_main import looks

ROOT = Path(__file__).resolve().parents[3]
TEMPLATE = (ROOT / "playbooks" / "templates" / "capacity.html.j2").read_text(encoding="utf-8")
GIB = 1 << 30
HOSTILE = "<script>document.title='owned'</script>\"'&{{ 7*7 }}<img src=x onerror=alert(1)>"


def store(number: int, **more: Any) -> dict[str, Any]:
    """A datastore as oned tells it."""
    usual = {"name": f"ds{number}", "type": "image", "ds_mad": "fs", "tm_mad": "qcow2", "shared": True, "bridges": []}
    sizes = {"total_mb": 1000, "used_mb": 250, "free_mb": 700}
    path = f"/var/lib/one/datastores/{number}"
    return {"id": number, "path": path, "clusters": [0], **usual, **sizes, **more}


def image(name: str, size: int, **more: Any) -> dict[str, Any]:
    usual = {
        "path": f"/d/{name}",
        "format": "qcow2",
        "snapshots": 1,
        "linked": "",
        "vm": None,
        "disk": None,
        "depth": 2,
    }
    return {"name": name, "virtual_bytes": 4 * size, "allocated_bytes": size, **usual, **more}


def answer(number: int, **more: Any) -> dict[str, Any]:
    """What the module says of a datastore that was looked at."""
    sizes = {"total_bytes": 100 * GIB, "used_bytes": 40 * GIB, "free_bytes": 55 * GIB, "pool": "file system 1"}
    sums = {"items": 2, "logical_bytes": 80 * GIB, "allocated_bytes": 10 * GIB, "overcommit": 0.8, "snapshots": 3}
    chains = {"depth": 4, "depths": {"1": 1, "4": 1}, "broken": 0, "largest": [image(f"file{number}", 10 * GIB)]}
    return {"id": number, "error": "", "missed": [], **sizes, **sums, **chains, **more}


def site(stores: list[dict[str, Any]], hosts: tuple[str, ...] = ("host01", "host02")) -> dict[str, Any]:
    found = {
        "hosts": [{"name": name, "cluster_id": 0, "state": "monitored"} for name in hosts],
        "datastores": stores,
    }
    return {**found, **looks(found, [], [])}


def told(stores: list[dict[str, Any]], answers: dict[str, Any], names: dict[str, Any] | None = None) -> dict[str, Any]:
    asked = site(stores)
    asked["names"] = names or {}
    found = report(asked, answers, "2026-11-21 18:00")
    assert json.loads(json.dumps(found)) == found
    return found


# ---------------------------------------------------------------- the report


def test_room_that_is_shared_counts_once() -> None:
    found = told([store(1), store(2), store(3)], {"": [answer(1), answer(2), answer(3, pool="file system 2")]})
    assert found["totals"]["total_bytes"] == 200 * GIB
    assert found["totals"]["logical_bytes"] == 240 * GIB
    assert found["totals"]["overcommit"] == 1.2
    assert [pool["datastores"] for pool in found["pools"]] == [[1, 2], [3]]
    assert found["pools"][0]["overcommit"] == 1.6
    assert found["problems"] == ["ds1 (1), ds2 (2) on front-end has promised 160% of what there is"]
    assert found["depths"] == [{"depth": 1, "count": 3}, {"depth": 4, "count": 3}]


def test_each_host_has_its_own() -> None:
    own = store(105, name="own", type="system", tm_mad="ssh", shared=False, total_mb=0, used_mb=0, free_mb=0)
    disk = image("42/disk.0", 5 * GIB, vm=42, disk=0)
    answers = {"": [], "host01": [answer(105, largest=[disk])], "host02": None}
    found = told([own], answers, {"vm/42": {"id": 42, "name": "web", "owner": "ann"}})
    assert [(row["host"], row["measured"], row["total_bytes"]) for row in found["datastores"]] == [
        ("host01", True, 100 * GIB),
        ("host02", False, 0),
    ]
    assert found["problems"] == ["host02 does not tell of its datastores"]
    # what nobody knows is no pool of nothing
    assert len(found["pools"]) == 1
    [one] = found["consumers"]
    assert (one["name"], one["what"], one["owner"]) == ("web", "disk 0 of VM 42", "ann")
    assert one["where"] == "own (105) on host01"


def test_a_pool_of_a_cluster_is_one_wherever_it_is_seen_from() -> None:
    reached = {"pool": "one", "ceph_user": "oneadmin", "ceph_conf": "", "ceph_host": "", "staging_dir": "/var/tmp"}
    stores = [
        store(1, ds_mad="ceph", bridges=["host01"], settings=reached),
        store(2, ds_mad="ceph", bridges=["host02"], settings=reached),
        store(100, type="system", tm_mad="ceph", settings=reached),
    ]
    assert site(stores)["looks"]["host01"][0]["elsewhere"] == []
    assert [one["settings"] for rows in site(stores)["looks"].values() for one in rows] == [reached] * 3
    room = {"pool": "Ceph pool one of 5e1f", "warnings": ["the pool one is nearly full"]}
    found = told(stores, {"": [answer(100, **room)], "host01": [answer(1, **room)], "host02": [answer(2, **room)]})
    [pool] = found["pools"]
    assert (pool["total_bytes"], pool["datastores"], pool["logical_bytes"]) == (100 * GIB, [1, 2, 100], 240 * GIB)
    assert found["problems"] == [
        "datastore ds1 (1) on host01: the pool one is nearly full",
        "datastore ds2 (2) on host02: the pool one is nearly full",
        "datastore ds100 (100): the pool one is nearly full",
        "ds1 (1), ds100 (100), ds2 (2) has promised 240% of what there is",
    ]


def test_what_nobody_sees_is_as_oned_last_heard() -> None:
    stores = [store(1), store(2, type="backup", ds_mad="rsync"), store(3)]
    found = told(stores, {"": [answer(1), {"id": 3, "error": "There is no ds driver 'ceph'"}]})
    assert [(row["id"], row["measured"], row["total_bytes"]) for row in found["datastores"][1:]] == [
        (2, False, 1000 << 20),
        (3, False, 1000 << 20),
    ]
    assert found["datastores"][1]["overcommit"] is None
    # what backups have is no room for guests
    assert found["totals"]["overcommit"] == 0.8
    assert found["problems"] == ["datastore ds3 (3): There is no ds driver 'ceph'"]


def test_problems() -> None:
    full = answer(1, used_bytes=95 * GIB, broken=2, missed=["/d/x is not looked at: Input/output error"])
    assert told([store(1)], {"": [full]})["problems"] == [
        "datastore ds1 (1): /d/x is not looked at: Input/output error",
        "datastore ds1 (1): 2 with a chain that is not whole, see chains_info",
        "ds1 (1) on front-end is 95% full",
    ]


def test_an_image_that_opennebula_does_not_know() -> None:
    [one] = told([store(1)], {"": [answer(1)]})["consumers"]
    assert (one["name"], one["what"], one["known"]) == ("file1", "no image that OpenNebula knows", False)


def test_who_looks_at_what() -> None:
    stores = [
        store(1),
        store(2, bridges=["br1:x", "br2"]),
        store(100, type="system"),
        store(105, type="system", shared=False),
        store(9, type="backup"),
    ]
    images = parse(
        b"<P><IMAGE><ID>7</ID><NAME>base</NAME><UNAME>ann</UNAME><DATASTORE_ID>1</DATASTORE_ID><FORMAT>raw</FORMAT>"
        b"<SOURCE>/var/lib/one//datastores/1/abc</SOURCE></IMAGE></P>"
    )
    vms = parse(
        b"<P><VM><ID>42</ID><NAME>web</NAME><UNAME>ann</UNAME><TEMPLATE><DISK><DISK_ID>0</DISK_ID><FORMAT>qcow2</FORMAT>"
        b"</DISK><DISK><DISK_ID>1</DISK_ID><FORMAT>swap</FORMAT></DISK></TEMPLATE><HISTORY_RECORDS><HISTORY>"
        b"<DS_ID>105</DS_ID></HISTORY></HISTORY_RECORDS></VM></P>"
    )
    found = site(stores)
    found["hosts"].append({"name": "host03", "cluster_id": 0, "state": "offline"})
    asked = looks(found, images.findall("IMAGE"), vms.findall("VM"))
    by_host = {host: [one["id"] for one in rows] for host, rows in asked["looks"].items()}
    assert by_host == {"": [1, 100], "br1": [2], "host01": [105], "host02": [105]}
    assert asked["looks"][""][0]["formats"] == {"abc": "raw"}
    assert asked["looks"]["host01"][0]["formats"] == {"42/disk.0": "qcow2"}
    assert asked["names"] == {
        "1/abc": {"id": 7, "name": "base", "owner": "ann"},
        "vm/42": {"id": 42, "name": "web", "owner": "ann"},
    }


# ---------------------------------------------------------------- the page


def tree_of(text: str) -> Any:
    return html.document_fromstring(text)


def many(count: int) -> dict[str, Any]:
    """A report of so many datastores, of which some are full, overcommitted, broken or not seen."""
    stores, answers, names = [], [], {}
    for number in range(count):
        stores.append(store(number, name=f"datastore-number-{number}" if number else HOSTILE))
        given = {
            "pool": f"file system {number}",
            "used_bytes": (number * 37 % 100) * GIB,
            "broken": int(number % 9 == 8),
        }
        given["logical_bytes"] = (number * 13 % 200) * GIB
        files = [image(f"file{number}", (number % 60 + 1) * GIB)]
        wrong = {"id": number, "error": f"{HOSTILE} does not answer"}
        answers.append(wrong if number % 11 == 10 else answer(number, largest=files, **given))
        names[f"{number}/file{number}"] = {"id": number, "name": f"image of {number} {HOSTILE}", "owner": HOSTILE}
    return told(stores, {"": answers}, names)


@pytest.mark.parametrize("count", [0, 1, 200])
def test_what_is_on_the_page(count: int) -> None:
    found = many(count)
    text = page(found, TEMPLATE)
    tree = tree_of(text)
    # nothing is loaded, nothing runs, and what names say is text
    assert not tree.xpath("//script|//img|//link|//iframe|//*[@onerror or @onclick or @style or @href or @src]")
    assert "49" not in re.findall(r"&amp;\S*", text)
    assert len(tree.xpath("//section[@aria-labelledby='datastores']//tbody/tr")) == count
    assert len(tree.xpath("//ul[@class='pools']/li")) == min(len(found["pools"]), 20)
    if count:
        assert HOSTILE in tree.xpath("string(//section[@aria-labelledby='datastores']//tbody/tr[1]/th)")
    # a table tells what its cells are, and a picture what it shows
    for table in tree.xpath("//table"):
        assert (
            table.xpath("caption") and table.xpath("thead//th[@scope='col']") and table.xpath("tbody//th[@scope='row']")
        )
        wide = sum(int(cell.get("colspan", 1)) for cell in table.xpath("thead//th"))
        assert {len(row.xpath("th|td")) for row in table.xpath("tbody/tr")} == {wide}
    assert all(one.get("aria-label") for one in tree.xpath("//svg[@role='img']"))


def test_the_page_in_numbers() -> None:
    tree = tree_of(page(told([store(1)], {"": [answer(1)]}), TEMPLATE))
    tiles = dict(zip(tree.xpath("//dt/text()"), tree.xpath("//dd/text()"), strict=True))
    assert tiles == {
        "Datastores": "1", "Hosts": "2", "Room": "100.0 GB", "In use": "40.0 GB", "Free": "55.0 GB",
        "Promised to guests": "80.0 GB", "Overcommitment": "80%", "Images and disks": "2", "Snapshots": "3",
    }  # fmt: skip
    [bar] = tree.xpath("//ul[@class='pools']//svg")
    assert bar.get("aria-label") == "ds1 (1) on front-end: 40% in use, 80% promised"
    widths = {rect.get("class"): rect.get("width") for rect in bar.xpath("rect")}
    assert widths == {"free": "100", "used": "40.00", "images": "10.00", "promised": "80.00"}


BROWSER = shutil.which("chromium")
#: The page in a frame, and what a reader meets there: whether scripts ran, what is too wide, colours.
FRAME = """<!DOCTYPE html><meta charset=utf-8>
<iframe id=f src="page.html" style="width:WIDTHpx;height:800px;border:0"></iframe><pre id=told></pre>
<script>onload = () => {
  const d = document.getElementById('f').contentDocument, e = d.documentElement, w = d.defaultView;
  const s = w.getComputedStyle(d.body), right = x => x.getBoundingClientRect().right;
  const wide = [...d.querySelectorAll('section, .tiles, .pools li, .scroll')].filter(x => right(x) > WIDTH + 1);
  const bar = d.querySelector('.bar');
  document.getElementById('told').textContent = JSON.stringify({
    title: d.title, client: e.clientWidth, scroll: e.scrollWidth, wide: wide.length,
    ground: s.backgroundColor, ink: s.color, size: parseFloat(s.fontSize),
    bars: d.querySelectorAll('.bar').length, seen: bar ? bar.getBoundingClientRect().width : 0,
    loaded: w.performance.getEntriesByType('resource').length})
}</script>"""


def opened(folder: Path, width: int, dark: bool) -> dict[str, Any]:
    """What a browser makes of ``page.html``."""
    (folder / "frame.html").write_text(FRAME.replace("WIDTH", str(width)), encoding="utf-8")
    command = [
        str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files",
        f"--user-data-dir={folder / 'profile'}", f"--window-size={max(width, 500) + 20},900",
        *(["--blink-settings=preferredColorScheme=0"] if dark else ["--blink-settings=preferredColorScheme=1"]),
        "--dump-dom", (folder / "frame.html").as_uri(),
    ]  # fmt: skip
    said = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    found: dict[str, Any] = json.loads(tree_of(said).xpath("string(//*[@id='told'])"))
    return found


def brightness(colour: str) -> float:
    """Relative luminance of a computed colour (WCAG 2)."""
    parts = [int(one) / 255 for one in re.findall(r"\d+", colour)[:3]]
    red, green, blue = (one / 12.92 if one <= 0.03928 else ((one + 0.055) / 1.055) ** 2.4 for one in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.skipif(not BROWSER, reason="there is no chromium")
@pytest.mark.parametrize(
    ("count", "width", "dark"),
    [
        (200, 360, False),
        pytest.param(200, 360, True, marks=pytest.mark.full),
        pytest.param(200, 1280, False, marks=pytest.mark.full),
        pytest.param(200, 1280, True, marks=pytest.mark.full),
        pytest.param(0, 360, False, marks=pytest.mark.full),
        pytest.param(1, 320, True, marks=pytest.mark.full),
    ],
)
def test_in_a_browser(tmp_path: Path, count: int, width: int, dark: bool) -> None:
    (tmp_path / "page.html").write_text(page(many(count), TEMPLATE), encoding="utf-8")
    seen = opened(tmp_path, width, dark)
    # no script of a name ran, nothing was fetched
    assert seen["title"] == "Storage capacity, 2026-11-21 18:00"
    assert seen["loaded"] == 0
    # nothing but the tables' own frames scrolls sideways
    assert (seen["scroll"], seen["wide"]) == (seen["client"], 0)
    assert (seen["bars"] > count) == (count > 0)
    assert (seen["seen"] > 50) == (count > 0)
    # text and ground differ as accessibility asks for, and follow the reader's wish
    ground, ink = brightness(seen["ground"]), brightness(seen["ink"])
    assert (ground < ink) == dark
    assert (max(ground, ink) + 0.05) / (min(ground, ink) + 0.05) > 7
    assert seen["size"] >= 16
