"""From the bytes of a filing to a tree that is safe to read.

A filing is a stranger's document: no entity is ever declared or resolved, nothing is fetched,
nothing is read past 10 MB. Its text is decoded here: no declaration, broken or not, decides
how the rest is read. Some real filings have broken tags. libxml2's own recovery closes
whatever element is open at a wrong end tag, which shifts every row after it; so a document that
is not well formed is first balanced by name, and refused where balancing would lose a row.
"""

from __future__ import annotations

import codecs
import contextlib
import re
from collections.abc import Iterator, Mapping
from html.entities import html5
from typing import Any

from lxml import etree  # type: ignore[import-untyped]

MAX_BYTES = 10 * 1024 * 1024
MAX_REPAIRED = 2 * 1024 * 1024
MAX_DEPTH = 256

ROW_TAGS = frozenset(
    {
        "nonDerivativeTransaction",
        "nonDerivativeHolding",
        "derivativeTransaction",
        "derivativeHolding",
    }
)
RECORD_TAGS = ROW_TAGS | {"reportingOwner", "issuer", "footnote", "ownerSignature"}
# The contract's names of the fields of a row.
FIELDS: Mapping[str, str] = {
    "securityTitle": "security_title",
    "transactionDate": "transaction_date",
    "deemedExecutionDate": "deemed_execution_date",
    "transactionFormType": "transaction_code",
    "transactionCode": "transaction_code",
    "equitySwapInvolved": "transaction_code",
    "transactionTimeliness": "timeliness",
    "transactionShares": "shares",
    "transactionTotalValue": "total_value",
    "transactionPricePerShare": "price_per_share",
    "transactionAcquiredDisposedCode": "acquired_disposed",
    "sharesOwnedFollowingTransaction": "shares_owned_after",
    "valueOwnedFollowingTransaction": "value_owned_after",
    "directOrIndirectOwnership": "ownership",
    "natureOfOwnership": "ownership_nature",
    "conversionOrExercisePrice": "conversion_price",
    "exerciseDate": "exercise_date",
    "expirationDate": "expiration_date",
    "underlyingSecurityTitle": "underlying_title",
    "underlyingSecurityShares": "underlying_shares",
    "underlyingSecurityValue": "underlying_value",
}
_OF_DOCUMENT = """
documentType periodOfReport dateOfOriginalSubmission noSecuritiesOwned aff10b5One
issuerCik issuerName issuerTradingSymbol issuerForeignTradingSymbol rptOwnerCik rptOwnerName
isDirector isOfficer isTenPercentOwner isOther officerTitle otherText
"""
FIELD_TAGS = FIELDS.keys() | frozenset(_OF_DOCUMENT.split())
_AROUND = """
value footnoteId transactionCoding transactionAmounts postTransactionAmounts ownershipNature
underlyingSecurity nonDerivativeTable derivativeTable footnotes remarks
"""
KNOWN_TAGS = RECORD_TAGS | FIELDS.keys() | frozenset(_AROUND.split())

_ROOT = re.compile(rb"<(?:[\w.-]+:)?ownershipDocument[\s/>]")
_ROOT_END = re.compile(r"</(?:[\w.-]+:)?ownershipDocument\s*>")
_DECLARATION = re.compile(r"<!\s*(?:DOCTYPE|ENTITY)", re.IGNORECASE)
# Also without its <, its ? or its end.
_XML_DECLARATION = re.compile(rb"\s*(?:<\s*\??|\?)\s*xml(?=[\s?>])(?P<said>[^<>]*)>?")
_ENCODING = re.compile(rb"encoding\s*=\s*[\"']?([A-Za-z][\w.:-]*)")
_ONE_BYTE = re.compile(r"(?:us-)?ascii|(?:iso-8859-|latin-?)\d{1,2}|(?:windows-|cp)125\d")
_NAMED_CHARACTER = re.compile(r"<!\[CDATA\[.*?\]\]>|&([A-Za-z]\w*;)", re.DOTALL)
_OF_XML = frozenset({"amp;", "lt;", "gt;", "quot;", "apos;"})
_NO_CHARACTER = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_HTML = re.compile(rb"<(?:!doctype\s+html|html)[\s>]", re.IGNORECASE)

# An unclosed comment swallows the rest, so that hostile input costs one pass and no more.
_MARKUP = re.compile(
    r"(?P<opaque><!--.*?(?:-->|\Z)|<!\[CDATA\[.*?(?:\]\]>|\Z)|<\?.*?(?:\?>|\Z))"
    r"|</(?P<end>[A-Za-z_][\w.:-]*)\s*(?:>|(?=<))"
    r"|<(?P<start>[A-Za-z_][\w.:-]*)(?P<attributes>(?:\s[^<>]*?)?)(?P<empty>/?)>",
    re.DOTALL,
)
_ATTRIBUTE = re.compile(
    r"(?<=\s)(?P<name>[A-Za-z_][\w.:-]*)\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'/]+))"
)
_STRAY_AMPERSAND = re.compile(r"&(?!(?:amp|lt|gt|quot|apos|#\d+|#x[0-9A-Fa-f]+);)")


class OwnershipError(ValueError):
    """The document is not an ownership filing that can be read with certainty."""


def xml_block(document: bytes) -> bytes:
    """Return the ownership XML of a filing: the document itself, or its submission's <XML> part."""
    if len(document) > MAX_BYTES:
        raise OwnershipError(f"the document is larger than {MAX_BYTES // 1024 // 1024} MB")
    document = _narrow(document)
    root = _ROOT.search(document)
    if root is None:
        if _HTML.search(document[:4096]):
            raise OwnershipError("the document is HTML, not XML: ask for the unrendered file")
        raise OwnershipError("the document has no <ownershipDocument>")
    if len(_ROOT.findall(document)) > 1:
        raise OwnershipError("the file holds two documents: which of them counts is not known")
    opening = document.rfind(b"<XML>", 0, root.start())
    if opening < 0:
        return document.removeprefix(b"\xef\xbb\xbf").strip()
    closing = document.find(b"</XML>", root.start())
    end = closing if closing >= 0 else len(document)
    return document[opening + len(b"<XML>") : end].strip()


def read_tree(document: bytes) -> Any:
    """Return the root element of the ownership XML, or raise OwnershipError."""
    block = _text(xml_block(document))
    if _DECLARATION.search(block):
        raise OwnershipError("the document declares a DOCTYPE or entities, which is refused")
    if _ROOT_END.search(block) is None:
        raise OwnershipError("the document is cut off: </ownershipDocument> is missing")
    root, well_formed = _parse(block.encode())
    if not well_formed:
        if len(block) > MAX_REPAIRED:
            raise OwnershipError("the document is broken, and too large to repair")
        root, _ = _parse(_balance(block).encode())
    if root is None:
        raise OwnershipError("the document is not XML")
    if root.getroottree().docinfo.doctype:
        raise OwnershipError("the document declares a DOCTYPE or entities, which is refused")
    return _ownership_element(root)


def local_name(element: Any) -> str:
    """Return an element's name without namespace or prefix; "" for what is no element."""
    tag = element.tag
    if not isinstance(tag, str):
        return ""
    return tag.rpartition("}")[2].rpartition(":")[2]


def text_of(element: Any) -> str:
    """Return all text below an element, whitespace made single."""
    return " ".join("".join(element.itertext()).split())


def own_text_of(element: Any) -> str:
    """Return the text that stands in an element itself, not in the elements below it."""
    parts = [element.text, *(child.tail for child in element)]
    return " ".join(" ".join(part or "" for part in parts).split())


def own_elements(record: Any) -> Iterator[Any]:
    """Yield the elements below `record` that belong to no record nested in it by a broken tag."""
    pending = list(reversed(record))
    while pending:
        element = pending.pop()
        name = local_name(element)
        if not name or name in RECORD_TAGS:
            continue
        yield element
        pending.extend(reversed(element))


def _narrow(document: bytes) -> bytes:
    """Return UTF-16 as UTF-8, anything else as it is."""
    for mark, encoding in (
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
        (b"<\0?\0", "utf-16-le"),
        (b"\0<\0?", "utf-16-be"),
    ):
        if document.startswith(mark):
            text = document.decode(encoding, "replace")
            return _XML_DECLARATION.sub(b"", text.encode(), count=1)
    return document


def _text(block: bytes) -> str:
    """Return the document's text without its declaration, which need not be well formed.

    Bytes that can be UTF-8 are, also where Latin-1 is declared. What is neither of the declared
    encoding nor UTF-8 are Windows' characters, which old software wrote.
    Characters by their HTML names are themselves; what XML does not allow is dropped.
    """
    declared = _XML_DECLARATION.match(block)
    said = _ENCODING.search(declared["said"]) if declared else None
    text = _decoded(block[declared.end() if declared else 0 :], said[1].decode() if said else "")
    return _NO_CHARACTER.sub("", _NAMED_CHARACTER.sub(_named, text)).strip()


def _worth_trying(encoding: str) -> tuple[str, ...]:
    """Return the encodings to read with; UTF-16 is none, since the declaration was read as text."""
    if _ONE_BYTE.fullmatch(encoding):
        return "utf-8", encoding
    return (encoding,) if encoding in ("utf-8", "utf8", "utf-7") else ()


def _decoded(block: bytes, encoding: str) -> str:
    for name in _worth_trying(encoding.lower()):
        with contextlib.suppress(LookupError, UnicodeError):
            return block.decode(name)
    parts = []
    while True:
        try:
            parts.append(block.decode())
            return "".join(parts)
        except UnicodeDecodeError as error:
            wrong = block[error.start : error.end]
            parts += [block[: error.start].decode(), wrong.decode("cp1252", "replace")]
            block = block[error.end :]


def _named(found: re.Match[str]) -> str:
    name = found[1]
    return found[0] if name is None or name in _OF_XML else html5.get(name, found[0])


def _parse(block: bytes) -> tuple[Any, bool]:
    parser = etree.XMLParser(
        recover=True,
        resolve_entities=False,
        no_network=True,
        huge_tree=False,
        load_dtd=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        root = etree.fromstring(block, parser)
    except etree.XMLSyntaxError as error:
        raise OwnershipError("the document is not XML") from error
    return root, len(parser.error_log) == 0


def _ownership_element(root: Any) -> Any:
    for element in root.iter():
        if local_name(element) == "ownershipDocument":
            return element
    raise OwnershipError("the document has no <ownershipDocument>")


def _balance(block: str) -> str:
    """Return the document with its tags balanced by name and its stray < and & escaped."""
    parts: list[str] = []
    open_tags: list[str] = []
    last_closed = ""
    position = 0
    for markup in _MARKUP.finditer(block):
        parts.append(_escaped(block[position : markup.start()]))
        position = markup.end()
        if name := markup["end"]:
            parts.append(_closing(name, open_tags, last_closed))
            last_closed = name
        elif name := markup["start"]:
            parts.append(f"<{name}{_attributes(markup['attributes'])}{markup['empty']}>")
            if not markup["empty"]:
                open_tags.append(name)
            if len(open_tags) > MAX_DEPTH:
                raise OwnershipError("the document is nested too deeply")
        else:
            parts.append(markup[0])
    parts.append(_escaped(block[position:]))
    parts.extend(f"</{name}>" for name in reversed(open_tags))
    return "".join(parts)


def _closing(name: str, open_tags: list[str], last_closed: str) -> str:
    """Close everything up to the element called `name`; drop an end tag without a beginning.

    Dropping it is refused where something has lost its name: a field without its beginning would
    read as absent, a row without its beginning would not be read at all.
    """
    if name not in open_tags:
        local = name.rsplit(":", 1)[-1]
        if local in RECORD_TAGS or (local in FIELD_TAGS and name != last_closed):
            raise OwnershipError(f"the document is broken: a <{local}> has lost its beginning")
        return ""
    closed = []
    while True:
        closed.append(open_tags.pop())
        if closed[-1] == name:
            return "".join(f"</{tag}>" for tag in closed)


def _attributes(text: str) -> str:
    """Return a tag's attributes quoted, each once; what is no attribute is dropped."""
    kept: dict[str, str] = {}
    for attribute in _ATTRIBUTE.finditer(text):
        value = attribute[2] or attribute[3] or attribute[4] or ""
        kept.setdefault(attribute["name"], _escaped(value).replace('"', "&quot;"))
    return "".join(f' {name}="{value}"' for name, value in kept.items())


def _escaped(text: str) -> str:
    return _STRAY_AMPERSAND.sub("&amp;", text).replace("<", "&lt;")
