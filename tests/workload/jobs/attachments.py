"""Attachments: up in every way, down whole and in ranges."""

import base64
import random
from collections.abc import AsyncIterator

from couchmodel._wire.messages import encode
from couchmodel._wire.multipart import AttachmentPart, MultipartRelated
from tests.workload.client import Client
from tests.workload.ledger import NOTES, PHOTO, Kept, content, content_type
from tests.workload.problems import WrongError

__all__ = ["delete", "download", "download_range", "upload", "upload_inline", "upload_together"]

_SIZES = (0, 10, 3_000, 70_000, 1_000_000, 3_000_000)
_WEIGHTS = (1, 4, 4, 4, 1, 1)
_NAMES = (PHOTO, NOTES)
_PIECE = 50_000


def random_size() -> int:
    """Return a size; large ones are rare."""
    return random.choices(_SIZES, _WEIGHTS)[0]


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    """Give data in pieces."""
    for start in range(0, len(data), _PIECE):
        yield data[start : start + _PIECE]


async def upload(client: Client) -> None:
    """Upload an attachment as the body of a request, whole or in pieces."""
    kept = client.choose(there=True)
    if kept is None or kept.state is None or kept.rev is None:
        return
    name, size = random.choice(_NAMES), random_size()
    data = content(name, size)
    state = kept.state._replace(files={**kept.state.files, name: size})
    body = data if random.random() < 0.5 or not data else pieces(data)
    await client.write(
        kept, state, "PUT", name, body=body, headers={"content-type": content_type(name)}, query={"rev": kept.rev}
    )


async def upload_together(client: Client) -> None:
    """Upload a document and its attachments in one body, ``multipart/related``."""
    kept = client.choose()
    if kept is None:
        return
    state = client.next_state({name: random_size() for name in _NAMES})
    contents = {name: content(name, size) for name, size in state.files.items()}
    body = client.body(kept, state)
    body["_attachments"] = {
        name: {"follows": True, "length": len(data), "content_type": content_type(name)}
        for name, data in contents.items()
    }
    related = MultipartRelated(
        encode(body), [AttachmentPart(name, content_type(name), len(data)) for name, data in contents.items()]
    )

    async def sent() -> AsyncIterator[bytes]:
        yield related.head
        for name, data in contents.items():
            yield related.part_head(AttachmentPart(name, content_type(name), len(data)))
            async for piece in pieces(data):
                yield piece
        yield related.tail

    await client.write(kept, state, "PUT", body=sent(), headers={"content-type": related.content_type})


async def upload_inline(client: Client) -> None:
    """Upload a document with its attachments in its JSON."""
    kept = client.choose()
    if kept is None:
        return
    state = client.next_state({random.choice(_NAMES): random_size()})
    body = client.body(kept, state)
    body["_attachments"] = {
        name: {"data": base64.b64encode(content(name, size)).decode(), "content_type": content_type(name)}
        for name, size in state.files.items()
    }
    await client.write(kept, state, "PUT", body=body)


async def download(client: Client) -> None:
    """Download an attachment."""
    if (chosen := _choose(client)) is not None:
        kept, name, size = chosen
        answer = await client.ask("GET", kept.database, kept.id, name)
        if answer.body != content(name, size):
            raise WrongError("an attachment is not as it was written", f"{kept.id}/{name}: {len(answer.body)} bytes")


async def download_range(client: Client) -> None:
    """Download a part of an attachment."""
    if (chosen := _choose(client)) is None or chosen[1] == NOTES or chosen[2] == 0:
        return  # of what is compressed there are no parts
    kept, name, size = chosen
    first = random.randrange(size)
    last = random.randrange(first, size)
    headers = {"range": f"bytes={first}-{last}"}
    answer = await client.ask("GET", kept.database, kept.id, name, headers=headers, expected=(206,))
    if answer.body != content(name, size)[first : last + 1]:
        raise WrongError("a part of an attachment is not as it was written", f"{kept.id}/{name}: {headers}")


async def delete(client: Client) -> None:
    """Delete an attachment."""
    if (chosen := _choose(client)) is not None:
        kept, name, _ = chosen
        assert kept.state is not None
        assert kept.rev is not None
        left = {other: size for other, size in kept.state.files.items() if other != name}
        await client.write(kept, kept.state._replace(files=left), "DELETE", name, query={"rev": kept.rev})


def _choose(client: Client) -> tuple[Kept, str, int] | None:
    """Return a document that is certainly as it was written, the name of an attachment, and its size."""
    found = [
        (kept, name, size)
        for kept in client.kept
        if kept.state is not None and not kept.doubts
        for name, size in kept.state.files.items()
    ]
    return random.choice(found) if found else None
