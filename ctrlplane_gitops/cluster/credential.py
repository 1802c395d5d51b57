"""What a request proves who we are with: a token that may change, or a certificate."""

from __future__ import annotations

import base64
import json
import os
import ssl
import subprocess
import threading
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from ctrlplane_gitops.clock import Clock, parse_rfc3339
from ctrlplane_gitops.cluster.access import Access, ExecPlugin
from ctrlplane_gitops.errors import UnreachableError, UsageError
from ctrlplane_gitops.redact import SecretValue

# A projected token is replaced long before it ends; the file is looked at this often.
_REREAD = timedelta(seconds=60)
_EARLY = timedelta(seconds=30)
_PLUGIN_TIMEOUT_S = 60


class Credential:
    """Hands out the header of a request and the client certificate of a connection. For several
    threads. A program is run once for all of them, and again when what it said has run out."""

    def __init__(self, access: Access, clock: Clock) -> None:
        self._access = access
        self._clock = clock
        self._lock = threading.Lock()
        self._said: Mapping[str, Any] | None = None
        self._until: Any = None

    def authorization(self) -> str | None:
        """The value of the header; None where the certificate says it all."""
        access = self._access
        if access.basic is not None:
            return f"Basic {base64.b64encode(access.basic.reveal()).decode()}"
        if access.token is not None:
            return f"Bearer {access.token.reveal().decode()}"
        if access.token_file is None and access.plugin is None:
            return None
        token = self._current().get("token")
        return f"Bearer {token}" if token else None

    def certificate(self) -> tuple[bytes, SecretValue] | None:
        """PEM of certificate and key."""
        access = self._access
        if access.certificate is not None and access.key is not None:
            return access.certificate, access.key
        if access.plugin is not None:
            said = self._current()
            pem, key = said.get("clientCertificateData"), said.get("clientKeyData")
            if pem and key:
                return str(pem).encode(), SecretValue(str(key).encode())
        return None

    def forget(self) -> None:
        """Somebody was told that it is not valid any more."""
        with self._lock:
            self._said = None

    def _current(self) -> Mapping[str, Any]:
        with self._lock:
            now = self._clock.now()
            if self._said is None or (self._until is not None and now >= self._until):
                if self._access.plugin is not None:
                    self._said = run_plugin(self._access.plugin, self._access)
                    end = self._said.get("expirationTimestamp")
                    self._until = parse_rfc3339(str(end)) - _EARLY if end else None
                else:
                    self._said = {"token": _read_token(str(self._access.token_file))}
                    self._until = now + _REREAD
            return self._said


def _read_token(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UnreachableError(f"the token {path} cannot be read: {error}") from None


def run_plugin(plugin: ExecPlugin, access: Access) -> Mapping[str, Any]:
    """The ``status`` of the ExecCredential that the program prints; UsageError. What it prints is
    never shown: it is a credential."""
    command = plugin.command
    if os.sep in command:
        command = str(Path(plugin.folder) / command)
    asked = {
        "apiVersion": plugin.api_version,
        "kind": "ExecCredential",
        "spec": {"interactive": False, "cluster": {"server": access.server}},
    }
    environ = dict(os.environ) | dict(plugin.environ) | {"KUBERNETES_EXEC_INFO": json.dumps(asked)}
    who = f"{access.origin}: the program {plugin.command!r}"
    try:
        ran = subprocess.run(
            [command, *plugin.arguments],
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PLUGIN_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        why = f"did not answer within {_PLUGIN_TIMEOUT_S} s"
        if isinstance(error, OSError):
            why = f"cannot be run: {error.strerror}"
        raise UsageError(f"{who} {why}", hint=plugin.hint or None) from None
    if ran.returncode != 0:
        raise UsageError(f"{who} failed with {ran.returncode}", hint=plugin.hint or None)
    try:
        said = json.loads(ran.stdout)["status"]
    except (ValueError, KeyError, TypeError):
        said = None
    if not isinstance(said, dict) or not (said.get("token") or said.get("clientCertificateData")):
        raise UsageError(f"{who} printed no credential")
    return said


def build_tls(access: Access, credential: Credential) -> ssl.SSLContext:
    """The context of connections; UsageError for certificates that cannot be used."""
    try:
        # Without one of its own, those of the system are read, which takes a while.
        authority = None if access.ca is None else access.ca.decode("ascii")
        context = ssl.create_default_context(cadata=authority)
        if access.is_insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        pair = credential.certificate()
        if pair is not None:
            _load_pair(context, *pair)
    except (ssl.SSLError, OSError, ValueError) as error:
        raise UsageError(
            f"{access.origin}: its certificates cannot be used: {type(error).__name__}"
        ) from None
    return context


def _load_pair(context: ssl.SSLContext, certificate: bytes, key: SecretValue) -> None:
    """OpenSSL takes files only; this one is in memory and has no name."""
    descriptor = os.memfd_create("certificate")
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(certificate.rstrip() + b"\n" + key.reveal())
        # A key that is locked would make OpenSSL ask at the terminal.
        context.load_cert_chain(f"/proc/self/fd/{descriptor}", password=lambda: "")
    finally:
        os.close(descriptor)
