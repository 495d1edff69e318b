"""Packages whose sources are not those of their version are told from those that are."""

from __future__ import annotations

import base64
import hashlib
import sys
from pathlib import Path

import pytest

from pytest_trtgate.machine import packages, released, with_edits
from pytest_trtgate.machine.packages import DECODERS, edits, installed_versions, versions_in_key


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages with version 8.4.190 of Ultralytics, as an installer leaves it."""
    package, about = tmp_path / "site" / "ultralytics", tmp_path / "site" / "ultralytics-8.4.190.dist-info"
    write_package(package)
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: ultralytics\nVersion: 8.4.190\n")
    lines = [f"{p.relative_to(package.parent).as_posix()},{sha256(p)},9" for p in package.rglob("*") if p.is_file()]
    (about / "RECORD").write_text("\n".join([*lines, "ultralytics-8.4.190.dist-info/RECORD,,"]) + "\n")
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.delitem(sys.modules, "ultralytics", raising=False)
    return package.parent


def write_package(folder: Path) -> None:
    for name in ("__init__.py", "nn/tasks.py", "cfg/default.yaml"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"# {name}\n")


def sha256(path: Path) -> str:
    digest = hashlib.sha256(path.read_bytes()).digest()
    return "sha256=" + base64.urlsafe_b64encode(digest).decode().rstrip("=")


@pytest.fixture(autouse=True)
def _asked_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "edits", edits.__wrapped__)


def version() -> str:
    return with_edits({"ultralytics": "8.4.190"}, packages.edits)["ultralytics"]


def test_a_package_as_it_was_installed_has_its_version_and_no_more(site: Path) -> None:
    (site / "ultralytics" / "__pycache__").mkdir()
    (site / "ultralytics" / "__pycache__" / "tasks.pyc").write_bytes(b"compiled")
    assert version() == "8.4.190"


@pytest.mark.parametrize("name", ["nn/tasks.py", "cfg/default.yaml", "nn/added.py"])
def test_a_package_that_someone_changed_has_another_version_for_each_change(site: Path, name: str) -> None:
    versions = []
    for content in ("one", "another"):
        (site / "ultralytics" / name).write_text(content)
        versions.append(version())
    assert len({"8.4.190", *versions}) == 3
    assert {released(one) for one in versions} == {"8.4.190"}


def test_sources_that_were_deleted_change_a_version(site: Path) -> None:
    (site / "ultralytics" / "nn" / "tasks.py").unlink()
    assert version() != "8.4.190"


def test_a_folder_of_ones_own_in_the_place_of_the_installed_is_told(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As an editable install, or one in PYTHONPATH: the sources are elsewhere, whatever RECORD says.
    write_package(tmp_path / "mine" / "ultralytics")
    (tmp_path / "mine" / "ultralytics" / "nn" / "tasks.py").write_text("mine")
    monkeypatch.syspath_prepend(tmp_path / "mine")
    assert version() != "8.4.190"


@pytest.mark.parametrize("about", [None, b"", b"\xff\xfe\0", b"Metadata-Version: 2.1\nName: ultralytics\n"])
def test_what_an_upgrade_that_broke_off_has_left_is_passed_over(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, about: bytes | None
) -> None:
    left = tmp_path / "first" / "ultralytics-8.0.0.dist-info"
    left.mkdir(parents=True)
    if about is not None:
        (left / "METADATA").write_bytes(about)
    monkeypatch.syspath_prepend(left.parent)
    assert installed_versions()["ultralytics"] == "8.4.190"
    assert version() == "8.4.190"


def test_what_reads_heic_is_in_keys_only_where_it_is_installed() -> None:
    assert versions_in_key(DECODERS, {"pillow": "12"}).keys() == {"opencv-python", "opencv-python-headless", "pillow"}
    assert versions_in_key(DECODERS, {"pi-heif": "1"})["pi-heif"] == "1"


def test_the_contributed_opencv_is_in_keys_only_where_it_is_installed() -> None:
    names = ("opencv-python", "opencv-contrib-python")
    assert versions_in_key(names, {"opencv-python": "5"}) == {"opencv-python": "5"}
    assert versions_in_key(names, {"opencv-contrib-python": "5"}) == {
        "opencv-python": None,
        "opencv-contrib-python": "5",
    }
