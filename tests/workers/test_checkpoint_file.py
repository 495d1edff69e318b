"""What is read of a checkpoint from elsewhere costs neither memory nor time."""

from __future__ import annotations

import pickle
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from pytest_trtgate.workers.survey.checkpoint_file import PICKLE_BYTES, NoCheckpointError, read_checkpoint

NETWORK = b"cultralytics.nn.tasks\nDetectionModel\n)R"
TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n)R"
WEIGHTS = b"}U\x01w" + TENSOR + b"s"
LEGACY = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2)


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
        read_checkpoint(checkpoint(tmp_path, b"\x80\x02}r\xff\xff\xff\x7fU\x05model" + NETWORK + b"s."))
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("said", "read"), [(640, 640), ([320, 640], 640), (10**3000, None), (-1, None), ("a", None)])
def test_an_image_size_is_one(tmp_path: Path, said: object, read: int | None) -> None:
    arguments = pickle.dumps({"imgsz": said}, protocol=2)[2:-1]
    path = checkpoint(tmp_path, b"\x80\x02}U\x05model" + NETWORK + b"sU\ntrain_args" + arguments + b"s.")
    assert read_checkpoint(path).imgsz == read


def test_modules_are_told_that_no_known_package_has(tmp_path: Path) -> None:
    named = (
        "ultralytics.nn.modules.conv Conv",
        "collections OrderedDict",
        "mynet.blocks MyConv",
        "timm.layers Attention",
    )
    parts = b"".join(b"c" + name.replace(" ", "\n").encode() + b"\n" for name in named)
    content = b"\x80\x02(" + parts + b"t0}U\x05model" + NETWORK + b"s."
    facts = read_checkpoint(checkpoint(tmp_path, content))
    assert facts.modules == ("mynet.blocks", "timm.layers")


@pytest.mark.parametrize(
    ("content", "held"),
    [
        (WEIGHTS, "weights alone (a state_dict), without the network that they are of"),
        (b"}U\nstate_dict" + WEIGHTS + b"sU\x05epochK\x03s", "weights alone (a state_dict)"),
        (b"}U\x05model" + WEIGHTS + b"s", "weights alone (a state_dict)"),
        (b"}U\x05model" + TENSOR + b"s", "a 'model' that is no network"),
        (b"}U\x05modelNsU\x03emaNs", "no 'model', nor 'ema'"),
        (NETWORK + b"}U\x08_modules}U\x05modelctorch.nn\nSequential\n)Rssb", "a network alone, as torch.save(model)"),
        (b"](K\x01K\x02e", "a list, and no network"),
        (TENSOR, "a tensor, and no network"),
    ],
)
def test_what_is_no_checkpoint_is_told_by_what_it_holds(tmp_path: Path, content: bytes, held: str) -> None:
    legacy = tmp_path / "legacy.pt"
    legacy.write_bytes(LEGACY + b"\x80\x02" + content + b".")
    for path in (checkpoint(tmp_path, b"\x80\x02" + content + b"."), legacy):
        with pytest.raises(NoCheckpointError) as error:
            read_checkpoint(path)
        assert str(error.value).startswith(f"{path}: no checkpoint of Ultralytics: it holds {held}")


@pytest.mark.parametrize(
    "content",
    [
        b"}U\x05modelNsU\x03ema" + NETWORK + b"s",
        b"cultralytics\nYOLO\n)R}U\x08_modules}U\x05model" + NETWORK + b"ssb",
    ],
)
def test_what_ultralytics_can_load_is_a_checkpoint(tmp_path: Path, content: bytes) -> None:
    legacy = tmp_path / "legacy.pt"
    legacy.write_bytes(LEGACY + b"\x80\x02" + content + b".bytes of tensors")
    for path in (checkpoint(tmp_path, b"\x80\x02" + content + b"."), legacy):
        assert read_checkpoint(path).names is None


def test_a_name_that_would_be_gigabytes_of_text_is_none(tmp_path: Path) -> None:
    # A list of twice the list before, forty times.
    bomb = b"]q\x000" + b"".join(b"](h%ch%ceq%c0" % (n, n, n + 1) for n in range(40))
    names = b"}U\x05names}(K\x00h\x28K\x01U\x01aus"
    found = read_checkpoint(checkpoint(tmp_path, b"\x80\x02" + bomb + b"}U\x05model" + NETWORK + names + b"bs."))
    assert found.names == {1: "a"}


def test_an_archive_of_something_else_is_no_checkpoint(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("archive/models/model.json", "{}")  # as torch.export.save() writes it
    with pytest.raises(NoCheckpointError, match=r"a ZIP archive without data\.pkl"):
        read_checkpoint(tmp_path / "a.pt")
