"""Checks of settings: a wrong value is a `ConfigError` that lists the allowed ones."""

from __future__ import annotations

from linksyn_gpu.errors import ConfigError


def require(ok: bool, message: str) -> None:
    """Raise `ConfigError` with `message` unless `ok`."""
    if not ok:
        raise ConfigError(message)


def one_of(name: str, value: object, allowed: tuple[object, ...]) -> None:
    """Raise `ConfigError` unless `value` is one of `allowed`."""
    require(value in allowed, f"{name} = {value!r} is not one of {', '.join(map(str, allowed))}")
