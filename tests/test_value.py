"""Value classes are dataclasses to everybody who asks, and cost nothing before they are used."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import pytest

from ctrlplane_gitops.value import field, record, replace, struct


@struct
class Box:
    width: int
    tags: list[str] = field(default_factory=list)
    secret: str = "s"
    hidden: int = field(repr=False, default_factory=int)


@struct
class Empty:
    pass


@record
class Draft:
    name: str
    rows: list[int] = field(default_factory=list)


def test_a_constructor_takes_its_fields_by_place_and_by_name() -> None:
    assert Box(1, ["a"], "t", 2) == Box(hidden=2, secret="t", tags=["a"], width=1)
    assert Empty() == Empty()
    with pytest.raises(TypeError, match="width"):
        Box()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="height"):
        Box(1, height=2)  # type: ignore[call-arg]


def test_a_default_made_by_a_factory_is_nobody_elses() -> None:
    Box(1).tags.append("a")
    assert Box(1).tags == []


def test_what_is_not_to_be_shown_is_not() -> None:
    assert repr(Box(1)) == "Box(width=1, tags=[], secret='s')"


def test_there_is_no_place_for_another_attribute() -> None:
    with pytest.raises(AttributeError):
        Box(1).height = 2  # type: ignore[attr-defined]


def test_replace_leaves_the_rest_and_refuses_what_is_no_field() -> None:
    assert replace(Box(1, ["a"]), width=2) == Box(2, ["a"])
    with pytest.raises(TypeError, match="height"):
        replace(Box(1), height=2)  # type: ignore[call-arg]


def test_a_record_may_change_and_has_no_hash() -> None:
    draft = Draft("a")
    draft.name = "b"
    assert draft == Draft("b")
    with pytest.raises(TypeError, match="unhashable"):
        hash(draft)


def test_the_functions_of_dataclasses_take_them_for_their_own() -> None:
    box = Box(1, ["a"])
    assert dataclasses.is_dataclass(box) and dataclasses.is_dataclass(Box)
    assert dataclasses.asdict(box) == {"width": 1, "tags": ["a"], "secret": "s", "hidden": 0}
    assert dataclasses.replace(box, width=2) == Box(2, ["a"])
    found = {item.name: item for item in dataclasses.fields(Box)}
    assert found["width"].default is dataclasses.MISSING
    assert (found["secret"].default, found["tags"].default_factory) == ("s", list)
    assert not found["hidden"].repr


def test_a_field_may_be_one_of_dataclasses() -> None:
    @struct
    class Bag:
        items: list[int] = dataclasses.field(default_factory=list)
        secret: str = dataclasses.field(repr=False, default_factory=str)

    Bag().items.append(1)
    assert (Bag().items, repr(Bag())) == (
        [],
        "test_a_field_may_be_one_of_dataclasses.<locals>.Bag(items=[])",
    )
    with pytest.raises(TypeError, match="plain default"):
        struct(
            type("Bad", (), {"__annotations__": {"x": "int"}, "x": dataclasses.field(default=1)})
        )


def test_they_can_be_copied_and_pickled() -> None:
    box = Box(1, ["a"])
    assert copy.deepcopy(box) == box
    assert pickle.loads(pickle.dumps(box)) == box


def test_a_constructor_is_compiled_when_it_is_first_called() -> None:
    @struct
    class Point:
        x: int

    unused = Point.__init__.__code__
    assert Point(1).x == 1
    assert Point.__init__.__code__ is not unused
