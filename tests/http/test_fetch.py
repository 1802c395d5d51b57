"""One request, whatever the other side does."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from ctrlplane_gitops.clock import monotonic_s
from ctrlplane_gitops.http.fetch import MAX_BODY_BYTES, FetchError, fetch, post
from ctrlplane_gitops.network.conformance_kit import make_certificate
from tests.health.test_probes import LONG, Answer, say, server
from tests.http.json_server import JsonServer, json_server

SHORT = timedelta(milliseconds=300)


@pytest.fixture
def pages() -> Iterator[JsonServer]:
    with json_server() as running:
        yield running


def failure_of(url: str, timeout: timedelta = LONG) -> str:
    with pytest.raises(FetchError) as failed:
        fetch(url, timeout)
    return str(failed.value)


def failure_against(answer: Answer, timeout: timedelta = LONG) -> str:
    with server(answer) as (host, port):
        return failure_of(f"http://{host}:{port}/", timeout)


def test_the_answer_is_read_whatever_its_status(pages: JsonServer) -> None:
    pages.pages["/a/b?c=d%20e"] = (200, [1])
    found, missing = fetch(pages.url("/a/b?c=d%20e"), LONG), fetch(pages.url(), LONG)
    assert (found.status, found.body, found.headers["content-length"]) == (200, b"[1]", "3")
    assert (missing.status, missing.body) == (404, b"{}")
    assert pages.asked == ["/a/b?c=d%20e", "/"]
    assert pages.headers[0]["Host"] == f"127.0.0.1:{pages.server_port}"


def test_redirects_are_not_followed(pages: JsonServer) -> None:
    pages.pages["/"] = (302, {})
    assert failure_of(pages.url("/")) == "status 302: redirects are not followed"
    assert pages.asked == ["/"]


def test_a_body_at_the_cap_is_read_and_one_above_is_not(pages: JsonServer) -> None:
    pages.pages["/full"] = (200, b"x" * MAX_BODY_BYTES)
    pages.pages["/more"] = (200, b"x" * (MAX_BODY_BYTES + 1))
    assert len(fetch(pages.url("/full"), LONG).body) == MAX_BODY_BYTES
    assert failure_of(pages.url("/more")) == "the answer is longer than 1 MiB"


@pytest.mark.parametrize("head", [b"", b"Transfer-Encoding: chunked\r\n"])
def test_an_endless_body_ends_at_the_cap(head: bytes) -> None:
    def answer(connection: socket.socket, request: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n")
        while True:
            connection.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n" if head else b"x" * 65536)

    assert failure_against(answer) == "the answer is longer than 1 MiB"


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_what_drips_for_ever_runs_into_the_timeout(start: bytes) -> None:
    done = threading.Event()

    def answer(connection: socket.socket, request: bytes) -> None:
        connection.sendall(start)
        while not done.wait(0.02):
            connection.sendall(b"x")

    began = monotonic_s()
    with server(answer) as (host, port):
        assert failure_of(f"http://{host}:{port}/", SHORT) == "no answer within 0.3s"
        done.set()
    assert monotonic_s() - began < 5


@pytest.mark.parametrize("text", [b"SSH-2.0-OpenSSH\r\n\r\n", b"HTTP/1.1 200 OK\r\n" * 200])
def test_what_is_not_http_is_said_to_be(text: bytes) -> None:
    assert failure_against(say(text)).startswith("not an HTTP answer")


def test_who_closes_without_an_answer_is_said_to() -> None:
    assert failure_against(say(b"")) == "closed without an answer"


@pytest.mark.parametrize(
    "head", ["Content-Length: 9\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n9\r\n"]
)
def test_a_body_that_ends_early_is_no_answer(head: str) -> None:
    text = f"HTTP/1.1 200 OK\r\n{head}12".encode()
    assert failure_against(say(text)) == "not an HTTP answer (IncompleteRead)"


@pytest.mark.parametrize("host", ["169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_metadata_addresses_are_refused(scheme: str, host: str) -> None:
    assert failure_of(f"{scheme}://{host}/latest/meta-data").endswith("which is refused")


@pytest.mark.parametrize("url", ["http://no host/", "http://a.invalid/", "http://127.0.0.1:x/"])
def test_a_url_without_an_address_is_a_failure(url: str) -> None:
    assert failure_of(url)


def test_a_closed_port_is_a_failure_with_its_reason() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert failure_of(f"http://127.0.0.1:{port}/") == "connection refused"


# POST


def test_what_is_posted_arrives_with_its_headers(pages: JsonServer) -> None:
    body = '{"é": 1}'.encode()
    reply = post(pages.url("/in"), body, {"Content-Type": "application/x", "webhook-id": "a"}, LONG)
    assert (reply.status, reply.body) == (404, b"")
    assert pages.posted == [("/in", body)]
    sent = pages.headers[0]
    assert (sent["Content-Type"], sent["webhook-id"]) == ("application/x", "a")
    assert (sent["User-Agent"], sent["Connection"]) == ("ctrlplane-gitops", "close")
    assert sent["Content-Length"] == str(len(body))


def test_a_redirect_is_the_answer_to_a_post(pages: JsonServer) -> None:
    pages.pages["/"] = (307, {})
    reply = post(pages.url("/"), b"{}", {}, LONG)
    assert (reply.status, reply.headers["location"]) == (307, "/elsewhere")
    assert len(pages.posted) == 1


def test_nobody_waits_for_what_follows_the_status_of_a_post() -> None:
    text = b"HTTP/1.1 204 No Content\r\nRetry-After: 7\r\nContent-Length: 99\r\n\r\n"
    with server(say(text)) as (host, port):
        reply = post(f"http://{host}:{port}/", b"{}", {}, LONG)
    assert (reply.status, reply.body, reply.headers["retry-after"]) == (204, b"", "7")


@pytest.mark.parametrize("host", ["169.254.169.254", "[fd00:ec2::254]"])
def test_nothing_is_posted_to_a_metadata_address(host: str) -> None:
    with pytest.raises(FetchError, match="which is refused"):
        post(f"http://{host}/", b"{}", {}, LONG)


def test_a_post_that_nobody_answers_runs_into_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        with pytest.raises(FetchError, match=r"^no answer within 0.3s$"):
            post(url, b"x" * 10_000_000, {}, SHORT)


# TLS


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    path = tmp_path / "localhost.pem"
    path.write_bytes(make_certificate(tmp_path, "localhost").reveal())
    return path


def test_a_certificate_is_verified(pem: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with json_server(pem) as secure:
        secure.pages["/"] = (200, 1)
        url = secure.url("/", "localhost")
        assert failure_of(url).startswith("its certificate is not trusted: self")
        monkeypatch.setenv("SSL_CERT_FILE", str(pem))
        assert fetch(url, LONG).body == b"1"
        assert "IP address mismatch" in failure_of(secure.url("/"))


def test_a_server_without_tls_is_said_to_be() -> None:
    with json_server() as plain:
        url = plain.url("/").replace("http:", "https:")
        assert failure_of(url).startswith("no TLS: ")


def test_a_handshake_that_hangs_runs_into_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/"
        assert failure_of(url, SHORT) == "no answer within 0.3s"
