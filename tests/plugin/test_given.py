"""Files that are gated as they are, from the settings to the files that a run leaves."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from fake_jobs import Behaviour
from pretended import PretendedMachine
from project import SETTINGS, Project

from pytest_trtgate.cli import main
from pytest_trtgate.records import PackManifest
from pytest_trtgate.records.files import file_sha256, load, stamp
from pytest_trtgate.report.markdown import render
from pytest_trtgate.settings.given import Sidecar, read_sidecar

BASE = SETTINGS.replace('models = ["shapes.pt"]\n', "")
ENGINES = 'models = [{ path = "shapes.pt", engines = { int8 = "deploy/best.onnx" } }]'


def give(project: Project, **behaviour: dict[str, float]) -> Path:
    """Put a file where it is deployed from; what it does differs from what the gate would build."""
    file = project.path / "deploy" / "best.onnx"
    file.parent.mkdir(exist_ok=True)
    return Behaviour(**{"drop": {"int8": 0.002}, **behaviour}).save(file)  # type: ignore[arg-type]


def test_a_given_engine_is_judged_and_not_built(project: Project) -> None:
    file = give(project)
    before = stamp(file)
    project.settings(top=ENGINES, base=BASE)
    project.run().assert_outcomes(passed=6)
    engine = project.engine("int8")
    assert engine.sha256 == file_sha256(file)
    assert engine.given is not None
    assert (engine.given.source, engine.given.sidecar) == (str(file), "")
    assert [name for name in project.job_names("build") if "int8" in name] == []
    assert stamp(file) == before
    assert f"given: {file}" in project.page


def test_the_command_line_gives_an_engine_too(project: Project) -> None:
    file = give(project)
    project.run("--trt-engine=int8=deploy/best.onnx").assert_outcomes(passed=6)
    assert project.engine("int8").sha256 == file_sha256(file)


@pytest.mark.parametrize("value", ["deploy/best.onnx", "int9=deploy/best.onnx", "int8=deploy/best.bin", "int8"])
def test_what_the_command_line_gives_wrongly_is_told_in_its_own_form(project: Project, value: str) -> None:
    give(project)
    result = project.run(f"--trt-engine={value}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [f"ERROR: command line: --trt-engine = {value} is not allowed; allowed: PRECISION=FILE,*"]
    )


def test_an_accepted_engine_is_replayed_beside_another(project: Project) -> None:
    file = give(project)
    project.settings(top=ENGINES, base=BASE)
    project.run("--trt-baselines=update").assert_outcomes(passed=6)
    accepted = json.loads(project.baseline("int8").read_text())
    assert accepted["engine_sha256"] == file_sha256(file)
    give(project, p50_ms={"pt": 8.0, "int8": 3.9})
    project.run().assert_outcomes(passed=5, failed=1)
    assert "the baseline replayed beside it" in project.verdict("int8", "latency").summary


def test_a_file_that_does_not_fit_is_told_before_it_is_timed(project: Project) -> None:
    give(project)
    project.weights(Behaviour(faults={"given-int8": "refuse"}))
    project.settings(top=ENGINES, base=BASE)
    project.run().assert_outcomes(passed=4, failed=2)
    assert all(not name.startswith("launch") or "int8" not in name for name in project.job_names("latency"))
    assert project.verdict("int8", "latency").outcome == "ERROR"


def test_a_file_that_does_not_fit_is_told_before_the_checkpoint_is_evaluated(project: Project) -> None:
    give(project)
    project.weights(Behaviour(faults={"given-int8": "refuse"}))
    project.settings(top=ENGINES, base=BASE)
    project.run("-k", "accuracy", "--trt-precision=int8").assert_outcomes(failed=1)
    assert project.verdict("int8", "accuracy").outcome == "ERROR"
    assert project.job_names("accuracy") == []


def test_another_sidecar_makes_another_engine(project: Project) -> None:
    file = give(project)
    project.settings(top=ENGINES, base=BASE)
    project.run("-k", "int8 and accuracy").assert_outcomes(passed=1)
    first = project.engine("int8").cache_key
    file.with_name("best.onnx.toml").write_text('task = "detect"\n')
    project.run("-k", "int8 and accuracy").assert_outcomes(passed=1)
    assert project.engine("int8").cache_key != first
    assert project.engine("int8").given.sidecar.endswith("best.onnx.toml")  # type: ignore[union-attr]


def test_a_dataset_that_tells_of_key_points_makes_another_engine(project: Project) -> None:
    give(project)
    project.settings(top=ENGINES, base=BASE)
    project.run("-k", "int8 and accuracy").assert_outcomes(passed=1)
    first = project.engine("int8").cache_key
    data = project.path / "data" / "data.yaml"
    data.write_text(data.read_text() + "kpt_shape: [2, 3]\n")
    project.run("-k", "int8 and accuracy")
    assert project.engine("int8").cache_key != first


def test_a_sidecar_that_changes_while_it_is_read_is_told(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def saved(file: Path) -> Sidecar:
        file.with_name("best.onnx.toml").write_text("stride = 16\n")
        return read_sidecar(file)

    give(project).with_name("best.onnx.toml").write_text("stride = 32\n")
    project.settings(top=ENGINES, base=BASE)
    monkeypatch.setattr("pytest_trtgate.measuring.given.read_sidecar", saved)
    project.run("-k", "int8 and accuracy").assert_outcomes(failed=1)
    assert "deploy/best.onnx.toml changed" in project.verdict("int8", "accuracy").summary


@pytest.mark.parametrize(
    ("top", "said"),
    [
        ('models = [{ path = "shapes.pt", engines = { int8 = "none.onnx" } }]', "none.onnx: no such file"),
        ('models = [{ path = "shapes.pt", engines = { int8 = "a.plan" } }]', "it takes TensorRT and a GPU"),
        ('models = [{ path = "shapes.pt", engines = { int8 = "a.bin" } }]', "must end in .onnx or .engine"),
        ('models = [{ path = "shapes.pt", times = { int8 = "a.csv" } }]', "no predictions that they are of"),
        ('models = ["best.onnx"]', "nothing can be built of an ONNX file"),
    ],
)
def test_what_cannot_be_gated_is_a_sentence(project: Project, top: str, said: str) -> None:
    for name in ("a.plan", "a.bin", "a.csv", "best.onnx"):
        (project.path / name).write_bytes(b"bytes")
    project.settings(top=top, base=BASE)
    result = project.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert said in "".join(result.errlines + result.outlines)


@pytest.mark.parametrize(
    ("top", "options", "said"),
    [
        ("", ("--trt-engine=int8=a.onnx", "--trt-precision=fp32"), "command line: a file is given for int8, and"),
        ('precisions = ["fp32"]', ("--trt-engine=int8=a.onnx",), "leaves it out, so it would not be judged"),
        ('precisions = ["fp32"]\n' + ENGINES, (), "trtgate.toml: a file is given for int8, and precisions = fp32"),
        ("", ("--trt-engine=int8=a.onnx", "--trt-engine=int8=b.onnx"), "more than one file for int8; keep one"),
    ],
)
def test_a_file_that_no_cell_would_judge_is_refused(
    project: Project, top: str, options: tuple[str, ...], said: str
) -> None:
    give(project)
    project.settings(top=top, base=BASE if ENGINES in top else SETTINGS)
    result = project.run(*options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert said in " ".join(result.errlines + result.outlines)


def test_an_option_may_leave_out_a_file_that_the_settings_give(project: Project) -> None:
    give(project)
    project.settings(top=ENGINES, base=BASE)
    project.run("--trt-precision=fp32", "-k", "accuracy").assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("name", "size_bytes", "said"),
    [
        ("best.onnx", 40_000_000_000, "best.onnx: 40.0 GB, more than 4.0 GB"),
        ("best.onnx.toml", 10_000_000_000, "best.onnx.toml: 10.0 GB, more than 1.0 MB"),
        ("best.onnx", None, "best.onnx: a FIFO, not a regular file"),
        ("best.onnx.toml", None, "best.onnx.toml: a FIFO, not a regular file"),
    ],
)
def test_a_given_file_or_what_is_beside_it_is_a_regular_one_of_bounded_size(
    project: Project, name: str, size_bytes: int | None, said: str
) -> None:
    file = give(project).with_name(name)
    project.settings(top=ENGINES, base=BASE)
    file.unlink(missing_ok=True)
    if size_bytes is None:
        os.mkfifo(file)
    else:
        with file.open("wb") as hole:
            hole.truncate(size_bytes)
    result = project.run("-k", "int8 and accuracy")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert said in " ".join(result.errlines + result.outlines)


def predicted(project: Project, times: str = "") -> None:
    """Have INT8 be predictions; for the fake jobs they say what an engine would."""
    Behaviour(drop={"int8": 0.002}).save(project.path / "int8.json")
    beside = f", times = {{ int8 = {times} }}" if times else ""
    project.settings(
        top=f'models = [{{ path = "shapes.pt", predictions = {{ int8 = "int8.json" }}{beside} }}]', base=BASE
    )


def test_predictions_without_times_have_no_latency(project: Project) -> None:
    predicted(project)
    project.run("--trt-baselines=update").assert_outcomes(passed=6)
    assert project.verdict("int8", "accuracy").outcome == "PASS"
    latency = project.verdict("int8", "latency")
    assert (latency.outcome, latency.failed) == ("INCONCLUSIVE", False)
    assert "came without times" in latency.summary
    assert all("int8" not in launch.arms for launch in project.record.latencies["shapes"].launches)
    assert project.accepted_accuracy("int8").exists()
    assert not project.baseline("int8").exists()


def test_predictions_that_lost_much_are_offered_no_command_that_needs_an_engine(project: Project) -> None:
    predicted(project)
    Behaviour(drop={"int8": 0.3}).save(project.path / "int8.json")
    project.run()
    verdict = project.verdict("int8", "accuracy")
    assert "look into what made the predictions" in verdict.advice
    assert (verdict.explain, verdict.repair) == ("", "")
    assert ">predictions<" in project.page


def test_a_given_engine_that_lost_much_is_not_to_be_repaired(project: Project) -> None:
    give(project, drop={"int8": 0.3})
    project.settings(top=ENGINES, base=BASE)
    project.run()
    verdict = project.verdict("int8", "accuracy")
    assert "look into what the file is fed" in verdict.advice
    assert (verdict.explain.split()[1], verdict.repair) == ("explain", "")


def recorded(project: Project) -> list[str]:
    """Have INT8 be predictions with times, and return the names of their files."""
    files = []
    for number in range(3):
        files.append(f"t{number}.csv")
        rows = (3.0 + 0.001 * ((7 * row + number) % 10) for row in range(200))
        (project.path / files[-1]).write_text("latency_ms\n" + "\n".join(f"{ms:.4f}" for ms in rows) + "\n")
    predicted(project, str(files))
    return files


def test_predictions_are_not_timed_in_place_of_an_engine_that_was_accepted(project: Project) -> None:
    recorded(project)
    project.run("--trt-baselines=update").assert_outcomes(passed=6)
    give(project, p50_ms={"pt": 8.0, "int8": 3.0})
    project.settings(top=ENGINES, base=BASE)
    project.run()
    latency = project.record.latencies["shapes"]
    assert all("baseline-int8" not in launch.arms for launch in latency.launches)
    assert "baseline-int8" not in latency.failures


def test_predictions_of_another_confidence_than_the_accepted_engine_say_what_to_do(project: Project) -> None:
    project.run("--trt-baselines=update").assert_outcomes(passed=6)
    recorded(project)
    with (project.path / "trtgate.toml").open("a") as file:
        file.write("[validation]\nconf = 0.1\n")
    project.run()
    accuracy = project.verdict("int8", "accuracy")
    assert accuracy.outcome == "INCOMPATIBLE"
    assert (
        "accuracy is incompatible with the baseline, whose evaluation settings differ (conf 0.1 and 0.001): evaluate "
        "as then, or accept this accuracy in its place"
    ) in accuracy.summary


def test_a_given_engine_of_another_head_than_the_accepted_one_says_what_to_do(project: Project) -> None:
    project.settings("\n[export]\nnms = false\n")
    project.run("--trt-baselines=update").assert_outcomes(passed=6)
    give(project)
    project.settings(top=ENGINES, base=BASE)
    project.run()
    assert (
        "the engine is built for nms, the baseline's for nms-free: accept this one under a model name of its own "
        "(name = ... in models), or in its place"
    ) in project.verdict("int8", "latency").summary


def test_predictions_are_not_promoted(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    recorded(project)
    project.run("--trt-baselines=update").assert_outcomes(passed=6)
    result = project.run("--trt-promote=packs")
    result.assert_outcomes(passed=6)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert not (project.path / "packs").exists()
    key = "shapes-int8-320-b1-onnxruntime-cpu"
    assert main(["promote", "reports/run.json", "--only", key, "-o", "dist"], PretendedMachine()) == 1
    assert "there is no engine to promote" in capsys.readouterr().err


def test_the_manifest_of_a_pack_says_that_its_engine_was_given(project: Project) -> None:
    file = give(project)
    beside = file.with_name("best.onnx.toml")
    beside.write_text('task = "detect"\n')
    project.settings(top=ENGINES, base=BASE)
    project.run("--trt-baselines=update").assert_outcomes(passed=6)
    project.run("--trt-promote=packs").assert_outcomes(passed=6)
    packs = project.path / "packs"
    told = {path.parent.name: load(path, PackManifest) for path in packs.glob("*/manifest.json")}
    given = told["shapes-int8-320-b1-onnxruntime-cpu"]
    assert (given.given, given.sidecar_sha256) == ("raw", file_sha256(beside))
    assert given.artifact.sha256 == file_sha256(file)
    built = told["shapes-fp16-320-b1-onnxruntime-cpu"]
    assert (built.given, built.sidecar_sha256) == (None, "")


def test_launches_of_nothing_but_predictions_are_not_foreseen(project: Project) -> None:
    predicted(project)
    result = project.run("--trt-precision=int8", "-k", "int8")
    result.stdout.fnmatch_lines(["*to do: 2 accuracies; how long *"])


def test_what_is_measured_beside_the_cells_is_foreseen(project: Project) -> None:
    give(project)
    Behaviour().save(project.path / "ref.onnx")
    top = 'models = [{ reference = "ref.onnx", engines = { int8 = "deploy/best.onnx" } }]'
    project.settings(top=top, base=BASE)
    project.run("-k", "accuracy").stdout.fnmatch_lines(["*to do: 2 accuracies; how long *"])
    project.run("-k", "accuracy").stdout.fnmatch_lines(["*to do: nothing is to be built or measured*"])
    give(project, p50_ms={"pt": 8.0, "int8": 2.9}).rename(project.path / "deploy" / "old.onnx")
    give(project)
    project.settings(top=top, base=BASE, more='[deployment]\nengine = "deploy/old.onnx"\ncompare = true\n')
    project.run("-k", "accuracy").stdout.fnmatch_lines(["*to do: 1 accuracy; about *"])
    project.run("-k", "accuracy").stdout.fnmatch_lines(["*to do: nothing is to be built or measured*"])


def test_recorded_times_are_judged_against_stored_sessions(project: Project) -> None:
    files = recorded(project)
    project.run("--trt-baselines=update").assert_outcomes(passed=6)
    project.run().assert_outcomes(passed=6)
    launches = project.record.latencies["shapes"].of_arm("int8")
    assert [Path(launch.recorded).name for launch in launches] == files
    latency = project.verdict("int8", "latency")
    assert "were recorded elsewhere" in " ".join(check.sentence for check in latency.checks)
    for file in files:
        rows = (4.5 + 0.001 * (row % 10) for row in range(200))
        (project.path / file).write_text("\n".join(f"{ms:.4f}" for ms in rows) + "\n")
    project.run()
    check = next(c for c in project.verdict("int8", "latency").checks if c.name == "p50")
    assert check.change == pytest.approx(0.5, abs=0.01)
    assert project.page


def test_what_is_deployed_is_compared_with(project: Project) -> None:
    give(project, p50_ms={"pt": 8.0, "deployed": 3.3, "int8": 3.3}, drop={"deployed": 0.02})
    project.settings(more='[deployment]\nengine = "deploy/best.onnx"\ncompare = true\n')
    result = project.run()
    result.assert_outcomes(passed=6)
    said = next(note for note in project.record.notes if note.startswith("shapes int8 against"))
    result.stdout.fnmatch_lines(["shapes int8 against what is deployed*"])
    assert re.search(r"what is deployed \(best.onnx\): -(8|9|10)\.\d % p50", said)
    assert said.endswith("mAP50-95 +0.0150")
    launches = project.record.latencies["shapes"].launches
    assert all({"pt", "deployed", "fp32", "fp16", "int8"} <= launch.arms.keys() for launch in launches)
    assert f"in {len(launches)} launches" in said
    assert "against what is deployed" in project.page


def test_what_is_deployed_is_timed_as_often_as_a_candidate(project: Project) -> None:
    give(project, p50_ms={"pt": 8.0, "deployed": 3.3, "int8": 3.3})
    project.settings(more='[deployment]\nengine = "deploy/best.onnx"\ncompare = true\n')
    project.run("--trt-baselines=add")
    project.weights(Behaviour(drop={"int8": 0.001}))
    project.run()
    launches = project.record.latencies["shapes"].of_arm("baseline-int8")
    assert len(launches) >= 3
    assert all("deployed" in launch.arms for launch in launches)


def test_what_is_deployed_is_not_compared_with_itself(project: Project) -> None:
    give(project)
    project.settings(top=ENGINES, base=BASE, more='[deployment]\nengine = "deploy/best.onnx"\ncompare = true\n')
    project.run().stdout.fnmatch_lines(["shapes int8 is what is deployed (best.onnx), byte by byte"])


def test_a_deployed_engine_that_cannot_run_fails_no_cell(project: Project) -> None:
    give(project, faults={"latency-deployed": "refuse", "accuracy-deployed": "refuse"})
    project.settings(more='[deployment]\nengine = "deploy/best.onnx"\ncompare = true\n')
    project.run().assert_outcomes(passed=6)
    assert any("was not compared with" in note for note in project.record.notes)


def test_an_onnx_file_stands_for_the_checkpoint(project: Project) -> None:
    give(project)
    Behaviour().save(project.path / "ref.onnx")
    project.settings(top='models = [{ reference = "ref.onnx", engines = { int8 = "deploy/best.onnx" } }]', base=BASE)
    result = project.run()
    result.assert_outcomes(passed=2)
    assert [cell.key for cell in project.record.cells] == ["ref-int8-320-b1-onnxruntime-cpu"]
    checks = project.verdict("int8", "accuracy").checks
    assert {check.outcome for check in checks if check.against == "pt"} == {"PASS"}
    assert any("ref.onnx is the reference" in note for note in project.record.notes)
    markdown = render([project.record])
    for said in (result.stdout.str(), project.page, markdown, project.verdict("int8", "latency").summary):
        assert not re.search(r"(?<![\w.])\.pt\b", re.sub("<script.*?</script>", "", said, flags=re.DOTALL))
    assert "ref reference" in result.stdout.str()
    assert ">reference<" in project.page
    assert "| reference |" in markdown


def test_a_given_engine_is_explained_and_not_rebuilt(project: Project) -> None:
    give(project, drop={"int8": 0.2})
    project.settings(top=ENGINES, base=BASE)
    project.run("-k", "int8 and accuracy", "--trt-explain").assert_outcomes(failed=1)
    found = project.record.explanations["shapes-int8-320-b1-onnxruntime-cpu"]
    assert found.layers_note == "not compared: the engine was not built here"
    assert found.reference - found.engine == pytest.approx(0.2)


def test_a_given_engine_cannot_be_repaired(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    give(project, drop={"int8": 0.2})
    project.settings(top=ENGINES, base=BASE)
    project.run("-k", "int8 and accuracy").assert_outcomes(failed=1)
    assert main(["repair", "reports/run.json"], PretendedMachine()) == 2
    assert "was given, and only what the gate builds can be built otherwise" in capsys.readouterr().err
