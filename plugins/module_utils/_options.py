# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks parameters against an option specification, with the very sentences that AnsibleModule prints.

The specification is the subset of Ansible's argument_spec that our actions use: ``type``, ``required``,
``default``, ``choices``, ``elements``. It is data in :mod:`._actions`; the modules give it to AnsibleModule, the
fast launchers give it to :func:`check`. A test holds the two side by side.
"""

from __future__ import annotations

from ._errors import BadCall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Spec = dict[str, dict[str, Any]]

_TRUE = frozenset(("y", "yes", "on", "1", "true", "t"))
_FALSE = frozenset(("n", "no", "off", "0", "false", "f"))


def check(name: str, spec: Spec, given: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters, complete with defaults and converted to their types.

    :param name: the module's name, for the sentence about unknown parameters.
    :raises BadCall: with Ansible's wording.
    """
    unknown = sorted(key for key in given if key not in spec)
    if unknown:
        raise BadCall(
            f"Unsupported parameters for ({name}) module: {', '.join(unknown)}. "
            f"Supported parameters include: {', '.join(sorted(spec))}."
        )
    missing = sorted(key for key, rule in spec.items() if rule.get("required") and given.get(key) is None)
    if missing:
        raise BadCall(f"missing required arguments: {', '.join(missing)}")
    result: dict[str, Any] = {}
    for key, rule in spec.items():
        value = given.get(key)
        if value is None:
            value = rule.get("default")
        if value is not None:
            value = _typed(key, rule, value)
        result[key] = value
    return result


def _typed(key: str, rule: dict[str, Any], value: Any) -> Any:
    kind = rule.get("type", "str")
    try:
        value = _convert(kind, value)
    except (TypeError, ValueError) as error:
        raise BadCall(
            f"argument '{key}' is of type {type(value).__name__} and we were unable to convert to {kind}: {error}"
        ) from None
    if kind == "list":
        value = [_typed(key, {"type": rule.get("elements", "str")}, item) for item in value]
    choices = rule.get("choices")
    if choices and value not in choices:
        allowed = ", ".join(str(choice) for choice in choices)
        raise BadCall(f"value of {key} must be one of: {allowed}, got: {value}")
    return value


def _convert(kind: str, value: Any) -> Any:
    if kind == "bool":
        if isinstance(value, bool):
            return value
        text = str(value).strip().lower()
        if text in _TRUE:
            return True
        if text in _FALSE:
            return False
        raise TypeError(f"The value '{value}' is not a valid boolean.")
    if kind == "int":
        if isinstance(value, bool) or not isinstance(value, (int, str)):
            raise TypeError(f"{type(value)} cannot be converted to an int")
        try:
            return int(value)
        except ValueError:
            raise TypeError(f"{value!r} cannot be converted to an int") from None
    if kind == "list":
        if isinstance(value, list):
            return value
        if isinstance(value, str):
            return [part.strip() for part in value.split(",")]
        raise TypeError(f"{type(value)} cannot be converted to a list")
    if isinstance(value, (dict, list)):
        raise TypeError(f"{value!r} is not a string and conversion is not allowed")
    return str(value)
