"""Check the Python blocks of Markdown files, and the links of the README.

A block with ``asyncio.run`` is a program: it must run twice on one embedded store. Any other block is a fragment: it
must compile, with ``await`` allowed at the top level, and its imports from couchmodel must work.
"""

import ast
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

BLOCK = re.compile(r"^```python[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)")
SECONDS = 60


def check_program(code: str) -> str | None:
    """Run a program twice, and return its error output; None if both runs succeed."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "program.py")
        script.write_text(code, encoding="utf-8")
        # The second run finds the data of the first.
        return _fault(script) or _fault(script)


def _fault(script: Path) -> str | None:
    done = subprocess.run(  # noqa: S603  the project's own text
        [sys.executable, str(script)],
        cwd=script.parent,
        env=os.environ | {"COUCHMODEL_URL": "sqlite:program.db"},
        capture_output=True,
        check=False,
        text=True,
        timeout=SECONDS,
    )
    return done.stderr if done.returncode else None


def check_fragment(code: str) -> str | None:
    """Compile a fragment and run its imports, and return the error; None if there is none."""
    try:
        tree = compile(code, "fragment", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "couchmodel":
                exec(ast.unparse(node), {})  # noqa: S102  the project's own text
    except (SyntaxError, ImportError) as error:
        return str(error)
    return None


def check(path: Path) -> list[str]:
    """Return the problems of a file, each with its file and line."""
    text = path.read_text(encoding="utf-8")
    faults: list[str] = []
    for match in BLOCK.finditer(text):
        code = match[1]
        fault = check_program(code) if "asyncio.run(" in code else check_fragment(code)
        if fault:
            faults.append(f"{path}:{text.count(chr(10), 0, match.start()) + 1}: {fault}")
    if path.name == "README.md":
        faults += [f"{path}: no file {link}" for link in LINK.findall(text) if not (path.parent / link).exists()]
    return faults


if __name__ == "__main__":
    problems = [fault for name in sys.argv[1:] for fault in check(Path(name))]
    print("\n".join(problems) or f"{len(sys.argv) - 1} files, nothing wrong")
    sys.exit(bool(problems))
