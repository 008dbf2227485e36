"""Text files in other encodings than UTF-8, as UTF-8."""

from __future__ import annotations

import codecs
import io
from typing import BinaryIO

UTF8 = "utf-8"
_BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins with that of UTF-16
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CANDIDATES = ("gb18030", "big5", "cp932", "euc_jp", "euc_kr", "cp1252", "cp1250", "cp1251", "koi8_r")
_LEAST_LINES = 3
"""With fewer lines that are not UTF-8, a file is taken as UTF-8 and these lines are rejected."""


def detect_encoding(start: bytes) -> str:
    """Find the encoding of a file from its first bytes.

    A file is UTF-8 unless it begins with another byte order mark, or most of its lines that are not plain ASCII, and
    at least three, are not UTF-8: single damaged lines are rejected later, each with its reason.
    """
    for mark, encoding in _BOMS:
        if start.startswith(mark):
            return encoding
    lines = [line for line in start.split(b"\n")[:-1] or [start] if not line.isascii()]
    other = [line for line in lines if not _is_utf8(line)]
    if len(other) < _LEAST_LINES or 2 * len(other) <= len(lines):
        return UTF8
    from charset_normalizer import from_bytes

    sample = b"\n".join(other)
    matches = from_bytes(sample, cp_isolation=list(_CANDIDATES))
    best = matches.best()
    if best is None:
        return UTF8
    # Of encodings that fit equally well, the more common one, which comes first.
    equal = [match for match in matches if (match.chaos, match.coherence) == (best.chaos, best.coherence)]
    names = {name for match in equal for name in match.could_be_from_charset}
    return next((name for name in _CANDIDATES if name in names), str(best.encoding))


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


class Transcoded(io.RawIOBase):
    """A stream of text in another encoding, as UTF-8. Bytes that the encoding does not have become invalid UTF-8, so
    that only their line is rejected."""

    _CHUNK = 2**18

    def __init__(self, stream: BinaryIO, encoding: str) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(encoding)(errors="surrogateescape")
        self._ready = b""
        self._ended = False

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed names the buffer otherwise
        """Read up to `len(buffer)` bytes of UTF-8."""
        while not self._ready and not self._ended:
            data = self._stream.read(self._CHUNK)
            self._ended = not data
            self._ready = self._decoder.decode(data, final=self._ended).encode(errors="surrogatepass")
        n = min(len(buffer), len(self._ready))
        buffer[:n], self._ready = self._ready[:n], self._ready[n:]
        return n
