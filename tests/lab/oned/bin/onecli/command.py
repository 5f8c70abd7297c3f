# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What onevm, oneimage, onedatastore and onehost of the lab do: `show -x ID` and `list -x`, asked over the API.

Standard library only: the commands run with the plain interpreter of a lab host.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
import xmlrpc.client

from .pretty import pretty
from .sync import sync

_HOST_STATES = {0: "init", 1: "update", 2: "on", 3: "err", 4: "dsbl", 5: "retry", 6: "init", 7: "dsbl", 8: "off"}
_LIMIT = 30.0
# Filter flag, first id, last id and, for VMs, the state: everything there is.
_POOL_ARGUMENTS = {"vm": (-2, -1, -1, -1), "image": (-2, -1, -1), "datastore": (), "host": ()}


class CommandError(Exception):
    """What went wrong, in one line."""


def main(kind: str, argv: list[str]) -> int:
    """Runs one command; the result is the exit code."""
    try:
        options = _options(kind, argv)
        if options.verb == "sync":
            try:
                sys.stdout.write(sync(options.hosts))
            except (OSError, subprocess.SubprocessError) as error:
                raise CommandError(str(error)) from None
        elif options.verb == "show":
            answer = _ask(f"one.{kind}.info", _number(options.id), bool(options.decrypt))
            sys.stdout.write(pretty(answer))
        elif options.xml:
            sys.stdout.write(pretty(_ask(f"one.{kind}pool.info", *_POOL_ARGUMENTS[kind])))
        else:
            sys.stdout.write(_table(kind, _ask(f"one.{kind}pool.info", *_POOL_ARGUMENTS[kind]), options))
    except CommandError as error:
        print(error, file=sys.stderr)
        return 255
    return 0


def _options(kind: str, argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"one{kind}")
    verbs = parser.add_subparsers(dest="verb", required=True)
    show = verbs.add_parser("show")
    show.add_argument("id")
    show.add_argument("-x", "--xml", action="store_true")
    show.add_argument("--decrypt", action="store_true")
    listing = verbs.add_parser("list")
    listing.add_argument("-x", "--xml", action="store_true")
    listing.add_argument("--csv", action="store_true")
    listing.add_argument("--no-pager", action="store_true")
    listing.add_argument("--no-header", action="store_true")
    listing.add_argument("-l", "--list", default="ID,NAME")
    listing.add_argument("-f", "--filter", default="")
    listing.add_argument("--operator", choices=("AND", "OR"), default="AND")
    if kind == "host":
        copying = verbs.add_parser("sync")
        copying.add_argument("hosts", nargs="*")
        copying.add_argument("-f", "--force", action="store_true")
    options = parser.parse_args(argv)
    if options.verb == "show" and not options.xml:
        raise CommandError("this stand-in shows objects with -x only")
    return options


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise CommandError(f"not an id: {text}") from None


def _ask(method: str, *arguments: object) -> str:
    """The document the API answers with. Raises CommandError."""
    url = os.environ.get("ONE_XMLRPC", "http://localhost:2633/RPC2")
    try:
        server = xmlrpc.client.ServerProxy(url, transport=_Transport())
        answer = getattr(server, method)(_session(), *arguments)
    except (OSError, xmlrpc.client.Error, ValueError, SyntaxError) as error:
        raise CommandError(f"cannot ask oned at {url}: {' '.join(str(error).split())}") from None
    if not isinstance(answer, list) or len(answer) < 2:
        raise CommandError(f"oned at {url} gave no usable answer to {method}")
    if answer[0] is not True:
        raise CommandError(" ".join(str(answer[1]).split()))
    return str(answer[1])


def _session() -> str:
    path = os.environ.get("ONE_AUTH") or os.path.join(os.path.expanduser("~"), ".one", "one_auth")
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read().strip()
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror}") from None


class _Transport(xmlrpc.client.Transport):
    """With a limit, so that no command hangs."""

    def make_connection(self, host):  # type: ignore[no-untyped-def]
        connection = super().make_connection(host)
        connection.timeout = _LIMIT
        return connection


def _table(kind: str, document: str, options: argparse.Namespace) -> str:
    columns = [name.strip().upper() for name in options.list.split(",")]
    wanted = [part.split("=", 1) for part in options.filter.split(",") if "=" in part]
    rows = []
    for element in ElementTree.fromstring(document):
        row = {child.tag: (child.text or "") for child in element}
        if kind == "host":
            row["STAT"] = _HOST_STATES.get(int(row.get("STATE", "0")), "-")
        matches = [row.get(name.strip().upper(), "") == value for name, value in wanted]
        if not matches or (any(matches) if options.operator == "OR" else all(matches)):
            rows.append([row.get(name, "") for name in columns])
    lines = ([] if options.no_header else [columns]) + rows
    return "".join((",".join(line) if options.csv else "  ".join(line)) + "\n" for line in lines)
