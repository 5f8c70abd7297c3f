# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts: their document."""

from __future__ import annotations

from dataclasses import dataclass, field

from .states import HostState
from .xmldoc import Element, cdata, ids, node, template, text

_SHARE = ("MEM_USAGE", "CPU_USAGE", "TOTAL_MEM", "TOTAL_CPU", "MAX_MEM", "MAX_CPU", "RUNNING_VMS", "VMS_THREAD")


@dataclass
class Host:
    """One host. Memory in KB and CPU in hundredths, as oned counts them."""

    id: int
    name: str
    state: HostState = HostState.MONITORED
    im_mad: str = "kvm"
    vm_mad: str = "kvm"
    cluster_id: int = 0
    cluster: str = "default"
    total_mem: int = 4 * 1024 * 1024
    total_cpu: int = 400
    vms: set[int] = field(default_factory=set)
    template: dict[str, str] = field(default_factory=dict)

    def element(self) -> Element:
        """The HOST document."""
        share = {
            "TOTAL_MEM": self.total_mem,
            "MAX_MEM": self.total_mem,
            "TOTAL_CPU": self.total_cpu,
            "MAX_CPU": self.total_cpu,
            "RUNNING_VMS": len(self.vms),
            "VMS_THREAD": 1,
        }
        storage = [text(name, 0) for name in ("DISK_USAGE", "FREE_DISK", "MAX_DISK", "USED_DISK")]
        values = {"IM_MAD": self.im_mad, "VM_MAD": self.vm_mad, "RESERVED_CPU": "", "RESERVED_MEM": "", **self.template}
        return node(
            "HOST",
            [
                text("ID", self.id),
                text("NAME", self.name),
                text("STATE", int(self.state)),
                text("PREV_STATE", int(self.state)),
                cdata("IM_MAD", self.im_mad),
                cdata("VM_MAD", self.vm_mad),
                text("CLUSTER_ID", self.cluster_id),
                text("CLUSTER", self.cluster),
                node(
                    "HOST_SHARE",
                    [
                        *(text(name, share.get(name, 0)) for name in _SHARE),
                        node("DATASTORES", storage),
                        node("PCI_DEVICES"),
                        node("NUMA_NODES"),
                    ],
                ),
                ids("VMS", self.vms),
                template("TEMPLATE", values),
                node("MONITORING"),
            ],
        )
