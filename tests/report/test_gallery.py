"""Pictures in rows: what is drawn is compared with what was given."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from touchstone.report.plots.gallery import Gallery, Picture, Row, gallery


def picture(change: float | None, *, channels: int = 1, **about: object) -> Picture:
    pixels = np.full((channels, 4, 4), 0.25, "f4")
    if change is None:
        return Picture(pixels, 3)
    moved = np.zeros_like(pixels)
    moved[:, 0, 0] = change
    said: dict = {"confidence": 0.873, "distance": abs(change), "state": "broken"} | about
    return Picture(pixels + moved, 8, change=moved, **said)


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def images(figure: Figure) -> list[np.ndarray]:
    (ax,) = figure.axes
    return [np.asarray(image.get_array()) for image in ax.images]


@pytest.mark.parametrize(("changes", "factor"), [((1.0,), 1), ((0.3, 0.1), 2), ((-0.05,), 20), ((0.0,), 1)])
def test_changes_are_magnified_as_far_as_they_fit(changes: tuple[float, ...], factor: int) -> None:
    assert Row(("a",), (None, *(picture(change) for change in changes))).factor == factor


def test_an_image_its_change_and_what_is_said_of_it() -> None:
    shown = Gallery(("3", "5"), (Row(("originals",), (picture(None), picture(None))),
                                 Row(("std", "pgd"), (picture(0.05), None))))  # fmt: skip
    figure = gallery(shown)
    first, second, attacked, change = images(figure)
    assert first == pytest.approx(np.full((4, 4), 0.25))
    assert second == pytest.approx(first)
    assert attacked[0, 0] == pytest.approx(0.3)
    assert (change[0, 0], change[1, 1]) == pytest.approx((1.0, 0.5)), "20 times 0.05 is white, nothing is grey"
    assert texts(figure)[:2] == ["3", "5"]
    assert {"originals", "std\npgd\nchanges × 20", "8: 87 %\n0.05"} <= set(texts(figure))
    assert len(images(gallery(shown, changes=False))) == 3


def test_what_is_not_broken_or_was_wrong_before_says_so() -> None:
    row = Row(("std",), (picture(0.1, state="not broken"), picture(0.1, state="wrong before")))
    said = texts(gallery(Gallery(("0", "1"), (row,))))
    assert "8: 87 %\nnot broken" in said
    assert "8: 87 %\n0.1\nwrong before" in said


def test_a_row_without_pictures_says_why_and_colours_stay() -> None:
    shown = Gallery(("0",), (Row(("std",), missing="failed in epoch 3"), Row(("adv",), (picture(0.1, channels=3),))))
    figure = gallery(shown)
    assert "failed in epoch 3" in texts(figure)
    assert [image.shape for image in images(figure)] == [(4, 4, 3), (4, 4, 3)]
    assert texts(gallery(Gallery((), (Row(("std",), missing="not part of this run"),))))


def test_many_rows_fit_on_a_page_and_what_changed_nothing_shows_no_change() -> None:
    rows = (Row(("std",), (picture(0.1), picture(0.2))), Row(("adv",), (picture(0.0, state="not broken"), None)))
    tall = gallery(Gallery(("0", "1"), rows * 8))
    assert tall.get_figheight() == pytest.approx(9)
    assert gallery(Gallery(("0", "1"), rows)).get_figheight() < 3
    assert len(images(gallery(Gallery(("0", "1"), rows[1:])))) == 1
