"""Signatures of release packs, made and checked by OpenSSF model signing itself."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from pytest_trtgate.records import file_sha256

pytest.importorskip("model_signing")
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

Says = Callable[..., str]
SIGNED = ("promote", "run.json", "-o", "dist", "--sign=key.pem")


def write_keys(folder: Path, name: str, key: Any = None, password: str = "") -> Any:
    """Write a private key, locked by a password if there is one, and its public key; return the private one."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    pem = serialization.Encoding.PEM
    lock = serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, lock)
    (folder / f"{name}.pem").write_bytes(private)
    public = key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    (folder / f"{name}.pub").write_bytes(public)
    return key


def write_certificate(path: Path, subject: str, key: Any, issuer: str, issuing: Any) -> None:
    """Write the certificate of a key, which another key vouches for; one that vouches for itself may for others."""
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in (subject, issuer)]
    roots = subject == issuer
    may = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only"), False
    )
    usage = x509.KeyUsage(digital_signature=not roots, key_cert_sign=roots, crl_sign=roots, decipher_only=False, **may)
    now = datetime.now(timezone.utc)
    made = (
        x509.CertificateBuilder(names[1], names[0], key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5 if roots else 1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=roots, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .sign(issuing, hashes.SHA256())
    )
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))


@pytest.fixture(autouse=True)
def _keys(here: Path) -> None:
    """Two pairs of keys."""
    write_keys(here, "key")
    write_keys(here, "other")


def test_a_signature_is_of_one_key_and_no_other(here: Path, says: Says) -> None:
    unsigned = file_sha256(here / "dist" / "manifest.json")
    says(0, *SIGNED)
    assert file_sha256(here / "dist" / "manifest.json") == unsigned
    assert "; signature checked by key.pub; whole" in says(0, "verify", "dist", "--key=key.pub")
    assert "; signature not checked, which --key does; whole" in says(0, "verify", "dist")
    other = says(1, "verify", "dist", "--key=other.pub")
    assert other.startswith("dist: model.sig is no signature of other.pub over these files (")


def test_a_pack_that_is_not_signed_is_no_signed_pack(here: Path, says: Says) -> None:
    assert says(1, "verify", "dist", "--key=key.pub") == "dist: it has no model.sig\n"


@pytest.mark.parametrize("name", ["engine.onnx", "manifest.json", "report.html"])
def test_whoever_lists_changed_files_anew_has_no_signature_of_them(here: Path, says: Says, name: str) -> None:
    says(0, *SIGNED)
    path = here / "dist" / name
    path.write_bytes(path.read_bytes() + b"\n")
    subprocess.run("sha256sum *.* | LC_ALL=C sort -k2 > SHA256SUMS", shell=True, check=True, cwd=here / "dist")
    said = says(1, "verify", "dist", "--key=key.pub")
    assert "SHA256SUMS" not in said
    assert "dist: model.sig is no signature of key.pub over these files (Signature mismatch)\n" in said


def test_one_flipped_bit_in_the_signature_is_found_without_a_key(here: Path, says: Says) -> None:
    says(0, *SIGNED)
    path = here / "dist" / "model.sig"
    content = bytearray(path.read_bytes())
    for place in random.Random(0).sample(range(8 * len(content)), 40):
        content[place // 8] ^= 1 << place % 8
        path.write_bytes(content)
        assert "model.sig has changed" in says(1, "verify", "dist")
        content[place // 8] ^= 1 << place % 8


def test_the_tool_of_model_signing_itself_takes_the_signature(here: Path, says: Says) -> None:
    says(0, *SIGNED)
    command = ["model_signing", "verify", "key", "dist", "--signature=dist/model.sig", "--public_key=key.pub"]
    done = subprocess.run([sys.executable, "-m", *command], cwd=here, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_certificate_counts_where_one_that_is_trusted_vouches_for_it(here: Path, says: Says) -> None:
    root, key = write_keys(here, "root"), write_keys(here, "key")
    write_certificate(here / "root.crt", "root", root, "root", root)
    write_certificate(here / "key.crt", "key", key, "root", root)
    stranger = write_keys(here, "stranger")
    write_certificate(here / "stranger.crt", "root", stranger, "root", stranger)
    says(0, *SIGNED, "--certificate=key.crt", "--certificate=root.crt")
    assert "; signature checked by root.crt; whole" in says(0, "verify", "dist", "--certificate=root.crt")
    assert "model.sig is no signature of stranger.crt" in says(1, "verify", "dist", "--certificate=stranger.crt")
    assert "model.sig is no signature of key.pub" in says(1, "verify", "dist", "--key=key.pub")


def test_a_key_with_a_password_is_opened_by_that_of_the_environment(
    here: Path, says: Says, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_keys(here, "key", password="to öpen")
    before = sorted(here.iterdir())
    locked = says(2, *SIGNED)
    assert locked.startswith("trtgate: key.pem cannot be used: ")
    assert "; its password goes into TRTGATE_SIGN_PASSWORD" in locked
    monkeypatch.setenv("TRTGATE_SIGN_PASSWORD", "another")
    wrong = says(2, *SIGNED)
    assert wrong.startswith("trtgate: key.pem cannot be used: ")
    assert "another" not in wrong
    assert sorted(here.iterdir()) == before
    monkeypatch.setenv("TRTGATE_SIGN_PASSWORD", "to öpen")
    says(0, *SIGNED)
    assert "; signature checked by key.pub; whole" in says(0, "verify", "dist", "--key=key.pub")


def test_a_password_and_a_certificate_are_refused(here: Path, says: Says, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRTGATE_SIGN_PASSWORD", "secret")
    said = says(2, *SIGNED, "--certificate=key.crt")
    assert "model-signing takes no password where there is a certificate" in said


def test_a_key_that_cannot_be_used_is_unusable_input(here: Path, says: Says) -> None:
    write_keys(here, "rsa", rsa.generate_private_key(65537, 2048))
    before = sorted(here.iterdir())
    for name in ("none.pem", "rsa.pem", "key.pub"):
        said = says(2, "promote", "run.json", "-o", "new", f"--sign={name}")
        assert said.startswith(f"trtgate: {name} cannot be used: ")
    assert says(2, "verify", "dist", "--key=none.pub").startswith("trtgate: none.pub cannot be used: ")
    assert sorted(here.iterdir()) == before


def test_a_key_is_a_regular_file_of_bounded_size(here: Path, says: Says) -> None:
    os.mkfifo(here / "fifo")
    (here / "zero").symlink_to("/dev/zero")
    with (here / "hole").open("wb") as hole:
        hole.truncate(40_000_000_000)
    for name, why in (("fifo", "a FIFO, not"), ("zero", "a device, not"), ("hole", "40.0 GB, more than 1.0 MB")):
        for arguments in (
            ("verify", "dist", f"--key={name}"),
            ("verify", "dist", f"--certificate={name}"),
            ("promote", "run.json", "-o", "new", f"--sign={name}"),
            (*SIGNED, f"--certificate={name}"),
        ):
            assert says(2, *arguments).startswith(f"trtgate: {name} cannot be used: {why}")


def test_no_signature_is_looked_for_in_what_cannot_be_read(here: Path, says: Says) -> None:
    says(0, *SIGNED)
    (here / "dist" / "report.html").unlink()
    os.mkfifo(here / "dist" / "report.html")
    assert "its signature was not looked at" in says(1, "verify", "dist", "--key=key.pub")
