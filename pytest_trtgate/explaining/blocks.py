"""Which block of a network INT8 harms, by halving: all on few images, the half that counts on twice as many."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ..quantizing import Candidate, Trial, block_names, halving, matching
from ..records import BlockSensitivity, Explanation, Layer
from ..repairing import TimeIsUpError, Trials
from ..text import plural

ROUNDS = (16, 32, 64)
"""Images of each round."""
TELLING = 0.5
"""A block is to blame where INT8 without it saves such a share of the drop."""


def of_blocks(found: Explanation, trials: Trials, network: tuple[Layer, ...], images: int) -> Explanation:
    """Return the explanation with the sensitivity of each block, as far as the time suffices.

    ``images`` is how many are evaluated in a run.
    """
    if found.cell.precision != "int8" or not network:
        return found
    blocks = block_names(network)
    if len(blocks) < 2:
        return found.model_copy(update={"blocks_note": "not measured: the network has one block only"})
    shares = {trials.images_of(share): share for share in (min(1.0, most / max(1, images)) for most in ROUNDS)}
    tries, note = _Tries(trials, found.metric, blocks, tuple(shares.values())), ""
    try:
        tries.run()
    except TimeIsUpError:
        note = f", as far as {found.cell.label} could be tried in the time (explain.minutes)"
    except KeyboardInterrupt:
        note = ", until that was interrupted"
    told = tuple(tries.sensitivity(block, len(matching(network, [block]))) for block in blocks)
    first, *more = shares
    halved = f", and the half of them that saves most on {' and then '.join(map(str, more))}" if more else ""
    return found.model_copy(
        update={
            "blocks": told,
            "blocks_drop": tries.drop((), max(tries.measured, default=0.0)),
            "blocks_note": f"drops of {found.metric}, all blocks on {plural(first, 'image')}{halved}{note}",
        }
    )


@dataclass
class _Tries:
    """The trials of one network: ``drops`` of the metric by the blocks that are kept out of INT8, and by share."""

    trials: Trials
    metric: str
    blocks: tuple[str, ...]
    shares: tuple[float, ...]
    drops: dict[tuple[tuple[str, ...], float], float] = field(default_factory=dict)

    def run(self) -> None:
        """Try all; raises ``TimeIsUpError`` where the time ends before."""
        start = self.trials.given.start
        halving([start.keeping((*start.asked.keep, block)) for block in self.blocks], self._tried, self.shares)

    def _tried(self, candidate: Candidate, share: float) -> Trial:
        """Try a network without one block in INT8, and from the second round on with that block alone, too."""
        block = candidate.asked.keep[-1]
        if ((), share) not in self.drops:
            self._try((), share, "as it is")
        trial = self._try((block,), share, f"all but {block} in INT8")
        # Each engine is built once: those of blocks that do not matter would be built for nothing.
        if share > self.shares[0] or len(self.shares) == 1:
            self._try(self._others(block), share, f"{block} alone in INT8")
        return replace(trial, excess=trial.drops.get(self.metric, float("inf")))

    def _try(self, kept: tuple[str, ...], share: float, what: str) -> Trial:
        start = self.trials.given.start
        trial = self.trials.evaluate(start.keeping((*start.asked.keep, *kept)), share, what, self.metric)
        if self.metric in trial.drops:
            self.drops[kept, share] = trial.drops[self.metric]
        return trial

    def _others(self, block: str) -> tuple[str, ...]:
        return tuple(other for other in self.blocks if other != block)

    @property
    def measured(self) -> set[float]:
        """The shares at which a block was measured."""
        return {share for kept, share in self.drops if kept}

    def drop(self, kept: tuple[str, ...], share: float) -> float | None:
        """Return the drop with some blocks kept out of INT8; None where it was not measured."""
        return self.drops.get((kept, share))

    def sensitivity(self, block: str, layers: int) -> BlockSensitivity:
        """Return what a block costs, on the most images that it was tried on."""
        share = max((share for kept, share in self.drops if kept == (block,)), default=0.0)
        return BlockSensitivity(
            name=block,
            layers=layers,
            alone=self.drop(self._others(block), share),
            without=self.drop((block,), share),
            drop=self.drop((), share),
            images=self.trials.images_of(share) if share else 0,
        )


def guilty(found: Explanation) -> str:
    """Return the sentence that names the block to blame, of those tried on the most images; empty where none is."""
    most = max((block.images for block in found.blocks), default=0)
    saved = {block: found.saved(block) for block in found.blocks if block.images == most}
    best = max(saved, key=lambda block: saved[block] or 0.0, default=None)
    drop = found.blocks_drop or 0.0
    if best is None or best.without is None or drop <= 0 or (saved[best] or 0.0) <= TELLING * drop:
        return ""
    return (
        f"INT8 harms {best.name} most: with its {plural(best.layers, 'layer')} kept out, {found.metric} falls by "
        f"{best.without:.4f} in place of {drop:.4f}"
    )
