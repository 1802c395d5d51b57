"""Texts that are kept packed say what they said."""

from __future__ import annotations

import json

from ctrlplane_gitops.catalog.packing import PackedText, TextPacking
from ctrlplane_gitops.state.text import read_text


def make_text(number: int) -> str:
    spec = {"name": f"web{number}", "env": {"NUMBER": str(number)}, "ports": [{"port": 8080}]}
    return json.dumps(spec | {"strategy": {"type": "rolling", "minReady": "0s"}})


def test_after_the_first_ones_texts_are_packed_and_equal_by_what_they_say() -> None:
    packing = TextPacking()
    texts = [make_text(number) for number in range(200)]
    packed = [packing.pack(text) for text in texts]
    assert [read_text(item) for item in packed] == texts
    assert isinstance(packed[0], str) and isinstance(packed[-1], PackedText)
    assert packed[-1] == texts[-1] and texts[-1] == packed[-1] == packing.pack(texts[-1])
    assert packed[-1] != packed[-2] and packed[-1] != texts[0]
    other = TextPacking()
    again = [other.pack(text) for text in texts]
    assert again == packed and hash(again[-1]) == hash(packed[-1]) == hash(texts[-1])


def test_a_text_unlike_all_others_is_kept_as_well() -> None:
    packing = TextPacking()
    for number in range(100):
        packing.pack(make_text(number))
    for text in ("", "ü" * 5000, '{"a": "\\u0000"}'):
        kept = packing.pack(text)
        assert isinstance(kept, PackedText) and kept.read() == text
