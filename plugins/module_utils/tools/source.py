# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The text of our own tools, for processes that have nothing of ours."""

from __future__ import annotations

from .._errors import StorageError

#: Makes modules of sources: of one package, so that they import each other as they do here.
_AS_MODULES = """
k = type(sys)("sent"); k.__path__ = []; sys.modules["sent"] = k
for name, text in SOURCES:
    m = type(sys)("sent." + name); m.__package__ = "sent"; sys.modules["sent." + name] = m; setattr(k, name, m)
    exec(compile(text, name, "exec"), m.__dict__)
"""
#: The same, of files, as they were compiled when they were deployed: that is a third of what they cost.
_FROM_FILES = _AS_MODULES.replace(
    """compile(text, name, "exec")""", """SourceFileLoader(m.__name__, text).get_code(m.__name__)"""
)


def source_of(name: str) -> str:
    """The text of one of our tools, wherever it was imported from (a file, or Ansible's zip)."""
    import importlib.util

    full = f"{__package__}.{name}"
    spec = importlib.util.find_spec(full)
    text = spec.loader.get_source(full) if spec and spec.loader and hasattr(spec.loader, "get_source") else None
    if not isinstance(text, str):
        raise StorageError(f"The source of {full} cannot be read")
    return text


def as_modules(sources: str) -> str:
    """Lines of a program that has imported ``sys``: they make modules and leave their package in ``k``.

    :param sources: an expression for the list of names and texts, each after those it imports.
    """
    return _AS_MODULES.replace("SOURCES", sources, 1)


def from_files(files: str) -> str:
    """The same with paths of files in place of texts. Nothing is written beside them."""
    loader = "from _frozen_importlib_external import SourceFileLoader\nsys.dont_write_bytecode = True"
    return loader + _FROM_FILES.replace("SOURCES", files, 1)
