"""Writes the documentation as a site that opens from disk: python docs/build.py [FOLDER], by default runs/docs."""

import json
import re
import shutil
import sys
import tempfile
from pathlib import Path

from references import ROOT, broken, modules

DOCS = ROOT / "docs"
GUIDE = ("unknown", "commands", "configuration", "training", "recipes", "captures", "hosting", "trust", "api", "design")
RESULTS = ("separators", "networks", "tokens", "alpha_rgs", "recordings", "reproducing")
SCRIPTS = {"train": "train.py", "evaluate": "evaluate.py", "prepare": "data/prepare.py testset"}
LINKS = {  # targets of links outside docs/, and their places on the site
    "README.md": "index.md",
    "data/README.md": "data.md",
    "CHANGELOG.md": "changelog.md",
    "LICENSE": "files/LICENSE",
    "constraints.txt": "files/constraints.txt",
    "docs/results": "results.md",
}


def navigation() -> dict[str, list[str]]:
    """Returns the pages of each caption; pages of docs/ that no list names come last in the guide."""
    there = {path.stem for path in DOCS.glob("*.md")}
    rest = sorted(there - {*GUIDE, *RESULTS})
    return {
        "Guide": [*(name for name in GUIDE if name in there), *rest],
        "Methods and results": [*RESULTS, "results"],
        "Reference": ["reference/commands", "reference/options", "reference/rfsep", "data", "changelog"],
    }


def relinked(text: str, folder: Path) -> str:
    """Returns a page with its links rewritten for the site.

    Args:
        text: text of the page.
        folder: folder in this repository that the page's links start from.
    """

    def link(match: re.Match[str]) -> str:
        place = (folder / match[1]).resolve().relative_to(ROOT).as_posix()
        page = LINKS.get(place) or re.sub("^docs/results/", "files/", place).removeprefix("docs/")
        return f"]({page}{match[2] or ''})"

    return re.sub(r"\]\((?!http|#)([^)#]+)(#[^)]*)?\)", link, text)


def toctree(names: list[str], caption: str = "", options: str = "") -> str:
    """Returns a table of contents in MyST."""
    caption = f":caption: {caption}\n" if caption else ""
    return "```{toctree}\n" + caption + options + "\n".join(names) + "\n```\n\n"


def module_pages(out: Path) -> None:
    """Writes one page per module, below the page of its package."""
    names = modules()
    for name in names:
        depth = name.count(".") + 1
        below = [one for one in names if one.startswith(f"{name}.") and one.count(".") == depth]
        text = f"# {name}\n\n```{{eval-rst}}\n.. automodule:: {name}\n```\n\n"
        (out / f"{name}.md").write_text(text + (toctree(below, options=":maxdepth: 1\n") if below else ""))


def command_page() -> str:
    """Returns a page with the output of ``rfsep --help`` and the help of each command."""
    from typer.main import get_command

    from rfsep.app.commands import app

    group = get_command(app)
    context = group.make_context("rfsep", [], resilient_parsing=True, max_content_width=100)
    text = f"# The rfsep command\n\n```text\n{group.get_help(context)}\n```\n\n"
    for name, command in sorted(group.commands.items()):  # type: ignore[attr-defined]
        inner = command.make_context(name, [], parent=context, resilient_parsing=True)
        text += f"## rfsep {name}\n\n```text\n{command.get_help(inner)}\n```\n\n"
    return text


def option_page() -> str:
    """Returns a page with the YAML of every script and of every option of conf/."""
    conf = ROOT / "conf"
    text = "# The options of conf/\n\nThe keys of each script, then every group and its options.\n\n"
    for name, script in SCRIPTS.items():
        text += f"## python {script}\n\n```yaml\n{(conf / f'{name}.yaml').read_text()}```\n\n"
    for name in ("learn", "host"):
        text += f"## rfsep {name}\n\n```yaml\n{(conf / f'{name}.yaml').read_text()}```\n\n"
    for group in sorted(path for path in conf.iterdir() if path.is_dir()):
        text += f"## {group.name}\n\n"
        for path in sorted(group.rglob("*.yaml")):
            option = path.relative_to(group).with_suffix("").as_posix()
            text += f"### {group.name}={option}\n\n```yaml\n{path.read_text()}```\n\n"
    return text


def result_page() -> str:
    """Returns a page with a link to each file of results."""
    text = "# Results as JSON\n\nWhat the tables are written from, as the commands left it.\n\n"
    text += "| file | command |\n|---|---|\n"
    for path in sorted((DOCS / "results").glob("*.json")):
        experiment = json.loads(path.read_text()).get("experiment")
        command = f"`python evaluate.py experiment={experiment}`" if experiment else ""
        text += f"| [{path.name}](files/{path.name}) | {command} |\n"
    return text


def write_sources(out: Path) -> None:
    """Writes all sources of Sphinx."""
    (out / "reference").mkdir(parents=True)
    (out / "files").mkdir()
    for path in DOCS.glob("*.md"):
        (out / path.name).write_text(relinked(path.read_text(), DOCS))
    for path in DOCS.glob("*.png"):
        shutil.copy(path, out)
    for path in [*(DOCS / "results").glob("*.json"), ROOT / "LICENSE", ROOT / "constraints.txt"]:
        shutil.copy(path, out / "files")
    contents = [toctree(names, caption, ":hidden:\n") for caption, names in navigation().items()]
    (out / "index.md").write_text(relinked((ROOT / "README.md").read_text(), ROOT) + "\n" + "".join(contents))
    (out / "data.md").write_text(relinked((ROOT / "data" / "README.md").read_text(), ROOT / "data"))
    (out / "changelog.md").write_text(relinked((ROOT / "CHANGELOG.md").read_text(), ROOT))
    (out / "results.md").write_text(result_page())
    (out / "reference" / "commands.md").write_text(command_page())
    (out / "reference" / "options.md").write_text(option_page())
    module_pages(out / "reference")


def main(out: Path) -> int:
    """Writes the site, and returns 0 if there is no fault; a warning is an error."""
    # Sphinx is in the extra "docs", which the functions above do not need.
    from sphinx.cmd.build import main as sphinx_build

    if wrong := broken():
        print("names in docstrings that are nowhere:", *wrong, sep="\n")
        return 1
    with tempfile.TemporaryDirectory() as folder:
        sources = Path(folder, "sources")
        write_sources(sources)
        arguments = ["-b", "html", "-c", str(DOCS), "-d", f"{folder}/doctrees", "-W", "--keep-going", "--quiet"]
        return sphinx_build([*arguments, str(sources), str(out)])


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "runs" / "docs"))
