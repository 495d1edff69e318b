"""Release packs: written of what passed, and checked to the last bit."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from pretended import VERSIONS, PretendedMachine
from project import H200, Project, snapshot
from runs_example import passing_run

from pytest_trtgate.cli import main
from pytest_trtgate.machine.gpus import Gpu
from pytest_trtgate.records import Outcome, PackManifest, RunRecord, Verdict, file_sha256, load, save

FP16 = "--trt-precision=fp16"
KEY = "shapes-fp16-320-b1-onnxruntime-cpu"
FILES = ["SHA256SUMS", "engine.onnx", "manifest.json", "report.html"]
GPU_PARTS = {
    "backend": "tensorrt",
    "backend_version": "10.3.0",
    "gpu": "NVIDIA H200",
    "compute_capability": "9.0",
    "driver": "575.57",
    "device": "0",
}


Says = Callable[..., str]


def changed(here: Path, change: Callable[[RunRecord], dict[str, Any]]) -> None:
    """Change fields of the run's record."""
    run = load(here / "run.json", RunRecord)
    save(here / "run.json", run.model_copy(update=change(run)))


def with_verdict(here: Path, subject: str, **fields: Any) -> None:
    """Change fields of one verdict in the run's record."""

    def one(verdict: Verdict) -> Verdict:
        return verdict.model_copy(update=fields) if verdict.subject == subject else verdict

    changed(here, lambda run: {"verdicts": tuple(map(one, run.verdicts))})


# What is written


def test_a_pack_holds_the_engine_that_was_judged_and_the_evidence(here: Path) -> None:
    assert sorted(path.name for path in (here / "dist").iterdir()) == FILES
    run, manifest = load(here / "run.json", RunRecord), load(here / "dist" / "manifest.json", PackManifest)
    assert file_sha256(here / "dist" / "engine.onnx") == manifest.artifact.sha256 == run.engines[KEY].sha256
    assert manifest.weights_sha256 == run.engines[KEY].key_parts["weights"]
    assert (manifest.run_id, manifest.cell.key, manifest.environment) == (run.run_id, KEY, run.environment)
    assert (manifest.data.images, manifest.data.digest) == (4, run.accuracies[0].data_digest)
    assert manifest.metrics["mAP50-95"] == 0.75
    assert [(v.subject, v.outcome) for v in manifest.verdicts] == [("accuracy", "PASS"), ("latency", "PASS")]
    assert all(check.sentence for verdict in manifest.verdicts for check in verdict.checks)
    assert (manifest.settings["imgsz"], manifest.waived) == (320, ())


def test_the_report_in_a_pack_is_one_file_of_one_cell(here: Path, says: Says) -> None:
    run = passing_run()
    (here / "engine").write_bytes(b"an engine")
    engine = run.engines[KEY].model_copy(update={"sha256": file_sha256(here / "engine"), "size_bytes": 9})
    failed = {"outcome": Outcome.FAIL, "failed": True}
    verdicts = tuple(v.model_copy(update=failed) if v.cell.precision == "int8" else v for v in run.verdicts)
    save(here / "run.json", run.model_copy(update={"engines": {**run.engines, KEY: engine}, "verdicts": verdicts}))
    assert "name one cell with --only; it has: shapes-fp32-" in says(2, "promote", "run.json", "-o", "new")
    says(0, "promote", "run.json", "--only", KEY, "-o", "new", "--engine=engine")
    page = (here / "new" / "report.html").read_text(encoding="utf-8")
    assert "All 2 verdicts pass." in page
    assert "shapes int8" not in page
    assert re.findall(r"""(?:src|href)=["'](?!data:|#)""", page) == []


def test_the_same_run_gives_the_same_bytes_to_the_command_line_and_to_pytest(gated_files: Path) -> None:
    by_pytest = gated_files / "packs" / KEY
    assert snapshot(by_pytest) == snapshot(gated_files / "dist")
    # As of any file: the umask decides who may read it.
    assert by_pytest.stat().st_mode == (gated_files / "reports").stat().st_mode


def test_promote_prints_what_verify_asks_for(here: Path, says: Says) -> None:
    said = says(0, "promote", "run.json", "--only", KEY, "-o", "dist")
    sha256 = file_sha256(here / "dist" / "manifest.json")
    assert said == f"dist: shapes fp16 promoted; SHA-256 of its manifest.json: {sha256}\n"
    assert says(0, "verify", "dist", "--sha256", sha256.upper()).startswith(f"dist: {KEY}, passed in run ")
    other = says(1, "verify", "dist", "--sha256", "0" * 64)
    assert other == f"dist: manifest.json has the SHA-256 {sha256}, not {'0' * 64}\n"


def test_the_list_of_digests_is_one_that_sha256sum_reads(here: Path) -> None:
    done = subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=here / "dist", capture_output=True)
    assert done.returncode == 0
    assert done.stdout.count(b": OK\n") == 3


def test_the_engine_may_be_named_and_must_be_the_one_that_was_judged(here: Path, says: Says) -> None:
    changed(here, lambda run: {"engines": {KEY: run.engines[KEY].model_copy(update={"entry": "/nowhere"})}})
    gone = says(1, "promote", "run.json", "-o", "new")
    assert gone.startswith("trtgate: /nowhere/engine.onnx: the engine cannot be copied (No such file or directory); ")
    (here / "other.onnx").write_bytes(b"another")
    assert "other.onnx: not the engine that was judged (7 bytes, judged " in says(
        1, "promote", "run.json", "-o", "new", "--engine", "other.onnx"
    )
    assert not (here / "new").exists()
    (here / "moved.onnx").write_bytes((here / "dist" / "engine.onnx").read_bytes())
    says(0, "promote", "run.json", "-o", "new", "--engine", "moved.onnx")
    assert (here / "new" / "engine.onnx").read_bytes() == (here / "moved.onnx").read_bytes()


# What is refused


@pytest.mark.parametrize("outcome", [outcome for outcome in Outcome if outcome is not Outcome.PASS])
def test_a_cell_that_did_not_pass_is_refused_by_the_verdict(here: Path, says: Says, outcome: Outcome) -> None:
    with_verdict(here, "latency", outcome=outcome, failed=False, summary="fp16: so it is")
    before = snapshot(here)
    expected = f"trtgate: {KEY} is not promoted: its latency is {outcome}: fp16: so it is\n"
    assert says(1, "promote", "run.json", "-o", "dist", "--allow-waived") == expected
    assert snapshot(here) == before


def test_a_waived_failure_is_taken_only_when_asked_for_and_then_named(here: Path, says: Says) -> None:
    waiver = "waived until 2027-01-31: new driver"
    with_verdict(here, "latency", outcome=Outcome.FAIL, failed=False, waived=waiver)
    said = says(1, "promote", "run.json", "-o", "dist")
    assert said.endswith(f"its latency is FAIL and {waiver}; take it with --allow-waived\n")
    says(0, "promote", "run.json", "-o", "dist", "--allow-waived")
    assert load(here / "dist" / "manifest.json", PackManifest).waived == ("latency",)
    assert f"dist: {KEY} (waived: latency), passed in run " in says(0, "verify", "dist")


def test_what_was_not_judged_is_refused(here: Path, says: Says) -> None:
    with_verdict(here, "accuracy", checks=())
    changed(here, lambda run: {"verdicts": run.verdicts[:1], "settings": {**run.settings, "baselines": "update"}})
    said = says(1, "promote", "run.json", "-o", "dist")
    assert "its accuracy was compared with nothing; give it a baseline or a budget; its latency was not judged" in said
    assert "its run accepted what it measured (--trt-baselines=update)" in said


def test_of_two_verdicts_on_one_subject_each_counts(here: Path, says: Says) -> None:
    def doubled(run: RunRecord) -> dict[str, Any]:
        failed = run.verdicts[0].model_copy(update={"outcome": Outcome.FAIL, "failed": True, "summary": "it fell"})
        return {"verdicts": (failed, *run.verdicts)}

    changed(here, doubled)
    assert "its accuracy is FAIL: it fell\n" in says(1, "promote", "run.json", "-o", "new")


def test_a_folder_in_the_place_of_a_file_of_a_pack_is_left_alone(here: Path, says: Says) -> None:
    (here / "dist" / "report.html").unlink()
    (here / "dist" / "report.html").mkdir()
    (here / "dist" / "report.html" / "notes.txt").touch()
    assert " holds report.html, and is no release pack" in says(1, "promote", "run.json", "-o", "dist")
    assert (here / "dist" / "report.html" / "notes.txt").exists()


def test_a_folder_that_holds_something_else_is_left_alone(here: Path, says: Says) -> None:
    (here / "dist" / "notes.txt").touch()
    before = snapshot(here)
    said = says(1, "promote", "run.json", "-o", "dist")
    assert said == f"trtgate: {here}/dist holds notes.txt, and is no release pack; name a folder that is new or empty\n"
    for taken, held in (("run.json", "run.json"), (".", "dist")):
        assert f" holds {held}, and is no release pack" in says(1, "promote", "run.json", "-o", taken)
    assert snapshot(here) == before


def test_an_unusable_record_and_an_unknown_cell_are_unusable_input(here: Path, says: Says) -> None:
    assert "none.json: cannot be read" in says(2, "promote", "none.json", "-o", "dist")
    assert f"no cell 'x'; it has: {KEY}\n" in says(2, "promote", "run.json", "--only=x", "-o", "dist")
    assert "--certificate needs the private key" in says(2, "promote", "run.json", "-o", "new", "--certificate=c.pem")


def test_without_the_extra_a_signature_is_neither_made_nor_checked(
    here: Path, says: Says, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "model_signing", None)
    for command in (("promote", "run.json", "-o", "new", "--sign=key.pem"), ("verify", "dist", "--key=key.pub")):
        said = says(2, *command)
        assert said.startswith("trtgate: signatures need the extra: pip install 'pytest-trtgate[sign]' (")
    assert not (here / "new").exists()


# What pytest writes


@pytest.mark.parametrize("workers", [(), ("-n2",)])
def test_pytest_writes_packs_of_a_green_run(gated_files: Path, project: Project, workers: Sequence[str]) -> None:
    if workers:
        pytest.importorskip("xdist")
    project.take_over(gated_files)
    shutil.rmtree(project.path / "packs")
    result = project.run_apart(FP16, "--trt-promote=packs", *workers)
    assert result.ret == 0, result.output
    assert f"{KEY}: shapes fp16 promoted; SHA-256 of its manifest.json: " in result.output
    assert sorted(path.name for path in (project.path / "packs" / KEY).iterdir()) == FILES


def test_pytest_writes_no_pack_where_anything_failed(gated_files: Path, project: Project) -> None:
    project.take_over(gated_files)
    project.tests("def test_other(): assert False", "test_other.py")
    result = project.run(FP16, "--trt-promote=new")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["no release pack was written into */new: the run is not green"])
    assert not (project.path / "new").exists()


def test_pytest_writes_no_pack_where_a_test_was_left_out(gated_files: Path, project: Project) -> None:
    project.take_over(gated_files)
    project.tests("def test_more(trtgate): pass", "test_more.py")
    project.hooks("def pytest_runtest_protocol(item): return True if item.path.name == 'test_more.py' else None")
    result = project.run(FP16, "--trt-promote=new")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["trtgate: pytest ended before 1 test of the gate, first test_more.py::*"])
    assert not (project.path / "new").exists()


def test_one_cell_that_may_not_be_promoted_keeps_all_others_back(gated_files: Path, project: Project) -> None:
    project.take_over(gated_files)
    result = project.run("--trt-precision=fp16,int8", "--trt-promote=new")
    assert result.ret == 1
    assert {*project.outcomes("latency").items()} == {("fp16", "PASS"), ("int8", "NO_BASELINE")}
    refused = "shapes-int8-320-b1-onnxruntime-cpu is not promoted: its * is NO_BASELINE: *"
    result.stdout.fnmatch_lines([f"trtgate: no release pack was written into */new: {refused}"])
    assert not (project.path / "new").exists()


# What is found


def test_a_whole_pack_is_whole_wherever_it_is(here: Path, says: Says) -> None:
    (here / "dist").rename(here / "moved")
    said = says(0, "verify", "moved/")
    assert said.startswith(f"moved: {KEY}, passed in run ")
    assert said.endswith("; not signed; whole, and this machine may load it\n")


@pytest.mark.parametrize("name", FILES)
def test_one_flipped_bit_anywhere_is_found(here: Path, says: Says, name: str) -> None:
    path = here / "dist" / name
    content = bytearray(path.read_bytes())
    random.seed(name)
    for place in {0, 8 * len(content) - 1, *random.sample(range(8 * len(content)), 40)}:
        content[place // 8] ^= 1 << place % 8
        path.write_bytes(content)
        assert name in says(1, "verify", "dist"), place
        content[place // 8] ^= 1 << place % 8
    path.write_bytes(content)
    says(0, "verify", "dist")


def test_a_list_of_digests_in_another_order_is_found(here: Path, says: Says) -> None:
    path = here / "dist" / "SHA256SUMS"
    path.write_bytes(b"".join(reversed(path.read_bytes().splitlines(keepends=True))))
    assert says(1, "verify", "dist") == "dist: SHA256SUMS has changed\n"


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_found(here: Path, says: Says, name: str) -> None:
    (here / "dist" / name).unlink()
    assert f"dist: {name} is missing" in says(1, "verify", "dist")


def test_foreign_files_links_and_folders_are_found(here: Path, says: Says) -> None:
    (here / "dist" / "more.txt").touch()
    (here / "dist" / "folder").mkdir()
    (here / "dist" / "link").symlink_to("manifest.json")
    (here / "dist" / os.fsdecode(b"\xff.txt")).touch()
    said = says(1, "verify", "dist")
    assert "dist: \N{REPLACEMENT CHARACTER}.txt is not in SHA256SUMS\n" in said
    assert "dist: more.txt is not in SHA256SUMS\n" in said
    assert "dist: more.txt belongs to no pack\n" in said
    assert "dist: folder: a folder, not a regular file\n" in said
    assert "dist: link is a link, and no pack has one\n" in said


@pytest.mark.parametrize("name", [*FILES, "model.sig"])
def test_a_file_that_is_far_too_large_is_not_read(here: Path, says: Says, name: str) -> None:
    with (here / "dist" / name).open("wb") as hole:
        hole.truncate(400_000_000_000)
    most = "4.0 GB" if name == "engine.onnx" else "1.0 GB"
    assert f"dist: {name}: 400 GB, more than {most}\n" in says(1, "verify", "dist")


def test_another_engine_with_new_sums_is_not_that_of_the_manifest(here: Path, says: Says) -> None:
    (here / "dist" / "engine.onnx").write_bytes(b"another")
    subprocess.run(
        "sha256sum engine.onnx manifest.json report.html | sort -k2 > SHA256SUMS",
        shell=True,
        check=True,
        cwd=here / "dist",
    )
    assert "dist: engine.onnx is not the one of manifest.json: SHA-256 " in says(1, "verify", "dist")


def test_what_is_no_pack_is_unusable_input(here: Path, says: Says) -> None:
    (here / "all packs").mkdir()
    lacks = "trtgate: all packs: no release pack: it has neither manifest.json nor SHA256SUMS"
    assert says(2, "verify", "all packs") == f"{lacks}\n"
    (here / "dist").rename(here / "all packs" / "dist")
    assert says(2, "verify", "all packs") == f"{lacks}; packs are in it: trtgate verify 'all packs/dist'\n"
    assert says(2, "verify", "none") == "trtgate: none: no such folder\n"
    with pytest.raises(SystemExit):
        main(["verify", "dist", "--sha256=abc"])


# Which machine may load it


def packed_for(here: Path, says: Says, **environment: Any) -> None:
    """Have the pack be of an engine that ran elsewhere."""
    changed(here, lambda run: {"environment": run.environment.model_copy(update=environment)})
    says(0, "promote", "run.json", "-o", "dist")


def with_gpus(version: str, *gpus: Gpu) -> PretendedMachine:
    return PretendedMachine(installed={**VERSIONS, "tensorrt": version}, visible=gpus)


def test_a_machine_like_that_of_the_run_may_load_a_plan(here: Path, says: Says) -> None:
    packed_for(here, says, **GPU_PARTS)
    newer = Gpu("NVIDIA H200", "GPU-9", "9.0", "580.1")
    for gpus in ([H200], [newer], [Gpu("NVIDIA L4", "GPU-2", "8.9", "575.57"), H200]):
        assert "and this machine may load it" in says(0, "verify", "dist", machine=with_gpus("10.3.0", *gpus))


@pytest.mark.parametrize(
    ("machine", "why"),
    [
        (with_gpus("10.3.1", H200), "TensorRT is 10.3.1; the engine is of 10.3.0, and no other loads it"),
        (PretendedMachine(visible=(H200,)), "TensorRT is not installed; the engine ran on 10.3.0"),
        (
            with_gpus("10.3.0", Gpu("NVIDIA L4", "GPU-2", "8.9", "575.57")),
            "the engine is of NVIDIA H200 (9.0); visible GPUs: NVIDIA L4 (8.9)",
        ),
        (with_gpus("10.3.0"), "the engine is of NVIDIA H200 (9.0); visible GPUs: none"),
        (
            with_gpus("10.3.0", Gpu("NVIDIA H200", "GPU-2", "9.0", "575.9")),
            "the driver is 575.9, older than the 575.57 that the engine ran on",
        ),
    ],
)
def test_another_machine_may_not_load_a_plan(here: Path, says: Says, machine: PretendedMachine, why: str) -> None:
    packed_for(here, says, **GPU_PARTS)
    assert says(1, "verify", "dist", machine=machine) == f"dist: this machine cannot load it: {why}\n"
    assert says(0, "verify", "dist", "--elsewhere", machine=machine).endswith("; not signed; whole\n")


def test_onnx_runtime_loads_what_an_older_one_did(here: Path, says: Says) -> None:
    packed_for(here, says, backend_version="1.30.0")
    assert "may load it" in says(0, "verify", "dist")
    packed_for(here, says, backend_version="1.32.0")
    why = "ONNX Runtime is 1.31.0, older than the 1.32.0 that the engine ran on"
    assert says(1, "verify", "dist") == f"dist: this machine cannot load it: {why}\n"
    bare = PretendedMachine(installed={})
    assert "ONNX Runtime is not installed; the engine ran on 1.32.0" in says(1, "verify", "dist", machine=bare)


def test_an_empty_key_is_no_cell_even_where_there_is_one_alone(here: Path, says: Says) -> None:
    assert "no cell ''; it has: " in says(2, "promote", "run.json", "--only=", "-o", "new")
    assert not (here / "new").exists()


def test_an_engine_of_another_size_is_not_copied(here: Path, says: Says) -> None:
    with (here / "hole.onnx").open("wb") as hole:
        hole.truncate(400_000_000_000)
    said = says(1, "promote", "run.json", "-o", "new", "--engine=hole.onnx")
    assert "hole.onnx: not the engine that was judged (400,000,000,000 bytes, judged " in said
