"""An authority, certificates it signs, and their keys, made on the spot."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("cryptography", reason="the optional package c2pa-python is not installed")

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


@dataclass(frozen=True)
class Wish:
    """What kind of signing certificate is wanted; key None makes one on the curve P-256."""

    key: Any = None
    begins: int = -1
    ends: int = 365
    purpose: x509.ObjectIdentifier | None = ExtendedKeyUsageOID.EMAIL_PROTECTION
    signs: bool = True
    alone: bool = False
    authority: bool = False
    protected: bytes = b""


def name(common: str) -> x509.Name:
    return x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, common), x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Studio")]
    )


def begun(subject: str, issuer: str, key: Any, days: tuple[int, int]) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days[0]))
        .not_valid_after(now + timedelta(days[1]))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
    )


def usage(signs: bool, certifies: bool) -> x509.KeyUsage:
    return x509.KeyUsage(signs, not signs and not certifies, False, False, False, certifies, certifies, False, False)


def make_chain(folder: Path, wish: Wish | None = None) -> tuple[Path, Path]:
    """Write chain.pem, signer first, and key.pem."""
    wish = wish or Wish()
    key, above = wish.key or ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = (
        begun("Root", "Root", above, (-400, 4000))
        .add_extension(x509.BasicConstraints(True, 0), True)
        .add_extension(usage(False, True), True)
        .sign(above, hashes.SHA256())
    )
    leaf = begun("Anna", "Anna" if wish.alone else "Root", key, (wish.begins, wish.ends))
    leaf = leaf.add_extension(x509.BasicConstraints(wish.authority, None), True)
    leaf = leaf.add_extension(usage(wish.signs, False), True)
    leaf = leaf.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(above.public_key()), False)
    if wish.purpose:
        leaf = leaf.add_extension(x509.ExtendedKeyUsage([wish.purpose]), False)
    certificates = [leaf.sign(key if wish.alone else above, hashes.SHA256()), root]
    chain, private = folder / "chain.pem", folder / "key.pem"
    chain.write_bytes(b"".join(one.public_bytes(serialization.Encoding.PEM) for one in certificates))
    lock = serialization.BestAvailableEncryption(wish.protected) if wish.protected else serialization.NoEncryption()
    private.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock))
    return chain, private
