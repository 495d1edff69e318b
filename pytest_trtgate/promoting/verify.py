"""Check a release pack: every byte, the signature, and whether a machine may load the engine."""

from __future__ import annotations

import shlex
from pathlib import Path

from ..errors import RecordError
from ..machine import Machine, why_not_loadable
from ..records import PackManifest, file_sha256, load, read_bytes
from ..text import clip, digest, plain, size
from .contents import MANIFEST, SIGNATURE, SUMS, most_bytes, sums
from .signing import Trust


def verified(
    folder: Path, manifest_sha256: str = "", trust: Trust | None = None, machine: Machine | None = None
) -> tuple[str, list[str]]:
    """Check a release pack.

    Args:
        folder: The pack.
        manifest_sha256: What the manifest's SHA-256 must be; empty for any.
        trust: Whose signature it must have; None for any or none.
        machine: The machine that is to load the engine; None for another than this one.

    Returns:
        What the pack is, in a sentence; and what is wrong, each as a sentence without its full stop.

    Raises:
        RecordError: There is no release pack, or it is of a newer version.
        SettingsError: A key cannot be used.
    """
    if not folder.is_dir():
        raise RecordError(f"{folder}: no such folder")
    if not any((folder / name).exists() for name in (MANIFEST, SUMS)):
        packs = sorted({path.parent for names in ("*", "*/*") for path in folder.glob(f"{names}/{MANIFEST}")})
        said = f"; packs are in it: trtgate verify {shlex.join(map(str, packs))}" if packs else ""
        raise RecordError(f"{folder}: no release pack: it has neither {MANIFEST} nor {SUMS}{said}")
    digests, wrong = _digests(folder)
    readable = not wrong
    wrong += _differences(folder, digests)
    if manifest_sha256 and digests.get(MANIFEST) != manifest_sha256.lower():
        wrong.append(f"{MANIFEST} has the SHA-256 {digests.get(MANIFEST)}, not {manifest_sha256}")
    if trust is not None:
        trust.check()
        # To verify a signature is to read all files, whatever they are.
        wrong += filter(None, [trust.problem(folder)]) if readable else ["its signature was not looked at"]
    try:
        manifest = load(folder / MANIFEST, PackManifest)
    except RecordError:
        if wrong:
            return "", wrong
        raise
    wrong += _unlike(manifest, digests)
    if machine is not None:
        wrong += (f"this machine cannot load it: {why}" for why in why_not_loadable(manifest.environment, machine))
    return _sentence(manifest, digests, trust), wrong


def _digests(folder: Path) -> tuple[dict[str, str], list[str]]:
    """Return the SHA-256 of each file in a folder by name, and what is no file that can be read."""
    digests, wrong = {}, []
    for path in sorted(folder.iterdir()):
        try:
            if path.is_symlink():
                wrong.append(f"{clip(path.name)} is a link, and no pack has one")
            elif (length := path.stat().st_size) > most_bytes(path.name) and path.is_file():
                wrong.append(
                    f"{clip(path.name)}: {plain(size(length))}, more than {plain(size(most_bytes(path.name)))}"
                )
            else:
                digests[path.name] = file_sha256(path)
        except OSError as error:
            wrong.append(f"{clip(path.name)}: {error.strerror}")
    return digests, wrong


def _differences(folder: Path, digests: dict[str, str]) -> list[str]:
    """Return how files differ from the list of their digests, each as a sentence."""
    if SUMS not in digests:
        return [f"{SUMS} is missing"]
    text = read_bytes(folder / SUMS)
    if text == sums(digests):
        return []
    lines = (line.partition("  ") for line in text.decode("utf-8", "replace").split("\n"))
    listed = {name: sha256 for sha256, _, name in lines}
    changed = [name for name in digests if name != SUMS and listed.get(name) != digests[name]]
    said = [
        f"{clip(name)} has changed: SHA-256 {digest(digests[name])}, and {SUMS} has {digest(clip(listed[name]))}"
        if name in listed
        else f"{clip(name)} is not in {SUMS}"
        for name in changed
    ]
    said += [f"{clip(name)} is missing" for name in listed if name and name not in digests]
    return said or [f"{SUMS} has changed"]


def _unlike(manifest: PackManifest, digests: dict[str, str]) -> list[str]:
    """Return how files differ from what the manifest says, each as a sentence."""
    expected = {file.name: file.sha256 for file in manifest.files}
    foreign = digests.keys() - expected.keys() - {MANIFEST, SUMS, SIGNATURE}
    changed = [name for name in expected if name in digests and digests[name] != expected[name]]
    return [
        *(f"{clip(name)} belongs to no pack" for name in sorted(foreign)),
        *(f"{name} is missing, and {MANIFEST} has it" for name in expected if name not in digests),
        *(f"{name} is not the one of {MANIFEST}: SHA-256 {digest(digests[name])}" for name in changed),
    ]


def _sentence(manifest: PackManifest, digests: dict[str, str], trust: Trust | None) -> str:
    waived = f" (waived: {', '.join(manifest.waived)})" if manifest.waived else ""
    signed = "not signed"
    if SIGNATURE in digests:
        signed = f"signature checked by {trust.names}" if trust else "signature not checked, which --key does"
    commit = f" at commit {clip(manifest.commit, 80)}" if manifest.commit else ""
    return f"{manifest.cell.key}{waived}, passed in run {manifest.run_id}{commit}; {signed}"
