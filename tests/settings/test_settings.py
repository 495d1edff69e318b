"""Settings: where they come from, which one wins, and the one sentence that a bad value gets."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from project import Project, snapshot

from pytest_trtgate.errors import SettingsError
from pytest_trtgate.plugin.options import OPTIONS, read_settings
from pytest_trtgate.records.cell import PRECISIONS
from pytest_trtgate.settings.load import build, find_table, table_name
from pytest_trtgate.settings.settings import Settings
from pytest_trtgate.settings.types import Section


def read(folder: Path, toml: str = "", name: str = "trtgate.toml", **options: Any) -> Settings:
    """Return the settings of a file and of options given in a sub-folder ``here``."""
    (folder / name).write_text(toml, encoding="utf-8")
    path, table = find_table(folder) or (None, {})
    return build(table, path, options, folder / "here", folder, {option.key: option.flag for option in OPTIONS})


def complaint(folder: Path, toml: str = "", **options: Any) -> str:
    """Return what is wrong with settings, without the path of the file."""
    with pytest.raises(SettingsError) as caught:
        read(folder, toml, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(str(folder / "trtgate.toml"), "FILE").replace(f"{folder}/", "")


# Where settings come from


def test_a_table_in_pyproject_is_read(tmp_path: Path) -> None:
    assert read(tmp_path, "[tool.trtgate]\nimgsz = 320\n", "pyproject.toml").imgsz == 320


def test_a_file_of_our_own_needs_no_prefix(tmp_path: Path) -> None:
    assert read(tmp_path, "imgsz = 320\n[latency]\nlaunches = 7\n").latency.launches == 7


def test_settings_in_both_files_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.trtgate]\nimgsz = 320\n")
    with pytest.raises(SettingsError, match=r"settings in both trtgate\.toml and \[tool\.trtgate\] of pyproject\.toml"):
        read(tmp_path, "imgsz = 320\n")


def test_a_pyproject_that_only_depends_on_us_is_no_second_file(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\ndependencies = ["pytest-trtgate"]\n')
    assert read(tmp_path, "imgsz = 320\n").imgsz == 320


def test_a_table_is_named_as_the_file_that_holds_it_has_it() -> None:
    assert table_name(Path("trtgate.toml"), "latency.int8") == "[latency.int8] in trtgate.toml"
    assert table_name(Path("pyproject.toml"), "findings") == "[tool.trtgate.findings] in pyproject.toml"
    assert table_name(None, "findings") == "[tool.trtgate.findings] in pyproject.toml"


def test_a_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    assert read(tmp_path, "\ufeffimgsz = 320\n").imgsz == 320


def test_a_folder_without_settings_has_none(tmp_path: Path) -> None:
    assert find_table(tmp_path) is None


def test_settings_that_link_to_nothing_are_not_taken_for_none(tmp_path: Path) -> None:
    (tmp_path / "trtgate.toml").symlink_to("elsewhere.toml")
    with pytest.raises(SettingsError, match=r"trtgate\.toml: cannot be read \(No such file or directory\)"):
        find_table(tmp_path)


def test_the_command_line_wins_over_the_file_and_the_file_over_the_default(tmp_path: Path) -> None:
    settings = read(tmp_path, "imgsz = 320\nbatch = 4\n", imgsz="64")
    assert (settings.imgsz, settings.batch, settings.split) == (64, 4, "test")


def test_a_list_on_the_command_line_replaces_the_files_list(tmp_path: Path) -> None:
    assert read(tmp_path, 'precisions = ["fp32", "fp16"]', precisions=["int8"]).precisions == ("int8",)


def test_precisions_may_be_comma_separated_and_come_in_a_fixed_order(tmp_path: Path) -> None:
    assert read(tmp_path, precisions=["int8,fp16", "fp32", "int8"]).precisions == ("fp32", "fp16", "int8")


def test_paths_in_the_file_start_at_the_file(tmp_path: Path) -> None:
    settings = read(tmp_path, 'models = ["a.pt"]\ndata = "d/data.yaml"\ncache_dir = "cache"\n')
    assert [model.path for model in settings.models] == [tmp_path / "a.pt"]
    assert (settings.data, settings.cache_dir) == (tmp_path / "d" / "data.yaml", tmp_path / "cache")


def test_paths_on_the_command_line_start_where_it_was_given(tmp_path: Path) -> None:
    settings = read(tmp_path, models=["a.pt"], data="data.yaml", report="out/r.html")
    assert [model.path for model in settings.models] == [tmp_path / "here" / "a.pt"]
    assert (settings.data, settings.report) == (tmp_path / "here" / "data.yaml", tmp_path / "here" / "out" / "r.html")


def test_paths_that_nobody_set_start_at_the_project(tmp_path: Path) -> None:
    settings = read(tmp_path, "imgsz = 320\n")
    assert (settings.baseline_dir, settings.report) == (tmp_path / "baselines", tmp_path / "reports" / "trtgate.html")


def test_where_no_file_marks_the_project_default_paths_start_at_the_working_folder(tmp_path: Path) -> None:
    # pytest then takes for its root what holds this folder and, say, a model elsewhere.
    config: Any = SimpleNamespace(
        inipath=None,
        rootpath=tmp_path,
        args=[],
        invocation_params=SimpleNamespace(dir=tmp_path / "here", args=()),
        getoption=lambda name: None,
    )
    assert read_settings(config)[0].report == tmp_path / "here" / "reports" / "trtgate.html"
    # A run in a folder of a project that is marked by this has the baselines of the project.
    (tmp_path / "setup.py").touch()
    assert read_settings(config)[0].baseline_dir == tmp_path / "baselines"
    (tmp_path / "setup.py").unlink()
    config.inipath = tmp_path / "pytest.ini"
    assert read_settings(config)[0].report == tmp_path / "reports" / "trtgate.html"


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert read(tmp_path, 'data = "~/d.yaml"').data == tmp_path / "home" / "d.yaml"


def test_one_model_needs_no_list(tmp_path: Path) -> None:
    assert [model.path for model in read(tmp_path, 'models = "a.pt"').models] == [tmp_path / "a.pt"]


def test_a_model_may_have_settings_of_its_own(tmp_path: Path) -> None:
    toml = """
models = ["a.pt", { path = "b.pt", data = "d/b.yaml", imgsz = 96, accuracy = { top1 = 0.2, int8 = { top5 = 0.3 } } }]
data = "data.yaml"
imgsz = 320
[accuracy.int8]
top1 = 0.1
recall = 0.4
"""
    settings = read(tmp_path, toml)
    assert [model.name for model in settings.models] == ["a", "b"]
    usual, own = settings.of("a"), settings.of("b")
    assert (usual.imgsz, usual.data) == (320, tmp_path / "data.yaml")
    assert (own.imgsz, own.data) == (96, tmp_path / "d" / "b.yaml")
    # What is of one model wins over what is of one precision, and that over the default.
    assert usual.accuracy.tolerances("int8", "classify") == {"top1": 0.1, "top5": 0.01}
    assert own.accuracy.tolerances("int8", "classify") == {"top1": 0.2, "top5": 0.3}
    assert own.accuracy.tolerances("fp16", "classify") == {"top1": 0.2, "top5": 0.003}
    assert own.accuracy.foreign("int8", "classify") == ["recall"]
    # A run record holds them as they were written.
    dumped = settings.model_dump(mode="json", by_alias=True)
    assert dumped["models"][0] == str(tmp_path / "a.pt")
    assert Settings.model_validate(dumped) == settings

    # The command line wins, also over what one model has of its own, and may choose one model by its path.
    (tmp_path / "here").mkdir()
    chosen = read(tmp_path, toml, models=["../b.pt"], imgsz="64")
    assert [model.name for model in chosen.models] == ["b"]
    assert (chosen.of("b").imgsz, chosen.of("b").data) == (64, tmp_path / "d" / "b.yaml")


def test_a_model_with_settings_of_its_own_may_be_a_link_to_itself(tmp_path: Path) -> None:
    (tmp_path / "loop.pt").symlink_to("loop.pt")
    (model,) = read(tmp_path, 'models = [{ path = "loop.pt", imgsz = 96 }]').models
    assert model.path == tmp_path / "loop.pt"


# What a bad value is told


@pytest.mark.parametrize(
    ("toml", "sentence"),
    [
        ("imgsz = 100", "FILE: imgsz = 100 is not allowed; allowed: a multiple of 32, from 32 to 8192"),
        ("imgsz = 0", "FILE: imgsz = 0 is not allowed; allowed: a multiple of 32, from 32 to 8192"),
        ("imgsz = [320, 320]", "FILE: imgsz = [320, 320] is not allowed; allowed: a multiple of 32, from 32 to 8192"),
        ("imgsz = true", "FILE: imgsz = true is not allowed; allowed: a multiple of 32, from 32 to 8192"),
        ('imgsz = "320"', "FILE: imgsz = '320' is not allowed; allowed: a multiple of 32, from 32 to 8192"),
        ('batch = "4"', "FILE: batch = '4' is not allowed; allowed: a whole number from 1 to 1024"),
        ('latency.seed = "3"', "FILE: latency.seed = '3' is not allowed; allowed: a whole number"),
        ("latency.seed = false", "FILE: latency.seed = false is not allowed; allowed: a whole number"),
        ('timeouts.build_s = "9"', "FILE: timeouts.build_s = '9' is not allowed; allowed: seconds, more than 0"),
        ('accuracy.mAP50 = "0.1"', "FILE: accuracy.mAP50 = '0.1' is not allowed; allowed: a drop from 0 to 1"),
        ('latency.p50.regression = "0.1"', "FILE: latency.p50.regression = '0.1' is not allowed; allowed: a ratio"),
        ('models = [{ path = "a.pt", imgsz = "64" }]', "FILE: models.imgsz = '64' is not allowed; allowed: a multip"),
        ('fresh = "true"', "FILE: fresh = 'true' is not allowed; allowed: true or false"),
        ('profile = "no"', "FILE: profile = 'no' is not allowed; allowed: true or false"),
        ('export.simplify = "false"', "FILE: export.simplify = 'false' is not allowed; allowed: true or false"),
        ("batch = 0", "FILE: batch = 0 is not allowed; allowed: a whole number from 1 to 1024"),
        ("batch = 1.5", "FILE: batch = 1.5 is not allowed; allowed: a whole number from 1 to 1024"),
        ('precisions = ["fp8"]', "FILE: precisions = 'fp8' is not allowed; allowed: fp32, fp16, int8"),
        ("precisions = []", "FILE: precisions = () is not allowed; allowed: fp32, fp16, int8"),
        ("precisions = 16", "FILE: precisions = 16 is not allowed; allowed: fp32, fp16, int8"),
        ("models = 3", "FILE: models = 3 is not allowed; allowed: paths of .pt files, or tables with one"),
        ('models = [{ path = "a.pt", imgz = 64 }]', "FILE: unknown key 'models.imgz'; did you mean 'imgsz'?"),
        ("models = [{ imgsz = 64 }]", "FILE: models.path is missing; allowed: the path of a .pt file"),
        (
            'models = [{ path = "a.pt", imgsz = 65 }]',
            "FILE: models.imgsz = 65 is not allowed; allowed: a multiple of 32, from 32 to 8192",
        ),
        ("export.nms = 2", "FILE: export.nms = 2 is not allowed; allowed: true or false"),
        ('device = "tpu"', "FILE: device = 'tpu' is not allowed; allowed: auto, cpu or a GPU number"),
        ('backend = "openvino"', "FILE: backend = 'openvino' is not allowed; allowed: auto, tensorrt or onnxruntime"),
        ('report = "r.txt"', "FILE: report = 'r.txt' is not allowed; allowed: the path of an .html file"),
        ('baselines = "yes"', "FILE: baselines = 'yes' is not allowed; allowed: check, add or update"),
        ('inconclusive = "pass"', "FILE: inconclusive = 'pass' is not allowed; allowed: warn or fail"),
        (
            "accuracy = 0.01",
            'FILE: accuracy = 0.01 is not allowed; allowed: a table, such as accuracy = { "mAP50-95" = 0.01 }',
        ),
        (
            "imgsz = '320'",
            "FILE: imgsz = '320' is not allowed; allowed: a multiple of 32, from 32 to 8192, without quotes",
        ),
        ("fresh = 'true'", "FILE: fresh = 'true' is not allowed; allowed: true or false, without quotes"),
        ("split = true", "FILE: split = true is not allowed; allowed: a split of the data YAML"),
        ("[accuracy]\nmAP50 = -0.1", "FILE: accuracy.mAP50 = -0.1 is not allowed; allowed: a drop from 0 to 1"),
        ("[accuracy]\nmAP50 = nan", "FILE: accuracy.mAP50 = nan is not allowed; allowed: a drop from 0 to 1"),
        ("[accuracy.int8]\nmAP50 = 2", "FILE: accuracy.int8.mAP50 = 2 is not allowed; allowed: a drop from 0 to 1"),
        (
            "latency.int8.p50 = 5",
            "FILE: latency.int8.p50 = 5 is not allowed; allowed: a table, such as "
            "p50 = { regression = 0.05, budget_ms = 8.0 }",
        ),
        (
            "latency.p50.regression = 0",
            "FILE: latency.p50.regression = 0 is not allowed; allowed: a ratio over 0 up to 2, such as 0.05 for 5 %",
        ),
        (
            "latency.p99.regression = 5",
            "FILE: latency.p99.regression = 5 is not allowed; allowed: a ratio over 0 up to 2, such as 0.05 for 5 %",
        ),
        (
            "latency.p95.budget_ms = inf",
            "FILE: latency.p95.budget_ms = inf is not allowed; allowed: milliseconds, more than 0",
        ),
        (
            'latency.speedup.over = "int4"',
            "FILE: latency.speedup.over = 'int4' is not allowed; allowed: pt, fp32, fp16 or int8",
        ),
        (
            "latency.energy_mj = 0",
            "FILE: latency.energy_mj = 0 is not allowed; allowed: millijoules per inference, more than 0",
        ),
        ("latency.speedup.at_least = 2", "FILE: latency.speedup.over is missing; allowed: pt, fp32, fp16 or int8"),
        ('latency.int8.speedup.over = "int8"', "FILE: latency.int8.speedup.over names int8 itself"),
        (
            "latency.launches = 5\nlatency.max_launches = 3",
            "FILE: latency.launches = 5 is more than latency.max_launches = 3; lower the former or raise the latter",
        ),
        (
            "latency.launches = 13",
            "FILE: latency.launches = 13 is more than latency.max_launches = 12; lower the former or raise the latter",
        ),
        ("calibration.fraction = 0", "FILE: calibration.fraction = 0 is not allowed; allowed: more than 0, at most 1"),
        ("timeouts.build_s = 0", "FILE: timeouts.build_s = 0 is not allowed; allowed: seconds, more than 0"),
        ("image_size = 1", "FILE: unknown key 'image_size'; "),
        ("precision = 1", "FILE: unknown key 'precision'; did you mean 'precisions'?"),
        ("[latencies]", "FILE: unknown key 'latencies'; did you mean 'latency'?"),
        ("[accuracy]\nmAP = 1", "FILE: unknown key 'accuracy.mAP'; did you mean 'mAP50'?"),
        ("[accuracy.int4]", "FILE: unknown key 'accuracy.int4'; did you mean 'int8'?"),
        ("latency.p50.budget = 1", "FILE: unknown key 'latency.p50.budget'; did you mean 'budget_ms'?"),
        ("latency.p50.zzz = 1", "FILE: unknown key 'latency.p50.zzz'; allowed: budget_ms, regression"),
        ("imgsz = ", "FILE: not valid TOML ("),
        ('data = ""', "FILE: data = '' is not allowed; allowed: the path of a data YAML, or the folder of a classif"),
        ('models = [""]', "FILE: models.path = '' is not allowed; allowed: the path of a .pt file"),
        ('cache_dir = ""', "FILE: cache_dir = '' is not allowed; allowed: a folder"),
        (
            "[deployment]\nengine = ''",
            "FILE: deployment.engine = '' is not allowed; allowed: the path of an .engine or",
        ),
    ],
)
def test_a_bad_value_in_the_file_gets_one_sentence(tmp_path: Path, toml: str, sentence: str) -> None:
    assert sentence in complaint(tmp_path, toml)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"imgsz": "33"}, "--trt-imgsz = 33 is not allowed; allowed: a multiple of 32, from 32 to 8192"),
        ({"imgsz": "big"}, "--trt-imgsz = big is not allowed; allowed: a multiple of 32, from 32 to 8192"),
        ({"batch": "0"}, "--trt-batch = 0 is not allowed; allowed: a whole number from 1 to 1024"),
        ({"precisions": ["fp32,"]}, "--trt-precision =  is not allowed; allowed: fp32, fp16, int8"),
        ({"precisions": ["half"]}, "--trt-precision = half is not allowed; allowed: fp32, fp16, int8"),
        ({"device": "gpu0"}, "--trt-device = gpu0 is not allowed; allowed: auto, cpu or a GPU number"),
        ({"cache_dir": ""}, "--trt-cache-dir =  is not allowed; allowed: a folder"),
        ({"baselines": "write"}, "--trt-baselines = write is not allowed; allowed: check, add or update"),
    ],
)
def test_a_bad_value_on_the_command_line_is_named_by_its_option(
    tmp_path: Path, options: dict[str, Any], sentence: str
) -> None:
    assert complaint(tmp_path, **options) == f"command line: {sentence}"


@pytest.mark.parametrize("name", [n for n, f in Settings.model_fields.items() if isinstance(f.default, Section)])
def test_the_example_of_a_table_is_one_that_is_allowed(tmp_path: Path, name: str) -> None:
    example = complaint(tmp_path, f"{name} = 3").partition("such as ")[2]
    assert example.startswith(f"{name} = {{")
    assert getattr(read(tmp_path, example), name).model_fields_set


def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "trtgate.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(
        SettingsError, match=r"trtgate\.toml: cannot be read \(not UTF-8 text: line 1 has the byte 0xff\)"
    ):
        find_table(tmp_path)


ODD = {
    "a = " + "[" * 100_000: "not valid TOML (nested too deeply)",
    "imgsz = " + "9" * 5000: "not valid TOML (Exceeds the limit (4300",
    "[a]\n" + "a." * 300_000 + "a = 1": "a key of more than 100 parts",
    "#" * 1_000_001: "cannot be read (1.0 MB, more than 1.0 MB)",
}


@pytest.mark.parametrize("name", ["trtgate.toml", "pyproject.toml"])
@pytest.mark.parametrize("text", ODD)
def test_settings_that_would_take_the_machine_are_a_sentence(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text + "\n# trtgate")
    with pytest.raises(SettingsError) as caught:
        find_table(tmp_path)
    assert ODD[text] in str(caught.value)


def test_settings_are_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "trtgate.toml")
    with pytest.raises(SettingsError, match="a FIFO, not a regular file"):
        find_table(tmp_path)


def test_settings_that_are_a_folder_end_the_run_with_a_sentence(project: Project) -> None:
    (project.path / "trtgate.toml").unlink()
    (project.path / "trtgate.toml").mkdir()
    result = project.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *trtgate.toml: cannot be read (a folder, not a regular file)"])


@pytest.mark.parametrize("key", ["data", "cache_dir", "models", "videos", "report", "deployment.engine"])
def test_a_path_that_the_system_cannot_take_is_refused(tmp_path: Path, key: str) -> None:
    assert "'a\\x00.pt': no path has the character NUL" in complaint(tmp_path, f'{key} = "a\\u0000.pt"')


def test_a_table_of_ours_that_is_no_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"pyproject\.toml: tool\.trtgate is not a table"):
        read(tmp_path, "[tool]\ntrtgate = 1\n", "pyproject.toml")


def test_the_home_of_an_unknown_user_is_refused(tmp_path: Path) -> None:
    assert "~nobody-of-that-name/a.pt" in complaint(tmp_path, 'models = ["~nobody-of-that-name/a.pt"]')


# Through pytest


@pytest.mark.parametrize(
    ("settings", "arguments", "sentence"),
    [
        ("imgsz = 33", (), "imgsz = 33 is not allowed"),
        ("imgzs = 32", (), "unknown key 'imgzs'; did you mean 'imgsz'?"),
        ("imgsz = ", (), "not valid TOML"),
        ("imgsz = 32", ("--trt-batch=0",), "command line: --trt-batch = 0 is not allowed"),
        ("imgsz = 32", ("--trt-precision=fp8",), "command line: --trt-precision = fp8 is not allowed"),
    ],
)
def test_a_bad_setting_ends_the_run_with_exit_code_4_and_writes_nothing(
    project: Project, settings: str, arguments: tuple[str, ...], sentence: str
) -> None:
    project.settings(base=settings)
    before = snapshot(project.path)
    result = project.run(*arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    lines = [line for line in result.errlines if line.strip()]
    assert len(lines) == 1
    assert lines[0].startswith("ERROR: ")
    assert sentence in lines[0]
    assert snapshot(project.path) == before


def test_a_bad_setting_is_noticed_without_any_test_of_the_gate(project: Project) -> None:
    project.settings(base="imgsz = 33")
    project.tests("def test_nothing(): pass")
    assert project.run().ret == pytest.ExitCode.USAGE_ERROR


def test_the_help_shows_every_option_in_a_group_of_its_own(project: Project) -> None:
    result = project.run("--help")
    result.stdout.fnmatch_lines(
        [
            "regression gate for inference engines (trtgate):",
            "*--trt-model=PATH*Checkpoint (.pt) to gate; may be repeated",
            "*--trt-precision=LIST*",
            "*--trt-baselines=MODE*",
            "*--trt-report=HTML*",
        ]
    )


# What holds where nothing is set


def test_each_precision_has_tolerances_of_its_own_by_default() -> None:
    accuracy = Settings().accuracy
    assert accuracy.tolerances("fp32", "detect") == {"mAP50": 0.001, "mAP50-95": 0.001}
    assert accuracy.tolerances("fp16", "detect") == {"mAP50": 0.003, "mAP50-95": 0.003}
    assert accuracy.tolerances("int8", "detect") == {"mAP50": 0.01, "mAP50-95": 0.01}


def test_each_backend_has_thresholds_of_its_own_by_default() -> None:
    latency = Settings().latency
    found = {
        backend: [latency.limit("fp16", p, backend).regression for p in ("p50", "p95", "p99")]
        for backend in ("tensorrt", "onnxruntime")
    }
    assert found == {"tensorrt": [0.02, 0.05, None], "onnxruntime": [0.05, 0.10, None]}


def test_a_precisions_tolerance_wins_over_the_general_one(tmp_path: Path) -> None:
    accuracy = read(tmp_path, "[accuracy]\nmAP50 = 0.1\nrecall = 0.2\n[accuracy.int8]\nmAP50 = 0.3\n").accuracy
    assert accuracy.tolerances("int8", "detect") == {"mAP50": 0.3, "mAP50-95": 0.01, "recall": 0.2}
    assert accuracy.tolerances("fp32", "detect") == {"mAP50": 0.1, "mAP50-95": 0.001, "recall": 0.2}


def test_a_tolerance_of_zero_is_a_tolerance(tmp_path: Path) -> None:
    assert read(tmp_path, "[accuracy]\nmAP50 = 0\n").accuracy.tolerances("int8", "detect")["mAP50"] == 0


def test_a_precisions_limit_wins_over_the_general_one(tmp_path: Path) -> None:
    toml = "[latency]\np50 = { regression = 0.2, budget_ms = 9 }\n[latency.int8]\np50 = { budget_ms = 5 }\n"
    latency = read(tmp_path, toml).latency
    assert latency.limit("int8", "p50", "onnxruntime").model_dump() == {"regression": 0.2, "budget_ms": 5}
    assert latency.limit("fp16", "p50", "onnxruntime").model_dump() == {"regression": 0.2, "budget_ms": 9}


def test_a_precisions_speedup_wins_over_the_general_one(tmp_path: Path) -> None:
    toml = '[latency]\nspeedup = { over = "pt" }\n[latency.int8]\nspeedup = { over = "fp16", at_least = 1.5 }\n'
    latency = read(tmp_path, toml).latency
    rules = {p: latency.speedup_rule(p, "onnxruntime", PRECISIONS) for p in ("fp32", "int8")}
    assert {p: (r.over, r.at_least) for p, r in rules.items() if r} == {"fp32": ("pt", 1.0), "int8": ("fp16", 1.5)}


@pytest.mark.parametrize(
    ("toml", "backend", "planned", "rule"),
    [
        ("", "tensorrt", PRECISIONS, ("fp16", 0.97)),
        ("", "onnxruntime", PRECISIONS, None),
        ("", "tensorrt", ("fp32", "int8"), None),
        ('[latency.int8]\nspeedup = { over = "fp16", at_least = 0 }', "tensorrt", PRECISIONS, None),
        ('[latency.int8]\nspeedup = { over = "fp16", at_least = 1.2 }', "tensorrt", PRECISIONS, ("fp16", 1.2)),
        ('[latency]\nspeedup = { over = "pt" }', "tensorrt", PRECISIONS, ("pt", 1.0)),
    ],
)
def test_int8_must_not_be_slower_than_fp16_on_tensorrt_unless_the_settings_say_otherwise(
    tmp_path: Path, toml: str, backend: str, planned: tuple[str, ...], rule: tuple[str, float] | None
) -> None:
    found = read(tmp_path, toml).latency.speedup_rule("int8", backend, planned)
    assert (found and (found.over, found.at_least)) == rule


def test_a_budget_of_a_precision_wins_over_the_general_one(tmp_path: Path) -> None:
    latency = read(tmp_path, "[latency]\nenergy_mj = 9\nmemory_mb = 300\n[latency.int8]\nenergy_mj = 5\n").latency
    assert latency.resources("int8") == (5, 300)
    assert latency.resources("fp16") == (9, 300)


@pytest.mark.parametrize(("ci", "fails"), [("1", True), ("true", True), ("", False), ("0", False), ("false", False)])
def test_a_missing_baseline_fails_by_default_where_ci_is_set(
    monkeypatch: pytest.MonkeyPatch, ci: str, fails: bool
) -> None:
    monkeypatch.setenv("CI", ci)
    assert Settings().missing_baseline_fails is fails


@pytest.mark.parametrize(("policy", "fails"), [("fail", True), ("record", False)])
def test_the_policy_for_missing_baselines_wins_over_ci(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str, fails: bool
) -> None:
    monkeypatch.setenv("CI", "" if fails else "1")
    assert read(tmp_path, f'missing_baseline = "{policy}"').missing_baseline_fails is fails


def test_a_name_that_the_locale_cannot_write_is_a_sentence() -> None:
    code = (
        "from pathlib import Path\n"
        "from pytest_trtgate.errors import SettingsError\n"
        "from pytest_trtgate.settings import build\n"
        "try:\n"
        "    build({'report': '\\u00fcbung.html'}, None, {}, Path('/'))\n"
        "except SettingsError as error:\n"
        "    print(ascii(str(error)))\n"
    )
    here = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    said = subprocess.run([sys.executable, "-c", code], env=here, capture_output=True, text=True, check=True).stdout
    assert said.startswith("'\\xfcbung.html: no name of a file can be written so with this locale; set PYTHONUTF8=1")
