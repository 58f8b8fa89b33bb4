"""`faceattr-aio analyze`: the same work on files, without a server or by one. One bad file does not stop the rest."""

import argparse
import asyncio
import json
import sys
from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from faceattr_aio.cli import FAILED, bulk, flags
from faceattr_aio.cli.bulk import row_of
from faceattr_aio.cli.local import PIPELINE, working
from faceattr_aio.cli.opencv_env import bound_pixels
from faceattr_aio.cli.remote import Ask, asking
from faceattr_aio.config.load import load_config
from faceattr_aio.errors import FaceattrError, StartError, StorageUnavailable
from faceattr_aio.pipeline import Outcome, Reply

_MEDIA_TYPES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png"}


@dataclass(frozen=True)
class _Output:
    """Where the drawn picture of a file goes, and in which form."""

    file: Path
    media_type: str


def run(parsed: argparse.Namespace) -> int:
    """0 when every file was analysed, 1 when one was not. Raises StartError."""
    config, _ = load_config(flags(parsed), parsed.config)
    if PIPELINE not in config.pipelines and not parsed.server:
        raise StartError(f"The settings have no pipeline '{PIPELINE}'.")
    outputs = _outputs(parsed.files, parsed.annotate)
    if {file.resolve() for file in parsed.files} & {output.file.resolve() for output in outputs if output}:
        raise StartError("A picture would be drawn over itself; name another file for it.")
    bound_pixels(config)
    if parsed.jobs and not parsed.server:
        raise StartError("Jobs are a server's: name it with --server.")
    ready = asking(parsed.server, config, parsed.jobs) if parsed.server else working(config)
    if parsed.out:
        return bulk.run(parsed, ready)
    outcomes = asyncio.run(_analyze_all(ready, parsed.files, outputs))
    for file, outcome in zip(parsed.files, outcomes, strict=True):
        print(json.dumps(row_of(file, outcome)) if parsed.json else _text(file, outcome))
    return FAILED if any(isinstance(outcome, FaceattrError) for outcome in outcomes) else 0


def _outputs(files: Sequence[Path], target: Path | None) -> list[_Output | None]:
    if target is None:
        return [None] * len(files)
    if len(files) == 1 and not target.is_dir():
        if target.suffix.lower() not in _MEDIA_TYPES:
            raise StartError(f"{target} names no picture type: end it in .jpg or .png, or name a folder.")
        return [_Output(target, _MEDIA_TYPES[target.suffix.lower()])]
    return [_Output(file, "image/jpeg") for file in _places(files, target)]


def _places(files: Sequence[Path], folder: Path) -> list[Path]:
    """A file of its own in the folder for each file. Raises StartError when that cannot be."""
    places = [folder / f"{file.stem}.annotated.jpg" for file in files]
    if len(set(places)) < len(places):
        raise StartError("Two of the files have the same name and would be drawn into one; take one folder at a time.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StartError(f"{folder} cannot be the folder for several pictures: {error.strerror}.") from error
    return places


async def _analyze_all(
    working: AbstractAsyncContextManager[tuple[Ask, int]], files: Sequence[Path], outputs: Iterable[_Output | None]
) -> list[Outcome]:
    async with working as (ask, at_a_time):
        room = asyncio.Semaphore(at_a_time)
        with tqdm(total=len(files), unit="file", disable=len(files) < 2, file=sys.stderr) as bar:  # noqa: PLR2004  # one is no progress
            return await asyncio.gather(
                *(_analyze(ask, room, file, output, bar) for file, output in zip(files, outputs, strict=True))
            )


async def _analyze(ask: Ask, room: asyncio.Semaphore, file: Path, output: _Output | None, bar: "tqdm[Any]") -> Outcome:
    async with room:
        outcome = await ask(file, output.media_type if output else None)
        bar.update()
    try:
        if output and isinstance(outcome, Reply) and outcome.body is not None:
            output.file.write_bytes(outcome.body)
    except OSError as error:
        return StorageUnavailable(f"The picture cannot be written to {error.filename}: {error.strerror}.")
    return outcome


def _text(file: Path, outcome: Outcome) -> str:
    if isinstance(outcome, FaceattrError):
        return f"{file}: {outcome.detail}"
    lines = [_line(face) for face in outcome.result["faces"]]
    return "\n".join([f"{file}: {len(lines)} face{'' if len(lines) == 1 else 's'}", *lines])


def _line(face: dict[str, Any]) -> str:
    box, age, gender = face["box"], face["age"], face["gender"]
    place = f"{box['width']}x{box['height']} at {box['x']},{box['y']}"
    years = f"{age['years']:.0f} years ({age['interval'][0]}-{age['interval'][1]})"
    return f"  {gender['label']} ({gender['probability']:.0%}), {years}, {place}"
