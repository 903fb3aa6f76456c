"""``couchmodel bucket``: files from and to the disk."""

import hashlib
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from couchmodel.cli import app
from tests.bucket.files import random_bytes

URL = "sqlite:store.db"


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COUCHMODEL_URL", URL)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["bucket", *arguments])


def done(*arguments: str) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def failed(*arguments: str) -> str:
    result = run(*arguments)
    assert result.exit_code != 0
    return result.output


@pytest.fixture
def content() -> bytes:
    """The content of the file "song.ogg", which is more than one part."""
    content = random_bytes(5_000_000)
    Path("song.ogg").write_bytes(content)
    return content


def test_a_file_is_put_listed_got_and_removed(content: bytes) -> None:
    file_id = done("put", "files", "song.ogg", "--create", "--metadata", '{"artist": "Ada"}').strip()
    (line,) = done("ls", "files").splitlines()
    assert line.split()[0] == file_id
    assert "5,000,000" in line
    assert line.endswith("song.ogg")
    done("get", "files", "song.ogg", "copy.ogg")
    assert Path("copy.ogg").read_bytes() == content
    done("rm", "files", "song.ogg")
    assert done("ls", "files") == ""


def test_a_file_is_got_by_its_id_and_under_its_name(content: bytes) -> None:
    file_id = done("put", "files", "song.ogg", "--create", "--name", "../up/other.ogg").strip()
    done("get", "files", file_id, "--id")
    assert Path("other.ogg").read_bytes() == content
    done("rm", "files", file_id, "--id")
    assert "has no file" in failed("get", "files", file_id, "--id")


def test_an_unchanged_file_is_not_stored_again(content: bytes) -> None:
    first = done("put", "files", "song.ogg", "--create")
    assert done("put", "files", "song.ogg") == first
    Path("song.ogg").write_bytes(b"changed")
    assert done("put", "files", "song.ogg") != first
    assert len(done("ls", "files", "song.ogg").splitlines()) == 2
    done("get", "files", "song.ogg", "old", "--revision", "0")
    assert Path("old").read_bytes() == content


def test_a_download_goes_on_where_it_broke_off(content: bytes) -> None:
    done("put", "files", "song.ogg", "--create")
    part = Path(f"copy.ogg.{sha256(content)[:12]}.part")
    part.write_bytes(content[:3_000_000])
    done("get", "files", "song.ogg", "copy.ogg")
    assert Path("copy.ogg").read_bytes() == content
    assert not part.exists()


def test_a_part_that_is_not_of_the_file_is_thrown_away(content: bytes) -> None:
    done("put", "files", "song.ogg", "--create")
    part = Path(f"copy.ogg.{sha256(content)[:12]}.part")
    part.write_bytes(b"x" * 3_000_000)
    assert "did not arrive as it is stored" in failed("get", "files", "song.ogg", "copy.ogg")
    assert [path.name for path in Path.cwd().glob("copy*")] == []


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_what_is_wrong_is_told(content: bytes) -> None:
    assert "put --create creates it" in failed("put", "files", "song.ogg")
    done("put", "files", "song.ogg", "--create")
    assert "'fs' has no file 'other'" in failed("get", "files", "other") + failed("rm", "files", "other")
    assert "one name is for one file" in failed("put", "files", "song.ogg", "store.db", "--name", "x")
    for metadata in ("x", "[1]"):
        assert "JSON" in failed("put", "files", "song.ogg", "--metadata", metadata)
    assert "does not exist" in failed("put", "files", "nothing.ogg")


def test_names_do_not_steer_the_terminal(content: bytes) -> None:
    done("put", "files", "song.ogg", "--create", "--name", "\x1b[2Jevil")
    assert "\x1b" not in done("ls", "files")


def test_a_sweep_tells_what_it_has_deleted(content: bytes) -> None:
    done("put", "files", "song.ogg", "--create")
    assert done("sweep", "files", "--minutes", "0") == "0 parts deleted\n"


def test_metadata_are_stored(content: bytes) -> None:
    done("put", "files", "song.ogg", "--create", "--metadata", json.dumps({"artist": "Ada"}))
    assert done("put", "files", "song.ogg", "--metadata", '{"artist": "Bob"}').strip() != ""
    assert len(done("ls", "files").splitlines()) == 2
