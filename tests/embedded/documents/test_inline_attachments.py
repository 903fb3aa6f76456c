"""Attachments in the JSON of documents, which are encoded and decoded a piece at a time."""

import base64
import random
from typing import Any

import pytest

from couchmodel._embedded import limits
from tests.embedded.conftest import Client

CHUNK = 262_144


async def _read(client: Client, target: str) -> Any:
    answer = await client.ask("GET", target, headers={"accept": "application/json"})
    await answer.collect()
    return answer.json()


@pytest.mark.parametrize("kind", ["image/png", "text/plain"])
@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 1_000_000])
async def test_what_goes_in_comes_out(client: Client, database: str, kind: str, size: int) -> None:
    content = random.Random(size).randbytes(size)
    attachment = {"content_type": kind, "data": base64.b64encode(content).decode()}
    await client.ask("PUT", f"{database}/pie", {"_attachments": {"a": attachment, "b": attachment}})
    read = (await _read(client, f"{database}/pie?attachments=true"))["_attachments"]
    assert [(name, base64.b64decode(member["data"])) for name, member in read.items()] == [
        ("a", content),
        ("b", content),
    ]
    assert [*read["a"]] == ["content_type", "revpos", "digest", "data"]


async def test_an_encoding_is_told_behind_the_content(client: Client, database: str) -> None:
    attachments = {"a": {"content_type": "text/plain", "data": "aGVsbG8="}, "b": {"data": "aGVsbG8="}}
    await client.ask("PUT", f"{database}/pie", {"_attachments": attachments})
    document = await _read(client, f"{database}/pie?attachments=true&att_encoding_info=true")
    members = document["_attachments"]
    assert [*members["a"]] == ["content_type", "revpos", "digest", "data", "encoding", "encoded_length"]
    assert [*members["b"]] == ["content_type", "revpos", "digest", "data"]


async def test_only_those_that_are_new_come_with_their_content(client: Client, database: str) -> None:
    first = (await client.ask("PUT", f"{database}/pie", {"_attachments": {"a": {"data": "QQ=="}}})).json()["rev"]
    more: dict[str, Any] = {"_rev": first, "_attachments": {"a": {"stub": True}, "b": {"data": "Qg=="}}}
    await client.ask("PUT", f"{database}/pie", more)
    document = await _read(client, f'{database}/pie?atts_since=["{first}"]')
    assert {name: member.get("data") for name, member in document["_attachments"].items()} == {"a": None, "b": "Qg=="}


@pytest.mark.parametrize("white", ["", "\n"])
async def test_a_content_that_is_very_long_is_never_one_text(
    client: Client, database: str, white: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "JOINED_CHARACTERS", 1000)
    content = random.Random(1).randbytes(2_000_000)
    data = base64.b64encode(content).decode()
    data = white.join(data[start : start + 75] for start in range(0, len(data), 75))
    await client.ask("PUT", f"{database}/pie", {"_attachments": {"a": {"data": data}}})
    document = await _read(client, f"{database}/pie?attachments=true")
    assert base64.b64decode(document["_attachments"]["a"]["data"]) == content


async def test_nothing_may_come_behind_the_padding_however_far(client: Client, database: str) -> None:
    data = "QQ==" + " " * (2 * CHUNK - 4) + "QUFB"
    answer = await client.ask("PUT", f"{database}/pie", {"_attachments": {"a": {"data": data}}})
    assert (answer.status, answer.json()["reason"]) == (400, "Invalid attachment data for a")


@pytest.mark.parametrize("size", [0, 2_000_000])
@pytest.mark.parametrize("bad", ["A", "QQ", "QQ=", "QQ==QQ==", "Q*==", "é", "QQ==="])
async def test_what_is_no_base64_is_refused(client: Client, database: str, bad: str, size: int) -> None:
    answer = await client.ask("PUT", f"{database}/pie", {"_attachments": {"a": {"data": "QUJD" * size + bad}}})
    assert (answer.status, answer.json()["reason"]) == (400, "Invalid attachment data for a")
