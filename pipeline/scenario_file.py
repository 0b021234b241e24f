"""Reads and writes scenario files.

An unknown key, a wrong type or an impossible combination is an `InputError` that names the file, the
key and what is allowed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from pipeline.config import Scenario
from pipeline.errors import InputError
from pipeline.features import Categorical, MultiCategorical, Numeric

_FEATURE_KINDS: dict[str, type[BaseModel]] = {
    "categorical": Categorical,
    "multi_categorical": MultiCategorical,
    "numeric": Numeric,
}

#: `1e-4` is a number, as in YAML 1.2; to YAML 1.1, and PyYAML, it is text.
_EXPONENT = ("tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+|\d*\.\d+|\d+\.)[eE][-+]?\d+$"), list("-+.0123456789"))


class _Loader(yaml.SafeLoader):
    """Reads it as one."""


class _Dumper(yaml.SafeDumper):
    """Puts text that looks like one into quotes."""


_Loader.add_implicit_resolver(*_EXPONENT)
_Dumper.add_implicit_resolver(*_EXPONENT)


def load_scenario(path: str | Path, overrides: Iterable[str] = ()) -> Scenario:
    """Reads and validates a scenario file.

    Args:
        path: the YAML file.
        overrides: `key.path=value` pairs laid over the file, values in YAML.

    Raises:
        InputError: the file is missing, is no YAML, or a key is wrong; names the key.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: no such scenario file; the examples are under configs/") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as YAML: {' '.join(str(error).split())}") from error
    return parse_scenario_text(text, str(path), overrides)


def parse_scenario_text(text: str, origin: str, overrides: Iterable[str] = ()) -> Scenario:
    """Validates a scenario given as YAML; `origin` names it in errors."""
    try:
        raw = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise InputError(f"{origin}: cannot be read as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(raw, dict):
        raise InputError(f"{origin}: must be a mapping with `name` and `features`, not {type(raw).__name__}")
    laid_over = {}
    for override in overrides:
        laid_over[_override(raw, override)] = override
    return parse_scenario(raw, origin, laid_over)


def parse_scenario(raw: dict[str, Any], origin: str, overrides: Mapping[str, str] | None = None) -> Scenario:
    """Validates a scenario given as nested mappings.

    Args:
        raw: as YAML gives it.
        origin: names it in errors.
        overrides: by their keys, what was laid over it: named where such a key is wrong.
    """
    try:
        # as JSON, where a list is what a tuple is written as; else strict types refuse it
        return Scenario.model_validate_json(json.dumps(raw, default=str))
    except ValidationError as error:
        explained = []
        for one in error.errors():
            where = _key(one)
            to_blame = [text for key, text in (overrides or {}).items() if _touches(key, where)]
            if to_blame and one["type"] == "value_error":  # what does not go together: file and overrides
                blamed = f"{origin} with override `{'`, `'.join(to_blame)}`"
            else:
                blamed = f"override `{to_blame[0]}`" if to_blame else origin
            explained.append(f"{blamed}: {_explain(one)}")
        raise InputError("\n".join(explained)) from None


def _touches(key: str, where: str) -> bool:
    """Whether what was laid over `key` is, is within, or has within it what is at `where`."""
    return not where or f"{key}.".startswith(f"{where}.") or f"{where}.".startswith(f"{key}.")


def dump_scenario(scenario: Scenario) -> str:
    """The scenario as YAML that `load_scenario` reads back equal."""
    return yaml.dump(scenario.model_dump(mode="json", exclude_defaults=True), Dumper=_Dumper, sort_keys=False)


def _override(raw: dict[str, Any], override: str) -> str:
    """Lays an override over the mappings; gives its key."""
    key, separator, value = override.partition("=")
    if not separator or not key:
        raise InputError(f"override `{override}`: must be key.path=value, for instance training.epochs=1")
    *parents, leaf = key.split(".")
    node = raw
    for parent in parents:
        node = node.setdefault(parent, {})
        if not isinstance(node, dict):
            raise InputError(f"override `{override}`: `{parent}` is a value, not a section")
    try:
        node[leaf] = yaml.load(value, _Loader)
    except yaml.YAMLError as error:
        raise InputError(f"override `{override}`: the value is no YAML: {' '.join(str(error).split())}") from error
    return key


def _explain(error: Any) -> str:
    """One line for one pydantic error: key, rule, value received, what is allowed."""
    location, key = [str(part) for part in error["loc"]], _key(error)
    if error["type"] == "extra_forbidden":
        allowed = _allowed_keys(location[:-1])
        near = get_close_matches(location[-1], allowed, 1)
        meant = f"did you mean `{near[0]}`? " if near else ""
        return f"unknown key `{key}`; {meant}allowed there: {', '.join(allowed)}"
    if error["type"] == "missing":
        return f"missing key `{key}`"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "value_error":
        return f"`{key}`: {message}" if key else message
    return f"`{key}`: {message} (got {error['input']!r})"


def _key(error: Any) -> str:
    """Where it is; pydantic puts the chosen kind of a feature into the path, which is no key of the file."""
    return ".".join(str(part) for part in error["loc"] if part not in _FEATURE_KINDS)


def _allowed_keys(parents: list[str]) -> list[str]:
    """The keys a section of the file takes, found by walking the declared models."""
    node: Any = Scenario
    for parent in parents:
        if parent in _FEATURE_KINDS:
            node = _FEATURE_KINDS[parent]
        elif isinstance(node, type) and issubclass(node, BaseModel):
            node = node.model_fields[parent].annotation
        else:  # dict[str, X] and tuple[X, ...]: the part is a name or an index, X comes next
            node = next(x for x in (*reversed(get_args(node)), node) if x is not Ellipsis)
        if isinstance(node, UnionType):  # X | None
            node = next(x for x in get_args(node) if x is not NoneType)
    return list(node.model_fields)
