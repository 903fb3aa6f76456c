"""What a server tells of itself."""

from couchmodel import Connection


async def test_a_server_is_up(couch: Connection) -> None:
    assert await couch.up()


async def test_a_server_tells_what_it_does(couch: Connection) -> None:
    assert all(task["type"] for task in await couch.active_tasks())


async def test_a_server_knows_its_cluster(couch: Connection) -> None:
    membership = await couch.membership()
    assert membership["cluster_nodes"] == membership["all_nodes"] != []
