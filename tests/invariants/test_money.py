"""The budget is the only way to a paid call."""

from __future__ import annotations

import ast

from devstack.stack import ROOT

FOLDER = ROOT / "services" / "enrichment"


def callers_of(name: str) -> set[str]:
    """Return the files of the service that call something of that name."""
    return {
        str(path.relative_to(FOLDER))
        for path in FOLDER.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and name in (getattr(node.func, "id", ""), getattr(node.func, "attr", ""))
    }


def test_only_the_budget_makes_a_permit() -> None:
    assert callers_of("Permit") == {"policy/budget.py"}


def test_a_call_leaves_from_one_place_and_only_with_a_permit() -> None:
    assert callers_of("SourceCall") == {"worker/execution.py"}
    assert callers_of("Begun") == {"run/turn.py"}


def test_money_is_reserved_in_a_turns_transaction_or_only_estimated() -> None:
    assert callers_of("reserve") == {"worker/run_rules.py", "run/turn.py", "intake/estimate.py"}
    assert callers_of("RunRules") == {"worker/turn_writer.py"}
