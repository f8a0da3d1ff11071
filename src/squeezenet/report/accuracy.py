"""The page of `evaluate --report F.html`, and RUN/report.html: which classes and images a model gets wrong.

>>> write_report(Path("report.html"), "birds.sqz", answers, examples, model.labels, "held out")     # doctest: +SKIP
"""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from squeezenet.data.evaluate import Answers
from squeezenet.data.examples import Examples, ImageSource
from squeezenet.data.score import score
from squeezenet.errors import ImageError
from squeezenet.printable import printable
from squeezenet.report import page
from squeezenet.runtime.image import open_image
from squeezenet.version import __version__

MATRIX = 30
"""Classes up to which the confusion matrix is shown whole; beyond, its largest entries are."""

CONFUSIONS = 40  # entries that are listed then
CLASSES = 200  # rows of the table of classes, the least accurate first
MISTAKES = 36  # images that are shown
SIDE = 160  # pixels of a thumbnail


def write_report(
    path: Path, title: str, answers: Answers, examples: Examples, labels: Sequence[str], about: str
) -> None:
    """One self-contained HTML file: accuracy of each class, the confusion matrix, and the most confident mistakes.

    `labels` are the names of the model's classes, `about` says which images were judged. Every text is escaped.
    """
    total = answers.score
    names = [printable(label) for label in labels]
    page.write_page(
        path,
        f"{printable(title)}: top-1 {total.top1:.1f}%",
        [
            page.text(
                f"{total.shown()} of {total.images:,} images ({about}). What follows ± is half of the 95% confidence "
                "interval (Wilson's); where that leads beyond 0 or 100%, the interval itself is given."
            ),
            *([] if len(names) <= 5 else [page.text(f"The label is among the first five for {total.top5:.1f}%.")]),
            *_classes(answers, names),
            *_confusions(answers, names),
            *_mistakes(answers, examples, names),
        ],
        footer=f"squeezenet {__version__}",
    )


def _classes(answers: Answers, names: Sequence[str]) -> list[page.Html]:
    rows = []
    for label in np.unique(answers.labels):
        given = answers.predicted[answers.labels == label]
        right, of_class = int((given == label).sum()), score(int((given == label).sum()), 0, len(given))
        wrong, counts = np.unique(given[given != label], return_counts=True)
        order = np.argsort(-counts, kind="stable")[:3]
        taken = ", ".join(f"{names[wrong[i]]} ({counts[i]})" for i in order)
        rows.append((of_class.top1, [names[label], f"{len(given):,}", f"{right:,}", of_class.shown(), taken]))
    rows.sort(key=lambda row: row[0])
    cut = f" The {CLASSES} least accurate of {len(rows):,}." if len(rows) > CLASSES else ""
    return [
        page.heading("Classes"),
        page.text(f"The least accurate first.{cut}"),
        page.table(
            ["class", "images", "right", "accuracy", "most often taken for"], [row for _, row in rows[:CLASSES]]
        ),
    ]


def _confusions(answers: Answers, names: Sequence[str]) -> list[page.Html]:
    involved = np.union1d(answers.labels, answers.predicted)
    if len(involved) <= MATRIX:
        counts = np.zeros((len(involved), len(involved)), int)
        np.add.at(counts, (np.searchsorted(involved, answers.labels), np.searchsorted(involved, answers.predicted)), 1)
        return [
            page.heading("Confusion matrix"),
            page.text("A row for each true class, a column for each answer."),
            page.matrix([names[label] for label in involved], counts.tolist()),
        ]
    wrong = answers.labels != answers.predicted
    pairs, times = np.unique(np.stack([answers.labels[wrong], answers.predicted[wrong]]), axis=1, return_counts=True)
    order = np.argsort(-times, kind="stable")[:CONFUSIONS]
    rows = [[names[pairs[0, i]], names[pairs[1, i]], f"{times[i]:,}"] for i in order]
    return [page.heading("Most frequent confusions"), page.table(["true class", "answer", "images"], rows)]


def _mistakes(answers: Answers, examples: Examples, names: Sequence[str]) -> list[page.Html]:
    wrong = np.flatnonzero(answers.labels != answers.predicted)
    if not len(wrong):
        return [page.heading("Mistakes"), page.text("There are none.")]
    worst = wrong[np.argsort(-answers.probability[wrong], kind="stable")][:MISTAKES]
    shown = []
    for index in worst:
        source = examples.images[int(answers.indices[index])]
        truth, answer = names[answers.labels[index]], names[answers.predicted[index]]
        said = f"{answer}, {answers.probability[index]:.0%}"
        shown.append((_jpeg(source), [f"is {truth}", f"answer: {said}", *_name(source)]))
    return [
        page.heading("Most confident mistakes"),
        page.text(f"{len(shown)} of {len(wrong):,} images with a wrong answer. Some labels may be wrong instead."),
        page.gallery(shown),
    ]


def _jpeg(source: ImageSource) -> bytes:
    try:
        image = open_image(source)
    except ImageError:  # it could be read a moment ago
        return b""
    image.thumbnail((SIDE, SIDE))
    if max(image.size) < SIDE:  # small images are shown in their own pixels
        scale = SIDE // max(image.size)
        image = image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)
    file = io.BytesIO()
    image.convert("RGB").save(file, "JPEG", quality=80)
    return file.getvalue()


def _name(source: ImageSource) -> list[str]:
    return [printable(f"{source.parent.name}/{source.name}")] if isinstance(source, Path) else []
