"""Release packs: an engine that passed, with the evidence, signed, and verified where it is deployed."""

from __future__ import annotations

from .pack import Promotion, promote_all
from .signing import Trust, signer
from .verify import verified
