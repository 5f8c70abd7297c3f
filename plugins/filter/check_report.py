# SPDX-FileCopyrightText: one_storage.drivers contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter check_report."""

from __future__ import annotations

DOCUMENTATION = r"""
name: check_report
short_description: sum up what was checked on many hosts
version_added: 0.1.0
author:
  - one_storage.drivers contributors (!UNKNOWN)
description:
  - Sums up what M(one_storage.drivers.host_check) and M(one_storage.drivers.mesh_check) found, as the playbook
    C(one_storage.drivers.validate) shows it. A thing that several hosts notice is told once, of the host where it is broken.
positional: _input
options:
  _input:
    description: Results of M(one_storage.drivers.host_check) by host, also those of hosts that Ansible did not reach.
    type: dict
    required: true
  meshes:
    description: Results of M(one_storage.drivers.mesh_check) by front-end.
    type: dict
    default: {}
  finished:
    description: Results of M(one_storage.drivers.host_check) with O(one_storage.drivers.host_check#module:finish) by host.
    type: dict
    default: {}
  names:
    description: OpenNebula's names of hosts by those of the inventory, where they differ.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Tell what is broken
  ansible.builtin.debug:
    msg: "{{ (results | one_storage.drivers.check_report(meshes=meshes)).lines }}"
"""

RETURN = r"""
_value:
  description:
    - "RV(ignore:ok), whether nothing is broken; RV(ignore:problems) and RV(ignore:notes), each with C(host), C(check), C(thing) and
      C(sentence); RV(ignore:rows), the table; RV(ignore:lines), table and sentences as text; RV(ignore:finish), the
      hosts that are to remove the files of the check."
  type: dict
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def _check_report(
    hosts: dict[str, Any],
    meshes: dict[str, Any] | None = None,
    finished: dict[str, Any] | None = None,
    names: dict[str, str] | None = None,
) -> dict[str, Any]:
    from ..plugin_utils.check_report import report

    return report(hosts, meshes or {}, finished or {}, names)


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filter by its name."""
        return {"check_report": _check_report}
