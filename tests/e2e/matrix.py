"""A matrix of what befalls a house at each call of each operation: how its cases are run, each in a house of its own."""

import contextlib
from concurrent.futures import ThreadPoolExecutor

from house import House
from killing import calls_during, kinds
from ledger import Ledger
from operations import prepared

AT_ONCE = 4  # cases: they wait more than they work
CONFIG = {"limits": {"channels": 1}}  # one worker: nobody waits for others that never come


def outcomes(request, case, *names):
    """For a fixture: {parameters: future of case(*parameters)}, of those tests of the module that are to be run."""
    wanted = [item.callspec.params for item in request.session.items if item.module is request.module and hasattr(item, "callspec")]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {key: pool.submit(case, *key) for key in {tuple(p[n] for n in names) for p in wanted if names[0] in p}}


@contextlib.contextmanager
def own_house(*images, tenants=("acme",), **options):
    """(house, ledger), looked at and removed at the end; with what fails come its logs."""
    house = House(config=CONFIG, **options)
    try:
        house.start()
        house.add_images(*images)
        for name in tenants:
            house.add_tenant(name)
        yield house, Ledger(house)
        house.check()
    except Exception as error:
        raise AssertionError(f"{error}\n{house.logs()}") from error
    finally:
        house.remove()


def watched(kind, house, ledger, pid):
    """(the process's calls while the operation is done, what is wished for then)"""
    with prepared(kind, house, ledger) as operation:
        calls = calls_during(pid, operation.act)
        operation.after()
    return calls, without_names(ledger.wishes())


def at_each(calls, strike, what="killed"):
    """For how many of the calls strike(call) was true; the first that fails is named."""
    count = 0
    for call in calls:
        try:
            count += bool(strike(call))
        except Exception as error:
            raise AssertionError(f"{what} at {call}: {error}") from error
    return count


def told(name, calls, reached):
    return f"{name}: killed in {len(kinds(calls))} of {len(calls)} states; {len(kinds(calls)) - reached} did not come again"


def without_names(wishes):
    """Certificates are new ones each time."""
    return {"images": wishes["images"], "tenants": {n: t[:7] for n, t in wishes["tenants"].items()}}
