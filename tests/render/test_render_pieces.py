"""Maps of pieces: every pixel has the number of its piece, and lines run around the pieces that are shown."""

from __future__ import annotations

import base64
import io
import re
from typing import Any

import numpy as np
import torch
from PIL import Image
from render_records import attribution, explanation, geometry, photo

from seewhy.core.attribution import Attribution, merge
from seewhy.render import load_explanation, plot_attribution
from seewhy.render.files import save_explanation
from seewhy.render.panels import attribution_panels, ground_of
from seewhy.render.pieces import LINE, OPACITY, outline
from seewhy.render.report import report_html

LABELS = torch.arange(16)[:, None] // 8 * 2 + torch.arange(16) // 8  # four squares of 8 x 8
WEIGHTS = torch.tensor([2.0, 0.0, -1.0, 0.5])


def pieces(**changes: Any) -> Attribution:
    facts = {"method": "lime", "title": "LIME", "signed": True, "segments": LABELS[None], "segment_values": (WEIGHTS,)}
    return attribution(WEIGHTS[LABELS][None], **(facts | changes))


def test_lines_run_where_a_shown_piece_ends_and_nowhere_else() -> None:
    view = np.zeros((16, 16, 3), dtype=np.uint8)
    (panel,) = attribution_panels(pieces(), rows=[0], grounds=[ground_of(None, view)])
    assert panel.drawn is not None
    assert panel.lines is not None
    np.testing.assert_array_equal(panel.drawn, WEIGHTS[LABELS].numpy())
    wanted = np.zeros((16, 16), dtype=bool)
    wanted[:, 7] = wanted[7] = True
    np.testing.assert_array_equal(panel.lines, wanted)
    # Two neighbours that are not shown have no line between them.
    shown = torch.tensor([0.0, 0.0, 0.0, 3.0])[LABELS][None]
    alone = attribution(shown, segments=LABELS[None])
    (one,) = attribution_panels(alone, rows=[0], grounds=[ground_of(None, view)])
    assert one.lines is not None
    assert not one.lines[:7].any()
    assert one.lines[7, 8:].all()
    assert one.lines[8:, 7].all()


def test_on_the_photograph_no_number_is_mixed_with_its_neighbours() -> None:
    labels = (torch.arange(16) // 5).expand(16, 16)  # their ends fall between pixels of the photograph
    values, where = WEIGHTS[labels][None], (geometry(),)
    sharp, mixed = (
        attribution_panels(attribution(values, geometry=where, **more), rows=[0], grounds=[ground_of(photo())])[0].drawn
        for more in ({"segments": labels[None]}, {})
    )
    assert sharp is not None
    assert mixed is not None
    np.testing.assert_array_equal(np.isnan(sharp), np.isnan(mixed))
    nearest = np.rint((np.arange(12) + 0.5) * 16 / 12 - 0.5).astype(int)  # 16 x 16 became 12 x 12
    np.testing.assert_array_equal(sharp[:, 3:15], values[0].numpy()[np.ix_(nearest, nearest)])
    assert len(np.unique(mixed[:, 3:15])) > len(np.unique(sharp[:, 3:15]))


def test_pieces_as_small_as_pixels_have_no_lines() -> None:
    every = torch.arange(256).reshape(1, 16, 16)
    (panel,) = attribution_panels(pieces(segments=every), rows=[0], grounds=[ground_of(None)])
    assert panel.lines is not None
    assert not panel.lines.any()


def test_a_line_lets_what_is_below_it_shine_through() -> None:
    below = np.full((2, 2, 3), 100, dtype=np.uint8)
    drawn = outline(below, np.array([[True, False], [False, False]]))
    assert drawn[0, 0].tolist() == [round((1 - OPACITY) * 100 + OPACITY * part) for part in LINE]
    assert (drawn[1] == 100).all()
    assert (below == 100).all()
    assert outline(below, None) is below


def test_page_and_figure_show_the_lines_and_files_keep_the_pieces(tmp_path: Any) -> None:
    record = pieces(geometry=(geometry(),))
    told = explanation(attributions={("lime", "tabby"): record}, targets={}, errors={}, findings={}, titles={})
    (uri,) = re.findall(r'<img class="lines" alt="" src="data:image/png;base64,([^"]+)"', report_html([told]))
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri))).convert("RGBA"))
    (panel,) = attribution_panels(record, rows=[0], grounds=[ground_of(photo())])
    np.testing.assert_array_equal(image[..., 3], np.where(panel.lines, round(255 * OPACITY), 0))
    pictures = []
    for segments in (record.segments, torch.zeros_like(LABELS)[None]):
        figure = plot_attribution(pieces(segments=segments))
        figure.canvas.draw()
        pictures.append(np.asarray(figure.canvas.buffer_rgba()).copy())
    assert (pictures[0] != pictures[1]).any()
    for name in ("kept.npz", "kept.json"):
        save_explanation(told, tmp_path / name)
        loaded = load_explanation(tmp_path / name).attributions["lime", "tabby"]
        assert torch.equal(loaded.segments, LABELS[None])
        assert torch.equal(loaded.segment_values[0], WEIGHTS)


def test_rows_with_other_pieces_are_merged() -> None:
    other = pieces(segments=LABELS[None] * 0, segment_values=(torch.ones(1),))
    both = merge([pieces(), other], {})
    assert torch.equal(both.segments, torch.stack([LABELS, LABELS * 0]))
    assert [len(values) for values in both.segment_values] == [4, 1]
