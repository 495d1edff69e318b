"""What is read of a checkpoint from elsewhere costs neither memory nor time."""

from __future__ import annotations

import pickle
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from pytest_trtgate.workers.survey.checkpoint_file import PICKLE_BYTES, read_checkpoint


def checkpoint(folder: Path, content: bytes) -> Path:
    with zipfile.ZipFile(folder / "a.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", content)
    return folder / "a.pt"


def test_a_pickle_far_larger_than_any_model_is_not_unpacked(tmp_path: Path) -> None:
    path = checkpoint(tmp_path, bytes(PICKLE_BYTES + 1))
    with pytest.raises(ValueError, match=r"\(a/data\.pkl unpacks to more than 4,000,000 bytes\)"):
        read_checkpoint(path)


def test_an_index_that_would_make_a_list_of_sixteen_gigabytes_makes_none(tmp_path: Path) -> None:
    tracemalloc.start()
    try:
        read_checkpoint(checkpoint(tmp_path, b"\x80\x02}r\xff\xff\xff\x7f."))
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("said", "read"), [(640, 640), ([320, 640], 640), (10**3000, None), (-1, None), ("a", None)])
def test_an_image_size_is_one(tmp_path: Path, said: object, read: int | None) -> None:
    path = checkpoint(tmp_path, pickle.dumps({"model": None, "train_args": {"imgsz": said}}, protocol=2))
    assert read_checkpoint(path).imgsz == read


def test_modules_are_told_that_no_known_package_has(tmp_path: Path) -> None:
    named = (
        "ultralytics.nn.modules.conv Conv",
        "collections OrderedDict",
        "mynet.blocks MyConv",
        "timm.layers Attention",
    )
    content = b"\x80\x02(" + b"".join(b"c" + name.replace(" ", "\n").encode() + b"\n" for name in named) + b"t0}."
    facts = read_checkpoint(checkpoint(tmp_path, content))
    assert facts.modules == ("mynet.blocks", "timm.layers")
