"""L_y and L_pad against the printed sums, their zeros, and what leaving a term out would miss."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from inn import CouplingFlow, FixedPermutation, Padding, coupling_flow, label_loss, padding_loss
from lipbounds.errors import InvalidInput

SIZES = Padding(dim=6, data=2, labels=1, latent=2)


def drawn(seed, sizes=SIZES, n=5):
    generator = torch.Generator().manual_seed(seed)
    x, y, z = (torch.randn(n, columns, generator=generator) for columns in (sizes.data, sizes.labels, sizes.latent))
    return sizes.pad_data(x, generator).double(), sizes.pad_image(y, z, generator).double()


@given(st.integers(0, 2**32 - 1), st.booleans())
def test_as_printed(seed, from_labels):
    flow = coupling_flow(CouplingFlow(dim=6, blocks=2, hidden=4), seed=seed).double().requires_grad_(False)
    x, target = drawn(seed)
    image = flow(x)
    value = float(padding_loss(flow, x, image, target, SIZES, from_labels=from_labels))
    total = fit = 0.0
    for row in range(5):
        t, goal = image[row].numpy(), target[row].numpy()
        back = np.concatenate(((goal if from_labels else t)[:1], goal[1:4], t[4:]))
        total += np.sum((t[1:4] - goal[1:4]) ** 2)
        total += np.sum((x[row].numpy() - flow.inverse(torch.as_tensor(back)[None])[0].numpy()) ** 2)
        total += np.sum(flow.inverse(target[row][None])[0, :4].numpy() ** 2)
        fit += (t[0] - goal[0]) ** 2
    assert value == pytest.approx(total / 5, rel=1e-10)
    assert float(label_loss(image, target[:, :1], SIZES)) == pytest.approx(fit / 5, rel=1e-10)


def test_zero_where_nothing_is_wrong():
    # T the identity with x = (y, 0, z): data in two coordinates, label the first, latent the last
    sizes = Padding(dim=4, data=4, labels=1, latent=1, noise=0.0)
    identity = FixedPermutation(torch.arange(4))
    generator = torch.Generator().manual_seed(0)
    y, z = torch.randn(5, 1, generator=generator), torch.randn(5, 1, generator=generator)
    x = sizes.pad_image(y, z, generator)
    assert float(padding_loss(identity, x, identity(x), x, sizes)) == 0.0
    assert float(label_loss(identity(x), y, sizes)) == 0.0
    # negative controls: each term alone sees its fault
    moved = x + torch.tensor([0.0, 1.0, 0.0, 0.0])
    assert float(padding_loss(identity, moved, identity(moved), x, sizes)) == pytest.approx(2.0)  # first and second
    used = Padding(dim=4, data=3, labels=1, latent=1, noise=0.0)
    assert float(padding_loss(identity, x, identity(x), x, used)) == pytest.approx(float(y.square().mean()))  # third


def test_padding_is_where_it_should_be():
    x, target = drawn(0)
    y, pad, z = SIZES.split(target)
    assert (y.shape, pad.shape, z.shape) == ((5, 1), (5, 3), (5, 2))
    assert 0 < pad.abs().max() < 0.1
    assert 0 < x[:, :4].abs().max() < 0.1
    assert torch.equal(SIZES.data_of(x), x[:, 4:])
    assert not drawn(0, Padding(dim=6, data=2, labels=1, latent=2, noise=0.0))[0][:, :4].any()


@pytest.mark.parametrize(
    "make",
    [
        lambda: Padding(dim=3, data=4, labels=1, latent=1),
        lambda: Padding(dim=3, data=2, labels=2, latent=2),
        lambda: Padding(dim=3, data=2, labels=1, latent=1, noise=-1.0),
        lambda: SIZES.pad_data(torch.zeros(0, 2), torch.Generator()),
        lambda: SIZES.pad_data(torch.full((3, 2), np.nan), torch.Generator()),
        lambda: SIZES.pad_image(torch.zeros(3, 1), torch.zeros(4, 2), torch.Generator()),
        lambda: SIZES.split(torch.zeros(3, 5)),
    ],
)
def test_bad_input(make):
    with pytest.raises(InvalidInput):
        make()
