# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""DS driver ``fs``: images for a marketplace (contract-ds 8.7, 14 rows 6 and 26-28).

A marketplace's driver downloads the file that an export names, and then, if the answer says so, disposes of it. What
stands alone is named where it lies. A chain of layers cannot be: the file at its top holds a part of the image. It is
written anew into ``<datastore>/.one_storage/exports/`` and is the marketplace's to dispose of. An export that nobody
disposed of goes a day later (:meth:`..tools.host.Host.sweep`).
"""

from __future__ import annotations

import os

from .._errors import BadCall, Cancelled, Missing, Refused, from_os, one_line
from ..steps.base import LEAD
from ..steps.claim import Claim
from ..steps.files import MakeDirectory, Publish
from ..tools.hidden import EXPORTS, HIDDEN
from .base import Answer, Plan, Request, base
from .fs_images import FsImages, existing
from .fs_snapshots import top_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar

    from ..steps.base import Site
    from .base import Reply

#: What a shell leaves as it is. Marketplaces' drivers put source and command on a shell's command line, some without
#: quotes and some taken apart at blanks whatever the quotes, so only what needs none is safe in all of them.
PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789@%+=,./_-")


class MakeExports(MakeDirectory):
    """Make the folder for exports. Undo lets it be: another export may be about to use it."""

    kind: ClassVar[str] = "make-exports"

    def evidence(self, site: Site) -> dict[str, Any]:
        return {"made": False}


class Exports(FsImages):
    """``export``."""

    def __init__(self) -> None:
        # each marketplace disposes of a file of its own, so two exports of one image must not share a name
        self._number = os.urandom(8).hex()

    def claims_export(self, options: dict[str, Any]) -> list[Claim]:
        source, root = existing(options)
        return [Claim(LEAD, root, f"export-{self._number}"), Claim(LEAD, root, "image-" + base(source), shared=True)]

    def export(self, request: Request) -> Reply:
        """Name a file that holds the image, with its MD5 digest (contract-ds 8.7)."""
        from ..steps.images import Convert
        from ..tools import digest  # noqa: F401  (nothing is loaded once a step has run)

        source, root = existing(request.options)
        host = check_url_host(request["url_host"])
        path, alone, size = _content(request, source, root)
        if alone:
            _check_path(path)
            # a file is named as oned names it, double slashes and all
            named = request["source"] if path == source else path
            return _answer(request, path, named, host, size, "")
        final = os.path.join(root, HIDDEN, EXPORTS, f"{base(source)}-{self._number}")
        _check_path(final)
        if request.look(final):
            command = f"rm -f {final}"
            if host:
                command = f"ssh -n -o BatchMode=yes {host} {command}"
            return _answer(request, final, final, host, size, command)
        claim = self.claims_export(request.options)[0]
        part = os.path.join(request.shop(claim), "image")
        return Plan(
            [
                Convert(LEAD, path, "qcow2", part, "qcow2"),
                MakeExports(LEAD, os.path.dirname(final), root),
                Publish(LEAD, part, final, root, what="export"),
            ]
        )


def _content(request: Request, source: str, root: str) -> tuple[str, bool, int]:
    """The file that holds what is exported, whether it stands alone, and the bytes that a guest sees in it.

    Formats that are neither raw nor qcow2 are not opened: their size is the file's.
    """
    from ..tools import chain

    lead = request.site.lead
    number, snap = request["target_snapshot"], source + ".snap"
    path = source
    if number >= 0:
        path = chain.current(lead, snap, number)
        # the highest layer is written to: it is what the next snapshot will hold
        if not path or (request["format"] == "qcow2" and lead.real(path) == lead.real(top_of(lead, source, "qcow2"))):
            raise Missing(f"The image {source} has no snapshot {number}", lead.name)
    elif request["format"] == "qcow2":
        # the files there may be layers, or full copies with the image beside them
        path = top_of(lead, source, "qcow2")
    if request.look(path, follow=True) is None:
        raise Missing(f"The image {path} is not there", lead.name)
    if request["format"] == "qcow2":
        layers = chain.layers(lead, path, [root])
        # what was followed is what is opened: a link elsewhere could make relative names mean other files
        alone = len(layers) == 1
        return path if alone else layers[0].path, alone, layers[0].virtual_size
    real, top = lead.real(path), lead.real(root)
    info = lead.stat(real)
    if not real.startswith(top + "/"):
        raise Refused(f"The image {path} leads to {one_line(real, 200)}, outside of {root}", lead.name)
    if info is None or info["kind"] != "file":
        raise Refused(f"The image {path} is not a regular file", lead.name)
    return path, True, int(info["size"])


def _answer(request: Request, path: str, named: str, host: str, size: int, dispose: str) -> Answer:
    from ..tools.digest import digest

    taken = ""
    if not request.site.check:
        try:
            taken, _length = digest(path)
        except InterruptedError:
            raise Cancelled(f"The caller went away while {path} was read") from None
        except OSError as error:
            raise from_os(error, f"read {path}", request.site.lead.name) from error
    return Answer(
        # not "path": Ansible adds what it knows of a file of that name, its size among it
        file=path,
        import_source=f"ssh://{host}:{named}" if host else named,
        md5=taken,
        size=request["size"] or -(-size // (1 << 20)),
        format=request["format"],
        dispose=bool(dispose),
        dispose_cmd=dispose,
    )


def check_url_host(host: str) -> str:
    """A host's name that can stand in a URL; empty for none."""
    from ..tools.ssh import check_host

    if not host:
        return ""
    if ":" in host:
        # the URL is taken apart at its first colon (contract-ds 6.2)
        raise BadCall(f"'{one_line(host, 80)}' cannot stand in an address with a path", todo="use a name for the host")
    return check_host(host)


def _check_path(path: str) -> None:
    if not PLAIN.issuperset(path):
        raise Refused(
            f"The path {one_line(path, 200)} has characters that marketplaces' drivers, which use a shell, cannot take",
            todo="use a datastore whose path has letters, digits and @%+=,._- only",
        )
