from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backend.core.errors import BadInputError
from backend.pipeline.frame_source import ClipReader, require_same_clip
from backend.storage.video import decode, probe
from tests.tiny_clips import Clip, make_clip

TIMES = tuple(float(t) for t in np.cumsum([0, *([0.04, 0.08, 0.2] * 30)]))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Uneven times over ten seconds, on its side."""
    made = Clip(frames=len(TIMES), times_s=TIMES, rotation=90.0, keys_every=12)
    return make_clip(tmp_path_factory.mktemp("clip") / "data_dst.mp4", made)


def test_frames_are_those_of_a_whole_decoding_in_any_order(clip: Path) -> None:
    whole = list(decode(clip))
    reader = ClipReader(clip)
    for index in (0, 1, 2, 5, 80, 81, 3, 3, len(whole) - 1, 40):
        assert np.array_equal(reader.read(whole[index].time_s, "x"), whole[index].frame_bgr), index


def test_a_frame_the_clip_does_not_have_is_named(clip: Path) -> None:
    reader = ClipReader(clip)
    for time_s in (0.06, 99.0):
        with pytest.raises(BadInputError, match=r"no frame at .* s, and the picture of frame 00017 is gone"):
            reader.read(time_s, "00017")
    assert reader.read(0.04, "00002").shape == probe_shape(clip)
    with pytest.raises(BadInputError, match="00003 is gone, and there is no clip"):
        ClipReader(None).read(0.0, "00003")


def probe_shape(clip: Path) -> tuple[int, int, int]:
    info = probe(clip)
    return info.height, info.width, 3


def test_another_clip_is_refused(clip: Path, tmp_path: Path) -> None:
    require_same_clip(clip, probe(clip))
    other = make_clip(tmp_path / "data_dst.mp4", Clip(frames=5, rotation=90.0))
    with pytest.raises(BadInputError, match="not the clip the frames came from"):
        require_same_clip(other, probe(clip))
