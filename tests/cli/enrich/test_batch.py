"""`prospect enrich batch`: a CSV in, progress and refused rows out, and going on after a break."""

from __future__ import annotations

import asyncio
import csv
import os
import signal
import stat
import sys
import uuid
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from devstack.stack import ROOT
from tests.cli.enrich.command import Enrich
from tests.harness import Database

MIXED = """\
Name,COMPANY,is_public_company,company_cik,email
Ada Lovelace,Engines,,,
Katherine Adams,Apple Inc.,true,320193,
Bad Flag,Row,maybe,,
,Nameless,,,
Grace Hopper,Navy,no,,not-an-email
Zoe Last,Quiet Works,,,
"""


@pytest.fixture
def prospects(tmp_path: Path) -> Path:
    """A file of 1,100 prospects: three chunks."""
    path = tmp_path / "prospects.csv"
    rows = "".join(f"Person {number:04},Company {number}\n" for number in range(1_100))
    path.write_text(f"name,company\n{rows}")
    return path


async def test_good_rows_run_and_refused_rows_are_named_by_line_field_and_rule(
    enrich: Enrich, tmp_path: Path
) -> None:
    path, refused = tmp_path / "mixed.csv", tmp_path / "refused.csv"
    path.write_text(MIXED)
    done = await enrich("batch", path, "--refused", refused)
    batch, accepted, ended = done.stdout.splitlines()
    assert done.exit_code == 2
    assert batch.startswith("batch ")
    assert accepted == "3 accepted, 3 refused"
    assert "3 of 3 ended; 3 complete, $" in ended
    assert "line 5: name: must be at least 1 characters (string.min_len)" in done.stderr
    assert "line 4: is_public_company: 'maybe' must be true or false (bool)" in done.stderr
    assert stat.S_IMODE(refused.stat().st_mode) == 0o600
    with refused.open() as file:
        rows = {row["line"]: (row["field"], row["rule"]) for row in csv.DictReader(file)}
    assert rows["6"] == ("email", "string.email")
    mended = refused.read_text().replace("maybe", "no").replace("\n,Name", "\nNed,Name")
    again = await enrich("batch", "-", stdin="\ufeff" + mended.replace("not-an-email", ""))
    assert (again.exit_code, "3 accepted, 0 refused" in again.stdout) == (0, True)


async def test_a_batch_as_json_tells_its_id_its_refusals_and_its_progress(enrich: Enrich) -> None:
    said = await enrich.json("batch", "-", "--budget", "0.50", stdin=MIXED, code=2)
    assert uuid.UUID(said[0]["batch_id"])
    assert {line["refused"]["line"] for line in said if "refused" in line} == {4, 5, 6}
    assert {"accepted": 3, "joined": 0} in said
    last = said[-1]
    assert (last["progress"]["total"], last["progress"]["complete"]) == (3, 3)
    ended = [run for line in said for run in line.get("ended", [])]
    assert {run["budget_micros"] for run in ended} == {500_000}


async def test_a_batch_sent_again_under_its_id_makes_no_run_twice(
    enrich: Enrich, database: Database
) -> None:
    (first, *_) = await enrich.json("batch", "-", "--no-wait", stdin=MIXED, code=2)
    again = await enrich("batch", "-", "--batch-id", first["batch_id"], stdin=MIXED)
    assert "3 accepted, 3 of them joined runs, 3 refused" in again.stdout
    assert (await database.fetch("select count(*) as n from enrichment.runs"))[0]["n"] == 3
    (*_, last) = await enrich.json("watch", "--batch", first["batch_id"])
    assert last["progress"]["complete"] == 3
    resumed = await enrich.json(
        "watch", "--batch", first["batch_id"], "--resume", last["resume_token"]
    )
    assert [line["ended"] for line in resumed] in ([], [[]])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name,firm,company\na,b,c\n", "unknown column 'firm'; the first line names columns of"),
        ("name\na\n", "missing column 'company'"),
        ("name,company,Name\na,b,c\n", "repeated column 'name'"),
        ("name,company\n", "has 0 rows; a batch has 1 to 10,000"),
        ('name,company\n"a,b\n', "line 2 is not CSV"),
        ("name,company\na,b,c\n", "line 2 has 3 cells for 2 columns"),
        ("name,company\n" + "a,b\n" * 10_001, "has 10,001 rows; a batch has 1 to 10,000"),
    ],
)
async def test_a_file_that_is_no_batch_sends_nothing(
    enrich: Enrich, database: Database, tmp_path: Path, text: str, says: str
) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    done = await enrich("batch", path)
    assert (done.exit_code, done.stdout) == (2, "")
    assert says in " ".join(done.stderr.replace("│", "").split())
    assert await database.fetch("select run_id from enrichment.runs") == []


async def test_a_stream_that_breaks_leaves_the_batch_open_for_the_rest(
    enrich: Enrich, database: Database
) -> None:
    rows = "".join(f"Person {number:04},Company\n" for number in range(600))
    broken = await enrich("batch", "-", stdin=f'name,company\n{rows}"cut')
    assert (broken.exit_code, "line 602 is not CSV" in broken.stderr) == (2, True)
    batch_id = broken.stdout.split()[1].rstrip(";")
    whole = await enrich(
        "batch", "-", "--batch-id", batch_id, "--no-wait", stdin=f"name,company\n{rows}"
    )
    assert whole.exit_code == 0
    assert (await database.fetch("select count(*) as n from enrichment.runs"))[0]["n"] == 600


async def test_ctrl_c_does_not_stop_the_batch_and_says_how_to_follow_it(
    enrich: Enrich, prospects: Path
) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services", "enrich", "batch", str(prospects)),
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'protos'}"} | enrich.environment,
        stdout=PIPE,
        stderr=PIPE,
    )
    assert process.stdout
    batch_id = (await asyncio.wait_for(process.stdout.readline(), 30)).split()[1].decode()[:-1]
    assert b"1,100 accepted" in await asyncio.wait_for(process.stdout.readline(), 30)
    # Python may drop an interrupt that comes while it collects what is gone: people press again.
    waiting = asyncio.create_task(process.communicate())
    async with asyncio.timeout(30):
        while not waiting.done():
            process.send_signal(signal.SIGINT)
            await asyncio.wait([waiting], timeout=10)
    _, errors = await waiting
    assert process.returncode == 130
    assert f"the batch goes on: prospect enrich watch --batch {batch_id}" in errors.decode()
    runs = await enrich.json("runs", "--batch", batch_id, "--all")
    assert len(runs) == 1_100


async def test_a_refused_row_is_safe_in_a_spreadsheet_and_can_be_sent_again(
    enrich: Enrich, tmp_path: Path
) -> None:
    path, refused = tmp_path / "PEOPLE.CSV", tmp_path / "refused.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([
            ("name", "company", "email"),
            ("=HYPERLINK(1)", "\uff1dA;=1+1", "nobody"),
        ])  # fmt: skip
    assert (await enrich("batch", path, "--refused", refused)).exit_code == 2
    with refused.open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["name"], row["company"]) == ("'=HYPERLINK(1)", "'\uff1dA;'=1+1")
    refused.write_text(refused.read_text().replace("nobody", ""))
    assert (await enrich("batch", refused)).exit_code == 0
    (found,) = await enrich.json("prospects")
    assert (found["name"], found["company"]) == ("=HYPERLINK(1)", "\uff1dA;=1+1")


@pytest.mark.parametrize("address", ["http://www.linkedin.com/in/a-b", "DE.linkedin.com/in/A-B/"])
async def test_addresses_in_a_file_are_taken_as_people_have_them(
    enrich: Enrich, tmp_path: Path, address: str
) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"name,company,linkedin_url\nA B,C,{address}\n")
    done = await enrich("batch", path)
    assert (done.exit_code, done.stderr) == (0, "")
    (found,) = await enrich.json("prospects")
    assert found["linkedin_url"] == "https://www.linkedin.com/in/a-b"
