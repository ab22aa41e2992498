"""Settings of Sphinx for docs/build.py."""

import re
import sys
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parent))
from references import REFERENCE, modules, resolve

project = "rfsep"
html_title = "rfsep"
extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "myst_parser"]
myst_heading_anchors = 3
autodoc_default_options = {"members": True, "undoc-members": True, "member-order": "bysource"}
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 88
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # fields of a NamedTuple stand once
add_module_names = False
highlight_language = "bash"
html_theme = "furo"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_show_sphinx = html_show_sourcelink = html_copy_source = False
html_show_copyright = False
pygments_style, pygments_dark_style = "default", "github-dark"


def _skip(app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Fields of a NamedTuple are told by its docstring, and constants by their own lines."""
    return True if type(obj).__name__ == "_tuplegetter" else None


def _linked(text: str, module: str, owner: str) -> str:
    """A line with the names in its single backticks as links; private ones are shown as they are."""

    def link(match: re.Match[str]) -> str:
        full = resolve(match[1], module, owner)
        if full is None:
            return match[0]  # docs/build.py reports that there is no such name
        private = any(part.startswith("_") for part in full.split("."))
        return f"``{match[1]}``" if private else f":py:obj:`{match[1]} <{full}>`"

    # outside of backticks these would be a substitution and a link
    parts = re.split(r"(`+[^`]+`+)", text)
    parts[::2] = [re.sub(r"\||(?<=\w)_(?!\w)", r"\\\g<0>", part) for part in parts[::2]]
    return REFERENCE.sub(link, "".join(parts))


def _docstring(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Make links of names, and literal blocks of what the command line shows as it stands."""
    module = max((one for one in modules() if f"{name}.".startswith(f"{one}.")), key=len)
    owner = name.removeprefix(module).lstrip(".")
    owner = owner if what in ("class", "exception") else owner.rpartition(".")[0]
    indent = code = ""
    for index, line in enumerate(lines):
        if line == "\b":
            lines[index], indent = "::\n", "  "
        elif not line.strip():
            indent = code = ""
        elif indent:
            lines[index] = indent + line
        elif not (code := ">>>" if line.lstrip().startswith(">>>") else code):
            lines[index] = _linked(line, module, owner)
    lines[:] = "\n".join(lines).split("\n")


def setup(app: Sphinx) -> None:
    """Tell Sphinx of the above."""
    app.connect("autodoc-skip-member", _skip)
    app.connect("autodoc-process-docstring", _docstring)
