"""What another domain gets of a tenant's channel: nothing.  The one who asks is tests/xen/stranger, a kernel of its own.

Runs in dom0: scripts/xenlab test tests/xen/test_isolation.py
"""

import re
import subprocess

import grounds
from dom0 import by_hand, of_tenant
from house import IMAGES, get, pattern, until


def nodes(domid):
    """{path below data/roomkey: number} of what a tenant offers to dom0."""
    lines = grounds.tool("xenstore-ls", "-f", f"/local/domain/{domid}/data/roomkey").splitlines()
    found = (re.fullmatch(r'/local/domain/\d+/data/roomkey/(\S+) = "(\d+)"', line) for line in lines)
    return {m.group(1): int(m.group(2)) for m in found if m}


def answers(words):
    """{(what, number): Xen's answer} of a stranger with these words."""
    with by_hand("stranger", 16, IMAGES / "stranger", words) as domid:
        subprocess.run(["xl", "unpause", str(domid)], check=True)
        log = until(lambda: (now := grounds.tool("xl", "dmesg")) and f"(d{domid}) stranger: over" in now and now, "its last word")
    said = re.findall(rf"(?m)\(d{domid}\) stranger: (\D+) (\d+:\d+) (-?\d+)$", log)
    return {(what, number): int(answer) for what, number, answer in said}


def test_a_third_domain_is_denied_the_ring_the_doorbell_and_the_memory(house):
    with house.connect("acme") as sock:
        get(sock, "acme.localhost", "/version")
        (domid,) = of_tenant(house, "acme")
        offered = nodes(domid)
        refs = {n for path, n in offered.items() if path.endswith("ring-ref")}
        ports = {n for path, n in offered.items() if path.endswith("event-channel")}
        assert len(refs) >= 3 and len(ports) >= 3, offered
        refs |= {min(refs) + 1, max(refs) - 1, max(refs) + 1}  # pages of the rings are near them
        frames = {0x100, 0x180, 0x200}
        words = [*(f"map={domid}:{ref}" for ref in refs), *(f"port={domid}:{port}" for port in ports),
                 *(f"frame={domid}:{frame}" for frame in frames)]
        said = answers(" ".join(words))
        print(said)
        own = {what: answer for (what, _), answer in said.items() if what.endswith("self")}
        assert own == {"map self": 0, "copy self": 0, "port self": 0}, "what it may do works"
        rest = {key: answer for key, answer in said.items() if not key[0].endswith("self")}
        assert len(rest) == 2 * len(refs) + len(ports) + len(frames), rest
        assert all(answer < 0 for answer in rest.values()), rest
        assert get(sock, "acme.localhost", "/bytes/100000") == (200, pattern(0, 100000)), "the tenant noticed nothing"


def test_no_other_domain_may_read_or_write_a_tenants_nodes(house):
    """Permissions of xenstore: the first is the owner and what all others may (n: nothing), then who may what."""
    house.curl("acme", "/version")
    (domid,) = of_tenant(house, "acme")
    lines = grounds.tool("xenstore-ls", "-f", "-p", f"/local/domain/{domid}").splitlines()
    rights = {line.split(" = ")[0]: re.search(r"\(([^)]*)\)$", line).group(1).split(",") for line in lines}
    ours = {path: r for path, r in rights.items() if "roomkey" in path}
    assert len(ours) >= 6, lines
    for path, r in ours.items():
        assert r[0] in (f"n{domid}", "n0"), (path, r)
        assert all(other in (f"r{domid}", "r0", "b0") for other in r[1:]), (path, r)


def test_the_seed_is_gone_once_the_tenant_runs(house):
    house.curl("acme", "/version")
    (domid,) = of_tenant(house, "acme")
    assert "roomkey.seed" not in grounds.tool("xenstore-ls", f"/local/domain/{domid}")
