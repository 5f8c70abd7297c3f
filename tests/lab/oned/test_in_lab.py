# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in on the lab: drivers written in shell are called on the front-end, ask oned and reach the nodes."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.hosts import Lab
from tests.lab.oned import (
    ApiServer,
    DatastoreType,
    LabHost,
    Life,
    Oned,
    Runner,
    Settings,
    equip_front_end,
    use_image,
)

# A driver of the old kind: it asks oned with a command, and does its work on the node over SSH.
_CLONE = """#!/bin/sh
state=$(onevm show -x "$3" | sed -n 's/^  <LCM_STATE>\\(.*\\)<.*/\\1/p')
host=${2%%:*}
path=${2#*:}
ssh -o BatchMode=yes "$host" "mkdir -p $(dirname "$path") && echo 'clone in $state' > $path"
"""
_CONTEXT = """#!/bin/sh
grep -q "^HELLO='world'$" "$1"
"""
_CP = """#!/bin/sh
onedatastore list -x | grep -q "<NAME>images</NAME>" || exit 1
base64 -d | grep -q "<PATH>" && echo "/var/lib/one//datastores/100/abc raw"
"""
_STAT = "#!/bin/sh\necho 7\n"


@pytest.fixture
def life(lab: Lab) -> Iterator[Life]:
    """A stand-in whose front-end is the lab's; only the drivers are ours for this test."""
    settings = Settings(frontend=lab.frontend)
    oned = Oned(settings)
    equip_front_end(lab, lab.frontend, settings, folder="/var/tmp/one-commands")
    name = f"probe{uuid.uuid4().hex[:8]}"
    drivers = {f"datastore/{name}/stat": _STAT, f"datastore/{name}/cp": _CP}
    drivers |= {f"tm/{name}/clone": _CLONE, f"tm/{name}/context": _CONTEXT}
    for path, text in drivers.items():
        LabHost(lab, lab.frontend).write(f"{settings.remotes}/{path}", text)
        lab.path(lab.frontend, f"{settings.remotes}/{path}").chmod(0o755)
    with ApiServer(oned, network_of=lab.leader(lab.frontend)) as server:
        environment = {"ONE_XMLRPC": server.url, "PATH": "/var/tmp/one-commands:/usr/bin:/bin"}
        runner = Runner(
            LabHost(lab, lab.frontend),
            settings,
            environment,
            timeout=30,
            tm_names={name},
            ds_names={name},
            system_ds_names={name},
        )
        yield Life(oned, runner)
    for kind in ("datastore", "tm"):
        folder = lab.path(lab.frontend, f"{settings.remotes}/{kind}")
        shutil.rmtree(folder / name)
        # made by us, as root: the next test finds oneadmin's home as it should be
        if not any(folder.iterdir()):
            folder.rmdir()


def test_a_driver_in_shell_is_driven(life: Life, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.lab.oned import datastore
    from tests.lab.oned.stock import DsMadConf, TmMadConf

    name = next(iter(life.runner.tm_names))
    conf = TmMadConf(name, "NONE", "SYSTEM", "YES")
    monkeypatch.setattr(datastore, "TM_MAD_CONF", {name: conf})
    monkeypatch.setattr(datastore, "DS_MAD_CONF", {name: DsMadConf(name)})
    node = lab.nodes[0]
    life.oned.add_host(node)
    life.create_datastore("images", name, name, ds_id=100)
    life.create_datastore("system", "-", name, DatastoreType.SYSTEM, ds_id=198)
    image = life.import_image("base", 100, "/var/tmp/base.raw").check()
    assert life.oned.image(image.object_id).size == 7

    made = life.create_vm("probe", [use_image(image.object_id)], 198, node, context={"HELLO": "world"}).check()

    place = lab.path(node, f"/var/lib/one/datastores/198/{made.object_id}/disk.0")
    # The driver asked oned in the middle of the prolog.
    assert place.read_text() == "clone in 1\n"
    shutil.rmtree(place.parents[1])


def test_server_listens_where_the_front_end_is(lab: Lab) -> None:
    oned = Oned()
    with ApiServer(oned, network_of=lab.leader(lab.frontend)) as server:
        probe = ["/usr/bin/python3", "-c", _PROBE, server.url]
        assert lab.run(lab.frontend, probe).stdout.decode().strip() == "[True, '7.5.80', 0]"
        assert lab.run(lab.nodes[0], probe, check=False).returncode != 0


def test_written_files_belong_to_oneadmin(lab: Lab) -> None:
    path = f"/var/lib/one/vms/probe-{uuid.uuid4().hex}/context.sh"
    front_end = LabHost(lab, lab.frontend)
    front_end.write(path, "HELLO='world'\n")
    assert front_end.exists(path)
    done = front_end.run(["stat", "-c", "%U %n", path], stdin=b"", env={}, cwd="/var/lib/one", timeout=10)
    assert done.stdout.decode().split() == ["oneadmin", path]
    shutil.rmtree(lab.path(lab.frontend, str(Path(path).parent)))


def test_a_driver_that_hangs_is_ended(lab: Lab) -> None:
    done = LabHost(lab, lab.frontend).run(["sleep", "60"], stdin=b"", env={}, cwd="/", timeout=0.5)
    assert done.returncode == 255
    assert done.stderr == b"Timeout executing sleep 60"


_PROBE = "import sys, xmlrpc.client as x; print(x.ServerProxy(sys.argv[1]).one.system.version('oneadmin:oneadmin'))"
