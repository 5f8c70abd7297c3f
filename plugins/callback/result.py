# SPDX-FileCopyrightText: one_storage.drivers contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the result of an ad hoc run to a file."""

from __future__ import annotations

DOCUMENTATION = r"""
name: result
type: stdout
short_description: write the result of an ad hoc run to a file as JSON
version_added: 0.1.0
author:
  - one_storage.drivers contributors (!UNKNOWN)
description:
  - For programs that run one module on one host with the C(ansible) command and want to know exactly what came of it. It
    prints nothing, what Ansible itself has to say goes to its error output as always.
  - The file holds one JSON object. C(host) is the host's name in the inventory. C(state) is V(ok), V(failed),
    V(unreachable) or V(skipped). C(result) is what the module returned. After a failure C(msg) in it is the sentence,
    and C(error), with a module of this collection, its parts.
  - The file is written beside its name, with mode 0600, and then put in place. It is there complete or not at all. Not at
    all means that Ansible failed before the module ran.
  - If there are several results, that of the last counts.
requirements:
  - Set as the standard output plugin, see the examples. The C(ansible) command takes it only with
    E(ANSIBLE_LOAD_CALLBACK_PLUGINS) set.
options:
  file:
    description:
      - Path of the file. Its directory must exist.
      - If it is not set, nothing is written.
    type: path
    env:
      - name: ONE_STORAGE_RESULT_FILE
"""

EXAMPLES = r"""
#   ANSIBLE_LOAD_CALLBACK_PLUGINS=1 \
#   ANSIBLE_STDOUT_CALLBACK=one_storage.drivers.result \
#   ONE_STORAGE_RESULT_FILE=/run/user/1000/answer.json \
#   ansible node01 -m one_storage.drivers.ds_monitor -a 'driver=fs datastore=/var/lib/one/datastores/1'
#
# Then /run/user/1000/answer.json holds, in one line:
#
#   {"host": "node01", "state": "ok", "result": {"changed": false, "free_mb": 330912, ...}}
"""

import json
import os

from ansible.plugins.callback import CallbackBase

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: The task's options once more, and whatever else Ansible keeps there for itself.
_OWN = ("invocation", "_ansible_")


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """The four ends that a task can come to."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "one_storage.drivers.result"

    def v2_runner_on_ok(self, result: Any) -> None:
        """The module ended well."""
        self._write("ok", result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """The module said that it failed, or broke."""
        self._write("failed", result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """The host could not be reached."""
        self._write("unreachable", result)

    def v2_runner_on_skipped(self, result: Any) -> None:
        """The module did not run."""
        self._write("skipped", result)

    def _write(self, state: str, result: Any) -> None:
        path = self.get_option("file")
        if not path:
            return
        told = {name: value for name, value in result.result.items() if not name.startswith(_OWN)}
        record = {"host": result.host.get_name(), "state": state, "result": told}
        # values that JSON does not know (dates, say) become text: an answer with a flaw is better than none
        text = json.dumps(record, default=str)
        spare = f"{path}.{os.getpid()}.new"
        handle = os.open(spare, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            os.rename(spare, path)
        except OSError:
            os.unlink(spare)
            raise
