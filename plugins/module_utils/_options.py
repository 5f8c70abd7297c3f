# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks parameters against an option specification, with the very sentences that AnsibleModule prints.

The specification is the subset of Ansible's argument_spec that our actions use: ``type``, ``required``,
``default``, ``choices``, ``elements``; ``no_log`` matters to Ansible alone. It is data in :mod:`._actions`; the modules
give it to AnsibleModule, the fast launchers give it to :func:`check`. A test holds the two side by side.
"""

from __future__ import annotations

from ._errors import BadCall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Spec = dict[str, dict[str, Any]]

_TRUE = ("y", "yes", "on", "1", "true", "t")
_FALSE = ("n", "no", "off", "0", "false", "f")
#: More digits than any of our numbers has; a power of ten with a huge exponent would take forever to write out.
_DIGITS = 40


def check(name: str, spec: Spec, given: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters, complete with defaults and converted to their types.

    As with AnsibleModule an option that is given as null is given: where there is no default it stays null, else it is
    converted like any other value. Of several mistakes the same one is told: missing options first, then types, choices
    and unknown options.

    :param name: the module's name, for the sentence about unknown parameters.
    :raises BadCall: with Ansible's wording.
    """
    missing = sorted(key for key, rule in spec.items() if rule.get("required") and key not in given)
    if missing:
        raise BadCall(f"missing required arguments: {', '.join(missing)}")
    result: dict[str, Any] = {}
    for key, rule in spec.items():
        value = given.get(key, rule.get("default"))
        if value is not None or rule.get("required") or "default" in rule:
            value = _typed(key, rule, value)
        result[key] = value
    for key, rule in spec.items():
        choices = rule.get("choices")
        if choices and key in given and result[key] not in choices:
            allowed = ", ".join(str(choice) for choice in choices)
            raise BadCall(f"value of {key} must be one of: {allowed}, got: {result[key]}")
    unknown = sorted(key for key in given if key not in spec)
    if unknown:
        raise BadCall(
            f"Unsupported parameters for ({name}) module: {', '.join(unknown)}. "
            f"Supported parameters include: {', '.join(sorted(spec))}."
        )
    return result


def _typed(key: str, rule: dict[str, Any], value: Any) -> Any:
    kind = rule.get("type", "str")
    try:
        value = _convert(kind, value)
    except TypeError as error:
        raise BadCall(
            f"argument '{key}' is of type {type(value).__name__} and we were unable to convert to {kind}: {error}"
        ) from None
    # the elements of our lists are text, and anything can be text
    return [_text(item) for item in value] if kind == "list" else value


def _convert(kind: str, value: Any) -> Any:
    if kind == "bool":
        return _truth(value)
    if kind == "int":
        return _integer(value)
    if kind == "list":
        if isinstance(value, list):
            return value
        if isinstance(value, str):
            return value.split(",")
        if isinstance(value, (int, float)):
            return [str(value)]
        raise TypeError(f"{type(value)} cannot be converted to a list")
    return _text(value)


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _truth(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if not isinstance(value, (str, int, float)):
        raise TypeError(f"{type(value)} cannot be converted to a bool")
    plain = value.lower().strip() if isinstance(value, str) else str(int(value)) if value in (0, 1) else ""
    if plain in _TRUE:
        return True
    if plain in _FALSE:
        return False
    # Ansible names them in no order, another one in each run
    valid = ", ".join(repr(word) for word in (*_TRUE, 1, *_FALSE, 0))
    raise TypeError(f"The value '{value}' is not a valid boolean. Valid booleans include: {valid}")


def _integer(value: Any) -> int:
    if isinstance(value, int):
        return value
    try:
        return int(value) if isinstance(value, str) else _whole(value)
    except ValueError:
        return _whole(value)


def _whole(value: Any) -> int:
    """What Ansible takes for an integer besides: ``"5.0"``, ``5.0``, ``"1e3"``."""
    import decimal

    try:
        number = decimal.Decimal(value)
        if number.is_finite() and number.adjusted() < _DIGITS and number == int(number):
            return int(number)
    except (decimal.DecimalException, TypeError, ValueError):
        pass
    raise TypeError(f'"{value!r}" cannot be converted to an int')
