"""xenstored stops for a while, or is killed and started anew: who is awake is served on, who wakes waits or is told,
and roomkeyd needs nobody to start it again.

Runs in dom0: scripts/xenlab test tests/xen/test_xenstore.py
"""

import os
import signal
import subprocess
from pathlib import Path

import grounds
from house import get, ms, pattern, until
from test_helpers import Customer, everything, helpers

HUNG = "roomkey-xen did not do a job within"


def pid_of(daemon):
    return int(Path(f"/run/{daemon}.pid").read_text())


def start_anew():
    """As `systemctl restart xen` does after xenstored has died; what it knew is lost."""
    os.kill(pid_of("xenconsoled"), signal.SIGKILL)
    for command in ("oxenstored --pid-file /run/xenstored.pid", "xen-init-dom0",
                    "xenconsoled --pid-file=/run/xenconsoled.pid --log=none"):
        until(lambda c=command: subprocess.run(
            c.split(), env={**os.environ, "XENSTORED_ROOTDIR": "/run/xenstored"}, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60, check=False).returncode == 0, command)


def onboard(house, *names):
    house.add_images("probe:1.0.0")
    for name in names:
        house.add_tenant(name)


def test_one_that_stops_for_a_while_costs_time_and_nothing_else(make_house):
    house = make_house(config={"xen": {"helpers": 2, "job": f"{ms(2)}ms"}})
    onboard(house, "acme", "other", "third")
    with house.connect("acme") as sock:
        assert get(sock, "acme.localhost", "/version") == (200, b"1.0.0\n")
        before = everything(house)
        os.kill(pid_of("xenstored"), signal.SIGSTOP)
        try:
            customer = Customer(house, "other")
            until(lambda: HUNG in house.orchestrator.said(), "a helper that hangs")
            assert get(sock, "acme.localhost", "/bytes/100000") == (200, pattern(0, 100000))
        finally:
            os.kill(pid_of("xenstored"), signal.SIGCONT)
        customer.join()
        assert customer.got == (200, b"1.0.0\n")
        assert house.curl("third", "/version") == "1.0.0\n"
        for name in ("other", "third"):
            house.cli("instance", "stop", name)
        until(lambda: everything(house) == before, f"nothing is left behind: {before}")
        assert get(sock, "acme.localhost", "/version") == (200, b"1.0.0\n")
    assert not [e for e in house.events() if e["kind"] in ("crashed", "failed")]


def test_one_that_is_started_anew_is_asked_from_then_on(make_house):
    """Seen to fail with helpers that keep their connection to the dead one: nobody was ever started again.
    The last test of this file: the machine's own xenstore is lost."""
    house = make_house(config={"xen": {"helpers": 2}})
    onboard(house, "acme", "other")
    with house.connect("acme") as sock:
        assert get(sock, "acme.localhost", "/version") == (200, b"1.0.0\n")
        old = helpers(house, "watch")
        os.kill(pid_of("xenstored"), signal.SIGKILL)
        until(lambda: not set(old) & set(helpers(house, "watch")), "the watcher has noticed", 40)
        assert get(sock, "acme.localhost", "/bytes/100000") == (200, pattern(0, 100000))
        start_anew()
        until(lambda: house.curl("other", "/version", check=False).stdout == b"1.0.0\n", "the other is served", 40)
        assert get(sock, "acme.localhost", "/bytes/100000") == (200, pattern(0, 100000))
    assert house.stop() == {"front": 0, "orchestrator": 0}
    until(lambda: set(grounds.domains()) == {0}, "all are gone, also those that the new xenstored never knew")
