# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Virtual machines: their document, their history, their states."""

from __future__ import annotations

from dataclasses import dataclass, field

from .common import Owned, Permissions
from .disk import Disk
from .snapshots import Snapshots
from .states import Action, Lcm, VmState
from .xmldoc import Element, TemplateValue, cdata, ids, node, template, text

_PERMISSIONS = Permissions(owner=6)


@dataclass
class History:
    """One record of where a VM was. Times in seconds, 0 = not yet."""

    vm_id: int
    seq: int
    hostname: str
    host_id: int
    ds_id: int
    tm_mad: str
    vm_mad: str = "kvm"
    cluster_id: int = 0
    stime: int = 0
    etime: int = 0
    pstime: int = 0
    petime: int = 0
    rstime: int = 0
    retime: int = 0
    estime: int = 0
    eetime: int = 0
    action: Action = Action.NONE
    uid: int = -1
    gid: int = -1
    request_id: int = -1

    def element(self) -> Element:
        """The HISTORY record."""
        return node(
            "HISTORY",
            [
                text("OID", self.vm_id),
                text("SEQ", self.seq),
                text("HOSTNAME", self.hostname),
                text("HID", self.host_id),
                text("CID", self.cluster_id),
                text("STIME", self.stime),
                text("ETIME", self.etime),
                cdata("VM_MAD", self.vm_mad),
                cdata("TM_MAD", self.tm_mad),
                text("DS_ID", self.ds_id),
                text("PLAN_ID", -2),
                text("ACTION_ID", -1),
                text("PSTIME", self.pstime),
                text("PETIME", self.petime),
                text("RSTIME", self.rstime),
                text("RETIME", self.retime),
                text("ESTIME", self.estime),
                text("EETIME", self.eetime),
                text("ACTION", int(self.action)),
                text("UID", self.uid),
                text("GID", self.gid),
                text("REQUEST_ID", self.request_id),
            ],
        )

    def short(self) -> Element:
        """The record as the list of all VMs shows it."""
        return node(
            "HISTORY",
            [
                text("OID", self.vm_id),
                text("SEQ", self.seq),
                text("HOSTNAME", self.hostname),
                text("HID", self.host_id),
                text("CID", self.cluster_id),
                text("DS_ID", self.ds_id),
                cdata("VM_MAD", self.vm_mad),
                cdata("TM_MAD", self.tm_mad),
                text("ACTION", int(self.action)),
            ],
        )


@dataclass
class Vm(Owned):
    """One VM. `template` holds all attributes but the disks and the context, which have their own fields."""

    state: VmState = VmState.PENDING
    lcm_state: Lcm = Lcm.INIT
    last_poll: int = 0
    resched: int = 0
    stime: int = 0
    etime: int = 0
    deploy_id: str = ""
    monitoring: dict[str, str] = field(default_factory=dict)
    template: dict[str, TemplateValue] = field(default_factory=dict)
    disks: list[Disk] = field(default_factory=list)
    context: dict[str, str] | None = None
    context_files: list[str] = field(default_factory=list)
    user_template: dict[str, TemplateValue] = field(default_factory=dict)
    history: list[History] = field(default_factory=list)
    snapshots: dict[int, Snapshots] = field(default_factory=dict)
    next_disk_id: int = 0
    backup_config: dict[str, str] = field(default_factory=dict)
    backup_ids: set[int] = field(default_factory=set)

    @property
    def record(self) -> History:
        """The current history record. Raises ValueError for a VM that never ran."""
        if not self.history:
            raise ValueError(f"VM {self.id} has no history")
        return self.history[-1]

    @property
    def previous(self) -> History:
        """The record before the current one. Raises ValueError when there is none."""
        if len(self.history) < 2:
            raise ValueError(f"VM {self.id} has no previous history record")
        return self.history[-2]

    @property
    def context_disk_id(self) -> int | None:
        """The disk id of the context ISO."""
        return None if self.context is None else int(self.context["DISK_ID"])

    def disk(self, disk_id: int) -> Disk:
        """The disk with this id. Raises ValueError when there is none."""
        for disk in self.disks:
            if disk.id == disk_id:
                return disk
        raise ValueError(f"VM {self.id} has no disk {disk_id}")

    def full_template(self) -> dict[str, TemplateValue]:
        """The template with disks and context, as the document shows it."""
        values: dict[str, TemplateValue] = dict(self.template)
        if self.disks:
            values["DISK"] = [disk.attributes for disk in self.disks]
        if self.context is not None:
            values["CONTEXT"] = self.context
        values["VMID"] = str(self.id)
        return values

    def element(self, all_records: bool = True) -> Element:
        """The VM document. The API answers with the whole history, messages to drivers carry the last record only."""
        records = self.history if all_records else self.history[-1:]
        return node(
            "VM",
            [
                *self.identity(),
                _PERMISSIONS.element(),
                text("LAST_POLL", self.last_poll),
                text("STATE", int(self.state)),
                text("LCM_STATE", int(self.lcm_state)),
                text("PREV_STATE", int(self.state)),
                text("PREV_LCM_STATE", int(self.lcm_state)),
                text("RESCHED", self.resched),
                text("STIME", self.stime),
                text("ETIME", self.etime),
                text("DEPLOY_ID", self.deploy_id),
                template("MONITORING", self.monitoring),
                node("SCHED_ACTIONS"),
                template("TEMPLATE", self.full_template()),
                template("USER_TEMPLATE", self.user_template),
                node("HISTORY_RECORDS", [record.element() for record in records]),
                *(self.snapshots[key].element() for key in sorted(self.snapshots)),
                node("BACKUPS", [template("BACKUP_CONFIG", self.backup_config), ids("BACKUP_IDS", self.backup_ids)]),
            ],
        )

    def short(self) -> Element:
        """The VM as the list of all VMs shows it."""
        kept = {key: value for key, value in self.full_template().items() if key in ("CPU", "MEMORY", "VCPU", "DISK")}
        return node(
            "VM",
            [
                *self.identity(),
                text("LAST_POLL", self.last_poll),
                text("STATE", int(self.state)),
                text("LCM_STATE", int(self.lcm_state)),
                text("RESCHED", self.resched),
                text("STIME", self.stime),
                text("ETIME", self.etime),
                text("DEPLOY_ID", self.deploy_id),
                template("TEMPLATE", kept),
                template("MONITORING", self.monitoring),
                template("USER_TEMPLATE", self.user_template),
                node("HISTORY_RECORDS", [record.short() for record in self.history[-1:]]),
            ],
        )
