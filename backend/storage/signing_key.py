"""Certificates and keys for signing: read from PEM files and checked before hours of work depend on them.

The package ``cryptography`` comes with c2pa-python and is imported only here, inside the functions. What is in a
private key leaves this module only to the signer; sentences name no more than its file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backend.core.errors import BadInputError

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

MAX_PEM_BYTES = 1 << 20
"""Chains and keys have a few kilobytes."""

PURPOSES = (
    "1.3.6.1.5.5.7.3.4",
    "1.3.6.1.5.5.7.3.36",
    "1.3.6.1.4.1.311.76.59.1.9",
    "1.3.6.1.4.1.62558.2.1",
)
"""Extended key usages a certificate may have to sign content: e-mail protection, document signing, C2PA signing."""

_CURVES = (("secp256r1", "es256"), ("secp384r1", "es384"), ("secp521r1", "es512"))
_MIN_RSA_BITS = 2048
_CERTIFICATES = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_KEY = re.compile(rb"-----BEGIN ([A-Z ]*)PRIVATE KEY-----.+?-----END \1PRIVATE KEY-----", re.DOTALL)
_GET_ONE = "Take the files your certificate authority gave you, in PEM format."


@dataclass(frozen=True)
class SignerFacts:
    """What may be told of a certificate.

    Attributes:
        subject, issuer: common name and organisation, readable.
        expires: last day it is valid, ISO 8601 in UTC.
        algorithm: es256, es384, es512, ps256 or ed25519, by its key.
    """

    subject: str
    issuer: str
    expires: str
    algorithm: str


@dataclass(frozen=True, repr=False)
class SigningKey:
    """Everything a signer needs: facts, the chain as PEM and the key as unencrypted PKCS 8 PEM. Never printed."""

    facts: SignerFacts
    chain: bytes
    key: bytes


def load_signing_key(certificate: Path, private_key: Path) -> SigningKey:
    """Read and check a chain, signing certificate first, and its key.

    Raises:
        BadInputError: a file is missing or no PEM, the key is protected, of a wrong kind or of another certificate, the
            certificate is not valid now, signed by itself, not made for signing content, or the chain is none.
    """
    chain = _certificates(certificate)
    leaf = chain[0]
    key, pem = _private_key(private_key)
    algorithm = _algorithm(key)
    _check_pair(chain, key, certificate)
    _check_time(leaf)
    _check_purpose(leaf)
    _check_issuers(chain)
    facts = SignerFacts(
        _readable(leaf.subject),
        _readable(leaf.issuer),
        leaf.not_valid_after_utc.isoformat(timespec="seconds"),
        algorithm,
    )
    found = _CERTIFICATES.findall(_read(certificate, "certificate"))
    return SigningKey(facts, b"\n".join(found) + b"\n", pem)


def _read(path: Path, what: str) -> bytes:
    try:
        if path.stat().st_size > MAX_PEM_BYTES:
            raise BadInputError(f"{path.name} is far too large for a {what}.", _GET_ONE)
        return path.read_bytes()
    except FileNotFoundError:
        raise BadInputError(f"The file with the {what} is not there: {path.name}.", "Check the path.") from None
    except OSError as error:
        raise BadInputError(f"The {what} {path.name} cannot be read: {error.strerror}.", "Check the path.") from None


def _certificates(path: Path) -> list[Certificate]:
    from cryptography import x509

    data = _read(path, "certificate")
    found = _CERTIFICATES.findall(data)
    if not found:
        what = "a private key" if _KEY.search(data) else "no certificate in PEM format"
        raise BadInputError(f"{path.name} holds {what}.", f"A certificate is wanted here. {_GET_ONE}")
    try:
        return [x509.load_pem_x509_certificate(block) for block in found]
    except ValueError:
        raise BadInputError(f"The certificate in {path.name} is damaged.", _GET_ONE) from None


def _private_key(path: Path) -> tuple[Any, bytes]:
    """The key and its unencrypted PKCS 8 form."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    data = _read(path, "private key")
    found = _KEY.search(data)
    if found is None:
        what = "a certificate" if _CERTIFICATES.search(data) else "no private key in PEM format"
        raise BadInputError(f"{path.name} holds {what}.", f"A private key is wanted here. {_GET_ONE}")
    try:
        key = serialization.load_pem_private_key(found.group(0), password=None)
    except TypeError:
        raise BadInputError(
            f"The private key {path.name} is protected by a password.",
            "Store it without one for the export: openssl pkey -in protected.pem -out key.pem",
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise BadInputError(f"The private key in {path.name} is damaged or of an unknown kind.", _GET_ONE) from None
    plain = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return key, plain


def _algorithm(key: Any) -> str:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(key, ec.EllipticCurvePrivateKey):
        for curve, name in _CURVES:
            if key.curve.name == curve:
                return name
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= _MIN_RSA_BITS:
        return "ps256"
    raise BadInputError(
        "Content credentials cannot be signed with this kind of key.",
        f"Use an elliptic curve P-256, P-384 or P-521, Ed25519, or RSA with at least {_MIN_RSA_BITS} bits.",
    )


def _check_pair(chain: list[Certificate], key: Any, path: Path) -> None:
    own = key.public_key()
    if chain[0].public_key() == own:
        return
    if any(other.public_key() == own for other in chain[1:]):
        raise BadInputError(
            f"The first certificate in {path.name} is not the one that signs.",
            "Put the signing certificate first, those of its authorities behind it.",
        )
    raise BadInputError("The private key does not belong to the certificate.", "Take the key it was made with.")


def _check_time(leaf: Certificate) -> None:
    now = datetime.now(UTC)
    if now > leaf.not_valid_after_utc:
        raise BadInputError(f"The certificate ran out on {leaf.not_valid_after_utc:%Y-%m-%d}.", "Get a new one.")
    if now < leaf.not_valid_before_utc:
        raise BadInputError(
            f"The certificate is valid only from {leaf.not_valid_before_utc:%Y-%m-%d} on.",
            "Use it later, or check the clock of this computer.",
        )


def _check_purpose(leaf: Certificate) -> None:
    from cryptography import x509

    if leaf.issuer == leaf.subject:
        raise BadInputError(
            "The certificate is signed by itself; content credentials need one that an authority signed.",
            "Get one from a certificate authority, or make an authority of your own and sign it with that.",
        )
    try:
        extensions = leaf.extensions
    except ValueError:
        raise BadInputError("The certificate is damaged: its extensions cannot be read.", _GET_ONE) from None
    by_kind = {type(extension.value): extension.value for extension in extensions}
    basic, usage = by_kind.get(x509.BasicConstraints), by_kind.get(x509.KeyUsage)
    if isinstance(basic, x509.BasicConstraints) and basic.ca:
        raise BadInputError("The certificate is that of an authority, not one for signing content.", _GET_ONE)
    purposes = by_kind.get(x509.ExtendedKeyUsage)
    allowed = {p.dotted_string for p in purposes} if isinstance(purposes, x509.ExtendedKeyUsage) else set()
    signs = isinstance(usage, x509.KeyUsage) and usage.digital_signature
    if not signs or not allowed.intersection(PURPOSES):
        raise BadInputError(
            "The certificate was not made for signing content.",
            "It needs the key usage 'digital signature' and the purpose 'document signing', 'e-mail protection' or "
            "'C2PA claim signing'.",
        )


def _check_issuers(chain: list[Certificate]) -> None:
    from cryptography.exceptions import InvalidSignature

    for signed, above in pairwise(chain):
        try:
            signed.verify_directly_issued_by(above)
        except (ValueError, TypeError, InvalidSignature):
            raise BadInputError(
                f"The certificates do not form a chain: {_readable(above.subject)} did not sign that of "
                f"{_readable(signed.subject)}.",
                "Put the signing certificate first, behind each the one of the authority that signed it.",
            ) from None


def _readable(name: Any) -> str:
    """ "Common name (organisation)", or the whole name where there is no common name."""
    from cryptography.x509.oid import NameOID

    common = [str(a.value) for a in name.get_attributes_for_oid(NameOID.COMMON_NAME)]
    organisation = [str(a.value) for a in name.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    if not common:
        return organisation[0] if organisation else name.rfc4514_string()
    return f"{common[0]} ({organisation[0]})" if organisation and organisation[0] != common[0] else common[0]
