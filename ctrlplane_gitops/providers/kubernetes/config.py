"""What ``spec.providers.<alias>`` may say for ``type: kubernetes``."""

from __future__ import annotations

import re
from typing import Any

from ctrlplane_gitops.errors import UsageError
from ctrlplane_gitops.state.desired import ProviderConfig
from ctrlplane_gitops.units import format_bytes, parse_bytes, parse_duration
from ctrlplane_gitops.value import struct

_OPTIONS = ("namespace", "quota", "timeout", "storageClass", "volumeAccess", "volumeSize")
_ACCESS = ("ReadWriteOnce", "ReadWriteOncePod", "ReadWriteMany")
_FIELDS = re.compile(r"\{(\w*)\}")
_PART = re.compile(r"^[a-z0-9-]*\Z")


@struct
class KubernetesConfig:
    """``namespace`` is a pattern with ``{tenant}``, and ``{plane}`` where asked: each tenant has a
    namespace of its own. ``timeout_s`` is how long one answer may take. The others are for claims:
    ``storage_class`` None is the cluster's default, ``volume_size`` is for volumes without one.
    ``quota`` ``mirror``: a namespace that we made has a ResourceQuota with its tenant's quota;
    ``none``: no longer; "": nobody looks.

    Where the cluster is and who we are there is not said here: see ``cluster/access.py``."""

    namespace: str = "{plane}-{tenant}"
    timeout_s: float = 30.0
    storage_class: str | None = None
    volume_access: str = _ACCESS[0]
    volume_size: str = "1Gi"
    quota: str = ""

    @property
    def is_quota_mirrored(self) -> bool:
        return self.quota == "mirror"


def parse_config(config: ProviderConfig) -> KubernetesConfig:
    """UsageError names an unknown option or a bad value.

    >>> parse_config(ProviderConfig("k", "kubernetes", {"namespace": "t-{tenant}"})).namespace
    't-{tenant}'
    """
    who, options = f"provider {config.alias!r} (kubernetes)", config.options
    for option in options:
        if option not in _OPTIONS:
            raise UsageError(_unknown(who, option), hint=f"known: {', '.join(_OPTIONS)}")
    quota = str(options.get("quota", ""))
    if quota not in ("", "none", "mirror"):
        raise UsageError(f"{who}: quota is {quota!r}", hint="known: none, mirror")
    access = str(options.get("volumeAccess", _ACCESS[0]))
    if access not in _ACCESS:
        raise UsageError(f"{who}: volumeAccess is {access!r}", hint=f"known: {', '.join(_ACCESS)}")
    try:
        return KubernetesConfig(
            _pattern(options.get("namespace", KubernetesConfig().namespace)),
            _seconds(options.get("timeout", "30s")),
            str(options["storageClass"]) if options.get("storageClass") else None,
            access,
            format_bytes(parse_bytes(str(options.get("volumeSize", "1Gi")))),
            quota,
        )
    except ValueError as error:
        raise UsageError(f"{who}: {error}") from None


def _unknown(who: str, option: str) -> str:
    if option in ("kubeconfig", "context", "server", "token"):
        return (
            f"{who} has no option {option!r}: where the cluster is, and who we are there, is for "
            "the operator's settings to say, never for the repository"
        )
    return f"{who} has no option {option!r}"


def _pattern(value: Any) -> str:
    text = str(value)
    fields = _FIELDS.findall(text)
    if "tenant" not in fields or set(fields) - {"tenant", "plane"}:
        raise ValueError(f"namespace {text!r} must name each tenant: '{{plane}}-{{tenant}}'")
    if not _PART.match(_FIELDS.sub("", text)):
        raise ValueError(f"namespace {text!r} may have small letters, digits and '-' only")
    return text


def _seconds(value: Any) -> float:
    seconds = parse_duration(str(value)).total_seconds()
    if seconds <= 0:
        raise ValueError(f"timeout {value!r} is not positive")
    return seconds
