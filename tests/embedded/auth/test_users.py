"""The documents of users: what is refused, and what is kept of a password."""

import hashlib
from typing import Any

import pytest

from couchmodel._embedded.auth.passwords import admin_line, hash_password, is_password, parse_admin_line
from couchmodel._wire.users import ANONYMOUS, User
from tests.embedded.conftest import Client

ADA = {"name": "ada", "type": "user", "roles": ["cook"], "born": 1815}
SIMPLE = "21d7f35111b5bd8c90d45c8654f2b6aa0a38053a"  # sha1 of "sesame" and "salt"
PATH = "/_users/org.couchdb.user:ada"


async def test_a_password_is_kept_as_couchdb_does(client: Client) -> None:
    await client.ask("PUT", PATH, {**ADA, "password": "sesame", "salt": "old", "password_sha": "old"})
    stored = await client.json("GET", PATH)
    members = ["_id", "_rev", "password_scheme", "pbkdf2_prf", "salt", "iterations", "derived_key"]
    assert list(stored) == [*members, "name", "type", "roles", "born"]
    assert (stored["password_scheme"], stored["pbkdf2_prf"], stored["iterations"]) == ("pbkdf2", "sha256", 600_000)
    derived = hashlib.pbkdf2_hmac("sha256", b"sesame", stored["salt"].encode(), 600_000).hex()
    assert stored["derived_key"] == derived
    assert len(stored["salt"]) == 32


async def test_a_document_without_a_password_stays_as_it_is(client: Client) -> None:
    await client.ask("PUT", PATH, {**ADA, "password": None})
    assert (await client.json("GET", PATH))["password"] is None


async def test_a_bulk_write_keeps_no_password_either(client: Client) -> None:
    rows = await client.json("POST", "/_users/_bulk_docs", {"docs": [{"_id": PATH[8:], **ADA, "password": "x"}, {}]})
    assert [row.get("error") for row in rows] == [None, "forbidden"]
    assert "password" not in await client.json("GET", PATH)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"type": None}, "doc.type must be user"),
    ({"name": ""}, "doc.name is required"),
    ({"roles": None}, "doc.roles must exist"),
    ({"roles": "cook"}, "doc.roles must be an array"),
    ({"roles": [1]}, "doc.roles can only contain strings"),
    ({"name": "bob"}, "Doc ID must be of the form org.couchdb.user:name"),
    ({"password_scheme": "rot13"}, "Password scheme `rot13` not supported."),
    ({"password_scheme": "pbkdf2"}, "iterations must be a number."),
    ({"password_scheme": "pbkdf2", "iterations": 1}, "derived_key must be a string."),
    ({"roles": ["_admin"]}, "No system roles (starting with underscore) in users db."),
    *(
        ({"password": password}, f"Password value of '{shown}' is invalid.")
        for password, shown in ((1, "1"), (1.5, "1.5"), (True, "true"), ([1], "[1]"), ({}, "{[]}"))
    ),
]


@pytest.mark.parametrize(("changed", "reason"), REFUSED)
async def test_what_is_no_user_is_refused(client: Client, changed: dict[str, Any], reason: str) -> None:
    answer = await client.ask("PUT", PATH, {**ADA, **changed})
    assert (answer.status, answer.json()) == (403, {"error": "forbidden", "reason": reason})
    assert (await client.ask("GET", PATH)).status == 404


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("_ada", "Username may not start with underscore."),
        ("a:b", "Character `:` is not allowed in usernames."),
    ],
)
async def test_names_that_nobody_may_have(client: Client, name: str, reason: str) -> None:
    answer = await client.ask("PUT", f"/_users/org.couchdb.user:{name}", {**ADA, "name": name})
    assert answer.json()["reason"] == reason


async def test_metrics_are_a_role_that_users_may_have(client: Client) -> None:
    assert (await client.ask("PUT", PATH, {**ADA, "roles": ["_metrics"]})).status == 201


async def test_a_user_is_deleted_without_further_questions(client: Client) -> None:
    rev = (await client.json("PUT", PATH, ADA))["rev"]
    assert (await client.ask("DELETE", f"{PATH}?rev={rev}")).status == 200


@pytest.mark.parametrize(("user", "status"), [(ANONYMOUS, 401), (User("ada"), 403)])
async def test_users_are_for_administrators(client: Client, user: User, status: int) -> None:
    await client.ask("PUT", PATH, ADA)
    assert (await client.ask("GET", PATH, user=user)).status == status
    assert (await client.ask("PUT", PATH, ADA, user=user)).status == status


async def test_the_security_of_users_cannot_be_changed(client: Client) -> None:
    answer = await client.ask("PUT", "/_users/_security", {})
    assert (answer.status, answer.json()["error"]) == (403, "forbidden")


@pytest.mark.parametrize("iterations", [1, 10])
def test_an_administrators_line_is_couchdbs(iterations: int) -> None:
    line = admin_line("sesame", iterations=iterations)
    assert line.startswith("-pbkdf2:sha256-")
    assert line.endswith(f",{iterations}")
    assert admin_line(line) == line
    assert is_password("sesame", parse_admin_line(line) or {})
    assert not is_password("seasame", parse_admin_line(line) or {})


@pytest.mark.parametrize(
    "kept",
    [
        {"password_sha": SIMPLE, "salt": "salt"},
        {"password_scheme": "simple", "password_sha": SIMPLE, "salt": "salt"},
        {
            "password_scheme": "pbkdf2",
            "derived_key": hashlib.pbkdf2_hmac("sha1", b"sesame", b"salt", 10).hex(),
            "salt": "salt",
            "iterations": 10,
        },
        {
            **hash_password(SIMPLE, salt="salt", iterations=5),
            "password_scheme": "simple+pbkdf2",
        },
        parse_admin_line(f"-hashed-{SIMPLE},salt"),
    ],
)
def test_hashes_of_older_servers_are_understood(kept: dict[str, Any]) -> None:
    assert is_password("sesame", kept)
    assert not is_password("sesam", kept)
