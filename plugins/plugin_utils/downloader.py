# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The downloader: a source to a file or to stdout, with the options of stock's ``downloader.sh`` (contract-ds 6.1).

For the marketplace, restores and people. It is the intake of imports with another end; nothing of it is on the way of
a wrapper.
"""

from __future__ import annotations

import argparse
import os
import signal

from ..module_utils._errors import BadCall, StorageError, from_os, one_line
from ..module_utils.tools import audience
from ..module_utils.tools.command import stop_work
from ..module_utils.tools.intake import DIGESTS, File, Order, opened, take
from ..module_utils.tools.progress import Progress
from ..module_utils.tools.sources import Options, open_source, rate_of
from ..module_utils.tools.sources.backup import is_backup
from .settings import Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from lxml.etree import _Element

    from ..module_utils.tools.sources import Source

#: What stock's exits with after every error.
FAILED = 255


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise BadCall(f"Arguments error: {message}")


def main(remotes: str, arguments: list[str]) -> int:
    """Fetch; 0, or 255 after one sentence on stderr.

    :param remotes: the remotes directory that this build lies in.
    """
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda _number, _frame: stop_work())
    try:
        given = _parser().parse_args(arguments)
        if given.max_size and any(getattr(given, name) for name in DIGESTS):
            raise BadCall("Hash check not supported for partial downloads")
        _fetch(given, Settings(remotes))
        return 0
    except BrokenPipeError:
        # who reads has had enough, and knows it
        return FAILED
    except StorageError as error:
        sentence = str(error)
    except InterruptedError:
        sentence = "Interrupted, nothing was kept"
    except OSError as error:
        sentence = str(from_os(error, f"write {one_line(str(error.filename or 'the data'), 200)}"))
    _tell(sentence)
    return FAILED


def _tell(sentence: str) -> None:
    """One line on stderr; that nobody listens there changes nothing."""
    try:
        os.write(2, f"{one_line(sentence, 2000)}\n".encode("utf-8", "replace"))
    except OSError:
        pass


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="downloader",
        description="Fetch FROM (a path, or a URL: file, http, https, ssh, s3, rbd, rsync and restic for disks of "
        "backups, those of helper downloaders) and write what is in it to TO. Compressions are taken off (gzip, bzip2, "
        "xz, zstd); of a tar, a zip or an ova the one disk that is in it is kept. TO comes into being whole, or not "
        "at all.",
        epilog="Exit code 0, or 255 after one sentence on stderr. Credentials for s3 are read from the document in "
        "$DRV_ACTION, as base64.",
        allow_abbrev=False,
    )
    for letter, name in (("-m", "md5"), ("-s", "sha1"), ("", "sha256")):
        flags = [letter, f"--{name}"] if letter else [f"--{name}"]
        parser.add_argument(*flags, default="", metavar="HEX", help=f"the {name} that the source must have")
    parser.add_argument("-n", "--nodecomp", action="store_true", help="keep the source as it is packed")
    parser.add_argument("-l", "--limit", default="", metavar="RATE", help="most bytes per second, with K, M or G")
    parser.add_argument(
        "-c", "--max-size", type=int, default=0, metavar="BYTES", help="end after so many bytes of what is in it"
    )
    parser.add_argument("-o", "--noretry", action="store_true", help="give up at the first failure of a server")
    parser.add_argument("source", metavar="FROM")
    parser.add_argument("target", metavar="TO", help="a path, or - for stdout")
    return parser


def _fetch(given: argparse.Namespace, settings: Settings) -> None:
    options = Options(
        stall=settings.number("STALL_TIMEOUT", 60),
        rate=rate_of(given.limit),
        verify=not settings.text("TLS_VERIFY", "yes").lower().startswith("n"),
        secrets=_secrets(),
        helpers=os.path.join(settings.root, "datastore"),
        retry=not given.noretry,
        command=settings.number("COMMAND_TIMEOUT", 3600),
    )
    digests = {name: getattr(given, name) for name in DIGESTS if getattr(given, name)}
    order = Order(digests=digests, decompress=not given.nodecomp)
    if is_backup(given.source):
        source = _of_backup(given.source, options, settings)
    else:
        # unlike in a document of oned's, a path may start where the caller is
        source = open_source(given.source if "://" in given.source else os.path.abspath(given.source), options)
    try:
        if given.target == "-":
            audience.watch(stop_work)
            _pour(source, order, given.max_size, 1)
        elif os.path.exists(given.target) and not os.path.isfile(given.target):
            # a device or a pipe cannot be replaced
            handle = os.open(given.target, os.O_WRONLY)
            try:
                _pour(source, order, given.max_size, handle)
            finally:
                os.close(handle)
        else:
            _write(source, order, given.max_size, os.path.realpath(given.target))
    finally:
        source.close()
        if source.warning:
            _tell(f"WARN: downloader: {source.warning}")


def _of_backup(url: str, options: Options, settings: Settings) -> Source:
    """A disk of a backup: oned knows where its repository is, the password, and for whom a driver fetches it."""
    from .backup_reader import may_read
    from .calls import Context
    from .oned import Oned
    from .repositories import store_of

    context = Context(Oned(deadline=settings.number("ONED_TIMEOUT", 30)), settings)
    document = _document()
    image = document.find("IMAGE") if document is not None else None
    if image is not None:
        may_read(context, url, image)
    return store_of(context, url).opener(url, options.rate)()


def _write(source: Source, order: Order, most: int, target: str) -> None:
    part = f"{target}.part-{os.getpid()}"
    file = File(part)
    try:
        try:
            _pass(source, order, most, file.write)
            file.whole()
        finally:
            file.close()
        os.rename(part, target)
    except BaseException:
        os.unlink(part)
        raise
    folder = os.open(os.path.dirname(target), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _pour(source: Source, order: Order, most: int, handle: int) -> None:
    def write(data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(handle, view) :]

    _pass(source, order, most, write)


def _pass(source: Source, order: Order, most: int, write: Callable[[bytes], object]) -> None:
    progress = Progress("", "", os.urandom(6).hex(), f"download {source.name}", source.length)
    try:
        if most:
            _begin(source, order, most, write)
        else:
            take(source, write, order, progress)
    except BaseException as error:
        progress.end(one_line(str(error) or type(error).__name__, 200))
        raise
    progress.end()


def _begin(source: Source, order: Order, most: int, write: Callable[[bytes], object]) -> None:
    """Write the first *most* bytes of what is inside."""
    packed = opened(source.chunks(), source, order)
    try:
        for data in packed.chunks():
            write(data[:most])
            most -= len(data)
            if most <= 0:
                return
    finally:
        packed.close()


def _document() -> _Element | None:
    """What oned told the driver that calls; stock's scripts leave it in the environment."""
    from .documents import decode, parse

    text = os.environ.get("DRV_ACTION", "")
    return parse(decode(text.encode()), "The document in $DRV_ACTION") if text else None


def _secrets() -> dict[str, str]:
    """Credentials of a marketplace."""
    from .documents import credentials

    document = _document()
    found = credentials(document) if document is not None else {}
    return {name: value for name, value in found.items() if value}
