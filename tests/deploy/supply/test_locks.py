"""A lock is read as pip would install it here."""

from pathlib import Path

from deploy.supply.locks import Locked, read_lock

LOCK = """\
# a comment
Typing_Extensions==4.16.0 ; python_version >= '3' \\
    --hash=sha256:aa \\
    --hash=sha256:bb
    # via
    #   something
elsewhere==1.0 ; sys_platform == 'another' \\
    --hash=sha256:cc
"""


def test_it_has_versions_and_hashes_of_what_is_installed_on_this_machine(tmp_path: Path) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text(LOCK)
    assert read_lock(lock) == {"typing-extensions": Locked("4.16.0", ("sha256:aa", "sha256:bb"))}
