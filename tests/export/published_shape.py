"""A resource against the shape that Microsoft publishes: the models of its own management libraries, read strictly.

The libraries themselves accept anything in a dictionary. Here a property that a model does not have, a required one
that is missing, one that only the service sets, a value of the wrong type and a word outside an enumeration each are a
problem.
"""

import enum
import re
import types
import typing
from datetime import timedelta
from typing import Any

from azure.mgmt.monitor import models as monitor
from azure.mgmt.securityinsight import models as securityinsight

_DURATION = re.compile(r"P(?=.)(\d+D)?(T(?=.)(\d+H)?(\d+M)?(\d+S)?)?")
_PLAIN = {str: "text", bool: "true or false", int: "a whole number"}


def alert_rule_problems(body: dict[str, Any]) -> list[str]:
    """What is wrong with the body of a ``Microsoft.SecurityInsights/alertRules`` of its kind."""
    models: dict[str, Any] = securityinsight.AlertRule.__mapping__
    model = models.get(str(body.get("kind")))
    return _object(model, body, "") if model else [f"kind: {body.get('kind')!r} is no kind of alert rule"]


def scheduled_query_rule_problems(body: dict[str, Any]) -> list[str]:
    """What is wrong with the body of a ``Microsoft.Insights/scheduledQueryRules``."""
    return _object(monitor.ScheduledQueryRuleResource, body, "")


def _object(model: Any, value: Any, where: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{where}: {value!r} is not an object"]
    package = securityinsight if "securityinsight" in model.__module__ else monitor
    hints = typing.get_type_hints(model, localns={"_models": package})
    fields = {field._rest_name: (hints[name], field) for name, field in model({})._attr_to_rest_field.items()}
    problems = []
    for name, (hint, field) in fields.items():
        if name not in value and type(None) not in typing.get_args(hint) and not _is_read_only(field):
            problems.append(f"{where}{name}: is required")
    for name, each in value.items():
        if name not in fields:
            problems.append(f"{where}{name}: is unknown")
        elif _is_read_only(fields[name][1]):
            problems.append(f"{where}{name}: only the service sets it")
        else:
            problems += _value(fields[name][0], each, f"{where}{name}")
    return problems


def _is_read_only(field: Any) -> bool:
    return bool(field._visibility == ["read"])


def _value(hint: Any, value: Any, where: str) -> list[str]:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in {typing.Union, types.UnionType}:
        kinds = [each for each in arguments if each is not type(None)]
        words = [each for each in kinds if isinstance(each, type) and issubclass(each, enum.Enum)]
        return _word(words[0], value, where) if words else _value(kinds[0], value, where)
    if origin is typing.Literal:
        return [] if value in [getattr(each, "value", each) for each in arguments] else [f"{where}: {value!r}"]
    if origin is list:
        if not isinstance(value, list):
            return [f"{where}: {value!r} is not a list"]
        return [line for index, each in enumerate(value) for line in _value(arguments[0], each, f"{where}[{index}]")]
    if origin is dict:
        if not isinstance(value, dict):
            return [f"{where}: {value!r} is not a map"]
        return [line for key, each in value.items() for line in _value(arguments[1], each, f"{where}.{key}")]
    if hint in _PLAIN:
        return [] if type(value) is hint else [f"{where}: {value!r} is not {_PLAIN[hint]}"]
    if hint is float:
        return [] if type(value) in {int, float} else [f"{where}: {value!r} is not a number"]
    if hint is timedelta:
        fits = isinstance(value, str) and _DURATION.fullmatch(value)
        return [] if fits else [f"{where}: {value!r} is not a duration"]
    if isinstance(hint, type) and hint.__module__.startswith("azure.mgmt."):
        return _object(hint, value, f"{where}.")
    raise NotImplementedError(f"{where}: nobody taught this check about {hint}")


def _word(words: type[enum.Enum], value: Any, where: str) -> list[str]:
    known = [each.value for each in words]
    fits = value in known and not isinstance(value, bool)
    return [] if fits else [f"{where}: {value!r} is not one of {', '.join(map(str, known))}"]
