# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lay the drivers over a remotes tree, or pack them to be laid elsewhere.

    build.py DEST                 lay wrappers, configuration and core over DEST
    build.py DEST --check         say what that would change (exit code 0 in any case)
    build.py DEST --remove        put back what was there before, remove what was laid
    build.py --tar FILE           the tree as a tar archive
    build.py --installer FILE     this program and the tree in one file: python3 FILE DEST
    build.py … --list             also a line for each driver: driver tm NAME, driver datastore NAME
    build.py … --with FOLDER      with drivers of others, which lie below FOLDER as ours do below the collection
    build.py … --prefix PREFIX    our drivers under names of their own, tm/PREFIXqcow2, side by side with stock's

It prints one line per change (new, changed, gone, back, kept) and the build's id last. Standard library only, Python
3.9+; it runs from a git checkout and from an installed collection. Errors: one sentence on stderr, exit code 1.

What is laid: one_storage/ is replaced as a whole, in one step; wrappers are replaced one by one, each in one step; a
configuration file is laid only where none is, else the new one lies beside it as NAME.new. Other files stay untouched.
What stood where a wrapper is laid is kept in .one_storage.stock (kept.py beside this file), for --remove.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import grp
import hashlib
import io
import os
import pwd
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# The file beside this one, in an installer too: isolated Python does not look there.
sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.dont_write_bytecode = True
TYPE_CHECKING = False
if TYPE_CHECKING:
    from remotes.one_storage.kept import Kept
else:
    from kept import Kept

CORE = "one_storage"
BUILD = CORE + "/BUILD"
# One "hash name" line per wrapper, so that a later build can remove what it no longer has.
WRAPPERS = CORE + "/WRAPPERS"
SETTINGS = "etc/"
# What the names of our drivers begin with, where that is not stock's names.
PREFIX = CORE + "/PREFIX"
PREFIX_RULE = re.compile(r"[a-z][a-z0-9]{0,14}_")
# These lay the tree and are no part of it.
PROGRAM = ("build.py", "kept.py")
# The one file of ours that drivers of others bring along: their part of the registry.
OTHERS = CORE + "/plugins/module_utils/drivers/others.py"
PLUGINS = ("callback", "doc_fragments", "module_utils", "modules", "plugin_utils")
PYTHON = "/usr/bin/python3"  # what the wrappers run with
COMPILE_SECONDS = 120
LOCK_SECONDS = 60


class BuildError(Exception):
    """The tree cannot be built or laid; the message is one plain sentence."""


@dataclass(frozen=True)
class Entry:
    """A file of the tree: its name below DEST, its bytes, and whether it is a command."""

    name: str
    data: bytes
    executable: bool = False

    @property
    def wrapper(self) -> bool:
        """Whether it is a command that oned calls: one outside the core, which is laid as a whole."""
        return self.executable and not self.name.startswith(CORE + "/")

    @property
    def mode(self) -> int:
        return 0o755 if self.executable else 0o644

    @property
    def mtime(self) -> int:
        """Seconds since the epoch: the same on each build of these bytes, and another one for other bytes.

        A fixed time would hide a change of the same size from rsync, which is how `onehost sync` copies to nodes, and
        from Python, which compares time and size of a source with what its compiled file says.
        """
        return 1_600_000_000 + int(hashlib.sha256(self.data).hexdigest()[:7], 16) % 130_000_000


# --- the sources


def files_below(folder: Path) -> Iterator[Path]:
    """Regular files below folder, without hidden, compiled and backup files."""
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if any(part.startswith(".") or part == "__pycache__" for part in parts) or path.name.endswith((".pyc", "~")):
            continue
        if path.is_file():
            yield path


def from_sources(root: Path, others: list[Path], prefix: str = "") -> list[Entry]:
    """The tree from a checkout or an installed collection at root, with the drivers of others in these folders.

    With a prefix our drivers' folders and suffixes begin with it. Drivers of others keep their names.
    """
    if prefix and not PREFIX_RULE.fullmatch(prefix):
        raise BuildError(
            f"'{prefix}' cannot begin the names of drivers: lower-case letters and digits, then _, as os_."
        )
    if not (root / "plugins" / "module_utils").is_dir():
        raise BuildError(f"{root} is not the one_storage.drivers collection: it has no plugins/module_utils.")
    found = {entry.name: entry for entry in renamed(below(root), prefix)}
    brought: set[str] = set()
    for folder in others:
        more = below(folder)
        if not more:
            raise BuildError(f"{folder} has no drivers: nothing lies in its folders plugins and remotes.")
        for entry in more:
            if entry.name in brought or (entry.name in found and entry.name != OTHERS):
                raise BuildError(f"{folder} brings {entry.name}, which is there already: give it another name.")
            brought.add(entry.name)
            found[entry.name] = entry
    entries = in_order(list(found.values()))
    wrappers = "".join(f"{hashlib.sha256(entry.data).hexdigest()} {entry.name}\n" for entry in entries if entry.wrapper)
    entries.append(Entry(WRAPPERS, wrappers.encode()))
    entries.append(Entry(BUILD, (identity(entries) + "\n").encode()))
    return in_order(entries)


def renamed(entries: list[Entry], prefix: str) -> list[Entry]:
    """Wrappers under names of their own: tm/qcow2/clone.ssh becomes tm/os_qcow2/clone.os_ssh."""
    if not prefix:
        return entries
    found = []
    for entry in entries:
        if entry.wrapper:
            kind, driver, action = entry.name.split("/")
            action = action.replace(".", f".{prefix}", 1)
            entry = Entry(f"{kind}/{prefix}{driver}/{action}", entry.data, executable=True)
        found.append(entry)
    return [*found, Entry(PREFIX, f"{prefix}\n".encode())]


def below(root: Path) -> list[Entry]:
    """What a folder that is laid out like the collection adds to the tree."""
    remotes, plugins = root / "remotes", root / "plugins"
    entries = []
    for kind in ("datastore", "tm"):
        for path in files_below(remotes / kind):
            # What lies here is a command, whatever an archive made of its mode.
            entries.append(Entry(path.relative_to(remotes).as_posix(), path.read_bytes(), executable=True))
    for kind in ("etc", CORE):
        for path in files_below(remotes / kind):
            if path.name not in PROGRAM:
                data = path.read_bytes()
                entries.append(Entry(path.relative_to(remotes).as_posix(), data, data.startswith(b"#!")))
    for kind in PLUGINS:
        for path in files_below(plugins / kind):
            entries.append(Entry(f"{CORE}/plugins/{path.relative_to(plugins).as_posix()}", path.read_bytes()))
    return entries


def from_installer(archive: Path) -> list[Entry]:
    """The tree that an installer file carries."""
    with zipfile.ZipFile(archive) as packed:
        return in_order(
            [
                Entry(info.filename[len("tree/") :], packed.read(info), bool(info.external_attr >> 16 & 0o100))
                for info in packed.infolist()
                if info.filename.startswith("tree/")
            ]
        )


def in_order(entries: list[Entry]) -> list[Entry]:
    return sorted(entries, key=lambda entry: entry.name)


def identity(entries: list[Entry]) -> str:
    """The build's id: a hash over names and bytes of the core. Equal ids mean that two hosts run the same code.

    Wrappers are in it by their list. Configuration is not: it is the operator's.
    """
    digest = hashlib.sha256()
    for entry in in_order(entries):
        if entry.name.startswith(CORE + "/") and entry.name != BUILD:
            digest.update(f"{len(entry.name.encode())} {entry.name} {len(entry.data)} ".encode())
            digest.update(entry.data)
    return digest.hexdigest()[:32]


def listed(entries: list[Entry]) -> list[str]:
    """A line for each driver; a transfer driver that measures datastores can serve as that of a system datastore."""
    names = {entry.name for entry in entries if entry.wrapper}
    drivers = sorted({tuple(name.split("/")[:2]) for name in names})
    return [
        f"driver {kind} {name}" + (" system" if f"{kind}/{name}/monitor" in names and kind == "tm" else "")
        for kind, name in drivers
    ]


def build_id(entries: list[Entry]) -> str:
    return next(entry.data for entry in entries if entry.name == BUILD).decode().strip()


# --- archives


def write_tar(entries: list[Entry], target: Path) -> None:
    """The tree as an uncompressed tar archive, byte for byte the same on each machine."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for entry in entries:
            info = tarfile.TarInfo(entry.name)
            info.size, info.mode, info.mtime = len(entry.data), entry.mode, entry.mtime
            archive.addfile(info, io.BytesIO(entry.data))
    write_archive(target, buffer.getvalue())


def write_installer(entries: list[Entry], target: Path) -> None:
    """This program and the tree as one file that Python runs, byte for byte the same on each machine."""
    here = Path(__file__).resolve()
    program = [Entry("__main__.py", here.read_bytes()), Entry("kept.py", here.with_name("kept.py").read_bytes())]
    buffer = io.BytesIO()
    # Stored, not deflated: what a zlib makes differs from version to version.
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, entry in [(one.name, one) for one in program] + [("tree/" + one.name, one) for one in entries]:
            info = zipfile.ZipInfo(name)
            info.create_system = 3  # modes are Unix modes
            info.external_attr = (stat.S_IFREG | entry.mode) << 16
            archive.writestr(info, entry.data)
    write_archive(target, buffer.getvalue())


def write_archive(target: Path, data: bytes) -> None:
    """Write an archive in one step: two builds at once both leave a whole one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        beside.write_bytes(data)
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


# --- laying


class Site:
    """The remotes tree at dest: compares it with the entries of a build and brings it up to date.

    `owner` is the user and group id that new files get, or None where this process cannot give files away.
    """

    def __init__(self, dest: Path, entries: list[Entry], owner: tuple[int, int] | None, settings: bool) -> None:
        self.dest = dest
        self.core = [entry for entry in entries if entry.name.startswith(CORE + "/")]
        self.wrappers = [entry for entry in entries if entry.wrapper]
        self.settings = [entry for entry in entries if entry.name.startswith(SETTINGS)] if settings else []
        self.owner = owner
        self.kept = Kept(dest)

    def lay(self, check: bool) -> list[str]:
        """Bring the tree up to date and return the changes in words; with check, only return them."""
        if check:
            core, gone = self.core_changes(), self.remove_wrappers(check)
            return [*core, *gone, *self.lay_wrappers(check), *self.lay_settings(check)]
        made = [] if self.dest.is_dir() else ["folder ."]
        self.folder(self.dest)
        lock = os.open(self.dest, os.O_RDONLY | os.O_DIRECTORY)
        try:
            lock_folder(lock, self.dest)
            self.kept = Kept(self.dest)
            self.keep(made)
            changes = self.core_changes()
            # What is listed in the old core goes while that list is there, and the new core comes before the new
            # wrappers: killed between any two of these, another run finishes the work.
            changes += self.remove_wrappers(check)
            if any(change.split()[1].startswith(CORE) for change in changes):
                self.replace_core()
            changes += self.lay_wrappers(check)
            changes += self.lay_settings(check)
            os.fsync(lock)
        finally:
            os.close(lock)
        return changes

    def keep(self, made: list[str]) -> None:
        """Keep what our wrappers are about to replace, and write down what is about to be laid and made."""
        self.known()
        for entry in self.wrappers:
            path = self.dest / entry.name
            if os.path.lexists(path) and self.is_inside(path) and (path.is_symlink() or path.is_file()):
                if not self.kept.is_ours(entry.name) and self.difference(entry):
                    self.kept.keep(entry.name, self.owner)
        lines = list(made)
        for entry in [*self.wrappers, *self.settings]:
            parents = [str(parent) for parent in Path(entry.name).parents if not (self.dest / parent).exists()]
            lines += [f"folder {name}" for name in parents if f"folder {name}" not in lines]
            names = [entry.name] if entry.wrapper else [entry.name, f"{entry.name}.new"]
            lines += [f"{hashlib.sha256(entry.data).hexdigest()} {name}" for name in names]
        self.kept.note(lines, self.owner)

    def known(self) -> None:
        """What an earlier release laid, which kept no list of its own."""
        listed = self.dest / WRAPPERS
        if not self.kept.there and listed.is_file():
            self.kept.note(listed.read_text("utf-8").splitlines(), self.owner)

    def take_away(self, check: bool) -> list[str]:
        """Put back what was there before us and remove what we laid; with check, only say so.

        Stock's files are back before the core goes, and the list of it all goes last: killed between any two steps,
        another run finishes the work.
        """
        if not self.dest.is_dir():
            return []
        lock = os.open(self.dest, os.O_RDONLY | os.O_DIRECTORY)
        try:
            lock_folder(lock, self.dest)
            if not check:
                self.known()
            changes = self.kept.give_back(check)
            core, aside = self.dest / CORE, self.dest / f".{CORE}.gone"
            if os.path.lexists(core):
                changes.append(f"gone {CORE}")
            if not check:
                remove(aside)
                if os.path.lexists(core):
                    core.rename(aside)
                remove(aside)
                remove(self.dest / f".{CORE}.new")
                self.kept.forget()
        finally:
            os.close(lock)
        return changes

    def core_changes(self) -> list[str]:
        core = self.dest / CORE
        wanted = {entry.name: entry for entry in self.core}
        changes = [word for entry in self.core for word in self.difference(entry)]
        for path in sorted(core.rglob("*")) if core.is_dir() else []:
            name = path.relative_to(self.dest).as_posix()
            if "__pycache__" not in path.parts and name not in wanted and not path.is_dir():
                changes.append(f"gone {name}")
        if not changes and not all(is_compiled(self.dest / entry.name) for entry in self.core):
            changes.append(f"changed {CORE} (not compiled)")
        return changes

    def difference(self, entry: Entry) -> list[str]:
        """How the file in the tree differs from the entry: no word, or one."""
        path = self.dest / entry.name
        try:
            status = path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return [f"new {entry.name}"]
        if not stat.S_ISREG(status.st_mode):
            return [f"changed {entry.name} (was no regular file)"]
        if status.st_size != len(entry.data) or path.read_bytes() != entry.data:
            return [f"changed {entry.name}"]
        if stat.S_IMODE(status.st_mode) != entry.mode:
            return [f"changed {entry.name} (mode)"]
        if self.owner is not None and (status.st_uid, status.st_gid) != self.owner:
            return [f"changed {entry.name} (owner)"]
        return []

    def replace_core(self) -> None:
        """Write the whole core beside the old one, compile it, and let the two change places in one step."""
        fresh, current = self.dest / f".{CORE}.new", self.dest / CORE
        remove(fresh)  # of a build that was killed: the lock says that nobody writes there
        self.folder(fresh)
        for entry in self.core:
            self.write(entry, fresh / Path(entry.name).relative_to(CORE))
        compile_folder(fresh)
        self.own_below(fresh)
        sync_below(fresh)
        if os.path.lexists(current):
            exchange(fresh, current)
            remove(fresh)
        else:
            fresh.rename(current)

    def remove_wrappers(self, check: bool) -> list[str]:
        """Remove the wrappers that the build before laid, that nobody touched since and that this build lacks."""
        listed = self.dest / WRAPPERS
        kept = {entry.name for entry in self.wrappers}
        changes = []
        for line in listed.read_text("utf-8").splitlines() if listed.is_file() else []:
            known, name = line.split(" ", 1)
            path = self.dest / name
            if name in kept or not self.is_inside(path) or path.is_symlink() or not path.is_file():
                continue
            if hashlib.sha256(path.read_bytes()).hexdigest() == known:
                back = os.path.lexists(self.kept.folder / name)
                changes.append(f"{'back' if back else 'gone'} {name}")
                if not check:
                    self.kept.put_back(name) if back else path.unlink()
                    # every folder counts as a driver
                    self.kept.tidy(str(Path(name).parent))
        return changes

    def lay_wrappers(self, check: bool) -> list[str]:
        changes = []
        for entry in self.wrappers:
            words = self.difference(entry)
            if words and not check:
                self.replace(entry)
            changes += words
        return changes

    def lay_settings(self, check: bool) -> list[str]:
        changes = []
        for entry in self.settings:
            path = self.dest / entry.name
            beside = Entry(entry.name + ".new", entry.data)
            if os.path.lexists(path):
                if path.is_file() and path.read_bytes() == entry.data:
                    continue
                wanted, words = beside, self.difference(beside)
                if words:
                    changes.append(f"kept {entry.name}")
            else:
                wanted, words = entry, self.difference(entry)
            if words and not check:
                self.replace(wanted)
            changes += words
        return changes

    def replace(self, entry: Entry) -> None:
        """Put a single file in its place in one step; a symbolic link there is replaced, not followed."""
        path = self.dest / entry.name
        if not self.is_inside(path):
            raise BuildError(f"{path.parent} leads out of {self.dest}: nothing is written there.")
        if path.is_dir() and not path.is_symlink():
            raise BuildError(f"{path} is a folder where a file has to be.")
        self.folder(path.parent)
        beside = path.with_name(f".{path.name}.{CORE}")
        beside.unlink(missing_ok=True)
        self.write(entry, beside)
        self.own(beside)
        beside.replace(path)

    def is_inside(self, path: Path) -> bool:
        """Whether the folder of path, links followed, lies below dest."""
        return self.dest.resolve() in path.parent.resolve().parents

    def write(self, entry: Entry, path: Path) -> None:
        self.folder(path.parent)
        with path.open("xb") as file:
            file.write(entry.data)
            file.flush()
            os.fsync(file.fileno())
        path.chmod(entry.mode)
        os.utime(path, (entry.mtime, entry.mtime))

    def folder(self, path: Path) -> None:
        """Make a folder and those above it; what is there stays as it is."""
        if path.is_dir():
            return
        self.folder(path.parent)
        path.mkdir()
        self.own(path)

    def own(self, path: Path) -> None:
        if self.owner is not None:
            os.chown(path, *self.owner, follow_symlinks=False)

    def own_below(self, folder: Path) -> None:
        self.own(folder)
        for path in folder.rglob("*"):
            self.own(path)


def lock_folder(descriptor: int, folder: Path) -> None:
    """Wait until no other build works on the folder: BuildError after a minute."""
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise BuildError(f"Another build has been working on {folder} for {LOCK_SECONDS} s.") from None
            time.sleep(0.1)


def exchange(first: Path, second: Path) -> None:
    """Let two folders change places in one step; where the file system cannot, in two with a short gap."""
    at_cwd, exchange_flag = -100, 2
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        renameat2 = None
    if renameat2 is not None:
        if renameat2(at_cwd, os.fsencode(first), at_cwd, os.fsencode(second), exchange_flag) == 0:
            return
    gap = second.with_name(f".{second.name}.old")
    remove(gap)
    second.rename(gap)
    first.rename(second)
    gap.rename(first)


def remove(path: Path) -> None:
    """Remove a file, link or folder; that it is not there is fine."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


def sync_below(folder: Path) -> None:
    """Make the folders' contents last; the files in them were synced as they were written."""
    for path in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def compile_folder(folder: Path) -> None:
    """Compile for the Python that the wrappers run. Code that does not compile is an error: it would not run either."""
    if not os.access(PYTHON, os.X_OK):
        return
    # -s: tracebacks name files as they will be found, not where they lay while they were compiled.
    command = [
        PYTHON,
        "-I",
        "-m",
        "compileall",
        "-q",
        "-s",
        str(folder),
        "-p",
        str(folder.with_name(CORE)),
        str(folder),
    ]
    result = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        timeout=COMPILE_SECONDS,
    )
    if result.returncode != 0:
        raise BuildError(f"{PYTHON} cannot compile the core: {result.stdout.decode(errors='replace').strip()}")


def is_compiled(path: Path) -> bool:
    """Whether a Python source has a compiled file of any version beside it; other files need none."""
    if path.suffix != ".py" or not os.access(PYTHON, os.X_OK):
        return True
    return any((path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"))


# --- the command line


def new_owner(dest: Path, owner: str | None, group: str | None) -> tuple[int, int] | None:
    """User and group id for new files: as named, else (as root) those of dest or the folder that will hold it."""
    if os.geteuid() != 0:
        return None
    near = next(path for path in [dest, *dest.absolute().parents] if path.exists()).stat()
    try:
        account = pwd.getpwnam(owner) if owner else None
        gid = grp.getgrnam(group).gr_gid if group else account.pw_gid if account else near.st_gid
    except KeyError as error:
        raise BuildError(f"This machine has no such user or group: {error.args[0]}.") from None
    return (account.pw_uid if account else near.st_uid, gid)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="build.py", description="Lay the drivers over a remotes tree, or pack them.")
    parser.add_argument(
        "dest", nargs="?", type=Path, metavar="DEST", help="the remotes tree, e.g. /var/lib/one/remotes"
    )
    parser.add_argument("--tar", type=Path, metavar="FILE", help="write the tree as a tar archive")
    parser.add_argument("--installer", type=Path, metavar="FILE", help="write the tree and this program as one file")
    parser.add_argument("--check", action="store_true", help="change nothing, say what would change")
    parser.add_argument("--remove", action="store_true", help="put back what was there before, remove what was laid")
    parser.add_argument(
        "--prefix", default="", metavar="PREFIX", help="what the names of our drivers begin with: os_ makes tm/os_qcow2"
    )
    parser.add_argument("--list", action="store_true", help="name the drivers, and which serve system datastores")
    parser.add_argument("--owner", help="user that gets the files (as root; default: whose DEST is)")
    parser.add_argument("--group", help="group that gets the files (as root; default: the user's, or DEST's)")
    parser.add_argument("--no-settings", action="store_true", help="leave etc/ to somebody else")
    parser.add_argument(
        "--with",
        dest="others",
        action="append",
        default=[],
        type=Path,
        metavar="FOLDER",
        help="add the drivers of others: FOLDER has plugins and remotes like the collection (may be given again)",
    )
    options = parser.parse_args()
    if not (options.dest or options.tar or options.installer or options.list):
        parser.error("nothing to do: name DEST, --tar, --installer or --list")
    if options.remove and not options.dest:
        parser.error("--remove needs DEST")
    return options


def main() -> int:
    options = arguments()
    here = Path(__file__).resolve()
    os.umask(0o022)  # others read the tree, whoever lays it
    try:
        # In an installer, this file's "folder" is the archive.
        packed = here.parent.is_file()
        entries = (
            from_installer(here.parent) if packed else from_sources(here.parents[2], options.others, options.prefix)
        )
        if packed and (options.tar or options.installer or options.others or options.prefix):
            raise BuildError("An installer only lays its own tree.")
        if options.tar:
            write_tar(entries, options.tar)
        if options.installer:
            write_installer(entries, options.installer)
        if options.dest:
            dest = options.dest.absolute()
            owner = new_owner(dest, options.owner, options.group)
            site = Site(dest, entries, owner, not options.no_settings)
            for change in site.take_away(options.check) if options.remove else site.lay(options.check):
                print(change)
        for line in listed(entries) if options.list else []:
            print(line)
        print("build none" if options.remove else f"build {build_id(entries)}")
    except (BuildError, OSError, subprocess.SubprocessError) as error:
        print(f"build.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
