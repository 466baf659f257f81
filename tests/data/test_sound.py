"""Recordings: their spectrograms, spoken digits by recording and by speaker, spoken words as classes."""

from __future__ import annotations

import io
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metamtl.data import speech_commands
from metamtl.data.fsdd import SpokenDigits, listed
from metamtl.data.places import published
from metamtl.data.sound import BANDS, bands, log_mel
from metamtl.data.source import DataPaths, Split, TaskShape
from metamtl.data.speech_commands import SpeechCommands
from metamtl.errors import MetamtlError, UsageError
from tests.data.image_files import real, unpacked, zipped

SPLITS: tuple[Split, ...] = ("train", "val", "test")


def tone(frequency: float, rate: int = 8000, seconds: float = 0.3, channels: int = 1, width: int = 2) -> bytes:
    time = np.arange(round(seconds * rate)) / rate
    samples = (8000 * np.sin(2 * np.pi * frequency * time)).astype("<i2")
    stream = io.BytesIO()
    with wave.open(stream, "wb") as out:
        out.setnchannels(channels)
        out.setsampwidth(width)
        out.setframerate(rate)
        out.writeframes(samples.tobytes())
    return stream.getvalue()


def spoken(speakers: tuple[str, ...] = ("ann", "bob", "cy"), numbers: int = 12) -> dict[str, bytes]:
    """Each digit of each speaker a tone of its own; number is its length."""
    return {
        f"recordings/{digit}_{speaker}_{n}.wav": tone(300 + 250 * digit + 70 * who, seconds=0.1 + 0.02 * n)
        for digit in range(10)
        for who, speaker in enumerate(speakers)
        for n in range(numbers)
    }


@pytest.mark.parametrize("rate", [8000, 16000])
def test_a_tone_is_loudest_in_its_band_at_any_rate(rate: int) -> None:
    spectrogram = log_mel(tone(1000, rate), "made")
    assert spectrogram.shape == (1, BANDS, 98) and spectrogram.dtype == np.float32
    assert abs(spectrogram.mean()) < 1e-5 and abs(spectrogram.std() - 1) < 1e-5
    frequencies = np.fft.rfftfreq(512, 1 / rate)
    holds = bands(rate, 512)[np.abs(frequencies - 1000).argmin()].argmax()
    assert abs(int(spectrogram[0, :, :25].mean(1).argmax()) - int(holds)) <= 1
    assert spectrogram[0, holds, 60:].max() < spectrogram[0, holds, :25].min()  # silence follows the clip


def test_loudness_hardly_counts_and_a_long_clip_is_cut() -> None:
    drawn = np.random.default_rng(0).integers(-8000, 8000, 8000)
    header = tone(700, seconds=1.0)[:44]
    loud, soft = (header + (drawn // by).astype("<i2").tobytes() for by in (1, 4))
    assert np.abs(log_mel(loud, "a") - log_mel(soft, "b")).mean() < 0.01
    np.testing.assert_array_equal(log_mel(tone(700, seconds=2.0), "a"), log_mel(tone(700, seconds=1.0), "c"))


def test_bands_overlap_to_one_between_the_outermost_middles() -> None:
    weights = bands(16000, 4096)
    inside = weights.sum(1)[(np.fft.rfftfreq(4096, 1 / 16000) > 100) & (np.fft.rfftfreq(4096, 1 / 16000) < 3700)]
    np.testing.assert_allclose(inside, 1, atol=1e-9)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"nothing", "cannot be read"),
        (b"", "cannot be read"),
        (tone(500, channels=2), "is not mono of 16 bits"),
        (tone(500, width=1), "is not mono of 16 bits"),
        (tone(500, rate=4000), "has 4000 samples a second"),
        (tone(500, seconds=0), "is empty"),
    ],
)
def test_another_recording_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(MetamtlError, match=said):
        log_mel(data, "made")


def digits(folder: Path, **changes: Any) -> SpokenDigits:
    options = {"target": "digit", "split": "recording", "split_seed": 0, **changes}
    return SpokenDigits(paths=DataPaths(folder, folder / "cache"), **options)


def test_digits_and_speakers_of_the_same_recordings(tmp_path: Path) -> None:
    zipped(tmp_path / "fsdd" / "recordings.zip", spoken())
    digit, speaker = digits(tmp_path), digits(tmp_path, target="speaker")
    assert [len(digit.items(split)) for split in SPLITS] == [60, 150, 150]
    recordings = listed(tmp_path / "fsdd" / "recordings.zip")
    for split, numbers in (("train", {10, 11}), ("val", {5, 6, 7, 8, 9}), ("test", {0, 1, 2, 3, 4})):
        items = digit.items(split)  # type: ignore[arg-type]
        assert np.array_equal(items, speaker.items(split))  # type: ignore[arg-type]
        assert {recordings[item].number for item in items} == numbers
        assert [recordings[item].digit for item in items] == list(digit.targets(items))
        names = [speaker.output_names[label] for label in speaker.targets(items)]
        assert [recordings[item].speaker for item in items] == names
    files = spoken()
    for item in (0, 100, 359):
        found = np.asarray(digit.gather(np.array([item])))[0]
        assert np.array_equal(found, log_mel(files[recordings[item].member], "made"))


def test_a_speaker_who_is_held_out_is_in_one_split(tmp_path: Path) -> None:
    unpacked(tmp_path, spoken(numbers=2))
    source = digits(tmp_path, split="speaker")
    recordings = listed(tmp_path / "recordings")
    heard = [{recordings[item].speaker for item in source.items(split)} for split in SPLITS]
    assert [len(one) for one in heard] == [1, 1, 1] and len(set.union(*heard)) == 3
    others = [digits(tmp_path, split="speaker", split_seed=seed).items("test")[0] for seed in range(8)]
    assert len(set(others)) > 1
    with pytest.raises(UsageError, match=r"take data\.split=recording"):
        digits(tmp_path, split="speaker", target="speaker")


def test_recordings_that_are_nowhere_or_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"data=fsdd needs the folder `recordings`.* https://github\.com/Jakobovski"):
        digits(tmp_path)
    zipped(tmp_path / "recordings.zip", {"recordings/hello.wav": tone(500)})
    with pytest.raises(MetamtlError, match=r"no recordings named DIGIT_SPEAKER_NUMBER\.wav"):
        digits(tmp_path)


def test_words_are_classes_and_speakers_are_counted(tmp_path: Path) -> None:
    lists = {split: words.split() for split, words in published("speech_commands.json").items()}
    assert [len(lists[split]) for split in SPLITS] == [18, 6, 6] and len(set().union(*lists.values())) == 30
    said = [*lists["train"][:2], *lists["val"][:2], *lists["test"][:2]]
    files = {
        f"speech_commands_v0.01/{word}/a{n}_nohash_0.wav": tone(400 + 90 * i + 30 * n)
        for i, word in enumerate(said)
        for n in range(3)
    }
    files |= {f"speech_commands_v0.01/{said[-1]}/only_nohash_{n}.wav": tone(333) for n in range(2)}
    files["speech_commands_v0.01/_background_noise_/pink.wav"] = tone(99)
    zipped(tmp_path / "speech_commands_mini.zip", files)
    source = SpeechCommands(paths=DataPaths(tmp_path, tmp_path / "cache"))
    assert {split: list(source.class_names(split)) for split in SPLITS} == {s: lists[s][:2] for s in SPLITS}
    assert source.facts["speakers"] == {"train": 3, "val": 3, "test": 4, "test_in_train": 3}
    (tasks,) = source.episodes("test", TaskShape(2, 1, 2), np.arange(3), key=0)
    assert tasks.support_x.shape == (3, 2, 1, BANDS, 98) and tasks.support_x.dtype == np.float32


def test_words_that_are_nowhere_are_downloaded_by_their_sum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def fetch(url: str, target: Path, **options: Any) -> Path:
        asked.append((url, options["sha256"]))
        raise MetamtlError("no network")

    monkeypatch.setattr(speech_commands, "fetch", fetch)
    with pytest.raises(MetamtlError, match="no network"):
        SpeechCommands(paths=DataPaths(tmp_path, tmp_path / "cache"))
    assert asked == [(speech_commands.URL, speech_commands.SHA256)]


def test_real_recordings_have_the_published_counts(tmp_path: Path) -> None:
    path = real("fsdd") / "recordings.zip"
    recordings = listed(path)
    assert len(recordings) == 3000 and len({one.speaker for one in recordings}) == 6
    assert {(one.digit, one.speaker) for one in recordings if one.number == 49} == {
        (one.digit, one.speaker) for one in recordings
    }
    words = SpeechCommands(paths=DataPaths(real("speech_commands_mini").parent, tmp_path))
    assert [words.class_count(split) for split in SPLITS] == [18, 6, 6]
    assert sum(len(words.items(split)) for split in SPLITS) == 300
