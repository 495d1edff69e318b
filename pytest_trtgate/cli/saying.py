"""The one place where lines leave the command line's programs."""

from __future__ import annotations

import sys

from .. import text as fmt


def say(text: str, *, error: bool = False, flush: bool = False) -> None:
    """Print a line, whatever is in it: to standard output, or to standard error; with ``flush`` at once."""
    stream = sys.stderr if error else sys.stdout
    if stream is None:  # closed before the program began
        return
    encoding = stream.encoding or "utf-8"
    print(fmt.safe_line(text).encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=flush)
