# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``s3://bucket/object``: http with AWS Signature Version 4 (contract-ds 6.2).

The signature follows "Authenticating Requests: Using the Authorization Header" of Amazon's S3 API reference; its
published examples are in the tests.
"""

from __future__ import annotations

import hashlib
import hmac
import time
import urllib.parse

from ..._errors import BadCall, NoAccess, one_line
from .base import Options
from .http import HttpSource, host_header

_EMPTY = hashlib.sha256(b"").hexdigest()
_REGION = "us-east-1"


def s3_source(url: str, options: Options) -> HttpSource:
    """An object of a bucket, at Amazon or, with AWS=NO, at an ENDPOINT that speaks the same protocol."""
    bucket, _slash, key = url.partition("://")[2].partition("/")
    name = one_line(f"s3://{bucket}/{key}", 200)
    plain = bucket.replace("-", "").replace(".", "").replace("_", "")
    if not (plain.isascii() and plain.isalnum() and bucket[0].isalnum()) or not key:
        raise BadCall(f"'{name}' is not a source", todo="write s3://bucket/object")
    secrets = options.secrets
    access, secret = secrets.get("ACCESS_KEY_ID", ""), secrets.get("SECRET_ACCESS_KEY", "")
    if not access or not secret:
        raise NoAccess(
            f"Cannot read {name}: ACCESS_KEY_ID and SECRET_ACCESS_KEY are required",
            todo="set them in the marketplace's template",
        )
    region = secrets.get("REGION", "") or _REGION
    if not region.replace("-", "").isalnum() or not region.isascii():
        raise BadCall(f"'{one_line(region, 40)}' is not a REGION")
    where = address(bucket, key, region, secrets)
    home = host_header(urllib.parse.urlsplit(where))

    def signer(target: str, span: str) -> dict[str, str]:
        # Amazon redirects between its own regions; a signature for another server helps nobody
        host = host_header(urllib.parse.urlsplit(target))
        if host != home and not host.endswith((".amazonaws.com", ".amazonaws.com.cn")):
            return {}
        headers = {"range": span} if span else {}
        return signed(target, headers, access, secret, region, time.gmtime())

    return HttpSource(where, options, name, signer)


def address(bucket: str, key: str, region: str, secrets: dict[str, str]) -> str:
    """The URL of an object: at Amazon by the bucket's own host name, elsewhere by the path."""
    path = quoted(key)
    if secrets.get("AWS", "").lower() == "no":
        endpoint = secrets.get("ENDPOINT", "")
        if not endpoint:
            raise BadCall("ENDPOINT is required with AWS=NO", todo="set it in the marketplace's template")
        scheme, mark, host = endpoint.partition("://")
        return f"{scheme if mark else 'https'}://{(host if mark else endpoint).rstrip('/')}/{bucket}/{path}"
    host = f"s3.{region}.amazonaws.com" + (".cn" if region.startswith("cn-") else "")
    # the certificate is for one name below it, so a bucket with dots goes into the path
    return f"https://{host}/{bucket}/{path}" if "." in bucket else f"https://{bucket}.{host}/{path}"


def quoted(key: str) -> str:
    """The name of an object as it stands in a request and is signed: everything in percents but letters and -._~/ ."""
    return urllib.parse.quote(key, safe="/~")


def signed(
    url: str, headers: dict[str, str], access: str, secret: str, region: str, now: time.struct_time
) -> dict[str, str]:
    """The headers that a GET request needs besides Host and *headers*: the signature and what goes with it.

    :param headers: more headers to be signed, in lower case.
    :param now: the time, in UTC.
    """
    parts = urllib.parse.urlsplit(url)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", now)
    ours = {"x-amz-content-sha256": _EMPTY, "x-amz-date": stamp}
    told = {**headers, **ours, "host": host_header(parts)}
    names = sorted(told)
    query = "&".join(sorted(item if "=" in item else item + "=" for item in parts.query.split("&") if item))
    request = "\n".join(
        [
            "GET",
            parts.path or "/",
            query,
            *(f"{name}:{told[name].strip()}" for name in names),
            "",
            ";".join(names),
            _EMPTY,
        ]
    )
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = b"AWS4" + secret.encode()
    for part in (*scope.split("/"), text):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    given = f"Credential={access}/{scope},SignedHeaders={';'.join(names)},Signature={key.hex()}"
    return {**ours, "authorization": f"AWS4-HMAC-SHA256 {given}"}
