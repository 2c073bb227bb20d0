"""Why there is no connection, in the same words whichever loop has tried."""

from __future__ import annotations

import errno
import os
import socket
import ssl

import pytest

from timonel.client.http1 import why_not_connected


@pytest.mark.parametrize(
    ("host", "exc", "words"),
    [
        (
            "10.0.0.9",
            ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed ('10.0.0.9', 80)"),
            "dial tcp 10.0.0.9:80: connect: connection refused",
        ),
        (
            "10.0.0.9",
            ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED)),
            "dial tcp 10.0.0.9:80: connect: connection refused",
        ),
        ("::1", OSError(errno.ENETUNREACH, "x"), "dial tcp [::1]:80: connect: network is unreachable"),
        ("10.0.0.9", OSError(errno.EHOSTUNREACH, "x"), "dial tcp 10.0.0.9:80: connect: no route to host"),
        (
            "no.such",
            socket.gaierror(-2, "Name or service not known"),
            "dial tcp: lookup no.such: no such host",
        ),
        ("h", OSError("Multiple exceptions: a, b"), "dial tcp h:80: Multiple exceptions: a, b"),
        ("h", ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number"), "tls: "),
    ],
)
def test_why_there_is_no_connection(host: str, exc: OSError, words: str) -> None:
    found = why_not_connected(host, 80, exc)

    assert found.startswith(words)
    assert words == "tls: " or found == words
