"""Check what an editor completes behind a field of a model, as pyright's language server tells.

Run it from the root of the project.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

PROGRAM = """\
from couchmodel import CouchModel, Field, Mapped
from pydantic import BaseModel


class Author(BaseModel):
    name: Mapped[str]


class Recipe(CouchModel, database="recipes"):
    title: Mapped[str]
    author: Mapped[Author]
    rating: Mapped[int] = Field(default=0)
    tags: Mapped[list[str]] = Field(default_factory=list)


"""

EXPECTED = {
    "Recipe.": {"title", "author", "rating", "get", "find", "save_all"},
    "Recipe.rating.": {"between", "in_", "is_none", "desc"},
    "Recipe.title.": {"startswith", "matches", "contains"},
    "Recipe.author.": {"name"},
    "Recipe.author.name.": {"startswith"},
    "Recipe.tags.": {"contains_all", "size"},
    "Recipe(title='x', author=Author(name='x')).": {"title", "rating", "save", "delete"},
}


class LanguageServer:
    """pyright's language server as a child process (Language Server Protocol 3.17, over its standard streams)."""

    def __init__(self) -> None:
        command = ["pyright-langserver", "--stdio"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603
        self._number = 0

    def notify(self, method: str, parameters: dict[str, Any]) -> None:
        """Send a message that has no answer."""
        self._send({"method": method, "params": parameters})

    def request(self, method: str, parameters: dict[str, Any]) -> Any:
        """Send a request, and return the result. Requests of the server are answered with nothing meanwhile."""
        self._number += 1
        self._send({"id": self._number, "method": method, "params": parameters})
        while True:
            message = self._receive()
            if message.get("id") == self._number and "method" not in message:
                return message.get("result")
            if "method" in message and "id" in message:
                count = len(message.get("params", {}).get("items", []))
                self._send({"id": message["id"], "result": [None] * count})

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        self._process.stdin.flush()

    def _receive(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        length = 0
        while (line := self._process.stdout.readline().strip()) != b"":
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        if length == 0:
            raise EOFError("the language server has ended")
        found: dict[str, Any] = json.loads(self._process.stdout.read(length))
        return found


def complete(server: LanguageServer, folder: Path, text: str) -> set[str]:
    """Return the names that are completed at the end of a program."""
    uri = (folder / f"completed_{abs(hash(text))}.py").as_uri()
    opened = {"uri": uri, "languageId": "python", "version": 1, "text": text}
    server.notify("textDocument/didOpen", {"textDocument": opened})
    lines = text.split("\n")
    position = {"line": len(lines) - 1, "character": len(lines[-1])}
    found = server.request("textDocument/completion", {"textDocument": {"uri": uri}, "position": position})
    items = found["items"] if isinstance(found, dict) else found or []
    return {item["label"] for item in items}


def main() -> int:
    """Print a line for each name that is not completed, and return 1 if there is one."""
    folder = Path.cwd()
    server = LanguageServer()
    try:
        root = {"uri": folder.as_uri(), "name": "couchmodel"}
        server.request(
            "initialize", {"processId": None, "rootUri": root["uri"], "workspaceFolders": [root], "capabilities": {}}
        )
        server.notify("initialized", {})
        missing = [
            f"{typed} does not complete {', '.join(sorted(names - found))}"
            for typed, names in EXPECTED.items()
            if not names <= (found := complete(server, folder, PROGRAM + typed))
        ]
    finally:
        server.close()
    print("\n".join(missing) or f"{len(EXPECTED)} expressions are completed")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
