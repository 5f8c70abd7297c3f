# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images from http and https: redirects, proxies, and transfers that go on where they broke (contract-ds 6.2).

Imported only when an image really comes from a URL: ``http.client`` and ``urllib`` cost tens of milliseconds.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import socket
import ssl
import urllib.parse
import urllib.request

from ..._errors import BadCall, Corrupt, DeadlineOver, Missing, NoAccess, Refused, StorageError, Unreachable, one_line
from .base import Options, Source
from .link import Link, Stopped, connect
from .names import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from urllib.parse import SplitResult

    #: Headers that a request for a URL needs: ``(url, range) -> headers``.
    Signer = Callable[[str, str], dict[str, str]]

#: Seconds before each new try in a row; progress starts the row again.
PAUSES = (1, 2, 4)
_REDIRECTS = 10
#: Answers that may be others a little later.
_FOR_NOW = (408, 425, 429, 500, 502, 503, 504)
_KINDS: dict[int, type[StorageError]] = {404: Missing, 410: Missing, 401: NoAccess, 403: NoAccess, 407: NoAccess}
_READ = 1 << 18
_BROKEN = (OSError, ValueError, http.client.HTTPException)


class _ForNow(Exception):
    """A failure after which a new try makes sense."""

    def __init__(self, error: StorageError, pause: float = 0) -> None:
        super().__init__(str(error))
        self.error = error
        self.pause = pause


class HttpSource(Source):
    """The body of a URL.

    What was handed out cannot be taken back, so a transfer that broke goes on with ``Range`` and ``If-Range``. When the
    server cannot do that, the beginning is read again and thrown away; it has to be the same, by its validator or,
    where there is none, by its digest. Anything else is refused as a source that changed.

    :param name: what to call it, when not by the URL.
    :param signer: makes the headers that give us access, for each request anew.
    """

    def __init__(self, url: str, options: Options, name: str = "", signer: Signer | None = None) -> None:
        super().__init__(name or shown(url), options)
        self._url = checked(url)
        self._signer = signer
        #: Where the last answer really came from.
        self._at = self._url
        #: Bytes that were received and kept; where the current answer stands.
        self._got = 0
        self._position = 0
        self._tries = 0
        self._link: Link | None = None
        self._response = self._insist()
        self._validator = _validator(self._response)
        self._digest = None if self._validator else hashlib.blake2b()
        self._again = hashlib.blake2b()
        self.length = self._response.length

    # ---------------------------------------------------------------- data

    def blocks(self) -> Iterator[bytes]:
        """The body, in blocks."""
        waiting = bytearray()
        while True:
            data = self._next()
            if data:
                waiting += data
            while len(waiting) >= self.block or (waiting and not data):
                yield bytes(waiting[: self.block])
                del waiting[: self.block]
            if not data:
                return

    def _next(self) -> bytes:
        """The next bytes that were not handed out yet; empty at the end."""
        while True:
            left = _READ if self.length is None else self.length - self._position
            if left == 0:
                return b""
            try:
                data = self._response.read1(min(_READ, left, self.block))
                if not data and self.length is None:
                    if self._position < self._got:
                        raise self._changed()
                    return b""
                if not data:
                    raise ConnectionError(f"it ended early, {self._position} of {self.length} bytes came")
            except (Stopped, InterruptedError, TimeoutError) as error:
                raise self._told(error)
            except _BROKEN as error:
                self._resume(error)
                continue
            fresh = self._unseen(data)
            if fresh:
                return fresh

    def _unseen(self, data: bytes) -> bytes:
        """Of what came, the part that is new; the rest is compared with what came before."""
        known = min(len(data), self._got - self._position)
        self._position += len(data)
        if known:
            self.pace.take(known)
            if self._digest:
                self._again.update(data[:known])
                if self._position >= self._got and self._again.digest() != self._digest.digest():
                    raise self._changed()
            data = data[known:]
        if data:
            self._got = self._position
            self._tries = 0
            if self._digest:
                self._digest.update(data)
        return data

    def _resume(self, error: Exception) -> None:
        """Go on after a connection broke."""
        self.close()
        broke = Unreachable(f"The download of {self.name} broke: {one_line(str(error) or type(error).__name__, 200)}")
        self._wait(_ForNow(broke))
        response = self._insist(self._got)
        if response.status == 206:
            start, total = _content_range(response)
            if start != self._got or (self.length is not None and total not in (None, self.length)):
                raise self._changed()
            self._position = self._got
            self.length = total if self.length is None else self.length
        else:
            if self.length != response.length and self._got:
                raise self._changed()
            self._position = 0
            self._again = hashlib.blake2b()
            self.length = response.length
        now = _validator(response)
        if self._got == 0:
            self._validator, self._digest = now, None if now else hashlib.blake2b()
        elif now != self._validator and (now or response.status != 206):
            raise self._changed()
        self._response = response

    def _changed(self) -> Corrupt:
        return Corrupt(f"{self.name} changed while it was read", todo="import it again when that is over")

    def close(self) -> None:
        """Close the connection."""
        if self._link:
            self._link.shut()
            self._link = None

    # ---------------------------------------------------------------- requests

    def _insist(self, start: int = 0) -> http.client.HTTPResponse:
        """An answer with data from *start*, or from the beginning, after some tries."""
        while True:
            try:
                return self._follow(self._at, start)
            except _ForNow as failure:
                self._wait(failure)
            except (Missing, NoAccess):
                if self._at == self._url:
                    raise
                # where we were sent to may be known for a short time only: ask again at the beginning
                self._at = self._url

    def _wait(self, failure: _ForNow) -> None:
        """Wait before another try; the failure itself when there is none left."""
        if not self.options.retry or self._tries >= len(PAUSES):
            raise failure.error
        pause = max(failure.pause, PAUSES[self._tries])
        self._tries += 1
        try:
            self.clock.pause(pause)
        except TimeoutError:
            raise failure.error from None

    def _follow(self, url: str, start: int) -> http.client.HTTPResponse:
        """The answer at the end of all redirects: never to a file, nor from https down to http."""
        for _hop in range(_REDIRECTS):
            response = self._ask(url, start)
            if response.status in (200, 206 if start else 200):
                self._at = url
                return response
            self.close()
            if response.status not in (301, 302, 303, 307, 308):
                raise self._unwanted(response)
            target = _joined(url, str(response.headers.get("Location", "")))
            allowed = ("https://",) if url.lower().startswith("https://") else ("http://", "https://")
            if not target.lower().startswith(allowed):
                raise Refused(f"{self.name} redirects to {shown(target)}, which is not followed")
            url = checked(target)
        raise Refused(f"{self.name} redirects more than {_REDIRECTS} times")

    def _unwanted(self, response: http.client.HTTPResponse) -> StorageError | _ForNow:
        if response.status == 416:
            # there is less than we already have
            return self._changed()
        kind = _KINDS.get(response.status, Unreachable)
        error = kind(f"{self.name} answers {response.status} {one_line(response.reason, 80)}")
        if response.status in _FOR_NOW:
            text = response.headers.get("Retry-After", "")
            return _ForNow(error, float(text) if text.isdigit() and len(text) < 4 else 0)
        return error

    def _ask(self, url: str, start: int) -> http.client.HTTPResponse:
        """One request, with its own connection; an answer of any status."""
        parts = urllib.parse.urlsplit(url)
        headers = {"Host": host_header(parts), "User-Agent": "one_storage.drivers", "Connection": "close"}
        wanted = f"bytes={start}-" if start and self._validator else ""
        if wanted:
            headers.update({"Range": wanted, "If-Range": self._validator})
        if self._signer:
            headers.update(self._signer(url, wanted))
        else:
            headers.update(self._login(parts))
        try:
            return self._exchange(parts, headers)
        except (Stopped, InterruptedError, TimeoutError) as error:
            raise self._told(error)
        except ssl.SSLCertVerificationError as error:
            raise Unreachable(
                f"Cannot reach {self.name}: its certificate is not accepted, {one_line(error.verify_message, 120)}",
                todo="install its CA on this machine, or allow unverified downloads",
            ) from None
        except _BROKEN as error:
            reason = one_line(getattr(error, "strerror", "") or str(error) or type(error).__name__, 200)
            failure = Unreachable(f"Cannot reach {self.name}: {reason}")
            if isinstance(error, socket.gaierror) and error.errno != socket.EAI_AGAIN:
                raise failure from None
            raise _ForNow(failure) from None

    def _exchange(self, parts: SplitResult, headers: dict[str, str]) -> http.client.HTTPResponse:
        host, port = _address(parts)
        target = parts.path or "/"
        target += f"?{parts.query}" if parts.query else ""
        proxy = _proxy(parts)
        self._link = connect(*(_address(proxy) if proxy else (host, port)), self.clock)
        try:
            if proxy and parts.scheme == "http":
                target = f"http://{headers['Host']}{target}"
                headers.update(_basic(proxy, "Proxy-Authorization"))
            elif proxy:
                self._tunnel(self._link, proxy, host, port)
            if parts.scheme == "https":
                self._link.secure(_context(self.options.verify), host)
            return _talk(self._link, "GET", target, headers)
        except BaseException:
            self.close()
            raise

    def _tunnel(self, link: Link, proxy: SplitResult, host: str, port: int) -> None:
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        answer = _talk(link, "CONNECT", where, {"Host": where, **_basic(proxy, "Proxy-Authorization")})
        if answer.status != 200:
            raise ConnectionError(f"the proxy {proxy.hostname} answers {answer.status} {answer.reason}")

    def _login(self, parts: SplitResult) -> dict[str, str]:
        """The user and password of a URL; those of the first one follow to the same server only."""
        first = urllib.parse.urlsplit(self._url)
        if parts.username is None and _address(parts) == _address(first) and parts.scheme == first.scheme:
            parts = first
        return _basic(parts, "Authorization")

    def _told(self, error: Exception) -> StorageError | OSError:
        """A wait that ended: by its deadline, or because nobody waits any more."""
        if not isinstance(error, TimeoutError):
            return InterruptedError(errno.EINTR, "the caller went away")
        if self._got or self._link:
            return DeadlineOver(f"{self.name} sent nothing for {self.clock.stall:g} seconds")
        return DeadlineOver(f"{self.name} does not answer within {self.clock.stall:g} seconds")


# ---------------------------------------------------------------- the protocol


def checked(url: str) -> str:
    """A URL whose every character may stand in a request; ``BadCall`` when it names no server."""
    try:
        parts = urllib.parse.urlsplit(url)
        host, _port = _address(parts)
        good = (
            parts.scheme in ("http", "https")
            and bool(host)
            and not any(ord(char) <= 32 or ord(char) == 127 for char in url)
        )
        if good and not host.isascii():
            host.encode("idna")
    except ValueError:
        good = False
    if not good:
        raise BadCall(f"'{shown(url)}' is not a URL")
    # what is not ASCII is written in percents; what is written already stays as it is
    quoted = urllib.parse.quote(parts.path, safe="/%:@!$&'()*+,;=~[]|^")
    query = urllib.parse.quote(parts.query, safe="/%:@!$&'()*+,;=~?[]|^")
    return urllib.parse.urlunsplit((parts.scheme.lower(), parts.netloc, quoted, query, ""))


def _joined(url: str, location: str) -> str:
    """Where a redirect leads; it may be relative."""
    try:
        return urllib.parse.urljoin(url, location)
    except ValueError:
        raise BadCall(f"{shown(url)} redirects to '{shown(location)}', which is not a URL") from None


def _talk(link: Link, method: str, target: str, headers: dict[str, str]) -> http.client.HTTPResponse:
    # the host that http.client is given is used for nothing: the connection is there, and so is the header
    connection = http.client.HTTPConnection("unused")
    connection.sock = link
    connection.request(method, target, headers=headers)
    return connection.getresponse()


def _address(parts: SplitResult) -> tuple[str, int]:
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def host_header(parts: SplitResult) -> str:
    """The Host header of a request: with the port only when it is not the usual one."""
    host, port = _address(parts)
    host = f"[{host}]" if ":" in host else host if host.isascii() else host.encode("idna").decode()
    return host if port == (443 if parts.scheme == "https" else 80) else f"{host}:{port}"


def _basic(parts: SplitResult, header: str) -> dict[str, str]:
    """The header for the user and password of a URL, if it has them."""
    if parts.username is None:
        return {}
    import base64

    pair = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
    return {header: "Basic " + base64.b64encode(pair.encode()).decode()}


def _proxy(parts: SplitResult) -> SplitResult | None:
    """The proxy that the environment names for a URL (http_proxy, https_proxy, all_proxy, no_proxy)."""
    known = urllib.request.getproxies_environment()
    name = known.get(parts.scheme) or known.get("all")
    if not name or urllib.request.proxy_bypass(host_header(parts)):
        return None
    proxy = urllib.parse.urlsplit(name if "://" in name else f"http://{name}")
    if proxy.scheme != "http" or not proxy.hostname:
        raise BadCall(f"The proxy {shown(name)} cannot be used", todo="name an http:// proxy in the environment")
    return proxy


def _context(verify: bool) -> ssl.SSLContext:
    context = ssl.create_default_context()
    # Python lets a connection that was cut look like one that ended
    context.options &= ~getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _validator(response: http.client.HTTPResponse) -> str:
    """What tells one state of a document from another (RFC 9110, 8.8): a strong entity tag, or else its date."""
    tag = str(response.headers.get("ETag", ""))
    if tag and not tag.startswith("W/"):
        return tag
    return str(response.headers.get("Last-Modified", ""))


def _content_range(response: http.client.HTTPResponse) -> tuple[int, int | None]:
    """First byte and whole length of a partial answer; -1 and None when it does not say."""
    unit, _blank, text = str(response.headers.get("Content-Range", "")).strip().partition(" ")
    where, _slash, total = text.partition("/")
    start = where.partition("-")[0].strip()
    if unit.lower() != "bytes" or not start.isdigit():
        return -1, None
    return int(start), int(total) if total.strip().isdigit() else None
