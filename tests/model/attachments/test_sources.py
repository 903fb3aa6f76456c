"""What files are made of, and how their media types are found."""

import array
import io
import mmap
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from starlette.datastructures import Headers, UploadFile

from couchmodel import AttachmentError, ConfigurationError, File
from tests.model.attachments.pictures import JPEG, PNG, Picture, failing, in_pieces


def a_map() -> mmap.mmap:
    found = mmap.mmap(-1, len(PNG))
    found[:] = PNG
    return found


def a_file(tmp_path: Path) -> io.BufferedReader:
    (tmp_path / "read.png").write_bytes(b"before" + PNG)
    file = (tmp_path / "read.png").open("rb")
    file.seek(6)
    return file


def a_path(tmp_path: Path) -> Path:
    (tmp_path / "pie.png").write_bytes(PNG)
    return tmp_path / "pie.png"


def a_spooled_file() -> Any:
    file = tempfile.SpooledTemporaryFile(max_size=10)  # noqa: SIM115
    file.write(PNG)
    file.seek(0)
    return file


class Reader:
    """A file that is read asynchronously, such as one of aiofiles."""

    def __init__(self) -> None:
        self._file = io.BytesIO(PNG)

    async def read(self, size: int = -1) -> bytes:
        return self._file.read(size)


SOURCES: dict[str, Callable[[Path], Any]] = {
    "bytes": lambda _: PNG,
    "bytearray": lambda _: bytearray(PNG),
    "view of numbers": lambda _: memoryview(array.array("I", PNG[: len(PNG) // 4 * 4])),
    "array": lambda _: array.array("H", PNG),
    "every other byte": lambda _: memoryview(b"".join(bytes([each, 0]) for each in PNG))[::2],
    "map": lambda _: a_map(),
    "path": a_path,
    "name of a path": lambda tmp_path: str(a_path(tmp_path)),
    "file": a_file,
    "file in memory": lambda _: io.BytesIO(PNG),
    "spooled file": lambda _: a_spooled_file(),
    "iterator": lambda _: in_pieces(),
    "asynchronous file": lambda _: Reader(),
    "upload": lambda _: UploadFile(io.BytesIO(PNG), size=len(PNG), filename="pie.png"),
}


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("way", ["assigned", "saved"])
async def test_what_is_stored_is_what_the_source_has(pie: Picture, name: str, way: str, tmp_path: Path) -> None:
    source: Any = SOURCES[name](tmp_path)
    content = PNG[: len(PNG) // 4 * 4]
    if way == "assigned":
        pie.image = File(source)
        await pie.save()
    else:
        await pie.image.save(File(source) if name == "name of a path" else source)
    assert (await pie.image.fetch(), pie.image.length, pie.image.content_type) == (content, len(content), "image/png")
    if hasattr(source, "close"):
        closed = source.close()
        if closed is not None:
            await closed


async def test_a_text_file_is_stored_as_utf_8(pie: Picture, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("Käse" * 100_000, encoding="utf-16")
    with (tmp_path / "notes.txt").open(encoding="utf-16") as file:
        pie.notes = File(file)
        await pie.save()
    assert await pie.notes.fetch() == "Käse" * 100_000
    pie.notes = File(io.StringIO("short"))
    await pie.save()
    assert (pie.notes.content_type, await pie.notes.fetch()) == ("text/plain; charset=utf-8", "short")


async def test_a_part_of_a_form_is_stored_as_it_arrives(pie: Picture) -> None:
    async def receive(request: web.Request) -> web.Response:
        async for part in await request.multipart():
            assert isinstance(part, aiohttp.BodyPartReader)
            await pie.others[part.name or ""].save(part)
        return web.Response()

    async with TestServer(_application(receive)) as server, aiohttp.ClientSession() as session:
        form = aiohttp.FormData()
        form.add_field("one", b"1" * 90, filename="pie.svg")
        form.add_field("two", b"2", content_type="image/heif", filename="pie.png")
        (await session.post(server.make_url("/"), data=form)).raise_for_status()
    found = {name: (each.content_type, each.length) for name, each in pie.others.items()}
    assert found == {"one": ("image/svg+xml", 90), "two": ("image/heif", 1)}


async def test_a_field_of_a_form_and_a_body_are_stored(pie: Picture) -> None:
    async def receive(request: web.Request) -> web.Response:
        if request.content_type == "image/png":
            await pie.image.save(request.content)
        else:
            field = (await request.post())["file"]
            assert isinstance(field, web.FileField)
            pie.image = File(field)
            await pie.save()
        return web.Response()

    async with TestServer(_application(receive)) as server, aiohttp.ClientSession() as session:
        (await session.post(server.make_url("/"), data=PNG, headers={"content-type": "image/png"})).raise_for_status()
        assert await pie.image.fetch() == PNG
        form = aiohttp.FormData()
        form.add_field("file", JPEG, content_type="image/jpeg", filename="pie.jpg")
        (await session.post(server.make_url("/"), data=form)).raise_for_status()
    assert (await pie.image.fetch(), pie.image.content_type) == (JPEG, "image/jpeg")


def _application(handler: Callable[[web.Request], Any]) -> web.Application:
    application = web.Application()
    application.router.add_post("/", handler)
    return application


@pytest.mark.parametrize("source", [3, None, ["a"], {"a": 1}, object(), iter([b"a"])])
async def test_what_is_no_content_is_refused(pie: Picture, source: Any) -> None:
    with pytest.raises(AttachmentError, match="bytes, a file, a path or an async iterator"):
        File(source)
    with pytest.raises(AttachmentError, match="'image' of 'pie'"):
        await pie.image.save(source)


async def test_a_text_is_no_bytes(pie: Picture) -> None:
    with pytest.raises(AttachmentError, match=r"'image' of 'pie': a File\(…\) is assigned"):
        await pie.image.save("pie.png")


# --- media types


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("a.png", PNG, "image/png"),
        ("a.png", JPEG, "image/jpeg"),
        ("a.PNG", b"?", "image/png"),
        ("a.txt", b"BM is short for Bitmap", "text/plain"),
        ("a.txt.gz", b"?", "application/gzip"),
        ("a.docx", b"PK\x03\x04\x00", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
        ("a", PNG, "image/png"),
        ("a", b"%PDF-1.7\n", "application/pdf"),
        ("a", b"BMW", "application/octet-stream"),
        ("a", b"MZ" + "ä".encode(), "application/octet-stream"),
        ("a", b"GIF files", "application/octet-stream"),
        ("a", b"", "application/octet-stream"),
        ("a", bytes(100), "application/octet-stream"),
        ("a.unknown", JPEG, "image/jpeg"),
    ],
)
@pytest.mark.parametrize("way", ["assigned", "saved"])
async def test_a_type_is_found_by_name_then_by_content(
    pie: Picture, name: str, content: bytes, kind: str, way: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    if way == "assigned":
        pie.others["x"] = File(io.BytesIO(content) if name == "a" else tmp_path / name)
        await pie.save()
    else:
        await pie.others["x"].save(in_pieces(content, 7) if name == "a" else tmp_path / name)
    assert pie.others["x"].content_type == kind


@pytest.mark.parametrize(
    ("claimed", "kind"),
    [("image/heif", "image/heif"), ("application/octet-stream", "image/png"), (None, "image/png")],
)
async def test_the_type_of_an_upload_counts_if_it_has_one(pie: Picture, claimed: str | None, kind: str) -> None:
    headers = Headers({} if claimed is None else {"content-type": claimed})
    pie.image = File(UploadFile(io.BytesIO(PNG), filename="upload", headers=headers))
    await pie.save()
    assert pie.image.content_type == kind


async def test_a_type_that_is_given_counts_most(pie: Picture, tmp_path: Path) -> None:
    pie.image = File(a_path(tmp_path), "image/x-own")
    assert pie.image.content_type == "image/x-own"
    await pie.save()
    assert pie.image.content_type == "image/x-own"


# --- sources that fail


async def store(pie: Picture, source: Any, way: str) -> None:
    if way == "saved":
        await pie.image.save(source, "image/png")
        return
    pie.image = File(source, "image/png")
    await pie.save()


@pytest.mark.parametrize("way", ["assigned", "saved"])
async def test_a_source_that_fails_is_told_with_its_byte(pie: Picture, pictures: type[Picture], way: str) -> None:
    with pytest.raises(AttachmentError, match=r"attachment 'image' of 'pie' could not be read after byte 10,248") as it:
        await store(pie, failing(), way)
    assert isinstance(it.value.__cause__, OSError)
    assert not (await pictures.get("pie")).image


@pytest.mark.parametrize("way", ["assigned", "saved"])
async def test_a_source_of_something_else_is_told(pie: Picture, pictures: type[Picture], way: str) -> None:
    async def texts() -> AsyncIterator[Any]:
        yield PNG
        yield "text"

    with pytest.raises(AttachmentError, match=r"'image' of 'pie': its source yields str instead of bytes"):
        await store(pie, texts(), way)
    assert not (await pictures.get("pie")).image


async def test_a_chunk_size_is_a_number_of_bytes(pie: Picture) -> None:
    pie.image = File(PNG)
    assert {len(piece) async for piece in pie.image.stream(4096)} == {4096, len(PNG) % 4096}
    await pie.save()
    assert max([len(piece) async for piece in pie.image.stream(1000)]) == 1000
    for size in (0, -1, "1"):
        with pytest.raises(ConfigurationError, match="chunk_size"):
            pie.image.stream(size)  # type: ignore[arg-type]
