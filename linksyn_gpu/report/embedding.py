"""What may stand inside a `<script>` element, and the content policy that admits these elements and nothing else."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
from collections.abc import Sequence
from typing import Any


def plotly_script() -> str | None:
    """The script of Plotly, which its package brings; None: the package is not installed."""
    if importlib.util.find_spec("plotly") is None:
        return None
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def json_for_script(value: Any) -> str:
    """JSON without '<', '>', '&' and line separators, so that no text in it ends the element or begins another."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text.encode(errors="replace").decode()  # a lone surrogate is no UTF-8


def content_policy(scripts: Sequence[str]) -> str:
    """The policy of a page that runs these scripts only and loads nothing; Plotly adds its own style rules."""
    hashes = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    sources = " ".join(f"'sha256-{digest}'" for digest in hashes) or "'none'"
    return (
        f"default-src 'none'; script-src {sources}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )
