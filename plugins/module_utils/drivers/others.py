# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of drivers that are not part of this project.

It is empty here. Who adds drivers brings this file along, with a line for each as in :mod:`.registry`, and lays it with
``build.py --with`` (docs/writing-a-driver.md). A driver of this project goes before one of the same name.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .base import Driver

#: (kind, image driver, system driver) → how to get it, by a function that imports it by its literal name.
DRIVERS: dict[tuple[str, str, str], Callable[[], Driver]] = {}
