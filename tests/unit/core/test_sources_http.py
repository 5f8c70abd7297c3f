# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sources over http and https: broken transfers, redirects, proxies, credentials, certificates, deadlines."""

from __future__ import annotations

import base64
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from plugins.module_utils._errors import BadCall, Corrupt, DeadlineOver, Missing, NoAccess, Refused, Unreachable
from plugins.module_utils.tools import command
from plugins.module_utils.tools.sources import Options, http, open_source
from tests.unit.core.reading import read, refused
from tests.unit.core.support import MIB, pattern, tool
from tests.unit.core.web import OK, Document, Site, header, serving

DATA = pattern("document", 2 * MIB + 12345)
DATE = "Sat, 01 Nov 2025 10:00:00 GMT"


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxies, and short pauses between tries."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(http, "PAUSES", (0.01, 0.02, 0.03))


@pytest.fixture
def web() -> Iterator[Site]:
    with serving() as site:
        yield site


# ---------------------------------------------------------------- going on


@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "no ranges"])
@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "length"])
@pytest.mark.parametrize(("tag", "date"), [('"one"', ""), ("", DATE), ('W/"weak"', DATE), ("", ""), ('W/"weak"', "")])
@pytest.mark.parametrize("cuts", [(0,), (1,), (700_000,), (MIB, MIB), (700_000, 10, 0, 1_000_000)], ids=str)
def test_a_transfer_goes_on_where_it_broke(
    web: Site, cuts: tuple[int, ...], tag: str, date: str, chunked: bool, ranges: bool
) -> None:
    document = Document(DATA, cuts, tag, date)
    document.ranges, document.chunked = ranges, chunked
    data, _source = read(web.document("/x", document))
    assert data == DATA
    assert len(web.asked) == len(cuts) + 1


def test_what_is_asked_for_after_a_break(web: Site) -> None:
    document = Document(DATA, (MIB,), '"one"', DATE)
    document.chunked = False
    assert read(web.document("/x", document))[0] == DATA
    first, second = web.asked
    assert (header(first, "Range"), header(first, "If-Range")) == ("", "")
    assert (header(second, "Range"), header(second, "If-Range")) == (f"bytes={MIB}-", '"one"')
    assert header(first, "Accept-Encoding") == "identity"


@pytest.mark.parametrize("careless", [True, False])
@pytest.mark.parametrize(("tag", "date"), [('"one"', ""), ("", DATE), ("", "")])
def test_a_document_that_changed_is_refused(web: Site, tag: str, date: str, careless: bool) -> None:
    before = Document(DATA, (MIB,), tag, date)
    after = Document(DATA[:-1] + b"x" if tag or date else b"x" + DATA[1:], (), tag and '"two"', date and DATE[::-1])
    after.careless = careless
    states = [before, after]
    address = web.document("/x", lambda request: states.pop(0)(request) if len(states) > 1 else states[0](request))
    refused(address, Corrupt, "changed while it was read")


@pytest.mark.parametrize("size", [MIB, MIB - 1, len(DATA) + 1])
def test_a_document_with_another_length_is_refused(web: Site, size: int) -> None:
    states = [Document(DATA, (MIB,)), Document(pattern("document", size))]
    refused(web.document("/x", lambda request: states.pop(0)(request)), Corrupt, "changed while it was read")


@pytest.mark.parametrize("span", [f"bytes {MIB - 1}-{len(DATA) - 1}/{len(DATA)}", f"bytes {MIB}-", "", "bytes x-y/z"])
def test_a_part_that_is_another_part_is_refused(web: Site, span: str) -> None:
    part = (
        f"HTTP/1.1 206 Partial Content\r\nContent-Range: {span}\r\nContent-Length: {len(DATA) - MIB}\r\n\r\n".encode()
    )
    states: list[Callable[[bytes], Iterator[bytes]]] = [
        Document(DATA, (MIB,)),
        lambda request: iter([part, DATA[MIB:]]),
    ]
    address = web.document("/x", lambda request: states.pop(0)(request))
    if span.startswith(f"bytes {MIB}-"):
        assert read(address)[0] == DATA
    else:
        refused(address, Corrupt, "changed while it was read")


def test_there_is_an_end_to_tries(web: Site) -> None:
    document = Document(DATA, (MIB, *[0] * 10))
    error = refused(web.document("/x", document), Unreachable, "broke: it ended early, 1048576 of ")
    assert "127.0.0.1" in str(error)
    assert len(web.asked) == 1 + len(http.PAUSES)


def test_progress_starts_the_tries_again(web: Site) -> None:
    assert read(web.document("/x", Document(DATA, (1000,) * 20)))[0] == DATA


def test_no_try_is_repeated_when_that_is_not_wanted(web: Site) -> None:
    refused(web.document("/x", Document(DATA, (MIB,))), Unreachable, "broke", retry=False)
    assert len(web.asked) == 1


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429, 408])
def test_a_server_that_cannot_for_now(web: Site, status: int) -> None:
    document = Document(DATA)
    states: list[Callable[[bytes], Iterator[bytes]]] = [
        lambda request: iter([f"HTTP/1.1 {status} Later\r\nContent-Length: 0\r\n\r\n".encode()]),
        document,
    ]
    address = web.document("/x", lambda request: states.pop(0)(request))
    assert read(address)[0] == DATA
    web.raw("/y", f"HTTP/1.1 {status} Later\r\nContent-Length: 0\r\n\r\n".encode())
    refused(web.address + "/y", Unreachable, f"answers {status} Later")
    assert len(web.asked) == 2 + 1 + len(http.PAUSES)


def test_retry_after_is_heard(web: Site) -> None:
    states: list[Callable[[bytes], Iterator[bytes]]] = [
        lambda request: iter([b"HTTP/1.1 503 Later\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"]),
        Document(DATA),
    ]
    begun = time.monotonic()
    assert read(web.document("/x", lambda request: states.pop(0)(request)))[0] == DATA
    assert 1 <= time.monotonic() - begun < 4


@pytest.mark.parametrize(("status", "kind"), [(404, Missing), (410, Missing), (403, NoAccess), (401, NoAccess)])
def test_an_answer_that_stays(web: Site, status: int, kind: type[Missing | NoAccess]) -> None:
    address = web.raw("/x", f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n".encode())
    refused(address, kind, f"answers {status} No")
    assert len(web.asked) == 1


def test_a_mirror_that_forgets(web: Site) -> None:
    """What redirects sends us to may be known for a short time only: after a break the first URL is asked again."""
    cut = Document(DATA, (MIB,))
    places = iter(("/old", "/new"))

    def send(request: bytes) -> Iterator[bytes]:
        yield f"HTTP/1.1 302 Found\r\nLocation: {next(places)}\r\nContent-Length: 0\r\n\r\n".encode()

    def old(request: bytes) -> Iterator[bytes]:
        if header(request, "Range"):
            yield b"HTTP/1.1 403 Expired\r\nContent-Length: 0\r\n\r\n"
        else:
            yield from cut(request)

    web.document("/old", old)
    web.document("/new", Document(DATA))
    assert read(web.document("/x", send))[0] == DATA
    assert [request.split()[1] for request in web.asked] == [b"/x", b"/old", b"/old", b"/x", b"/new"]


# ---------------------------------------------------------------- bodies


@pytest.mark.parametrize("size", [0, 1, MIB, MIB + 1])
def test_bodies(web: Site, size: int) -> None:
    body = pattern("x", size)
    data, source = read(web.put("/x", body))
    assert (data, source.length, source.path) == (body, size, "")


def test_a_body_that_ends_with_its_connection(web: Site) -> None:
    data, source = read(web.put("/x", DATA, length=None))
    assert data == DATA and source.length is None


def test_a_chunked_body_that_is_cut(web: Site) -> None:
    refused(web.raw("/x", OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab"), Unreachable, "broke")


def test_what_is_encoded_stays_as_it_is(web: Site) -> None:
    assert read(web.put("/x", b"\x1f\x8b packed", head=b"Content-Encoding: gzip\r\n"))[0] == b"\x1f\x8b packed"


def test_a_body_without_end_is_for_the_reader_to_stop(web: Site) -> None:
    web.endless.add("/x")
    source = open_source(web.put("/x", b"", length=None), Options(stall=2))
    chunks = source.chunks()
    assert sum(len(next(chunks)) for _number in range(20)) >= 10 * MIB
    source.close()


def test_a_rate_is_kept(web: Site) -> None:
    begun = time.monotonic()
    assert read(web.put("/x", DATA), rate=len(DATA) // 2)[0] == DATA
    # not faster; how much slower is the machine's affair
    assert 1.9 < time.monotonic() - begun < 6


# ---------------------------------------------------------------- waiting


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\nContent-", OK + b"Content-Length: 99\r\n\r\nabc"])
def test_silence(web: Site, answer: bytes) -> None:
    web.hanging.add("/x")
    begun = time.monotonic()
    refused(web.raw("/x", answer), DeadlineOver, "(for|within) 1 seconds", within=4, stall=1)
    assert time.monotonic() - begun > 0.9


def test_a_reader_who_takes_long_is_not_the_sources_silence(web: Site) -> None:
    asked = threading.Event()

    def answer(request: bytes) -> Iterator[bytes]:
        yield OK + b"Content-Length: %d\r\n\r\n%s" % (len(DATA), DATA[:MIB])
        asked.wait(20)
        time.sleep(0.2)
        yield DATA[MIB:]

    source = open_source(web.document("/x", answer), Options(stall=0.5))
    chunks = source.chunks()
    got = next(chunks)
    time.sleep(0.7)
    asked.set()
    assert got + b"".join(chunks) == DATA
    source.close()


def test_a_server_that_does_not_accept(web: Site) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}/x"
        refused(address, Unreachable, "Cannot reach http://127.0.0.1.*Connection refused")


def test_a_host_without_an_address() -> None:
    refused("http://nowhere.invalid/x", Unreachable, "Cannot reach http://nowhere.invalid/x: ")


def test_a_resolver_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_a, **_n: over.wait(20))
    refused("http://slow.invalid/x", DeadlineOver, "does not answer within 1 seconds", within=4, stall=1)
    over.set()


def test_the_next_address_is_tried(web: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first address is silent, as behind a firewall: a listener whose queue is full."""
    port = int(web.address.rpartition(":")[2])
    with socket.socket() as silent, socket.socket() as filler:
        silent.bind(("127.0.0.2", 0))
        silent.listen(0)
        filler.connect(silent.getsockname())
        found = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", silent.getsockname()),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)),
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_a, **_n: found)
        web.put("/x", DATA)
        assert read(f"http://two.invalid:{port}/x", stall=2)[0] == DATA


@pytest.mark.parametrize("where", ["answer", "body", "pause"])
def test_a_stop_ends_a_wait(web: Site, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    web.hanging.add("/x")
    address = web.raw("/x", b"" if where == "answer" else OK + b"Content-Length: 99\r\n\r\nabc")
    if where == "pause":
        monkeypatch.setattr(http, "PAUSES", (20,))
        web.raw("/x", b"HTTP/1.1 503 Later\r\nContent-Length: 0\r\n\r\n")
    stopping: list[bool] = []
    monkeypatch.setattr(command, "_stopping", stopping)
    timer = threading.Timer(0.5, stopping.append, [True])
    timer.start()
    begun = time.monotonic()
    with pytest.raises(InterruptedError):
        read(address, stall=30)
    assert 0.4 < time.monotonic() - begun < 4
    timer.join()


# ---------------------------------------------------------------- redirects, proxies, credentials


def test_redirects(web: Site) -> None:
    web.put("/there/z", DATA)
    web.redirect("/y", "there/z")
    assert read(web.redirect("/x", web.address + "/y"))[0] == DATA


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://host/x", "gopher:x"])
def test_redirects_that_are_not_followed(web: Site, target: str) -> None:
    refused(web.redirect("/x", target), Refused, "which is not followed")


def test_redirects_in_a_circle(web: Site) -> None:
    refused(web.redirect("/x", "/x"), Refused, "redirects more than 10 times")


def test_a_redirect_to_nothing_that_could_be_asked(web: Site) -> None:
    refused(web.redirect("/x", "http://[::1/x"), BadCall, "is not a URL")


@pytest.mark.parametrize(
    "url", ["http://", "http:///x", "http://a b/x", "http://a/x y", "http://a:port/x", "http://[::1/x"]
)
def test_what_is_no_url(url: str) -> None:
    refused(url, BadCall, "is not a URL")


def test_names_beyond_ascii(web: Site) -> None:
    web.put("/%C3%A9%20x", DATA)
    assert read(web.address + "/é%20x?q=é")[0] == DATA
    assert web.asked[0].startswith(b"GET /%C3%A9%20x?q=%C3%A9 HTTP/1.1\r\n")


def login(request: bytes, name: str = "Authorization") -> str:
    """User and password of a request."""
    kind, _blank, value = header(request, name).partition(" ")
    assert kind in ("", "Basic")
    return base64.b64decode(value).decode()


def with_login(address: str, user: str) -> str:
    return address.replace("://", f"://{user}@")


def test_credentials(web: Site) -> None:
    data, source = read(with_login(web.put("/x", DATA), "us%40er:secret%3A"))
    assert data == DATA and login(web.asked[0]) == "us@er:secret:"
    assert source.name == web.address + "/x"
    web.raw("/no", b"HTTP/1.1 401 secret?\r\nContent-Length: 0\r\n\r\n".replace(b"secret", b"No"))
    refused(with_login(web.address + "/no", "user:secret"), NoAccess, f"^{web.address}/no answers 401")


def test_credentials_follow_to_the_same_server_only(web: Site) -> None:
    with serving() as other:
        other.put("/z", DATA)
        web.redirect("/y", other.address + "/z")
        assert read(with_login(web.redirect("/x", "/y"), "user:secret"))[0] == DATA
        assert [login(request) for request in web.asked] == ["user:secret"] * 2
        assert [login(request) for request in other.asked] == [""]


def test_a_proxy(web: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as proxy:
        proxy.put("http://far.invalid:8080/x", DATA)
        monkeypatch.setenv("http_proxy", with_login(proxy.address, "p:secret"))
        assert read("http://user:secret2@far.invalid:8080/x")[0] == DATA
        (asked,) = proxy.asked
        assert asked.startswith(b"GET http://far.invalid:8080/x HTTP/1.1\r\n")
        assert (login(asked, "Proxy-Authorization"), login(asked)) == ("p:secret", "user:secret2")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        assert read(web.put("/y", DATA))[0] == DATA
    assert "Proxy-Authorization" not in web.asked[0].decode()


@pytest.mark.parametrize("proxy", ["socks5://user:secret@127.0.0.1:1", "https://127.0.0.1:1", "http://"])
def test_a_proxy_of_a_kind_that_we_do_not_speak(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("all_proxy", proxy)
    refused("http://far.invalid/x", BadCall, "cannot be used")


# ---------------------------------------------------------------- https


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and named.invalid, with its key."""
    folder = tmp_path_factory.mktemp("tls")
    pair = folder / "certificate.pem", folder / "key.pem"
    words = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test"
    names = "subjectAltName=IP:127.0.0.1,DNS:named.invalid"
    tool(*words.split(), "-addext", names, "-out", pair[0], "-keyout", pair[1])
    return pair


@pytest.fixture
def secure(certificate: tuple[Path, Path]) -> Iterator[Site]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with serving(context) as site:
        yield site


@pytest.fixture
def trusted(certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))


@pytest.mark.usefixtures("trusted")
def test_https(secure: Site) -> None:
    document = Document(DATA, (MIB,))
    assert read(secure.document("/x", document))[0] == DATA
    assert len(secure.asked) == 2


def test_a_certificate_that_nobody_vouches_for(secure: Site) -> None:
    address = secure.put("/x", DATA)
    error = refused(address, Unreachable, "its certificate is not accepted")
    assert "CA" in error.todo and not secure.asked
    assert read(address, verify=False)[0] == DATA


@pytest.mark.usefixtures("trusted")
def test_a_certificate_for_another_name(secure: Site) -> None:
    secure.put("/x", DATA)
    address = secure.address.replace("127.0.0.1", "localhost")
    refused(f"{address}/x", Unreachable, "its certificate is not accepted.*localhost")
    assert read(f"{address}/x", verify=False)[0] == DATA


@pytest.mark.usefixtures("trusted")
def test_https_does_not_lead_to_http(secure: Site, web: Site) -> None:
    web.put("/y", DATA)
    refused(secure.redirect("/x", web.address + "/y"), Refused, "redirects to http://.*, which is not followed")
    assert not web.asked
    secure.put("/z", DATA)
    assert read(web.redirect("/x", secure.address + "/z"))[0] == DATA


def test_https_from_a_server_that_does_not_speak_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            for _try in range(1 + len(http.PAUSES)):
                listener.accept()[0].sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        refused(f"https://127.0.0.1:{listener.getsockname()[1]}/x", Unreachable, "Cannot reach https://")


@pytest.mark.usefixtures("trusted")
def test_a_connection_that_is_cut_without_a_goodbye(secure: Site) -> None:
    """A body that ends with its connection is complete only when the server says so: anybody can cut a connection."""
    address = secure.put("/x", DATA[:1000], length=None)
    refused(address, Unreachable, "broke")


class Tunnel:
    """A proxy that knows CONNECT, and leads everywhere to one place."""

    def __init__(self, target: str) -> None:
        self.target = ("127.0.0.1", int(target.rpartition(":")[2]))
        self.asked: list[bytes] = []
        self.answer = b"HTTP/1.1 200 Connection established\r\n\r\n"
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            client, _peer = self._listener.accept()
            request = b""
            while b"\r\n\r\n" not in request:
                request += client.recv(1)
            self.asked.append(request)
            client.sendall(self.answer)
            if b" 200 " in self.answer:
                server = socket.create_connection(self.target)
                for one, other in ((client, server), (server, client)):
                    threading.Thread(target=self._pass_on, args=(one, other), daemon=True).start()
            else:
                client.close()

    @staticmethod
    def _pass_on(one: socket.socket, other: socket.socket) -> None:
        try:
            while data := one.recv(65536):
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)
        except OSError:
            pass


@pytest.mark.usefixtures("trusted")
def test_https_through_a_proxy(secure: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    tunnel = Tunnel(secure.address)
    monkeypatch.setenv("https_proxy", with_login(tunnel.address, "p:secret"))
    secure.put("/x", DATA)
    assert read("https://user:secret2@named.invalid/x")[0] == DATA
    (asked,) = tunnel.asked
    assert asked.startswith(b"CONNECT named.invalid:443 HTTP/1.1\r\n") and login(asked, "Proxy-Authorization")
    assert b"secret2" not in asked and header(asked, "Authorization") == ""
    assert login(secure.asked[0]) == "user:secret2" and header(secure.asked[0], "Host") == "named.invalid"
    tunnel.answer = b"HTTP/1.1 407 Who\r\n\r\n"
    refused("https://named.invalid/x", Unreachable, "the proxy 127.0.0.1 answers 407 Who")
