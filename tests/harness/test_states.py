"""States as bytes: everything a checkpoint may hold comes back, and nothing is unpickled."""

import math

import pytest
import torch

from harness.states import pack, unpack

SHARED = torch.arange(6.0).reshape(2, 3)


def test_what_a_checkpoint_holds_comes_back():
    state = {
        "weights": {"a.b": SHARED, "transposed, of the same memory": SHARED.T},
        "moments": {0: [SHARED.to(torch.bfloat16), None], 1: [torch.tensor(3), -2.5]},
        "spent": 7,
        "on": True,
        "name": "dict",
        "empty": {},
        "scale": math.inf,
    }
    found = unpack(pack(state))
    assert torch.equal(found["weights"]["transposed, of the same memory"], SHARED.T)
    assert found["weights"]["transposed, of the same memory"].stride() == SHARED.T.stride()
    assert all(value.data_ptr() % 64 == 0 for value in found["weights"].values())
    assert found["moments"][0][0].dtype == torch.bfloat16
    assert torch.equal(found["moments"][0][0], SHARED.to(torch.bfloat16))
    assert found["moments"][0][1] is None
    assert found["moments"][1] == [torch.tensor(3), -2.5]
    assert {key: found[key] for key in ("spent", "on", "name", "empty", "scale")} == {
        "spent": 7,
        "on": True,
        "name": "dict",
        "empty": {},
        "scale": math.inf,
    }


def test_gradients_are_left_behind():
    weight = torch.nn.Parameter(torch.ones(2))
    assert not unpack(pack([2 * weight]))[0].requires_grad


def test_other_things_are_refused():
    with pytest.raises(TypeError):
        pack({"model": torch.nn.Linear(1, 1)})
