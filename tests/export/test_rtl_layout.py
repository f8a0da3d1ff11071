"""The lines of a stage, in a slow model of `sn_lines`: every window reads what lies in the image, and 0 outside."""

import random
from itertools import product

import numpy as np

from squeezenet.export.rtl.layout import Lines, Stream, allowed, lines

PLACES = {"same": (3, 1), "valid": (3, 0), "point": (1, 0), "pool": (2, 0), "wide": (5, 2)}


def words(image: np.ndarray, source: Stream) -> list[np.ndarray]:
    """The words of an image; the places of a row beyond its width hold rubbish."""
    channels, height, width = source.shape
    padded = np.full((channels, height, source.pitch), 10**6)
    padded[:, :, :width] = image
    places = padded.reshape(channels, -1, source.lanes)
    return [places[:, n] for n in range(source.words)]


class Ring:
    """The ring of blocks, written as far ahead as the design may write."""

    def __init__(self, held: Lines, channels: int, lanes: int, words: list[np.ndarray]) -> None:
        self.held, self.channels, self.lanes, self.words = held, channels, lanes, words
        self.memory = np.full((held.ring, held.planes * channels, lanes), 10**6)
        self.written = self.full = self.freed = self.writing = 0

    def fill(self) -> None:
        held = self.held
        while self.written < len(self.words) and self.full - self.freed <= held.limit:
            number = self.written % held.words
            for channel, chunk, phase in product(range(self.channels), range(held.chunks), range(held.phases)):
                on, group, word, row = held.writes[(number % held.period * held.chunks + chunk) * held.phases + phase]
                elements = self.words[self.written][channel, chunk * held.chunk :][: held.chunk][phase :: held.phases]
                if on:
                    at = (self.writing + word) % held.ring
                    self.memory[at, row + channel, group * len(elements) :][: len(elements)] = elements
            last, end = number == held.words - 1, number % held.period == held.period - 1
            done = held.last_done if last else held.done if end else 0
            self.full += done
            self.writing += done * held.width
            self.written += 1

    def read(self, image: int, block: int, strip: int, tap: int, channel: int) -> np.ndarray:
        held = self.held
        from0, to0, from1, to1, word, row, kind = held.taps[tap]
        place = (image * held.blocks + block) * held.width + strip + word
        both = [self.memory[place % held.ring, row + channel] * (from0 <= block < to0)]
        both.append(self.memory[(place + 1) % held.ring, row + channel] * (from1 <= block < to1) * held.pair)
        lanes = np.concatenate([np.zeros(self.lanes, int), *both])
        at = np.arange(self.lanes) + held.shifts[kind] + self.lanes
        return np.where(held.masks[strip, kind], lanes[np.clip(at, 0, len(lanes) - 1)], 0)


def check(source: Stream, result: Stream, taps: tuple[tuple[int, int], ...], stride: tuple[int, int]) -> None:
    held = lines(source, result, taps, stride)
    images = [np.random.default_rng(i).integers(1, 1000, source.shape) for i in range(2)]
    ring = Ring(held, source.shape[0], result.lanes, [word for image in images for word in words(image, source)])
    for number, block in product(range(2), range(held.reads)):
        ring.fill()
        assert ring.full >= number * held.blocks + min(block + held.after + 1, held.blocks)
        for strip, tap, channel in product(range(held.strips), range(len(taps)), range(source.shape[0])):
            found = ring.read(number, block, strip, tap, channel)
            for lane, element in enumerate(found):
                place = (block * held.strips + strip) * result.lanes + lane
                y, x = divmod(place, result.pitch)
                if x >= result.shape[2] or y >= result.shape[1]:
                    continue
                row, column = y * stride[0] + taps[tap][0], x * stride[1] + taps[tap][1]
                inside = 0 <= row < source.shape[1] and 0 <= column < source.shape[2]
                assert element == (images[number][channel, row, column] if inside else 0)
        ring.freed += 1 if block + 1 < held.reads else held.blocks - held.reads + 1


def test_windows_read_their_elements() -> None:
    chosen = random.Random(5)
    checked, shapes = 0, set()
    while checked < 150:
        kernel, pad = chosen.choice(list(PLACES.values()))
        stride = chosen.choice([(1, 1), (1, 1), (2, 2), (2, 1), (3, 3)])
        height, width = chosen.randint(kernel, 9), chosen.randint(kernel, 9)
        taps = tuple(product(range(-pad, kernel - pad), repeat=2))
        out = [(n + 2 * pad - kernel) // s + 1 for n, s in zip((height, width), stride, strict=True)]
        same = stride == (1, 1) and out == [height, width]
        pitch = width + chosen.choice([0, 0, 1, 3])
        out_pitch = pitch if same else out[1] + chosen.choice([0, 0, 1, 2])
        source = Stream((2, height, width), pitch, *lanes(chosen, pitch, height))
        result = Stream((1, *out), out_pitch, *lanes(chosen, out_pitch, out[0]))
        if allowed(source, result, taps, stride):
            check(source, result, taps, stride)
            checked += 1
            shapes.add((source.rows > 1, result.rows > 1, stride[0] > 1))
    assert len(shapes) == 8


def lanes(chosen: random.Random, pitch: int, height: int) -> tuple[int, int]:
    """Lanes and the elements of a beat."""
    options = [n for n in range(1, pitch + 1) if pitch % n == 0] + [
        pitch * n for n in range(2, height + 1) if height % n == 0
    ]
    found = chosen.choice(options)
    return found, chosen.choice([n for n in range(1, found + 1) if found % n == 0])
