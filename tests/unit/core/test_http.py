# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Imports over http from a server that behaves, and from many that do not."""

from __future__ import annotations

import hashlib
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from plugins.module_utils._errors import (
    BadCall,
    Corrupt,
    DeadlineOver,
    Missing,
    NoAccess,
    Refused,
    StorageError,
    Unreachable,
)
from plugins.module_utils.drivers import fs_import
from plugins.module_utils.tools.sources import http
from tests.unit.core.support import MIB, OVERLAID, World, act, pattern
from tests.unit.core.test_images import made, new
from tests.unit.core.web import OK, Site, serving


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A server on loopback, reached without a proxy."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as site:
        yield site


@pytest.fixture(autouse=True)
def once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails here fails for good: how often a server is asked again is tested with the sources."""
    monkeypatch.setattr(http, "PAUSES", ())


def fetched(world: World, source: str, **more: Any) -> dict[str, Any]:
    """Import a URL, with a short deadline on progress."""
    return act("ds_cp", **new(world), source=source, stall_timeout=1, **more)


def failed(world: World, source: str, kind: type[StorageError], said: str, **more: Any) -> StorageError:
    """An import that has to fail, quickly, with one sentence, and with nothing left."""
    begun = time.monotonic()
    with pytest.raises(kind, match=said) as caught:
        fetched(world, source, **more)
    assert time.monotonic() - begun < 5
    assert not made(world).exists() and world.is_tidy()
    assert "\n" not in str(caught.value) and "nothing was changed" in str(caught.value)
    return caught.value


def test_a_download(world: World, web: Site) -> None:
    data = pattern("x", 3 * MIB + 5)
    address = web.put("/image.raw", data)
    digest = hashlib.sha1(data, usedforsecurity=False).hexdigest()
    result = fetched(world, address, size=4, sha1=digest)
    assert result["format"] == "raw"
    assert made(world).read_bytes() == data
    assert world.is_tidy()


@pytest.mark.parametrize("length", [None, -1])
def test_a_download_that_is_converted(world: World, web: Site, length: int | None) -> None:
    address = web.put("/image", world.qcow2(OVERLAID).read_bytes(), length=length)
    assert fetched(world, address, size=2, convert_to="raw")["format"] == "raw"
    assert made(world).read_bytes()[:70000] == pattern(OVERLAID, 70000)


def test_a_chunked_download(world: World, web: Site) -> None:
    body = b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
    address = web.raw("/x", OK + b"Transfer-Encoding: chunked\r\n\r\n" + body)
    fetched(world, address, size=1)
    assert made(world).read_bytes() == b"hello world"


def test_zeros_become_holes(disk_world: World, web: Site) -> None:
    data = b"x" * MIB + bytes(8 * MIB) + b"y" * 10
    fetched(disk_world, web.put("/x", data), size=10)
    assert made(disk_world).read_bytes() == data
    assert made(disk_world).stat().st_blocks * 512 < 4 * MIB
    made(disk_world).unlink()
    fetched(disk_world, web.put("/x", data), size=10, sparse=False)
    assert made(disk_world).stat().st_blocks * 512 >= 9 * MIB


def test_a_body_shorter_than_announced(world: World, web: Site) -> None:
    failed(world, web.put("/x", b"x" * 1000, length=5000), Unreachable, "ended early, 1000 of 5000 bytes")


def test_a_chunked_body_that_breaks_off(world: World, web: Site) -> None:
    address = web.raw("/x", OK + b"Transfer-Encoding: chunked\r\n\r\n5000\r\nhello")
    failed(world, address, Unreachable, "The download of .* broke")


def test_a_chunked_body_that_is_none(world: World, web: Site) -> None:
    address = web.raw("/x", OK + b"Transfer-Encoding: chunked\r\n\r\nno number\r\nhello")
    failed(world, address, Unreachable, "The download of .* broke")


def test_an_endless_body_ends_at_the_limit(world: World, web: Site) -> None:
    web.endless.add("/x")
    failed(world, web.put("/x", b"", length=None), Refused, "larger than the 68 MB that may come", size=4)


def test_a_body_announced_larger_than_the_limit_is_not_even_begun(world: World, web: Site) -> None:
    failed(world, web.put("/x", b"", length=1 << 40), Refused, "larger than the 68 MB that may come", size=4)
    assert len(web.asked) == 1


def test_a_raw_body_has_no_room_beyond_its_size(world: World, web: Site) -> None:
    """More may come, as the format shows only then; what is kept is counted exactly."""
    failed(world, web.put("/x", bytes(4 * MIB + 1)), Refused, "larger than the 4 MB that were counted", size=4)


def test_a_server_that_stops_in_the_middle(world: World, web: Site) -> None:
    web.hanging.add("/x")
    failed(world, web.put("/x", b"x" * 1000, length=5000), DeadlineOver, "sent nothing for 1 seconds")


def test_a_server_that_never_answers(world: World, web: Site) -> None:
    web.hanging.add("/x")
    failed(world, web.raw("/x", b""), DeadlineOver, "does not answer within 1 seconds")


def test_nobody_listens(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    failed(world, f"http://127.0.0.1:{port}/x", Unreachable, "Cannot reach .*Connection refused")


@pytest.mark.parametrize(
    ("status", "kind"),
    [("404 Not Found", Missing), ("403 Forbidden", NoAccess), ("401 Who", NoAccess), ("500 Oh", Unreachable)],
)
def test_a_server_that_says_no(world: World, web: Site, status: str, kind: type[StorageError]) -> None:
    address = web.raw("/x", f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
    failed(world, address, kind, f"answers {status}")


@pytest.mark.parametrize("answer", [b"220 ftp ready\r\n", b"\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"\0\xff" * 100])
def test_a_server_that_speaks_something_else(world: World, web: Site, answer: bytes) -> None:
    failed(world, web.raw("/x", answer), Unreachable, "Cannot reach")


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:port/x", "http:///x", "http://", "http://[::1/x", "http://a:99999/"]
)
def test_urls_that_are_none(world: World, address: str) -> None:
    failed(world, address, BadCall, "is not a URL")


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd", "FILE:///etc/passwd", "ftp://127.0.0.1/x", "/../x:", "gopher:x"]
)
def test_redirects_that_leave_the_web(world: World, web: Site, target: str) -> None:
    said = "404" if target.startswith("/") else "[Rr]edirect.*not (followed|allowed)"
    failed(world, web.redirect("/x", target), StorageError, said)
    assert len(web.asked) == (2 if target.startswith("/") else 1)


def test_a_redirect_within_the_web(world: World, web: Site) -> None:
    web.put("/real", b"data")
    web.redirect("/first", "/real")
    fetched(world, web.redirect("/x", web.address + "/first"))
    assert made(world).read_bytes() == b"data"


def test_a_redirect_that_turns_in_circles(world: World, web: Site) -> None:
    web.redirect("/y", "/x")
    failed(world, web.redirect("/x", "/y"), StorageError, "redirects more than 10 times")


def test_a_wrong_digest(world: World, web: Site) -> None:
    failed(world, web.put("/x", b"data"), Corrupt, "The md5 of .* not 0", md5="0" * 32)


def test_a_downloaded_image_is_no_safer_than_a_local_one(world: World, web: Site) -> None:
    image = world.qcow2(OVERLAID)
    data = bytearray(image.read_bytes())
    data[8:20] = (512).to_bytes(8, "big") + (11).to_bytes(4, "big")
    data[512:523] = b"/etc/passwd"
    failed(world, web.put("/x", bytes(data)), Refused, "has a backing file", convert_to="raw")


def test_no_more_than_the_head_is_read_for_a_size(web: Site) -> None:
    address = web.put("/x", b"x" * 100, length=7 * MIB - 5)
    web.hanging.add("/x")
    web.answers["/x"] = web.answers["/x"] + b"x" * 65536
    assert act("ds_stat", driver="fs", source=address, stall_timeout=2)["size"] == 7


def test_the_size_of_a_remote_image_is_its_virtual_one(world: World, web: Site) -> None:
    address = web.put("/x", world.qcow2(OVERLAID, size=5 * MIB).read_bytes())
    assert act("ds_stat", driver="fs", source=address)["size"] == 5


def test_a_size_that_the_server_does_not_say_is_counted(web: Site) -> None:
    assert act("ds_stat", driver="fs", source=web.put("/x", b"x" * (MIB + 1), length=None))["size"] == 2


@pytest.mark.parametrize("answer", [b"nonsense", OK + b"Transfer-Encoding: chunked\r\n\r\n500\r\nshort"])
def test_a_size_from_a_broken_server(web: Site, answer: bytes) -> None:
    with pytest.raises(Unreachable):
        act("ds_stat", driver="fs", source=web.raw("/x", answer))


@pytest.mark.parametrize("head", [b"", b"\x1f\x8b\x08\0\0\0\0\0\0\xff"])
def test_a_size_is_told_or_given_up_in_time(web: Site, monkeypatch: pytest.MonkeyPatch, head: bytes) -> None:
    """One deadline over everything: a server that sends a drop now and then makes progress, and gets nowhere."""
    monkeypatch.setattr(fs_import, "_PATIENCE", 2.0)
    web.dripping.add("/x")
    begun = time.monotonic()
    with pytest.raises(DeadlineOver, match="2 seconds"):
        act("ds_stat", driver="fs", source=web.put("/x", head, length=None))
    assert 1.5 < time.monotonic() - begun < 4
