# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stock's drivers get wrong with Ceph, as the contracts tell it, and the test that shows ours right.

Images (contract-ds 6.2, 9, 10):

* 6.2: an ``rbd://`` URL without a query cannot be fetched
  `test_sources_commands.py::test_an_image_of_ceph`
* 9.1: gzip is taken for the tarball of a backup
  `test_ceph_images.py::test_an_import_holds_what_the_source_holds`
* 9.1: differences are sorted as text, 10 before 2
  `test_exports.py::test_a_chain_in_a_repository`
* the same, made by rbd
  `test_old_chains.py::test_a_chain_goes_on_and_restores_at_every_point`
* 9.1: a failure leaves the staging file
  `test_ceph_quirks.py::test_an_import_that_fails_late_leaves_no_staging_file`
* 9.1: and perhaps a part of the volume
  `test_ceph_images.py::test_digests_are_checked_and_a_wrong_one_leaves_nothing`
* 9.1: it cannot be run again
  `test_ceph_faults.py::test_killed_between_two_steps_and_run_again`
* 9.2: the staging file is never removed; options of mkfs lose all but the first word; swap is empty
  `test_ceph_images.py::test_an_empty_image_is_what_was_asked_for`
* 9.2: what mkfs failed on is imported
  `test_ceph_images.py::test_a_file_system_that_is_not_supported_makes_nothing`
* 9.2: the data pool is named in every command
  `test_ceph_images.py::test_each_attribute_changes_what_happens`
* 9.4: ``one-1`` takes along what stands on ``one-10``; a missing volume is an error
  `test_ceph_images.py::test_a_delete_takes_everything_of_the_image_and_nothing_of_its_neighbour`
* 9.4: disks of VMs go with their image
  `test_ceph_images.py::test_what_a_clone_still_needs_is_kept_and_said`
* 9.4: only the last command's code counts
  `test_ceph_faults.py::test_a_volume_that_is_still_open_is_not_deleted`
* 9.5: of a quota all is free; an unknown pool has zeros
  `test_ceph_images.py::test_the_room_of_a_pool_with_a_quota_is_what_the_quota_leaves`
* 9.6: a stray quote follows the document
  `test_ceph_wrappers.py::test_an_images_life`
* 2.3: what fails is told on stdout, where nobody reads it
  `test_ceph_wrappers.py::test_what_fails_is_told_where_oned_reads_it`
* 9.7: a flatten that fails loses the snapshots
  `test_ceph_snapshots.py::test_a_flatten_that_fails_loses_no_snapshot`
* 9.7: a revert renames before it knows its snapshot
  `test_ceph_snapshots.py::test_a_snapshot_that_is_not_there_changes_nothing`
* 10.4: increments of rbd cannot be merged
  `test_old_chains.py::test_increments_are_merged_and_the_chain_goes_on`
* 11.6: ``ls -i 0`` names the last increment's file
  `test_old_chains.py::test_a_chain_goes_on_and_restores_at_every_point`

Disks of VMs (contract-tm 7.7, 7.8, 8, 12):

* Q4: a running guest is never frozen for its backup
  `test_ceph_backup_live.py::test_a_chain_of_a_guest_that_writes_all_the_time`
* Q12: a directory is wiped on a host that only has another name
  `test_ceph_quirks.py::test_one_storage_is_refused_by_proof`
* Q27: a revert that ends between two renames leaves no volume
  `test_ceph_disk_snapshots.py::test_killed_between_the_two_renames_of_a_revert_the_old_disk_is_put_back`
* Q28: a guest that cannot be frozen is told nowhere; Q29: a volume is copied while the guest writes to it
  `test_ceph_live.py::test_a_running_guest_is_held_for_a_snapshot_and_its_volume_never_deleted`
* Q38: a repeated clone of what was made in part
  `test_ceph_disks.py::test_force_replaces_a_clone_and_without_it_it_stays`
* Q41: of mkimage only the last command counts
  `test_ceph_quirks.py::test_a_disk_that_cannot_be_formatted_leaves_nothing`
* 7.7: ``ln`` tells only how its last command ended
  `test_ceph_disks.py::test_an_image_that_clones_stand_on_is_not_written_to`
* 7.7: the names of disks that begin alike
  `test_ceph_disks.py::test_disks_whose_names_begin_alike_do_not_concern_each_other`
* 7.8: in the mixed mode a snapshot fails for want of a volume
  `test_ceph_ssh.py::test_what_cannot_be_done_is_said_and_leaves_nothing`
* 8.4: the first file of a chain is of many moments
  `test_old_chains.py::test_the_first_file_is_of_the_moment_of_its_snapshot`
* 8.4: an increment without the snapshot before it fails
  `test_ceph_backup.py::test_after_a_revert_an_increment_has_the_whole_disk`
* 8.4: old snapshots go before the backup is kept
  `test_ceph_backup.py::test_the_increment_that_failed_is_made_again`
* 8.6, Q18c: a download that broke replaces the disk
  `test_ceph_restore.py::test_a_backup_that_is_damaged_touches_nothing`
* 8.6: disks are replaced one by one
  `test_ceph_restore.py::test_killed_at_every_step_it_has_all_old_disks_or_all_new_ones`

Q31, commands built of text, is answered by the binding: nothing of ours starts a shell for a volume.
"""

from __future__ import annotations

import re
import tarfile
from pathlib import Path

import pytest

from plugins.module_utils._errors import Corrupt, Refused, StorageError
from tests.unit.core.cases import move
from tests.unit.core.cases_migrate import DISKS
from tests.unit.core.pools import Pools, qemu
from tests.unit.core.support import World, act, tree
from tests.unit.core.vm_volumes import Disks

ROOT = Path(__file__).resolve().parents[2]


def test_the_table_names_its_tests() -> None:
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", __doc__ or "")
    assert len(named) > 30
    for file, name in named:
        found = [path for path in ROOT.rglob(file) if f"def {name}(" in path.read_text()]
        assert found, f"{file}::{name}"


def test_an_import_that_fails_late_leaves_no_staging_file(pools: Pools) -> None:
    """It has all of the file by then, and begins to convert it."""
    path = pools.folder / "damaged.qcow2"
    qemu("convert", "-f", "raw", "-O", "qcow2", pools.file(), path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) - 100000])
    with pytest.raises(Corrupt):
        act("ds_cp", **pools.new(5, source=path, size=6))
    assert pools.names() == []
    assert pools.left() == []


def test_files_of_a_backup_are_no_disks(pools: Pools) -> None:
    """Such as stock's downloader packs for stock's driver: here the backup's own source is read."""
    pools.volume("one-9")
    whole = pools.folder / "disk.0.rbd2"
    pools.cluster.rbd("export", "--no-progress", "--export-format", "2", "one/one-9", str(whole))
    pools.snapshot("one-9", "1")
    pools.cluster.rbd("export-diff", "--no-progress", "one/one-9@1", str(pools.folder / "disk.0.1.rbdiff"))
    for source in ("disk.0.rbd2", "disk.0.1.rbdiff", "one.tar.gz", "two.tar.gz"):
        if source.endswith(".gz"):
            with tarfile.open(pools.folder / source, "w:gz") as archive:
                for name in ("disk.0.rbd2", "disk.0.1.rbdiff")[: 1 if source.startswith("one") else 2]:
                    archive.add(pools.folder / name, name)
        with pytest.raises(Refused, match="is what rbd export writes in a format of its own, and no disk"):
            act("ds_cp", **pools.new(5, source=pools.folder / source, size=6))
        assert pools.names() == ["one-9"]
        assert pools.left() == []


def test_a_disk_that_cannot_be_formatted_leaves_nothing(disks: Disks) -> None:
    before = disks.pools.tree()
    with pytest.raises(StorageError, match="xfs"):
        # too small for one
        disks.act("tm_mkimage", destination=disks.path(2), size=1, format="raw", fs="xfs")
    assert disks.pools.tree() == before
    assert disks.pools.left() == []
    assert disks.world.is_tidy(), disks.world.hidden()


def test_one_storage_is_refused_by_proof(world: World) -> None:
    """Two names of one folder, whatever the hosts are called."""
    home = world.disk().parent
    home.mkdir()
    (home / "disk.2").write_bytes(b"context" * 1000)
    if (world.root / "101").exists():
        (world.root / "101").rmdir()
    (world.root / "101").symlink_to("100")
    before = tree(home)
    with pytest.raises(Refused, match="are the same storage"):
        act("tm_premigrate", **move({"driver": "ceph"})(world), disks=DISKS)
    assert tree(home) == before
    assert world.is_tidy() and not world.receipts()
