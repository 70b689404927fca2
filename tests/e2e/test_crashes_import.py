"""kill -9 of roomkey-keyimport, which alone reads private keys, before each system call of an import that others can see
the effect of; ROOMKEY_CRASHES=all takes all that it makes.

The command is refused with one line that says what happened, nothing is changed, no file is left, and the same command
then succeeds.  In its place stands a script which starts it under strace: roomkeyd gives it descriptors, no environment.

Seen to fail: with remove_files() left out of done() (cert_import.c: the temporary pair stays), with i->signal not looked
at in take_answer() (a helper that was killed after its answer is told of as one that said nothing).
"""

import shutil
import tempfile
from pathlib import Path

import pytest

from house import BUILD, Refused
from killing import ALL, SEEN, kinds, parse
from matrix import at_each, outcomes, own_house
from operations import CertSet, TenantAdd, prepared

pytestmark = pytest.mark.only_on("sandbox", "registry and stores are the same on every ground")

HELPER = "roomkey-keyimport"


class SelfSigned(TenantAdd):
    def act(self):
        self.house.cli("tenant", "add", "new", "--image", "probe:1.0.0", "--host", "new.localhost", "--self-signed")


OPERATIONS = [TenantAdd, SelfSigned, CertSet]


def trace(house, *options):
    """From now on the helper is started under strace."""
    script = house.programs / ".script"
    # A sanitizer cannot look for leaks in what is traced.
    script.write_text(f'#!/bin/sh\nASAN_OPTIONS=detect_leaks=0 exec {shutil.which("strace")} -e signal=none {" ".join(options)}'
                      f' {BUILD}/bin/{HELPER} "$@"\n')
    script.chmod(0o755)
    script.rename(house.programs / HELPER)


def calls_of_helper(kind, house, ledger):
    with prepared(kind, house, ledger) as operation, tempfile.NamedTemporaryFile("r", prefix="roomkey-calls-") as log:
        trace(house, "-y", "-o", log.name, "-e", "trace=all" if ALL else f"trace={SEEN}")
        operation.act()
        return [call for call in parse(log.read(), 0, None) if call.name != "execve"]


def kill_at(call, kind, house, ledger):
    with prepared(kind, house, ledger) as operation:
        before = ledger.wishes()
        trace(house, "-o", "/dev/null", "-e", f"trace={call.name}", "-e", f"inject={call.name}:signal=KILL:when={call.nth}")
        with pytest.raises(Refused) as refusal:
            operation.act()
        said = refusal.value.err
        assert "\n" not in said and "signal 9" in said and "try again" in said, f"not one clear line: {said}"
        assert ledger.wishes() == before
        ledger.check()
        trace(house, "-o", "/dev/null", "-e", "trace=none")
        operation.act()
        ledger.check()
    return True


def in_a_house(kind):
    with tempfile.TemporaryDirectory(prefix="roomkey-programs-") as folder:
        for program in ("roomkeyd", "roomkey-front", HELPER):
            shutil.copy(BUILD / "bin" / program, folder)
        with own_house("probe:1.0.0", programs=Path(folder)) as (house, ledger):
            calls = calls_of_helper(kind, house, ledger)
            killed = at_each(kinds(calls), lambda call: kill_at(call, kind, house, ledger))
            return f"{kind.__name__}: killed in {killed} of {len(calls)} states"


@pytest.fixture(scope="module")
def outcome(request):
    yield from outcomes(request, in_a_house, "kind")


@pytest.mark.parametrize("kind", OPERATIONS, ids=lambda kind: kind.__name__)
def test_the_import_helper_is_killed_in(kind, outcome):
    print(outcome[kind,].result())
