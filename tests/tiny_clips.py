"""Small clips made on the spot: any frame rate or times, rotation, size, sound."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

CLICK_S = (0.2, 0.7)
"""Times at which the sound of a clip clicks, after the sound's own start."""


@dataclass(frozen=True)
class Sound:
    """Silence with clicks: codec, length, and when it begins on the clip's clock."""

    seconds: float
    codec: str = "aac"
    rate: int = 48000
    start_s: float = 0.0


@dataclass(frozen=True)
class Clip:
    """What to make; times_s None is an even rate, keys_every 0 leaves the key frames to the encoder."""

    frames: int = 30
    fps: Fraction = Fraction(25)
    size: tuple[int, int] = (64, 48)
    times_s: tuple[float, ...] | None = None
    rotation: float | None = None
    sound: Sound | None = None
    transfer: int = 0
    lossless: bool = False
    keys_every: int = 0
    more_sound: tuple[Sound, ...] = ()


def gray_of(number: int) -> int:
    """Brightness that tells a frame from its neighbours."""
    return 40 + (number * 7) % 160


def picture(number: int, width: int, height: int) -> np.ndarray:
    """A frame whose top left quarter is blue, on gray that tells its number."""
    image = np.full((height, width, 3), gray_of(number), np.uint8)
    image[: height // 2, : width // 2] = (250, 20, 20)
    return image


def make_clip(path: Path, clip: Clip, draw: Callable[[int, int, int], np.ndarray] = picture) -> Path:
    """Encode a clip and return its path."""
    with av.open(str(path), "w") as container:
        options = {"crf": "0", "preset": "ultrafast"} if clip.lossless else {"crf": "8", "preset": "ultrafast"}
        if clip.keys_every:
            options |= {"preset": "medium", "x264-params": f"keyint={clip.keys_every}:scenecut=0:bframes=3:b-adapt=0"}
        stream = container.add_stream("libx264", rate=clip.fps, options=options)
        stream.width, stream.height = clip.size
        stream.pix_fmt = "yuv444p" if clip.size[0] % 2 or clip.size[1] % 2 else "yuv420p"
        tick = Fraction(1, 90_000) if clip.times_s else 1 / clip.fps
        stream.codec_context.time_base = tick
        if clip.transfer:
            stream.codec_context.color_trc = clip.transfer
        if clip.rotation is not None:
            stream.set_display_rotation(clip.rotation)
        sounds = [sound for sound in (clip.sound, *clip.more_sound) if sound]
        tracks = [(container.add_stream(sound.codec, rate=sound.rate, layout="stereo"), sound) for sound in sounds]
        for number in range(clip.frames):
            frame = av.VideoFrame.from_ndarray(draw(number, *clip.size), "bgr24")
            frame.pts = round(clip.times_s[number] / tick) if clip.times_s else number
            frame.time_base = tick
            container.mux(stream.encode(frame))
        for audio, sound in tracks:
            for part in _sound_frames(sound):
                container.mux(audio.encode(part))
            container.mux(audio.encode(None))
        container.mux(stream.encode(None))
    return path


def _sound_frames(sound: Sound):
    samples = np.zeros((2, round(sound.seconds * sound.rate)), np.float32)
    for click_s in CLICK_S:
        at = round(click_s * sound.rate)
        samples[:, at : at + 200] = 0.9
    for at in range(0, samples.shape[1], 1024):
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[:, at : at + 1024]), "fltp", layout="stereo")
        frame.sample_rate = sound.rate
        frame.time_base = Fraction(1, sound.rate)
        frame.pts = at + round(sound.start_s * sound.rate)
        yield frame


def clicks_of(path: Path) -> list[float]:
    """Times at which the sound clicks, in seconds after the first video frame."""
    with av.open(str(path)) as container:
        first = next(container.decode(video=0))
        begin = float(first.pts * first.time_base)
    found: list[float] = []
    with av.open(str(path)) as container:
        planar = av.AudioResampler(format="fltp")
        for frame in (part for whole in container.decode(audio=0) for part in planar.resample(whole)):
            loud = np.flatnonzero(np.abs(frame.to_ndarray()).max(axis=0) > 0.4)
            for index in loud:
                time_s = float(frame.pts * frame.time_base) + index / frame.sample_rate - begin
                if not found or time_s - found[-1] > 0.1:
                    found.append(time_s)
    return found
