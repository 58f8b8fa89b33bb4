"""The formats of tables: rows, resuming after a kill, and files that are not tables."""

import csv
import io
import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from faceattr_aio.cli import parquet as parts
from faceattr_aio.cli.tables import Row, open_table
from faceattr_aio.errors import StartError
from faceattr_aio.pipelines.faces import FaceAttributes

assert FaceAttributes.result
FOUND: dict[str, Any] = FaceAttributes.result.model_config["json_schema_extra"]["example"]  # type: ignore[index, assignment]
AWKWARD = 'a "b", c\r\nd;é\x00'
ROWS: list[Row] = [
    {"file": "a.jpg", **FOUND},
    {"file": AWKWARD, "error": {"type": "urn:faceattr:no-image", "detail": 'It is\nempty, "they" say.'}},
    {"file": "b.jpg", **FOUND, "faces": []},
]
KINDS = [".jsonl", ".csv", ".parquet"]


def read_jsonl(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def read_csv(path: Path) -> list[Row]:
    rows = list(csv.DictReader(io.StringIO(path.read_bytes().decode(), newline="")))
    return [
        {
            "file": row["file"],
            **({"faces": json.loads(row["found"])} if row["found"] else {}),
            **({"error": {"type": row["error"], "detail": row["detail"]}} if row["error"] else {}),
        }
        for row in rows
    ]


def read_parquet(path: Path) -> list[Row]:
    rows = parquet.read_table(path).to_pylist()
    return [
        {
            "file": row["file"],
            **({"faces": row["faces"]} if row["faces"] is not None else {}),
            **({"error": {"type": row["error"], "detail": row["detail"]}} if row["error"] else {}),
        }
        for row in rows
    ]


READERS: dict[str, Callable[[Path], list[Row]]] = {".jsonl": read_jsonl, ".csv": read_csv, ".parquet": read_parquet}


def resume(path: Path, *rows: Row) -> list[tuple[str, bool]]:
    """Open the table and add rows. Return the rows that it had before."""
    with closing(open_table(path)) as table:
        before = list(table.resume())
        for row in rows:
            table.add(row)
    return before


def names(rows: list[Row]) -> list[tuple[str, bool]]:
    return [(row["file"], "error" in row) for row in rows]


@pytest.mark.parametrize("kind", KINDS)
def test_reads_the_rows_that_were_written_and_adds_further_ones(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"table{kind}"
    assert resume(path, *ROWS[:2]) == []
    assert resume(path, *ROWS[2:]) == names(ROWS[:2])
    assert resume(path) == names(ROWS)
    read = READERS[kind](path)
    assert names(read) == names(ROWS)
    assert read[1]["error"] == ROWS[1]["error"]
    (face,), (expected,) = read[0]["faces"], FOUND["faces"]
    assert (face["box"], face["age"]["bracket"], face["landmarks"]) == (
        expected["box"],
        expected["age"]["bracket"],
        expected["landmarks"],
    )
    assert face["gender"]["probability"] == pytest.approx(expected["gender"]["probability"])
    assert read[2]["faces"] == []


@pytest.mark.parametrize("kind", [".jsonl", ".csv"])
def test_removes_a_row_that_is_cut_at_any_byte(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"table{kind}"
    resume(path, *ROWS)
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        before = resume(path)
        assert before == names(ROWS)[: len(before)]
        resume(path, *ROWS[len(before) :])
        assert path.read_bytes() == whole


@pytest.mark.parametrize("kind", [".jsonl", ".csv"])
def test_a_row_is_in_the_file_as_soon_as_it_is_added(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"table{kind}"
    with closing(open_table(path)) as table:
        list(table.resume())
        for number, row in enumerate(ROWS):
            table.add(row)
            assert names(READERS[kind](path)) == names(ROWS[: number + 1])


def test_removes_a_part_that_is_not_complete(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    resume(path, ROWS[0])
    (path / "part-00007.parquet.new").write_bytes(b"PAR1 and so on")
    assert resume(path, *ROWS[1:]) == names(ROWS[:1])
    assert names(read_parquet(path)) == names(ROWS)
    assert sorted(part.name for part in path.iterdir()) == ["part-00000.parquet", "part-00001.parquet"]


def test_writes_a_part_at_its_maximum_size_or_age(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "table.parquet"
    monkeypatch.setattr(parts, "_MAX_ROWS", 2)
    with closing(open_table(path)) as table:
        list(table.resume())
        for row in ROWS:
            table.add(row)
        assert names(read_parquet(path)) == names(ROWS[:2])
        monkeypatch.setattr(parts, "_MAX_AGE_S", 0.0)
        table.add(ROWS[0])
        assert len(read_parquet(path)) == 4


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("notes.jsonl", "my notes"),
        ("notes.jsonl", "my notes\n"),
        ("notes.jsonl", '{"other": 1}\n'),
        ("notes.jsonl", "[]\n"),
        ("notes.csv", "name,age\r\n"),
        ("notes.csv", "name,age\nme,30\n"),
        ("notes.csv", "one line"),
    ],
)
def test_does_not_change_a_file_that_is_not_a_table(name: str, content: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content.encode())
    with pytest.raises(StartError, match="something other than rows"):
        resume(path, ROWS[0])
    assert path.read_bytes() == content.encode()


def test_does_not_change_a_folder_that_is_not_a_table(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").touch()
    with pytest.raises(StartError, match="is a file"):
        resume(tmp_path / "a.parquet")
    (tmp_path / "b.parquet").mkdir()
    (tmp_path / "b.parquet" / "part-00000.parquet").write_text("else")
    with pytest.raises(StartError, match="not written by this program"):
        resume(tmp_path / "b.parquet", ROWS[0])


@pytest.mark.parametrize("kind", KINDS)
def test_refuses_a_table_that_another_process_writes(kind: str, tmp_path: Path) -> None:
    with closing(open_table(tmp_path / f"table{kind}")), pytest.raises(StartError, match="another process"):
        open_table(tmp_path / f"table{kind}")


@pytest.mark.parametrize(
    ("name", "message"), [("table.xlsx", "use .parquet, .jsonl or .csv"), ("nowhere/table.csv", "cannot be written")]
)
def test_refuses_a_table_that_cannot_be_written(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(StartError, match=message):
        open_table(tmp_path / name)
