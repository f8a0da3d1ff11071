"""Training pixels are nearly those that ship: the same decoder, a faster resize, and Pillow for the unusual."""

import io

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from squeezenet.data import Examples, load_pixels
from squeezenet.data import decoder as decoders
from squeezenet.data.augment import Augmentation, augment, draw, finish, network_input
from squeezenet.data.decoder import training_pixels
from squeezenet.data.pixels import decode
from squeezenet.errors import ImageError
from squeezenet.preparation import Preparation
from squeezenet.runtime.image import open_image, pixels

simplejpeg = pytest.importorskip("simplejpeg")
SQUARE = Preparation(64, 64)


def picture(width, height, mode="RGB", seed=0):
    """Smooth blobs and edges, as photographs have."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    image = Image.fromarray(noise).filter(ImageFilter.GaussianBlur(3))
    image.paste((250, 20, 90), (0, 0, width // 3, height // 2))
    return image.convert(mode)


def jpeg(image, **options):
    stream = io.BytesIO()
    image.save(stream, "JPEG", **{"quality": 90, **options})
    return stream.getvalue()


def exact(source, preparation):
    return pixels(open_image(source), preparation)


@pytest.fixture
def sent_to_pillow(monkeypatch):
    """The images that went to Pillow."""
    seen = []
    opened = open_image
    monkeypatch.setattr(decoders.image, "open_image", lambda source: seen.append(source) or opened(source))
    return seen


@pytest.mark.parametrize("size", [(64, 64), (97, 71), (71, 97), (101, 65), (128, 127), (33, 17), (120, 200)])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0", "grey", "progressive"])
@pytest.mark.parametrize("channels", ["RGB", "BGR", "L"])
def test_jpegs_give_the_pixels_that_pillow_gives(size, subsampling, channels):
    grey = subsampling == "grey"
    options = {"progressive": True} if subsampling == "progressive" else {} if grey else {"subsampling": subsampling}
    data = jpeg(picture(*size, "L" if grey else "RGB"), **options)
    means = (0.0,) * len(channels)
    for fit in ("stretch", "shorter"):
        preparation = Preparation(64, 64, fit, channels, means, tuple(1 + m for m in means))
        difference = np.abs(training_pixels(data, preparation).astype(int) - exact(data, preparation))
        assert difference.max() <= 1


@given(st.integers(8, 150), st.integers(8, 150), st.integers(0, 5), st.sampled_from(["stretch", "shorter"]))
def test_any_size_gives_the_pixels_that_pillow_gives(width, height, seed, fit):
    data = jpeg(picture(width, height, seed=seed))
    preparation = Preparation(48, 40, fit)
    difference = np.abs(training_pixels(data, preparation).astype(int) - exact(data, preparation))
    assert difference.max() <= 2  # rounded twice, along either side
    assert difference.mean() < 0.5


def test_the_decoder_is_the_library_of_pillow():
    data = jpeg(picture(203, 155), subsampling="4:2:0")
    assert np.array_equal(simplejpeg.decode_jpeg(data), np.asarray(open_image(data)))


def test_large_images_are_decoded_at_a_fraction_and_look_the_same(monkeypatch):
    data = jpeg(picture(1600, 1200))
    shapes = []
    whole = simplejpeg.decode_jpeg
    monkeypatch.setattr(simplejpeg, "decode_jpeg", lambda *a, **k: (d := whole(*a, **k), shapes.append(d.shape))[0])
    difference = np.abs(training_pixels(data, SQUARE).astype(int) - exact(data, SQUARE))
    assert 128 <= shapes[0][0] <= 1200 / 4
    assert difference.mean() < 1
    assert difference.max() < 24  # at the edges of the pasted box


EXIF = Image.Exif()
EXIF[0x0112] = 6  # turned by 90 degrees


XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
)


@pytest.mark.parametrize(
    "data",
    [
        jpeg(picture(90, 60), exif=EXIF.tobytes()),
        jpeg(picture(90, 60, "CMYK")),
        jpeg(picture(500, 20)),
        jpeg(picture(90, 60))[:-200],
        jpeg(picture(90, 60), xmp=XMP),
        b"\xff\xd8\xff\xfe\0\1" + jpeg(picture(90, 60))[2:],
    ],
    ids=["turned", "CMYK", "long", "cut short", "turned by XMP", "a segment shorter than its length"],
)
def test_the_unusual_is_what_pillow_says(data):
    assert answer(training_pixels, data) == answer(exact, data)


def answer(read, data):
    """The pixels, in steps that hide what resizing rounds; or what is wrong."""
    try:
        return (read(data, SQUARE).astype(int) // 64).mean().round(1)
    except ImageError as error:
        return str(error)


def test_what_goes_to_pillow(sent_to_pillow, tmp_path):
    upright = Image.Exif()
    upright[0x0112] = 1
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg(picture(80, 60)))
    for source in (jpeg(picture(80, 60)), path, jpeg(picture(80, 60), exif=upright.tobytes())):
        training_pixels(source, SQUARE)
    assert sent_to_pillow == []
    colour_as_grey = Preparation(64, 64, channels="L", mean=(0.0,), std=(1.0,))
    training_pixels(jpeg(picture(80, 60)), colour_as_grey)
    training_pixels(jpeg(picture(80, 60), exif=EXIF.tobytes()), SQUARE)
    training_pixels(jpeg(picture(80, 60), xmp=XMP), SQUARE)
    training_pixels(picture(80, 60), SQUARE)
    assert len(sent_to_pillow) == 4
    with pytest.raises(ImageError, match="no such file"):
        training_pixels(tmp_path / "none.jpg", SQUARE)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA"])
@pytest.mark.parametrize("channels", ["RGB", "BGR", "L"])
def test_without_the_decoder_pixels_are_the_same(monkeypatch, mode, channels):
    monkeypatch.setattr(decoders, "simplejpeg", None)
    means = (0.0,) * len(channels)
    preparation = Preparation(64, 60, "shorter", channels, means, tuple(1 + m for m in means))
    for source in (picture(90, 70, mode), jpeg(picture(90, 70))):
        difference = np.abs(training_pixels(source, preparation).astype(int) - exact(source, preparation))
        assert difference.max() <= 1
    long = picture(500, 20)
    assert np.array_equal(training_pixels(long, preparation), exact(long, preparation))


def test_the_decoder_serves_training_only(monkeypatch):
    monkeypatch.setattr(decoders.simplejpeg, "decode_jpeg", lambda *a, **k: pytest.fail("not here"))
    examples = Examples("e", [jpeg(picture(90, 60, seed=i)) for i in range(3)])
    expected = np.stack([exact(data, SQUARE) for data in examples.images])
    assert np.array_equal(load_pixels(examples, SQUARE, progress=False).images, expected)


@pytest.mark.parametrize("training", [False, True])
def test_batches_name_what_cannot_be_read(training):
    images = [jpeg(picture(90, 60, seed=i)) for i in range(6)]
    images[1] = images[4] = b"\xff\xd8\xff not an image"
    examples = Examples("six", images, np.arange(6), tuple("abcdef"))
    for workers in (1, 4):
        (part,) = decode(examples, [np.array([5, 4, 3, 1, 0])], SQUARE, workers, training)
        assert part.indices.tolist() == part.labels.tolist() == [5, 3, 0]
        assert [i for i, _ in part.unreadable] == [4, 1]
        assert part.unreadable[0][1].startswith("six, image 4:")
        for image, index in zip(part.images, (5, 3, 0), strict=True):
            assert np.abs(image.astype(int) - exact(images[index], SQUARE)).max() <= training


@pytest.mark.parametrize(
    "how",
    [
        Augmentation(),
        Augmentation(mirror=False, light=0.2, erase=5),
        Augmentation(pad=2),
        Augmentation(rotate=9),
        Augmentation(area=0.4),
    ],
)
@pytest.mark.parametrize("channels", ["RGB", "L"])
def test_network_input_is_bit_for_bit_what_its_parts_give(how, channels):
    count = len(channels)
    preparation = Preparation(20, 16, channels=channels, mean=(9.7, 120.1, 33.3)[:count], std=(3.3, 70.7, 1.1)[:count])
    images = torch.randint(0, 256, (9, count, 20, 20), dtype=torch.uint8)
    mean, std = (torch.tensor(v)[:, None, None] for v in (preparation.mean, preparation.std))
    draws = draw(9, torch.Generator().manual_seed(3))
    expected = finish((augment(images, how, (16, 16), draws).float() - mean) / std, how, draws)
    for layout in (torch.contiguous_format, torch.channels_last):
        found = network_input(images.to(memory_format=layout), how, preparation, draws)
        assert torch.equal(found, expected)
        assert found.is_contiguous(memory_format=torch.channels_last)


def test_real_photographs(shared):
    column = pq.read_table(shared / "data/imagenet-sample.parquet")["image"]
    preparation = Preparation.imagenet_caffe()
    for row in range(0, len(column), len(column) // 25):
        data = column[row].as_py()["bytes"]
        difference = np.abs(training_pixels(data, preparation).astype(int) - exact(data, preparation))
        assert difference.max() <= 1
