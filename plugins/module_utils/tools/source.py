# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The text of our own tools, for processes that have nothing of ours."""

from __future__ import annotations

from .._errors import StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    # never imported here, but read as source by name, which Ansible's packer does not see
    from . import guest  # noqa: F401


def source_of(name: str) -> str:
    """The text of one of our tools, wherever it was imported from (a file, or Ansible's zip)."""
    import importlib.util

    full = f"{__package__}.{name}"
    spec = importlib.util.find_spec(full)
    text = spec.loader.get_source(full) if spec and spec.loader and hasattr(spec.loader, "get_source") else None
    if not isinstance(text, str):
        raise StorageError(f"The source of {full} cannot be read")
    return text
