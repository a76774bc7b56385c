"""From the bytes of a filing to a tree that is safe to read.

A filing is a stranger's document: no entity is ever declared or resolved, nothing is fetched,
nothing is read past 10 MB. Some real filings have broken tags. libxml2's own recovery closes
whatever element is open at a wrong end tag, which shifts every row after it; so a document that
is not well formed is first balanced by name, and refused where balancing would lose a row.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from lxml import etree  # type: ignore[import-untyped]

MAX_BYTES = 10 * 1024 * 1024
MAX_REPAIRED_BYTES = 2 * 1024 * 1024
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
_FIELDS = """
documentType periodOfReport dateOfOriginalSubmission noSecuritiesOwned aff10b5One
issuerCik issuerName issuerTradingSymbol rptOwnerCik rptOwnerName
isDirector isOfficer isTenPercentOwner isOther officerTitle otherText
securityTitle transactionDate deemedExecutionDate transactionCode equitySwapInvolved
transactionTimeliness transactionShares transactionTotalValue transactionPricePerShare
transactionAcquiredDisposedCode sharesOwnedFollowingTransaction
valueOwnedFollowingTransaction directOrIndirectOwnership natureOfOwnership
conversionOrExercisePrice exerciseDate expirationDate
underlyingSecurityTitle underlyingSecurityShares underlyingSecurityValue
"""
FIELD_TAGS = frozenset(_FIELDS.split())

_ROOT = re.compile(rb"<(?:[\w.-]+:)?ownershipDocument[\s/>]")
_ROOT_END = re.compile(rb"</(?:[\w.-]+:)?ownershipDocument\s*>")
_DECLARATION = re.compile(rb"<!\s*(?:DOCTYPE|ENTITY)", re.IGNORECASE)
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
    root = _ROOT.search(document)
    if root is None:
        if _HTML.search(document[:4096]):
            raise OwnershipError("the document is HTML, not XML: ask for the unrendered file")
        raise OwnershipError("the document has no <ownershipDocument>")
    opening = document.rfind(b"<XML>", 0, root.start())
    if opening < 0:
        return document.removeprefix(b"\xef\xbb\xbf").strip()
    closing = document.find(b"</XML>", root.start())
    end = closing if closing >= 0 else len(document)
    return document[opening + len(b"<XML>") : end].strip()


def read_tree(document: bytes) -> Any:
    """Return the root element of the ownership XML, or raise OwnershipError."""
    block = xml_block(document)
    if _DECLARATION.search(block):
        raise OwnershipError("the document declares a DOCTYPE or entities, which is refused")
    if _ROOT_END.search(block) is None:
        raise OwnershipError("the document is cut off: </ownershipDocument> is missing")
    root, well_formed = _parse(block)
    if not well_formed:
        if len(block) > MAX_REPAIRED_BYTES:
            raise OwnershipError("the document is broken, and too large to repair")
        root, _ = _parse(_balance(block.decode("latin-1")).encode("latin-1"))
    if root is None:
        raise OwnershipError("the document is not XML")
    if root.getroottree().docinfo.doctype:
        raise OwnershipError("the document declares a DOCTYPE or entities, which is refused")
    return _ownership_element(root)


def local_name(element: Any) -> str:
    """Return an element's name without namespace or prefix; "" for what is no element."""
    tag = element.tag
    return re.split(r"[}:]", tag)[-1] if isinstance(tag, str) else ""


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
