"""The preflight: what goes wrong is found before anything is built, and nothing is where nothing is wrong."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from fake_jobs import Behaviour
from inline_launcher import InlineLauncher
from pretended import VERSIONS, PretendedMachine
from project import SETTINGS, Project, png
from records_example import environment

from pytest_trtgate.baselines.waivers import Waiver, Waivers, change_waivers
from pytest_trtgate.cli import doctor as checkup
from pytest_trtgate.cli import main
from pytest_trtgate.cli.doctor import check_up
from pytest_trtgate.errors import DataError
from pytest_trtgate.findings import after as findings
from pytest_trtgate.findings import before as early_findings
from pytest_trtgate.findings.before import weak_calibration
from pytest_trtgate.findings.preflight import run_preflight
from pytest_trtgate.jobs.contract import CheckpointFacts, SplitFacts
from pytest_trtgate.machine import device_lock
from pytest_trtgate.machine.gpus import GpuNow
from pytest_trtgate.measuring import inputs
from pytest_trtgate.measuring.context import Caller, RunContext
from pytest_trtgate.measuring.plan import check_inputs, make_plan
from pytest_trtgate.records.files import load
from pytest_trtgate.records.run_folder import Workspace, new_run_id
from pytest_trtgate.records.verdict import EarlyFinding, Outcome
from pytest_trtgate.settings import Int8, Quantization, Settings
from pytest_trtgate.settings.findings import FINDING_KINDS
from pytest_trtgate.settings.load import project_settings

GOOD = {
    "images": 400,
    "classes": {0: 50, 1: 50},
    "brightness": tuple(0.4 + 0.001 * n for n in range(200)),
    "contrast": tuple(0.2 + 0.0005 * n for n in range(200)),
    "object_sizes": tuple(0.1 + 0.001 * n for n in range(200)),
}
SEEN: dict[str, Any] = {
    "train": GOOD,
    "test": GOOD,
    "checkpoint": {"imgsz": 320, "names": {0: "circle", 1: "square"}, "task": "detect", "version": "8.4.190"},
}
ENGINE = {"batch": 1, "imgsz": [320, 320], "version": VERSIONS["ultralytics"], "args": {"dynamic": False}}


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Splits of four images are large enough."""
    monkeypatch.setattr(findings, "FEW_IMAGES", 4)
    monkeypatch.setattr(early_findings, "FEW_CALIBRATION_IMAGES", 4)


@pytest.fixture
def desk(tmp_path: Path) -> Project:
    """A project in which nothing is wrong."""
    project = Project(tmp_path)
    project.weights(Behaviour(survey=SEEN))
    return project


class Listening(InlineLauncher):
    """Remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def run(self, job: Any, folder: Path, progress: Callable[[str], None]) -> Any:
        self.asked.append(job)
        return super().run(job, folder, progress)


def measurements(
    project: Project,
    milestone: Callable[[str], None] = lambda _: None,
    launcher: InlineLauncher | None = None,
    device: str = "cpu",
    **more: Any,
) -> RunContext:
    settings = project_settings(project.path)[0]
    plan = make_plan(settings, "onnxruntime", "cpu")
    return RunContext(
        settings=settings,
        plan=plan,
        datasets=check_inputs(settings, plan),
        environment=environment().model_copy(update={"versions": VERSIONS, "device": device}),
        workspace=Workspace(project.path / "runs", new_run_id()),
        caller=Caller(
            launcher or InlineLauncher(),
            **{"machine": PretendedMachine(), **more},
            milestone=milestone,
            progress=lambda _: None,
        ),
    )


def early(project: Project, gpu: str = "", **more: Any) -> list[EarlyFinding]:
    return list(run_preflight(measurements(project, **more), gpu).findings)


def found(project: Project, gpu: str = "", **more: Any) -> list[tuple[str, str]]:
    """Return ids and sentences of what the preflight finds."""
    return [(one.finding.id, one.finding.sentence) for one in early(project, gpu, **more)]


def write_classes(project: Project) -> None:
    """Give a project a dataset with a folder per class."""
    for number, place in enumerate(f"{split}/{name}" for split in ("train", "test") for name in ("circle", "square")):
        (project.path / "set" / place).mkdir(parents=True)
        for image in range(2):
            png(project.path / "set" / place / f"{image}.png", 10 * number + image)
    project.settings(base=SETTINGS.replace("data/data.yaml", "set"))


def sees(project: Project, **changes: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what is found where the survey sees something else."""
    seen = {name: {**SEEN.get(name, {}), **changes.get(name, {})} for name in {*SEEN, *changes}}
    project.weights(Behaviour(survey=seen))
    return found(project)


def test_a_sound_project_has_no_findings(desk: Project) -> None:
    assert found(desk) == []
    # Of one split alone there is nothing to compare.
    desk.settings('[calibration]\nsplit = "test"\n', top='precisions = ["int8"]')
    assert [name for name, _ in found(desk)] == ["calibration-leak"]


# Shapes


def test_training_at_another_size_is_a_mismatch(desk: Project) -> None:
    for trained in (640, 610):  # which training rounds up
        said = f"shapes: trained at {trained} pixels, gated at 320"
        assert sees(desk, checkpoint={"imgsz": trained}) == [("imgsz-mismatch", said)]
        assert "--trt-imgsz=640" in early(desk)[0].finding.remedy
    assert sees(desk, checkpoint={"imgsz": 310}) == []


def test_what_a_checkpoint_does_not_tell_is_no_mismatch(desk: Project) -> None:
    assert sees(desk, checkpoint={"imgsz": None, "names": None}) == []


def test_deploying_another_size_or_batch_is_a_mismatch(desk: Project) -> None:
    desk.settings("[deployment]\nimgsz = 640\nbatch = 8\n")
    assert found(desk) == [
        ("imgsz-mismatch", "shapes: deployed at 640 pixels, gated at 320"),
        ("batch-mismatch", "shapes: deployed with a batch of 8, gated with 1"),
    ]
    desk.settings("[deployment]\nimgsz = 320\nbatch = 1\n")
    assert found(desk) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"batch": 4}, ["batch-mismatch"]),
        ({"imgsz": [320, 640]}, ["imgsz-mismatch"]),
        ({"imgsz": 640, "batch": 2}, ["imgsz-mismatch", "batch-mismatch"]),
        ({"version": "8.3.0"}, ["version-skew"]),
        ({"args": {"dynamic": True}, "batch": 16}, ["dynamic-shapes"]),
        ({"batch": None}, ["preflight-incomplete"]),
    ],
)
def test_the_deployed_engine_is_compared_with_what_is_gated(
    desk: Project, changes: dict[str, Any], expected: list[str]
) -> None:
    (desk.path / "best.engine").write_bytes(b"engine")
    desk.settings('[deployment]\nengine = "best.engine"\n')
    desk.weights(Behaviour(survey={**SEEN, "deployed": {"metadata": {**ENGINE, **changes}}}))
    seen = found(desk)
    assert [name for name, _ in seen] == expected
    assert all("best.engine" in sentence for _, sentence in seen)


def test_a_deployed_engine_that_is_not_there_is_said(desk: Project) -> None:
    desk.settings('[deployment]\nengine = "best.engine"\n')
    [(name, sentence)] = found(desk)
    assert name == "preflight-incomplete"
    assert sentence.endswith("best.engine: the deployed engine could not be looked into (no such file)")


def test_a_checkpoint_that_cannot_be_looked_into_is_said_each_time(desk: Project) -> None:
    desk.settings('[findings]\nimgsz-mismatch = "fail"\n')
    for problem in ("shapes.pt: no checkpoint that can be looked into (BadZipFile)", ""):
        desk.weights(Behaviour(survey={**SEEN, "checkpoint": {"problem": problem} if problem else SEEN["checkpoint"]}))
        for _ in range(2):
            expected = [("preflight-incomplete", f"shapes: nothing is known of its training: {problem}")]
            seen = early(desk)
            assert [(one.finding.id, one.finding.sentence) for one in seen] == (expected if problem else [])
            assert [(one.finding.severity, one.models) for one in seen] == ([("fail", ("shapes",))] if problem else [])


def test_a_file_that_is_no_checkpoint_fails_before_anything_is_built(desk: Project) -> None:
    problem = "shapes.pt: no checkpoint of Ultralytics: it holds a list, and no network"
    desk.weights(Behaviour(survey={**SEEN, "checkpoint": {"problem": problem, "unusable": True}}))
    [one] = early(desk)
    assert (one.finding.id, one.finding.severity, one.models) == ("not-a-checkpoint", "fail", ("shapes",))
    assert one.finding.sentence == f"shapes: {problem}"


# Calibration


def test_too_few_calibration_images_are_weak(desk: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(early_findings, "FEW_CALIBRATION_IMAGES", 5)
    [one] = early(desk)
    assert one.finding.id == "weak-calibration"
    assert one.finding.sentence == "INT8 is calibrated on 4 images of split 'train', fewer than 5"
    assert one.precisions == ("int8",)


def test_a_fraction_is_weak(desk: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(early_findings, "FEW_CALIBRATION_IMAGES", 2)
    desk.settings("[calibration]\nfraction = 0.5\n")
    [(name, sentence)] = found(desk)
    assert (name, sentence[:38]) == ("weak-calibration", "INT8 is calibrated on 2 images, fracti")


def test_classes_that_are_not_calibrated_on_are_weak(desk: Project) -> None:
    assert sees(desk, train={"classes": {0: 7}}) == [
        ("weak-calibration", "the calibration images of split 'train' show no object of 'square'")
    ]


def test_calibration_is_no_matter_without_int8(desk: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(early_findings, "FEW_CALIBRATION_IMAGES", 5)
    desk.settings(top='precisions = ["fp32", "fp16"]')
    assert sees(desk, train={"classes": {0: 7}}) == []


@pytest.mark.parametrize(
    ("what", "name", "values"),
    [
        ("brightness", "brightness", [0.2 + 0.001 * n for n in range(200)]),
        ("contrast", "contrast", [0.1 + 0.0005 * n for n in range(200)]),
        ("object_sizes", "object size", [0.3 + 0.001 * n for n in range(200)]),
    ],
)
def test_calibration_images_that_look_otherwise_are_weak(
    desk: Project, what: str, name: str, values: list[float]
) -> None:
    [(finding, sentence)] = sees(desk, train={what: values})
    assert finding == "weak-calibration"
    assert f"unlike those of split 'test' in {name} (median " in sentence


def test_images_that_differ_by_what_nobody_sees_are_alike(desk: Project) -> None:
    same = [0.5 + 0.0001 * n for n in range(100)]
    facts = [SplitFacts(images=400, brightness=tuple(x + move for x in same)) for move in (0.0, 0.04)]
    settings = project_settings(desk.path)[0]
    assert list(weak_calibration(settings, 400, {}, *facts)) == []
    far = SplitFacts(images=400, brightness=tuple(x + 0.06 for x in same))
    assert len(list(weak_calibration(settings, 400, {}, facts[0], far))) == 1


def test_calibrating_on_evaluated_images_leaks(desk: Project) -> None:
    images = desk.path / "data" / "images"
    shutil.copy(images / "train" / "2.png", images / "test" / "1.png")
    assert found(desk) == [("calibration-leak", "1 of 4 images of split 'test' are calibrated on, first 1.png")]
    # The first half of the calibration split does not hold it.
    desk.settings("[calibration]\nfraction = 0.5\n")
    assert "calibration-leak" not in dict(found(desk))


# Dataset


def test_an_image_of_another_split_is_trouble(desk: Project) -> None:
    images = desk.path / "data" / "images"
    shutil.copy(images / "val" / "2.png", images / "test" / "1.png")
    assert found(desk) == [("dataset-trouble", "split 'test' shares 1 image with split 'val', by content, first 1.png")]


def test_a_split_that_is_not_there_and_not_used_is_no_trouble(desk: Project) -> None:
    shutil.rmtree(desk.path / "data" / "images" / "val")
    assert found(desk) == []


@pytest.mark.parametrize("classes", [False, True])
def test_pictures_that_ultralytics_does_not_read_are_told(desk: Project, classes: bool) -> None:
    if classes:
        write_classes(desk)
    test = desk.path / ("set/test" if classes else "data/images/test")
    for name in ("a.jfif", "b.GIF", "notes.txt", ".hidden.gif", *(["loose.png"] if classes else [])):
        (test / name).touch()
    said = f"split 'test' has {3 if classes else 2} pictures that Ultralytics does not read, first a.jfif"
    assert ("dataset-trouble", said) in found(desk)


def test_an_image_that_is_gone_is_trouble(desk: Project) -> None:
    (desk.path / "data" / "images" / "test" / "gone.png").symlink_to("nowhere.png")
    [(name, sentence)] = found(desk)
    assert name == "dataset-trouble"
    assert "gone.png: cannot be read" in sentence


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"corrupt": {"count": 2, "first": "a.jpg (cut off)"}}, "2 missing or damaged images, first a.jpg"),
        ({"bad_labels": {"count": 1, "first": "a.txt (line 1)"}}, "1 unusable label file, first a.txt (line 1)"),
        ({"without_image": {"count": 3, "first": "b.txt"}}, "3 orphaned label files, first b.txt"),
        (
            {"repeated": {"count": 2, "first": "c.txt"}},
            "2 label files with rows that are there twice and count once, first c.txt",
        ),
        ({"unlabelled": 300}, "300 of 400 images have no label file"),
    ],
)
def test_trouble_with_images_and_labels_is_told(desk: Project, changes: dict[str, Any], sentence: str) -> None:
    desk.settings('[findings]\nfew-images = "off"\n')
    [(name, said)] = sees(desk, test=changes)
    assert name == "dataset-trouble"
    assert sentence in said
    assert "split 'test'" in said


def test_images_without_objects_are_no_trouble(desk: Project) -> None:
    assert sees(desk, test={"unlabelled": 200}) == []


def test_a_classifier_needs_no_label_files(desk: Project) -> None:
    write_classes(desk)
    assert sees(desk, test={"unlabelled": 400}, train={"unlabelled": 400}, checkpoint={"task": "classify"}) == []


@pytest.mark.parametrize(
    ("names", "name", "sentence"),
    [
        ({0: "circle"}, "class-mismatch", "shapes: the model has 1 class, the dataset 2"),
        (
            {0: "Square", 1: "circle"},
            "class-mismatch",
            "shapes: class 0 is 'Square' to the model and 'circle' to the dataset, which the model has elsewhere",
        ),
        (
            {0: "disc", 1: "square"},
            "dataset-trouble",
            "shapes: class 0 is 'disc' to the model and 'circle' to the dataset; "
            "unless they mean the same, its accuracy cannot be trusted",
        ),
        ({0: "Circle", 1: "SQUARE "}, "", ""),
    ],
)
def test_a_model_of_other_classes_than_the_dataset_is_found(
    desk: Project, names: dict[int, str], name: str, sentence: str
) -> None:
    assert sees(desk, checkpoint={"names": names}) == ([(name, sentence)] if name else [])
    if name == "dataset-trouble":  # there is nothing to mend about images or labels
        assert [one.finding.remedy for one in early(desk)] == [
            "name the classes of the dataset as the model does, or gate the model on data of its own classes"
        ]


@pytest.mark.parametrize(
    ("first", "second"), [("< 5", "> 5"), ("C", "C++"), ("a", "A"), ("\u0915\u093f", "\u0915\u093e")]
)
def test_names_that_differ_only_in_case_or_signs_are_told_apart_by_these(first: str, second: str) -> None:
    facts = {"sorts": CheckpointFacts(names={0: first, 1: second})}
    assert list(early_findings.other_classes(facts, {0: first, 1: second}, by_index=True)) == []
    [found] = early_findings.other_classes(facts, {0: second, 1: first}, by_index=True)
    assert found.id == "class-mismatch"


def test_a_model_that_needs_another_kind_of_data_is_found(desk: Project) -> None:
    data = desk.path / "data" / "data.yaml"
    assert sees(desk, checkpoint={"task": "classify", "names": {0: "x"}}) == [
        ("class-mismatch", f"shapes: a classifier needs a folder per class, but {data} is a data YAML")
    ]
    write_classes(desk)
    assert sees(desk, checkpoint={"task": "segment", "names": {0: "x"}}) == [
        (
            "class-mismatch",
            f"shapes: its task is segment, which needs label files, but {desk.path / 'set'} has a folder per class",
        )
    ]


@pytest.mark.parametrize(
    ("shape", "dataset_has"), [("", "no kpt_shape that can be used"), ("[17, 2]", "17 of 2"), ("[17, 3]", "")]
)
def test_a_model_of_other_key_points_than_the_dataset_is_found(desk: Project, shape: str, dataset_has: str) -> None:
    with (desk.path / "data" / "data.yaml").open("a") as file:
        file.write(f"kpt_shape: {shape}\n")
    said = f"shapes: the model finds 17 key points of 3 numbers each, the dataset has {dataset_has}"
    assert sees(desk, checkpoint={"task": "pose", "kpt_shape": (17, 3)}) == (
        [("class-mismatch", said)] if dataset_has else []
    )


def test_folders_of_a_class_each_may_be_in_another_order_than_the_classes_of_the_model() -> None:
    facts = {"sorts": CheckpointFacts(names={0: "b", 1: "a"})}
    assert list(early_findings.other_classes(facts, {0: "a", 1: "b"}, by_index=False)) == []
    assert list(early_findings.other_classes(facts, {0: "a"}, by_index=False)) == []  # a split may lack some
    [found] = early_findings.other_classes(facts, {0: "a", 1: "c"}, by_index=False)
    assert (found.id, found.sentence) == (
        "class-mismatch",
        "sorts: the model does not know the class 'c' of the dataset",
    )
    [found] = early_findings.other_classes(facts, {0: "x", 1: "y", 2: "z"}, by_index=False)
    assert found.sentence == "sorts: the model has 2 classes, the dataset 3"


def test_an_evaluated_split_without_any_object_is_found(desk: Project) -> None:
    desk.settings(top="fresh = true")  # of files that have not changed it would not be asked again
    nothing: dict[str, Any] = {"classes": {}, "object_sizes": ()}
    assert sees(desk, test={**nothing, "unlabelled": 400}) == [
        ("no-labels", "split 'test': no image has a label file, of 400 images")
    ]
    assert sees(desk, test=nothing) == [("no-labels", "split 'test': no label file names an object, of 400 images")]
    unusable = {"count": 400, "first": "a.txt (line 1: class 2 of 2)"}
    [_, (name, sentence), _] = sees(desk, test={**nothing, "bad_labels": unusable})
    assert name == "no-labels"
    assert sentence.endswith(
        "no label file names an object, of 400 images; "
        "of those that cannot be used, the first is a.txt (line 1: class 2 of 2)"
    )
    assert sees(desk, train=nothing) == []


def test_no_engine_is_built_for_an_accuracy_that_could_not_be_trusted(project: Project) -> None:
    moved = Behaviour(survey={**SEEN, "checkpoint": {"names": {0: "square", 1: "circle"}}})
    project.weights(moved)
    project.run("--trt-precision=fp16").assert_outcomes(failed=2)
    assert [job.kind for job in project.record.jobs] == ["survey"]
    for subject in ("accuracy", "latency"):
        verdict = project.verdict("fp16", subject)
        assert str(verdict.outcome) == "FAIL"
        assert "class 0 is 'square' to the model and 'circle' to the dataset" in verdict.summary
    # No severity makes an accuracy that can be trusted; a latency there is.
    offered = 'set class-mismatch = "warn" under [findings] in trtgate.toml'
    assert [project.verdict("fp16", s).accept for s in ("accuracy", "latency")] == ["", offered]
    # Who has it measured all the same is told, where the figures are, that they cannot be trusted.
    project.settings('[findings]\nclass-mismatch = "warn"\n')
    result = project.run("--trt-precision=fp16")
    result.assert_outcomes(passed=2)
    verdict = project.verdict("fp16", "accuracy")
    assert (str(verdict.outcome), str(project.verdict("fp16", "latency").outcome)) == ("NO_BASELINE", "NO_BASELINE")
    said = "which the model has elsewhere, so the accuracy cannot be trusted [class-mismatch]"
    assert said in verdict.summary
    assert verdict.accept == ""
    assert said in " ".join(result.stdout.str().split())
    assert said in project.page[project.page.index('id="remarks"') :]


# Exports, timing, versions, cache, machine


def test_dynamic_shapes_are_found_for_their_engine(desk: Project) -> None:
    asked = early(desk, export_args=lambda cell: {"dynamic": cell.precision == "fp16"})
    assert [one.finding.sentence for one in asked] == [
        "shapes fp16 is exported with dynamic shapes, and its latency is gated"
    ]
    cells = measurements(desk).plan.cells
    concerned = {(cell.precision, x) for cell in cells for x in ("accuracy", "latency") if asked[0].concerns(cell, x)}
    assert concerned == {("fp16", "latency")}


def test_an_engine_with_nms_inside_is_timed_unfairly(desk: Project) -> None:
    assert found(desk, export_args=lambda _: {"nms": False}) == []
    assert {name for name, _ in found(desk, export_args=lambda _: {"nms": True})} == {"unfair-timing"}


def test_more_threads_than_cores_are_unfair(desk: Project) -> None:
    desk.settings(top="threads = 4")
    assert found(desk, machine=PretendedMachine(cores=4)) == []
    said = found(desk, machine=PretendedMachine(cores=2))
    assert said == [("unfair-timing", "threads = 4 on 2 usable cores: every arm waits for its own threads")]


def test_a_short_warm_up_is_unfair(desk: Project) -> None:
    desk.settings("warmup_max_seconds = 0.1\n")
    assert [name for name, _ in found(desk)] == ["unfair-timing"]


def test_another_process_on_the_gpu_is_unfair(desk: Project) -> None:
    machine = PretendedMachine(now=GpuNow(processes=1), locks=desk.path)
    assert found(desk, machine=machine) == []  # on the CPU
    assert found(desk, gpu="GPU-1", machine=machine) == [
        ("unfair-timing", "1 other process computes on the GPU before the start")
    ]
    # The job of another session, which is kept off while this one times.
    with device_lock("GPU-1", desk.path).held():
        assert found(desk, gpu="GPU-1", machine=machine) == []
    (desk.path / "device-GPU-1.lock").unlink()
    (desk.path / "device-GPU-1.lock").mkdir()  # a place that holds no lock
    assert [name for name, _ in found(desk, gpu="GPU-1", machine=machine)] == ["unfair-timing"]


def test_an_accepted_engine_of_another_version_is_skewed(accepted: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    accepted.weights(Behaviour(survey=SEEN))
    here = measurements(accepted)
    here.environment = load(accepted.path / "reports" / "run.json", _record()).environment
    assert run_preflight(here, "").findings == ()
    newer = {**here.environment.versions, "ultralytics": "8.5.0"}
    here.environment = here.environment.model_copy(update={"versions": newer})
    [one] = run_preflight(here, "").findings
    assert one.finding.sentence == "shapes fp16: the accepted engine is of Ultralytics 8.4.190 (now 8.5.0)"
    assert (one.finding.id, one.precisions) == ("version-skew", ("fp16",))


def _record() -> Any:
    from pytest_trtgate.records.run import RunRecord

    return RunRecord


@pytest.mark.parametrize(
    ("secret", "said"),
    [
        ("", "TRTGATE_CACHE_KEY is set and empty: nothing in the cache is sealed, and all in it is believed"),
        ("hunter2", "TRTGATE_CACHE_KEY has 7 characters, fewer than 32: it can be guessed"),
        ("x" * 32, ""),
        (None, ""),
    ],
)
def test_a_secret_that_seals_nothing_or_little_is_said(desk: Project, secret: str | None, said: str) -> None:
    machine = PretendedMachine(environ={} if secret is None else {"TRTGATE_CACHE_KEY": secret})
    assert found(desk, machine=machine) == ([("weak-cache-key", said)] if said else [])


def test_a_throwaway_cache_and_a_busy_machine_are_said(desk: Project) -> None:
    here = str(desk.path)
    machine = PretendedMachine(busy=("the machine runs on its battery",), temporary=(here,))
    assert found(desk, machine=machine) == [
        ("machine-busy", "the machine runs on its battery"),
        ("throwaway-cache", f"the engine cache is in {desk.path / 'cache'}, and {here} is for temporary files"),
    ]


@pytest.mark.parametrize(
    ("change", "saturates"),
    [
        ({"instructions": ("avx2",)}, True),
        ({"instructions": ("avx2", "avx512f")}, True),
        ({"instructions": (), "arch": "AMD64"}, True),
        ({"instructions": ("avx2", "avx_vnni")}, False),
        ({"instructions": ("avx2", "avx512f", "avx512_vnni")}, False),
        ({"instructions": ("amx_int8",)}, False),
        ({"instructions": ("asimddp",), "arch": "aarch64"}, False),
        ({"instructions": None}, False),
        ({"instructions": ("avx2",), "device": "0"}, False),
    ],
)
def test_int8_saturates_on_an_x86_processor_without_vnni(
    desk: Project, change: dict[str, Any], saturates: bool
) -> None:
    here = measurements(desk)
    here.environment = here.environment.model_copy(update=change)
    seen = [one for one in run_preflight(here, "").findings if one.finding.id == "int8-saturates"]
    assert bool(seen) is saturates
    for one in seen:
        assert one.finding.severity == "warn"
        assert "AMD EPYC 7763 64-Core Processor has no VNNI" in one.finding.sentence
        assert "reduce_range" in one.finding.remedy
        concerned = {(c.precision, x) for c in here.plan.cells for x in ("accuracy", "latency") if one.concerns(c, x)}
        assert concerned == {("int8", "accuracy")}


def test_nothing_saturates_without_int8_or_on_tensorrt(desk: Project) -> None:
    here = environment().model_copy(update={"instructions": ("avx2",)})
    cells, settings = measurements(desk).plan.cells, Settings()
    of_tensorrt = [cell.model_copy(update={"backend": "tensorrt"}) for cell in cells]
    floats = [cell for cell in cells if cell.precision != "int8"]
    assert len(list(early_findings.saturating(cells, here, settings))) == 1
    for others in (of_tensorrt, floats):
        assert list(early_findings.saturating(others, here, settings)) == []
    reduced = Settings(quantization=Quantization(int8=Int8(reduce_range=True)))
    assert list(early_findings.saturating(cells, here, reduced)) == []


# What it costs, and what becomes of it


def test_what_has_not_changed_is_not_looked_at_again(desk: Project) -> None:
    said: list[str] = []
    here = measurements(desk, said.append)
    run_preflight(here, "")
    assert said == ["preflight: looking at 8 images and 1 checkpoint"]
    run_preflight(here, "")
    assert len(said) == 1
    label = desk.path / "data" / "labels" / "test" / "1.txt"
    label.write_text("1 0.5 0.5 0.25 0.25\n")
    run_preflight(measurements(desk, said.append), "")
    assert said[1:] == ["preflight: looking at 4 images"]


def test_a_survey_waits_for_no_device(desk: Project) -> None:
    listening = Listening()
    run_preflight(measurements(desk, launcher=listening, device="0"), "")
    assert [job.device for job in listening.asked] == [""]


def test_a_deployed_engine_that_could_not_be_read_is_looked_at_again(desk: Project) -> None:
    (desk.path / "best.onnx").write_bytes(b"engine")
    desk.settings('[deployment]\nengine = "best.onnx"\n')
    for metadata, expected in (({"problem": "no onnx"}, ["preflight-incomplete"]), (ENGINE, []), (ENGINE, [])):
        desk.weights(Behaviour(survey={**SEEN, "deployed": {"metadata": metadata}}))
        assert [name for name, _ in found(desk)] == expected


def test_a_survey_that_fails_is_said_and_fails_what_hangs_on_it(desk: Project) -> None:
    desk.weights(Behaviour(faults={"survey-all": "refuse"}))
    [one] = early(desk)
    assert (one.finding.id, one.finding.severity) == ("preflight-incomplete", "warn")
    assert "images and checkpoints were not looked at: the exporter refuses" in one.finding.sentence
    for kind in ("dataset-trouble", "no-labels"):
        desk.settings(f'[findings]\n{kind} = "fail"\n')
        assert [x.finding.severity for x in early(desk)] == ["fail"]


def test_files_of_another_user_are_named_in_a_sentence(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> str:
        if path.suffix == ".yaml":  # which this run has read
            return ""
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(inputs, "file_sha256", refuse)
    project.run("--trt-precision=fp16", "-k", "accuracy").assert_outcomes(failed=1)
    sentence = f"{project.path / 'shapes.pt'}: cannot be read (Permission denied)"
    incomplete = next(x.finding for x in project.record.preflight.findings if x.finding.id == "preflight-incomplete")
    assert incomplete.sentence == f"images and checkpoints were not looked at: {sentence}"
    verdict = project.verdict("fp16", "accuracy")
    assert verdict.outcome is Outcome.ERROR
    assert sentence in verdict.summary
    with pytest.raises(DataError, match="cannot be read"):
        measurements(project).data["shapes"].dataset.digest("test", refuse)


def test_a_finding_that_is_off_is_not_made(desk: Project) -> None:
    desk.settings('[findings]\nimgsz-mismatch = "off"\n')
    assert sees(desk, checkpoint={"imgsz": 640}) == []


WARN = '[findings]\nimgsz-mismatch = "warn"\n'


def test_the_first_use_at_another_size_than_the_trained_one_stops_before_the_build(project: Project) -> None:
    project.weights(Behaviour(survey={**SEEN, "checkpoint": {"imgsz": 640}}))
    result = project.run("--trt-precision=fp16", "--trt-baselines=add")
    result.assert_outcomes(failed=2)
    assert [job.kind for job in project.record.jobs] == ["survey"]
    verdict = project.verdict("fp16", "accuracy")
    assert "--trt-imgsz=640" in verdict.summary
    assert verdict.accept == 'set imgsz-mismatch = "warn" under [findings] in trtgate.toml'
    project.settings(WARN)
    project.run("--trt-precision=fp16", "--trt-baselines=add").assert_outcomes(passed=2)
    project.settings("")  # a size that was accepted once is no slip
    project.run("--trt-precision=fp16").assert_outcomes(passed=2)
    assert [one.finding.severity for one in project.record.preflight.findings] == ["warn"]


def test_a_warning_is_told_at_the_start_and_in_every_report_and_fails_nothing(project: Project) -> None:
    project.weights(Behaviour(survey={**SEEN, "checkpoint": {"imgsz": 640}}))
    project.settings(WARN)
    result = project.run("--trt-precision=fp16", "--trt-baselines=add")
    result.assert_outcomes(passed=2)
    lines = [line for line in result.outlines if "trained at 640 pixels, gated at 320" in line]
    assert [line.split()[0] for line in lines] == ["trtgate:", "WARNING"]
    built = next(n for n, line in enumerate(result.outlines) if "building the engine" in line)
    assert result.outlines.index(lines[0]) < built
    assert "trained at 640 pixels" in project.page
    record = project.record
    assert [one.finding.id for one in record.preflight.findings] == ["imgsz-mismatch"]


def test_a_finding_that_fails_stops_before_anything_is_built(project: Project) -> None:
    project.weights(Behaviour(survey={**SEEN, "checkpoint": {"imgsz": 640}}))
    project.settings('[findings]\nimgsz-mismatch = "fail"\n')
    project.tests(
        """
        def test_accuracy(trtgate): trtgate.check_accuracy()
        def test_size(trt_engine): pass
        """
    )
    result = project.run("--trt-precision=fp16")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    record = project.record
    assert [job.kind for job in record.jobs] == ["survey"]
    verdict = project.verdict("fp16", "accuracy")
    assert (verdict.outcome, verdict.failed) == (Outcome.FAIL, True)
    assert verdict.summary.startswith("shapes: trained at 640 pixels, gated at 320 [imgsz-mismatch]; gate the size")
    assert verdict.accept == 'set imgsz-mismatch = "warn" under [findings] in trtgate.toml'
    result.stdout.fnmatch_lines(["*test_size*", "*trained at 640 pixels, gated at 320*"])


def test_neither_waiver_nor_softening_makes_a_run_that_measured_nothing_green(project: Project) -> None:
    project.settings('[deployment]\nimgsz = 640\n[findings]\nimgsz-mismatch = "fail"\n')
    waiver = Waiver(cell="shapes-fp16-320-b1-onnxruntime-cpu", until=datetime.now(timezone.utc).date(), reason="known")
    change_waivers(project.path / "baselines", lambda _: Waivers(waivers=(waiver,)))
    with (project.path / "conftest.py").open("a") as file:
        file.write(
            "\nfrom pytest_trtgate.verdicts.amend import Softening\n"
            "def pytest_trtgate_verdict(): return Softening(reason='known')\n"
        )
    project.run("--trt-precision=fp16").assert_outcomes(failed=2)
    assert project.verdict("fp16", "latency").summary.endswith("; the waiver does not apply: nothing was measured")
    verdict = project.verdict("fp16", "accuracy")
    assert (verdict.failed, verdict.waived) == (True, "")


def test_a_finding_about_int8_fails_no_other_precision(project: Project) -> None:
    project.settings('[calibration]\nfraction = 0.5\n[findings]\nweak-calibration = "fail"\n')
    project.run("--trt-precision=fp16,int8", "-k", "accuracy").assert_outcomes(passed=1, failed=1)
    assert project.outcomes("accuracy") == {"fp16": "NO_BASELINE", "int8": "FAIL"}


def test_what_was_found_of_other_cells_and_subjects_than_those_tested_is_not_said(project: Project) -> None:
    project.weights(Behaviour(survey={**SEEN, "checkpoint": {"imgsz": 640}}))
    project.settings(f"[calibration]\nfraction = 0.5\n{WARN}")
    project.pretend(busy=("the machine runs on its battery",))
    kinds = ("imgsz-mismatch", "machine-busy", "weak-calibration")
    for selected, said in (("accuracy and fp16", (2, 0, 0)), ("latency and int8", (2, 2, 2))):
        lines = project.run("--trt-precision=fp16,int8", "-k", selected).outlines
        assert tuple(sum(f"[{kind}]" in line for line in lines) for kind in kinds) == said
        assert {*kinds} <= {one.finding.id for one in project.record.preflight.findings}


def test_a_finding_about_timing_fails_no_accuracy(project: Project) -> None:
    project.settings('warmup_max_seconds = 0.1\n[findings]\nunfair-timing = "fail"\n')
    project.run("--trt-precision=fp16").assert_outcomes(passed=1, failed=1)
    assert project.outcomes("accuracy") == {"fp16": "NO_BASELINE"}
    assert project.job_names("latency") == []


# doctor --config


@pytest.fixture
def doctor(desk: Project) -> Callable[[], tuple[int, list[str]]]:
    def run() -> tuple[int, list[str]]:
        lines: list[str] = []
        settings = project_settings(desk.path)[0]
        return check_up(settings, "onnxruntime", "cpu", lines.append, PretendedMachine(), InlineLauncher()), lines

    return run


def test_the_doctor_runs_the_preflight_and_builds_nothing(desk: Project, doctor: Any) -> None:
    status, lines = doctor()
    assert status == 0
    assert lines[-1].startswith("preflight: 0 findings, 0 of severity fail; ")
    assert not (desk.path / "cache" / "engines").exists()
    assert not (desk.path / "reports").exists()


def test_the_doctor_fails_only_for_what_would_fail_a_run(desk: Project, doctor: Any) -> None:
    desk.weights(Behaviour(survey={**SEEN, "checkpoint": {"imgsz": 640}}))
    desk.settings(WARN)
    status, lines = doctor()
    assert status == 0
    assert lines[-2].startswith("warning: shapes: trained at 640 pixels, gated at 320 [imgsz-mismatch]; gate the size")
    desk.settings('[findings]\nimgsz-mismatch = "fail"\n')
    status, lines = doctor()
    assert status == 1
    assert lines[-2].startswith("FAIL: shapes: trained at 640 pixels")


@pytest.mark.parametrize("given", [[], ["sub"], ["sub/trtgate.toml"]])
def test_the_doctor_gives_its_job_absolute_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], given: list[str]
) -> None:
    (tmp_path / "sub").mkdir()
    Project(tmp_path / "sub").weights(Behaviour(survey=SEEN))
    listening = Listening()
    monkeypatch.setattr(checkup, "LocalLauncher", lambda **_: listening)
    monkeypatch.chdir(tmp_path if given else tmp_path / "sub")
    assert main(["doctor", "--config", *given], PretendedMachine()) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("preflight: 0 findings")
    [request] = (job.request for job in listening.asked)
    paths = [*request.checkpoints.values(), *(image for split in request.splits for image in split.images)]
    assert len(paths) == 9
    assert all(Path(path).is_absolute() for path in paths)


@pytest.mark.parametrize("name", ["nowhere", "loop"])
def test_the_doctor_of_a_folder_that_is_not_there_is_wrong_usage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("loop").symlink_to("loop")
    with pytest.raises(SystemExit):
        main(["doctor", "--config", name])
    assert f"'{name}' does not exist" in capsys.readouterr().err


def test_every_finding_has_a_section_in_the_docs() -> None:
    text = (Path(__file__).parents[2] / "docs" / "reference" / "findings.md").read_text(encoding="utf-8")
    assert {line[4:].strip("`") for line in text.splitlines() if line.startswith("### ")} == set(FINDING_KINDS)


# What Ultralytics leaves out


def test_images_that_are_left_out_do_not_count(desk: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(early_findings, "FEW_CALIBRATION_IMAGES", 5)
    two, one = ({"count": count, "first": "a (damaged)"} for count in (2, 1))
    said = [sentence for _, sentence in sees(desk, train={"bad_labels": two}, test={"corrupt": one, "bad_labels": one})]
    assert "split 'test' has 2 images, fewer than 4" in said
    assert "INT8 is calibrated on 2 images of split 'train', fewer than 5" in said


def test_labels_of_key_points_are_looked_at_as_the_model_reads_them(desk: Project) -> None:
    desk.settings('[findings]\nfew-images = "off"\n')
    with (desk.path / "data" / "data.yaml").open("a") as file:
        file.write("kpt_shape: [3, 2]\n")
    bad = {"bad_poses": {"count": 1, "first": "a.txt (labels require 11 columns each)"}}
    assert sees(desk, test=bad) == []
    [(name, sentence)] = sees(desk, test=bad, checkpoint={"task": "pose"})
    assert (name, "first a.txt (labels require 11" in sentence) == ("dataset-trouble", True)


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"task": "detect"}, ""),
        (
            {"task": "segment"},
            "segment models need outlines of all objects; 1 label file of split",
        ),
        ({"task": "obb"}, "obb models need outlines"),
    ],
)
def test_labels_of_another_task_than_the_models_are_found(facts: dict[str, Any], said: str) -> None:
    splits = {"test": SplitFacts(images=4, boxes={"count": 1, "first": "a.txt"})}
    found = list(early_findings.other_labels({"m": CheckpointFacts(**facts)}, splits))
    assert [one.id for one in found] == (["task-mismatch"] if said else [])
    assert all(said in one.sentence and one.sentence.startswith("m: ") for one in found)


def test_a_model_of_one_class_for_all_is_no_model_of_other_classes(desk: Project) -> None:
    one = {"names": {0: "item"}}
    assert [name for name, _ in sees(desk, checkpoint=one)] == ["class-mismatch"]
    assert sees(desk, checkpoint={**one, "single_cls": True}) == []
