"""The lab itself: that dom0 is what an operator's is.  Runs in dom0: scripts/xenlab test tests/xen/test_lab.py"""

import os
import stat
import subprocess
from pathlib import Path

import pytest


def said(*args):
    return subprocess.run(args, capture_output=True, text=True, check=True, timeout=60).stdout


def test_this_is_domain_0_of_xen_4_17():
    assert Path("/sys/hypervisor/type").read_text().strip() == "xen"
    assert "control_d" in Path("/proc/xen/capabilities").read_text()
    info = dict(line.split(":", 1) for line in said("xl", "info").replace(" ", "").splitlines() if ":" in line)
    assert (info["xen_major"], info["xen_minor"]) == ("4", "17")
    assert "hap" in info["virt_caps"] and "hvm" in info["virt_caps"]  # what PVH domains need
    assert int(info["free_memory"]) > 1024  # MiB


def test_no_domain_but_dom0_is_there():
    assert [line.split()[:2] for line in said("xl", "list").splitlines()[1:]] == [["Domain-0", "0"]]


def test_xenstore_keeps_what_is_written():
    said("xenstore-write", "/tool/lab", "here")
    assert said("xenstore-read", "/tool/lab").strip() == "here"
    said("xenstore-rm", "/tool/lab")


@pytest.mark.parametrize("node", ["evtchn", "gntdev", "privcmd", "xenbus"])
def test_the_device_is_there(node):
    assert stat.S_ISCHR(os.stat(f"/dev/xen/{node}").st_mode)


def test_cgroup_v2_can_limit_memory_and_processes():
    assert {"memory", "pids"} <= set(Path("/sys/fs/cgroup/cgroup.subtree_control").read_text().split())
