"""The XMP packet that names a file's IPTC digital source type, and reading it back from any program's packet."""

from __future__ import annotations

import html
import re
from xml.sax.saxutils import quoteattr

from backend.core.provenance import DIGITAL_SOURCE_TYPE, SOFTWARE, SOURCE_TYPES

MAX_PACKET = 1 << 20
"""Longer packets are not read; ours has about 600 bytes."""

_SOURCE_TYPE = re.compile(
    r"DigitalSourceType(?:"
    r"\s{0,9}=\s{0,9}[\"']([^\"'<>]{1,300})[\"']"
    r"|\s[^<>]{0,200}?resource\s{0,9}=\s{0,9}[\"']([^\"'<>]{1,300})[\"']"
    r"|>([^<>]{1,300})<)"
)
"""As an attribute, as a resource, and as an element."""


def xmp_packet() -> bytes:
    """The packet of a file made here, UTF-8: digital source type and program."""
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
        ' xmlns:xmp="http://ns.adobe.com/xap/1.0/"'
        f" Iptc4xmpExt:DigitalSourceType={quoteattr(DIGITAL_SOURCE_TYPE)}"
        f" xmp:CreatorTool={quoteattr(SOFTWARE)}/>"
        '</rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
    ).encode()


def source_type_of(packet: str) -> str:
    """Name of the digital source type in a packet, for example "compositeWithTrainedAlgorithmicMedia"; "" when none.

    The text is searched, not parsed as XML: a packet of unknown origin may hold anything. Attribute, element and
    resource notation are all understood; a value outside the IPTC's list is given as it stands.
    """
    found = _SOURCE_TYPE.search(packet[:MAX_PACKET])
    value = next((group for group in found.groups() if group), "") if found else ""
    value = html.unescape(value).strip()
    return (
        value.rsplit("/", 1)[-1] if value.startswith((SOURCE_TYPES, SOURCE_TYPES.replace("http:", "https:"))) else value
    )
