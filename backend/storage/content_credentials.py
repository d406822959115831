"""Content credentials (C2PA): a signed statement inside the file about how it was made, and reading it back.

The package c2pa-python is optional and imported inside the functions. Nothing here uses the network: no time stamp is
asked for, no certificate status, and no statement that lies at a web address is fetched.
"""

from __future__ import annotations

import io
import secrets
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

from backend import __version__
from backend.core.errors import BadInputError, DamagedFileError
from backend.core.provenance import DIGITAL_SOURCE_TYPE
from backend.storage.atomic import move_over, require_free_disk
from backend.storage.file_kind import file_kind
from backend.storage.signing_key import SignerFacts, SigningKey, load_signing_key

INSTALL = "pip install c2pa-python"

FORMATS: Mapping[str, str] = MappingProxyType(
    {
        "mp4": "video/mp4",
        "mov": "video/quicktime",
        "avi": "video/avi",
        "gif": "image/gif",
        "png": "image/png",
        "jpg": "image/jpeg",
    }
)
"""Kind of file -> format of what can be signed; Matroska and WebM have no place for a manifest."""

_SETTINGS: Mapping[str, Any] = MappingProxyType(
    {
        "builder": {"thumbnail": {"enabled": False}},
        "verify": {"verify_after_sign": True, "remote_manifest_fetch": False, "ocsp_fetch": False},
    }
)
_TOLD = ("model_class", "iteration", "frames", "label_text")
"""Facts that go into the signed statement. Names of projects, models and people stay out: the file gets published."""

MOST_AVI_BYTES = 1 << 30
"""An AVI file larger than this has more than one part."""

_MOST = 50
_UNTRUSTED = "signingCredential.untrusted"
_PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55"
    "0000000a49444154789c636000000002000148afa4710000000049454e44ae426082"
)
"""A PNG file of one black pixel."""


def available() -> str:
    """Why content credentials can be neither signed nor read here, with the way out; "" when they can."""
    try:
        import c2pa
        import cryptography
    except (ImportError, OSError, RuntimeError) as error:
        return f"Content credentials need the package c2pa-python ({error}). Install it with: {INSTALL}"
    return "" if c2pa.Builder and cryptography else f"c2pa-python is damaged. Install it again with: {INSTALL}"


def check_certificate(certificate: Path, private_key: Path) -> SignerFacts:
    """Whether a chain and key can sign, found out by signing one pixel; call before long work.

    Raises:
        BadInputError: the package is missing, or the certificate or key is not right; the sentence says why.
    """
    key = _signing_key(certificate, private_key)
    _sign_stream(key, "image/png", io.BytesIO(_PIXEL), io.BytesIO(), _manifest("check", {}))
    return key.facts


def sign(path: Path, certificate: Path, private_key: Path, facts: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Sign a finished file in place; it is replaced only after its signed copy was checked. The last step of an export.

    A video is read three times in all, about 100 MB a second. An avi file is held in memory three times over.

    Args:
        path: mp4, mov, avi up to 1 GB, gif, png or jpg.
        certificate: PEM, the signing certificate first.
        private_key: PEM, without password.
        facts: "title" names the file in the statement, else its file name; of the others only what _TOLD lists is told.

    Returns:
        {"subject", "issuer", "expires", "algorithm"} of the certificate.

    Raises:
        BadInputError: the package is missing, the kind of file cannot be signed, certificate or key are not right.
        DamagedFileError: the file itself cannot be signed. It stays as it was, as on any error.
        DiskFullError: no room for the signed copy.
    """
    key = _signing_key(certificate, private_key)
    kind = FORMATS.get(file_kind(path))
    if kind is None:
        raise BadInputError(f"{path.name} cannot carry content credentials.", "Take mp4, mov, avi, gif, png or jpg.")
    _refuse_parts(path)
    require_free_disk(path.parent, path.stat().st_size + (64 << 20))
    told = facts or {}
    temporary = path.with_name(f".{secrets.token_hex(8)}{path.suffix}")
    try:
        with path.open("rb") as source, temporary.open("x+b") as target:
            _sign_stream(key, kind, source, target, _manifest(str(told.get("title") or path.name), told))
        state = read_credentials(temporary)
        if state["state"] not in ("valid", "trusted"):
            raise DamagedFileError(f"{path.name} could not be signed: {state['sentence']}", "Export without signing.")
        move_over(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return asdict(key.facts)


def read_credentials(path: Path) -> dict[str, Any]:
    """What the content credentials of a file say, and whether the file is still the one that was signed.

    Nothing in the file raises; what is wrong with it is told in the answer.

    Returns:
        {"state": "none", "unreadable", "invalid", "valid" (signed, unchanged) or "trusted" (and by a known authority),
        "changed": whether the content differs from what was signed, "signer", "issuer", "algorithm", "signed": when, if
        a time stamp proves it, "title", "program", "actions", "source_types": names, "problems": codes of the C2PA
        specification, "sentence": all this for people}. Without credentials only state, changed and sentence.
    """
    answer: dict[str, Any] = {"state": "none", "changed": False, "sentence": "It carries no content credentials."}
    kind = FORMATS.get(file_kind(path))
    if kind is None:
        return {**answer, "sentence": "This kind of file cannot carry content credentials."}
    missing = available()
    if missing:
        return {**answer, "state": "unreadable", "sentence": missing}
    import c2pa

    try:
        with (
            path.open("rb") as file,
            c2pa.Context.from_dict(dict(_SETTINGS)) as context,
            c2pa.Reader(kind, file, context=context) as reader,
        ):
            told = reader.get_active_manifest() or {}
            results = reader.get_validation_results() or {}
            state = str(reader.get_validation_state() or "Invalid").lower()
    except (c2pa.C2paError, ValueError, OSError, RuntimeError) as error:
        if _named(error, "ManifestNotFound"):
            return answer
        return {
            **answer,
            "state": "unreadable",
            "sentence": f"Its content credentials cannot be read ({_short(error)}).",
        }
    return _told(told, results, state)


def _told(manifest: Mapping[str, Any], results: Mapping[str, Any], state: str) -> dict[str, Any]:
    signature = _dict(manifest.get("signature_info"))
    active = _dict(results.get("activeManifest"))
    codes = [str(_dict(entry).get("code", ""))[:100] for entry in _list(active.get("failure"))]
    problems = sorted({code for code in codes if code != _UNTRUSTED})
    changed = any(code.endswith(".mismatch") for code in problems)
    actions = [_dict(action) for action in _actions(manifest)]
    types = [str(a.get("digitalSourceType", "")).rsplit("/", 1)[-1][:100] for a in actions]
    name, organisation = _text(signature, "common_name"), _text(signature, "issuer")
    program = _dict(next(iter(_list(manifest.get("claim_generator_info"))), None))
    answer = {
        "state": state,
        "changed": changed,
        "signer": name or organisation,
        "issuer": organisation,
        "algorithm": _text(signature, "alg"),
        "signed": _text(signature, "time"),
        "title": _text(manifest, "title"),
        "program": f"{_text(program, 'name')} {_text(program, 'version')}".strip(),
        "actions": [_text(action, "action") for action in actions][:_MOST],
        "source_types": sorted({one for one in types if one})[:_MOST],
        "problems": problems[:_MOST],
    }
    return {**answer, "sentence": _sentence(answer)}


def _sentence(answer: Mapping[str, Any]) -> str:
    signer = answer["signer"] or "somebody unnamed"
    if answer["changed"]:
        return f"Signed by {signer}, but the file was changed since."
    if answer["state"] == "trusted":
        return f"Signed by {signer}, known to a trusted authority, and unchanged since."
    if answer["state"] == "valid":
        return f"Signed by {signer} and unchanged since. Whether this signer is to be trusted was not checked."
    return f"Signed by {signer}, but the signature is not valid ({', '.join(answer['problems']) or 'no reason given'})."


def _actions(manifest: Mapping[str, Any]) -> list[Any]:
    found: list[Any] = []
    for assertion in _list(manifest.get("assertions")):
        if str(_dict(assertion).get("label", "")).startswith("c2pa.actions"):
            found += _list(_dict(_dict(assertion).get("data")).get("actions"))
    return found


def _signing_key(certificate: Path, private_key: Path) -> SigningKey:
    missing = available()
    if missing:
        raise BadInputError(missing)
    return load_signing_key(certificate, private_key)


def _refuse_parts(path: Path) -> None:
    """Only the first part of an AVI file of several would be kept by the signer."""
    with path.open("rb") as file:
        head = file.read(8)
    if head[:4] == b"RIFF" and int.from_bytes(head[4:], "little") + 9 < path.stat().st_size:
        raise several_parts(path.name)


def several_parts(name: str) -> BadInputError:
    """What is said of an AVI file that cannot be signed."""
    return BadInputError(
        f"{name} is an AVI file of more than one part, which cannot carry content credentials.",
        "Export as mp4 or mov, or make it shorter.",
    )


def _manifest(title: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    agent = {"name": "Lookalike", "version": __version__}
    told = {name: facts[name] for name in _TOLD if isinstance(facts.get(name), str | int | float)}
    created = {"action": "c2pa.created", "digitalSourceType": DIGITAL_SOURCE_TYPE, "softwareAgent": agent}
    edited = {
        "action": "c2pa.edited",
        "digitalSourceType": DIGITAL_SOURCE_TYPE,
        "softwareAgent": agent,
        "description": "Faces were replaced by a trained model.",
        **({"parameters": {f"lookalike.{name}": value for name, value in told.items()}} if told else {}),
    }
    return {
        "title": title,
        "claim_generator_info": [agent],
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [created, edited]}}],
    }


def _sign_stream(key: SigningKey, kind: str, source: BinaryIO, target: BinaryIO, manifest: dict[str, Any]) -> None:
    import c2pa

    info = c2pa.C2paSignerInfo(key.facts.algorithm.encode(), key.chain, key.key, None)
    try:
        with (
            c2pa.Context.from_dict(dict(_SETTINGS)) as context,
            c2pa.Signer.from_info(info) as signer,
            c2pa.Builder(manifest, context=context) as builder,
        ):
            builder.sign(signer, kind, source, target)
    except c2pa.C2paError as error:
        if _named(error, "Signature"):
            raise BadInputError(
                f"The certificate of {key.facts.subject} was refused ({_short(error)}).",
                "Check that the chain is complete, the signing certificate first.",
            ) from None
        raise DamagedFileError(f"The file could not be signed ({_short(error)}).", "Export without signing.") from None


def _named(error: Exception, kind: str) -> bool:
    """Whether an error is this kind of C2paError; the package attaches the kinds under names of its own."""
    return type(error).__name__.endswith(kind)


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _text(source: Mapping[str, Any], name: str) -> str:
    value = source.get(name)
    return value[:300] if isinstance(value, str) else ""


def _dict(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
