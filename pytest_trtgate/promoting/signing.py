"""Signatures of release packs as OpenSSF model signing makes them, by a key or a certificate, without a network.

https://github.com/sigstore/model-transparency; the signature is over the engine, the report and the manifest.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from ..errors import SettingsError
from ..records import read_bytes
from ..settings import SIGN_PASSWORD
from ..text import clip
from .contents import SIGNATURE, SUMS

MOST_BYTES = 1_000_000
"""Limit of a key and of a file of certificates, which take some thousand bytes each."""


def _library() -> tuple[ModuleType, ModuleType, ModuleType]:
    """Return the modules of model-signing that hash, sign and verify.

    Raises:
        SettingsError: It cannot be imported.
    """
    try:
        from model_signing import hashing, signing, verifying
    except ImportError as error:
        raise SettingsError(f"signatures need the extra: pip install 'pytest-trtgate[sign]' ({error})") from error
    return hashing, signing, verifying


def _check(files: Iterable[Path]) -> None:
    """Raise SettingsError where a file with a key or a certificate cannot be read, or is none by its size."""
    for file in files:
        try:
            read_bytes(file, MOST_BYTES)
        except OSError as error:
            raise SettingsError(f"{file} cannot be used: {error.strerror}") from error


def _is_locked(key: Path) -> bool:
    """Return whether a private key has a password."""
    return b"ENCRYPTED" in read_bytes(key, MOST_BYTES)


def _usable(make: Callable[[], Any], what: str, hint: str = "") -> Any:
    """Return what is made of a file with a key.

    Raises:
        SettingsError: The file cannot be used.
    """
    try:
        return make()
    except Exception as error:  # of any of the libraries that read keys
        raise SettingsError(f"{what} cannot be used: {error or type(error).__name__}{hint}") from error


def signer(key: Path, certificate: Path | None = None, chain: Sequence[Path] = ()) -> Callable[[Path], None]:
    """Return what signs a folder with a private key (PEM, of the curve P-256, P-384 or P-521).

    The password of the key, if it has one, is in the environment variable ``TRTGATE_SIGN_PASSWORD``.

    Args:
        key: The private key.
        certificate: The certificate of its public key, to be in the signature; None where the key itself is trusted.
        chain: The certificates between that and one that is trusted.

    Raises:
        SettingsError: The key or a certificate cannot be used, or model-signing is not installed.
    """
    hashing, signing, _ = _library()
    config = signing.Config().set_hashing_config(
        hashing.Config().set_ignored_paths(paths=[SUMS, SIGNATURE], ignore_git_paths=False)
    )

    password = os.environ.get(SIGN_PASSWORD, "")
    if password and certificate is not None:
        raise SettingsError(
            f"{key} with {certificate} cannot be used: model-signing takes no password where there is a certificate; "
            f"sign by the key alone, or take a key without a password and unset {SIGN_PASSWORD}"
        )

    def configured() -> Any:
        if certificate is None:
            # Its signature says text, and it hands that on to what takes bytes.
            return config.use_elliptic_key_signer(private_key=key, password=password.encode() or None)
        return config.use_certificate_signer(private_key=key, signing_certificate=certificate, certificate_chain=chain)

    _check(filter(None, [key, certificate, *chain]))
    locked = certificate is None and not password and _is_locked(key)
    hint = f"; its password goes into {SIGN_PASSWORD}" if locked else ""
    ready = _usable(configured, f"{key}{f' with {certificate}' if certificate else ''}", hint)
    return lambda folder: ready.sign(folder, folder / SIGNATURE)


@dataclass(frozen=True)
class Trust:
    """Whose signature counts: that of a public key, or of a certificate that some others vouch for."""

    key: Path | None = None
    certificates: Sequence[Path] = ()

    def check(self) -> None:
        """Raise SettingsError where the key or a certificate cannot be read, or model-signing is not installed."""
        _library()
        _check([self.key] if self.key else self.certificates)

    def problem(self, folder: Path) -> str:
        """Return why a folder has no signature that is trusted; empty where it has.

        Raises:
            SettingsError: The key or a certificate cannot be used, or model-signing is not installed.
        """
        _, _, verifying = _library()

        def configured() -> Any:
            if self.key is not None:
                return verifying.Config().use_elliptic_key_verifier(public_key=self.key)
            return verifying.Config().use_certificate_verifier(certificate_chain=self.certificates)

        ready = _usable(configured, self.names)
        if not (folder / SIGNATURE).exists():
            return f"it has no {SIGNATURE}"
        try:
            ready.verify(folder, folder / SIGNATURE)
        except Exception as error:  # of any of the libraries that read it
            why = str(error).partition(":")[0] or type(error).__name__  # after that, digests as Python writes them
            return f"{SIGNATURE} is no signature of {self.names} over these files ({clip(why)})"
        return ""

    @property
    def names(self) -> str:
        """The files of the key or the certificates."""
        return ", ".join(map(str, [self.key] if self.key else self.certificates))
