# SPDX-FileCopyrightText: one_storage.drivers contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts, clusters and datastores of an OpenNebula site as an inventory."""

from __future__ import annotations

DOCUMENTATION = r"""
name: one_storage
short_description: hosts, clusters and datastores of an OpenNebula site
version_added: 0.1.0
author:
  - one_storage.drivers contributors (!UNKNOWN)
description:
  - Reads the hosts, the clusters and the datastores of a site from OpenNebula's daemon, oned, in two requests.
  - The file's name ends in C(one_storage.yml) or C(one_storage.yaml).
  - Hosts have the names that OpenNebula knows them by, since it logs in to them under these names.
  - The groups C(one_frontend) and C(one_nodes) are those that the playbooks and roles of this collection go by.
  - Each host is in the groups C(one_cluster_NAME), C(one_state_STATE), C(one_datastore_ID) for each datastore of its cluster, and
    C(one_tm_mad_NAME) for each transfer driver of these. Characters that a group cannot have become C(_). When two clusters would
    get the same name that way, that with the higher id has the id behind it.
  - The states are V(init), V(monitored), V(error), V(disabled) and V(offline).
  - "Variables of a node are C(one_id), C(one_state), C(one_cluster), C(one_cluster_id), C(one_im_mad), C(one_vm_mad),
    C(one_vms) (the ids of the VMs that run there), C(one_attributes) (its template) and C(one_datastores)."
  - "C(one_datastores) is a list of the datastores of the host's cluster, of a front-end that of all. Each has C(id),
    C(name), C(type) (V(image), V(system), V(file) or V(backup)), C(ds_mad), C(tm_mad), C(path), C(clusters), C(enabled), C(shared),
    C(in_place) (whether hosts use its images without a copy), C(bridges), C(images) (how many), and C(total_mb), C(used_mb) and
    C(free_mb) as oned last heard them. Those of Ceph also have C(settings), the pool and how its cluster is
    reached, and C(ceph_secret), the id of libvirt's secret."
  - Nothing that oned says is taken for a template.
extends_documentation_fragment:
  - ansible.builtin.constructed
  - ansible.builtin.inventory_cache
requirements:
  - python3-lxml, for the Python that runs Ansible
options:
  plugin:
    description: Marks the file as one of this plugin.
    type: str
    required: true
    choices: [one_storage.drivers.one_storage]
  endpoint:
    description: Address of oned's XML-RPC API, http or https.
    type: str
    default: http://localhost:2633/RPC2
    env:
      - name: ONE_XMLRPC
  auth_file:
    description: File with the credentials of a user who may see all hosts and datastores, as C(user:password).
    type: path
    default: ~/.one/one_auth
    env:
      - name: ONE_AUTH
  timeout:
    description: Seconds that one request may take.
    type: int
    default: 30
  frontends:
    description:
      - The front-ends, which oned does not tell.
      - If it is empty, the host in O(endpoint) is the only one. V(localhost) is reached without SSH.
    type: list
    elements: str
    default: []
  role_variables:
    description:
      - Whether nodes get C(one_storage_datastores), out of which the role P(one_storage.drivers.node#role) makes the folders that a
        node needs, and nodes and front-ends that reach a Ceph pool C(one_storage_ceph). Turn it off to say them yourself, for a
        group of hosts.
    type: bool
    default: true
"""

EXAMPLES = r"""
# The shortest one_storage.yml. Then:
#   ansible-inventory -i one_storage.yml --graph
#   ansible-playbook -i one_storage.yml one_storage.drivers.deploy --check --diff
plugin: one_storage.drivers.one_storage

# From a machine of the operator's, with two front-ends, and what was heard kept for five minutes
---
plugin: one_storage.drivers.one_storage
endpoint: https://one.example.org:2634/RPC2
auth_file: ~/.one/operator_auth
frontends: [one1.example.org, one2.example.org]
cache: true
cache_plugin: ansible.builtin.jsonfile
cache_connection: ~/.cache/one_storage
cache_timeout: 300
# hosts by rack, an attribute of their own, and those that are full
keyed_groups:
  - key: one_attributes.RACK
    prefix: rack
groups:
  crowded: one_vms | length > 40
compose:
  ansible_user: "'oneadmin'"
"""

import os

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable

from ..module_utils._errors import StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FRONTEND = "one_frontend"
NODES = "one_nodes"


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):  # type: ignore[misc]
    """The inventory of one site."""

    NAME = "one_storage.drivers.one_storage"

    def verify_file(self, path: str) -> bool:
        """Whether a file is ours, by its name."""
        return bool(super().verify_file(path)) and path.endswith(("one_storage.yml", "one_storage.yaml"))

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        """Read the site, from oned or from the cache, and fill the inventory."""
        super().parse(inventory, loader, path)
        self._read_config_data(path)
        self.load_cache_plugin()
        key = self.get_cache_key(path)
        kept: Any = self._cache.get(key) if cache and self.get_option("cache") else None
        found = kept if _is_site(kept) else self._asked()
        if self.get_option("cache") and found is not kept:
            self._cache[key] = found
        self._fill(found)

    def _asked(self) -> dict[str, Any]:
        try:
            from ..plugin_utils.oned import Oned
            from ..plugin_utils.site import site

            endpoint, auth = self.get_option("endpoint"), os.path.expanduser(self.get_option("auth_file"))
            return site(Oned(endpoint, auth, self.get_option("timeout")))
        except ImportError as error:
            raise AnsibleParserError(f"Cannot read what oned says: {error.name} is missing on this machine") from None
        except StorageError as error:
            raise AnsibleParserError(str(error)) from None

    def _fill(self, found: dict[str, Any]) -> None:
        for group in (FRONTEND, NODES):
            self.inventory.add_group(group)
        clusters = self._cluster_groups(found["hosts"])
        for host in found["hosts"]:
            self._add_node(host, clusters[host["cluster_id"]], found["datastores"])
        pools = [store for store in found["datastores"] if "settings" in store]
        for name in self._frontends():
            self.inventory.add_host(name, FRONTEND)
            self._set(name, {"one_datastores": found["datastores"]})
            if self.get_option("role_variables") and any(not store["bridges"] for store in pools):
                self._set(name, {"one_storage_ceph": True})
            if name == "localhost":
                self._set(name, {"ansible_connection": "local"})
        for name in {*self._frontends(), *(host["name"] for host in found["hosts"])}:
            self._construct(name)

    def _frontends(self) -> list[str]:
        given: list[str] = list(self.get_option("frontends"))
        if given:
            return given
        where = self.get_option("endpoint").partition("://")[2].partition("/")[0]
        host = (where.rpartition(":")[0] if ":" in where.rpartition("]")[2] else where).strip("[]")
        return ["localhost" if host in ("127.0.0.1", "::1") else host]

    def _cluster_groups(self, hosts: list[dict[str, Any]]) -> dict[int, str]:
        """A group for each cluster; different ones for different clusters, whatever they are called."""
        names: dict[int, str] = {}
        for number, name in sorted({(host["cluster_id"], host["cluster"]) for host in hosts}):
            group = self._group(f"one_cluster_{name}")
            names[number] = f"{group}_{number}" if group in names.values() else group
        return names

    def _group(self, name: str) -> str:
        """A group's name: letters of ASCII, digits and underscores."""
        return "".join(char if char.isascii() and char.isalnum() else "_" for char in name)

    def _add_node(self, host: dict[str, Any], cluster: str, datastores: list[dict[str, Any]]) -> None:
        name = host["name"]
        stores = [one for one in datastores if host["cluster_id"] in one["clusters"]]
        self.inventory.add_host(name, NODES)
        groups = [cluster, f"one_state_{host['state']}", *(f"one_datastore_{one['id']}" for one in stores)]
        for group in [*groups, *sorted({f"one_tm_mad_{one['tm_mad']}" for one in stores if one["tm_mad"]})]:
            self.inventory.add_child(self.inventory.add_group(self._group(group)), name)
        told = {f"one_{key}": value for key, value in host.items() if key != "name"}
        self._set(name, {**told, "one_datastores": stores})
        if self.get_option("role_variables"):
            # a node has the folders of system datastores, and of images that it uses in place
            used = [one for one in stores if one["type"] == "system" or one["in_place"]]
            folders = [{"id": one["id"], "type": one["type"], "shared": one["shared"]} for one in used]
            self._set(name, {"one_storage_datastores": folders})
            if any("settings" in one for one in stores):
                self._set(name, {"one_storage_ceph": True})

    def _set(self, host: str, values: dict[str, Any]) -> None:
        for key, value in values.items():
            self.inventory.set_variable(host, key, value)

    def _construct(self, host: str) -> None:
        strict = self.get_option("strict")
        values = self.inventory.get_host(host).get_vars()
        self._set_composite_vars(self.get_option("compose"), values, host, strict=strict)
        values = self.inventory.get_host(host).get_vars()
        self._add_host_to_composed_groups(self.get_option("groups"), values, host, strict=strict)
        self._add_host_to_keyed_groups(self.get_option("keyed_groups"), values, host, strict=strict)


def _is_site(found: Any) -> bool:
    """Whether a cache's entry is one that this build wrote."""
    if not isinstance(found, dict) or set(found) != {"hosts", "datastores"}:
        return False
    return all("attributes" in one for one in found["hosts"]) and all("in_place" in one for one in found["datastores"])
