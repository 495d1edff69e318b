"""Which layers of an engine got slower: layers are the same where they have the same name in both profiles."""

from __future__ import annotations
