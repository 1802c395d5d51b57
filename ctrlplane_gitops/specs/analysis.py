"""``strategy.canary.analysis``: what is measured of a canary, and what aborts it.

Names after Argo Rollouts' AnalysisTemplate (``interval``, ``failureLimit``, ``inconclusiveLimit``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints, WithJsonSchema

from ctrlplane_gitops.specs.field import (
    Checked,
    Command,
    Name,
    PositiveDuration,
    Rate,
    refuse,
    refuse_type,
)
from ctrlplane_gitops.specs.model import Model, new
from ctrlplane_gitops.specs.problem import Field as Place
from ctrlplane_gitops.specs.problem import Problem, format_field
from ctrlplane_gitops.specs.rule import find_duplicates
from ctrlplane_gitops.specs.url import MAX_URL, find_url_problems
from ctrlplane_gitops.state.analysis import parse_json_path

_FIELDS = {
    "router": frozenset({"error_rate", "latency", "min_requests"}),
    "prometheus": frozenset({"address", "query", "max", "min", "inconclusive"}),
    "http": frozenset({"url", "path", "max", "min", "inconclusive", "equals"}),
    "command": frozenset({"command"}),
}
"""The fields of a check that only some types have."""
_NEEDED = {
    "router": (),
    "prometheus": ("address", "query"),
    "http": ("url", "path"),
    "command": ("command",),
}
_LIMITS = {
    "router": ("error_rate", "latency"),
    "prometheus": ("max", "min"),
    "http": ("max", "min", "equals"),
    "command": (),
}
"""Of these, at least one says what is good."""


def _check_json_path(value: str) -> str:
    try:
        parse_json_path(value)
    except ValueError:
        refuse("is not a path into JSON such as 'data.rate' or 'items[0].value'")
    return value


def _check_number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        refuse_type("a number")
    return value


def _check_scalar(value: Any) -> Any:
    if not isinstance(value, str | int | float | bool):
        refuse_type("a string, a number, or true or false")
    return value


# What is wrong with one is told without showing it: it may hold a credential.
Url = Annotated[
    str,
    WithJsonSchema({
        "type": "string", "pattern": "^https?://[^/@?# ]+([/?][^# ]*)?$", "maxLength": MAX_URL,
        "examples": ["http://prometheus:9090"],
    }),
]  # fmt: skip
JsonPath = Annotated[
    str, StringConstraints(max_length=256), AfterValidator(_check_json_path),
    WithJsonSchema({"type": "string", "examples": ["data.rate", "items[0].value"]}),
]  # fmt: skip
Query = Annotated[str, StringConstraints(pattern=r"\S", max_length=4096)]
Number = Annotated[float, Checked(_check_number), WithJsonSchema({"type": "number"})]
Scalar = Annotated[
    Any, Checked(_check_scalar), WithJsonSchema({"type": ["string", "number", "boolean"]})
]
Limit = Annotated[int, Field(ge=0, le=1000)]


class RateLimit(Model):
    max: Rate = Field(description="Share of requests that may be answered 5xx or not at all.")


class LatencyLimit(Model):
    max: PositiveDuration = Field(description="Mean time the new release may take to answer.")


class DoubtSpec(Model):
    """Narrower limits: what is outside of these and within those of the check is inconclusive."""

    max: Number | None = Field(default=None, description="Values up to this one pass.")
    min: Number | None = Field(default=None, description="Values from this one on pass.")


class AnalysisCheckSpec(Model):
    name: Name = Field(description="Name of the check, unique in the analysis.")
    type: Literal["router", "prometheus", "http", "command"] = Field(
        description="Where the value comes from."
    )
    interval: PositiveDuration | None = Field(
        default=None, description="Time between two measurements; the analysis' if left out."
    )
    failure_limit: Limit = Field(
        default=0, description="Failed measurements that are tolerated; one more aborts."
    )
    inconclusive_limit: Limit = Field(
        default=0, description="Inconclusive measurements tolerated before promote is needed."
    )
    no_data: Literal["inconclusive", "pass", "fail"] = Field(
        default="inconclusive", description="What a measurement without data counts as."
    )
    error_rate: RateLimit | None = Field(
        default=None, description="Type router: errors of the new release, as its router counts."
    )
    latency: LatencyLimit | None = Field(
        default=None, description="Type router: mean latency of the new release."
    )
    min_requests: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        default=None, description="Type router: fewer requests are no data; 10 if left out."
    )
    address: Url | None = Field(
        default=None, description="Type prometheus: its URL, without /api/v1."
    )
    query: Query | None = Field(
        default=None, description="Type prometheus: gives one value; $(RELEASE) and others expand."
    )
    url: Url | None = Field(default=None, description="Type http: answers with JSON.")
    path: JsonPath | None = Field(
        default=None, description="Type http: where the value is: data.rate, items[0].value."
    )
    max: Number | None = Field(
        default=None, description="Types prometheus and http: larger values fail."
    )
    min: Number | None = Field(
        default=None, description="Types prometheus and http: smaller values fail."
    )
    inconclusive: DoubtSpec | None = Field(
        default=None, description="Types prometheus and http: from where on it is inconclusive."
    )
    equals: Scalar | None = Field(default=None, description="Type http: any other value fails.")
    command: Command = Field(
        default_factory=new(list),
        description="Type command: run in a new replica; 0 passes, 1 fails, 2 is inconclusive.",
    )

    def find_problems(self, where: Place) -> Iterator[Problem]:
        """``where`` is the check's place below the spec."""
        shown = format_field(("spec", *where))
        yield from self._check_fields(where, shown)
        limits = _LIMITS[self.type]
        if limits and all(getattr(self, name) is None for name in limits):
            named = " or ".join(_key(name) for name in limits)
            summary = f"{shown} does not say what is good: it needs {named}"
            yield Problem("missing-key", summary, field=where)
        if self.equals is not None and (self.max is not None or self.min is not None):
            summary = f"{shown} has equals, and max or min as well"
            yield Problem("wrong-choice", summary, "keep one of them", (*where, "equals"))
        for name in ("address", "url"):
            value = getattr(self, name)
            if value is not None:
                yield from find_url_problems(value, (*where, name))
        yield from self._check_order(where, shown)

    def _check_fields(self, where: Place, shown: str) -> Iterator[Problem]:
        for name in type(self).model_fields:
            is_own = name in _FIELDS[self.type]
            if name in self.model_fields_set and not is_own and name in _SOME_TYPES:
                summary = f"{shown}.{_key(name)} has no meaning for a check of type {self.type}"
                hint = "it belongs to type " + " or ".join(
                    kind for kind, names in _FIELDS.items() if name in names
                )
                yield Problem("unused-key", summary, hint, (*where, _key(name)))
            elif name in _NEEDED[self.type] and not getattr(self, name):
                summary = f"{shown}.{_key(name)} is required for a check of type {self.type}"
                yield Problem("missing-key", summary, field=(*where, _key(name)))

    def _check_order(self, where: Place, shown: str) -> Iterator[Problem]:
        if self.max is not None and self.min is not None and self.min > self.max:
            summary = f"{shown}.min ({self.min:g}) is more than max ({self.max:g}): nothing passes"
            yield Problem("wrong-order", summary, "swap them", (*where, "min"))
        doubt = self.inconclusive
        if doubt is None:
            return
        place = (*where, "inconclusive")
        if doubt.max is None and doubt.min is None:
            summary = f"{shown}.inconclusive needs max or min"
            yield Problem("missing-key", summary, field=place)
        for name, sign in (("max", 1), ("min", -1)):
            inner, outer = getattr(doubt, name), getattr(self, name)
            if inner is None or (outer is not None and sign * inner < sign * outer):
                continue
            rule = "less" if sign > 0 else "more"
            summary = f"{shown}.inconclusive.{name} must be {rule} than the check's own {name}"
            yield Problem("wrong-order", summary, f"beyond {name} it fails", (*place, name))


class AnalysisSpec(Model):
    interval: PositiveDuration = Field(
        default="30s", description="Time between two measurements, and before the first."
    )
    checks: list[AnalysisCheckSpec] = Field(
        min_length=1, max_length=20, description="All of them must pass."
    )

    def find_problems(self, where: Place) -> Iterator[Problem]:
        """``where`` is the analysis' place below the spec."""
        yield from find_duplicates([x.name for x in self.checks], (*where, "checks"), "name",
                                   "name")  # fmt: skip
        for index, check in enumerate(self.checks):
            yield from check.find_problems((*where, "checks", index))


def fill_analysis(analysis: dict[str, Any]) -> None:
    """Fill in, in a normalised analysis, what depends on its other fields."""
    for check in analysis["checks"]:
        check.setdefault("interval", analysis["interval"])
        if check["type"] == "router":
            check.setdefault("minRequests", 10)
        if check["type"] != "command":
            del check["command"]


def _key(name: str) -> str:
    return AnalysisCheckSpec.model_fields[name].alias or name


_SOME_TYPES = frozenset(name for names in _FIELDS.values() for name in names)
