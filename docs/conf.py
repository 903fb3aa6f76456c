"""Configuration of Sphinx. ``sphinx-build -W -b html docs docs/_build/html`` builds the documentation."""

import subprocess
import sys
from importlib.metadata import version as installed_version
from typing import Any

from sphinx.application import Sphinx

project = "couchmodel"
author = "couchmodel contributors"
project_copyright = "couchmodel contributors"
version = release = installed_version("couchmodel")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"couchmodel {release}"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

add_module_names = False
autoclass_content = "both"
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
maximum_signature_line_length = 88
napoleon_numpy_docstring = False
python_use_unqualified_type_names = True


def without_arguments(
    _app: Sphinx, kind: str, _name: str, _object: Any, _options: Any, arguments: str | None, _answer: str | None
) -> tuple[str, None] | None:
    """Leave out the arguments of exceptions, because users catch them and do not create them."""
    return ("", None) if kind == "exception" and arguments else None


def with_commands(_app: Sphinx, page: str, source: list[str]) -> None:
    """Append the help of the commands to the page of the command line."""
    if page == "reference/cli":
        command = (sys.executable, "-m", "typer", "couchmodel.cli", "utils", "docs", "--name", "couchmodel")
        told = subprocess.run(command, capture_output=True, check=True, text=True).stdout  # noqa: S603  our own words
        source[0] += told.partition("\n")[2].replace("**Usage**:\n\n", "")


def setup(app: Sphinx) -> None:
    """Connect the functions above to Sphinx."""
    app.connect("autodoc-process-signature", without_arguments)
    app.connect("source-read", with_commands)
