"""Fixtures: a house for each module, removed at its end; its logs are shown when a test fails."""

import os

import pytest

from house import GROUND, House

left_out = pytest.StashKey()


def pytest_configure(config):
    if os.geteuid() != 0:
        raise pytest.UsageError("the end-to-end tests start roomkeyd, which makes namespaces or domains: run them as root")
    config.addinivalue_line("markers", "only_on(ground, why): left out, not skipped, on every other ground")


def pytest_collection_modifyitems(config, items):
    """Leaves out what makes no sense on this ground."""
    marks = {item: item.get_closest_marker("only_on") for item in items}
    out = [item for item, mark in marks.items() if mark and mark.args[0] != GROUND]
    items[:] = [item for item in items if item not in out]
    config.stash[left_out] = [f"{item.nodeid}: {marks[item].args[1]}" for item in out]
    config.hook.pytest_deselected(items=out)


def pytest_terminal_summary(terminalreporter, config):
    for line in config.stash.get(left_out, []):
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
    """One house for all tests of a module, with the images in it and the tenants acme and globex."""
    house = House(workers=getattr(request.module, "WORKERS", 2))
    try:
        house.start()
        house.add_images("hello:1.0.0", "hello:2.0.0", "hello:3.0.0", "probe:1.0.0", "probe:2.0.0")
        house.add_tenant("acme")
        house.add_tenant("globex")
        yield house
    finally:
        house.remove()
    house.check()
