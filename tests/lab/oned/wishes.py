# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How disks of a VM are asked for."""

from __future__ import annotations


def use_image(image_id: int, **attributes: str) -> dict[str, str]:
    """A disk for `create_vm` or `attach` that comes from an image."""
    return {"IMAGE_ID": str(image_id), **attributes}


def use_volatile(size: int, format: str = "raw", fs: str = "", **attributes: str) -> dict[str, str]:
    """A volatile disk of `size` MB; with `fs` it carries a file system."""
    values = {"TYPE": "fs", "SIZE": str(size), "FORMAT": format, **attributes}
    if fs:
        values["FS"] = fs
    return values


def use_swap(size: int, **attributes: str) -> dict[str, str]:
    """A swap disk of `size` MB."""
    return {"TYPE": "swap", "SIZE": str(size), **attributes}
