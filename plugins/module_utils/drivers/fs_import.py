# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""DS driver ``fs``: imports, and the size that one will have (contract-ds 5.4, 8.1, 8.4)."""

from __future__ import annotations

import os

from .._errors import BadCall, Refused, StorageError, from_os, one_line
from ..steps.base import LEAD
from ..steps.files import MakeDirectory, Publish
from .base import Answer, Plan, Request
from .fs_images import FsImages, head_of, most_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..steps.base import Step
    from .base import Reply

#: Refused as sources whatever the datastore says, unless it calls them safe (contract-ds 5.3).
ALWAYS_RESTRICTED = ("/var/lib/one", "/etc/one")


class Imports(FsImages):
    """``cp`` and ``stat``."""

    def cp(self, request: Request) -> Reply:
        """Import an image from a path or a URL (contract-ds 8.1)."""
        from ..steps.images import Convert
        from ..steps.transfer import Fetch

        claim = self.claims(request.options)[0]
        root, final = claim.datastore, self.final(request)
        if request.look(final):
            return Answer(source=self.as_given(request), format=self._format(request, final))
        part = os.path.join(request.shop(claim), "fetched")
        if request.ran and request.look(part):
            found = self._accepted(request, part)
            wanted = request["convert_to"]
            if not wanted or wanted == found or found == "luks":
                return Plan([MakeDirectory(LEAD, root, root), Publish(LEAD, part, final, root, what="image")])
            whole = os.path.join(request.shop(claim), "converted")
            return Plan(
                [
                    Convert(LEAD, part, found, whole, wanted, untrusted=True),
                    MakeDirectory(LEAD, root, root),
                    Publish(LEAD, whole, final, root, what="image"),
                ]
            )
        source = self._source(request)
        digests = {name: request[name] for name in ("md5", "sha1") if request[name]}
        limit = most_bytes(request["size"], "") if request["size"] else 0
        steps: list[Step] = [Fetch(LEAD, source, part, root, limit, digests, request["sparse"])]
        if request.site.check:
            # a check ends here: it cannot know what will arrive, but it knows where that will go
            steps += [MakeDirectory(LEAD, root, root), Publish(LEAD, part, final, root, what="image")]
        return Plan(steps)

    def _source(self, request: Request) -> str:
        """Where an import comes from: a URL, or a readable file in a directory that the datastore allows."""
        source = str(request["source"])
        if source.lower().startswith(("http://", "https://")):
            if any(ord(char) <= 32 for char in source):
                raise BadCall(f"'{one_line(source, 120)}' is not a URL")
            return source
        if "://" in source:
            scheme = one_line(source.partition("://")[0], 20)
            raise Refused(f"Images cannot be imported from '{scheme}://'", todo="use a path, http:// or https://")
        return allowed(request, source)

    def _accepted(self, request: Request, part: str) -> str:
        """The format of a fetched file, when it may become an image (rule 10)."""
        from ..tools import image_header

        name = one_line(str(request["source"]), 200)
        if request["plain"]:
            # a kernel or a context file: nothing is ever opened as a disk
            self._fits(request, part, "raw", name)
            return "raw"
        head = head_of(part, image_header.HEAD_BYTES)
        packed = image_header.compression_of(head)
        if packed and request["decompress"]:
            raise Refused(
                f"{name} is compressed with {packed}",
                todo="decompress it first, or set NO_DECOMPRESS=YES to keep it as it is",
            )
        found = image_header.refuse_unsafe(head, name)
        self._fits(request, part, found, name)
        if found == "raw":
            return found
        size = self._virtual_size(request, part, found, name)
        if request["size"] and size > request["size"] << 20:
            raise Refused(
                f"{name} has a virtual size of {-(-size >> 20)} MB, more than the {request['size']} MB that were "
                "counted for the image",
                todo="register it with its real SIZE",
            )
        return found

    @staticmethod
    def _fits(request: Request, part: str, image_format: str, name: str) -> None:
        limit = most_bytes(request["size"], image_format) if request["size"] else 0
        if limit and os.stat(part).st_size > limit:
            raise Refused(
                f"{name} is larger than the {request['size']} MB that were counted for the image",
                todo="register it with its real SIZE, or set LIMIT_IMAGE_SIZE=NO in the datastore",
            )

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
        """The size in MB, rounded up, that an import of this source will take (contract-ds 5.4, 8.4)."""
        from ..tools import image_header

        source = self._source(request)
        name = one_line(source, 200)
        if "://" in source:
            from ..tools import http

            head, length = http.head(source, image_header.HEAD_BYTES, request.site.timeouts.stall)
        else:
            head, length = head_of(source, image_header.HEAD_BYTES), os.stat(source).st_size
        packed = image_header.compression_of(head)
        if packed and request["decompress"] and not request["plain"]:
            raise Refused(f"{name} is compressed with {packed}", todo="decompress it first, or set NO_DECOMPRESS=YES")
        found = "raw" if request["plain"] else image_header.refuse_unsafe(head, name)
        size = None if request["plain"] else image_header.virtual_size(head)
        if found not in ("raw", "luks", "qcow2") and "://" not in source:
            size = self._virtual_size(request, source, found, name)
        elif found in ("raw", "luks"):
            size = length
        if not size:
            raise StorageError(f"Cannot determine the size of {name}")
        return Answer(size=-(-size // (1 << 20)))


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
