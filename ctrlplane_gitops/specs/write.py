"""Documents as text, for those that are written by us first and kept by people from then on."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ctrlplane_gitops.value import struct

API_VERSION = "ctrlplane.dev/v1"
_WIDTH = 100
# What every YAML reader takes for the text it is. Anything else stands in quotes.
_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./-]*(:[A-Za-z0-9_./-]+)*|[0-9]+(m|Ki|Mi|Gi)")
_WORDS = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})


@struct
class Written:
    """A document to be, and what is said above it, line by line."""

    kind: str
    metadata: Mapping[str, Any]
    spec: Mapping[str, Any]
    comments: tuple[str, ...] = ()


def render_documents(documents: Sequence[Written]) -> str:
    """One text. Small things stand on one line, as people write them."""
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.width = _WIDTH
    yaml.indent(mapping=2, sequence=4, offset=2)
    texts = []
    for document in documents:
        output = io.StringIO()
        yaml.dump(_shape(document), output)
        texts.append("".join(f"# {line}\n" for line in document.comments) + output.getvalue())
    return "---\n".join(texts)


def _shape(document: Written) -> Any:
    from ruamel.yaml.comments import CommentedMap

    found = CommentedMap(apiVersion=API_VERSION, kind=document.kind)
    found["metadata"] = _dress(document.metadata, is_flow=True)
    found["spec"] = _dress(document.spec, is_flow=_is_small(document.spec))
    return found


def _dress(value: Any, *, is_flow: bool) -> Any:
    """The value as ruamel writes it in the style of the examples."""
    from ruamel.yaml.comments import CommentedMap, CommentedSeq
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString

    if isinstance(value, Mapping):
        items = {
            key: _dress(item, is_flow=is_flow or _is_small(item)) for key, item in value.items()
        }
        mapping = CommentedMap(items)
        if is_flow:
            mapping.fa.set_flow_style()
        return mapping
    if isinstance(value, list | tuple):
        sequence = CommentedSeq([_dress(item, is_flow=True) for item in value])
        if is_flow:
            sequence.fa.set_flow_style()
        return sequence
    if isinstance(value, str) and (not _PLAIN.fullmatch(value) or value.lower() in _WORDS):
        return DoubleQuotedScalarString(value)
    return value


def _is_small(value: Any) -> bool:
    """Whether it fits on a line with its key before it."""
    if isinstance(value, Mapping):
        return len(value) <= 3 and len(str(value)) < _WIDTH - 40
    return len(str(value)) < _WIDTH - 20
