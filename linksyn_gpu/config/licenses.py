"""Names of licenses, as seed banks write them."""

from __future__ import annotations

HUB_LICENSES = {
    "mit": "mit",
    "apache20": "apache-2.0",
    "apachelicense20": "apache-2.0",
    "ccby40": "cc-by-4.0",
    "ccby30": "cc-by-3.0",
    "ccbysa40": "cc-by-sa-4.0",
    "ccbysa30": "cc-by-sa-3.0",
    "ccbync40": "cc-by-nc-4.0",
    "ccbyncsa40": "cc-by-nc-sa-4.0",
    "ccbyncnd40": "cc-by-nc-nd-4.0",
    "ccbynd40": "cc-by-nd-4.0",
    "cc010": "cc0-1.0",
    "cc0": "cc0-1.0",
    "bsd3clause": "bsd-3-clause",
    "gpl30": "gpl-3.0",
    "odcby": "odc-by",
    "odcby10": "odc-by",
}
"""The Hub's identifiers of licenses, by their letters and digits in lower case."""


def license_key(text: str) -> str:
    """The Hub's identifier of a license, or the text itself: 'CC BY 4.0 (OpenStax)' is cc-by-4.0."""
    plain = text.partition("(")[0]
    return HUB_LICENSES.get("".join(filter(str.isalnum, plain.casefold())), text.strip())


def hub_license(text: str) -> str:
    """The identifier of a license that the Hub accepts in a card: 'other' for a license it does not list here."""
    key = license_key(text)
    return key if key in HUB_LICENSES.values() else "other"
