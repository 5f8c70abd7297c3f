# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The first process of a host: builds its root, starts its sshd (and agent), then reaps what is orphaned.

It runs as pid 1 of fresh network, mount, uts, ipc and pid namespaces, alone with the standard library, and takes its
orders as one line of JSON on stdin (see `Maker`). On stdout it says `born` when the namespaces exist and `ready` when
the host is up. Then it wants the word `keep`: without it the maker died before it could write down that there is a
host. Whatever fails ends this process, and the host with it; the reason is on stderr.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_BIND = 4096
MS_REC = 16384
MNT_DETACH = 2

USER_ID = 9869
HOME = "/var/lib/one"
SSHD_CONFIG = "/etc/ssh/one_lab_sshd_config"
SSHD = ["/usr/sbin/sshd", "-f", SSHD_CONFIG, "-E", "/var/log/sshd.log"]
SSHD_PID = "/run/sshd.pid"
AGENT_SOCKET = "/run/one/ssh-agent.sock"
_LIMIT = 10.0

_LIBC = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def mount(source: str, target: Path | str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """mount(2). Raises OSError naming the target."""
    words = (source.encode(), str(target).encode(), kind.encode() or None)
    result = _LIBC.mount(*words, ctypes.c_ulong(flags), options.encode() or None)
    _check(result, f"mount {kind or 'bind'} on {target}")


def bind(source: Path | str, target: Path, *, read_only: bool = False) -> None:
    """Show `source` at `target`, which is made when it is missing."""
    target.mkdir(parents=True, exist_ok=True)
    mount(str(source), target, flags=MS_BIND | MS_REC)
    if read_only:
        # The kernel takes MS_RDONLY only from a second call.
        mount(str(source), target, flags=MS_BIND | MS_REMOUNT | MS_RDONLY)


def make_root(top: Path, size_mb: int) -> Path:
    """An overlay over this machine's `/`; what the host writes goes to a tmpfs and is gone with the host."""
    # The changes must not lie inside what they overlay, so they cannot lie on the machine's disk.
    mount("one_lab", top, "tmpfs", options=f"mode=0755,size={size_mb}m")
    os.chdir(top)
    for name in ("upper", "work", "root"):
        os.mkdir(name, 0o755)
    # Relative names keep blanks, commas and colons of the state folder's path out of the options.
    mount("one_lab", "root", "overlay", options="lowerdir=/,upperdir=upper,workdir=work")
    return top / "root"


def make_dev(dev: Path) -> None:
    """A private /dev without the machine's disks and without /dev/kvm (guests are emulated)."""
    mount("dev", dev, "tmpfs", MS_NOSUID, "mode=0755,size=1m")
    for name, major, minor in (
        ("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0),
        ("fuse", 10, 229),
    ):  # fmt: skip
        os.mknod(dev / name, 0o666 | stat.S_IFCHR, os.makedev(major, minor))
    os.mknod(dev / "loop-control", 0o660 | stat.S_IFCHR, os.makedev(10, 237))
    for number in range(16):
        os.mknod(dev / f"loop{number}", 0o660 | stat.S_IFBLK, os.makedev(7, number))
    for name in ("net", "pts", "shm", "mqueue"):
        (dev / name).mkdir()
    os.mknod(dev / "net" / "tun", 0o666 | stat.S_IFCHR, os.makedev(10, 200))
    mount("devpts", dev / "pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620,gid=5")
    mount("shm", dev / "shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
    links = {"ptmx": "pts/ptmx", "fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}
    for name, target in links.items():
        (dev / name).symlink_to(target)


def make_system_mounts(root: Path) -> None:
    """proc, sysfs, the control groups as they are, and an empty /run."""
    mount("proc", root / "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    mount("sysfs", root / "sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    groups = Path("/sys/fs/cgroup")
    if groups.is_dir():
        mount(str(groups), root / "sys/fs/cgroup", flags=MS_BIND | MS_REC)
    mount("run", root / "run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=64m")
    (root / "run/sshd").mkdir(0o755)
    (root / "run/lock").mkdir(0o1777)
    (root / "run/one").mkdir(0o755)
    os.chown(root / "run/one", USER_ID, USER_ID)


def open_way_to(root: Path, inside: str) -> None:
    """Let everybody pass through the folders above a bound one (a checkout below /root), on this host only."""
    here = root
    for part in Path(inside).parts[1:-1]:
        here = here / part
        here.mkdir(exist_ok=True)
        mode = stat.S_IMODE(here.stat().st_mode)
        if mode & 0o111 != 0o111:
            here.chmod(mode | 0o111)


def make_mounts(root: Path, orders: dict[str, Any]) -> None:
    """The host's own folders on disk, the shared datastores, the folders lent to it, and what it must not see."""
    make_dev(root / "dev")
    make_system_mounts(root)
    bind(orders["tmp"], root / "tmp")
    bind(orders["var_tmp"], root / "var/tmp")
    bind(orders["home"], root / HOME[1:])
    for number, folder in orders["shared"].items():
        bind(folder, root / HOME[1:] / "datastores" / str(number))
    for folder in orders["binds"]:
        open_way_to(root, folder)
        bind(folder, root / folder[1:], read_only=True)
    for folder in orders["masks"]:
        if (root / folder[1:]).is_dir():
            mount("hidden", root / folder[1:], "tmpfs", MS_RDONLY, "mode=0555,size=4k")


def write_settings(root: Path, orders: dict[str, Any]) -> None:
    """Names, accounts, sudo and sshd in the host's own /etc."""
    etc = root / "etc"
    (etc / "hostname").write_text(orders["name"] + "\n", encoding="ascii")
    (etc / "machine-id").write_text(orders["machine_id"] + "\n", encoding="ascii")
    names = ["127.0.0.1 localhost", *(f"{address} {name}" for name, address in orders["hosts"].items())]
    (etc / "hosts").write_text("\n".join(names) + "\n", encoding="ascii")
    # sshd without PAM refuses an account whose password is `!` (locked), hence `*` (none).
    add_entry(etc / "passwd", f"oneadmin:x:{USER_ID}:{USER_ID}::{HOME}:/bin/bash")
    add_entry(etc / "group", f"oneadmin:x:{USER_ID}:")
    add_entry(etc / "shadow", "oneadmin:*:19000:0:99999:7:::")
    if orders["sudo"]:
        rule = etc / "sudoers.d/one_lab"
        rule.write_text("oneadmin ALL=(ALL) NOPASSWD: ALL\n", encoding="ascii")
        rule.chmod(0o440)
    key = etc / "ssh/one_lab_host_key"
    key.touch(0o600)
    key.write_bytes(Path(orders["host_key"]).read_bytes())
    config = [
        "ListenAddress 0.0.0.0",
        f"PidFile {SSHD_PID}",
        "HostKey /etc/ssh/one_lab_host_key",
        "UsePAM no",
        "UseDNS no",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "AllowAgentForwarding yes",
        "AcceptEnv LANG LC_*",
        "Subsystem sftp internal-sftp",
    ]
    (root / SSHD_CONFIG[1:]).write_text("\n".join(config) + "\n", encoding="ascii")


def add_entry(path: Path, entry: str) -> None:
    """Put an account's line into a database, in place of one of the same name."""
    mine = entry.split(":", 1)[0] + ":"
    mode = path.stat()
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith(mine)]
    path.write_text("\n".join([*lines, entry]) + "\n", encoding="utf-8")
    os.chmod(path, stat.S_IMODE(mode.st_mode))


def enter_root(root: Path) -> None:
    """Make `root` the root of this mount namespace and let go of the machine's."""
    os.chdir(root)
    # New root and place of the old one may be the same folder: the old one then lies on top and comes off next.
    _check(_LIBC.pivot_root(b".", b"."), "pivot_root")
    _check(_LIBC.umount2(b".", MNT_DETACH), "umount of the machine's root")
    os.chdir("/")


def run(argv: list[str], environment: dict[str, str] | None = None) -> None:
    """Run a command of the start-up. Raises CalledProcessError, TimeoutExpired."""
    subprocess.run(
        argv, stdin=subprocess.DEVNULL, stdout=sys.stderr, env=environment, timeout=_LIMIT, check=True, cwd="/"
    )


def start_sshd() -> None:
    """Start sshd and wait until it listens: it writes its pid file after that."""
    run(SSHD)
    deadline = time.monotonic() + _LIMIT
    while not os.path.exists(SSHD_PID):
        if time.monotonic() > deadline:
            raise TimeoutError(f"sshd does not listen after {_LIMIT:.0f} s")
        time.sleep(0.002)


def start_agent() -> None:
    """Start oneadmin's ssh-agent on the socket that OpenNebula's service uses, with the private key in it."""
    user = ["/usr/bin/setpriv", "--reuid", str(USER_ID), "--regid", str(USER_ID), "--init-groups", "--"]
    environment = {"HOME": HOME, "PATH": "/usr/bin:/bin", "SSH_AUTH_SOCK": AGENT_SOCKET}
    run([*user, "/usr/bin/ssh-agent", "-a", AGENT_SOCKET], environment)
    run([*user, "/usr/bin/ssh-add", "-q", f"{HOME}/.ssh/id_ed25519"], environment)


def say(word: str) -> None:
    """Tell the maker how far it is. The maker may be gone by then: that is no reason to fail."""
    try:
        os.write(1, word.encode() + b"\n")
    except BrokenPipeError:
        pass


def reap_for_ever() -> None:
    """What pid 1 owes its namespace."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
    while True:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass
        # A child that ended since then has left the blocked signal pending, so none is missed.
        signal.sigwait([signal.SIGCHLD])


def try_out() -> None:
    """Do once what hosts rest on, with the folder /mnt; all of it goes with the namespaces of this process."""
    root = Path("/mnt/root")
    trials: list[tuple[str, Callable[[], object]]] = [
        ("an overlay on a tmpfs", lambda: make_root(Path("/mnt"), 16)),
        ("device nodes", lambda: make_dev(root / "dev")),
        ("proc and sysfs", lambda: make_system_mounts(root)),
        ("a veth pair", lambda: run(["ip", "link", "add", "p0", "type", "veth", "peer", "name", "p1"])),
        ("a bridge", lambda: run(["ip", "link", "add", "br0", "type", "bridge"])),
        ("a change of the root", lambda: enter_root(root)),
    ]
    for what, trial in trials:
        try:
            trial()
        except (OSError, subprocess.SubprocessError) as error:
            raise SystemExit(f"{what} cannot be had ({error})") from None


def main() -> None:
    """Bring the host up and keep it."""
    say("born")
    orders: dict[str, Any] = json.loads(sys.stdin.readline())
    os.umask(0)
    os.setgroups([])
    socket.sethostname(orders["name"])
    root = make_root(Path(orders["top"]), orders["root_size_mb"])
    write_settings(root, orders)
    make_mounts(root, orders)
    os.umask(0o022)
    enter_root(root)
    start_sshd()
    if orders["agent"]:
        start_agent()
    say("ready")
    if sys.stdin.readline() != "keep\n":
        raise SystemExit("the maker of this host is gone")
    nothing = os.open("/dev/null", os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    os.close(nothing)
    reap_for_ever()


if __name__ == "__main__":
    if sys.argv[1:] == ["try"]:
        try_out()
    else:
        main()
