"""Check what type checkers say of tests/typing: nothing of right.py, and an error on each marked line of wrong.py.

Each line of wrong.py that ends in ``# E`` has to be an error in mypy, in mypy with pydantic's plugin, in pyright and in
ty, and no other line may be one. Run it from the root of the project.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

RIGHT, WRONG = "tests/typing/right.py", "tests/typing/wrong.py"

PLUGIN = """\
[mypy]
plugins = pydantic.mypy
strict = true
explicit_package_bases = true
"""


def output(*command: str) -> str:
    """Return what a command prints. Its exit code is 1 where it finds mistakes."""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout  # noqa: S603 - the commands stand below


def lines(found: str, path: str) -> set[int]:
    """Return the numbers of the lines of a file of which a checker prints an error."""
    return {int(line) for line in re.findall(rf"^{re.escape(path)}:(\d+):(?:\d+:)? error", found, re.MULTILINE)}


def mypy(path: str) -> set[int]:
    """Return the lines of which mypy prints an error."""
    return lines(output("mypy", path), path)


def mypy_with_plugin(path: str) -> set[int]:
    """Return those of mypy with pydantic's plugin."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "mypy.ini")
        config.write_text(PLUGIN, encoding="utf-8")
        return lines(output("mypy", "--config-file", str(config), "--cache-dir", folder, path), path)


def pyright(path: str) -> set[int]:
    """Return those of pyright in its strict mode."""
    # A copy, because the project's configuration leaves out the file of mistakes.
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(path, folder)
        config = Path(folder, "pyrightconfig.json")
        settings = {"include": ["."], "extraPaths": [str(Path.cwd())], "typeCheckingMode": "strict"}
        config.write_text(json.dumps(settings), encoding="utf-8")
        found = json.loads(output("pyright", "--outputjson", "--project", str(config)))["generalDiagnostics"]
    return {
        each["range"]["start"]["line"] + 1
        for each in found
        if each["severity"] == "error" and each["rule"] not in ("reportUnusedExpression", "reportUnusedCoroutine")
    }


def ty(path: str) -> set[int]:
    """Return those of ty."""
    return lines(output("ty", "check", "--output-format", "concise", path), path)


CHECKERS: tuple[Callable[[str], set[int]], ...] = (mypy, mypy_with_plugin, pyright, ty)


def main() -> int:
    """Print a line for each difference, and return 1 if there is one."""
    text = Path(WRONG).read_text(encoding="utf-8").splitlines()
    marked = {number for number, line in enumerate(text, 1) if line.endswith("# E")}
    differences = []
    for checker in CHECKERS:
        found = checker(WRONG)
        differences += [f"{checker.__name__}: {WRONG}:{line}: no error" for line in sorted(marked - found)]
        differences += [f"{checker.__name__}: {WRONG}:{line}: an error" for line in sorted(found - marked)]
        differences += [f"{checker.__name__}: {RIGHT}:{line}: an error" for line in sorted(checker(RIGHT))]
    print("\n".join(differences) or f"{len(marked)} mistakes are found by each of {len(CHECKERS)} checkers")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
