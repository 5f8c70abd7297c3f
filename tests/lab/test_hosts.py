# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts are what the drivers' tests take them for: trust, datastores, failures, and nothing left behind."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.hosts import CommandFailed, Lab, LabError, can_make_hosts, repository
from tests.lab.hosts.paths import below
from tests.lab.hosts.proc import in_namespace, namespace_of, read_stat
from tests.lab.hosts.state import LabState, sweep

pytestmark = pytest.mark.skipif(not can_make_hosts()[0], reason=can_make_hosts()[1])

SSH = ["ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=2"]


def wait_until(what: str, condition: object, limit: float = 5.0) -> None:
    """Wait for `condition()` to be true, at most `limit` seconds."""
    assert callable(condition)
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, f"not {what} after {limit} s"
        time.sleep(0.01)


@pytest.fixture
def clean(lab: Lab) -> Iterator[Lab]:
    """The lab; at the end of the test no command of it may still run on any host."""
    yield lab
    for host in lab.hosts:
        wait_until(f"idle on {host}: {lab.processes(host)}", lambda host=host: not lab.processes(host))


# -- names, users, roots -----------------------------------------------------------------------------------------------


def test_each_host_has_its_own_name_and_address(lab: Lab) -> None:
    assert lab.hosts == ("frontend", "host01", "host02")
    assert (lab.frontend, lab.nodes) == ("frontend", ("host01", "host02"))
    for host in lab.hosts:
        assert lab.run(host, ["hostname"]).stdout == host.encode() + b"\n"
        assert lab.address(host).encode() in lab.run(host, ["ip", "-4", "-o", "addr", "show", "dev", "eth0"]).stdout
    assert len({lab.address(host) for host in lab.hosts}) == 3


def test_commands_run_as_oneadmin_at_home_with_a_clean_environment(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOT_FOR_HOSTS", "1")
    script = "import os, sys; print(os.getuid(), os.getgid(), os.getgroups(), os.getcwd(), sys.executable)"
    said = lab.run("host01", ["python3", "-c", script]).stdout.decode()
    assert said == "9869 9869 [9869] /var/lib/one /usr/bin/python3\n"
    environment = dict(line.split("=", 1) for line in lab.run("host01", ["env"]).stdout.decode().splitlines())
    assert environment == {
        "HOME": "/var/lib/one",
        "USER": "oneadmin",
        "LOGNAME": "oneadmin",
        "SHELL": "/bin/bash",
        "PATH": "/usr/bin:/usr/sbin:/bin:/sbin:/usr/local/bin:/usr/local/sbin",
        "LANG": "C.UTF-8",
    }
    assert b"SSH_AUTH_SOCK=/var/run/one/ssh-agent.sock" in lab.run("frontend", ["env"]).stdout
    assert lab.run("host01", ["env"], env={"ONE_XMLRPC": "x=1 y"}).stdout.endswith(b"ONE_XMLRPC=x=1 y\n")


def test_input_output_and_exit_codes_pass_unchanged(lab: Lab) -> None:
    data = bytes(range(256)) * 1000
    assert lab.run("host01", ["cat"], input=data).stdout == data
    assert lab.run("host01", ["cat"]).stdout == b""
    words = ["a b", "$(id)", "{{ x }}", "'\"", "", "ü"]
    assert lab.run("host01", ["printf", "%s\\n", *words]).stdout.decode().split("\n") == [*words, ""]
    assert lab.run("host01", ["sh", "-c", "exit 7"], check=False).returncode == 7
    assert lab.run("host01", ["sh", "-c", "kill -9 $$"], check=False).returncode == -signal.SIGKILL
    with pytest.raises(CommandFailed, match=r"host01: .* ended with 3: so sorry"):
        lab.run("host01", ["sh", "-c", "echo so sorry >&2; exit 3"])


def test_root_and_sudo(lab: Lab) -> None:
    assert lab.run("host02", ["id", "-u"], user="root").stdout == b"0\n"
    assert lab.run("host02", ["sudo", "-n", "id", "-u"]).stdout == b"0\n"
    with pytest.raises(ValueError, match="oneadmin or root"):
        lab.run("host02", ["id"], user="nobody")


def test_oneadmin_owns_its_home_and_only_that(lab: Lab) -> None:
    for host in lab.hosts:
        foreign = lab.run(host, ["find", "/var/lib/one", "-not", "-user", "oneadmin"], user="root").stdout
        assert foreign == b""
        lab.run(host, ["test", "-w", "/run/one"])
        assert lab.run(host, ["touch", "/etc/x"], check=False).returncode == 1
    assert stat.S_IMODE(lab.path("host01", "/tmp").stat().st_mode) == 0o1777
    assert stat.S_IMODE(lab.path("host01", "/var/tmp").stat().st_mode) == 0o1777


def test_changes_stay_on_their_host(lab: Lab) -> None:
    for place in ("/etc", "/usr/local", "/tmp", "/var/tmp", "/run", "/dev/shm", "/opt"):
        lab.run("host01", ["touch", f"{place}/mark-of-host01"], user="root")
        assert not lab.path("host02", f"{place}/mark-of-host01").exists()
        assert not Path(place, "mark-of-host01").exists()
        lab.run("host01", ["rm", f"{place}/mark-of-host01"], user="root")


def test_a_host_sees_neither_the_machines_processes_nor_the_labs_folder(lab: Lab) -> None:
    assert len(lab.run("host01", ["ps", "-e", "-o", "pid="]).stdout.split()) < 10
    assert lab.path("frontend", f"{repository()}/galaxy.yml").exists()
    assert os.listdir(lab.path("frontend", str(lab.state_dir))) == []
    checkout = lab.path("host01", str(repository()))
    # a checkout below /tmp is out of sight anyway: hosts have a /tmp of their own
    assert not checkout.exists() or os.listdir(checkout) == []
    assert lab.run("host01", ["ip", "-o", "link"]).stdout.count(b"\n") == 2


def test_only_a_front_end_is_given_folders(tmp_path: Path) -> None:
    shown = tmp_path / "a, b:c" / "shown"
    shown.mkdir(parents=True)
    (tmp_path / "a, b:c").chmod(0o700)
    (shown / "file").write_text("x")
    with Lab.up(tmp_path / "lab", names=("fe", "n1"), shared=(), binds=[shown], masks=[repository()]) as lab:
        assert lab.run("fe", ["cat", f"{shown}/file"]).stdout == b"x"
        assert lab.run("fe", ["touch", f"{shown}/new"], user="root", check=False).returncode == 1
        assert not lab.path("n1", str(shown)).exists()
        assert lab.run("n1", ["ls", "-A", str(repository())], user="root", check=False).stdout == b""


# -- trust -------------------------------------------------------------------------------------------------------------


def test_the_front_end_reaches_every_host_by_name_and_address(clean: Lab) -> None:
    for host in clean.hosts:
        for target in (host, clean.address(host)):
            result = clean.run("frontend", [*SSH, target, "hostname"])
            assert (result.stdout, result.stderr) == (host.encode() + b"\n", b"")


def test_a_node_reaches_another_only_with_the_forwarded_agent(clean: Lab) -> None:
    hop = [*SSH, "host02", "hostname"]
    refused = clean.run("host01", hop, check=False)
    assert refused.returncode == 255
    assert b"Permission denied (publickey)" in refused.stderr
    without = clean.run("frontend", [*SSH, "host01", *hop], check=False)
    assert without.returncode == 255
    assert clean.run("frontend", [*SSH, "-A", "host01", *hop]).stdout == b"host02\n"
    assert clean.run("frontend", [*SSH, "-A", "host01", *SSH, "frontend", "hostname"]).stdout == b"frontend\n"


def test_the_agent_serves_without_the_key_file(clean: Lab) -> None:
    only_agent = ["-o", "IdentityFile=none", "-o", "ControlPath=none"]
    assert clean.run("frontend", [*SSH, *only_agent, "host01", "id", "-un"]).stdout == b"oneadmin\n"
    no_agent = clean.run(
        "frontend", [*SSH, *only_agent, "host01", "true"], env={"SSH_AUTH_SOCK": "/nowhere"}, check=False
    )
    assert no_agent.returncode == 255


def test_private_key_on_the_front_end_alone_and_no_host_unknown(lab: Lab) -> None:
    key = "/var/lib/one/.ssh/id_ed25519"
    assert [lab.path(host, key).exists() for host in lab.hosts] == [True, False, False]
    assert stat.S_IMODE(lab.path("frontend", key).stat().st_mode) == 0o600
    known = [lab.path(host, "/var/lib/one/.ssh/known_hosts").read_text() for host in lab.hosts]
    assert known[0] == known[1] == known[2]
    assert [line.split()[0] for line in known[0].splitlines()] == [f"{one},{lab.address(one)}" for one in lab.hosts]
    # A host that is not in the list is refused, not learnt.
    unknown = lab.run("frontend", [*SSH, "-o", "HostKeyAlias=stranger", "host01", "true"], check=False)
    assert unknown.returncode == 255
    assert b"Host key verification failed" in unknown.stderr


def test_sshd_takes_ten_sessions_per_connection_as_delivered(lab: Lab) -> None:
    config = lab.run("host01", ["sshd", "-T", "-f", "/etc/ssh/one_lab_sshd_config"], user="root").stdout.splitlines()
    for line in (b"maxsessions 10", b"maxstartups 10:30:100", b"allowagentforwarding yes", b"usepam no", b"usedns no"):
        assert line in config


def test_files_go_over_sftp(clean: Lab) -> None:
    clean.run("frontend", ["scp", "-q", "/etc/hostname", "host02:/tmp/from-frontend"])
    assert clean.path("host02", "/tmp/from-frontend").read_text() == "frontend\n"
    clean.path("host02", "/tmp/from-frontend").unlink()


# -- datastores --------------------------------------------------------------------------------------------------------


def test_shared_datastores_are_one_and_others_private(lab: Lab) -> None:
    shared, private = "/var/lib/one/datastores/100/mark", "/var/lib/one/datastores/0/mark"
    lab.run("host01", ["touch", shared])
    assert [lab.path(host, shared).exists() for host in lab.hosts] == [True, True, True]
    lab.run("host01", ["mkdir", "-p", str(Path(private).parent)])
    lab.run("host01", ["touch", private])
    assert [lab.path(host, private).exists() for host in lab.hosts] == [False, True, False]
    lab.run("host02", ["rm", shared])
    assert not lab.path("frontend", shared).exists()
    lab.run("host01", ["rm", "-r", "/var/lib/one/datastores/0"])
    assert set(lab.shared) >= {100, 101, 102, 103}


def test_a_lock_on_shared_storage_holds_between_hosts(clean: Lab) -> None:
    lock = "/var/lib/one/datastores/101/lock"
    holder = clean.popen("host01", ["flock", lock, "cat"], stdin=subprocess.PIPE)
    clean.inner_pid(holder)
    probe = ["flock", "-n", "-E", "42", lock, "true"]
    wait_until("locked", lambda: clean.run("host02", probe, check=False).returncode == 42)
    holder.communicate(b"", 5)
    clean.run("host02", probe)
    clean.run("host02", ["rm", lock])


# -- failures ----------------------------------------------------------------------------------------------------------


def test_cut_and_heal(clean: Lab) -> None:
    ping = [*SSH, "host02", "true"]
    clean.run("frontend", ping)
    clean.cut("host02")
    try:
        assert clean.is_cut("host02")
        assert clean.run("frontend", ping, check=False).returncode == 255
        clean.run("frontend", [*SSH, "host01", "true"])
    finally:
        clean.heal("host02")
    assert not clean.is_cut("host02")
    wait_until("healed", lambda: clean.run("frontend", ping, check=False).returncode == 0, 10.0)


def test_a_server_outside_is_reached_by_all_hosts_that_are_not_cut_off(clean: Lab) -> None:
    address, enter = clean.outside()
    assert clean.outside() == (address, enter)
    assert address not in {clean.address(host) for host in clean.hosts}
    serve = (
        f"import socket; server = socket.create_server(({address!r}, 7)); print(flush=True)\n"
        "while True: server.accept()[0].close()"
    )
    server = subprocess.Popen([*enter, sys.executable, "-c", serve], stdout=subprocess.PIPE)
    ask = ["python3", "-c", f"import socket; socket.create_connection(({address!r}, 7), 1)"]
    try:
        assert server.stdout is not None and server.stdout.readline() == b"\n"
        for host in clean.hosts:
            clean.run(host, ask)
        clean.cut("host01")
        assert clean.run("host01", ask, check=False).returncode == 1
        clean.run("host02", ask)
    finally:
        clean.heal("host01")
        server.kill()
        server.communicate()


def test_stopped_sshd_refuses_and_breaks_sessions(clean: Lab) -> None:
    session = clean.popen("frontend", [*SSH, "host01", "sleep", "60"])
    wait_until("logged in", lambda: any("sleep" in one.argv for one in clean.processes("host01")))
    clean.stop_sshd("host01")
    try:
        assert session.wait(5) == 255
        refused = clean.run("frontend", [*SSH, "host01", "true"], check=False)
        assert refused.returncode == 255
        assert b"Connection refused" in refused.stderr
    finally:
        clean.start_sshd("host01")
        session.communicate()
    clean.run("frontend", [*SSH, "host01", "true"])
    for one in clean.processes("host01"):
        # A command that sshd started outlives a killed sshd.
        os.kill(one.pid, signal.SIGKILL)


def test_open_sessions_may_outlive_the_listening_sshd(clean: Lab) -> None:
    session = clean.popen("frontend", [*SSH, "host01", "cat"], stdin=subprocess.PIPE)
    wait_until("logged in", lambda: any(one.argv == ("cat",) for one in clean.processes("host01")))
    clean.stop_sshd("host01", sessions=False)
    try:
        assert b"Connection refused" in clean.run("frontend", [*SSH, "host01", "true"], check=False).stderr
        assert session.communicate(b"still here", 5)[0] == b"still here"
    finally:
        clean.start_sshd("host01")
    clean.start_sshd("host01")


def test_frozen_host_hangs(clean: Lab) -> None:
    clean.freeze("host01")
    try:
        started = time.monotonic()
        result = clean.run("frontend", ["ssh", "-o", "ConnectTimeout=1", "host01", "true"], check=False)
        assert result.returncode == 255
        assert b"timed out" in result.stderr
        assert time.monotonic() - started > 0.9
    finally:
        clean.thaw("host01")
    clean.run("frontend", [*SSH, "host01", "true"])


def test_tiny_disk_is_full_soon(lab: Lab) -> None:
    place = "/var/lib/one/datastores/102/7"
    outside = lab.tiny("host01", place, 1)
    try:
        filled = lab.run("host01", ["dd", "if=/dev/zero", f"of={place}/disk.0", "bs=64k", "count=64"], check=False)
        assert filled.returncode == 1
        assert b"No space left on device" in filled.stderr
        assert (outside / "disk.0").stat().st_size == 1 << 20
        assert not lab.path("host02", f"{place}/disk.0").exists()
    finally:
        lab.untiny("host01", place)
    assert os.listdir(lab.path("host01", place)) == []
    lab.run("host01", ["rmdir", place])


# -- processes ---------------------------------------------------------------------------------------------------------


def test_processes_show_what_runs_and_whom_to_signal(clean: Lab) -> None:
    process = clean.popen("host01", ["sleep", "60"])
    pid = clean.inner_pid(process)
    assert (pid, ("sleep", "60")) in clean.processes("host01")
    assert clean.processes("host02") == []
    assert len(clean.processes("frontend", own=True)) == 3
    os.kill(pid, signal.SIGTERM)
    assert process.wait(5) == -signal.SIGTERM
    process.communicate()
    with pytest.raises(LabError, match="does not run"):
        clean.inner_pid(process)


def test_a_killed_popen_takes_its_command_along(clean: Lab) -> None:
    for user in ("oneadmin", "root"):
        process = clean.popen("host02", ["sleep", "60"], user=user)
        clean.inner_pid(process)
        process.kill()
        process.communicate()
        wait_until("gone", lambda: clean.processes("host02") == [])


def test_a_timeout_ends_the_whole_group(clean: Lab) -> None:
    started = time.monotonic()
    with pytest.raises(subprocess.TimeoutExpired):
        clean.run("host01", ["sh", "-c", "sleep 61 & sleep 60"], timeout=0.3)
    assert time.monotonic() - started < 5


def test_orphans_are_reaped(clean: Lab) -> None:
    clean.run("host01", ["sh", "-c", "(sleep 0.05 &) >/dev/null 2>&1"])
    wait_until("reaped", lambda: b"defunct" not in clean.run("host01", ["ps", "-e", "-o", "args="]).stdout)
    wait_until("gone", lambda: clean.processes("host01") == [])


# -- paths -------------------------------------------------------------------------------------------------------------


def test_paths_are_read_as_the_host_reads_them(lab: Lab) -> None:
    lab.run("host01", ["mkdir", "-p", "/var/lib/one/datastores/0/1"])
    lab.run("host01", ["sh", "-c", "echo image > datastores/100/image"])
    lab.run("host01", ["ln", "-s", "/var/lib/one/datastores/100/image", "datastores/0/1/disk.0"])
    link = lab.path("host01", "/var/lib/one/datastores/0/1/disk.0")
    assert os.readlink(link) == "/var/lib/one/datastores/100/image"
    assert lab.path("host01", "/var/lib/one/datastores/0/1/disk.0", follow=True).read_text() == "image\n"
    # /var/run is a link with an absolute target.
    assert lab.path("frontend", "/var/run/one/ssh-agent.sock").is_socket()
    lab.run("host01", ["rm", "-r", "datastores/0", "datastores/100/image"])


def test_paths_never_leave_the_root(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "up").symlink_to("../../../../etc")
    (tmp_path / "loop").symlink_to("/loop")
    assert below(tmp_path, "/../../x", follow=True) == tmp_path / "x"
    assert below(tmp_path, "/a/up/passwd", follow=True) == tmp_path / "etc" / "passwd"
    assert below(tmp_path, "/a/up", follow=False) == tmp_path / "a" / "up"
    with pytest.raises(OSError, match="symbolic links"):
        below(tmp_path, "/loop", follow=True)
    with pytest.raises(ValueError, match="absolute"):
        below(tmp_path, "a", follow=True)


# -- life --------------------------------------------------------------------------------------------------------------


def traces() -> tuple[str, list[str]]:
    """What a lab could leave on the machine: mounts and named network namespaces."""
    names = sorted(os.listdir("/run/netns")) if os.path.isdir("/run/netns") else []
    return Path("/proc/self/mountinfo").read_text(), names


def users_of(namespaces: set[str]) -> list[int]:
    """The processes in these namespaces. A zombie, which waits for the machine's pid 1, has none any more."""
    return [pid for kind in ("net", "mnt", "pid") for one in namespaces for pid in in_namespace(kind, one)]


def namespaces_of(lab: Lab) -> set[str]:
    found = {namespace_of(lab.leader(host), kind) for host in lab.hosts for kind in ("net", "mnt", "pid")}
    state = LabState.load(lab.state_dir)
    assert state is not None and state.switch is not None
    return {one for one in (*found, namespace_of(state.switch.pid, "net")) if one is not None}


def test_down_leaves_nothing(tmp_path: Path) -> None:
    before = traces()
    lab = Lab.up(tmp_path / "lab")
    assert traces() == before
    lab.run("frontend", ["sh", "-c", "ssh host01 'sleep 300 >/dev/null 2>&1 &'"])
    lab.tiny("host02", "/var/lib/one/datastores/100/1", 1)
    (lab.path("host01", "/var/lib/one/datastores/100") / "left").write_text("x")
    spaces = namespaces_of(lab)
    assert len(spaces) == 10
    lab.down()
    assert users_of(spaces) == []
    assert traces() == before
    assert os.listdir(tmp_path) == []
    lab.down()
    with pytest.raises(LabError, match="not up"):
        lab.leader("host01")
    with pytest.raises(LabError, match="no lab is up"):
        Lab.attach(tmp_path / "lab")


MAKE_AND_WAIT = """
import sys, time
from pathlib import Path
from tests.lab.hosts import Lab
lab = Lab.up(Path(sys.argv[1]), names=("fe", "n1"), tie=sys.argv[2] == "tied")
print("up", flush=True)
time.sleep(60)
"""


def maker(state_dir: Path, how: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", MAKE_AND_WAIT, str(state_dir), how], stdout=subprocess.PIPE, cwd=repository()
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    return process


def test_a_tied_lab_dies_with_its_killed_maker_and_is_swept(tmp_path: Path) -> None:
    before = traces()
    process = maker(tmp_path / "lab", "tied")
    spaces = namespaces_of(Lab.attach(tmp_path / "lab"))
    process.kill()
    process.communicate()
    wait_until("gone", lambda: users_of(spaces) == [])
    assert traces() == before
    (tmp_path / "no-lab").mkdir()
    sweep(tmp_path)
    assert os.listdir(tmp_path) == ["no-lab"]


def test_an_untied_lab_outlives_its_maker_and_is_ended_by_another(tmp_path: Path) -> None:
    process = maker(tmp_path / "lab", "untied")
    process.kill()
    process.communicate()
    lab = Lab.attach(tmp_path / "lab")
    spaces = namespaces_of(lab)
    assert lab.run("fe", [*SSH, "n1", "hostname"]).stdout == b"n1\n"
    sweep(tmp_path)
    assert lab.alive()
    lab.down()
    assert users_of(spaces) == []
    assert os.listdir(tmp_path) == []


KILLED_HALF_WAY = """
import os, signal, sys
from pathlib import Path
from tests.lab.hosts import Lab
from tests.lab.hosts.making import Maker
note = Maker._note
def die_then(self, host, holder):
    note(self, host, holder)
    print(host.leader.pid, flush=True)
    if host.name == "n1":
        os.kill(os.getpid(), signal.SIGKILL)
Maker._note = die_then
Lab.up(Path(sys.argv[1]), names=("fe", "n1"), tie=False)
"""


def test_hosts_nobody_knows_of_end_with_their_maker(tmp_path: Path) -> None:
    line = [sys.executable, "-c", KILLED_HALF_WAY, str(tmp_path / "lab")]
    result = subprocess.run(line, capture_output=True, cwd=repository(), timeout=30, check=False)
    assert result.returncode == -signal.SIGKILL
    leaders = [int(one) for one in result.stdout.split()]
    assert len(leaders) == 2
    wait_until("gone", lambda: not any((read_stat(one) or "Z")[0] != "Z" for one in leaders))
    Lab.attach(tmp_path / "lab").down()
    assert os.listdir(tmp_path) == []


def test_what_a_machine_refuses_is_named() -> None:
    ask = "from tests.lab.hosts import can_make_hosts; print(can_make_hosts()[1])"
    for right, reason in (
        ("sys_admin", "hosts cannot be made here: unshare"),
        ("net_admin", "hosts cannot be made here: a veth pair cannot be had"),
        ("mknod", "hosts cannot be made here: device nodes cannot be had"),
    ):
        line = ["setpriv", "--bounding-set", f"-{right}", "--inh-caps", f"-{right}", "--", sys.executable, "-c", ask]
        said = subprocess.run(line, capture_output=True, text=True, cwd=repository(), timeout=30, check=True).stdout
        assert said.startswith(reason)


def test_two_labs_at_once_know_nothing_of_each_other(lab: Lab, tmp_path: Path) -> None:
    with Lab.up(tmp_path / "other", shared=(100,)) as other:
        assert other.address("host01") != lab.address("host01")
        other.run("host01", ["touch", "datastores/100/other"])
        assert not lab.path("host01", "/var/lib/one/datastores/100/other").exists()
        assert other.run("frontend", [*SSH, "host01", "hostname"]).stdout == b"host01\n"
        with pytest.raises(LabError, match="a lab is up in"):
            Lab.up(tmp_path / "other")
        assert other.alive()
    assert lab.run("frontend", [*SSH, "host01", "hostname"]).stdout == b"host01\n"


def test_a_lab_that_cannot_come_up_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    before = traces()
    with pytest.raises(LabError, match=r"a does not come up: .*No such file"):
        Lab.up(tmp_path / "lab", names=("a", "b"), binds=[tmp_path / "missing"])
    with pytest.raises(LabError, match="in time|does not come up"):
        Lab.up(tmp_path / "lab", limit=0.02)
    for names in ((), ("a", "a"), ("A",), ("a b",), ("localhost",)):
        with pytest.raises(LabError):
            Lab.up(tmp_path / "lab", names=names)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(LabError, match="not empty"):
        Lab.up(tmp_path / "full")
    refused: list[LabError] = []

    def in_thread() -> None:
        try:
            Lab.up(tmp_path / "lab")
        except LabError as error:
            refused.append(error)

    thread = threading.Thread(target=in_thread)
    thread.start()
    thread.join(10)
    assert "main thread" in str(refused[0])
    assert os.listdir(tmp_path) == ["full"]
    assert traces() == before


def test_the_command_line(tmp_path: Path) -> None:
    state_dir = tmp_path / "lab"

    def call(*words: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-m", "tests.lab.hosts", "--state", str(state_dir), *words],
            capture_output=True,
            cwd=repository(),
            timeout=60,
            check=False,
        )

    assert call("status").returncode == 1
    assert call("up", "--hosts", "fe,n1", "--shared", "7").returncode == 0
    try:
        status = call("status")
        assert status.returncode == 0
        assert b"n1 " in status.stdout and b"connected" in status.stdout
        assert call("as", "fe", "ssh", "n1", "id", "-un").stdout == b"oneadmin\n"
        assert call("exec", "n1", "--", "id", "-u").stdout == b"0\n"
        assert call("exec", "n1", "sh", "-c", "exit 5").returncode == 5
        assert call("as", "n2", "true").stderr == b"lab: no host n2 in this lab, there are fe, n1\n"
        assert b"a lab is up in" in call("up").stderr
    finally:
        assert call("down").returncode == 0
    assert call("down").returncode == 0
    assert not state_dir.exists()
