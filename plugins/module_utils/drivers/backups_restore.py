# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a restore into new objects has to know of a backup: its disks, the VM's document, a TPM's state (contract-ds
10.5). The repository is listed once. The objects themselves are oned's, and made by the door."""

from __future__ import annotations

from .._errors import Missing
from ..tools import manifest as manifests
from .base import Answer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..tools.repositories import Repository, Stored
    from .backups import Backups
    from .base import Reply, Request


def restore(request: Request, driver: Backups) -> Reply:
    """Sources of the disks by id, ``document`` and ``tpm`` as base64, and the reference that they are of."""
    from base64 import b64encode

    driver.needs_vm(request.options)
    chain = driver.selected(request.options)
    reference = chain[-1].reference
    repository = driver.repository(request)
    files = {file.name: file for file in repository.files(reference)}
    if manifests.VM_XML not in files or not any(manifests.disk_of(name) for name in files):
        raise Missing(f"Backup does not contain any disks or missing vm.xml: it is {reference}", request.site.lead.name)
    told = repository.manifest(reference, list(files.values()))
    document = _content(repository, reference, files[manifests.VM_XML], told)
    tpm = _content(repository, reference, files[manifests.TPM], told) if manifests.TPM in files else b""
    if told is None:
        request.site.warn(f"The backup {reference} has no manifest: that it is what was backed up is not proven")
    urls = driver.urls(request, chain, list(files.values()))
    return Answer(
        disks={disk: url for disk, url in urls.items() if disk != "tpm"},
        # as it lies there, and without the line breaks
        document=b"".join(document.split()).decode("ascii", "replace"),
        tpm=b64encode(tpm).decode(),
        reference=reference,
    )


def _content(repository: Repository, reference: str, file: Stored, told: dict[str, object] | None) -> bytes:
    """A small file, held against the manifest."""
    import hashlib

    data = repository.content(reference, file.path)
    wanted = (told or {}).get("files")
    if isinstance(wanted, dict) and file.name in wanted:
        manifests.compare(file.name, wanted[file.name], len(data), hashlib.sha256(data).hexdigest(), reference)
    return data
