"""Credentials for an embedded store: it is asked as one of its users."""

from pathlib import Path

import pytest

from couchmodel import ConfigurationError, ForbiddenError, UnauthorizedError
from couchmodel.engine import CouchDB, SecurityDocument
from couchmodel.transports import BasicAuth, CookieAuth, Credentials, JWTAuth, ProxyAuth

PASSWORD = "sesame"


@pytest.fixture
async def url(tmp_path: Path) -> str:
    """A file with a user and a database that is hers to read."""
    url = f"sqlite:{tmp_path / 'couch.db'}"
    async with CouchDB(url) as couch:
        await couch.users.create("ada", PASSWORD, ["cook"])
        async with SecurityDocument(await couch.create("recipes")) as security:
            security.add_member_role("cook")
        await couch.create("books")
    return url


@pytest.mark.parametrize("auth", [BasicAuth("ada", PASSWORD), CookieAuth("ada", PASSWORD)])
async def test_a_user_may_do_what_the_security_says(url: str, auth: Credentials) -> None:
    async with CouchDB(url, auth=auth) as couch:
        recipes = await couch["recipes"]
        await recipes.create("pie")
        session = await couch.session.get(("_session",))
        assert session["userCtx"] == {"name": "ada", "roles": ["cook"]}
        with pytest.raises(ForbiddenError):
            await couch.session.get(("books",))
        with pytest.raises(UnauthorizedError, match="You are not a server admin"):
            await couch.create("more")


@pytest.mark.parametrize(("user", "password"), [("ada", "wrong"), ("eve", PASSWORD), ("admin", "admin")])
async def test_who_is_not_known_is_refused(url: str, user: str, password: str) -> None:
    async with CouchDB(url, user, password) as couch:
        with pytest.raises(UnauthorizedError, match="Name or password is incorrect"):
            await couch.session.get(())


async def test_a_cookie_that_nobody_gave_is_nobodys(url: str) -> None:
    async with CouchDB(url, cookie="YWRhOjZCMDEyNUVEOjpncyB73yxnc0Mv5TjC5DDcYYqJUQWyzOeApD3rSp1") as couch:
        with pytest.raises(UnauthorizedError, match="Authentication required"):
            await couch.session.get(())


@pytest.mark.parametrize("auth", [JWTAuth("a.b.c"), ProxyAuth("ada")])
def test_what_the_store_cannot_prove_is_refused(auth: Credentials) -> None:
    with pytest.raises(ConfigurationError, match=f"does not accept {type(auth).__name__}"):
        CouchDB("memory:", auth=auth)
