# SPDX-FileCopyrightText: one_storage.drivers contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What hosts said of their datastores as one report."""

from __future__ import annotations

DOCUMENTATION = r"""
name: capacity_report
short_description: what hosts said of their datastores as one report
version_added: 0.1.0
author:
  - one_storage.drivers contributors (!UNKNOWN)
description:
  - Puts together what M(one_storage.drivers.datastores_info) returned on the front-end and on nodes. The playbook C(capacity)
    uses it.
  - Room that datastores share is counted once. What nobody could look at is told as oned last heard of it.
positional: answers, made
options:
  _input:
    description: What the command C(one_storage/site --looks) of the front-end prints, as a dictionary.
    type: dict
    required: true
  answers:
    description: The list RV(one_storage.drivers.datastores_info#module:datastores) by host. That of the front-end has an empty name.
    type: dict
    required: true
  made:
    description: When it was made, as the page shows it.
    type: str
    required: true
"""

EXAMPLES = r"""
report: "{{ site | one_storage.drivers.capacity_report({'': front_end.datastores}, now(fmt='%Y-%m-%d %H:%M')) }}"
"""

RETURN = r"""
_value:
  description:
    - C(totals), C(pools) (what has room of its own), C(datastores), C(depths) (how many images have how many layers),
      C(consumers) (what takes up most) and C(problems) (sentences). Sizes are in bytes.
  type: dict
"""

import json

from ..plugin_utils.capacity import report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def capacity_report(site: dict[str, Any], answers: dict[str, Any], made: str) -> dict[str, Any]:
    """The report, out of plain data."""
    return report(json.loads(json.dumps(dict(site))), json.loads(json.dumps(dict(answers))), str(made))


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, Any]:
        """Filters by name."""
        return {"capacity_report": capacity_report}
