# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The client of oned's API against the stand-in, well and ill."""

from __future__ import annotations

import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from plugins.module_utils._errors import BadCall, Missing, NoAccess, StorageError, Unreachable
from plugins.plugin_utils.oned import Oned
from plugins.plugin_utils.site_main import main as site_main
from tests.lab.oned import ApiServer, Datastore, Host, Image, Vm
from tests.lab.oned import Oned as Store
from tests.unit.door.support import sentence


@pytest.fixture
def server() -> Iterator[ApiServer]:
    store = Store()
    store.vms[4] = Vm(4, "four <&> ]]> é")
    store.images[7] = Image(7, "seven")
    store.datastores[100] = Datastore(100, "images", base_path="/ds//100")
    store.hosts[0] = Host(0, "host01")
    with ApiServer(store) as running:
        yield running


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """oned's credentials where they lie by default, and nothing else in the environment."""
    for name in ("ONE_XMLRPC", "ONE_AUTH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / ".one" / "one_auth"
    path.parent.mkdir()
    path.write_text("oneadmin:oneadmin\n")
    return path


@pytest.fixture
def oned(server: ApiServer, session: Path) -> Oned:
    return Oned(server.url, deadline=20)


def refusal(ask: Callable[[], object], kind: type[StorageError]) -> str:
    """The sentence of an error of exactly this kind."""
    with pytest.raises(StorageError) as caught:
        ask()
    assert type(caught.value) is kind, repr(caught.value)
    return sentence(caught.value)


# ---------------------------------------------------------------- well


def test_objects(oned: Oned, server: ApiServer) -> None:
    assert oned.vm(4).findtext("NAME") == "four <&> ]]> é"
    assert oned.image(7).findtext("NAME") == "seven"
    assert oned.datastore(100).findtext("BASE_PATH") == "/ds//100"
    assert oned.host(0).findtext("NAME") == "host01"
    assert [(request.method, request.arguments) for request in server.requests] == [
        ("one.vm.info", (4, False)),
        ("one.image.info", (7, False)),
        ("one.datastore.info", (100, False)),
        ("one.host.info", (0, False)),
    ]


@pytest.mark.parametrize(("part", "leads"), [(0, True), (1, False), (2, False), (3, True)])
def test_who_leads_an_ha_set(
    oned: Oned,
    server: ApiServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    part: int,
    leads: bool,
) -> None:
    """One that is alone leads, one that others follow does, and a candidate does not yet."""
    server.api.raft = part
    assert oned.leads() == leads
    monkeypatch.setenv("ONE_XMLRPC", server.url)
    assert site_main(["--leads"]) == 0
    assert capsys.readouterr().out == ("yes\n" if leads else "no\n")


def test_pools(oned: Oned, server: ApiServer) -> None:
    assert [item.findtext("ID") for item in oned.vms()] == ["4"]
    assert [item.findtext("ID") for item in oned.images()] == ["7"]
    assert [item.findtext("ID") for item in oned.datastores()] == ["100"]
    assert [item.findtext("ID") for item in oned.hosts()] == ["0"]
    assert server.requests[0].arguments == (-2, -1, -1, -1, "")


def test_a_pool_may_be_long(oned: Oned, server: ApiServer) -> None:
    # some 20 MB: more than one object's document may have
    server.oned.vms.update({number: Vm(number, "n" * 10_000) for number in range(1000, 3000)})
    assert len(oned.vms()) == 2001


# ---------------------------------------------------------------- unwell


def test_an_object_that_is_not_there(oned: Oned) -> None:
    said = refusal(lambda: oned.vm(5), Missing)
    assert said == "oned does not give VM 5: [one.vm.info] Error getting virtual machine [5]."
    said = refusal(lambda: oned.datastore(101), Missing)
    assert said == "oned does not give datastore 101: [one.datastore.info] Error getting datastore [101]."


def test_wrong_credentials(oned: Oned, server: ApiServer, session: Path) -> None:
    wanted = "oned does not give VM 4: [one.vm.info] User couldn't be authenticated, aborting call."
    server.faults.wrong_auth = True
    assert refusal(lambda: oned.vm(4), NoAccess) == wanted
    server.faults.wrong_auth = False
    session.write_text("oneadmin:s3cret")
    said = refusal(lambda: Oned(server.url).vm(4), NoAccess)
    assert said == wanted and "s3cret" not in said


@pytest.mark.parametrize(
    ("method", "wanted"),
    [("one.vm.nothing", "oned refuses one.vm.nothing: Method 'one.vm.nothing' not defined")],
)
def test_a_method_that_is_not_there(oned: Oned, method: str, wanted: str) -> None:
    assert refusal(lambda: oned.call(method, [], "it"), Unreachable) == wanted


FAULTS: list[tuple[dict[str, object], type[StorageError], str]] = [
    ({"status": 500}, Unreachable, "URL does not answer like oned: 'HTTP/1.1 500 Internal Server Error'"),
    ({"status": 302}, Unreachable, "URL does not answer like oned: 'HTTP/1.1 302 Found'"),
    ({"status": 401, "garbage": b""}, Unreachable, "URL does not answer like oned: 'HTTP/1.1 401 Unauthorized'"),
    ({"garbage": b""}, BadCall, "oned's answer is not XML: .+"),
    ({"garbage": b"It works!"}, BadCall, "oned's answer is not XML: .+"),
    ({"garbage": b"<html><body>It works!</body></html>"}, Unreachable, "URL does not answer like oned"),
    ({"garbage": b"<methodResponse><params/></methodResponse>"}, Unreachable, "URL does not answer like oned"),
    (
        {"garbage": b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>'},
        BadCall,
        "oned's answer brings a document type of its own, which is not read",
    ),
    ({"hang_up": True}, Unreachable, "URL does not answer like oned: ''"),
    ({"cut_off": True}, Unreachable, r"oned's answer was cut off: \d+ of \d+ bytes came"),
    ({"huge": 20 << 20}, Unreachable, "oned's answer is larger than 16 MB"),
    ({"huge": 8 << 20}, BadCall, "oned's document of VM 4 has too many elements or attributes"),
]


@pytest.mark.parametrize(("faults", "kind", "wanted"), FAULTS, ids=lambda value: str(value)[:50])
def test_faults(
    oned: Oned, server: ApiServer, faults: dict[str, object], kind: type[StorageError], wanted: str
) -> None:
    for name, value in faults.items():
        setattr(server.faults, name, value)
    begin = time.monotonic()
    said = refusal(lambda: oned.vm(4), kind)
    assert re.fullmatch(wanted.replace("URL", re.escape(server.url)), said), said
    assert time.monotonic() - begin < 10
    # an answer that was given is not asked for again
    assert len(server.requests) == 1


def test_an_object_that_is_not_xml_inside(oned: Oned, server: ApiServer) -> None:
    answer = "<array><data><value><boolean>1</boolean></value><value><string>{}</string></value></data></array>"
    for text, wanted in (("oops", "is not XML: .*"), ("&lt;VM&gt;", "is not XML: .*"), ("", "is not XML: .*")):
        body = f"<methodResponse><params><param><value>{answer.format(text)}</value></param></params></methodResponse>"
        server.faults.garbage = body.encode()
        assert re.fullmatch(f"oned's document of VM 4 {wanted}", refusal(lambda: oned.vm(4), BadCall))


def test_a_value_without_a_type_is_text(oned: Oned, server: ApiServer) -> None:
    server.faults.garbage = (
        b"<methodResponse><params><param><value><array><data><value><boolean>1</boolean></value>"
        b"<value>&lt;VM&gt;&lt;ID&gt;4&lt;/ID&gt;&lt;/VM&gt;</value></data></array></value></param></params>"
        b"</methodResponse>"
    )
    assert oned.vm(4).findtext("ID") == "4"


# ---------------------------------------------------------------- time


def test_an_oned_that_is_silent(server: ApiServer, session: Path) -> None:
    server.faults.delay = 30
    begin = time.monotonic()
    said = refusal(lambda: Oned(server.url, deadline=0.5).vm(4), Unreachable)
    assert said == f"oned did not answer at {server.url} within 0.5 seconds"
    assert 0.4 < time.monotonic() - begin < 5
    assert len(server.requests) == 1


@contextmanager
def talker(talk: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that says what *talk* sends to each client; its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(20)

    def serve() -> None:
        while True:
            try:
                connection, _address = listener.accept()
            except OSError:
                return
            with connection:
                try:
                    connection.settimeout(20)
                    connection.recv(65536)
                    talk(connection)
                except OSError:
                    pass

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/RPC2"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(20)


def test_an_oned_that_never_ends_its_answer(session: Path) -> None:
    """The deadline is for the whole answer, however often a bit of it comes."""

    def drip(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
        for _turn in range(100_000):
            connection.sendall(b" ")
            time.sleep(0.0001)

    begin = time.monotonic()
    with talker(drip) as url:
        said = refusal(lambda: Oned(url, deadline=0.5).vm(4), Unreachable)
    assert said == f"oned did not answer at {url} within 0.5 seconds"
    assert time.monotonic() - begin < 5


def test_a_connection_that_stays_open(session: Path) -> None:
    """An answer is over when it has its length, whether the server hangs up or not."""
    value = "<array><data><value><boolean>1</boolean></value><value><string>&lt;VM/&gt;</string></value></data></array>"
    body = f"<r><params><param><value>{value}</value></param></params></r>".encode()
    wait = threading.Event()

    def keep(connection: socket.socket) -> None:
        head = b"HTTP/1.1 200 OK\r\ncontent-LENGTH: %d \r\n\r\n" % len(body)
        for part in (head[:20], head[20:] + body[:9], body[9:]):
            connection.sendall(part)
            time.sleep(0.05)
        wait.wait(10)

    begin = time.monotonic()
    with talker(keep) as url:
        assert Oned(url, deadline=8).vm(4).tag == "VM"
        assert time.monotonic() - begin < 4
        wait.set()


@pytest.mark.parametrize(
    "head",
    [b"", b"\r\n\r\n", b"HTTP/1.1\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 2000 x\r\n\r\n", b"\x00" * 100],
)
def test_something_else_answers(head: bytes, session: Path) -> None:
    with talker(lambda connection: connection.sendall(head)) as url:
        said = refusal(lambda: Oned(url, deadline=5).vm(4), Unreachable)
    assert said.startswith(f"{url} does not answer like oned: '")


def test_refused_is_tried_once_more(server: ApiServer, oned: Oned, monkeypatch: pytest.MonkeyPatch) -> None:
    server.stop()
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        server.start()

    monkeypatch.setattr("plugins.plugin_utils.oned.time.sleep", sleep)
    assert oned.vm(4).findtext("ID") == "4"
    assert len(pauses) == 1 and 0 < pauses[0] < 1


def test_refused_twice(server: ApiServer, oned: Oned, monkeypatch: pytest.MonkeyPatch) -> None:
    server.stop()
    tries: list[object] = []
    connect = socket.create_connection

    def counted(*given: object, **more: object) -> socket.socket:
        tries.append(given)
        return connect(*given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "create_connection", counted)
    said = refusal(lambda: oned.vm(4), Unreachable)
    assert said == f"oned does not answer at {server.url}: connection refused"
    assert len(tries) == 2


# ---------------------------------------------------------------- where oned is, and who we are


@pytest.mark.parametrize(
    "url",
    [
        "localhost:2633/RPC2",
        "ftp://localhost/RPC2",
        "http://",
        "http:///RPC2",
        "http://h:0/RPC2",
        "http://h:65536/RPC2",
        "http://h:²/RPC2",
        "http://h:" + "9" * 5000,
        "http://h:/RPC2",
        "http://h/RPC2 x",
        "http://h/RPC2\r\nX-Y: z",
        "/RPC2",
        "h",
    ],
)
def test_addresses_that_are_none(url: str, session: Path) -> None:
    said = refusal(lambda: Oned(url, deadline=1).vm(4), BadCall)
    assert re.fullmatch(r"ONE_XMLRPC is '.{1,120}', which is not an http or https address", said)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_password_in_the_address_is_not_shown(scheme: str, session: Path) -> None:
    said = refusal(lambda: Oned(f"{scheme}://me:s3cret@127.0.0.1:9/RPC2", deadline=1).vm(4), BadCall)
    assert said == "ONE_XMLRPC has a user in it, which is not supported (credentials belong in ONE_AUTH)"


@pytest.mark.parametrize(
    ("url", "host", "port", "path"),
    [
        ("http://h:2633/RPC2", "h", 2633, "/RPC2"),
        ("http://h/RPC2", "h", 80, "/RPC2"),
        ("https://h/a/b", "h", 443, "/a/b"),
        ("http://[::1]:2633/RPC2", "::1", 2633, "/RPC2"),
        ("http://[::1]/RPC2", "::1", 80, "/RPC2"),
        ("http://h:1", "h", 1, "/"),
    ],
)
def test_addresses(url: str, host: str, port: int, path: str, session: Path) -> None:
    assert Oned(url)._address() == (url.split(":")[0], host, port, path)


def test_where_oned_is(server: ApiServer, session: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Oned().endpoint == "http://localhost:2633/RPC2"
    monkeypatch.setenv("ONE_XMLRPC", server.url)
    assert Oned().vm(4).findtext("ID") == "4"
    monkeypatch.setenv("ONE_XMLRPC", "")
    assert Oned().endpoint == "http://localhost:2633/RPC2"


def test_who_we_are(server: ApiServer, session: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other"
    monkeypatch.setenv("ONE_AUTH", str(other))
    said = refusal(lambda: Oned(server.url).vm(4), NoAccess)
    assert said == (f"Cannot read the credentials for oned in {other}: No such file or directory (set ONE_AUTH)")
    other.write_bytes(b"  oneadmin:oneadmin \n\n")
    session.unlink()
    assert Oned(server.url).vm(4).findtext("ID") == "4"
    other.write_bytes(b"\xff\xfe")
    said = refusal(lambda: Oned(server.url).vm(4), NoAccess)
    assert said == f"Cannot read the credentials for oned in {other}: it is not text (set ONE_AUTH)"
    # empty is not set, and nobody is asked without credentials
    monkeypatch.setenv("ONE_AUTH", "")
    count = len(server.requests)
    assert str(session) in refusal(lambda: Oned(server.url).vm(4), NoAccess)
    assert len(server.requests) == count


def test_credentials_with_xml_in_them(server: ApiServer, session: Path) -> None:
    server.api._oned.settings = type(server.oned.settings)(session="one<admin>:a&b\"']]>é")
    session.write_text("one<admin>:a&b\"']]>é\n")
    assert Oned(server.url).vm(4).findtext("ID") == "4"


@pytest.mark.parametrize("text", ["a:b\x00c", "a:\x1b[2J"])
def test_credentials_that_no_request_can_carry(text: str, server: ApiServer, session: Path) -> None:
    session.write_text(text)
    said = refusal(lambda: Oned(server.url).vm(4), NoAccess)
    assert said == f"Cannot read the credentials for oned in {session}: it is not text (set ONE_AUTH)"
    assert server.requests == []


# ---------------------------------------------------------------- https


@pytest.fixture
def secure(server: ApiServer, tmp_path: Path) -> Iterator[tuple[ApiServer, Path]]:
    """The stand-in behind TLS, and the certificate that has to be trusted."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True, timeout=30)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    assert server._server
    server._server.socket = tls.wrap_socket(server._server.socket, server_side=True)
    yield server, certificate


def test_https(secure: tuple[ApiServer, Path], session: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server, certificate = secure
    url = server.url.replace("http:", "https:")
    said = refusal(lambda: Oned(url, deadline=10).vm(4), Unreachable)
    assert said.startswith(f"Cannot reach oned at {url}: ") and "certificate" in said.lower()
    assert server.requests == []
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert Oned(url, deadline=10).vm(4).findtext("ID") == "4"
    assert refusal(lambda: Oned(url, deadline=10).vm(5), Missing).startswith("oned does not give VM 5: ")
    server.faults.delay = 30
    assert refusal(lambda: Oned(url, deadline=0.5).vm(4), Unreachable) == (
        f"oned did not answer at {url} within 0.5 seconds"
    )
    server.faults.delay = 0
    server.faults.status = 500
    assert refusal(lambda: Oned(url, deadline=10).vm(4), Unreachable).startswith(f"Cannot reach oned at {url}: ")


def test_https_refused(session: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    pauses: list[float] = []
    monkeypatch.setattr("plugins.plugin_utils.oned.time.sleep", pauses.append)
    said = refusal(lambda: Oned(f"https://127.0.0.1:{port}/RPC2", deadline=5).vm(4), Unreachable)
    assert said == f"oned does not answer at https://127.0.0.1:{port}/RPC2: connection refused"
    assert pauses[0] > 0
