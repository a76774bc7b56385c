"""Ownership filings of Jane Roe at Acme, made as a test says."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from services.enrichment.sources.edgar.form import ReadFiling
from services.enrichment.sources.edgar.ownership import parse_ownership
from services.enrichment.sources.edgar.trades import PersonsTrades, trades_of

CIK = 999
NO_NOTES: Mapping[str, str] = {}
FILED, AMENDED, AGAIN = date(2024, 3, 18), date(2024, 4, 2), date(2024, 5, 1)


def row(
    shares: int = 100,
    *,
    price: str = "10.5",
    day: str = "2024-03-15",
    code: str = "S",
    held: str = "D",
    title: str = "Common Stock",
    after: int = 900,
    note: str = "",
) -> str:
    direction = "A" if code in "PAM" else "D"
    return f"""<nonDerivativeTransaction><securityTitle><value>{title}</value></securityTitle>
    <transactionDate><value>{day}</value></transactionDate>
    <transactionCoding><transactionCode>{code}</transactionCode></transactionCoding>
    <transactionAmounts><transactionShares><value>{shares}</value></transactionShares>
    <transactionPricePerShare><value>{price}</value>{_reference(note)}</transactionPricePerShare>
    <transactionAcquiredDisposedCode><value>{direction}</value></transactionAcquiredDisposedCode>
    </transactionAmounts><postTransactionAmounts><sharesOwnedFollowingTransaction>
    <value>{after}</value></sharesOwnedFollowingTransaction></postTransactionAmounts>
    <ownershipNature><directOrIndirectOwnership><value>{held}</value></directOrIndirectOwnership>
    </ownershipNature></nonDerivativeTransaction>"""


def _reference(note: str) -> str:
    return f'<footnoteId id="{note}"/>' if note else ""


def document(
    *rows: str,
    form: str = "4",
    period: str = "2024-03-15",
    original: str = "",
    owner: str = "ROE JANE A",
    owner_cik: int = 1234567,
    box: str = "",
    remarks: str = "",
    notes: Mapping[str, str] = NO_NOTES,
) -> bytes:
    """Return a filing; `notes` are its footnotes by name."""
    footnotes = "".join(f'<footnote id="{name}">{text}</footnote>' for name, text in notes.items())
    return f"""<ownershipDocument><documentType>{form}</documentType>
    <periodOfReport>{period}</periodOfReport>
    <dateOfOriginalSubmission>{original}</dateOfOriginalSubmission>
    <issuer><issuerCik>{CIK}</issuerCik><issuerName>ACME</issuerName></issuer>
    <reportingOwner><rptOwnerCik>{owner_cik}</rptOwnerCik><rptOwnerName>{owner}</rptOwnerName>
    </reportingOwner><aff10b5One>{box}</aff10b5One>
    <nonDerivativeTable>{"".join(rows)}</nonDerivativeTable><footnotes>{footnotes}</footnotes>
    <remarks>{remarks}</remarks></ownershipDocument>""".encode()


def filing(number: int, content: bytes, filed_on: date = FILED) -> ReadFiling:
    return ReadFiling(f"0000000999-24-{number:06d}", filed_on, "", parse_ownership(content))


def amendment(
    number: int,
    *rows: str,
    original: str = "2024-03-18",
    period: str = "2024-03-15",
    filed_on: date = AMENDED,
    remarks: str = "",
    **notes: str,
) -> ReadFiling:
    content = document(
        *rows, form="4/A", period=period, original=original, remarks=remarks, notes=notes
    )
    return filing(number, content, filed_on)


def found(*filings: ReadFiling, person: str = "Jane Roe") -> PersonsTrades:
    return trades_of(person, CIK, filings)


def standing(*filings: ReadFiling) -> list[tuple[str, int]]:
    """Return the trades that count: those that are not in doubt."""
    rows = [each for each in found(*filings).trades if not each.in_doubt]
    return sorted((each.transaction_code, int(each.shares or 0)) for each in rows)


def in_doubt(*filings: ReadFiling) -> list[tuple[str, int]]:
    rows = [each for each in found(*filings).trades if each.in_doubt]
    return sorted((each.transaction_code, int(each.shares or 0)) for each in rows)
