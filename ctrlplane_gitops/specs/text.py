"""From the bytes of a file to its text, or the one reason why not."""

from __future__ import annotations

import codecs
import re

from ctrlplane_gitops.specs.problem import Problem

MAX_FILE_BYTES = 2 * 1024 * 1024
# Most files hold nothing else: they are through before the pattern below is compiled, which takes
# longer than reading a few hundred of them.
_PLAIN = bytes([9, 10, 13, *range(0x20, 0x7F)])
# Next line, line and paragraph separator would end a line for YAML, but for no editor.
_FORBIDDEN = (
    "[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
LINE_END = re.compile(r"\r\n|\r|\n")
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)


def decode(content: bytes) -> str | Problem:
    """The text without a byte order mark; a Problem with its line and column otherwise."""
    if len(content) > MAX_FILE_BYTES:
        summary = f"the file has {len(content)} bytes, more than {MAX_FILE_BYTES // 2**20} MiB"
        return Problem("file-too-large", summary, "split it into several files")
    if content.startswith(_UTF_16):
        return Problem("not-utf-8", "the file is UTF-16 or UTF-32", "save it as UTF-8", (), 1, 1)
    if not content.translate(None, _PLAIN):
        return content.decode("ascii")
    try:
        text = content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as failure:
        line, column = position(content[: failure.start].decode("utf-8"))
        summary = f"byte {failure.start} (0x{content[failure.start]:02x}) is not UTF-8"
        return Problem("not-utf-8", summary, "save the file as UTF-8", (), line, column)
    found = re.search(_FORBIDDEN, text)
    if found is None:
        return text
    line, column = position(text[: found.start()])
    summary = f"the character U+{ord(found[0]):04X} may not stand in a file"
    hint = "remove it; it is invisible in most editors"
    return Problem("control-character", summary, hint, (), line, column)


def position(before: str) -> tuple[int, int]:
    """Line and column, from 1, of what follows ``before``.

    >>> position("a\\r\\nbc")
    (2, 3)
    """
    lines = LINE_END.split(before)
    return len(lines), len(lines[-1]) + 1


def has_control(text: str) -> bool:
    """Whether an escape (``"\\0"``) made a character that no target takes.

    >>> has_control("a\\nb\\tc"), has_control("a\\0")
    (False, True)
    """
    return _CONTROL.search(text) is not None
