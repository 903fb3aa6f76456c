"""``couchmodel serve``: what it takes, what it refuses, and how it ends."""

import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from couchmodel._embedded.auth.passwords import admin_line
from tests.transports.test_tls import certificate

__all__ = ["certificate"]  # a fixture

COMMAND = (sys.executable, "-m", "couchmodel", "serve", "--port", "0")


@contextmanager
def serving(*options: str) -> Generator[str]:
    """A server's URL; it ends well when it is told to end."""
    pipe = subprocess.PIPE
    process = subprocess.Popen([*COMMAND, *options], stdout=pipe, stderr=pipe, text=True)  # noqa: S603 - our own words
    assert process.stdout is not None
    try:
        yield process.stdout.readline().split()[-1]
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    assert process.returncode == 0


def status(url: str, method: str = "GET", context: ssl.SSLContext | None = None) -> int:
    try:
        with urlopen(Request(url, method=method), context=context, timeout=20) as answer:
            return int(answer.status)
    except HTTPError as error:
        error.close()
        return error.code


@pytest.mark.parametrize(("url", "files"), [("memory:", []), ("sqlite:kitchen.db", ["kitchen.db"])])
def test_it_takes_the_url_of_a_store_too(
    url: str, files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with serving(url) as server:
        assert status(server) == 200
    assert [file.name for file in tmp_path.glob("*") if not file.name.endswith(".lock")] == files


def test_it_serves_a_file_until_it_is_told_to_end(tmp_path: Path) -> None:
    for expected in (201, 412):
        with serving(str(tmp_path / "couch.db")) as url:
            assert status(f"{url}/recipes", "PUT") == expected


def test_with_an_administrator_it_asks_who_is_there() -> None:
    with serving("--admin", f"ada:{admin_line('secret', iterations=1)}", "--admin", "bob:x") as url:
        assert status(f"{url}/_all_dbs") == 401
        assert status(f"{url}/_up") == 200


def test_it_speaks_tls(certificate: Path) -> None:
    context = ssl.create_default_context(cafile=str(certificate))
    with serving("--tls-certificate", str(certificate)) as url:
        assert url.startswith("https://")
        here = url.replace("127.0.0.1", "localhost")
        assert status(here, context=context) == 200
        with urlopen(Request(f"{here}/db", method="PUT"), context=context, timeout=20) as answer:
            assert answer.headers["Location"] == f"{here}/db"


def test_a_feed_does_not_keep_it_from_ending() -> None:
    with serving() as url:
        assert status(f"{url}/db", "PUT") == 201
        feed = urlopen(f"{url}/db/_changes?feed=continuous&since=now", timeout=20)
    feed.close()


def test_it_ends_with_its_standard_input_if_it_is_asked_to() -> None:
    pipe = subprocess.PIPE
    command = [*COMMAND, "--until-stdin-closes"]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:  # noqa: S603 - our own words
        assert process.stdout is not None
        assert status(process.stdout.readline().split()[-1]) == 200
        _, said = process.communicate("still here\n", timeout=20)  # it closes the input
    assert (process.returncode, "Fatal" in said) == (0, False)


def test_it_ends_by_a_signal_while_its_standard_input_is_open() -> None:
    pipe = subprocess.PIPE
    command = [*COMMAND, "--until-stdin-closes"]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:  # noqa: S603 - our own words
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
        assert "Fatal" not in process.stderr.read()


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (["--utils", "nowhere"], 1, "there is no index.html in nowhere"),
        (["--host", "0.0.0.0"], 1, "--admin NAME:PASSWORD"),  # noqa: S104 - it is refused
        (["--admin", "ada"], 2, "NAME:PASSWORD"),
        (["--jwt-key", "hmac"], 2, "NAME=KEY"),
        (["--jwt-key", "hmac:a=!"], 1, "cannot be read"),
        (["--jwt-key", "rsa:a=@/nowhere/key.pem"], 1, "/nowhere/key.pem"),
        (["--tls-key", "key.pem"], 2, "certificate"),
        (["--session-timeout", "0"], 2, "session-timeout"),
    ],
)
def test_what_cannot_work_is_told_at_once(options: list[str], status: int, said: str) -> None:
    command = [*COMMAND, *options]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603 - our own words
    assert (ended.returncode, said in ended.stderr) == (status, True)


def test_a_port_in_use_is_told_with_a_way_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        command = (*COMMAND[:-1], str(taken.getsockname()[1]))
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own words
    assert done.returncode == 1
    assert "give another --port" in done.stderr
