"""`prospect enrich` as its user meets it: one prospect, its run, lists and policy."""

from __future__ import annotations

import re
import uuid
from dataclasses import replace

import pytest

from tests.cli.enrich.command import Enrich
from tests.harness import Database, SandboxDesk

NOBODY = "01938f2e-7a3b-7c00-8000-0123456789ab"
COMMANDS = [
    "one", "batch", "watch", "run", "runs", "prospects", "sources", "estimate", "retry", "cancel",
    "replay", "pause", "resume", "policy show", "policy set", "suppress", "unsuppress", "erase",
]  # fmt: skip
APPLE = ("--company", "Apple Inc.", "--cik", "320193", "--title", "General Counsel")


async def test_one_prospect_is_followed_and_shown_with_cost_trades_and_citations(
    enrich: Enrich,
) -> None:
    done = await enrich("one", "Katherine Adams", *APPLE, "--budget", "0.75")
    assert (done.exit_code, done.stderr) == (0, "")
    # How many tokens the facts take depends on the port that stands in their addresses.
    assert re.search(r"complete, \$0\.3\d+ of \$0\.75", done.stdout)
    for told in (
        "Katherine Adams, General Counsel, Apple Inc.",
        "katherine.adams@apple-inc.example",
        "open market or private sale (S)",
        "[sec-1]",
    ):
        assert told in done.stdout


async def test_one_prospect_as_json_is_one_object_with_numbers_as_numbers(enrich: Enrich) -> None:
    said = await enrich.one()
    assert (said["joined"], said["run"]["status"]) == (False, "complete")
    costs = [step["cost_micros"] for step in said["run"]["steps"]]
    assert said["run"]["cost_micros"] == sum(costs) > 0
    assert said["prospect"]["contact_data"]["work_emails"]
    assert said["prospect"]["insider_data"] is None


async def test_a_run_that_fails_is_exit_code_1_and_says_why(enrich: Enrich) -> None:
    done = await enrich("one", "Nora Nobody", "--company", "Quiet Holdings")
    assert (done.exit_code, done.stderr) == (1, "")
    assert "failed without contactout, exa" in done.stdout
    assert "nothing was found" in done.stdout
    (said,) = await enrich.json("one", "Nora Nobody", "--company", "Quiet Holdings", code=1)
    assert said["run"]["missing"] == ["contactout", "exa"]


async def test_the_sources_can_be_read_in_80_columns(
    enrich: Enrich,
) -> None:
    narrow = replace(enrich, environment=dict(enrich.environment) | {"COLUMNS": "80"})
    await enrich.one()
    await enrich("pause", "contactout", "--until", "2h", "--reason", "wrong answers, ticket 4711")
    said = (await narrow("sources")).stdout
    assert max(map(len, said.splitlines())) <= 80
    assert "…" not in said
    words = (
        "contactout exa sec claude source state failures rate/s fresh why calls failed uncertain"
    )
    for word in (*words.split(), "median", "spent", "budget", "paused", "$0.30", "30d", "4711"):
        assert re.search(rf"(?<![^\s│┃]){re.escape(word)}(?![^\s│┃])", said), word


async def test_json_escapes_what_steers_a_terminal(enrich: Enrich) -> None:
    said = await enrich("one", "Ada \x9b31m\u202eecalevoL", "--company", "Engines", "--json")
    assert said.stdout.replace("\n", "").isprintable()
    assert "\\u009b31m\\u202eecalevoL" in said.stdout


async def test_control_characters_in_data_do_not_reach_the_terminal(enrich: Enrich) -> None:
    done = await enrich("one", "Ada [/red]\x1b[31m", "--company", "[bold]")
    assert done.exit_code == 0
    assert "\x1b[31m" not in done.stdout
    assert "Ada [/red]" in done.stdout
    assert "[bold]" in (await enrich("prospects")).stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("one", "", "--company", "X"), "name: must be at least 1 characters (string.min_len)"),
        (("one", "Ada", "--company", "X", "--email", "no"), "email: must be a valid email"),
        (("one", "Ada", "--company", "X", "--budget", "0.1234567"), "--budget 0.1234567: must be"),
        (("one", "Ada", "--company", "X", "--budget", "-1"), "--budget -1: must be dollars"),
        (("one", "Ada", "--company", "X", "--source", "bing"), "'bing' is not one of"),
        (("watch",), "give a prospect's UUID or --batch"),
        (("watch", NOBODY, "--resume", "nonsense"), "resume_token: must come from"),
        (("run", "nonsense"), "run_id: must be a valid UUID"),
        (("runs", "--status", "lost"), "--status lost: must be one of pending"),
        (("runs", "--from", "yesterday"), "--from yesterday: must be"),
        (("prospects", "--source", "exa"), "--source and --source-status go together"),
        (("estimate",), "give a name and --company"),
        (("replay",), "filter: must say which runs"),
        (("pause", "exa", "--until", "2000-01-01"), "until: must lie in the future"),
        (("policy", "set"), "name what to change"),
        (("policy", "set", "--fresh", "exa"), "--fresh exa: must be SOURCE=…"),
        (("policy", "set", "--weight", "1000"), "policy.weight: must be"),
        (("suppress",), "give --email, --linkedin"),
        (("suppress", "--name", "Ada"), "must have an e-mail, a LinkedIn URL, or name and"),
    ],
)
async def test_an_invalid_option_is_named_with_its_valid_values(
    enrich: Enrich, arguments: tuple[str, ...], says: str
) -> None:
    done = await enrich(*arguments)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert says in " ".join(done.stderr.split())


async def test_a_watch_resumes_from_its_token(enrich: Enrich) -> None:
    said = await enrich.one()
    prospect_id = said["prospect"]["prospect_id"]
    (news,) = await enrich.json("watch", prospect_id)
    assert news["snapshot"]["status"] == "complete"
    assert await enrich.json("watch", prospect_id, "--resume", news["resume_token"]) == []
    done = await enrich("watch", prospect_id)
    assert (done.exit_code, "complete" in done.stdout) == (0, True)


async def test_a_run_that_nobody_waited_for_can_be_watched(enrich: Enrich) -> None:
    done = await enrich("one", "Ada Lovelace", "--company", "Engines", "--no-wait")
    assert (done.exit_code, done.stdout.startswith("accepted as run ")) == (0, True)
    prospect_id = done.stdout.split()[-1]
    news = await enrich.json("watch", prospect_id)
    assert news[0]["snapshot"]["prospect_id"] == prospect_id
    last = news[-1]["change"] or news[-1]["snapshot"]
    assert last["status"] == "complete"


async def test_a_runs_timeline_has_every_call_with_its_waits(
    enrich: Enrich, sandbox_desk: SandboxDesk
) -> None:
    await sandbox_desk.order("exa", "status", value=503)
    run_id = (await enrich.one())["run"]["run_id"]
    (found,) = await enrich.json("run", run_id)
    calls = [(each["source"], each["status"]) for each in found["attempts"]]
    assert calls.count(("exa", "failed")) == calls.count(("exa", "complete")) == 1
    assert {"queue_wait_ms", "breaker_wait_ms", "limiter_wait_ms"} <= found["attempts"][0].keys()
    shown = (await enrich("run", run_id)).stdout
    assert "calls (times in ms)" in shown
    assert found["attempts"][0]["trace_id"] in shown


async def test_runs_and_prospects_are_listed_by_filter_and_page_by_page(enrich: Enrich) -> None:
    ids = {(await enrich.one(f"Person {each}"))["run"]["run_id"] for each in "abc"}
    await enrich("one", "Nora Nobody", "--company", "Quiet Holdings")
    complete = await enrich.json("runs", "--status", "complete", "--from", "1h", "--all")
    assert {each["run_id"] for each in complete} == ids
    assert len(await enrich.json("runs", "--limit", "2")) == 2
    assert [each["missing"] for each in await enrich.json("runs", "--missing", "exa")] == [
        ["contactout", "exa"]
    ]
    nobody = ("--source", "contactout", "--source-status", "not_found")
    assert [each["name"] for each in await enrich.json("prospects", *nobody)] == ["Nora Nobody"]
    assert "Nora Nobody" in (await enrich("prospects", "--status", "failed")).stdout
    assert "contactout, exa" in (await enrich("runs")).stdout


async def test_an_estimate_says_what_is_fresh_and_what_it_costs_at_the_most(
    enrich: Enrich,
) -> None:
    prospect_id = (await enrich.one())["prospect"]["prospect_id"]
    (again,) = await enrich.json("estimate", "--prospect-id", prospect_id)
    assert again["most_cost_micros"] == 0
    (forced,) = await enrich.json("estimate", "--prospect-id", prospect_id, "--force")
    assert forced["most_cost_micros"] > 400_000
    done = await enrich("estimate", "--file", "-", stdin="Name,Company\nA,B\nC,D\n")
    assert "2 prospects: at most $1.114, retries aside; no budget of the day" in done.stdout


async def test_a_source_is_retried_and_an_ended_run_stays_as_it_is(
    enrich: Enrich, sandbox_desk: SandboxDesk
) -> None:
    await sandbox_desk.order("exa", "status", value=401)
    said = await enrich.one()
    prospect_id, run_id = said["prospect"]["prospect_id"], said["run"]["run_id"]
    (run,) = await enrich.json("retry", prospect_id, "exa")
    await enrich("watch", prospect_id)
    (found,) = await enrich.json("run", run["run_id"])
    assert found["run"]["missing"] == []
    assert "is asked again in run" in (await enrich("retry", prospect_id, "exa")).stdout
    done = await enrich("cancel", run_id)
    assert (done.exit_code, done.stdout) == (0, f"run {run_id} is complete\n")
    (cancelled,) = await enrich.json("cancel", run_id)
    assert cancelled["run_id"] == run_id


async def test_what_failed_is_replayed_only_when_told_to(
    enrich: Enrich, sandbox_desk: SandboxDesk
) -> None:
    await sandbox_desk.order("exa", "status", value=401)
    await enrich.one()
    dry = await enrich("replay", "--missing", "exa")
    assert "1 would be run again, for at most $" in dry.stdout
    assert len(await enrich.json("runs")) == 1
    replayed, *news = await enrich.json("replay", "--missing", "exa", "--yes")
    assert (replayed["matched"], replayed["replayed"]) == (1, 1)
    assert news[-1]["progress"]["complete"] == 1
    again = await enrich("replay", "--missing", "exa", "--yes")
    assert again.stdout == "nothing to run again\n"


async def test_a_paused_source_is_shown_so_until_it_is_resumed(enrich: Enrich) -> None:
    (paused,) = await enrich.json("pause", "exa", "--until", "2h", "--reason", "wrong answers")
    assert (paused["state"], paused["reason"]) == ("paused", "wrong answers")
    assert "wrong answers" in (await enrich("sources")).stdout
    resumed = await enrich("resume", "exa")
    assert (resumed.exit_code, "closed" in resumed.stdout) == (0, True)
    states = {each["source"]: each["state"] for each in await enrich.json("sources")}
    assert states == dict.fromkeys(("contactout", "exa", "sec", "claude"), "closed")


async def test_a_policy_is_changed_field_by_field(enrich: Enrich) -> None:
    (policy,) = await enrich.json(
        "policy", "set", "--day-budget", "25", "--source-budget", "contactout=15.5", "--fresh",
        "sec=12h", "--disable", "exa", "--look-back", "730d",
    )  # fmt: skip
    rows = {each["source"]: each for each in policy["sources"]}
    assert rows["sec"]["look_back_days"] == 730
    assert policy["day_budget_micros"] == 25_000_000
    assert rows["contactout"]["day_budget_micros"] == 15_500_000
    assert (rows["sec"]["fresh_for_seconds"], rows["exa"]["is_enabled"]) == (43_200, False)
    await enrich("policy", "set", "--enable", "exa")
    (policy,) = await enrich.json("policy", "show")
    rows = {each["source"]: each for each in policy["sources"]}
    assert (policy["day_budget_micros"], rows["exa"]["is_enabled"]) == (25_000_000, True)
    assert rows["sec"]["look_back_days"] == 730
    assert rows["contactout"]["day_budget_micros"] == 15_500_000
    assert "$25.00" in (await enrich("policy", "show")).stdout


async def test_people_are_suppressed_from_a_file_and_unsuppressed(enrich: Enrich) -> None:
    people = "Email,name,company\nada@engines.example,,\n,Ben Brown,Quiet Holdings\n"
    assert await enrich.json("suppress", "-", "--reason", "opt-out", stdin=people) == [
        {"added": 2, "known": 0}
    ]
    done = await enrich("one", "Ben Brown", "--company", "Quiet Holdings")
    assert (done.exit_code, "suppressed" in done.stdout) == (1, True)
    assert await enrich.json("unsuppress", "--email", "ada@engines.example") == [{"removed": 1}]
    bad = await enrich("suppress", "-", stdin="email\nada@engines.example\n\nnobody\n")
    assert bad.exit_code == 2
    assert "line 4: email: must be a valid email address (string.email)" in bad.stderr


async def test_an_erased_prospect_is_gone_and_has_a_receipt(
    enrich: Enrich, database: Database
) -> None:
    prospect_id = (await enrich.one())["prospect"]["prospect_id"]
    asked = await enrich("erase", prospect_id, stdin="n\n")
    assert (asked.exit_code, "It cannot be undone." in asked.stderr) == (1, True)
    (receipt,) = await enrich.json("erase", prospect_id, "--suppress", "--yes")
    assert receipt["runs"] == 1
    assert await database.fetch("select prospect_id from enrichment.prospects") == []
    again = await enrich("erase", prospect_id, "--yes")
    assert receipt["receipt_id"] in again.stdout
    assert (await enrich("watch", prospect_id)).exit_code == 1


async def test_not_found_is_exit_code_1(enrich: Enrich) -> None:
    for arguments in (("run", uuid.uuid4()), ("watch", uuid.uuid4()), ("cancel", uuid.uuid4())):
        done = await enrich(*arguments)
        assert (done.exit_code, done.stdout) == (1, "")
        assert done.stderr.startswith("prospect: not found: ")


async def test_a_service_out_of_reach_is_one_clear_line(enrich: Enrich) -> None:
    done = await enrich("sources", "--address", "127.0.0.1:1")
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("prospect: unavailable: ")


@pytest.mark.parametrize("name", COMMANDS)
async def test_every_command_has_help_with_an_example(name: str) -> None:
    done = await Enrich({"COLUMNS": "160"})(*name.split(), "--help")
    assert "Example" in done.stdout
