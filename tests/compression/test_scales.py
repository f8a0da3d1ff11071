"""Scales of integer networks, and the images they are taken from where there are none."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from squeezenet.compression.squeeze.ranges import FIRST_COVERED, calibrate
from squeezenet.compression.squeeze.synthetic import synthetic_images
from squeezenet.formats.state_dict import from_module
from squeezenet.models.network import Network, from_model
from squeezenet.preparation import Preparation

COLOUR = Preparation(32, 32, "stretch", "RGB", (120.0, 110.0, 100.0), (60.0, 60.0, 62.0))
GREY = Preparation(28, 28, "stretch", "L", (30.0,), (70.0,))


@pytest.fixture(scope="module")
def network() -> Network:
    layers: list[nn.Module] = []
    for inside, out in ((3, 8), (8, 8), (8, 8)):
        layers += [nn.Conv2d(inside, out, 3, padding=1), nn.ReLU()]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        body = nn.Sequential(*layers, nn.Conv2d(8, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    return from_model(from_module(body, COLOUR, tuple("abcd"), {})).eval()


def reached(network: Network, images: Tensor) -> dict[int, Tensor]:
    """The largest value of each image, by the value of the graph that a convolution gives."""
    found: dict[int, Tensor] = {}
    values = [images]
    with torch.no_grad():
        for value, op in enumerate(network.graph.ops, 1):
            values.append(network.apply_op(op, [values[i] for i in op.inputs]))
            if op in network.graph.layers:
                found[value] = values[-1].flatten(1).amax(1)
    return found


@pytest.mark.parametrize("preparation", [COLOUR, GREY], ids=["colour", "grey"])
def test_synthetic_images_are_the_same_again_and_differ_from_each_other(preparation: Preparation) -> None:
    images = synthetic_images(40, preparation, seed=3)
    assert images.shape == (40, *preparation.shape)
    assert torch.equal(images[:5], synthetic_images(5, preparation, seed=3))
    assert not torch.equal(images[:5], synthetic_images(5, preparation, seed=4))
    pixels = images * torch.tensor(preparation.std).view(-1, 1, 1) + torch.tensor(preparation.mean).view(-1, 1, 1)
    assert pixels.min() > -0.01
    assert pixels.max() < 255.01
    contrast, edges = images.std((1, 2, 3)), images.diff(dim=3).abs().mean((1, 2, 3))
    assert contrast.max() > 2 * contrast.min()
    assert (edges / contrast).max() > 2 * (edges / contrast).min()  # some are out of focus


def test_neighbours_resemble_each_other_as_in_photographs() -> None:
    """The spectrum of photographs falls with about the square of the frequency."""
    side = COLOUR.crop
    grey = synthetic_images(64, COLOUR, seed=0).mean(1).numpy()
    power = (np.abs(np.fft.fft2(grey - grey.mean((1, 2), keepdims=True))) ** 2).mean(0)
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side))
    kept = (frequency > 0) & (frequency < 0.4)
    slope = np.polyfit(np.log(frequency[kept]), np.log(power[kept]), 1)[0]
    assert -3.5 < slope < -1.5


def test_of_synthetic_images_the_first_layer_may_cut_off_some_and_later_ones_less(network: Network) -> None:
    """Quantiles, not counts: how many of 96 images lie beyond a step is a matter of the last bit of a sum."""
    images = synthetic_images(96, COLOUR, seed=1)
    scales = calibrate(network, images, synthetic=len(images))
    assert scales[0] == calibrate(network, images)[0]  # pixels have a range of their own
    slack = 2 ** (1.01 / 16)  # scales are whole eighths of an octave, to nearest
    largest = reached(network, images)
    first, _, third, _ = largest  # the fourth layer gives what the logits are means of
    reach = {value: 255 * scales[value].step for value in (first, third)}
    assert reach[first] <= float(largest[first].quantile(FIRST_COVERED + 0.01)) * slack
    for value, share in ((first, FIRST_COVERED), (third, FIRST_COVERED + 0.02)):
        assert float(largest[value].quantile(share)) / slack <= reach[value] <= float(largest[value].max()) * slack


def test_what_the_logits_are_means_of_may_go_beyond_synthetic_images(network: Network) -> None:
    images = synthetic_images(16, COLOUR, seed=1)
    further = calibrate(network, images, synthetic=len(images))
    usual = calibrate(network, images, synthetic=len(images), mean_margin=0)
    *_, last = reached(network, images)
    gone = [a.exponent - b.exponent for a, b in zip(further, usual, strict=True)]
    assert gone == [6 if value >= last else 0 for value in range(len(usual))]


def test_scales_do_not_depend_on_the_order_of_memory(network: Network) -> None:
    images = synthetic_images(16, COLOUR, seed=2)
    assert calibrate(network, images) == calibrate(network, images.contiguous())


def test_ranges_that_another_program_measured_replace_those_on_synthetic_images(network: Network) -> None:
    made = synthetic_images(8, COLOUR)
    usual = calibrate(network, made, 8)
    told = calibrate(network, made, 8, ranges={2: (0.0, 255 * 2**1.5), 4: (0.0, 255 * 2.0**-3)})
    assert [told[i].exponent for i in (1, 2, 3, 4)] == [12, 12, -24, -24]
    assert told[5:] == usual[5:]
    assert calibrate(network, made, 0, ranges={2: (0.0, 255 * 2**1.5)}) == calibrate(network, made)


def test_what_photographs_reach_lies_within_the_range(network: Network) -> None:
    images = synthetic_images(8, COLOUR)
    told = calibrate(network, images, 4, ranges={2: (0.0, 1e-3)})
    largest = float(reached(network, images[:4])[1].amax())
    assert told[2].step * 255 >= 0.95 * largest
