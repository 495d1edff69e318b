"""The search for the INT8 that passes at the least cost. It knows neither jobs nor clocks: others try for it.

A trial says by how much the worst metric exceeds its tolerance. What the search learns on a part of the images it
confirms on all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

from ..records import Layer
from ..settings import Int8
from .naming import block_names, matching, prefixes_of

LAST = "head.*.last"
"""The last convolutions of all branches of the head, few and often guilty."""
PARTS = (0.25, 1.0)
"""Shares of the images on which candidates are compared, the better half of each round in the next."""


@dataclass(frozen=True)
class Candidate:
    """One way to quantize: the settings, and the share of the calibration images."""

    asked: Int8 = field(default_factory=Int8)
    fraction: float = 1.0

    def keeping(self, names: Iterable[str]) -> Candidate:
        """Return this with other layers kept out of INT8."""
        return replace(self, asked=self.asked.model_copy(update={"keep": tuple(names)}))


@dataclass(frozen=True)
class Trial:
    """What came of a candidate.

    Attributes:
        candidate: What was tried.
        share: The share of the images that it was evaluated on.
        excess: By how much the drop of the worst metric is over its tolerance; at most 0 where all pass.
        drops: The drop of each gated metric.
        size_bytes: The size of its engine.
        problem: Why there is no engine; empty where there is.
    """

    candidate: Candidate
    share: float
    excess: float
    drops: dict[str, float] = field(default_factory=dict)
    size_bytes: int = 0
    problem: str = ""

    @property
    def passes(self) -> bool:
        """Whether every gated metric is within its tolerance."""
        return self.excess <= 0


Evaluate = Callable[[Candidate, float], Trial]
"""Tries a candidate on a share of the images."""
Recipe = Callable[[Candidate], Candidate]
"""Makes another candidate of one."""


def halving(candidates: Sequence[Candidate], evaluate: Evaluate, parts: Sequence[float] = PARTS) -> list[Trial]:
    """Return the candidates that are left after each part of the images but the last halved them, the best first."""
    left = list(dict.fromkeys(candidates))
    trials: list[Trial] = []
    for part in parts:
        trials = sorted((evaluate(candidate, part) for candidate in left), key=lambda trial: trial.excess)
        left = [trial.candidate for trial in trials[: max(1, math.ceil(len(trials) / 2))]]
    return trials


class Search:
    """Looks for a repair, and remembers every trial on all images in ``trials``, whenever it is ended.

    Args:
        layers: The layers of the network.
        evaluate: Tries a candidate; what it raises ends the search.
        recipes: Other ways to quantize than the present one, each without layers that are kept.
        later: The same of those that take long to try: only after blocks have been kept.
        say: Told in one sentence what comes next.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        evaluate: Evaluate,
        recipes: Sequence[Recipe],
        later: Sequence[Recipe] = (),
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.layers = layers
        self._recipes, self._later = recipes, later
        self.trials: dict[Candidate, Trial] = {}
        self._evaluate = evaluate
        self._parts: dict[tuple[Candidate, float], Trial] = {}
        self._say = say

    def run(self, start: Candidate) -> None:
        """Search from the present settings on, until there is nothing left to try."""
        if self._try(start).passes:
            return
        base = start
        for recipes in (self._recipes, self._later):
            if not recipes:
                continue
            self._say("trying other ways to quantize")
            best = self._best_recipe(base, recipes)
            if best.passes:
                return
            if best.candidate == base and recipes is self._later:
                return  # nothing of it helps, and its blocks were tried
            base = best.candidate
            self._say("trying which blocks to keep out of INT8")
            found = self._grown(base)
            if found is not None:
                self._say("trying to keep fewer layers out of INT8")
                self._shrunk(found)

    def cost(self, candidate: Candidate) -> tuple[int, int]:
        """Return what a candidate keeps out of INT8: multiplications, and layers."""
        kept = self.kept(candidate)
        return sum(layer.multiplications for layer in kept), len(kept)

    def kept(self, candidate: Candidate) -> tuple[Layer, ...]:
        """Return the layers that a candidate keeps out of INT8."""
        return matching(self.layers, candidate.asked.keep)

    def _try(self, candidate: Candidate, share: float = 1.0) -> Trial:
        known = self._parts.get((candidate, share))
        if known is None:
            known = self._parts[candidate, share] = self._evaluate(candidate, share)
        if share == 1:
            self.trials[candidate] = known
        return known

    def _best_recipe(self, start: Candidate, recipes: Sequence[Recipe]) -> Trial:
        """Return the best way to quantize: what helps alone, and all of that together."""
        first = self._try(start, PARTS[0]).excess
        alone = {recipe: self._try(recipe(start), PARTS[0]).excess for recipe in recipes}
        # Of several that set the same key, the one that helps most comes last and stays.
        helping = sorted((recipe for recipe in recipes if alone[recipe] < first), key=lambda recipe: -alone[recipe])
        together = start
        for recipe in helping:
            together = recipe(together)
        left = dict.fromkeys([start, *(recipe(start) for recipe in helping[-2:]), together])
        return min((self._try(candidate) for candidate in left), key=lambda trial: trial.excess)

    def _grown(self, base: Candidate) -> Trial | None:
        """Return a trial that passes, with whole blocks kept; None where no blocks do."""
        blocks = [*block_names(self.layers), *([LAST] if matching(self.layers, [LAST]) else [])]
        if len(blocks) < 2:
            return None
        already = base.asked.keep
        ranked = halving([base.keeping((*already, block)) for block in blocks], self._try)
        order = sorted(
            (base.keeping((*already, block)) for block in blocks), key=lambda one: self._try(one, PARTS[0]).excess
        )
        order = list(dict.fromkeys([*(trial.candidate for trial in ranked), *order]))
        best = ranked[0]
        passing = [trial for trial in ranked if trial.passes]
        if passing:
            return min(passing, key=lambda trial: self.cost(trial.candidate))
        for one in order[1:]:
            names = tuple(dict.fromkeys((*best.candidate.asked.keep, *one.asked.keep)))
            grown = base.keeping(names)
            if len(self.kept(grown)) == len(self.layers):
                continue
            trial = self._try(grown)
            if trial.excess < best.excess:
                best = trial
            if best.passes:
                return best
        return None

    def _shrunk(self, found: Trial) -> Trial:
        """Return a trial that passes and keeps fewer layers, by leaving out ever smaller parts of them."""
        names = [layer.name for layer in self.kept(found.candidate)]
        names.sort(key=lambda name: (name.rpartition(".")[2] == "last", name))
        parts = 2
        while len(names) > 1:
            size = math.ceil(len(names) / parts)
            chunks = [names[start : start + size] for start in range(0, len(names), size)]
            smaller = next((left for left in self._leaving_out(names, chunks) if self._holds(found, left)), None)
            if smaller is not None:
                names, parts = smaller, 2 if len(smaller) <= size else max(2, parts - 1)
            elif parts >= len(names):
                break
            else:
                parts = min(len(names), 2 * parts)
        return self._try(found.candidate.keeping(compressed(self.layers, names)))

    @staticmethod
    def _leaving_out(names: list[str], chunks: list[list[str]]) -> Iterable[list[str]]:
        """Yield the names without all chunks but one, the boldest first, then without one."""
        if len(chunks) > 1:
            yield from reversed(chunks)
        if len(chunks) > 2:
            for chunk in chunks:
                yield [name for name in names if name not in chunk]

    def _holds(self, found: Trial, names: list[str]) -> bool:
        return self._try(found.candidate.keeping(compressed(self.layers, names))).passes


def compressed(layers: Sequence[Layer], names: Collection[str]) -> tuple[str, ...]:
    """Return a short list of names for some layers: a block in the place of all in it, a glob for last convolutions."""
    wanted, covered, found = set(names), set[str](), list[str]()
    blocks = block_names(layers)
    lasts = [LAST, *(f"{block}.*.last" for block in blocks)]
    prefixes = (prefix for layer in layers if layer.name in wanted for prefix in prefixes_of(layer.name))
    for pattern in ("head", *blocks, *lasts, *prefixes):
        inside = {layer.name for layer in matching(layers, [pattern])}
        if inside and inside <= wanted and not inside <= covered and not (pattern in lasts and len(inside) == 1):
            found.append(pattern)
            covered |= inside
    return tuple(found)
