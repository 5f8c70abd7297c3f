# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fetches over http and https with a limit, a deadline on progress, digests and holes, through urllib.

Imported only when an image really comes from a URL: urllib costs tens of milliseconds.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import os
import ssl
import urllib.error
import urllib.request

from .._errors import DeadlineOver, Missing, NoAccess, Refused, StorageError, Unreachable, one_line
from .command import going_on

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from http.client import HTTPMessage, HTTPResponse
    from typing import IO

CHUNK = 1 << 20
_ZEROS = bytes(CHUNK)


class _SameKind(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http and https only: never to a file, nor from https down to http."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        allowed = ("https://",) if req.full_url.lower().startswith("https://") else ("http://", "https://")
        if not newurl.lower().startswith(allowed):
            raise Refused(f"{req.full_url} redirects to {one_line(newurl, 120)}, which is not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _open(url: str, stall: float, headers: dict[str, str] | None = None) -> HTTPResponse:
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(context=ssl.create_default_context()),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _SameKind(),
    ):
        opener.add_handler(handler)
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "one_storage.drivers", **(headers or {})})
        response: HTTPResponse = opener.open(request, timeout=stall)
    except urllib.error.HTTPError as error:
        kind: type[StorageError] = {404: Missing, 401: NoAccess, 403: NoAccess}.get(error.code, Unreachable)
        raise kind(f"{url} answers {error.code} {one_line(str(error.reason), 80)}") from None
    except TimeoutError:
        raise DeadlineOver(f"{url} does not answer within {stall:g} seconds") from None
    except (urllib.error.URLError, http.client.HTTPException, ValueError, OSError) as error:
        reason = getattr(error, "reason", error)
        raise Unreachable(f"Cannot reach {url}: {one_line(str(reason) or type(reason).__name__, 200)}") from None
    return response


def fetch(url: str, part: str, limit: int, digests: Sequence[str], sparse: bool, stall: float) -> dict[str, str]:
    """Download *url* to the new file *part*; the digests asked for are returned by name.

    :param limit: most bytes; ``OSError(EFBIG)`` when the server announces or sends more. 0: no limit.
    :param stall: seconds without progress after which the download fails.
    """
    hashes = [hashlib.new(name) for name in digests]
    with _open(url, stall) as response:
        announced = _length(response)
        if limit and announced is not None and announced > limit:
            raise OSError(errno.EFBIG, "larger than allowed", url)
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
        try:
            total = 0
            while True:
                going_on()
                try:
                    data = response.read(CHUNK)
                except TimeoutError:
                    raise DeadlineOver(f"{url} sent nothing for {stall:g} seconds") from None
                except (OSError, ValueError, http.client.HTTPException) as error:
                    raise Unreachable(f"The download of {url} broke: {one_line(str(error), 200)}") from None
                if not data:
                    break
                if limit and total + len(data) > limit:
                    raise OSError(errno.EFBIG, "larger than allowed", url)
                for item in hashes:
                    item.update(data)
                if not sparse or data != _ZEROS[: len(data)]:
                    _write_at(handle, data, total)
                total += len(data)
            os.ftruncate(handle, total)
            os.fsync(handle)
        finally:
            os.close(handle)
    if announced is not None and announced != total:
        raise Unreachable(f"The download of {url} ended early: {total} of {announced} bytes came")
    return {name: item.hexdigest() for name, item in zip(digests, hashes)}


def head(url: str, size: int, stall: float) -> tuple[bytes, int | None]:
    """The first *size* bytes of a URL and its whole length in bytes, None when the server does not say."""
    with _open(url, stall, {"Range": f"bytes=0-{size - 1}"}) as response:
        try:
            data = response.read(size)
        except TimeoutError:
            raise DeadlineOver(f"{url} sent nothing for {stall:g} seconds") from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise Unreachable(f"The download of {url} broke: {one_line(str(error), 200)}") from None
        whole = _length(response)
        if response.status == 206:
            text = response.headers.get("Content-Range", "").rpartition("/")[2]
            whole = int(text) if text.isdigit() else None
    return data, whole


def _length(response: HTTPResponse) -> int | None:
    text = response.headers.get("Content-Length", "")
    return int(text) if text.isdigit() else None


def _write_at(handle: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(handle, view, offset)
        view = view[written:]
        offset += written
