"""The AI-manipulated mark of an exported video: readable tags, and the IPTC digital source type as XMP."""

from __future__ import annotations

import struct
from pathlib import Path
from types import MappingProxyType
from uuid import UUID
from xml.sax.saxutils import quoteattr

from backend.core.provenance import DIGITAL_SOURCE_TYPE, SOFTWARE

XMP_BOX = UUID("be7acfcb-97a9-42e8-9c71-999491e3afac")
"""Identity of the top-level mp4 box that holds an XMP packet (XMP specification, part 3)."""

SENTENCE = f"AI-manipulated: faces in this video were replaced by a trained model. Made with {SOFTWARE}."

TAGS = MappingProxyType({"comment": SENTENCE, "description": f"{SENTENCE} Digital source type: {DIGITAL_SOURCE_TYPE}"})
"""Container tags, shown by players and file managers."""


def append_xmp(path: Path) -> None:
    """Append the digital source type to a finished mp4 file as an XMP box: players skip it, metadata readers see it."""
    packet = _xmp_packet().encode("utf-8")
    with path.open("ab") as file:
        file.write(struct.pack(">I4s", 24 + len(packet), b"uuid") + XMP_BOX.bytes + packet)


def read_xmp(path: Path) -> str:
    """The XMP packet of an mp4 file, "" when there is none. Walks the top-level boxes without reading their content."""
    size = path.stat().st_size
    with path.open("rb") as file:
        at = 0
        while at + 8 <= size:
            file.seek(at)
            length, kind = struct.unpack(">I4s", file.read(8))
            header = 8
            if length == 1:
                (length,), header = struct.unpack(">Q", file.read(8)), 16
            if length < header:
                return ""
            if kind == b"uuid" and file.read(16) == XMP_BOX.bytes:
                return file.read(length - header - 16).decode("utf-8", "replace")
            at += length
    return ""


def _xmp_packet() -> str:
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
        ' xmlns:xmp="http://ns.adobe.com/xap/1.0/"'
        f" Iptc4xmpExt:DigitalSourceType={quoteattr(DIGITAL_SOURCE_TYPE)}"
        f" xmp:CreatorTool={quoteattr(SOFTWARE)}/>"
        '</rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
    )
