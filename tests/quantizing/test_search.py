"""The search for a repair, with networks that say themselves what harms them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace

import pytest
from network_example import BACKBONE, NECK, head, named

from pytest_trtgate.quantizing import Candidate, Search, Trial, halving, matching
from pytest_trtgate.settings import Int8

LAYERS = list(named(BACKBONE | NECK | head(2, 3, 4), "pose").values())


def per_channel(candidate: Candidate) -> Candidate:
    return replace(candidate, asked=candidate.asked.model_copy(update={"per_channel": True}))


def entropy(candidate: Candidate) -> Candidate:
    return replace(candidate, asked=candidate.asked.model_copy(update={"calibrator": "entropy"}))


class TimeIsUpError(Exception):
    """The budget is spent."""


@dataclass
class Network:
    """A network of which each quantized layer costs accuracy.

    Attributes:
        harm: The drop by the name of a layer.
        relief: The factor of all drops by setting.
        tolerance: The largest drop that passes.
        most: How many trials there is time for.
    """

    harm: dict[str, float]
    relief: dict[str, float] = field(default_factory=dict)
    tolerance: float = 0.01
    most: int = 1000
    tried: list[tuple[Candidate, float]] = field(default_factory=list)

    def evaluate(self, candidate: Candidate, share: float) -> Trial:
        if len(self.tried) == self.most:
            raise TimeIsUpError
        self.tried.append((candidate, share))
        kept = {layer.name for layer in matching(LAYERS, candidate.asked.keep)}
        drop = sum(harm for name, harm in self.harm.items() if name not in kept)
        for name in candidate.asked.model_dump(exclude_defaults=True):
            drop *= self.relief.get(name, 1.0)
        return Trial(candidate, share, drop - self.tolerance, {"mAP50-95": drop})


def searched(network: Network, *recipes: Callable[[Candidate], Candidate]) -> tuple[Search, list[Trial]]:
    """Return a search that has ended, and the trials that passed, the cheapest first."""
    search = Search(LAYERS, network.evaluate, recipes or (per_channel, entropy))
    with suppress(TimeIsUpError):
        search.run(Candidate())
    passing = [trial for trial in search.trials.values() if trial.passes]
    return search, sorted(passing, key=lambda trial: search.cost(trial.candidate))


def names(search: Search, trial: Trial) -> set[str]:
    return {layer.name for layer in search.kept(trial.candidate)}


def test_what_passes_already_is_left_as_it_is() -> None:
    _, passing = searched(network := Network({"stem.0": 0.005}))
    assert [trial.candidate for trial in passing] == [Candidate()]
    assert len(network.tried) == 1


def test_a_setting_that_helps_is_enough() -> None:
    search, passing = searched(Network({"stem.0": 0.05}, {"per_channel": 0.1, "calibrator": 0.9}))
    assert passing[0].candidate == per_channel(Candidate())
    assert not any(trial.candidate.asked.keep for trial in search.trials.values())


def test_settings_that_help_alone_are_tried_together() -> None:
    _, passing = searched(Network({"stem.0": 0.05}, {"per_channel": 0.4, "calibrator": 0.4}))
    assert passing[0].candidate == entropy(per_channel(Candidate()))


def test_settings_that_harm_are_not_taken() -> None:
    _, passing = searched(Network({"stem.0": 0.1}, {"per_channel": 3.0, "calibrator": 2.0}))
    assert passing[0].candidate.asked == Int8(keep=("stem.0",))


@pytest.mark.parametrize("guilty", [layer.name for layer in LAYERS])
def test_one_guilty_layer_is_found_alone_wherever_it_is(guilty: str) -> None:
    search, passing = searched(network := Network({guilty: 0.2}))
    assert names(search, passing[0]) == {guilty}
    assert len(network.tried) < 40


@pytest.mark.parametrize(
    "guilty",
    [
        {"stem.0", "head.keypoints.8.last"},
        {"stem.1", "stage3.3", "neck.8"},
        {"head.boxes.8.last", "head.boxes.16.last", "head.keypoints.8.last", "head.classes.16.last"},
    ],
)
def test_several_guilty_layers_are_found(guilty: set[str]) -> None:
    search, passing = searched(Network(dict.fromkeys(guilty, 0.1)))
    assert names(search, passing[0]) == guilty


def test_harm_that_is_everywhere_is_not_repaired_by_keeping_everything() -> None:
    search, passing = searched(Network({layer.name: 0.05 for layer in LAYERS}))
    assert passing == []
    best = min(search.trials.values(), key=lambda trial: trial.excess)
    assert best.excess < search.trials[Candidate()].excess
    assert all(len(search.kept(candidate)) < len(LAYERS) for candidate in search.trials)


@pytest.mark.parametrize("most", range(1, 25, 3))
def test_what_was_found_when_time_is_up_is_kept(most: int) -> None:
    search, _ = searched(network := Network({"stem.0": 0.2}, most=most))
    assert search.trials[Candidate()].excess == pytest.approx(0.19)
    assert set(search.trials) == {candidate for candidate, share in network.tried if share == 1}


def test_what_takes_long_is_tried_after_blocks_and_may_still_spare_them() -> None:
    network = Network({"stem.0": 0.1}, {"calibrator": 0.05})
    search = Search(LAYERS, network.evaluate, (per_channel,), (entropy,))
    search.run(Candidate())
    order = [candidate for candidate, _ in network.tried]
    assert order.index(Candidate(Int8(keep=("stem.0",)))) < order.index(entropy(Candidate()))
    assert search.trials[entropy(Candidate())].passes


def test_blocks_are_tried_again_with_a_calibrator_that_only_helps() -> None:
    harm = dict.fromkeys(("stem.0", "stem.1", "stage3.3", "neck.8", "head.boxes.8.0", "head.classes.8.0"), 0.012)
    network = Network(
        harm | dict.fromkeys((layer.name for layer in LAYERS if layer.name not in harm), 0.001), {"calibrator": 0.3}
    )
    search = Search(LAYERS, network.evaluate, (per_channel,), (entropy,))
    search.run(Candidate())
    passing = [one for one, trial in search.trials.items() if trial.passes]
    assert min(len(search.kept(one)) for one in passing if one.asked.calibrator == "entropy") < min(
        (len(search.kept(one)) for one in passing if one.asked.calibrator == "exporter"), default=len(LAYERS)
    )


def test_nothing_is_tried_twice() -> None:
    network = Network({"stem.0": 0.1, "neck.8": 0.1})
    searched(network)
    assert len(set(network.tried)) == len(network.tried)


def test_a_candidate_that_cannot_be_built_is_passed_over() -> None:
    network = Network({"stem.0": 0.2})

    def evaluate(candidate: Candidate, share: float) -> Trial:
        trial = network.evaluate(candidate, share)
        broken = candidate.asked.calibrator == "entropy"
        return replace(trial, excess=float("inf"), problem="no such calibrator") if broken else trial

    search = Search(LAYERS, evaluate, (per_channel, entropy))
    search.run(Candidate())
    assert Candidate(Int8(keep=("stem.0",))) in {one for one, trial in search.trials.items() if trial.passes}


def test_each_part_of_the_images_halves_the_candidates() -> None:
    network = Network({"stem.0": 0.2})
    candidates = [Candidate(fraction=1 / number) for number in range(1, 9)]
    left = halving(candidates, network.evaluate, (0.1, 0.5, 1.0))
    assert [sum(share == part for _, share in network.tried) for part in (0.1, 0.5, 1.0)] == [8, 4, 2]
    assert len(left) == 2
