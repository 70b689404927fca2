"""What an operator does in dom0 with xl, beside roomkeyd."""

import contextlib
import subprocess
import tempfile

import grounds
from house import IMAGES


@contextlib.contextmanager
def by_hand(name, memory=16, kernel=IMAGES / "hello-1.0.0.img", words=""):
    """The id of a paused domain that no roomkeyd has made."""
    with tempfile.NamedTemporaryFile("w", suffix=".cfg") as config:
        config.write(f'name = "{name}"\ntype = "pvh"\nkernel = "{kernel}"\ncmdline = "{words}"\n'
                     f'memory = {memory}\nvcpus = 1\non_poweroff = "preserve"\non_crash = "preserve"\n')
        config.flush()
        subprocess.run(["xl", "create", "-q", "-p", config.name], check=True)
    domid = int(grounds.tool("xl", "domid", name))
    try:
        yield domid
    finally:
        subprocess.run(["xl", "destroy", str(domid)], capture_output=True, check=False)


def free_mib():
    """Memory that Xen has for domains."""
    return int(grounds.tool("xl", "info", "free_memory"))


@contextlib.contextmanager
def only(mib):
    """A host that has about so much memory left: one domain takes the rest."""
    with by_hand("ballast", free_mib() - mib - 32):
        yield


def of_tenant(house, tenant):
    """Ids of the domains of this tenant, or of the pool."""
    return {d for d, name in grounds.domains().items() if name.startswith(f"{house.machines.name()}{tenant}-")}
