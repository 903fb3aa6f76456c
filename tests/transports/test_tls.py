"""Connections that are encrypted, and whom they trust."""

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest

from couchmodel import ConfigurationError
from couchmodel.engine import CouchDB, Session
from couchmodel.errors import TLSError
from couchmodel.transports import HTTPTransport
from tests.transports.conftest import Scripted, say

Open = Callable[..., Session]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of localhost that signs itself, and its key, in one file."""
    place = tmp_path_factory.mktemp("tls") / "localhost.pem"
    subject = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost")
    files = ("-keyout", str(place), "-out", str(place.with_suffix(".crt")))
    command = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject, *files)
    try:
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603 (the command is constant)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    place.write_text(place.read_text() + place.with_suffix(".crt").read_text())
    return place


@pytest.fixture
async def tls_url(certificate: Path) -> AsyncIterator[str]:
    """The URL of a server with that certificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    peer = Scripted()
    peer.script = [say()]
    peer.server = await asyncio.start_server(peer.serve, "localhost", 0, ssl=context)
    yield f"https://localhost:{peer.server.sockets[0].getsockname()[1]}"
    await peer.hang_up()


async def test_a_certificate_is_verified_unless_told_otherwise(tls_url: str, line: Open) -> None:
    with pytest.raises(TLSError, match=r"TLS connection to https://localhost.* failed.*ca=.*\(GET /\)") as caught:
        await line(tls_url).get(())
    assert caught.value.carried_out is False


async def test_a_ca_of_your_own_is_trusted(tls_url: str, certificate: Path, line: Open) -> None:
    context = ssl.create_default_context(cafile=certificate)
    for ca in (certificate, str(certificate), context):
        assert await line(tls_url, ca=ca).get(()) == {"ok": True}


async def test_a_name_that_the_certificate_does_not_have_is_refused(
    tls_url: str, certificate: Path, line: Open
) -> None:
    with pytest.raises(TLSError):
        await line(tls_url.replace("localhost", "127.0.0.1"), ca=certificate).get(())


@pytest.mark.parametrize(
    ("name", "said"), [("missing.pem", r"missing.pem' cannot be read: No such file"), ("text.pem", "no certificates")]
)
def test_a_ca_that_is_none_is_refused(name: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "text.pem").write_text("not a certificate")
    with pytest.raises(ConfigurationError, match=said):
        CouchDB("https://localhost", ca=tmp_path / name)


async def test_a_ca_and_a_connector_exclude_each_other(certificate: Path) -> None:
    async with aiohttp.TCPConnector() as connector:
        with pytest.raises(ConfigurationError, match="give the connector an SSL context"):
            HTTPTransport("https://localhost", ca=certificate, connector=connector)
