# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Datastore calls: everything stands in the document on stdin (contract-ds 4)."""

from __future__ import annotations

from ..module_utils._errors import BadCall, Corrupt, Unsupported, one_line
from .calls import Call, Context, arguments, filesystem, refuse
from .documents import credentials, decode, need, number, parse, read_stdin, text, yes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from lxml.etree import _Element

    from .answer import Voice

CDROM = 1
FILES = 2

#: Attributes of a datastore that ask for what is not done here.
_NOT_DONE = ("NFS_AUTO_ENABLE",)
#: Actions that do without a bridge: what is to be imported is asked for its size here (contract-ds 8.4).
_ON_THE_FRONT_END = ("stat",)


class Data:
    """The document of one call."""

    def __init__(self) -> None:
        self.root = parse(decode(read_stdin()))
        store = self.root.find("DATASTORE")
        if store is None:
            raise BadCall("The document on stdin has no DATASTORE")
        self.store: _Element = store
        self.image: _Element | None = self.root.find("IMAGE")
        refuse(self.store, f"Datastore {text(self.store, 'ID', '?')}", _NOT_DONE)

    def needed_image(self) -> _Element:
        """The IMAGE element."""
        if self.image is None:
            raise BadCall("The document on stdin has no IMAGE")
        return self.image

    def setting(self, name: str, default: str = "") -> str:
        """A template attribute of the datastore."""
        return text(self.store, f"TEMPLATE/{name}", default)

    def files(self) -> bool:
        """Whether the datastore holds plain files (kernels, context files), not disks."""
        return number(self.store, "TYPE", 0) == FILES

    def decompress(self) -> bool:
        """Whether compressed sources are unpacked; files datastores keep them unless told otherwise."""
        return not yes(self.setting("NO_DECOMPRESS", "yes" if self.files() else "no"))

    def turn(self) -> int:
        """Which of the bridges that are up takes this call: the image's id, so that they share the work."""
        return number(self.image, "ID", 0) if self.image is not None else 0

    def snapshot(self) -> int:
        """The snapshot that an action is about, -1 for none. It stands in the image; documents that are older have it
        beside the image (contract-ds 1.6)."""
        found = number(self.needed_image(), "TARGET_SNAPSHOT", -1)
        return max(found if found >= 0 else number(self.root, "TARGET_SNAPSHOT", -1), -1)

    def directories(self) -> dict[str, list[str]]:
        """Where images may and may not come from."""
        return {
            "safe_dirs": self.setting("SAFE_DIRS").split(),
            "restricted_dirs": self.setting("RESTRICTED_DIRS").split(),
        }

    def access(self, root: str) -> dict[str, Any]:
        """How a source is read: how fast, with whose credentials (contract-ds 6.2), through whose helpers.

        :param root: the remotes directory, in which stock's helper downloaders lie.
        """
        given = {
            "limit_rate": self.setting("LIMIT_TRANSFER_BW").strip(),
            "tls_verify": not self.setting("TLS_VERIFY", "yes").strip().lower().startswith("n"),
            "helpers": f"{root}/datastore",
        }
        given.update({f"s3_{name.lower()}": value for name, value in credentials(self.root).items()})
        return given

    def new_image(self) -> dict[str, Any]:
        """Where a new image goes and who it is."""
        image = self.needed_image()
        folder = need(self.store, "BASE_PATH")
        if any(char.isspace() for char in folder):
            # oned takes the answer apart at blanks, so nothing may be made that it could not be told of
            raise BadCall(f"The datastore's path '{one_line(folder, 120)}' has blanks")
        return {
            "driver": need(self.store, "DS_MAD"),
            "datastore": folder,
            "datastore_id": number(self.store, "ID"),
            "image_id": number(image, "ID"),
            "regtime": number(image, "REGTIME", 0),
        }

    def wanted_format(self) -> str:
        """The format that images of this datastore are converted to; empty when they stay as they are."""
        driver = self.setting("DRIVER").strip().lower()
        return driver if driver in ("raw", "qcow2") else ""


def _source(voice: Voice, result: dict[str, Any]) -> None:
    """oned takes the whole line of mkfs as SOURCE, the first word of the others."""
    source = str(result.get("source", ""))
    if not source or any(char.isspace() for char in source):
        raise Corrupt(f"The image's source '{one_line(source, 120)}' is empty or has blanks")
    voice.answer(f"{source} {result['format']}" if result.get("format") else source)


def _imported(voice: Voice, result: dict[str, Any]) -> None:
    """The answer, and one line for oned's log on what it took."""
    if "fetched" in result:
        from ..module_utils.tools.progress import summary

        layers = f", unpacked from {' in '.join(reversed(result['unpacked']))}" if result["unpacked"] else ""
        said = summary(result["fetched"], result["seconds"])
        voice.log("INFO", f"imported {said}{layers}, run {result.get('run_id')}")
    _source(voice, result)


def _cp(context: Context, data: Data) -> dict[str, Any]:
    image = data.needed_image()
    convert = yes(data.setting("CONVERT", "yes")) and not data.files() and number(image, "TYPE", 0) != CDROM
    counted = not data.setting("LIMIT_IMAGE_SIZE", "yes").lower().startswith("n")
    source, access = need(image, "PATH"), data.access(context.settings.root)
    # however it is spelt: else a helper of stock's would read it, and ask nobody
    if source.lower().startswith(("rsync", "restic")):
        from ..module_utils.tools.sources import rate_of
        from .backup_reader import may_read
        from .repositories import store_of

        may_read(context, source, image)
        # whoever imports it needs no password of the repository: it is read here, next to oned
        context.sends.append(store_of(context, source).opener(source, rate_of(access["limit_rate"])))
    return {
        **context.settings.common(),
        **data.new_image(),
        **data.directories(),
        **access,
        "source": source,
        "size": number(image, "SIZE", 0) if counted else 0,
        "convert_to": data.wanted_format() if convert else "",
        "md5": text(image, "TEMPLATE/MD5").strip(),
        "sha1": text(image, "TEMPLATE/SHA1").strip(),
        "sha256": text(image, "TEMPLATE/SHA256").strip(),
        "decompress": data.decompress(),
        "plain": data.files(),
        "sparse": data.setting("SPARSE", "yes").strip().lower() != "no",
    }


def _mkfs(context: Context, data: Data) -> dict[str, Any]:
    image = data.needed_image()
    fs = text(image, "FS").strip().lower()
    return {
        **context.settings.common(),
        **data.new_image(),
        "format": text(image, "FORMAT", "raw").strip(),
        "size": number(image, "SIZE"),
        **filesystem(context, fs),
    }


def _clone(context: Context, data: Data) -> dict[str, Any]:
    image = data.needed_image()
    return {
        **context.settings.common(),
        **data.new_image(),
        "source": need(image, "PATH"),
        "format": text(image, "FORMAT", "raw").strip().lower(),
        "convert_to": data.wanted_format(),
        "limit_rate": data.setting("LIMIT_TRANSFER_BW").strip(),
    }


def _rm(context: Context, data: Data) -> dict[str, Any]:
    return {
        **context.settings.common(),
        "driver": need(data.store, "DS_MAD"),
        "datastore": need(data.store, "BASE_PATH"),
        "source": need(data.needed_image(), "SOURCE"),
    }


def _snapshot(context: Context, data: Data) -> dict[str, Any]:
    image = data.needed_image()
    target = data.snapshot()
    if target < 0:
        raise BadCall("The document on stdin names no snapshot in TARGET_SNAPSHOT")
    return {
        **context.settings.common(),
        "driver": need(data.store, "DS_MAD"),
        "datastore": need(data.store, "BASE_PATH"),
        "source": need(image, "SOURCE"),
        "format": "qcow2" if text(image, "FORMAT").strip().lower() == "qcow2" else "raw",
        "snapshot": target,
    }


def _snap_delete(context: Context, data: Data) -> dict[str, Any]:
    orphans = text(data.needed_image(), "SNAPSHOTS/ALLOW_ORPHANS")
    return {**_snapshot(context, data), "allow_orphans": yes(orphans)}


def _stat(context: Context, data: Data) -> dict[str, Any]:
    common = context.settings.common()
    # oned waits 90 seconds for this answer (contract-ds 3)
    common["stall_timeout"] = min(common["stall_timeout"], 70)
    common["command_timeout"] = min(common["command_timeout"], 70)
    return {
        **common,
        **data.directories(),
        **data.access(context.settings.root),
        "driver": need(data.store, "DS_MAD"),
        "source": need(data.needed_image(), "PATH"),
        "decompress": data.decompress(),
        "plain": data.files(),
    }


def _export(context: Context, data: Data) -> dict[str, Any]:
    image = data.needed_image()
    snapshot = data.snapshot()
    size = number(image, "SIZE", 0)
    for found in image.findall("SNAPSHOTS/SNAPSHOT"):
        if number(found, "ID", -2) == snapshot:
            size = number(found, "SIZE", size)
    declared = text(image, "FORMAT").strip().lower()
    return {
        **context.settings.common(),
        "driver": need(data.store, "DS_MAD"),
        "datastore": need(data.store, "BASE_PATH"),
        "source": need(image, "SOURCE"),
        "format": declared if declared in ("qcow2", "vmdk", "vpc", "vhdx", "vdi") else "raw",
        "size": size,
        "target_snapshot": snapshot,
    }


def _monitor(context: Context, data: Data) -> dict[str, Any]:
    return {
        **context.settings.common(),
        "driver": need(data.store, "DS_MAD"),
        "datastore": need(data.store, "BASE_PATH"),
    }


def _size(voice: Voice, result: dict[str, Any]) -> None:
    voice.answer(str(result["size"]))


def _totals(voice: Voice, result: dict[str, Any]) -> None:
    voice.lines([f"{name}_MB={result[name.lower() + '_mb']}" for name in ("USED", "FREE", "TOTAL")])


def _import_info(voice: Voice, result: dict[str, Any]) -> None:
    from .documents import import_info

    values = {
        "IMPORT_SOURCE": str(result["import_source"]),
        "MD5": str(result["md5"]),
        "SIZE": str(result["size"]),
        "FORMAT": str(result["format"]),
        "DISPOSE": "YES" if result["dispose"] else "NO",
    }
    if result["dispose"]:
        values["DISPOSE_CMD"] = str(result["dispose_cmd"])
    voice.answer(import_info(values))


def _restored(voice: Voice, result: dict[str, Any]) -> None:
    """Ids of the new template and images (contract-ds 10.5)."""
    voice.answer(" ".join(str(word) for word in (result["template_id"], *result["image_ids"])))


_CALLS: dict[str, tuple[Callable[[Context, Data], dict[str, Any]], Callable[[Voice, dict[str, Any]], None] | None]] = {
    "cp": (_cp, _imported),
    "mkfs": (_mkfs, _source),
    "clone": (_clone, _source),
    "rm": (_rm, None),
    "snap_delete": (_snap_delete, None),
    "snap_revert": (_snapshot, None),
    "snap_flatten": (_snapshot, None),
    "stat": (_stat, _size),
    "monitor": (_monitor, _totals),
    "export": (_export, _import_info),
}


def _more(mad: str, action: str, context: Context, data: Data) -> dict[str, Any]:
    """Options that a driver has of its own."""
    template = data.store.find("TEMPLATE")
    if mad != "ceph" or action in _ON_THE_FRONT_END or template is None:
        return {}
    from .calls_ceph import ceph_options

    return ceph_options(context.settings, [template], f"Datastore {text(data.store, 'ID', '?')}")


def reply(action: str) -> Callable[[Voice, dict[str, Any]], None]:
    """What says an action's result to oned; nothing is said where oned listens to the exit code alone."""
    if action == "restore":
        return _restored
    return _CALLS.get(action, (None, None))[1] or (lambda _voice, _result: None)


def call(mad: str, action: str, given: list[str]) -> Call:
    """The call of ``datastore/<mad>/<action> ID``; the document has all ids (contract-ds 14, row 1)."""
    found = _CALLS.get(action)
    if action == "restore" and mad in ("rsync", "restic"):
        from .calls_ds_restore import restore

        arguments(action, given, "REQUEST_ID", optional=1)
        return restore(mad, Data())
    if mad in ("rsync", "restic"):
        from . import calls_backup

        return calls_backup.call(mad, action, given, Data)
    if found is None:
        raise Unsupported(f"{action}: Operation not supported")
    arguments(action, given, "ID", optional=1)
    complete, reply = found
    data = Data()

    def completed(context: Context, _here: bool) -> dict[str, Any]:
        # the folder that oned chose is the driver, whatever the document says
        return {**complete(context, data), **_more(mad, action, context, data), "driver": mad}

    bridges = [] if action in _ON_THE_FRONT_END else data.setting("BRIDGE_LIST").split()
    if mad == "ceph" and action not in _ON_THE_FRONT_END:
        if not bridges:
            raise BadCall("Datastore template missing 'BRIDGE_LIST' attribute.")
        # one host reaches all pools
        return Call(f"ds_{action}", completed, reply=reply, bridges=bridges, turn=data.turn())
    origins = text(data.root, "SOURCE_BRIDGE_LIST").split() if action == "clone" else []
    return Call(f"ds_{action}", completed, reply=reply, bridges=bridges, origins=origins, turn=data.turn())
