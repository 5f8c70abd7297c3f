# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""DS driver ``fs``: imports, and the size that one will have (contract-ds 5.4, 8.1, 8.4)."""

from __future__ import annotations

import os

from .._errors import BadCall, Corrupt, DeadlineOver, Refused, StorageError, ToolFailed, from_os, one_line
from ..steps.base import LEAD, limits
from ..steps.files import MakeDirectory, Publish
from .base import Answer, Plan, Request
from .fs_images import FsImages, head_of, most_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..steps.base import Step
    from ..tools.sources import Source
    from ..tools.unpack import Unpacked
    from .base import Reply

#: Refused as sources whatever the datastore says, unless it calls them safe (contract-ds 5.3).
ALWAYS_RESTRICTED = ("/var/lib/one", "/etc/one")
#: Seconds that a size may take in all: oned waits 90 (contract-ds 3), and starting takes some of them.
_PATIENCE = 75.0
#: Schemes that need nothing of the front-end: no file, key or helper of its own.
_FETCHED_ANYWHERE = ("http", "https", "s3")
#: Largest virtual size in bytes where nothing was counted: 1 PiB.
_MOST = 1 << 50
#: What qemu-img check says of an image with clusters that nobody uses, and of none worse.
_LEAKS = 3


class Imports(FsImages):
    """``cp`` and ``stat``."""

    def cp(self, request: Request) -> Reply:
        """Import an image from a path or a URL (contract-ds 8.1)."""
        from ..steps.images import Convert

        claim = self.claims(request.options)[0]
        root, final = claim.datastore, self.final(request)
        if request.look(final):
            return Answer(source=self.as_given(request), format=self._format(request, final), **request.site.figures)
        part = os.path.join(request.shop(claim), "fetched")
        if request.ran and request.look(part):
            found, size = self._accepted(request, part)
            wanted = request["convert_to"]
            if not wanted or wanted == found or found == "luks":
                return Plan([MakeDirectory(LEAD, root, root), Publish(LEAD, part, final, root, what="image")])
            whole = os.path.join(request.shop(claim), "converted")
            return Plan(
                [
                    Convert(LEAD, part, found, whole, wanted, sparse=request["sparse"], untrusted=True, size=size),
                    MakeDirectory(LEAD, root, root),
                    Publish(LEAD, whole, final, root, what="image"),
                ]
            )
        steps: list[Step] = [self._fetch(request, part, root)]
        if request.site.check:
            # a check ends here: it cannot know what will arrive, but it knows where that will go
            steps += [MakeDirectory(LEAD, root, root), Publish(LEAD, part, final, root, what="image")]
        return Plan(steps)

    def _fetch(self, request: Request, part: str, root: str, volume: dict[str, Any] | None = None) -> Step:
        """The step that brings the source.

        :param volume: the one that a raw image goes into straight away (:class:`..steps.fetch_volume.FetchVolume`).
        """
        from ..steps.fetch import Fetch
        from ..tools.sources import rate_of

        kind, more = Fetch, {}
        if volume:
            from ..steps.fetch_volume import FetchVolume

            kind, more = FetchVolume, {"volume": volume}

        source, name = self._source(request), _name(request)
        if name != source:
            # a password, or a signed query, must not stand in the journal
            request.site.private[name] = source
        request.site.secrets = _secrets(request)
        return kind(
            LEAD,
            name,
            part,
            root,
            most_bytes(request["size"], "") if request["size"] else 0,
            {kind: request[kind] for kind in ("md5", "sha1", "sha256") if request[kind]},
            request["sparse"],
            decompress=request["decompress"],
            archives=not request["plain"],
            disk=not request["plain"],
            rate=rate_of(request["limit_rate"]),
            verify=request["tls_verify"],
            helpers=request["helpers"],
            feed=request["feed"],
            **more,
        )

    def fed(self, action: str, options: dict[str, Any]) -> Source | None:
        """A file of this machine, or what its keys and helpers reach; what is said of sources holds here too."""
        from ..steps.base import Site, Timeouts
        from ..tools.host import Host
        from ..tools.sources import Options, open_source, rate_of, scheme_of

        source = str(options.get("source", ""))
        if action != "cp" or ("://" in source and scheme_of(source) in _FETCHED_ANYWHERE):
            return None
        stall = options["stall_timeout"]
        site = Site(Host(os.uname().nodename), None, "", Timeouts(stall=stall))
        how = Options(stall=stall, rate=rate_of(options["limit_rate"]), helpers=options["helpers"], resolved=True)
        return open_source(self._source(Request("cp", options, site)), how)

    def _source(self, request: Request) -> str:
        """Where an import comes from: a URL, or a readable file in a directory that the datastore allows."""
        from ..tools.sources import local_path, scheme_of

        source = str(request["source"])
        if request.options.get("feed"):
            # it was held against the directories where it is read
            return source
        if "://" not in source or source.startswith("/"):
            return allowed(request, source)
        if any(ord(char) <= 32 for char in source):
            raise BadCall(f"'{one_line(source, 120)}' is not a URL")
        path = local_path(source) if scheme_of(source) == "file" else ""
        return allowed(request, path) if path else source

    def _accepted(self, request: Request, part: str) -> tuple[str, int]:
        """The format of a fetched file, when it may become an image (rule 10), and the bytes that are to be read in it.

        Those are the file's, or the virtual size's where that is more: what is packed in clusters may be far smaller.
        """
        from ..tools import image_header

        name = _name(request)
        if request["plain"]:
            # a kernel or a context file: nothing is ever opened as a disk
            return "raw", self._fits(request, part, "raw", name)
        head = head_of(part, image_header.HEAD_BYTES)
        found = image_header.refuse_unsafe(head, name)
        size = self._fits(request, part, found, name)
        if found in ("raw", "luks"):
            return found, size
        # first what the header says, so that qemu-img never sees a size that no disk has
        self._refuse_size(request, image_header.virtual_size(head) or 0, name)
        virtual = self._virtual_size(request, part, found, name)
        self._refuse_size(request, virtual, name)
        size = max(size, virtual)
        if found == "qcow2":
            check_qcow2(request, part, name, size)
        return found, size

    @staticmethod
    def _refuse_size(request: Request, size: int, name: str) -> None:
        if request["size"] and size > request["size"] << 20:
            raise Refused(
                f"{name} has a virtual size of {-(-size >> 20)} MB, more than the {request['size']} MB that were "
                "counted for the image",
                todo="register it with its real SIZE",
            )
        if size > _MOST:
            raise Refused(f"{name} claims a size of {-(-size >> 20)} MB, which no disk has")

    @staticmethod
    def _fits(request: Request, part: str, image_format: str, name: str) -> int:
        limit = most_bytes(request["size"], image_format) if request["size"] else 0
        size = os.stat(part).st_size
        if limit and size > limit:
            raise Refused(
                f"{name} is larger than the {request['size']} MB that were counted for the image",
                todo="register it with its real SIZE, or set LIMIT_IMAGE_SIZE=NO in the datastore",
            )
        return size

    @staticmethod
    def _virtual_size(request: Request, part: str, image_format: str, name: str) -> int:
        import json

        text = request.site.command(
            LEAD,
            ["qemu-img", "info", "-f", image_format, "--output=json", part],
            f"read the image {name}",
            untrusted=True,
        )
        info = json.loads(text)
        if info.get("backing-filename") or info.get("format-specific", {}).get("data", {}).get("data-file"):
            raise Refused(f"{name} refers to another file", todo="flatten it with qemu-img convert first")
        return int(info["virtual-size"])

    def _format(self, request: Request, path: str) -> str:
        """The format to tell oned: luks counts as raw, what is not a disk is raw (contract-ds 8.1)."""
        from ..tools import image_header

        found = image_header.format_of(head_of(path, image_header.HEAD_BYTES)) if not request["plain"] else "raw"
        return "raw" if found in ("luks", "vmdk-descriptor") else found

    def stat(self, request: Request) -> Reply:
        """The size in MB, rounded up, that an import of this source will take (contract-ds 5.4, 8.4).

        Only the beginning is read where that tells the size; what is packed and has none in a header is counted. It
        ends, with an answer or with a sentence, before oned stops to wait for it.
        """
        import time

        from ..tools.intake import HEAD
        from ..tools.sources import Options, open_source, rate_of

        until = time.monotonic() + min(_PATIENCE, request.site.timeouts.command)
        options = Options(
            stall=min(request.site.timeouts.stall, _PATIENCE),
            rate=rate_of(request["limit_rate"]),
            verify=request["tls_verify"],
            secrets=_secrets(request),
            helpers=request["helpers"],
            until=until,
            resolved=True,
        )
        source = open_source(self._source(request), options)
        # no more than the beginning is waited for
        source.block = min(source.block, HEAD)
        try:
            size = self._size(request, source, until)
        except TimeoutError:
            size = None
        finally:
            source.close()
            request.site.warn(source.warning)
        if size is None:
            raise DeadlineOver(
                f"Cannot determine the size of {_name(request)} within {_PATIENCE:g} seconds",
                todo="register it with its SIZE",
            )
        if not size or size > _MOST:
            raise StorageError(f"Cannot determine the size of {_name(request)}")
        return Answer(size=-(-size // (1 << 20)))

    def _size(self, request: Request, source: Source, until: float) -> int | None:
        """Bytes of the image that a source will become; None when the time is over, 0 when nothing tells."""
        from contextlib import closing

        from ..tools.intake import Order, opened

        order = Order(decompress=request["decompress"], archives=not request["plain"])
        with closing(opened(source.chunks(), source, order)) as packed:
            return self._inside(request, source, packed, until)

    def _inside(self, request: Request, source: Source, packed: Unpacked, until: float) -> int | None:
        import time

        from ..tools import image_header
        from ..tools.intake import HEAD

        name = _name(request)
        head = packed.head(HEAD)
        found = "raw" if request["plain"] else image_header.refuse_unsafe(head, name)
        if found not in ("raw", "luks"):
            size = image_header.virtual_size(packed.head(image_header.size_bytes(found)))
            if size is None and source.path and not packed.layers:
                size = self._virtual_size(request, source.path, found, name)
            return size or 0
        if packed.length is not None:
            return packed.length
        count = 0
        for data in packed.chunks():
            count += len(data)
            if time.monotonic() > until:
                return None
        return count


def _name(request: Request) -> str:
    """What to call the source: nothing secret is in it."""
    from ..tools.sources import shown

    source = str(request["source"])
    return shown(source) if "://" in source and not source.startswith("/") else one_line(source, 200)


def _secrets(request: Request) -> dict[str, str]:
    """Credentials for s3, under the names that a marketplace gives them (contract-ds 6.2)."""
    return {
        name: str(request[option])
        for name, option in (
            ("ACCESS_KEY_ID", "s3_access_key_id"),
            ("SECRET_ACCESS_KEY", "s3_secret_access_key"),
            ("REGION", "s3_region"),
            ("ENDPOINT", "s3_endpoint"),
            ("AWS", "s3_aws"),
        )
        if request[option]
    }


def check_qcow2(request: Request, part: str, name: str, size: int) -> None:
    """``Corrupt`` when the tables of a qcow2 image are not in order; clusters that nobody uses are.

    An image that was cut off is found by this, as its tables point behind the end of the file.
    """
    argv = ["qemu-img", "check", "-q", "-f", "qcow2", part]
    host = request.site.lead
    result = host.run(argv, request.site.timeouts.command, limits(size))
    if result["rc"] in (0, _LEAKS):
        return
    said = str(result["err"]).strip().splitlines()
    if result["rc"] < 0:
        # by its limits, or by somebody: that says nothing about the image
        raise ToolFailed(
            f"{name} cannot be checked: qemu-img was killed by signal {-result['rc']}",
            host.name,
            detail=f"{' '.join(argv)}: limits {' '.join(limits(size))}",
        )
    raise Corrupt(
        f"{name} is a damaged qcow2 image",
        host.name,
        todo="qemu-img check tells what is wrong with it",
        detail=f"{' '.join(argv)}: code {result['rc']}: {one_line(said[0] if said else '', 300)}",
    )


def allowed(request: Request, source: str) -> str:
    """The resolved path of a local source that the datastore allows to be imported.

    The longest prefix does not win: a safe directory always does, as in stock; but prefixes are whole directories and
    the path is resolved first, so that a link cannot lead out of a safe one (contract-ds 5.3).
    """
    if not source.startswith("/") or "\0" in source:
        raise BadCall(f"The source '{one_line(source, 120)}' is neither an absolute path nor a URL")
    real = os.path.realpath(source)
    home = os.path.expanduser("~")
    safe = [os.path.realpath(path) for path in request["safe_dirs"] if path.startswith("/")]
    closed = [os.path.realpath(path) for path in (*ALWAYS_RESTRICTED, home) if path.startswith("/") and path != "/"]
    closed += [os.path.realpath(path) for path in request["restricted_dirs"] if path.startswith("/")]
    if not _below(real, safe) and _below(real, closed):
        raise Refused(
            f"Not allowed to copy image from {one_line(source, 200)}, check RESTRICTED_DIRS in your datastore"
        )
    try:
        # a pipe would keep who opens it waiting, a device may have no end
        if os.path.isdir(real):
            raise BadCall(f"The source {one_line(source, 200)} is a directory")
        if os.path.exists(real) and not os.path.isfile(real):
            raise BadCall(f"The source {one_line(source, 200)} is not a regular file")
        with open(real, "rb"):
            pass
    except OSError as error:
        raise from_os(error, f"read {one_line(source, 200)}", request.site.lead.name) from error
    return real


def _below(path: str, folders: list[str]) -> bool:
    return any(folder == "/" or path == folder or path.startswith(folder + "/") for folder in folders)
