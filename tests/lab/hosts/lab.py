# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab: hosts on one switch, made in about a second and gone without a trace.

Every host is a set of namespaces held up by one process; nothing of it is mounted, named or wired in the machine's own
namespaces. So ending these processes ends the lab, whoever does it and in whatever way.
"""

from __future__ import annotations

import atexit
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import IO

from . import network, paths, sshd, state
from .commands import HOME, USER_ID, CommandFailed, enter, environment
from .making import Maker, Wishes
from .proc import HostProcess, ProcessRef, argv_of, child_of, comm_of, in_namespace, namespace_of
from .rights import can_make_hosts
from .state import HostState, LabError, LabState

DEFAULT_NAMES = ("frontend", "host01", "host02")
DEFAULT_SHARED = (100, 101, 102, 103)
_AGENT = "ssh-agent"

Stream = int | IO[bytes] | None


class Lab:
    """Hosts to run the drivers on. Make one with `up` (or find a running one with `attach`), then use it by host name.

    Used in a `with` statement it goes down at the end. A tied lab (the default) dies with the process that made it,
    whatever way that ends. Not for use from several threads at once, except for `run`, `popen` and `path`.
    """

    def __init__(self, state_dir: Path, lab_state: LabState) -> None:
        self.state_dir = state_dir
        self._state = lab_state
        self._children: list[subprocess.Popen[bytes]] = []
        self._maker = os.getpid()

    # -- life ----------------------------------------------------------------------------------------------------------

    @classmethod
    def up(
        cls,
        state_dir: Path | None = None,
        *,
        names: Sequence[str] = DEFAULT_NAMES,
        shared: Sequence[int] = DEFAULT_SHARED,
        tie: bool = True,
        sudo: bool = True,
        binds: Sequence[Path] = (),
        masks: Sequence[Path] = (),
        root_size_mb: int = 2048,
        limit: float = 30.0,
    ) -> Lab:
        """Make the hosts.

        `state_dir` must not hold a running lab; its default is a folder of this process's own. The first of `names`
        is the front-end. `shared` are the datastores whose folder all hosts have in common. `tie`: the lab dies with
        the calling process (main thread only, since the kernel ties children to threads). `sudo`: oneadmin may
        become root without a password. `binds` are folders that the front-end sees at the same path, read-only;
        `masks` are folders of this machine that the nodes see empty. `root_size_mb` bounds what a host may write
        outside /var/lib/one, /tmp and /var/tmp (memory, used as needed). `limit` is in seconds.

        Raises LabError when it cannot be done, with nothing left behind.
        """
        able, reason = can_make_hosts()
        if not able:
            raise LabError(reason)
        if tie and threading.current_thread() is not threading.main_thread():
            raise LabError("a tied lab is made in the main thread: it would die with any other one")
        _check_names(names)
        folder = _claim(state_dir)
        lab = cls(folder, LabState(ProcessRef.of(os.getpid()), tie, network.subnet_for(folder), sorted(set(shared))))
        lab._state.save(folder)
        wishes = Wishes(tuple(names), sudo, tuple(binds), tuple(masks), root_size_mb)
        maker = Maker(folder, lab._state, wishes, time.monotonic() + limit)
        lab._children = maker.children
        try:
            maker.make()
        except BaseException:
            lab.down()
            raise
        if tie:
            atexit.register(lab._at_exit)
        return lab

    @classmethod
    def attach(cls, state_dir: Path | None = None) -> Lab:
        """The lab that runs in `state_dir` (default: the command line's), to use or to end. Raises LabError."""
        folder = state_dir or state.default_state_dir()
        found = LabState.load(folder)
        if found is None or not found.alive():
            raise LabError(f"no lab is up in {folder}")
        return cls(folder, found)

    def down(self, limit: float = 20.0) -> None:
        """End the hosts and delete the lab's folder; a lab that is down already stays so.

        Raises LabError when a process does not end within `limit` seconds (its folder is then kept).
        """
        deadline = time.monotonic() + limit
        stuck = [one.pid for one in self._state.processes() if not one.end(deadline)]
        for child in self._children:
            # Also those that `up` had not written down yet when it failed.
            if not _end_child(child, deadline):
                stuck.append(child.pid)
        if stuck:
            raise LabError(f"processes of the lab do not end: {sorted(set(stuck))}")
        self._children.clear()
        if self.state_dir.exists():
            state.remove(self.state_dir)
        atexit.unregister(self._at_exit)

    def alive(self) -> bool:
        """Whether all hosts run."""
        return all(one.alive() for one in self._state.processes())

    def __enter__(self) -> Lab:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    def _at_exit(self) -> None:
        # A forked child that leaves through sys.exit must not take its parent's lab down.
        if os.getpid() == self._maker:
            self.down()

    # -- who is who ----------------------------------------------------------------------------------------------------

    @property
    def hosts(self) -> tuple[str, ...]:
        """The names of all hosts, the front-end first."""
        return tuple(self._state.hosts)

    @property
    def frontend(self) -> str:
        """The name of the front-end."""
        return self.hosts[0]

    @property
    def nodes(self) -> tuple[str, ...]:
        """The names of the other hosts."""
        return self.hosts[1:]

    @property
    def shared(self) -> tuple[int, ...]:
        """The ids of the datastores that all hosts share."""
        return tuple(self._state.shared)

    def address(self, host: str) -> str:
        """The host's IPv4 address."""
        return self._host(host).address

    def leader(self, host: str) -> int:
        """The host's pid 1, as this machine numbers it."""
        leader = self._host(host).leader
        if leader is None or not leader.alive():
            raise LabError(f"{host} is not up")
        return leader.pid

    def outside(self) -> tuple[str, list[str]]:
        """An address that all hosts reach and none of them has, and the command line that runs a command there."""
        address = f"{self._state.subnet}.1"
        network.give_address(self._switch(), address)
        return address, ["/usr/bin/nsenter", "-t", str(self._switch()), "-n", "--"]

    def path(self, host: str, path: str | PurePosixPath, *, follow: bool = False) -> Path:
        """A host's file as this process can open it.

        Links on the way are followed as the host would; the file itself only with `follow` (an open of the result
        would follow a link with an absolute target on this machine, so read links with `os.readlink`).
        """
        return paths.below(Path(f"/proc/{self.leader(host)}/root"), path, follow=follow)

    def processes(self, host: str, *, own: bool = False) -> list[HostProcess]:
        """What runs on the host: command lines with the process numbers of this machine, zombies left out.

        The lab's own (pid 1, the listening sshd, the agent) are in it only with `own`. The sshd processes of open
        sessions always are.
        """
        leader = self.leader(host)
        listener = sshd.listener(leader)
        found = []
        for pid in in_namespace("pid", namespace_of(leader, "pid") or ""):
            if not own and (pid in (leader, listener) or comm_of(pid) == _AGENT):
                continue
            argv = argv_of(pid)
            if argv:
                found.append(HostProcess(pid, argv))
        return found

    def _host(self, host: str) -> HostState:
        try:
            return self._state.hosts[host]
        except KeyError:
            raise LabError(f"no host {host} in this lab, there are {', '.join(self.hosts)}") from None

    # -- commands ------------------------------------------------------------------------------------------------------

    def command(
        self, host: str, argv: Sequence[str], *, user: str = "oneadmin", cwd: str | None = None, session: bool = True
    ) -> list[str]:
        """The command line that runs `argv` on the host; give it the environment that `environment` returns."""
        return enter(self.leader(host), argv, user=user, cwd=cwd or _home(user), session=session)

    def environment(self, host: str, user: str = "oneadmin", extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment of a command on the host; on the front-end oneadmin's has the agent."""
        return environment(user, agent=host == self.frontend, extra=extra)

    def popen(
        self,
        host: str,
        argv: Sequence[str],
        *,
        user: str = "oneadmin",
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        stdin: Stream = subprocess.DEVNULL,
        stdout: Stream = subprocess.PIPE,
        stderr: Stream = subprocess.PIPE,
    ) -> subprocess.Popen[bytes]:
        """Start a command on the host. `env` is added to the usual environment.

        The process returned waits outside for the command: killing it kills the command (not what that started);
        `inner_pid` gives the command itself, to signal it.
        """
        return subprocess.Popen(
            self.command(host, argv, user=user, cwd=cwd),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env=self.environment(host, user, env),
            start_new_session=True,
        )

    def run(
        self,
        host: str,
        argv: Sequence[str],
        *,
        user: str = "oneadmin",
        input: bytes | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        timeout: float = 60.0,
        check: bool = True,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command on the host and return its exit code and output; stdin is `input`, else empty.

        Raises CommandFailed for an exit code other than 0 (with `check`), and subprocess.TimeoutExpired after
        `timeout` seconds; the command and its process group are killed then.
        """
        process = self.popen(
            host, argv, user=user, env=env, cwd=cwd, stdin=subprocess.DEVNULL if input is None else subprocess.PIPE
        )
        try:
            out, err = process.communicate(input, timeout)
        except BaseException:
            self._end(process)
            raise
        result = subprocess.CompletedProcess(list(argv), process.returncode, out, err)
        if check and result.returncode:
            raise CommandFailed(host, argv, result)
        return result

    def inner_pid(self, process: subprocess.Popen[bytes], limit: float = 5.0) -> int:
        """The command behind a process that `popen` returned, as this machine numbers it. Raises LabError."""
        deadline = time.monotonic() + limit
        while process.poll() is None:
            found = child_of(process.pid)
            # Before these two are through, the command has neither its user nor its session.
            if found is not None and comm_of(found) not in ("nsenter", "setpriv", "setsid", "env", ""):
                return found
            if time.monotonic() > deadline:
                break
            time.sleep(0.002)
        raise LabError(f"the command of process {process.pid} does not run")

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        inner = child_of(process.pid)
        if inner is not None and process.poll() is None:
            for end in (os.killpg, os.kill):
                try:
                    end(inner, signal.SIGKILL)
                except ProcessLookupError:
                    # Not the head of a group yet, or gone.
                    pass
        try:
            # It ends by itself now, and reaps the command on its way.
            process.wait(2.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10.0)
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()

    # -- trouble -------------------------------------------------------------------------------------------------------

    def cut(self, host: str) -> None:
        """Pull the host's network cable: packets are lost, nothing is refused."""
        network.set_link(self._switch(), self._host(host), up=False)

    def heal(self, host: str) -> None:
        """Plug the cable in again."""
        network.set_link(self._switch(), self._host(host), up=True)

    def is_cut(self, host: str) -> bool:
        """Whether the cable is out."""
        return not network.link_is_up(self._switch(), self._host(host))

    def stop_sshd(self, host: str, *, sessions: bool = True) -> None:
        """End the host's sshd: connections are refused. With `sessions` the open ones break, too."""
        sshd.stop(self.leader(host), sessions=sessions)

    def start_sshd(self, host: str) -> None:
        """Start sshd again and wait until it listens. One that runs is left alone."""
        sshd.start(self.leader(host))

    def freeze(self, host: str) -> None:
        """Stop all sshd processes in their tracks: connections are taken, nothing is ever said."""
        sshd.send(self.leader(host), signal.SIGSTOP)

    def thaw(self, host: str) -> None:
        """Let frozen sshd processes go on."""
        sshd.send(self.leader(host), signal.SIGCONT)

    def tiny(self, host: str, path: str, size_mb: int, *, inodes: int | None = None) -> Path:
        """Put an empty file system of `size_mb` MiB on a folder of the host, which is made when it is missing.

        It belongs to oneadmin and is this host's alone, below a shared datastore too. `untiny` takes it off.
        Returns the folder as seen from outside.
        """
        options = f"size={size_mb}m,mode=0755,uid={USER_ID},gid={USER_ID}"
        if inodes is not None:
            options += f",nr_inodes={inodes}"
        self.run(host, ["mkdir", "-p", "--", path])
        self.run(host, ["mount", "-t", "tmpfs", "-o", options, "one_lab_tiny", path], user="root")
        return self.path(host, path)

    def untiny(self, host: str, path: str) -> None:
        """Take such a file system off again, used or not; what was in it is lost."""
        self.run(host, ["umount", "-l", "--", path], user="root")

    def _switch(self) -> int:
        switch = self._state.switch
        if switch is None or not switch.alive():
            raise LabError("the lab is not up")
        return switch.pid


def _home(user: str) -> str:
    return HOME if user == "oneadmin" else "/root"


def _end_child(child: subprocess.Popen[bytes], deadline: float) -> bool:
    """End a process of ours that holds a namespace, and the one child it may have. False: it is still there."""
    inner = child_of(child.pid) if child.poll() is None else None
    ended = True
    if inner is not None:
        try:
            # The child first: its parent then reaps it, while an orphan waits for the machine's pid 1.
            ended = ProcessRef.of(inner).end(deadline)
        except ProcessLookupError:
            pass
    child.kill()
    try:
        child.wait(max(0.1, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        ended = False
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            pipe.close()
    return ended


def _check_names(names: Sequence[str]) -> None:
    if not 1 <= len(names) <= 200 or len(set(names)) != len(names):
        raise LabError("a lab has 1 to 200 hosts of different names")
    for name in names:
        if not state.NAME.fullmatch(name) or name == "localhost":
            raise LabError(f"not a host name: {name!r}")


def _claim(state_dir: Path | None) -> Path:
    """A new, private folder for a lab's state; what a dead lab left in its place is removed. Raises LabError."""
    if state_dir is None:
        state.sweep(state.labs_dir())
        folder = state.labs_dir() / f"{socket.gethostname()}-{os.getpid()}-{os.urandom(3).hex()}"
    else:
        folder = state_dir.resolve()
    found = LabState.load(folder)
    if found is not None:
        if found.alive():
            raise LabError(f"a lab is up in {folder}")
        state.remove(folder)
    try:
        folder.mkdir(parents=True, mode=0o700, exist_ok=True)
        if any(folder.iterdir()):
            raise LabError(f"{folder} is not empty and holds no lab")
    except OSError as error:
        raise LabError(f"the lab's folder cannot be made: {error}") from error
    return folder
