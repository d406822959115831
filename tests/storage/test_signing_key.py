"""Certificates and keys are checked before long work, and every fault has its own sentence."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from backend.core.errors import BadInputError

pytest.importorskip("c2pa", reason="the optional package c2pa-python is not installed")
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from backend.storage.content_credentials import check_certificate
from backend.storage.signing_key import load_signing_key
from tests.storage.certificates import Wish, make_chain

KEYS = {
    "es256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "es384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "es512": lambda: ec.generate_private_key(ec.SECP521R1()),
    "ps256": lambda: rsa.generate_private_key(65537, 2048),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
}


@pytest.mark.parametrize("algorithm", KEYS)
def test_every_kind_of_key_signs(tmp_path: Path, algorithm: str) -> None:
    facts = check_certificate(*make_chain(tmp_path, Wish(key=KEYS[algorithm]())))
    assert (facts.algorithm, facts.subject, facts.issuer) == (algorithm, "Anna (Studio)", "Root (Studio)")
    assert facts.expires.endswith("+00:00")
    assert "PRIVATE" not in str(asdict(facts))


def test_a_key_in_the_old_notation_is_taken(tmp_path: Path) -> None:
    key = KEYS["es256"]()
    chain, private = make_chain(tmp_path, Wish(key=key))
    old = serialization.PrivateFormat.TraditionalOpenSSL
    private.write_bytes(key.private_bytes(serialization.Encoding.PEM, old, serialization.NoEncryption()))
    assert b"EC PRIVATE KEY" in private.read_bytes()
    assert check_certificate(chain, private).algorithm == "es256"


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        (Wish(begins=-30, ends=-2), "ran out on"),
        (Wish(begins=5), "valid only from"),
        (Wish(alone=True), "signed by itself"),
        (Wish(purpose=ExtendedKeyUsageOID.SERVER_AUTH), "not made for signing content"),
        (Wish(purpose=None), "not made for signing content"),
        (Wish(signs=False), "not made for signing content"),
        (Wish(authority=True), "that of an authority"),
        (Wish(protected=b"secret"), "protected by a password"),
        (Wish(key=rsa.generate_private_key(65537, 1024)), "this kind of key"),
        (Wish(key=ec.generate_private_key(ec.SECP256K1())), "this kind of key"),
        (Wish(key=dsa.generate_private_key(1024)), "this kind of key"),
    ],
)
def test_unfit_certificates_are_refused(tmp_path: Path, wish: Wish, said: str) -> None:
    with pytest.raises(BadInputError, match=said) as refused:
        check_certificate(*make_chain(tmp_path, wish))
    assert refused.value.fix


def test_files_that_are_none(tmp_path: Path) -> None:
    chain, private = make_chain(tmp_path)
    (tmp_path / "other").mkdir()
    other_chain, other_key = make_chain(tmp_path / "other")
    text, broken, large = tmp_path / "text.pem", tmp_path / "broken.pem", tmp_path / "large.pem"
    text.write_text("hello")
    broken.write_bytes(chain.read_bytes().replace(b"CERTIFICATE-----\nMII", b"CERTIFICATE-----\nAAA", 1))
    large.write_bytes(bytes(2 << 20))
    for files, said in (
        ((tmp_path / "no.pem", private), "not there: no.pem"),
        ((chain, tmp_path / "no.pem"), "not there: no.pem"),
        ((tmp_path, private), "cannot be read"),
        ((text, private), "no certificate in PEM"),
        ((chain, text), "no private key in PEM"),
        ((private, chain), "holds a private key"),
        ((chain, chain), "holds a certificate"),
        ((broken, private), "damaged"),
        ((large, private), "far too large"),
        ((chain, other_key), "does not belong"),
        ((other_chain, private), "does not belong"),
    ):
        with pytest.raises(BadInputError, match=said):
            check_certificate(*files)


def test_the_signer_must_come_first(tmp_path: Path) -> None:
    chain, private = make_chain(tmp_path)
    first, second, _ = chain.read_text().split("-----END CERTIFICATE-----\n")
    chain.write_text("-----END CERTIFICATE-----\n".join([second, first, ""]))
    with pytest.raises(BadInputError, match=r"first certificate in chain\.pem is not the one that signs"):
        load_signing_key(chain, private)


def test_the_chain_must_be_one(tmp_path: Path) -> None:
    chain, private = make_chain(tmp_path)
    (tmp_path / "other").mkdir()
    other, _ = make_chain(tmp_path / "other")
    leaf, root = (file.read_text().split("-----END CERTIFICATE-----\n") for file in (chain, other))
    chain.write_text("-----END CERTIFICATE-----\n".join([leaf[0], root[1], ""]))
    with pytest.raises(BadInputError, match="do not form a chain"):
        load_signing_key(chain, private)
    chain.write_text(leaf[0] + "-----END CERTIFICATE-----\n")
    assert load_signing_key(chain, private).facts.subject == "Anna (Studio)"


def test_a_key_is_never_printed(tmp_path: Path) -> None:
    key = load_signing_key(*make_chain(tmp_path))
    assert "PRIVATE" not in repr(key) + str(key)
    assert b"PRIVATE" not in key.chain
