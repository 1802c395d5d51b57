"""Settings of the machine: which variable wins, and where things are then."""

from pathlib import Path

import pytest

from ctrlplane_gitops.config import Settings, load_settings, plane_dir, store_location
from ctrlplane_gitops.errors import UsageError

HOME = {"HOME": "/home/ann"}
SETTINGS = Settings(Path("/state"), Path("/cache"))


@pytest.mark.parametrize(
    ("environ", "state", "cache"),
    [
        (HOME, "/home/ann/.local/state/ctrlplane-gitops", "/home/ann/.cache/ctrlplane-gitops"),
        (
            {**HOME, "XDG_STATE_HOME": "/xdg/state", "XDG_CACHE_HOME": "/xdg/cache"},
            "/xdg/state/ctrlplane-gitops",
            "/xdg/cache/ctrlplane-gitops",
        ),
        (
            {**HOME, "XDG_STATE_HOME": "relative", "XDG_CACHE_HOME": ""},
            "/home/ann/.local/state/ctrlplane-gitops",
            "/home/ann/.cache/ctrlplane-gitops",
        ),
        (
            {"XDG_STATE_HOME": "/xdg", "CTRLPLANE_STATE_DIR": "/a", "CTRLPLANE_CACHE_DIR": "/b"},
            "/a",
            "/b",
        ),
    ],
)
def test_homes_are_ours_else_the_desktop_s_else_below_home(
    environ: dict[str, str], state: str, cache: str
) -> None:
    found = load_settings(environ)
    assert (str(found.state_home), str(found.cache_home)) == (state, cache)


def test_relative_settings_mean_this_folder_and_stay_so() -> None:
    found = load_settings({"CTRLPLANE_STATE_DIR": "s", "CTRLPLANE_SECRETS_DIR": "x", **HOME})
    assert (found.state_home, found.secrets_dir) == (Path.cwd() / "s", Path.cwd() / "x")


def test_no_home_names_the_variable_that_helps() -> None:
    with pytest.raises(UsageError, match="set CTRLPLANE_STATE_DIR"):
        load_settings({"HOME": "nowhere"})


@pytest.mark.parametrize(
    ("environ", "actor"),
    [
        ({"CTRLPLANE_ACTOR": "ci", "USER": "ann", "LOGNAME": "bob"}, "user:ci"),
        ({"CTRLPLANE_ACTOR": "", "USER": "ann", "LOGNAME": "bob"}, "user:ann"),
        ({"LOGNAME": "bob"}, "user:bob"),
    ],
)
def test_the_audit_names_who_says_so_else_who_is_logged_in(
    environ: dict[str, str], actor: str
) -> None:
    assert load_settings({**HOME, **environ}).actor == actor


def test_without_any_name_the_audit_names_the_user_id() -> None:
    assert load_settings(HOME).actor.startswith("user:uid-")


@pytest.mark.parametrize(
    ("setting", "spec", "location"),
    [
        (None, None, "/state/prod/state.db"),
        (None, "other.db", "/state/prod/other.db"),
        (None, "/abs/x.db", "/abs/x.db"),
        (None, "sqlite:///x.db", "sqlite:///x.db"),
        ("memory:", "/abs/x.db", "memory:"),
        ("mine.db", None, "/state/prod/mine.db"),
    ],
)
def test_the_store_is_the_setting_s_else_the_spec_s_else_in_the_plane_s_folder(
    setting: str | None, spec: str | None, location: str
) -> None:
    settings = Settings(Path("/state"), Path("/cache"), store=setting)
    assert store_location(settings, "prod", spec) == location


def test_each_plane_has_a_folder_of_its_own() -> None:
    assert plane_dir(SETTINGS, "prod") == Path("/state/prod")
