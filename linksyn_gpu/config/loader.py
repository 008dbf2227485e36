"""Settings from TOML files, mappings and flags; the parts of a recorded run that this version knows."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tomllib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from linksyn_gpu.config import RunConfig, require
from linksyn_gpu.config.checks import shown
from linksyn_gpu.errors import ConfigError

TABLES = frozenset(
    f.name for f in dataclasses.fields(RunConfig) if dataclasses.is_dataclass(getattr(RunConfig(), f.name))
)
"""Settings that are tables with fixed names."""
MAX_TOML_SIGNS = 100
MAX_TOML_NAME = 200


def to_mapping(config: Any) -> dict[str, Any]:
    """Return a config as plain nested dicts and lists, ready for JSON."""
    return typing.cast(dict[str, Any], json.loads(json.dumps(dataclasses.asdict(config))))


def settings_digest(settings: Any) -> str:
    """Hash a JSON-like value: the first 16 hex digits of SHA-256 over its JSON with sorted keys."""
    text = json.dumps(settings, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_digest(path: str) -> str:
    """SHA-256 of a file that a setting names.

    Raises
    ------
    ConfigError
        It cannot be read.
    """
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error


def known_settings(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of recorded settings that `RunConfig` has; other versions may have had other names."""
    return {
        name: {key: value for key, value in recorded[name].items() if key in default}
        if name in TABLES
        else recorded[name]
        for name, default in to_mapping(RunConfig()).items()
        if name in recorded
    }


def config_or_fields(cls: type[Any], config: Any, fields: Mapping[str, Any]) -> Any:
    """Return the config of an entry point that takes a config or, as keywords, the fields of one.

    Raises
    ------
    ConfigError
        Both are given, or a field is unknown or has a wrong value.
    """
    if config is None:
        return from_mapping(cls, fields)
    require(not fields, f"pass a {cls.__name__} or its fields as keywords ({', '.join(fields)}), not both")
    return config


def from_mapping(cls: type[Any], values: Mapping[str, Any], *, where: str = "", base: Any = None) -> Any:
    """Make a config of class `cls` from nested mappings.

    Parameters
    ----------
    values : mapping
        Names and values; a table of a TOML file is a nested mapping.
    where : str
        Prefix for error messages, such as the file's name.
    base : instance of `cls`, optional
        Values for what `values` leaves out; None: the defaults of `cls`.

    Raises
    ------
    ConfigError
        A name is unknown, or a value has a wrong type or is out of range.
    """
    base = cls() if base is None else base
    hints = typing.get_type_hints(cls)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        names = ", ".join(f"{where}{shown(name)}" for name in unknown[:8])
        raise ConfigError(f"{names}: no such setting; allowed here: {', '.join(hints)}")
    changed: dict[str, Any] = {}
    for name, value in values.items():
        hint = hints[name]
        label = f"{where}{name}"
        if dataclasses.is_dataclass(hint):
            require(isinstance(value, Mapping), f"{label} must be a table, not {shown(repr(value))}")
            changed[name] = from_mapping(
                typing.cast(type[Any], hint), value, where=f"{label}.", base=getattr(base, name)
            )
        else:
            changed[name] = _checked(label, value, hint)
    try:
        return dataclasses.replace(base, **changed)
    except ConfigError as error:
        raise ConfigError(f"{where}{error}") from None


def read_toml(path: str | Path) -> dict[str, Any]:
    """Read a TOML file of settings without checking its names and values.

    Raises
    ------
    ConfigError
        The file cannot be read, is not TOML, or has keys or values that settings never need.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    for number, line in enumerate(text.splitlines(), 1):  # tomllib takes quadratic time for long dotted keys
        if max(map(line.count, ".[{=")) > MAX_TOML_SIGNS:
            raise ConfigError(f"{path}:{number}: more than {MAX_TOML_SIGNS} dots, brackets or '=' in a line; split it")
    try:
        values = tomllib.loads(text)
        _check_plain(path, values)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: a number is too long or values are nested too deep: {error}") from error
    return values


def _check_plain(path: str | Path, value: Any) -> None:
    """Refuse what no setting has: names of more than `MAX_TOML_NAME` characters, dates, and integers beyond 64 bits."""
    if isinstance(value, Mapping):
        for name in value:
            if len(name) > MAX_TOML_NAME:
                raise ConfigError(
                    f"{path}: the name {shown(name, 40)} has {len(name)} characters; {MAX_TOML_NAME} allowed"
                )
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            _check_plain(path, inner)
    elif not isinstance(value, (str, int, float)) or (isinstance(value, int) and abs(value) >= 2**63):
        raise ConfigError(f"{path}: {str(value)[:40]}: settings are texts, numbers of up to 64 bits, true or false")


def merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two nested mappings of settings; values of the second replace those of the first."""
    both = dict(first)
    for name, value in second.items():
        inner = both.get(name)
        both[name] = merged(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
    return both


def _checked(label: str, value: Any, hint: Any) -> Any:
    """Check a single value against its type hint; an integer is accepted for a float, a list for a tuple."""
    origin = typing.get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        options = typing.get_args(hint)
        if value is None and type(None) in options:
            return None
        kinds = [o for o in options if o is not type(None)]
        several = [o for o in kinds if (typing.get_origin(o) is tuple) == isinstance(value, (list, tuple))]
        return _checked(label, value, (several or kinds)[0])
    if origin is tuple:
        require(
            isinstance(value, (list, tuple)) and all(isinstance(v, str) for v in value),
            f"{label} must be a list of strings, not {shown(repr(value))}",
        )
        return tuple(value)
    if origin is Mapping:
        require(isinstance(value, Mapping), f"{label} must be a table, not {shown(repr(value))}")
        return dict(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    require(
        isinstance(value, hint) and (hint is bool or not isinstance(value, bool)),
        f"{label} = {shown(repr(value))} must be of type {hint.__name__}",
    )
    return value
