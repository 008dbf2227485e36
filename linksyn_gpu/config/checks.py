"""Checks of settings: a wrong value is a `ConfigError` that lists the allowed ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from linksyn_gpu.errors import ConfigError


def shown(value: object, limit: int = 80) -> str:
    """A value for a message, cut after `limit` characters."""
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= limit else f"{text[:limit]}..."


def require(ok: bool, message: str) -> None:
    """Raise `ConfigError` with `message` unless `ok`."""
    if not ok:
        raise ConfigError(message)


def one_of(name: str, value: object, allowed: tuple[object, ...]) -> None:
    """Raise `ConfigError` unless `value` is one of `allowed`."""
    require(value in allowed, f"{name} = {shown(repr(value))} is not one of {', '.join(map(str, allowed))}")


def each_of(name: str, values: Iterable[object], kind: str, allowed: tuple[object, ...]) -> None:
    """Raise `ConfigError` unless each value of the setting `name` is one of `allowed`; `kind` is what a value is."""
    for value in values:
        require(
            value in allowed, f"{name}: {shown(repr(value))} is not {kind}; allowed: {', '.join(map(str, allowed))}"
        )


def check_shares(name: str, shares: Mapping[str, object]) -> None:
    """Raise `ConfigError` unless `shares` are finite numbers >= 0, and not all of them 0."""
    for key, share in shares.items():
        number = isinstance(share, (int, float)) and not isinstance(share, bool) and 0.0 <= share < float("inf")
        require(number, f"{name}.{key} = {shown(repr(share))} must be a number >= 0")
    require(not shares or any(shares.values()), f"{name}: all shares are 0")


def server_address(name: str, url: str) -> None:
    """Raise `ConfigError` unless `url` is a plain http(s) address. A password in it is not shown."""
    bare = url.rsplit("@", 1)[-1].partition("?")[0]
    try:
        parts = urlsplit(url)
        plain = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        plain = False
    require(plain, f"{name} = {bare!r} must look like http://host:port/v1")
    require(
        not (parts.username or parts.password or parts.query or parts.fragment),
        f"{name} for {parts.hostname} must not hold a user name, password or query: "
        "set a key in the environment variable LINKSYN_API_KEY",
    )
