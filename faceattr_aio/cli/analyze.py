"""`faceattr-aio analyze`: analyzes picture files and prints their results in order. A file that fails does not stop the
others.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from faceattr_aio.cli import FAILED, bulk
from faceattr_aio.cli.analyzers import PIPELINE, Analyze, Analyzer, local_analyzer, remote_analyzer
from faceattr_aio.cli.settings import limit_decoder, load
from faceattr_aio.errors import FaceattrError, StartError, StorageUnavailable
from faceattr_aio.pipeline import Outcome, Reply

_MEDIA_TYPES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png"}


def run(parsed: argparse.Namespace) -> int:
    """Return 0 when every file was analyzed, else 1. Raises StartError."""
    config = load(parsed)
    if PIPELINE not in config.pipelines and not parsed.server:
        raise StartError(f"The settings have no pipeline '{PIPELINE}'.")
    if parsed.jobs and not parsed.server:
        raise StartError("--jobs needs a server: set --server.")
    targets = _targets(parsed.files, parsed.annotate)
    if {file.resolve() for file in parsed.files} & {target.resolve() for target in targets if target}:
        raise StartError("The annotated picture would overwrite its source: choose another file.")
    limit_decoder(config.image.max_pixels)
    analyzer = remote_analyzer(parsed.server, config, parsed.jobs) if parsed.server else local_analyzer(config)
    if parsed.out:
        return bulk.run(parsed, analyzer)
    outcomes = asyncio.run(_analyze_all(analyzer, parsed.files, targets))
    for file, outcome in zip(parsed.files, outcomes, strict=True):
        print(json.dumps(bulk.row_of(file, outcome)) if parsed.json else _text(file, outcome))
    return FAILED if any(isinstance(outcome, FaceattrError) for outcome in outcomes) else 0


def _targets(files: Sequence[Path], target: Path | None) -> list[Path] | list[None]:
    """Return the file for the annotated picture of each file. Raises StartError."""
    if target is None:
        return [None] * len(files)
    if len(files) == 1 and not target.is_dir():
        if target.suffix.lower() not in _MEDIA_TYPES:
            raise StartError(f"{target} is not a supported picture type: use .jpg or .png, or an existing folder.")
        return [target]
    targets = [target / f"{file.stem}.annotated.jpg" for file in files]
    if len(set(targets)) < len(targets):
        raise StartError("Two of the files have the same name, so one would overwrite the other: use one folder each.")
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StartError(f"{target} cannot be used as the folder for several pictures: {error.strerror}.") from error
    return targets


async def _analyze_all(analyzer: Analyzer, files: Sequence[Path], targets: Iterable[Path | None]) -> list[Outcome]:
    async with analyzer as (analyze, concurrency):
        slots = asyncio.Semaphore(concurrency)
        with tqdm(total=len(files), unit="file", disable=len(files) == 1, file=sys.stderr) as bar:

            async def analyze_one(file: Path, target: Path | None) -> Outcome:
                async with slots:
                    outcome = await _analyze(analyze, file, target)
                bar.update()
                return outcome

            return await asyncio.gather(*map(analyze_one, files, targets))


async def _analyze(analyze: Analyze, file: Path, target: Path | None) -> Outcome:
    outcome = await analyze(file, _MEDIA_TYPES[target.suffix.lower()] if target else None)
    try:
        if target and isinstance(outcome, Reply) and outcome.body is not None:
            await asyncio.to_thread(target.write_bytes, outcome.body)
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
    position = f"{box['width']}x{box['height']} at {box['x']},{box['y']}"
    years = f"{age['years']:.0f} years ({age['interval'][0]}-{age['interval'][1]})"
    return f"  {gender['label']} ({gender['probability']:.0%}), {years}, {position}"
