"""Admission webhooks that say no, and such that do not answer."""

from __future__ import annotations

import base64
import json
import secrets
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ctrlplane_gitops.errors import ProviderError
from ctrlplane_gitops.providers.conformance_kit import WEB, wait_until
from ctrlplane_gitops.providers.kubernetes.provider import KubernetesProvider
from ctrlplane_gitops.state.action import ScaleReplicaSet
from tests.http.thread import served
from tests.kubernetes.client import ApiError
from tests.kubernetes.spec import deployment
from tests.providers.kubernetes_kit import KubernetesHooks

pytestmark = pytest.mark.kubernetes
KIND = "ValidatingWebhookConfiguration"


class _Reviewer(BaseHTTPRequestHandler):
    """Refuses everything."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status = {"code": 400, "message": "not on a Friday"}
        answer = {"uid": asked["request"]["uid"], "allowed": False, "status": status}
        review = {"apiVersion": asked["apiVersion"], "kind": "AdmissionReview", "response": answer}
        content = json.dumps(review).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:
        """Quiet."""


class TestWebhooks(KubernetesHooks):
    """Pods that only say they run, which is quick."""

    image = "app:1"

    def attempt_once(self, provider: KubernetesProvider) -> ProviderError:
        self.is_patient = False
        action = ScaleReplicaSet(WEB, self.alias, self.make_release(2), 1)
        error = self.attempt(provider, action).error
        self.is_patient = True
        assert isinstance(error, ProviderError)
        return error

    @contextmanager
    def asked(self, url: str) -> Iterator[None]:
        """Whoever answers there is asked about Deployments of our namespace."""
        client, name = self.rig.client, f"t{secrets.token_hex(4)}.example.com"
        bundle = base64.b64encode(self.rig.access.authority.read_bytes()).decode()
        rule = {"apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"]}
        where = {"kubernetes.io/metadata.name": self.namespace}
        webhook = {
            "name": name,
            "clientConfig": {"url": url, "caBundle": bundle},
            "rules": [rule | {"operations": ["CREATE", "UPDATE"]}],
            "namespaceSelector": {"matchLabels": where},
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "failurePolicy": "Fail",
            "timeoutSeconds": 2,
        }
        head = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": KIND}
        client.apply(head | {"metadata": {"name": name}, "webhooks": [webhook]})
        try:
            wait_until(self.is_refused, "the webhook to be asked")
            yield
        finally:
            client.delete(KIND, name)
        wait_until(lambda: not self.is_refused(), "nobody to be asked")

    def is_refused(self) -> bool:
        path = f"/apis/apps/v1/namespaces/{self.namespace}/deployments"
        try:
            self.rig.client.send("POST", path, deployment("try", "app:1", 1), dryRun="All")
        except ApiError as refused:
            return "webhook" in str(refused)
        return False

    def test_a_webhook_that_says_no_is_quoted_and_not_asked_again(
        self, provider: KubernetesProvider
    ) -> None:
        self.scale(provider, self.make_release(), 1)
        certificate, key = self.rig.issue_server("webhook")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        with ThreadingHTTPServer(("127.0.0.1", 0), _Reviewer) as server:
            server.socket = context.wrap_socket(server.socket, server_side=True)
            with served(server), self.asked(f"https://127.0.0.1:{server.server_port}/"):
                error = self.attempt_once(provider)
        assert error.is_refusal and not error.is_retryable
        assert "Deployment" in error.message and "not on a Friday" in error.message
        assert error.hint is not None and "rule of the cluster" in error.hint
        assert list(self.sets(provider)) == [1]
        self.scale(provider, self.make_release(2), 1)
        assert list(self.sets(provider)) == [1, 2]

    def test_a_webhook_that_does_not_answer_is_tried_again(
        self, provider: KubernetesProvider
    ) -> None:
        self.scale(provider, self.make_release(), 1)
        with self.asked("https://127.0.0.1:1/"):
            error = self.attempt_once(provider)
        assert error.is_retryable and "failed calling webhook" in error.message
        assert error.hint is not None and "is down" in error.hint
        self.scale(provider, self.make_release(2), 1)
        assert list(self.sets(provider)) == [1, 2]
