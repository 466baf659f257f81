"""From a recording to its log-mel spectrogram, of one shape whatever the recording's rate and length.

Windows of 25 ms every 10 ms, weighted by Hann's; the powers of their spectra in triangular bands that are equally wide
on the mel scale, 2595 log10(1 + f / 700) (O'Shaughnessy 1987, Speech Communication); their logarithm, brought to mean 0
and deviation 1 over the clip, so that loudness hardly counts.
"""

from __future__ import annotations

import io
import wave
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metamtl.errors import MetamtlError

SECONDS = 1.0  # a clip is cut to this, or silence follows
WINDOW, HOP = 0.025, 0.010  # seconds
BANDS = 40
LOWEST, HIGHEST = 20.0, 4000.0  # Hz; recordings of 8 kHz hold nothing above
FLOOR = 1e-6  # of a power, so that silence has a logarithm; full scale is 1
MAX_SECONDS = 60.0

Floats = NDArray[np.float64]


def log_mel(data: bytes, where: str) -> NDArray[np.float32]:
    """The spectrogram [1, BANDS, frames] of the wav file `data`; `where` names it in the MetamtlError it may raise."""
    samples, rate = _samples(data, where)
    if rate < 2 * HIGHEST:
        raise MetamtlError(f"The recording {where} has {rate} samples a second, fewer than {2 * HIGHEST:.0f}.")
    length = round(SECONDS * rate)
    clip = np.zeros(length)
    clip[: len(samples)] = samples[:length]
    window, hop = round(WINDOW * rate), round(HOP * rate)
    frames = np.lib.stride_tricks.sliding_window_view(clip, window)[::hop]
    size = 1 << (window - 1).bit_length()
    powers = np.abs(np.fft.rfft(frames * np.hanning(window), size)) ** 2 / window
    levels = np.log(powers @ bands(rate, size) + FLOOR)
    deviation = float(levels.std())
    spectrogram: Floats = (levels - levels.mean()) / (deviation or 1.0)
    return spectrogram.T[None].astype(np.float32)


@lru_cache(maxsize=4)
def bands(rate: int, size: int) -> Floats:
    """The weight of each of a spectrum's frequencies in each band, [size // 2 + 1, BANDS]."""
    frequencies = np.fft.rfftfreq(size, 1 / rate)
    corners = _hertz(np.linspace(_mel(LOWEST), _mel(HIGHEST), BANDS + 2))
    low, middle, high = corners[:-2], corners[1:-1], corners[2:]
    rising = (frequencies[:, None] - low) / (middle - low)
    falling = (high - frequencies[:, None]) / (high - middle)
    return np.minimum(rising, falling).clip(min=0)


def preprocessing() -> dict[str, Any]:
    """What `log_mel` does; it goes into the result."""
    return {
        "spectrogram": "log-mel, each clip of mean 0 and deviation 1",
        "seconds": SECONDS,
        "window": WINDOW,
        "hop": HOP,
        "bands": BANDS,
        "hertz": [LOWEST, HIGHEST],
    }


def _samples(data: bytes, where: str) -> tuple[Floats, int]:
    """The samples in [-1, 1) of a mono 16-bit recording, and how many there are a second."""
    try:
        with wave.open(io.BytesIO(data)) as stream:
            layout = stream.getnchannels(), stream.getsampwidth(), stream.getframerate()
            content = stream.readframes(min(stream.getnframes(), round(MAX_SECONDS * layout[2])))
    except (wave.Error, EOFError, ValueError) as error:
        raise MetamtlError(f"The recording {where} cannot be read ({error or 'it is cut short'}).") from error
    if layout[:2] != (1, 2):
        raise MetamtlError(f"The recording {where} is not mono of 16 bits: convert it.")
    samples = np.frombuffer(content[: len(content) // 2 * 2], dtype="<i2")
    if not len(samples):
        raise MetamtlError(f"The recording {where} is empty.")
    return samples / 32768.0, layout[2]


def _mel(frequency: float) -> float:
    return float(2595 * np.log10(1 + frequency / 700))


def _hertz(mel: Floats) -> Floats:
    return np.asarray(700 * (10 ** (mel / 2595) - 1))
