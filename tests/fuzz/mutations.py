"""Valid documents, damaged in the ways that break parsers: nesting, huge numbers, long dotted keys, invalid bytes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from linksyn_gpu.errors import LinkSynError

PAYLOADS = {
    "deep lists": b"[" * 3000,
    "deep lists, closed": b"[" * 3000 + b"]" * 3000,
    "deep tables": b'{"a":' * 3000 + b"1" + b"}" * 3000,
    "5,000 digits": b"7" * 5000,
    "infinite float": b"1e9999",
    "not a number": b"NaN",
    "3,000 dotted keys": b"\nb." + b"c." * 3000 + b"d = 1\n",
    "dotted table": b"\n[" + b"e." * 1500 + b"f]\n",
    "date": b"2031-04-05",
    "time": b"07:32:00",
    "lone surrogate": b"\\udc37",
    "byte order mark": b"\xef\xbb\xbf",
    "line separator": "\u2028".encode(),
    "right-to-left mark": "\u202e".encode(),
    "NUL and ESC": b"\x00\x1b[31m",
    "not UTF-8": b"\xff\xfe",
    "quote": b'"',
    "backslash": b"\\",
}
payloads = st.sampled_from(sorted(PAYLOADS.values()))


@st.composite
def mutated(draw: Any, document: bytes) -> bytes:
    """The document after one to three changes: a payload inserted or put in place of a span, a span cut or repeated."""
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(document)))
        end = min(len(document), start + draw(st.integers(0, 12)))
        span, payload = document[start:end], draw(payloads)
        new = draw(st.sampled_from([payload, payload + span, b"", span * 40]))
        document = document[:start] + new + document[end:]
    return document


def in_place_of(document: bytes, value: bytes, payload: bytes) -> bytes:
    """The document with a payload where it has a value."""
    assert document.count(value) == 1
    return document.replace(value, payload)


def read_or_refuse(read: Callable[[Path], Any], path: Path, document: bytes) -> Any:
    """What is read from the document; None where it is refused with a short error of this project."""
    path.write_bytes(document)
    try:
        return read(path)
    except LinkSynError as error:
        message = str(error)
    assert len(message) < 1500, "an error message does not repeat the document"
    return None
