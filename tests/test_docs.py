"""The docs say what the code says: pages made from it, the picture of imports, links, and the public names."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib
sys.path.append(str(Path(__file__).parents[1] / "docs"))

import architecture_picture
import generated
from setting_words import WORDS

import pytest_trtgate
from pytest_trtgate.settings import Settings

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [*ROOT.glob("*.md"), *DOCS.glob("*.md"), *DOCS.glob("*/*.md")]
README_BYTES = 6000


@pytest.mark.parametrize("name", generated.PAGES)
def test_a_reference_page_is_what_the_code_says(name: str) -> None:
    written = (DOCS / "reference" / name).read_text(encoding="utf-8")
    assert written == generated.PAGES[name](), "run: python docs/generated.py"


def test_what_is_said_of_settings_is_of_settings_that_exist() -> None:
    keys = {key for key, _ in generated.leaves(Settings, "")}
    keys |= {key for key, _ in generated.leaves(generated.Model, "models[].")}
    assert [name for name in WORDS if name not in keys and not any(fnmatchcase(key, name) for key in keys)] == []


def test_the_picture_and_the_page_of_the_architecture_are_what_the_code_says() -> None:
    assert architecture_picture.complaints(architecture_picture.package_imports()) == []


def test_packages_that_import_each_other_in_a_circle_have_no_levels() -> None:
    with pytest.raises(ValueError, match="a -> b -> a"):
        architecture_picture.levels({"a": frozenset({"b"}), "b": frozenset({"a"})})


def test_an_arrow_without_a_sentence_and_a_sentence_without_an_arrow_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, picture = tmp_path / "page.md", tmp_path / "picture.svg"
    monkeypatch.setattr(architecture_picture, "PAGE", page)
    monkeypatch.setattr(architecture_picture, "PICTURE", picture)
    imports = {"a": frozenset({"b"}), "b": frozenset[str]()}
    picture.write_text(architecture_picture.picture(imports), encoding="utf-8")
    page.write_text("- `a → b`: A needs it.\n", encoding="utf-8")
    assert architecture_picture.complaints(imports) == []
    page.write_text("- `a → c`: A needs it.\n", encoding="utf-8")
    assert architecture_picture.complaints(imports) == [
        f"{page} has no sentence for `a → b`: say why a imports b",
        f"{page} explains `a → c`, but a does not import c",
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_files_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]
    assert [target for target in targets if target and not (page.parent / target).exists()] == []


def test_links_have_words_of_their_own() -> None:
    # Sphinx puts the title into a link without words; whoever reads the file itself sees nothing.
    assert [page.name for page in PAGES if "[](" in page.read_text(encoding="utf-8")] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_examples_of_settings_are_accepted(page: Path) -> None:
    for example in re.findall(r"```toml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        table = tomllib.loads(example)
        Settings.model_validate(table.get("tool", {}).get("trtgate", table))


def test_the_messages_that_are_explained_are_messages_of_the_code() -> None:
    page = (DOCS / "how-to" / "troubleshooting.md").read_text(encoding="utf-8")
    explained = [
        message for row in re.findall(r"^\| (.+?) \|", page, re.MULTILINE) for message in re.findall("`(.+?)`", row)
    ]
    said = "\n".join(text for path in (ROOT / "pytest_trtgate").rglob("*.py") for text in texts_of(path))
    assert len(explained) > 50
    assert [message for message in explained if message not in said] == []


def texts_of(path: Path) -> Iterator[str]:
    """Yield the texts in a file but for docstrings, with ``...`` for each value that a text is given."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    for node in nodes:
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "..." for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


def test_the_readme_is_short() -> None:
    assert (ROOT / "README.md").stat().st_size <= README_BYTES


def test_every_public_name_is_in_the_reference() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in (DOCS / "reference").glob("*.md"))
    public = set(pytest_trtgate.__all__) - {"__version__"}
    assert {name for name in public if not re.search(rf"\b{name}\b", text)} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:pytest_trtgate|tests|docs|bench|examples|\.github)/[\w./-]+)`", text))
    made = {"docs/_build/html"}
    # The changelog speaks of files as they were.
    assert page.name == "CHANGELOG.md" or [path for path in named - made if not (ROOT / path).exists()] == []
