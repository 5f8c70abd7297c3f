# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sources in S3: Amazon's own examples of signatures, and a server that checks them with code of its own."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import pytest

from plugins.module_utils._errors import BadCall, Corrupt, Missing, NoAccess
from plugins.module_utils.tools.sources import http, s3
from tests.unit.core.reading import read, refused
from tests.unit.core.support import MIB, pattern
from tests.unit.core.web import Document, Site, header, serving

DATA = pattern("object", 2 * MIB + 1)
#: The key that Amazon's documentation uses.
ACCESS, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"


@pytest.mark.parametrize(
    ("url", "headers", "signature"),
    [
        ("/test.txt", {"range": "bytes=0-9"}, "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"),
        ("?lifecycle", {}, "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
        ("?max-keys=2&prefix=J", {}, "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
    ],
)
def test_the_published_examples(url: str, headers: dict[str, str], signature: str) -> None:
    now = time.strptime("20130524T000000Z", "%Y%m%dT%H%M%SZ")
    given = s3.signed(f"https://examplebucket.s3.amazonaws.com{url}", headers, ACCESS, SECRET, "us-east-1", now)
    names = ";".join(sorted([*headers, "host", "x-amz-content-sha256", "x-amz-date"]))
    assert given == {
        "authorization": f"AWS4-HMAC-SHA256 Credential={ACCESS}/20130524/us-east-1/s3/aws4_request,"
        f"SignedHeaders={names},Signature={signature}",
        "x-amz-content-sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "x-amz-date": "20130524T000000Z",
    }


@pytest.mark.parametrize(
    ("bucket", "key", "region", "url"),
    [
        ("images", "a.qcow2", "us-east-1", "https://images.s3.us-east-1.amazonaws.com/a.qcow2"),
        ("images", "a/b c+d~é%", "eu-west-3", "https://images.s3.eu-west-3.amazonaws.com/a/b%20c%2Bd~%C3%A9%25"),
        ("with.dots", "a", "eu-west-3", "https://s3.eu-west-3.amazonaws.com/with.dots/a"),
        ("images", "a", "cn-north-1", "https://images.s3.cn-north-1.amazonaws.com.cn/a"),
    ],
)
def test_where_amazon_keeps_an_object(bucket: str, key: str, region: str, url: str) -> None:
    assert s3.address(bucket, key, region, {"AWS": "YES", "ENDPOINT": "unused"}) == url


@pytest.mark.parametrize("no", ["NO", "no", "No"])
@pytest.mark.parametrize(
    ("endpoint", "url"), [("http://h:9000", "http://h:9000/b/a%20b"), ("h", "https://h/b/a%20b"), ("http://h/s3/", "")]
)
def test_where_others_keep_an_object(no: str, endpoint: str, url: str) -> None:
    assert s3.address("b", "a b", "r", {"AWS": no, "ENDPOINT": endpoint}) == (url or "http://h/s3/b/a%20b")


class Store:
    """Objects for those who sign as they should; the signature is put together here from what was sent."""

    def __init__(self, region: str = "us-east-1") -> None:
        self.region = region
        self.objects: dict[str, Document] = {}
        self.refused: list[str] = []

    def __call__(self, request: bytes) -> Iterator[bytes]:
        wrong = self._wrong(request)
        path = unquote(request.split()[1].decode())
        if wrong:
            self.refused.append(wrong)
            yield b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
        elif path not in self.objects:
            yield b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
        else:
            yield from self.objects[path](request)

    def _wrong(self, request: bytes) -> str:
        given = header(request, "Authorization").replace(",", " ").split()
        if not given or given[0] != "AWS4-HMAC-SHA256":
            return "not signed"
        fields = dict(word.split("=", 1) for word in given[1:])
        names, date = fields["SignedHeaders"], header(request, "x-amz-date")
        if abs(time.time() - time.mktime(time.strptime(date, "%Y%m%dT%H%M%SZ")) + time.timezone) > 900:
            return "another time"
        if not {"host", "x-amz-date"} <= set(names.split(";")):
            return "too little is signed"
        scope = f"{date[:8]}/{self.region}/s3/aws4_request"
        if fields["Credential"] != f"{ACCESS}/{scope}":
            return "another scope"
        body = header(request, "x-amz-content-sha256")
        lines = "".join(f"{name}:{header(request, name)}\n" for name in names.split(";"))
        canonical = f"GET\n{request.split()[1].decode()}\n\n{lines}\n{names}\n{body}"
        text = f"AWS4-HMAC-SHA256\n{date}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        key = self._mac(
            self._mac(self._mac(self._mac(b"AWS4" + SECRET.encode(), date[:8]), self.region), "s3"), "aws4_request"
        )
        return "" if self._mac(key, text).hex() == fields["Signature"] else "the signature does not match"

    @staticmethod
    def _mac(key: bytes, text: str) -> bytes:
        return hmac.digest(key, text.encode(), "sha256")


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Store, Site]]:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(http, "PAUSES", (0.01, 0.02))
    with serving() as site:
        found = Store()
        site.elsewhere = found
        yield found, site


def login(site: Site, **more: str) -> dict[str, Any]:
    given = {"ACCESS_KEY_ID": ACCESS, "SECRET_ACCESS_KEY": SECRET, "AWS": "NO", "ENDPOINT": site.address}
    return {"secrets": {**given, **more}}


@pytest.mark.parametrize("key", ["a.qcow2", "some/folder/a b+c=d&e?f#g%h:é@~!*'()"])
def test_an_object(store: tuple[Store, Site], key: str) -> None:
    objects, site = store
    objects.objects[f"/images/{key}"] = Document(DATA)
    data, source = read(f"s3://images/{key}", **login(site))
    assert (data, source.name, source.length) == (DATA, f"s3://images/{key}", len(DATA))
    assert not objects.refused


@pytest.mark.parametrize("cuts", [(0,), (MIB,), (700_000, 10, 900_000)])
def test_a_transfer_goes_on_where_it_broke(store: tuple[Store, Site], cuts: tuple[int, ...]) -> None:
    objects, site = store
    objects.objects["/images/a"] = Document(DATA, cuts)
    assert read("s3://images/a", **login(site))[0] == DATA
    assert len(site.asked) == len(cuts) + 1 and not objects.refused
    assert header(site.asked[-1], "Range").startswith("bytes=") == any(cuts)


def test_an_object_that_changes(store: tuple[Store, Site]) -> None:
    objects, site = store
    states = [Document(DATA, (MIB,)), Document(DATA[::-1], (), '"two"')]
    states[1].careless = True
    objects.objects["/images/a"] = lambda request: states.pop(0)(request)  # type: ignore[assignment]
    refused("s3://images/a", Corrupt, "s3://images/a changed while it was read", **login(site))


def test_what_is_not_there_or_not_ours(store: tuple[Store, Site]) -> None:
    objects, site = store
    refused("s3://images/gone", Missing, "^s3://images/gone answers 404", **login(site))
    error = refused("s3://images/a", NoAccess, "answers 403", **login(site, SECRET_ACCESS_KEY="secret"))
    assert objects.refused == ["the signature does not match"] and ACCESS not in str(error)
    refused("s3://images/a", NoAccess, "answers 403", **login(site, REGION="eu-west-1"))


def test_no_signature_goes_to_another_server(store: tuple[Store, Site]) -> None:
    _objects, site = store
    with serving() as other:
        other.put("/z", DATA)
        site.redirect("/images/a", other.address + "/z")
        assert read("s3://images/a", **login(site))[0] == DATA
        assert header(site.asked[0], "Authorization") and not header(other.asked[0], "Authorization")
        assert not header(other.asked[0], "x-amz-date")


@pytest.mark.parametrize(
    ("url", "secrets", "kind", "said"),
    [
        ("s3://b/a", {"ACCESS_KEY_ID": ""}, NoAccess, "ACCESS_KEY_ID and SECRET_ACCESS_KEY are required"),
        ("s3://b/a", {"SECRET_ACCESS_KEY": ""}, NoAccess, "ACCESS_KEY_ID and SECRET_ACCESS_KEY are required"),
        ("s3://b/a", {"ENDPOINT": ""}, BadCall, "ENDPOINT is required"),
        ("s3://b/a", {"ENDPOINT": "http://"}, BadCall, "is not a URL"),
        ("s3://b/a", {"ENDPOINT": "file:///etc"}, BadCall, "is not a URL"),
        ("s3://b/a", {"ENDPOINT": "ftp://host"}, BadCall, "is not a URL"),
        ("s3://b/a", {"REGION": "../x"}, BadCall, "is not a REGION"),
        ("s3://b/", {}, BadCall, "is not a source"),
        ("s3://b", {}, BadCall, "is not a source"),
        ("s3:///a", {}, BadCall, "is not a source"),
        ("s3://evil.host:80/a", {}, BadCall, "is not a source"),
        ("s3://u@b/a", {}, BadCall, "is not a source"),
        ("s3://-b/a", {}, BadCall, "is not a source"),
    ],
)
def test_what_cannot_be_asked(
    store: tuple[Store, Site], url: str, secrets: dict[str, str], kind: type[BadCall], said: str
) -> None:
    refused(url, kind, said, **login(store[1], **secrets))
    assert not store[1].asked
