# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""libvirt on hosts of the lab, and guests on it: an emulated machine without an operating system.

What a guest would write, QEMU's monitor writes in its place, through the guest's own disk device; or the guest does it
itself, see :mod:`.writer`.
"""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Callable, Sequence

from tests.lab.hosts import Lab
from tests.lab.hosts.commands import CommandFailed
from tests.lab.writer import floppy

_ACCOUNTS = (
    ("group", "kvm:x:970:"),
    ("group", "libvirt:x:971:"),
    ("group", "libvirt-qemu:x:972:"),
    ("passwd", "libvirt-qemu:x:972:970::/var/lib/libvirt:/usr/sbin/nologin"),
)
#: As OpenNebula's node package sets it: files stay oneadmin's, whoever opens them.
_QEMU_CONF = """\
user = "oneadmin"
group = "oneadmin"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
cgroup_controllers = []
namespaces = []
stdio_handler = "file"
"""
#: Hosts of the lab have one machine's id in common, which libvirt would take for one host.
_DAEMON_CONF = """\
host_uuid = "{uuid}"
listen_tls = 0
listen_tcp = 1
auth_tcp = "none"
auth_unix_ro = "none"
auth_unix_rw = "none"
unix_sock_group = "oneadmin"
unix_sock_rw_perms = "0770"
log_outputs = "3:file:/var/log/libvirtd.log"
"""


class Hypervisor:
    """libvirt's daemon on one host."""

    def __init__(self, lab: Lab, host: str) -> None:
        self.lab = lab
        self.host = host
        for name, entry in _ACCOUNTS:
            path = lab.path(host, f"/etc/{name}")
            text = path.read_text(encoding="utf-8")
            if f"{entry.split(':')[0]}:" not in text:
                path.write_text(f"{text}{entry}\n", encoding="utf-8")
        lab.run(host, ["mkdir", "-p", "/etc/libvirt", "/var/lib/libvirt/qemu", "/var/cache/libvirt"], user="root")
        lab.run(host, ["mkdir", "-p", "/var/log/libvirt/qemu"], user="root")
        lab.path(host, "/etc/libvirt/qemu.conf").write_text(_QEMU_CONF, encoding="utf-8")
        lab.path(host, "/etc/libvirt/libvirtd.conf").write_text(
            _DAEMON_CONF.format(uuid=uuid.uuid4()), encoding="utf-8"
        )
        self.start()

    def start(self) -> None:
        """Start the daemon and wait until it answers."""
        self.lab.run(self.host, ["/usr/sbin/libvirtd", "-d", "--listen"], user="root")
        self.until("libvirt", lambda: bool(self.virsh("version")), 20)

    def stop(self) -> None:
        """End the daemon; guests go on."""
        pid = self.lab.path(self.host, "/run/libvirtd.pid").read_text(encoding="ascii").strip()
        self.lab.run(self.host, ["kill", pid], user="root")

    def virsh(self, *words: str) -> str:
        """What virsh says to oneadmin; raises when it fails."""
        return self.lab.run(self.host, ["virsh", "-q", "-c", "qemu:///system", *words]).stdout.decode()

    @staticmethod
    def until(what: str, ready: Callable[[], bool], limit: float = 10.0) -> None:
        """Wait for something; a command that fails meanwhile is tried again."""
        deadline = time.monotonic() + limit
        while True:
            try:
                if ready():
                    return
            except CommandFailed:
                pass
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what} did not come within {limit:g} s")
            time.sleep(0.05)


class Guest:
    """A running machine with the disks that it is given.

    :param disks: target, path and format of each, as OpenNebula writes them, with a double slash in the path.
    :param cdrom: path of an ISO, if it has one.
    :param identity: its UUID, if it is to have a certain one.
    :param linux: kernel, initramfs and command line of a system with the guest agent, if it has one.
    :param volumes: where disks are that are ``rbd:<pool>/<volume>``, as libvirt is told it: hosts and authentication.
    :param writes: first and last sector that it writes to by itself, on its first disk.
    """

    def __init__(
        self,
        hypervisor: Hypervisor,
        name: str,
        disks: Sequence[tuple[str, str, str]],
        cdrom: str = "",
        writes: tuple[int, int] | None = None,
        identity: str = "",
        linux: tuple[str, str, str] | None = None,
        volumes: str = "",
    ) -> None:
        self.on = hypervisor
        self.name = name
        rows = "".join(_row(target, path, kind, volumes) for target, path, kind in disks)
        if cdrom:
            rows += (
                f"<disk type='file' device='cdrom'><driver name='qemu' type='raw'/><source file='{cdrom}'/>"
                "<target dev='hda' bus='ide'/><readonly/></disk>"
            )
        known = f"<uuid>{identity}</uuid>" if identity else ""
        self.floppy = f"/var/tmp/{name}.floppy" if writes else ""
        if writes:
            self._lay_floppy(floppy(*writes))
            rows += (
                f"<disk type='file' device='floppy'><driver name='qemu' type='raw'/><source file='{self.floppy}'/>"
                "<target dev='fda' bus='fdc'/><boot order='1'/><readonly/></disk>"
            )
            # the BIOS knows only disks that it may boot from
            rows = rows.replace("</disk>", "<boot order='2'/></disk>", 1)
        system = more = ""
        if linux:
            parts = zip(("kernel", "initrd", "cmdline"), linux, strict=True)
            system = "".join(f"<{part}>{value}</{part}>" for part, value in parts)
            more = (
                "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>"
                f"<serial type='file'><source path='/var/tmp/{name}.console'/></serial>"
            )
        text = (
            f"<domain type='qemu'><name>{name}</name>{known}"
            f"<memory unit='MiB'>{192 if linux else 32}</memory><vcpu>1</vcpu>"
            f"<os><type arch='x86_64' machine='pc'>hvm</type>{system}</os>"
            f"<features><acpi/></features><devices><emulator>/usr/bin/qemu-system-x86_64</emulator>{rows}{more}"
            "<controller type='usb' model='none'/><memballoon model='none'/></devices></domain>"
        )
        place = f"/var/tmp/{name}.xml"
        hypervisor.lab.path(hypervisor.host, place).write_text(text, encoding="utf-8")
        hypervisor.virsh("create", place)

    def io(self, command: str, target: str = "vda") -> None:
        """One command of qemu-io on a disk of the guest: ``write -P 0x11 0 64k``."""
        # a virtio device has its disk one level below
        device = f"/machine/peripheral/ua-{target}" + ("/virtio-backend" if target.startswith("vd") else "")
        line = f'qemu-io -d {device} "{command}"'
        said = self.on.virsh("qemu-monitor-command", self.name, "--hmp", line)
        # what it has to tell goes to QEMU's own stdout, which is its log
        if said.strip():
            raise AssertionError(f"{command}: {said}")

    def attach(self, target: str, path: str, kind: str) -> None:
        """A disk more while it runs; on SCSI, where no guest has to let go of it: *target* is ``sdb``."""
        text = (
            f"<disk type='file' device='disk'><driver name='qemu' type='{kind}' cache='none' io='threads'/>"
            f"<source file='{path}'/><target dev='{target}' bus='scsi'/><alias name='ua-{target}'/></disk>"
        )
        place = f"/var/tmp/{self.name}.disk.xml"
        self.on.lab.path(self.on.host, place).write_text(text, encoding="utf-8")
        self.on.virsh("attach-device", self.name, place)

    def detach(self, target: str) -> None:
        """A disk less while it runs."""
        self.on.virsh("detach-disk", self.name, target)
        self.on.until("a disk to go", lambda: f" {target} " not in self.on.virsh("domblklist", self.name))

    def qmp(self, command: str, **arguments: object) -> object:
        """The answer of QEMU's own monitor."""
        text = json.dumps({"execute": command, "arguments": arguments})
        return json.loads(self.on.virsh("qemu-monitor-command", self.name, text))["return"]

    def chain(self, target: str = "vda") -> list[str]:
        """The files of a disk as libvirt names them, top first."""
        text = self.on.virsh("dumpxml", self.name)
        found = re.findall(r"<disk .*?</disk>", text, re.DOTALL)
        disk = next(item for item in found if f"dev='{target}'" in item)
        return re.findall(r"<source file='([^']*)'", disk)

    def job(self, target: str = "vda") -> str:
        """The job that runs on a disk: ``Block Pull``, ``Block Copy``; empty for none."""
        said = self.on.virsh("blockjob", self.name, target, "--raw")
        return "".join(line.partition("=")[2] for line in said.splitlines() if line.strip().startswith("type="))

    def state(self) -> str:
        """``running`` or ``paused``."""
        return self.on.virsh("domstate", self.name).strip()

    def _lay_floppy(self, content: bytes) -> None:
        path = self.on.lab.path(self.on.host, self.floppy)
        if not path.exists():
            path.write_bytes(content)

    def migrate(self, to: Hypervisor, copied: Sequence[str] = (), more: Sequence[str] = ()) -> None:
        """Go to another host while it runs. Raises CommandFailed, and it runs on where it was.

        :param copied: targets of the disks that go with it, into the files that are there.
        :param more: more options of virsh.
        """
        origin = self.on
        if self.floppy:
            self.on = to
            self._lay_floppy(origin.lab.path(origin.host, self.floppy).read_bytes())
            self.on = origin
        storage = ["--copy-storage-all", "--migrate-disks", ",".join(copied)] if copied else []
        where = f"qemu+tcp://{to.host}/system"
        origin.virsh("migrate", "--live", "--p2p", "--unsafe", *storage, *more, self.name, where)
        self.on = to

    def destroy(self) -> None:
        """Pull the plug."""
        self.on.virsh("destroy", self.name)


def _row(target: str, path: str, kind: str, volumes: str) -> str:
    """A disk in a domain's document."""
    end = f"<target dev='{target}'/><alias name='ua-{target}'/></disk>"
    if path.startswith("rbd:"):
        source = f"<source protocol='rbd' name='{path[4:]}'>{volumes}</source>"
        return f"<disk type='network' device='disk'><driver name='qemu' type='{kind}' cache='none'/>{source}{end}"
    return (
        f"<disk type='file' device='disk'><driver name='qemu' type='{kind}' cache='none' io='threads'/>"
        f"<source file='{path}'/>{end}"
    )
