"""One session on several kinds of machines, each with a fake launcher of its own."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from fake_jobs import Behaviour
from project import SETTINGS, Project

from pytest_trtgate.records import PRECISIONS, Explanation, RunRecord, load_run, save
from pytest_trtgate.settings import recorded_settings
from pytest_trtgate.settings.latency import Latency

HOOKS = """
import fake_jobs
from inline_launcher import InlineLauncher
from pytest_trtgate.errors import JobError, SettingsError

SLOWNESS = {"a": 1.0, "b": 2.0}
LOST = {}

class Launcher(InlineLauncher):
    def __init__(self, machine):
        self.machine = machine

    def run(self, job, folder, progress):
        with (Path(__file__).parent / "jobs.txt").open("a") as file:
            file.write(f"{self.machine} {job.name}\\n")
        if job.kind in LOST.get(self.machine, ()):
            raise JobError(job.name, f"the worker on {self.machine}1 ended: its node died")
        usual = fake_jobs.CONTEXTS
        fake_jobs.CONTEXTS = {name: factor * SLOWNESS[self.machine] for name, factor in usual.items()}
        try:
            return super().run(job, folder, progress)
        finally:
            fake_jobs.CONTEXTS = usual

class Missing(PretendedMachine):
    def versions(self):
        raise SettingsError("the Ray cluster at 'x' has no machine 'b'; it has: a")

def pytest_trtgate_launcher(config, machine):
    return Launcher(machine)

def pytest_trtgate_machine(config, machine):
    if machine in LOST.get("missing", ()):
        return Missing()
    kind = {"machine": f"{machine}_onnxruntime-1.31", "cpu": machine, "extra": {"node": f"{machine}1"}}
    return PretendedMachine(**MACHINE, fingerprint=kind)
"""
FLEET = 'backend = "onnxruntime"\nfleet = { address = "x" }\n'
BOTH = FLEET + 'machines = ["a", "b"]\n'
FP16 = "--trt-precision=fp16"


@pytest.fixture
def machines(project: Project) -> Project:
    """A project that is gated on two machines, of which the second is half as fast."""
    project.hooks(HOOKS)
    project.settings(top=BOTH)
    return project


def record(project: Project, machine: str) -> RunRecord:
    return load_run(project.path / "reports" / machine / "run.json")


def outcomes(project: Project, machine: str, subject: str = "latency") -> dict[str, str]:
    return {v.cell.precision: str(v.outcome) for v in record(project, machine).verdicts if v.subject == subject}


def jobs(project: Project) -> list[str]:
    return (project.path / "jobs.txt").read_text().splitlines()


def test_each_cell_is_measured_on_its_machine(machines: Project) -> None:
    result = machines.run("-v")
    assert result.ret == 0
    names = re.findall(r"::(test_\w+)\[(\S+)\] PASSED", result.stdout.str())
    precisions = ("fp32", "fp16", "int8")
    assert {cell for _, cell in names} == {f"shapes-{p}-{m}" for p in precisions for m in "ab"}
    assert len(names) == 12
    for machine, p50_ms in (("a", 4.2), ("b", 8.4)):
        run = record(machines, machine)
        assert {cell.machine for cell in run.cells} == {v.cell.machine for v in run.verdicts} == {machine}
        assert run.environment.extra["node"] == f"{machine}1"
        assert run.settings["machines"] == [machine]
        assert run.latencies["shapes"].per_launch_ms("fp16", "engine", 50)[0] == pytest.approx(p50_ms, rel=0.1)
        kinds = [line.split()[1].partition("-")[0] for line in jobs(machines) if line.startswith(f"{machine} ")]
        assert {"accuracy", "launch"} <= set(kinds)
    # One engine serves both, as both would build the same.
    assert sorted(line for line in jobs(machines) if "build" in line) == [
        f"a build-shapes-{precision}-320-b1-onnxruntime-cpu" for precision in sorted(precisions)
    ]
    assert not (machines.path / "reports" / "run.json").exists()
    assert (machines.path / "reports" / "trtgate.html").exists()


def test_without_a_second_machine_nothing_is_otherwise(machines: Project) -> None:
    machines.settings(top=FLEET)
    result = machines.run("--trt-machine=b", FP16, "-v")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*test_latency?shapes-fp16? PASSED*"])
    assert machines.record.cells[0].machine == ""
    assert not (machines.path / "reports" / "b").exists()


def test_the_command_line_names_machines(machines: Project) -> None:
    machines.settings(top=FLEET)
    assert machines.run("--trt-machine=b", "--trt-machine=a", FP16).ret == 0
    assert outcomes(machines, "a") == outcomes(machines, "b") == {"fp16": "NO_BASELINE"}


def test_tests_are_selected_by_machine(machines: Project) -> None:
    result = machines.run("-k", "fp16-b")
    assert result.ret == 0
    assert not any(line.startswith("a ") for line in jobs(machines))
    assert outcomes(machines, "b") == {"fp16": "NO_BASELINE"}
    result.stdout.fnmatch_lines(["not judged: what is on a, for which no test asked"])


def test_machines_have_limits_of_their_own(machines: Project) -> None:
    machines.settings(
        "int8 = { p50 = { budget_ms = 5.0 } }\n[latency.machine.b.fp16]\np50 = { budget_ms = 6.0 }\n", BOTH
    )
    result = machines.run()
    assert outcomes(machines, "a")["fp16"] == "NO_BASELINE"
    assert outcomes(machines, "b") == {"fp32": "NO_BASELINE", "fp16": "FAIL", "int8": "FAIL"}
    result.stdout.fnmatch_lines(
        [
            "FAIL  shapes fp16 on b latency: p50 8.* ms (median of launches) is over its",
            "*set p50.budget_ms = * under [[]latency.machine.b.fp16] in trtgate.toml",
        ]
    )


@pytest.mark.parametrize(("name", "said"), [("c", True), ("b", False)])
def test_limits_of_a_machine_that_is_not_there_are_told(machines: Project, name: str, said: bool) -> None:
    machines.settings(f"[latency.machine.{name}]\np50 = {{ budget_ms = 6.0 }}\n", BOTH)
    line = f"not judged: the limits under latency.machine, which are of {name}; this is a_"
    assert (line in str(machines.run(FP16).stdout)) == said


def test_machines_have_baselines_of_their_own(machines: Project) -> None:
    assert machines.run(FP16, "--trt-baselines=update").ret == 0
    files = {str(path.relative_to(machines.path)) for path in machines.path.glob("baselines/*/shapes/fp16*.json")}
    place = "shapes/fp16-320-b1"
    assert {f"baselines/{m}_onnxruntime-1.31/{place}.json" for m in "ab"} <= files
    machines.hooks('SLOWNESS["b"] = 2.8\n')
    machines.run(FP16, "--trt-fresh")
    assert outcomes(machines, "a") == {"fp16": "PASS"}
    assert outcomes(machines, "b")["fp16"] != "NO_BASELINE"


def test_a_cell_is_accepted_from_the_record_of_its_machine(machines: Project) -> None:
    from pytest_trtgate.cli import main

    machines.run(FP16)
    run = record(machines, "b")
    command = run.accept_cells or run.verdicts[0].accept_cell
    assert command.startswith("trtgate baseline accept reports/b/trtgate-runs/"), command
    assert main(command.split()[1:]) == 0
    result = machines.run(FP16)
    assert outcomes(machines, "a") == {"fp16": "NO_BASELINE"}
    assert outcomes(machines, "b") == {"fp16": "PASS"}
    legend = " ".join(result.stdout.str().split())
    assert "; shapes .pt on b, and vs .pt: of the stored session of " in legend
    assert legend.count("of the stored session of ") == 1


def test_a_machine_that_cannot_be_had_costs_only_its_own_cells(machines: Project) -> None:
    machines.hooks('LOST["missing"] = ["b"]\n')
    result = machines.run(FP16)
    assert result.ret == 1
    result.assert_outcomes(passed=2, failed=2)
    for subject in ("accuracy", "latency"):
        assert outcomes(machines, "a", subject) == {"fp16": "NO_BASELINE"}
        assert outcomes(machines, "b", subject) == {"fp16": "ERROR"}
    assert "has no machine 'b'; it has: a" in record(machines, "b").verdicts[0].summary
    result.stdout.fnmatch_lines(["ERROR  shapes fp16 on b accuracy and latency: the Ray cluster at 'x' has no"])
    assert "no machine &#39;b&#39;; it has: a" in machines.page
    assert not any(line.startswith("b ") for line in jobs(machines))


def test_a_machine_that_dies_leaves_the_others_alone(machines: Project) -> None:
    machines.hooks('LOST["a"] = ["latency"]\n')
    assert machines.run(FP16).ret == 1
    assert outcomes(machines, "a") == {"fp16": "ERROR"}
    assert outcomes(machines, "a", "accuracy") == outcomes(machines, "b") == {"fp16": "NO_BASELINE"}


def test_one_page_and_one_table_show_all_machines(machines: Project) -> None:
    result = machines.run(FP16)
    assert len(re.findall(r"^shapes fp16 +[ab] ", result.stdout.str(), re.MULTILINE)) == 2
    page = machines.page
    assert re.findall('<th scope="col">(.*?)</th>', page.partition('class="matrix"')[2].partition("</thead>")[0]) == [
        "Model",
        "a",
        "b",
    ]
    result.stdout.fnmatch_lines(["report: *reports/trtgate.html"])


def test_junit_and_annotations_tell_machines_apart(machines: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    machines.settings("[latency.machine.b.fp16]\np50 = { budget_ms = 6.0 }\n", BOTH)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    result = machines.run(FP16, "--junitxml=junit.xml")
    cases = ElementTree.parse(machines.path / "junit.xml").iter("testcase")
    found = {
        case.get("name"): {p.get("name"): p.get("value") for p in case.iter("property")}["trtgate_machine"]
        for case in cases
    }
    assert found["test_latency[shapes-fp16-b]"] == "b"
    assert found["test_latency[shapes-fp16-a]"] == "a"
    result.stdout.fnmatch_lines(["::error file=test_gate.py,*title=shapes fp16 on b latency*"])


def test_a_users_test_knows_its_machine(machines: Project) -> None:
    machines.tests(
        """
        import json
        from pathlib import Path

        def test_times(trt_cell, trt_latency, trt_engine):
            with Path("seen.txt").open("a") as file:
                file.write(json.dumps([trt_cell.machine, trt_engine.cell.machine, trt_latency.p50_ms]) + "\\n")
        """
    )
    assert machines.run(FP16).ret == 0
    seen = [json.loads(line) for line in Path("seen.txt").read_text().splitlines()]
    assert [one[:2] for one in seen] == [["a", "a"], ["b", "b"]]
    assert seen[1][2] == pytest.approx(2 * seen[0][2], rel=0.2)


def test_failures_of_last_time_are_run_on_their_machine_alone(machines: Project) -> None:
    machines.settings("[latency.machine.b.fp16]\np50 = { budget_ms = 6.0 }\n", BOTH)
    machines.run_apart(FP16, every_plugin=True)
    (machines.path / "jobs.txt").unlink()
    again = machines.run_apart(FP16, "--lf", every_plugin=True)
    assert "1 failed" in again.output
    assert "shapes-fp16-b" in again.output
    assert {line[0] for line in jobs(machines)} == {"b"}


def test_lines_and_start_name_the_machine(machines: Project) -> None:
    text = machines.run("-k", "fp16").stdout.str()
    assert "\n  trtgate: a: to do: 3 builds, 2 accuracies, 3 launches; " in text
    assert "\n  trtgate: shapes fp16 on a: building the engine\n" in text
    assert "\n  trtgate: b: to do: 2 accuracies, 3 launches; " in text
    assert "\n  trtgate: shapes fp16 on b: engine from the cache" in text
    assert "\n  trtgate: b: shapes: launch 1 of 3, timing " in text
    assert "trtgate: backend onnxruntime on cpu (asked for; a, b of the Ray cluster x)" in text


def test_what_a_job_says_in_a_thread_is_shown_while_it_runs(machines: Project) -> None:
    machines.hooks(
        """
import threading
from pytest_trtgate.plugin import narrator

narrator._QUIET_INTERVAL_S = 0.0
run = Launcher.run

def telling(launcher, job, folder, progress):
    thread = threading.Thread(target=progress, args=(f"far with {job.name}",))
    thread.start()
    thread.join()
    print(f"end of {job.name}")
    return run(launcher, job, folder, progress)

Launcher.run = telling
"""
    )
    done = machines.run_apart(FP16, "-s")
    assert done.ret == 0, done.output
    for job in {line.split()[1] for line in jobs(machines)}:
        assert done.output.index(f"far with {job}") < done.output.index(f"end of {job}")


def test_workers_of_xdist_share_what_machines_did(machines: Project) -> None:
    pytest.importorskip("xdist")
    done = machines.run_apart("-n2", FP16)
    assert done.ret == 0, done.output
    assert outcomes(machines, "a") == outcomes(machines, "b") == {"fp16": "NO_BASELINE"}
    names = [line for line in jobs(machines) if "build" in line]
    assert sorted(names) == sorted(set(names))


def test_a_machine_that_cannot_be_had_is_told_by_workers_of_xdist_too(machines: Project) -> None:
    pytest.importorskip("xdist")
    machines.hooks('LOST["missing"] = ["b"]\n')
    done = machines.run_apart("-n2", FP16)
    assert done.ret == 1
    assert outcomes(machines, "a") == {"fp16": "NO_BASELINE"}
    assert outcomes(machines, "b") == {"fp16": "ERROR"}


def test_an_interrupted_session_leaves_the_records_and_the_report_of_the_one_before(machines: Project) -> None:
    machines.run(FP16)
    before = {m: (machines.path / "reports" / m / "run.json").read_bytes() for m in "ab"}
    page = machines.path / "reports" / "trtgate.html"
    text = page.read_text().replace("</body>", "of the run before</body>")
    page.write_text(text)
    machines.hooks(
        "class Launcher(Launcher):\n"
        "    def run(self, job, folder, progress):\n"
        "        if self.machine == 'b' and job.kind == 'latency':\n"
        "            raise KeyboardInterrupt\n"
        "        return super().run(job, folder, progress)\n"
    )
    result = machines.run(FP16)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert {m: (machines.path / "reports" / m / "run.json").read_bytes() for m in "ab"} == before
    assert page.read_text() == text
    runs = {m: (machines.path / "reports" / m / "trtgate-runs").glob("*/run.json") for m in "ab"}
    newest = {m: max(found, key=lambda path: path.stat().st_mtime_ns) for m, found in runs.items()}
    assert all(load_run(path).unfinished == "the run was interrupted" for path in newest.values())
    assert {v.subject for v in load_run(newest["a"]).verdicts} == {"accuracy", "latency"}
    result.stdout.fnmatch_lines(["report: *reports/a/trtgate-runs/*/trtgate.html"])


def test_runs_on_one_machine_and_on_several_are_compared(machines: Project) -> None:
    from pytest_trtgate.cli import main

    machines.settings(top=FLEET)
    machines.run(FP16, "--trt-machine=a")
    machines.settings(top=BOTH)
    machines.run(FP16)
    records = [str(machines.path / "reports" / name) for name in ("run.json", "a/run.json", "b/run.json")]
    assert main(["compare", *records[:2]]) == 0
    assert main(["compare", *records[1::-1]]) == 0
    assert main(["compare", records[0], records[2]]) == 2
    assert main(["report", *records[1:], "-o", "all.html"]) == 0


def test_a_failed_accuracy_is_explained_on_its_machine(machines: Project) -> None:
    machines.weights(Behaviour(drop={"int8": 0.2}))
    result = machines.run("--trt-precision=int8", "--trt-explain")
    assert result.ret == 1
    for machine in "ab":
        assert list(record(machines, machine).explanations) == ["shapes-int8-320-b1-onnxruntime-cpu"]
        assert any(line.startswith(f"{machine} explain") for line in jobs(machines))


def test_an_explanation_of_one_machine_goes_into_the_page_of_all(
    machines: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pytest_trtgate.cli import explanation

    machines.run("--trt-precision=int8")
    before, run = machines.page, record(machines, "b")
    settings = recorded_settings(run.settings, machines.path)
    path = machines.path / "reports" / "b" / "run.json"
    save(path, run.model_copy(update={"notes": (*run.notes, "explained by hand")}))
    explanation._save(run.run_id, Explanation(cell=run.cells[0]), path, settings)
    assert "explained by hand" not in before
    after = (machines.path / "reports" / "trtgate.html").read_text(encoding="utf-8")
    assert "explained by hand" in after
    assert after.count('<th scope="col">') == before.count('<th scope="col">')
    assert not (machines.path / "reports" / "b" / "trtgate.html").exists()


def test_release_packs_of_machines_lie_apart(machines: Project) -> None:
    machines.run(FP16, "--trt-baselines=update")
    result = machines.run(FP16, "--trt-promote=packs")
    assert result.ret == 0
    assert sorted(path.parts[-2] for path in (machines.path / "packs").glob("*/*")) == ["a", "b"]


def test_a_machine_whose_cell_may_not_be_promoted_keeps_all_others_back(machines: Project) -> None:
    machines.run(FP16, "-k", "fp16-a", "--trt-baselines=update")
    result = machines.run(FP16, "--trt-promote=packs")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["trtgate: no release pack was written into */packs: shapes-fp16-* is not promoted: *"])
    assert not (machines.path / "packs").exists()


def test_a_slow_machine_fails_alone(machines: Project) -> None:
    machines.run(FP16, "--trt-baselines=update")
    machines.weights(Behaviour(p50_ms={"pt": 8.0, "fp32": 4.0, "fp16": 6.0, "int8": 3.0}))
    machines.run(FP16)
    assert outcomes(machines, "a") == outcomes(machines, "b") == {"fp16": "FAIL"}


@pytest.mark.parametrize(
    ("top", "said"),
    [
        ('machines = ["a", "b"]\n', "machines names machines of a fleet, and fleet.address is not set"),
        (FLEET + 'machines = ["../a"]\n', "machines = '../a' is not allowed; allowed: kinds of machines"),
    ],
)
def test_machines_that_cannot_be_are_refused(machines: Project, top: str, said: str) -> None:
    machines.settings(top=top)
    result = machines.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert said in result.stderr.str() + result.stdout.str()


def test_this_machine_has_limits_by_the_name_of_its_baselines(project: Project) -> None:
    project.pretend(fingerprint={"machine": "board-15w_onnxruntime-1.31"})
    project.settings("[latency.machine.board-15w]\np50 = { budget_ms = 3.5 }\n[latency.machine.b]\nenergy_mj = 1.0\n")
    project.run()
    assert project.outcomes("latency") == {"fp32": "FAIL", "fp16": "FAIL", "int8": "NO_BASELINE"}
    assert "under [latency.machine.board-15w.fp16] in trtgate.toml" in project.verdict("fp16", "latency").accept
    assert list(project.record.settings["latency"]["machine"]) == ["board-15w"]


def test_a_machines_limits_go_before_those_of_precisions() -> None:
    table = {
        "p50": {"budget_ms": 1.0, "regression": 0.1},
        "speedup": {"over": "pt", "at_least": 1.0},
        "int8": {"p50": {"budget_ms": 2.0}, "speedup": {"over": "fp16", "at_least": 2.0}},
        "machine": {
            "b": {"p50": {"budget_ms": 3.0}, "speedup": {"over": "int8"}, "energy_mj": 5.0},
            "c": {"int8": {"p99": {"budget_ms": 4.0}}},
        },
    }
    latency = Latency.model_validate(table)

    def budgets(on: Latency) -> list[float | None]:
        return [on.limit(precision, "p50", "onnxruntime").budget_ms for precision in PRECISIONS]

    assert budgets(latency) == [1.0, 1.0, 2.0]
    assert budgets(latency.on("b")) == [3.0, 3.0, 3.0]
    assert latency.on("b").limit("int8", "p50", "onnxruntime").regression == 0.1
    assert latency.on("b").resources("fp16") == (5.0, None)
    rules = [latency.on("b").speedup_rule(precision, "onnxruntime", PRECISIONS) for precision in PRECISIONS]
    assert [rule and (rule.over, rule.at_least) for rule in rules] == [("int8", 1.0), ("int8", 1.0), ("fp16", 2.0)]
    assert budgets(latency.on("c")) == [1.0, 1.0, 2.0]
    assert latency.on("c").limit("int8", "p99", "onnxruntime").budget_ms == 4.0
    assert latency.on("b").on("b") == latency.on("b")
    assert latency.on("other").machine == {}


def test_a_waiver_may_be_of_one_machine(machines: Project) -> None:
    from pytest_trtgate.cli import main

    machines.settings("fp16 = { p50 = { budget_ms = 1.0 } }\n", BOTH)
    waive = ["baseline", "waive", "shapes-fp16-320-b1-onnxruntime-cpu"]
    assert main([*waive, "--machine=b", "--until=2999-01-01", "--reason=new driver"]) == 0
    machines.run(FP16)
    failed = {m: [v.failed for v in record(machines, m).verdicts if v.subject == "latency"] for m in "ab"}
    assert failed == {"a": [True], "b": [False]}
    assert main([*waive, "--machine=a", "--remove"]) == 2
    assert main([*waive, "--machine=b", "--remove"]) == 0


def test_a_typo_in_a_machines_limits_is_told(machines: Project) -> None:
    machines.settings("machine.b.fp16.p50 = { budget = 6.0 }\n", BOTH, SETTINGS)
    result = machines.run()
    assert "unknown key 'latency.machine.b.fp16.p50.budget'; did you mean 'budget_ms'?" in result.stderr.str()
