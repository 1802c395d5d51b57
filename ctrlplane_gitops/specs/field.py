"""The types that fields of all kinds are made of.

Validators return the canonical text, so a validated model dumps as the normalised spec. None of
them carries its input in the message: ``explain`` adds it where the kind is not Secret.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, NoReturn

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    StringConstraints,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from ctrlplane_gitops import units
from ctrlplane_gitops.state.key import Kind, parse_address

MAX_QUANTITY_LENGTH = 24
MAX_PATH_LENGTH = 1024
NAME = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
ENV_NAME = r"^[A-Za-z_][A-Za-z0-9_.-]*$"
IMAGE = r"^[^\s]+$"
NOT_BLANK = r"\S"
GRPC_SERVICE = r"^[^\s]*$"
URL_PATH = r"^/[^\s?#]*$"
ROUTE_PATH = r"^/$|^(/[A-Za-z0-9._~!$&'()*+,;=:@%-]+)+/?$"
HEADER_NAME = r"^[A-Za-z0-9-]{1,64}$"
HEADER_VALUE = r"^[A-Za-z0-9._~:/@=+-]{1,128}$"
EVENT_TYPES = r"^(\*|(\*|[a-z]+)\.(\*|[A-Za-z]+))$"
TENANTS = r"^[a-z0-9*?-]+$"
REGISTRY = r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?$"
SHA256 = r"^[0-9a-f]{64}$"
RULES = {
    NAME: "is not a name: small letters, digits and '-', with '-' not at an end",
    ENV_NAME: "is not the name of an environment variable: letters, digits, '_', '-' and '.'",
    IMAGE: "may not contain blanks",
    GRPC_SERVICE: "may not contain blanks",
    NOT_BLANK: "may not be blank",
    URL_PATH: "is not a path: it begins with '/' and has no blanks, '?' or '#'",
    ROUTE_PATH: "is not a path such as '/' or '/api'",
    HEADER_NAME: "is not the name of a header: letters, digits and '-'",
    HEADER_VALUE: "may have letters, digits and the characters . _ ~ : / @ = + - only",
    SHA256: "is not a SHA-256 in 64 small hexadecimal digits",
    EVENT_TYPES: "is not a type of events such as 'rollout.failed', 'rollout.*' or '*.failed'",
    TENANTS: "is not the name of a tenant, or a glob such as 'acme-*'",
    REGISTRY: "is not a registry's host such as 'ghcr.io' or 'localhost:5000'",
}
"""What a pattern means, as the rest of a sentence."""


def refuse(rule: str, hint: str = "") -> NoReturn:
    """``rule`` is the rest of a sentence that begins with the field and its value."""
    raise PydanticCustomError("rule", "{rule}", {"rule": rule, "hint": hint})


def refuse_type(expected: str) -> NoReturn:
    raise PydanticCustomError("wrong_type", "{expected}", {"expected": expected})


class Checked:
    """In ``Annotated``: ``check`` alone says what is valid, and gives the canonical value.

    ``PlainValidator`` without its serializer, which hands every value on as it is by a call of its
    own, and takes twice as long to build."""

    def __init__(self, check: Callable[[Any], Any]) -> None:
        self._check = check

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self._check)


def _quantity(
    read: Callable[[str], int], write: Callable[[int], str], least: int, *, is_fraction: bool
) -> Callable[[Any], str]:
    numbers = (int, float) if is_fraction else (int,)

    def check(value: Any) -> str:
        if isinstance(value, bool) or not isinstance(value, (str, *numbers)):
            refuse_type("a quantity")
        amount = _read_unit(read, str(value))
        if amount < least:
            refuse("must be more than 0")
        return write(amount)

    return check


def _read_unit(read: Callable[[str], Any], text: str) -> Any:
    if len(text) > MAX_QUANTITY_LENGTH or not text.isascii():
        refuse("is too long, or has characters that are not ASCII")
    try:
        return read(text)
    except ValueError as failure:
        refuse(str(failure).removeprefix(f"{text!r} "))


def _check_duration(value: Any) -> str:
    if not isinstance(value, str):
        refuse_type("a duration such as '30s', '5m' or '1h30m'")
    return units.format_duration(_read_unit(units.parse_duration, value))


def _check_positive_duration(value: Any) -> str:
    duration = _check_duration(value)
    if duration == "0s":
        refuse("must be more than 0s")
    return duration


def _check_pause(value: Any) -> str:
    return "manual" if value == "manual" else _check_duration(value)


def _check_moment(value: Any) -> str:
    if not isinstance(value, str):
        refuse_type("a moment such as '2027-01-31T00:00:00Z'")
    try:
        if re.fullmatch(MOMENT_PATTERN, value, re.ASCII):
            datetime.fromisoformat(value).astimezone(UTC)
            return value
    except (ValueError, OverflowError):
        pass
    refuse("is not a moment such as '2027-01-31T00:00:00Z'")


def _check_percent(value: Any) -> str:
    if not isinstance(value, str):
        refuse_type("a percentage such as '20%'")
    return f"{_read_unit(units.parse_percent, value)}%"


def _check_rate(value: Any) -> str:
    if not isinstance(value, str):
        refuse_type("a percentage such as '5%' or '0.5%'")
    return units.format_rate(_read_unit(units.parse_rate, value))


def _check_count_or_percent(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | str):
        refuse_type("a number such as 1, or a percentage such as '25%'")
    if isinstance(value, int):
        if value < 0:
            refuse("is negative")
        return str(value)
    return str(_read_unit(units.parse_count_or_percent, value))


def _split_command(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return shlex.split(value)
    except ValueError as failure:
        refuse(f"cannot be split into words: {str(failure).lower()}", "write it as a list")


def check_relative(value: str) -> str:
    """A path of the repository: relative, without ``..``."""
    if value.startswith("/"):
        refuse("must be relative to the root of the repository")
    return check_path(value)


def check_path(value: str) -> str:
    """A path that does not climb, as ``a/b`` without empty or ``.`` parts."""
    if len(value) > MAX_PATH_LENGTH or not value.isprintable():
        refuse("is too long, or has characters that cannot be printed")
    parts = [part for part in value.split("/") if part not in ("", ".")]
    if not parts:
        refuse("does not name a file or folder")
    if ".." in parts:
        refuse("may not contain '..'")
    return ("/" if value.startswith("/") else "") + "/".join(parts)


def _check_instance_address(value: str) -> str:
    try:
        key = parse_address(value)
    except ValueError:
        refuse("is not an address such as 'instance/acme/db'")
    if key.kind is not Kind.INSTANCE or not all(
        re.fullmatch(NAME, part) for part in (key.tenant, key.name)
    ):
        refuse("is not the address of an instance, such as 'instance/acme/db'")
    return value


_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
HOST = r"^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$"


def _check_host(value: str) -> str:
    host = value.lower()
    labels = host.split(".")
    if len(host) > 253 or not all(len(x) <= 63 and _LABEL.fullmatch(x) for x in labels):
        refuse("is not a host name such as 'shop.example.com'")
    return host


def _check_route_path(value: str) -> str:
    """Routers match whole segments, so ``/api/`` and ``/api`` are one path."""
    if {".", ".."} & set(value.split("/")):
        refuse("may not contain '.' or '..' as a segment")
    return value.rstrip("/") or "/"


def _check_mode(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        # YAML 1.2 has read the digits as decimal (0644) or as octal (0o644): both are lost.
        refuse("must be a string", "quote it: '0644'")
    if not isinstance(value, str):
        refuse_type("a file mode such as '0644'")
    digits = value.removeprefix("0o")
    if not re.fullmatch(r"0?[0-7]{3}", digits):
        refuse("is not a file mode of three octal digits such as '0644'")
    return digits.zfill(4)


def _check_statuses(value: Any) -> str:
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str):
        refuse_type("status codes such as '200-399' or '204'")
    match = re.fullmatch(r"([1-5][0-9]{2})(?:-([1-5][0-9]{2}))?", text, re.ASCII)
    if not match or match[1] > (match[2] or match[1]):
        refuse("is not a range of status codes such as '200-399' or '204'")
    return f"{match[1]}-{match[2] or match[1]}"


def _text(pattern: str, *examples: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": pattern, "examples": list(examples)})


def _or_number(pattern: str, number: str, least: int, *examples: str) -> WithJsonSchema:
    text = {"type": "string", "pattern": pattern, "examples": list(examples)}
    return WithJsonSchema({"anyOf": [text, {"type": number, "minimum": least}]})


CPU_PATTERN = r"^([0-9]+(\.[0-9]{1,3})?|[0-9]+m)$"
SIZE_PATTERN = r"^[0-9]+(\.[0-9]+)?(Ki|Mi|Gi|Ti|k|M|G|T)?$"
DURATION_PATTERN = r"^(?=[0-9])([0-9]+d)?([0-9]+h)?([0-9]+m(?!s))?([0-9]+s)?([0-9]+ms)?$"
PERCENT_PATTERN = r"^([0-9]{1,2}|0[0-9]{2}|100)%$"
_DATE, _TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}", r"[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{1,6})?"
MOMENT_PATTERN = f"^{_DATE}T{_TIME}(Z|[+-][0-9]{{2}}:[0-9]{{2}})$"
RATE_PATTERN = r"^(0?[0-9]{1,2}([.][0-9]{1,3})?|100([.]0{1,3})?)%$"

Name = Annotated[str, StringConstraints(pattern=NAME, max_length=63)]
ShortName = Annotated[str, StringConstraints(pattern=NAME, max_length=40)]
EnvName = Annotated[str, StringConstraints(pattern=ENV_NAME, max_length=255)]
Env = dict[EnvName, str]
Text = Annotated[str, StringConstraints(pattern=NOT_BLANK, max_length=1024)]
Image = Annotated[str, StringConstraints(pattern=IMAGE, max_length=512)]
GrpcService = Annotated[str, StringConstraints(pattern=GRPC_SERVICE, max_length=255)]
UrlPath = Annotated[str, StringConstraints(pattern=URL_PATH, max_length=1024)]
HeaderName = Annotated[str, StringConstraints(pattern=HEADER_NAME)]
HeaderValue = Annotated[str, StringConstraints(pattern=HEADER_VALUE)]
Registry = Annotated[str, StringConstraints(pattern=REGISTRY, max_length=255)]
Count = Annotated[int, Field(ge=0, le=1_000_000)]

_cpu = _quantity(units.parse_cpu, units.format_cpu, 1, is_fraction=True)
_cpu_or_none = _quantity(units.parse_cpu, units.format_cpu, 0, is_fraction=True)
_size = _quantity(units.parse_bytes, units.format_bytes, 1, is_fraction=False)
_size_or_none = _quantity(units.parse_bytes, units.format_bytes, 0, is_fraction=False)
_cpu_schema = _or_number(CPU_PATTERN, "number", 0, "500m", "2")
_size_schema = _or_number(SIZE_PATTERN, "integer", 0, "256Mi", "1Gi")

Cpu = Annotated[str, Checked(_cpu), _cpu_schema]
Size = Annotated[str, Checked(_size), _size_schema]
CpuQuota = Annotated[str, Checked(_cpu_or_none), _cpu_schema]
SizeQuota = Annotated[str, Checked(_size_or_none), _size_schema]
# What whoever applies without being asked does about drift.
DriftMode = Literal["enforce", "observe"]
_duration_schema = _text(DURATION_PATTERN, "30s", "5m", "1h30m")
Duration = Annotated[str, Checked(_check_duration), _duration_schema]
PositiveDuration = Annotated[str, Checked(_check_positive_duration), _duration_schema]
Moment = Annotated[str, Checked(_check_moment), _text(MOMENT_PATTERN, "2027-01-31T00:00:00Z")]
Sha256 = Annotated[str, StringConstraints(pattern=SHA256)]
Pause = Annotated[
    str,
    Checked(_check_pause),
    _text(f"^manual$|{DURATION_PATTERN}", "2m", "manual"),
]
Percent = Annotated[str, Checked(_check_percent), _text(PERCENT_PATTERN, "20%")]
Rate = Annotated[str, Checked(_check_rate), _text(RATE_PATTERN, "5%", "0.5%")]
CountOrPercent = Annotated[
    str,
    Checked(_check_count_or_percent),
    _or_number(f"^[0-9]+$|{PERCENT_PATTERN}", "integer", 0, "25%", "1"),
]
Command = Annotated[
    list[str],
    BeforeValidator(_split_command),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]
_NO_CLIMB = r"^(?!(.*/)?\.\.(/|$))"
Path = Annotated[str, AfterValidator(check_path), _text(_NO_CLIMB + r".*[^/.]", "/etc/app.conf")]
RepoPath = Annotated[
    str, AfterValidator(check_relative), _text(_NO_CLIMB + r"[^/]", "files/app.conf")
]
RoutePath = Annotated[
    str,
    StringConstraints(pattern=ROUTE_PATH, max_length=1024),
    AfterValidator(_check_route_path),
]
Host = Annotated[str, AfterValidator(_check_host), _text(HOST, "shop.example.com")]
Mode = Annotated[str, Checked(_check_mode), _text(r"^(0o)?0?[0-7]{3}$", "0644")]
InstanceAddress = Annotated[
    str,
    AfterValidator(_check_instance_address),
    _text(r"^instance/[a-z0-9][-a-z0-9]*/[a-z0-9][-a-z0-9]*$", "instance/acme/db"),
]
_status = "[1-5][0-9]{2}"
Statuses = Annotated[
    str,
    Checked(_check_statuses),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": f"^{_status}(-{_status})?$"},
                {"type": "integer", "minimum": 100, "maximum": 599},
            ]
        }
    ),
]
