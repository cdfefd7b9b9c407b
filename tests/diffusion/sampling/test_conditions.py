import torch

from diffusion.sampling.conditions import Conditions


def row(length, scale):
    return Conditions({"embeds": torch.full((1, length, 2), scale), "scale": torch.tensor([scale])})


def test_stack_joins_rows_and_pads_the_shorter_ones_with_zeros():
    stacked = Conditions.stack([row(3, 1.0), row(1, 2.0)])
    assert len(stacked) == 2 and stacked.tensors["scale"].tolist() == [1.0, 2.0]
    assert stacked.tensors["embeds"].sum(2).tolist() == [[2.0, 2.0, 2.0], [4.0, 0.0, 0.0]]


def test_slice_takes_the_same_rows_of_every_tensor():
    last = Conditions.stack([row(2, 1.0), row(2, 3.0)])[-1:]
    assert len(last) == 1 and {name: tensor.unique().item() for name, tensor in last.tensors.items()} == {
        "embeds": 3.0,
        "scale": 3.0,
    }


def test_slerp_goes_from_start_to_end_in_every_tensor():
    start, end = row(2, 1.0), row(2, 3.0)
    for name, tensor in start.slerp(end, 1.0).tensors.items():
        torch.testing.assert_close(tensor, end.tensors[name])
