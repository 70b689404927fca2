"""Fixtures: a house for each module, removed at its end; its logs are shown when a test fails.

For the conftest.py of this folder, and of tests/xen, which take all of it.
"""

import os

import pytest

from house import GROUND, SANITIZED, House

left_out = pytest.StashKey()


def pytest_configure(config):
    if os.geteuid() != 0:
        raise pytest.UsageError("the end-to-end tests start roomkeyd, which makes namespaces or domains: run them as root")
    config.addinivalue_line("markers", "only_on(ground, why): left out, not skipped, on every other ground")
    config.addinivalue_line("markers", "not_sanitized(why): left out when the programs are built with a sanitizer")


def reason_to_leave_out(item):
    for mark in item.iter_markers("only_on"):
        if mark.args[0] != GROUND:
            return mark.args[1]
    for mark in item.iter_markers("not_sanitized"):
        if SANITIZED:
            return mark.args[0]
    return None


def pytest_collection_modifyitems(config, items):
    """Leaves out what makes no sense here."""
    out = {item: why for item in items if (why := reason_to_leave_out(item))}
    items[:] = [item for item in items if item not in out]
    config.stash.setdefault(left_out, []).extend(f"{item.nodeid}: {why}" for item, why in out.items())
    config.hook.pytest_deselected(items=list(out))


def pytest_sessionfinish(session):
    if hasattr(session.config, "workeroutput"):  # one of several processes (-n)
        session.config.workeroutput["left out"] = session.config.stash.get(left_out, [])
    if session.exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and session.config.stash.get(left_out, []):
        session.exitstatus = pytest.ExitCode.OK  # a file that is whole for another ground


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    """All of them have left out the same."""
    node.config.stash[left_out] = getattr(node, "workeroutput", {}).get("left out", [])


def pytest_terminal_summary(terminalreporter, config):
    lines = config.stash.get(left_out, [])
    while lines:
        line = lines.pop(0)
        terminalreporter.write_line(f"left out on {GROUND}: {line}")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.failed:
        for value in getattr(item, "funcargs", {}).values():
            for house in [value] if isinstance(value, House) else getattr(value, "houses", []):
                report.sections.append(("logs of the house", house.logs()))


@pytest.fixture
def make_house():
    """A house of the test's own: make_house(config=..., front=[...])."""
    def make(**kw):
        house = House(**kw)
        make.houses.append(house)
        return house.start()

    make.houses = []
    yield make
    for house in make.houses:
        house.remove()
    for house in make.houses:
        house.check()


@pytest.fixture(scope="module")
def house(request):
    """One house for all tests of a module, with the images in it and the tenants acme and globex.

    A module's WORKERS, CONFIG and FRONT are those of its house."""
    house = House(workers=getattr(request.module, "WORKERS", 2), config=getattr(request.module, "CONFIG", None),
                  front=getattr(request.module, "FRONT", ()))
    try:
        house.start()
        house.add_images("hello:1.0.0", "hello:2.0.0", "hello:3.0.0", "probe:1.0.0", "probe:2.0.0")
        house.add_tenant("acme")
        house.add_tenant("globex")
        yield house
    finally:
        house.remove()
    house.check()
