# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for oned: it keeps the documents, answers the API from them and calls storage drivers as oned does.

    oned = Oned(Settings(frontend=lab.frontend))
    equip_front_end(lab, lab.frontend, oned.settings)
    with ApiServer(oned, network_of=lab.leader(lab.frontend)) as server:
        runner = Runner(LabHost(lab, lab.frontend), oned.settings, environment={"ONE_XMLRPC": server.url})
        life = Life(oned, runner)
        life.create_datastore("images", tm_mad="qcow2")
        image = life.import_image("base", 100, "/var/tmp/base.qcow2").check().object_id

Nothing here is OpenNebula's code; what it does was taken from its documented interface and from recorded messages.
"""

from __future__ import annotations

from .api import Api
from .datastore import Datastore
from .disk import Disk
from .execute import Completed, FrontEnd, LabHost, ThisMachine
from .faults import Faults
from .host import Host
from .image import Image
from .install import COMMANDS, equip_front_end, install_commands, write_session
from .life import Life
from .managing import Managing
from .outcome import EventFailedError, Outcome
from .runner import Call, Runner
from .server import ApiServer, Request
from .states import Action, DatastoreType, HostState, ImageState, ImageType, Lcm, VmState
from .store import NotFoundError, Oned, Settings
from .vm import History, Vm
from .wishes import use_image, use_swap, use_volatile

__all__ = [
    "COMMANDS",
    "Action",
    "Api",
    "ApiServer",
    "Call",
    "Completed",
    "Datastore",
    "DatastoreType",
    "Disk",
    "EventFailedError",
    "Faults",
    "FrontEnd",
    "History",
    "Host",
    "HostState",
    "Image",
    "ImageState",
    "ImageType",
    "LabHost",
    "Lcm",
    "Life",
    "Managing",
    "NotFoundError",
    "Oned",
    "Outcome",
    "Request",
    "Runner",
    "Settings",
    "ThisMachine",
    "Vm",
    "VmState",
    "equip_front_end",
    "install_commands",
    "use_image",
    "use_swap",
    "use_volatile",
    "write_session",
]
