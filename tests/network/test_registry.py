"""Routers by type, and the options they have in common."""

import sys
from pathlib import Path

import pytest

from ctrlplane_gitops.errors import UsageError
from ctrlplane_gitops.network.options import EntryPoint, parse_entry_points
from ctrlplane_gitops.network.registry import ROUTER_TYPES, build_router
from ctrlplane_gitops.network.router import RouterSettings


@pytest.mark.parametrize("kind", ROUTER_TYPES)
def test_a_router_is_built_by_its_type(kind: str, tmp_path: Path) -> None:
    options: dict[str, object] = {"entryPoints": {"web": "127.0.0.1:8080"}}
    if kind == "gateway":
        options = {"gateway": "infra/public"}
    assert build_router(RouterSettings("p", kind, str(tmp_path), options)).name == kind


def test_a_package_that_is_missing_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "urllib3", None)
    with pytest.raises(UsageError, match="'urllib3'") as caught:
        build_router(RouterSettings("p", "gateway", str(tmp_path), {"gateway": "a/b"}))
    assert "ctrlplane-gitops[kubernetes]" in (caught.value.hint or "")


def test_an_unknown_type_names_the_closest(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="memry") as caught:
        build_router(RouterSettings("p", "memry", str(tmp_path)))
    assert caught.value.hint == "did you mean 'memory'?"


def test_an_entry_point_is_an_address_or_says_more() -> None:
    raw = {"web": ":8080", "secure": {"address": "[::1]:8443", "tls": True}}
    assert parse_entry_points("x", {"entryPoints": raw}) == (
        EntryPoint("secure", "::1", 8443, is_tls=True),
        EntryPoint("web", "", 8080),
    )


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        ([], "not a map"),
        ({}, "not a map"),
        ({"web": "8080"}, "not an address"),
        ({"web": ":0"}, "not an address"),
        ({"web": ":65536"}, "not an address"),
        ({"web": "a b:80"}, "not an address"),
        ({"Web": ":80"}, "small letters"),
        ({"web": {"adress": ":80"}}, "adress"),
        ({"web": {"address": ":80", "tls": "yes"}}, "true or false"),
        ({"a": ":80", "b": ":80"}, "one address"),
    ],
)
def test_an_entry_point_that_makes_no_sense_is_refused(points: object, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        parse_entry_points("x", {"entryPoints": points})
