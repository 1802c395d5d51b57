"""Values: classes whose instances are compared by what they hold and never change."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar, dataclass_transform

if TYPE_CHECKING:
    from dataclasses import field as field
    from dataclasses import replace as replace
else:
    # The module ``dataclasses`` takes longer to load than all of the classes here take to make.

    def field(*, default_factory=None, repr=True):
        """What ``dataclasses.field`` says, for a class of this module."""
        return _Field(default_factory, repr)

    def replace(value, /, **changes):
        """The same value with some of its fields changed.

        >>> @struct
        ... class Point:
        ...     x: int
        ...     y: int = 0
        >>> replace(Point(1), y=3)
        Point(x=1, y=3)
        """
        for name in value.__match_args__:
            if name not in changes:
                changes[name] = getattr(value, name)
        return value.__class__(**changes)


_T = TypeVar("_T")
_C = TypeVar("_C", bound=type)
_NONE: Any = object()


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def struct(cls: type[_T]) -> type[_T]:
    """A slotted dataclass that is frozen for the type checker.

    ``dataclass(frozen=True, slots=True)`` compiles six methods from text for each class, half a
    millisecond that every command pays eighty times before it begins, and assigns fields by
    ``object.__setattr__``, which makes ten thousand instances three times as slow. Here the
    constructor alone is compiled, and not before somebody calls it; comparing, hashing and showing
    are shared. The functions of ``dataclasses`` take it for one of theirs.

    >>> @struct
    ... class Point:
    ...     x: int
    ...     y: int = 0
    >>> Point(1), Point(1) == Point(1, 0), Point(1) == Point(2), len({Point(1), Point(1)})
    (Point(x=1, y=0), True, False, 1)
    """
    return _share(_slotted(cls))


@dataclass_transform(frozen_default=True, order_default=True, field_specifiers=(field,))
def ordered_struct(cls: type[_T]) -> type[_T]:
    """The same, and in the order of its fields.

    >>> @ordered_struct
    ... class Point:
    ...     x: int
    ...     y: int = 0
    >>> sorted([Point(2), Point(1, 5), Point(1)])
    [Point(x=1, y=0), Point(x=1, y=5), Point(x=2, y=0)]
    """
    made = _share(_slotted(cls))
    parts = _parts_of(made)

    def __lt__(self: Any, other: Any) -> Any:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return parts(self) < parts(other)

    def __le__(self: Any, other: Any) -> Any:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return parts(self) <= parts(other)

    # Python asks the other side for > and >=.
    return _put(made, __lt__, __le__)


@dataclass_transform(field_specifiers=(field,))
def record(cls: type[_T]) -> type[_T]:
    """The same for what is filled in as one goes: it may change, so it has no hash."""
    made = _share(_slotted(cls))
    made.__hash__ = None  # type: ignore[assignment]
    return made


class _Field:
    __slots__ = ("factory", "is_shown")

    def __init__(self, factory: Callable[[], Any] | None, is_shown: bool) -> None:
        self.factory = factory
        self.is_shown = is_shown


def _read_default(value: Any) -> Any:
    """A default, a ``_Field``, or ``_NONE``. What ``dataclasses.field`` says counts as well."""
    if type(value).__module__ != "dataclasses":
        return value
    import dataclasses

    if value.default is not dataclasses.MISSING:
        raise TypeError("a field with a plain default takes no dataclasses.field")
    is_made = value.default_factory is not dataclasses.MISSING
    return _Field(value.default_factory if is_made else None, value.repr)


class _Fields:
    """``__dataclass_fields__``, made when somebody asks for it."""

    def __init__(self, annotations: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
        self._annotations = annotations
        self._defaults = defaults

    def __get__(self, instance: object, owner: Any) -> Any:
        import dataclasses

        rows: list[Any] = []
        for name, annotation in self._annotations.items():
            value = self._defaults.get(name, _NONE)
            if isinstance(value, _Field):
                factory: Any = value.factory or dataclasses.MISSING
                value = dataclasses.field(default_factory=factory, repr=value.is_shown)
            rows.append((name, annotation) if value is _NONE else (name, annotation, value))
        made: Any = dataclasses.make_dataclass(owner.__name__, rows)
        owner.__dataclass_fields__ = made.__dataclass_fields__
        return made.__dataclass_fields__


def _slotted(cls: type[_T]) -> type[_T]:
    """The class anew with slots for its annotations: they cannot be added to a class."""
    space = dict(cls.__dict__)
    annotations = space.get("__annotations__", {})
    names = tuple(annotations)
    defaults = {name: _read_default(space.pop(name)) for name in names if name in space}
    for name in ("__dict__", "__weakref__"):
        space.pop(name, None)
    hidden = [n for n, item in defaults.items() if isinstance(item, _Field) and not item.is_shown]
    space |= {
        "__slots__": names,
        "__match_args__": names,
        "__qualname__": cls.__qualname__,
        "__dataclass_fields__": _Fields(annotations, defaults),
        "_shown": tuple(name for name in names if name not in hidden),
    }
    build: Any = type(cls)
    made: Any = build(cls.__name__, cls.__bases__, space)

    def __init__(self: Any, *args: Any, **given: Any) -> None:
        made.__init__ = _compile_constructor(made, names, defaults)
        made.__init__(self, *args, **given)

    made.__init__ = __init__
    result: type[_T] = made
    return result


def _compile_constructor(cls: type, names: tuple[str, ...], defaults: Mapping[str, Any]) -> Any:
    known: dict[str, Any] = {"_none": _NONE}
    head, body = ["self"], []
    for name in names:
        value = defaults.get(name, _NONE)
        factory = value.factory if isinstance(value, _Field) else None
        given = name
        if factory is not None:
            known[f"_make_{name}"] = factory
            head.append(f"{name}=_none")
            given = f"_make_{name}() if {name} is _none else {name}"
        elif value is _NONE or isinstance(value, _Field):
            head.append(name)
        else:
            known[f"_default_{name}"] = value
            head.append(f"{name}=_default_{name}")
        body.append(f" self.{name} = {given}")
    text = "\n".join([f"def __init__({', '.join(head)}):", *(body or [" pass"])])
    exec(text, known)
    made = known["__init__"]
    made.__qualname__ = f"{cls.__qualname__}.__init__"
    return made


def _share(cls: type[_T]) -> type[_T]:
    parts = _parts_of(cls)

    def __eq__(self: Any, other: Any) -> Any:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return parts(self) == parts(other)

    def __hash__(self: Any) -> int:
        return hash(parts(self))

    if "__repr__" in cls.__dict__:
        return _put(cls, __eq__, __hash__)
    return _put(cls, __eq__, __hash__, __repr__)


def __repr__(self: Any) -> str:
    shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._shown)
    return f"{type(self).__qualname__}({shown})"


def _parts_of(cls: Any) -> Callable[[Any], Any]:
    names = cls.__match_args__
    return attrgetter(*names) if names else lambda self: ()


def _put(cls: _C, *methods: Any) -> _C:
    for method in methods:
        setattr(cls, method.__name__, method)
    return cls
