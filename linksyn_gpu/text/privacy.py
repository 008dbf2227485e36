"""Personal data and secrets in a text: e-mail addresses, telephone numbers, keys of services."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence
from typing import Any

EMAIL = re.compile(r"[\w.+-]{1,64}@(?!example\.)(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}\b")
"""An address; those at example.com and the like are reserved for documents (RFC 2606)."""
MAY_BE_PHONE = re.compile(r"\+\s?\d[\d\s().-]{6,}")
MAY_BE_SECRET = re.compile(r"-----BEGIN|://[^\s/]+:[^\s/]+@|[A-Za-z0-9_/+=.-]{16,}")
NOT_USED = ("HighEntropyString", "KeywordDetector", "IPPublicDetector")
"""Detectors that find common text of lessons: hexadecimal numbers, formulas, "password = ...", addresses."""


def find_private(text: str) -> tuple[str, str] | None:
    """Kind ('email', 'phone', 'secret') and place of the first personal datum or secret; None if there is none.

    Telephone numbers must be valid and have a country code, as a number without one may be any quantity. Keys are those
    of services whose format is known, by detect-secrets.
    """
    if MAY_BE_SECRET.search(text):
        for detector in _detectors():
            for secret in detector.analyze_string(text):
                return "secret", str(secret)
    if match := EMAIL.search(text):
        return "email", match.group()
    if MAY_BE_PHONE.search(text) and (number := _phone(text)):
        return "phone", number
    return None


def _phone(text: str) -> str | None:
    from phonenumbers import PhoneNumberMatcher

    return next((match.raw_string for match in PhoneNumberMatcher(text, None)), None)


@functools.cache
def _detectors() -> Sequence[Any]:
    from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class

    classes: Iterable[Any] = get_mapping_from_secret_type_to_class().values()
    return [kind() for kind in classes if not kind.__name__.endswith(NOT_USED)]
