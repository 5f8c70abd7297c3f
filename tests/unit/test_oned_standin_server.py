# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The API of the stand-in over HTTP, its ways to fail, and the commands that ask it."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import threading
import time
import xml.etree.ElementTree as ElementTree
import xmlrpc.client
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.oned import ApiServer, HostState, Life, Oned, Runner, install_commands, write_session
from tests.lab.oned.bin.onecli.pretty import pretty
from tests.lab.oned.scripted import ScriptedFrontEnd

SESSION = "oneadmin:oneadmin"


@pytest.fixture
def oned() -> Oned:
    oned = Oned()
    oned.add_host("host01")
    oned.add_host("host02", state=HostState.OFFLINE)
    oned.add_host("host03", state=HostState.DISABLED)
    life = Life(oned, Runner(ScriptedFrontEnd()))
    life.create_datastore("images <&>", template={"NOTE": "a ]]> b <&> \n\t'\" ü"})
    return oned


@pytest.fixture
def server(oned: Oned) -> Iterator[ApiServer]:
    with ApiServer(oned) as server:
        yield server


def ask(server: ApiServer, method: str, *arguments: object, session: str = SESSION) -> list[Any]:
    """One call over a connection of its own."""
    proxy = xmlrpc.client.ServerProxy(server.url)
    answer = getattr(proxy, method)(session, *arguments)
    assert isinstance(answer, list)
    return answer


# -- answers -----------------------------------------------------------------------------------------------------------


def test_document_on_one_line_with_cdata(server: ApiServer) -> None:
    good, text, code = ask(server, "one.datastore.info", 100, False)
    assert (good, code) == (True, 0)
    assert "\n  <" not in text
    assert "<TM_MAD><![CDATA[qcow2]]></TM_MAD>" in text
    root = ElementTree.fromstring(text)
    assert root.findtext("NAME") == "images <&>"
    assert root.findtext("TEMPLATE/NOTE") == "a ]]> b <&> \n\t'\" ü"


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("one.vm.info", "[one.vm.info] Error getting virtual machine [9]."),
        ("one.image.info", "[one.image.info] Error getting image [9]."),
        ("one.datastore.info", "[one.datastore.info] Error getting datastore [9]."),
        ("one.host.info", "[one.host.info] Error getting host [9]."),
    ],
)
def test_unknown_object(server: ApiServer, method: str, message: str) -> None:
    assert ask(server, method, 9) == [False, message, 0x0400, 9]


def test_wrong_session(server: ApiServer) -> None:
    answer = ask(server, "one.host.info", 0, session="oneadmin:wrong")
    assert answer[:3] == [False, "[one.host.info] User couldn't be authenticated, aborting call.", 0x0100]


def test_wrong_arguments(server: ApiServer) -> None:
    assert ask(server, "one.host.info", "zero")[2] == 0x1000
    assert ask(server, "one.host.info")[2] == 0x1000
    with pytest.raises(xmlrpc.client.Fault, match="not defined"):
        ask(server, "one.host.fly", 1)


def test_pools_and_version(server: ApiServer) -> None:
    hosts = ElementTree.fromstring(ask(server, "one.hostpool.info")[1])
    assert hosts.tag == "HOST_POOL"
    assert [host.findtext("NAME") for host in hosts] == ["host01", "host02", "host03"]
    assert ElementTree.fromstring(ask(server, "one.datastorepool.info")[1]).findtext("DATASTORE/ID") == "100"
    assert ask(server, "one.vmpool.info", -2, -1, -1, -1)[1] == "<VM_POOL/>"
    assert ask(server, "one.imagepool.info", -2, -1, -1)[1] == "<IMAGE_POOL/>"
    assert ask(server, "one.system.version")[1] == "7.5.80"


def test_what_came_in_is_known_but_no_session(server: ApiServer) -> None:
    ask(server, "one.host.info", 0, False)
    request = server.requests[-1]
    assert (request.method, request.arguments) == ("one.host.info", (0, False))
    assert SESSION not in repr(server.requests)


# -- HTTP --------------------------------------------------------------------------------------------------------------


def call_body(method: str, *arguments: int) -> bytes:
    """The body of a request."""
    return xmlrpc.client.dumps((SESSION, *arguments), method).encode()


def post(connection: http.client.HTTPConnection, body: bytes, path: str = "/RPC2") -> tuple[int, bytes]:
    """One request; status and answer."""
    connection.request("POST", path, body, {"Content-Type": "text/xml"})
    response = connection.getresponse()
    return response.status, response.read()


def test_connection_stays_open(server: ApiServer) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    for _ in range(3):
        assert post(connection, call_body("one.host.info", 0))[0] == 200
    connection.close()
    assert len({request.connection for request in server.requests}) == 1


def test_other_requests_are_refused(server: ApiServer) -> None:
    for body, path, status in ((b"x", "/", 404), (b"", "/RPC2", 200), (b"<not>xml", "/RPC2", 200)):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
        got, answer = post(connection, body, path)
        assert got == status
        assert path == "/" or b"not valid XML-RPC" in answer
        connection.close()


def test_many_at_once(server: ApiServer) -> None:
    answers: list[bool] = []
    threads = [threading.Thread(target=lambda: answers.append(ask(server, "one.host.info", 0)[0])) for _ in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert answers == [True] * 30


# -- failures ----------------------------------------------------------------------------------------------------------


def test_refused_and_back_on_the_same_port(server: ApiServer) -> None:
    port = server.port
    held = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    post(held, call_body("one.host.info", 0))
    server.stop()
    with pytest.raises(ConnectionRefusedError):
        ask(server, "one.host.info", 0)
    with pytest.raises((OSError, http.client.HTTPException)):
        post(held, call_body("one.host.info", 0))
    server.start()
    assert server.port == port
    assert ask(server, "one.host.info", 0)[0] is True


def test_delay_ends_with_the_server(server: ApiServer) -> None:
    server.faults.delay = 0.2
    begin = time.monotonic()
    assert ask(server, "one.host.info", 0)[0] is True
    assert time.monotonic() - begin >= 0.2
    server.faults.delay = 60
    client = socket.create_connection(("127.0.0.1", server.port), timeout=5)
    body = call_body("one.host.info", 0)
    client.sendall(b"POST /RPC2 HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    while len(server.requests) < 2:
        time.sleep(0.005)
    begin = time.monotonic()
    server.stop()
    assert client.recv(100) == b""
    assert time.monotonic() - begin < 5


def test_garbage_status_hang_up_and_half_an_answer(server: ApiServer) -> None:
    server.faults.garbage = b"<html>\x00"
    with pytest.raises(Exception, match=r"not well-formed|no element"):
        ask(server, "one.host.info", 0)
    server.faults.garbage = None
    server.faults.status = 503
    with pytest.raises(xmlrpc.client.ProtocolError):
        ask(server, "one.host.info", 0)
    server.faults.status = 200
    server.faults.hang_up = True
    with pytest.raises(http.client.RemoteDisconnected):
        ask(server, "one.host.info", 0)
    server.faults.hang_up = False
    server.faults.cut_off = True
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    with pytest.raises(http.client.IncompleteRead):
        post(connection, call_body("one.host.info", 0))
    connection.close()


def test_wrong_session_at_the_server(server: ApiServer) -> None:
    server.faults.wrong_auth = True
    assert ask(server, "one.host.info", 0)[2] == 0x0100


def test_huge_answer(server: ApiServer) -> None:
    server.faults.huge = 1_000_000
    assert len(ask(server, "one.host.info", 0)[1]) == pytest.approx(1_000_000, rel=0.01)


def test_only_the_first_calls_fail(server: ApiServer) -> None:
    server.faults.hang_up = True
    server.faults.failing_calls = 1
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    with pytest.raises(http.client.RemoteDisconnected):
        post(connection, call_body("one.host.info", 0))
    connection.close()
    assert ask(server, "one.host.info", 0)[0] is True


# -- commands ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def commands(server: ApiServer, tmp_path: Path) -> dict[str, str]:
    """Installs the commands; the environment in which they run."""
    install_commands(tmp_path / "bin")
    write_session(tmp_path / ".one" / "one_auth", SESSION)
    return {"PATH": f"{tmp_path / 'bin'}:{os.defpath}", "HOME": str(tmp_path), "ONE_XMLRPC": server.url}


def run(environment: dict[str, str], *argv: str) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end."""
    return subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=20, check=False)


@pytest.mark.parametrize("words", [("show", "-x", "100"), ("show", "100", "-x"), ("show", "-x", "--decrypt", "100")])
def test_show(commands: dict[str, str], oned: Oned, words: tuple[str, ...]) -> None:
    done = run(commands, "onedatastore", *words)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == pretty(oned.datastore(100).element().render())
    assert done.stdout.startswith("<DATASTORE>\n  <ID>100</ID>\n")


def test_lists(commands: dict[str, str]) -> None:
    for name, tag in (
        ("onevm", "VM_POOL"),
        ("oneimage", "IMAGE_POOL"),
        ("onedatastore", "DATASTORE_POOL"),
        ("onehost", "HOST_POOL"),
    ):
        done = run(commands, name, "list", "-x")
        assert ElementTree.fromstring(done.stdout).tag == tag


def test_hosts_that_are_not_to_be_used(commands: dict[str, str]) -> None:
    """The very question that drivers ask to find a bridge."""
    question = ["--operator", "OR", "--no-pager", "--csv", "--filter=STAT=off,STAT=err,STAT=dsbl", "--list=NAME,STAT"]
    done = run(commands, "onehost", "list", *question)
    assert done.stdout == "NAME,STAT\nhost02,off\nhost03,dsbl\n"


def test_errors_are_one_line(commands: dict[str, str], server: ApiServer, tmp_path: Path) -> None:
    unknown = run(commands, "onevm", "show", "-x", "9")
    assert (unknown.returncode, unknown.stdout) == (255, "")
    assert unknown.stderr == "[one.vm.info] Error getting virtual machine [9].\n"
    assert run(commands, "onevm", "show", "-x", "nine").stderr == "not an id: nine\n"
    (tmp_path / "other").write_text("oneadmin:wrong\n")
    wrong = run({**commands, "ONE_AUTH": str(tmp_path / "other")}, "onehost", "show", "-x", "0")
    assert "authenticated" in wrong.stderr
    missing = run({**commands, "ONE_AUTH": str(tmp_path / "none")}, "onehost", "show", "-x", "0")
    assert missing.stderr == f"cannot read {tmp_path / 'none'}: No such file or directory\n"
    server.stop()
    refused = run(commands, "onehost", "show", "-x", "0")
    assert refused.returncode == 255
    assert refused.stderr.count("\n") == 1
    assert "Connection refused" in refused.stderr


def test_commands_through_a_link(commands: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "onehost").symlink_to(tmp_path / "bin" / "onehost")
    assert run(commands, str(tmp_path / "elsewhere" / "onehost"), "show", "-x", "0").returncode == 0


def test_session_file_is_private(tmp_path: Path) -> None:
    write_session(tmp_path / "one_auth", SESSION)
    assert (tmp_path / "one_auth").stat().st_mode & 0o777 == 0o600
