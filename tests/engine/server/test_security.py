"""Who may read and who may administer a database."""

import pytest

from couchmodel import NotFoundError
from couchmodel.engine import Database, SecurityDocument


async def test_members_and_admins_are_added_and_removed(database: Database) -> None:
    async with SecurityDocument(database) as security:
        security.add_member("lennon")
        security.add_member("lennon")
        security.add_admin("elvis")
        security.add_member_role("singer")
        security.add_admin_role("king")
    stored = await database.security()
    assert (stored.members, stored.admins) == (["lennon"], ["elvis"])
    assert "singer" in (stored.member_roles or [])
    assert "king" in (stored.admin_roles or [])
    stored.remove_member(member="lennon")
    stored.remove_admin(admin="elvis")
    stored.remove_member_role("singer")
    stored.remove_admin_role("king")
    await stored.save()
    assert ((await database.security()).members, stored.admins) == ([], [])


async def test_nothing_is_saved_where_an_exception_ends_its_context(database: Database) -> None:
    before = (await database.security()).json
    with pytest.raises(ZeroDivisionError):
        async with SecurityDocument(database) as security:
            security["members"] = 1 // 0
    assert (await database.security()).json == before


async def test_who_is_not_there_cannot_be_removed(database: Database) -> None:
    security = SecurityDocument(database)
    assert (security.members, security.admin_roles, dict(security)) == (None, None, {})
    with pytest.raises(NotFoundError, match="'nobody' is not among the names of the members"):
        security.remove_member("nobody")
    security["members"] = {"names": ["lennon"]}
    assert (security.members, len(security), security.json) == (["lennon"], 1, {"members": {"names": ["lennon"]}})
