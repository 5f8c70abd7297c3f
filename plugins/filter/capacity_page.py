# SPDX-FileCopyrightText: one_storage.drivers contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A capacity report as a page."""

from __future__ import annotations

DOCUMENTATION = r"""
name: capacity_page
short_description: a capacity report as a page
version_added: 0.1.0
author:
  - one_storage.drivers contributors (!UNKNOWN)
description:
  - Writes a report of P(one_storage.drivers.capacity_report#filter) as one HTML page. The playbook C(capacity) uses it.
  - The template is rendered with everything in the report escaped, in a sandbox.
positional: template
options:
  _input:
    description: The report.
    type: dict
    required: true
  template:
    description: The page's Jinja template. The collection's own is C(playbooks/templates/capacity.html.j2).
    type: str
    required: true
"""

EXAMPLES = r"""
page: "{{ report | one_storage.drivers.capacity_page(lookup('ansible.builtin.file', 'templates/capacity.html.j2')) }}"
"""

RETURN = r"""
_value:
  description: The page. It opens without a server and without network.
  type: str
"""

import json

from ansible.errors import AnsibleFilterError

from ..plugin_utils.capacity import page

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def capacity_page(report: dict[str, Any], template: str) -> str:
    """The page, out of plain data."""
    from jinja2 import TemplateError

    try:
        return page(json.loads(json.dumps(dict(report))), str(template))
    except TemplateError as error:
        raise AnsibleFilterError(f"The page cannot be made: {error}") from None


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, Any]:
        """Filters by name."""
        return {"capacity_page": capacity_page}
