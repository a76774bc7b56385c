"""Machine-readable reasons: each stands in docs/errors.md, and the page lists no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from chassis import errors
from chassis.errors import FieldViolation, InvalidArgument, Refusal, ResourceExhausted
from chassis.messaging import OutgoingEvent
from devstack.stack import ROOT, SERVICES

PAGE = (ROOT / "docs/errors.md").read_text()
STANDARD_RULES = {"enum.defined_only", "string.ip", "string.in", "repeated.max_items"}
"""Rules of protovalidate that code of ours names."""
COMPOSED_RULES = {"page_token", "resume_token", "request_id.gone", "batch_id.gone"}
"""Rules whose name is made of a field's."""
UPPER_SNAKE = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*")


def modules() -> list[Path]:
    """Return what can refuse a call or an event."""
    found = [path for folder in ("chassis", "services") for path in (ROOT / folder).rglob("*.py")]
    return [path for path in found if "cli" not in path.parts]


class Literals(ast.NodeVisitor):
    """The reasons that a module gives, each with where it does, and the sources of its events."""

    def __init__(self, path: Path) -> None:
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        self._module = import_module(name)
        self._where = name
        self.reasons: list[tuple[str, str]] = []
        self.rules: set[str] = set()
        self.sources: set[object] = set()
        self.visit(ast.parse(path.read_text()))

    def visit_Call(self, node: ast.Call) -> None:
        self.generic_visit(node)
        called = self._value(node.func)
        if called is errors.found:
            self._add(f"{self._value(node.args[1])}_not_found".upper(), node)
        elif called == OutgoingEvent.of:
            self.sources.add(self._value(node.args[2]))
        elif called in (FieldViolation, InvalidArgument.field):
            rule = self._value(node.args[1])
            self.rules |= {rule} if isinstance(rule, str) else set()
        elif (
            _is_refusal(called)
            or called == ResourceExhausted.beyond
            or _is_own_constructor(node.func)
        ):
            for each in node.keywords:
                passed_on = ast.unparse(each.value) == "reason"
                made_up = isinstance(each.value, ast.JoinedStr)
                if each.arg == "reason" and not (passed_on or made_up):
                    for value in _branches(each.value):
                        self._add(self._value(value), node)

    def _add(self, reason: object, node: ast.Call) -> None:
        self.reasons.append((str(reason), f"{self._where}:{node.lineno}"))

    def _value(self, node: ast.expr) -> object:
        """Return what a literal, or a name of the module, stands for."""
        match node:
            case ast.Constant(value=value):
                return value
            case ast.Name(id=name):
                return getattr(self._module, name, None)
            case ast.Attribute(value=ast.Name(id=name), attr=attribute):
                return getattr(getattr(self._module, name, None), attribute, None)
        return None


def _branches(node: ast.expr) -> list[ast.expr]:
    """Return what an expression may be: both sides of a condition."""
    return [node.body, node.orelse] if isinstance(node, ast.IfExp) else [node]


def _is_refusal(called: object) -> bool:
    return isinstance(called, type) and issubclass(called, Refusal)


def _is_own_constructor(called: ast.expr) -> bool:
    """Whether a class of refusals makes itself: `cls(…)` or `super().__init__(…)`."""
    return ast.unparse(called) in ("cls", "super().__init__")


def reasons() -> dict[str, list[str]]:
    """Return every reason of the code, with the places that give it."""
    by_reason: dict[str, list[str]] = {}
    for path in modules():
        for reason, where in Literals(path).reasons:
            by_reason.setdefault(reason, []).append(where)
    return by_reason


def listed() -> Iterator[str]:
    """Return the reasons of the page's table, and those named elsewhere on it."""
    yield from re.findall(r"^\| `([^`]+)` \| [A-Z_]+ \|", PAGE, re.M)
    yield from re.findall(r"\(`([A-Z_]+)`\)", PAGE)


REASONS = reasons()


def test_every_reason_is_listed_and_every_listed_one_is_given() -> None:
    differing = REASONS.keys() ^ set(listed())
    assert {reason: REASONS.get(reason) for reason in differing} == {}


def test_a_reason_is_listed_once() -> None:
    assert len(list(listed())) == len(set(listed()))


def test_a_reason_is_upper_snake() -> None:
    assert [reason for reason in REASONS if not UPPER_SNAKE.fullmatch(reason)] == []


def test_every_rule_of_ours_is_listed_and_every_listed_one_is_applied() -> None:
    ours = {rule for path in modules() for rule in Literals(path).rules}
    contracts = (ROOT / "protos/prospect").rglob("*.proto")
    ours |= {name for path in contracts for name in re.findall(r'id: "(.+?)"', path.read_text())}
    rows = re.findall(r"^\| (`[a-z0-9_.`, ]+`) \|", PAGE, re.M)
    on_page = {rule for row in rows for rule in re.findall(r"`([^`]+)`", row)}
    assert ours - STANDARD_RULES - on_page == set()
    code = "".join(path.read_text() for path in modules())
    assert {rule for rule in on_page - ours - COMPOSED_RULES if f'"{rule}"' not in code} == set()


def test_the_source_of_an_event_is_its_service() -> None:
    sources = {service: set[object]() for service in SERVICES}
    for service in SERVICES:
        for path in (ROOT / "services" / service).rglob("*.py"):
            sources[service] |= Literals(path).sources
    assert sources == {service: {f"prospect/{service}"} for service in SERVICES}
