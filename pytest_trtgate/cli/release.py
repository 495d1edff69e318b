"""``trtgate promote`` and ``trtgate verify``: release packs, which carry an engine and its verdict to where it runs."""

from __future__ import annotations

import argparse
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..errors import SettingsError
from .baseline import RECORD, add_command, given_path, or_usage
from .saying import say

if TYPE_CHECKING:
    from ..records import Cell, RunRecord

_PROMOTE = (
    "Write a release pack: the engine, the report, a manifest of the evidence, and the digest of each file. Accuracy "
    "and latency of the cell must be PASS. Prints the manifest's SHA-256, which verify takes. Exit status 1 if the "
    "cell is refused or its engine is no longer there; 2 for unusable input."
)
_VERIFY = (
    "Check every byte of release packs, the signature where a key is given, and that this machine may load the engine: "
    "version of TensorRT or ONNX Runtime, GPU, driver. Loads nothing, and needs neither PyTorch nor a GPU. Exit status "
    "1 if anything is wrong; 2 for unusable input, such as a folder that is no pack."
)
_SHA256 = re.compile("[0-9a-fA-F]{64}")


def add_release(commands: Any) -> None:
    """Add ``trtgate promote`` and ``trtgate verify`` to the subcommands of a parser."""
    promote = add_command(commands, "promote", or_usage(_promote), "Write a release pack of what passed", _PROMOTE)
    promote.add_argument("record", type=given_path, metavar="RUN.json", help=RECORD)
    only = "The cell, by its key as in a report (default: the only one)"
    promote.add_argument("--only", metavar="KEY", help=only)
    folder = "Folder of the pack: new, empty, or an older pack, in whose place it comes"
    promote.add_argument("-o", "--output", type=given_path, metavar="DIR", required=True, help=folder)
    promote.add_argument("--allow-waived", action="store_true", help="Take a failure that is waived; the pack names it")
    engine = "The engine's file, where it is no longer where the run had it"
    promote.add_argument("--engine", type=given_path, metavar="FILE", help=engine)
    sign = "Sign with this private key (PEM), as OpenSSF model signing does"
    promote.add_argument("--sign", type=given_path, metavar="KEY", help=sign)
    certificate = "Certificate of that key, to be in the signature; repeated, those that vouch for it follow"
    promote.add_argument("--certificate", action="append", type=given_path, metavar="PEM", help=certificate)
    verify = add_command(commands, "verify", or_usage(_verify), "Check release packs", _VERIFY)
    verify.add_argument("folders", nargs="+", type=given_path, metavar="DIR", help="Folder of a release pack")
    verify.add_argument("--sha256", type=_sha256, metavar="HEX", help="What promote printed of the pack")
    trust = verify.add_mutually_exclusive_group()
    trust.add_argument("--key", type=given_path, metavar="PEM", help="Public key that the pack must be signed by")
    vouching = "Certificate that must vouch for the signature; repeatable"
    trust.add_argument("--certificate", action="append", type=given_path, metavar="PEM", help=vouching)
    elsewhere = "Leave out whether this machine may load the engine"
    verify.add_argument("--elsewhere", action="store_true", help=elsewhere)


def _sha256(text: str) -> str:
    if not _SHA256.fullmatch(text):
        raise argparse.ArgumentTypeError(f"'{text}' is not a SHA-256 of 64 hexadecimal digits")
    return text.lower()


def _promote(arguments: argparse.Namespace) -> int:
    from ..promoting import Promotion, signer
    from ..records import load_run

    run = load_run(arguments.record)
    cell = _cell(run, arguments)
    certificate, *chain = arguments.certificate or [None]
    if certificate and not arguments.sign:
        raise SettingsError("--certificate needs the private key of that certificate: --sign KEY")
    promotion = Promotion(run, cell, arguments.record.parent, arguments.engine, arguments.allow_waived)
    if arguments.sign:
        promotion = replace(promotion, sign=signer(arguments.sign, certificate, chain))
    say(promotion.write(arguments.output))
    return 0


def _cell(run: RunRecord, arguments: argparse.Namespace) -> Cell:
    """Return the cell that is meant."""
    cells = {cell.key: cell for cell in run.cells}
    alone = next(iter(cells)) if len(cells) == 1 else None
    key = alone if arguments.only is None else arguments.only
    if key not in cells:
        said = "name one cell with --only" if key is None else f"no cell '{key}'"
        raise SettingsError(f"{arguments.record}: {said}; it has: {', '.join(cells) or 'none'}")
    return cells[key]


def _verify(arguments: argparse.Namespace) -> int:
    from ..machine import Machine
    from ..promoting import Trust, verified

    trust = None
    if arguments.key or arguments.certificate:
        trust = Trust(arguments.key, tuple(arguments.certificate or ()))
    machine = None if arguments.elsewhere else arguments.machine or Machine()
    failed = False
    for folder in arguments.folders:
        sentence, wrong = verified(folder, arguments.sha256 or "", trust, machine)
        failed = failed or bool(wrong)
        for problem in wrong:
            say(f"{folder}: {problem}", error=True)
        if not wrong:
            say(f"{folder}: {sentence}; whole{'' if machine is None else ', and this machine may load it'}")
    return 1 if failed else 0
