"""Baselines of another machine: their latencies are never compared, and the accuracy is still judged."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from fake_jobs import Behaviour
from pretended import PretendedMachine
from project import VERSIONS, Project

from pytest_trtgate.cli import main
from pytest_trtgate.machine import Machine
from pytest_trtgate.machine.environment import cpu_name, differences, former_machine, machine_slug

ONE = "--trt-precision=fp16"


def edit_environment(path: Path, **changes: Any) -> None:
    """Change what a baseline says about its machine."""
    baseline = json.loads(path.read_text())
    baseline["environment"].update(changes)
    path.write_text(json.dumps(baseline))


@pytest.mark.parametrize(
    ("then", "note"),
    [
        ({"cpu": "Zilog Z80"}, "CPU {cpu}, baseline Zilog Z80"),
        ({"cpu_count": 999}, "CPU cores {cpu_count}, baseline 999"),
        ({"backend_version": "1.30.2"}, "onnxruntime version 1.31, baseline 1.30"),
        ({"backend": "tensorrt"}, "backend onnxruntime, baseline tensorrt"),
    ],
    ids=["cpu", "cores", "version", "backend"],
)
def test_a_latency_of_another_machine_is_named_with_both_values_and_not_compared(
    accepted: Project, then: dict[str, Any], note: str
) -> None:
    edit_environment(accepted.baseline("fp16"), **then)
    accepted.weights(Behaviour(p50_ms={"pt": 8.0, "fp16": 40.0}))
    accepted.run(ONE).assert_outcomes(passed=2)
    verdict = accepted.verdict("fp16", "latency")
    assert str(verdict.outcome) == "INCOMPATIBLE"
    assert note.format(**accepted.record.environment.model_dump()) in verdict.summary


def test_an_int8_accuracy_is_compared_with_one_of_other_instructions_and_said_to_be(project: Project) -> None:
    project.run("--trt-precision=int8", "--trt-baselines=add")
    path = project.accepted_accuracy("int8")
    stored = json.loads(path.read_text())
    assert stored["environment"]["instructions"] == ["avx2", "avx512f", "avx512_vnni"]
    edit_environment(path, instructions=["avx2"])
    project.run("--trt-precision=int8").assert_outcomes(passed=2)
    sentences = [check.sentence for check in project.verdict("int8", "accuracy").checks if check.against == "baseline"]
    assert sentences
    assert all("(avx2, here avx2 avx512f avx512_vnni)" in sentence for sentence in sentences)
    # What an older version wrote does not tell, and is judged as before.
    del stored["environment"]["instructions"]
    path.write_text(json.dumps(stored))
    project.run("--trt-precision=int8").assert_outcomes(passed=2)
    assert "instructions" not in " ".join(check.sentence for check in project.verdict("int8", "accuracy").checks)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("processor : 0\nflags\t\t: fpu avx avx2 avx512f avx512_vnni\n", ("avx2", "avx512f", "avx512_vnni")),
        ("flags : fpu sse4_2 avx512_vnni2\n", ()),
        ("processor : 0\nFeatures : fp asimd asimddp i8mm\n", ("asimddp", "i8mm")),
        ("cpu : POWER9\n", None),
    ],
)
def test_instructions_are_those_that_linux_tells(tmp_path: Path, text: str, found: tuple[str, ...] | None) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "cpuinfo").write_text(text)
    assert Machine(system=tmp_path).cpu_instructions() == found


def test_an_unknown_machine_is_told_in_one_line_what_records_a_baseline(accepted: Project) -> None:
    accepted.run("--trt-precision=int8", "-k", "accuracy", "--trt-baselines=add")
    folder = accepted.baseline("fp16").parents[1]
    folder.rename(folder.with_name("nvidia-h200_tensorrt-8.6"))
    result = accepted.run("--trt-precision=fp16,int8")
    result.assert_outcomes(passed=4)
    [line] = [line for line in result.outlines if "no baseline on this machine" in line]
    said, _, command = line.partition(": ")
    assert said == f"Latency has no baseline on this machine yet ({folder.name}); to record one"
    output = result.stdout.str()
    assert "INCOMPATIBLE" not in output
    assert "NO BASELINE" not in output
    assert output.count("trtgate baseline accept ") == 1
    assert "could not be decided" not in accepted.page
    assert said in accepted.page
    assert main(shlex.split(command)[1:]) == 0
    accepted.run("--trt-precision=fp16,int8").assert_outcomes(passed=4)
    assert accepted.outcomes("latency") == {"fp16": "PASS", "int8": "PASS"}


def test_a_missing_baseline_that_fails_is_told_of_each_cell(accepted: Project) -> None:
    folder = accepted.baseline("fp16").parents[1]
    folder.rename(folder.with_name("nvidia-h200_tensorrt-8.6"))
    accepted.settings(top='missing_baseline = "fail"')
    result = accepted.run("--trt-precision=fp16,int8", "-k", "latency")
    result.assert_outcomes(failed=2)
    assert not [line for line in result.outlines if "no baseline on this machine" in line]
    assert len([line for line in result.outlines if line.startswith("NO BASELINE")]) == 2


def test_several_differences_are_all_named(accepted: Project) -> None:
    edit_environment(accepted.baseline("fp16"), cpu="Zilog Z80", cpu_count=999)
    accepted.run(ONE)
    assert "baseline Zilog Z80; CPU cores " in accepted.verdict("fp16", "latency").summary


def test_a_patch_release_of_the_backend_is_comparable(accepted: Project) -> None:
    edit_environment(accepted.baseline("fp16"), backend_version="1.31.7", os="Plan 9", python="3.99.0")
    accepted.run(ONE)
    assert accepted.outcomes("latency") == {"fp16": "PASS"}


def test_another_number_of_threads_is_not_comparable(accepted: Project) -> None:
    threads = accepted.record.latencies["shapes"].launches[0].threads
    accepted.settings(top=f"threads = {threads + 1}")
    accepted.run(ONE)
    assert accepted.outcomes("latency") == {"fp16": "INCOMPATIBLE"}
    assert f"threads {threads + 1}, baseline {threads}" in accepted.verdict("fp16", "latency").summary


def test_a_baseline_of_another_kind_of_machine_is_found_and_named(accepted: Project) -> None:
    folder = accepted.baseline("fp16").parents[1]
    folder.rename(folder.with_name("nvidia-h200_tensorrt-8.6"))
    accepted.run(ONE)
    assert accepted.outcomes("latency") == {"fp16": "NO_BASELINE"}
    summary = accepted.verdict("fp16", "latency").summary
    assert f"baselines exist for nvidia-h200_tensorrt-8.6, this machine is {folder.name}" in summary


def test_a_newer_minor_release_of_the_backend_looks_in_a_folder_of_its_own(accepted: Project) -> None:
    accepted.pretend(installed={**VERSIONS, "onnxruntime": "1.32.0"})
    accepted.run(ONE)
    assert accepted.outcomes("latency") == {"fp16": "NO_BASELINE"}
    accepted.run(ONE, "--trt-baselines=add").assert_outcomes(passed=2)
    assert sorted(p.name[-4:] for p in (accepted.path / "baselines").iterdir()) == ["1.31", "1.32", "racy"]


def test_the_accuracy_is_judged_on_any_machine(accepted: Project) -> None:
    edit_environment(accepted.baseline("fp16"), cpu="Zilog Z80")
    accepted.weights(Behaviour(drop={"fp16": 0.2}))
    accepted.run(ONE).assert_outcomes(passed=1, failed=1)
    assert accepted.outcomes("accuracy") == {"fp16": "FAIL"}


def test_an_incomparable_baseline_fails_where_a_missing_one_does(
    accepted: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "true")
    edit_environment(accepted.baseline("fp16"), cpu="Zilog Z80")
    result = accepted.run(ONE)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["Accept: pytest --trt-precision=fp16 --trt-baselines=update"])


def test_sessions_of_another_machine_are_not_joined(accepted: Project) -> None:
    path = accepted.baseline("fp16")
    edit_environment(path, cpu="Zilog Z80")
    accepted.run(ONE, "--trt-baselines=update").assert_outcomes(passed=2)
    baseline = json.loads(path.read_text())
    assert (baseline["environment"]["cpu"], len(baseline["sessions"])) == (accepted.record.environment.cpu, 1)


def test_other_images_make_the_accepted_accuracy_incomparable(accepted: Project) -> None:
    (accepted.path / "data" / "labels" / "test" / "0.txt").write_text("")
    accepted.run(ONE).assert_outcomes(passed=2)
    verdict = accepted.verdict("fp16", "accuracy")
    assert str(verdict.outcome) == "INCOMPATIBLE"
    assert "whose images or labels differ" in verdict.summary


def test_other_evaluation_settings_make_the_accepted_accuracy_incomparable(accepted: Project) -> None:
    accepted.settings("[validation]\nconf = 0.25\n")
    accepted.run(ONE)
    assert "whose evaluation settings differ" in accepted.verdict("fp16", "accuracy").summary


@pytest.mark.parametrize(
    ("device", "version", "slug"),
    [
        (
            f"cpu-x86_64-{cpu_name('Intel(R) Xeon(R) CPU @ 2.20GHz')}-2c",
            "1.31.0",
            "cpu-x86_64-intel-xeon-2c_onnxruntime-1.31",
        ),
        (f"{cpu_name('AMD EPYC 7763 64-Core Processor')}-4c", "1.31.0", "amd-epyc-7763-4c_onnxruntime-1.31"),
        ("NVIDIA H200", "1.31", "nvidia-h200_onnxruntime-1.31"),
        ("NVIDIA GeForce RTX 4090 (Laptop)", "2.0.0rc1", "nvidia-geforce-rtx-4090-laptop_onnxruntime-2.0"),
    ],
)
def test_a_kind_of_machine_reads_as_a_folder_name(device: str, version: str, slug: str) -> None:
    assert machine_slug(device, "onnxruntime", version) == slug


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("cpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC Processor\n", "f25m17"),
        ("CPU implementer\t: 0x41\nCPU part\t: 0xd4f\n", "f0x41m0xd4f"),
        ("cpu : POWER9\n", ""),
    ],
)
def test_cpus_of_one_name_are_told_apart_by_their_makers_numbers(tmp_path: Path, text: str, numbers: str) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "cpuinfo").write_text(text)
    assert Machine(system=tmp_path).cpu_numbers() == numbers


def test_a_limit_of_processor_time_is_part_of_the_kind_of_machine(tmp_path: Path) -> None:
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "cpuinfo").write_text("cpu family : 6\nmodel : 143\nmodel name : Intel(R) Xeon(R) Processor\n")
    whole = PretendedMachine(system=tmp_path, cores=1).environment("onnxruntime", "cpu", tmp_path)
    (tmp_path / "sys" / "fs" / "cgroup").mkdir(parents=True)
    (tmp_path / "sys" / "fs" / "cgroup" / "cpu.max").write_text("150000 100000")
    part = PretendedMachine(system=tmp_path, cores=1).environment("onnxruntime", "cpu", tmp_path)
    arch = whole.arch
    assert whole.machine == f"cpu-{arch}-intel-xeon-f6m143-1c_onnxruntime-1.31"
    assert part.machine == f"cpu-{arch}-intel-xeon-f6m143-1c-quota1.5_onnxruntime-1.31"
    assert differences(part, whole) == ["CPU quota 1.5 cores, baseline none"]
    assert former_machine(whole) == former_machine(part) == f"cpu-{arch}-intel-xeon-1c_onnxruntime-1.31"


def test_a_machine_with_the_name_of_an_older_version_finds_its_baseline(accepted: Project) -> None:
    path = accepted.baseline("fp16")
    environment = accepted.record.environment
    assert former_machine(environment) != environment.machine
    old = path.parents[1].rename(path.parents[2] / former_machine(environment))
    edit_environment(old / "shapes" / path.name, machine=old.name, cpu_model="", cpu_quota=None)
    accepted.run(ONE).assert_outcomes(passed=2)
    assert accepted.outcomes("latency") == {"fp16": "PASS"}
    # What is added joins it, under the name of now.
    accepted.run(ONE, "--trt-baselines=update").assert_outcomes(passed=2)
    assert len(json.loads(path.read_text())["sessions"]) == 2


def test_another_model_of_a_cpu_of_one_name_is_another_machine(accepted: Project) -> None:
    edit_environment(accepted.baseline("fp16"), cpu_model="f1m1")
    accepted.run(ONE)
    assert accepted.outcomes("latency") == {"fp16": "INCOMPATIBLE"}
    assert "CPU model " in accepted.verdict("fp16", "latency").summary
