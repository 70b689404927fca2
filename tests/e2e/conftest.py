"""Fixtures: a house for each module, removed at its end; its logs are shown when a test fails."""

import os

import pytest

from house import House


def pytest_configure(config):
    if os.geteuid() != 0:
        raise pytest.UsageError("the end-to-end tests start roomkeyd, which makes namespaces: run them as root")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.failed:
        for value in getattr(item, "funcargs", {}).values():
            if isinstance(value, House):
                report.sections.append(("logs of the house", value.logs()))


@pytest.fixture
def make_house():
    """A house of the test's own: make_house(config=..., front=[...])."""
    houses = []

    def make(**kw):
        house = House(**kw)
        houses.append(house)
        return house.start()

    yield make
    for house in houses:
        house.remove()
    for house in houses:
        house.check()


@pytest.fixture(scope="module")
def house():
    """One house for all tests of a module, with the images in it and the tenants acme and globex."""
    house = House(workers=2)
    try:
        house.start()
        house.add_images("hello:1.0.0", "hello:2.0.0", "hello:3.0.0", "probe:1.0.0", "probe:2.0.0")
        house.add_tenant("acme")
        house.add_tenant("globex")
        yield house
    finally:
        house.remove()
    house.check()
