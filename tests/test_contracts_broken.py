"""Each promise of each contract has a deliberately broken part that fails it, and nothing but it."""

import broken_acting
import broken_data
import broken_promises
import pytest
from broken_parts import BROKEN

from wetoolkit import testing
from wetoolkit.testing.compare import difference, snapshot

assert all(module.breaks for module in (broken_acting, broken_data, broken_promises))  # their parts have joined BROKEN
CONTRACTS = [getattr(testing, name) for name in testing.__all__ if name.endswith("Contract")]


def promises(contract):
    return {name for name in dir(contract) if name.startswith("test_")}


def failing(contract):
    """The promises that an instance of a contract fails, with what they say."""
    failed = {}
    for name in sorted(promises(contract)):
        try:
            getattr(contract, name)()
        except pytest.skip.Exception:
            continue
        except Exception as error:  # noqa: BLE001 - a promise may fail in any way
            failed[name] = str(error)
    return failed


@pytest.mark.parametrize(("contract", "promise"), BROKEN, ids=[contract.__name__ for contract, _ in BROKEN])
def test_exactly_the_named_promise_fails(contract, promise):
    failed = failing(contract())
    assert list(failed) == [promise], failed
    assert failed[promise].startswith("broken promise: ")


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.__name__)
def test_every_promise_has_a_broken_part(contract):
    shown = {promise for broken, promise in BROKEN if issubclass(broken, contract)}
    shared = promises(testing.Contract) if contract is not testing.Contract else set()
    assert promises(contract) - shared - shown == set()


def test_a_difference_is_named_by_its_path():
    assert difference({"a": [1, 2.0]}, {"a": [1, 2.5]}) == "['a'][1] is 2.0 and 2.5"
    assert difference({"a": [1]}, {"b": [1]}) != ""
    assert difference([1.0], [1.0 + 1e-7], 1e-5) == ""
    before = (value := {"a": [1]}) and snapshot(value)
    value["a"].append(2)
    assert "length" in difference(before, value)
