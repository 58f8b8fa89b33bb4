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


def go_on(path: Path, *rows: Row) -> list[tuple[str, bool]]:
    """Adds rows; what was there before."""
    with closing(open_table(path)) as table:
        before = list(table.resume())
        for row in rows:
            table.add(row)
    return before


def names(rows: list[Row]) -> list[tuple[str, bool]]:
    return [(row["file"], "error" in row) for row in rows]


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_read_as_they_were_written_and_gone_on_with(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"table{kind}"
    assert go_on(path, *ROWS[:2]) == []
    assert go_on(path, *ROWS[2:]) == names(ROWS[:2])
    assert go_on(path) == names(ROWS)
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
def test_what_was_cut_anywhere_is_as_if_it_had_not_been_written(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"table{kind}"
    go_on(path, *ROWS)
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        before = go_on(path)
        assert before == names(ROWS)[: len(before)]
        go_on(path, *ROWS[len(before) :])
        assert path.read_bytes() == whole


@pytest.mark.parametrize("kind", [".jsonl", ".csv"])
def test_a_row_is_there_as_soon_as_it_was_added(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"table{kind}"
    with closing(open_table(path)) as table:
        list(table.resume())
        for number, row in enumerate(ROWS):
            table.add(row)
            assert names(READERS[kind](path)) == names(ROWS[: number + 1])


def test_a_part_that_was_being_written_is_as_if_it_had_not_been(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    go_on(path, ROWS[0])
    (path / "part-00007.parquet.new").write_bytes(b"PAR1 and so on")
    assert go_on(path, *ROWS[1:]) == names(ROWS[:1])
    assert names(read_parquet(path)) == names(ROWS)
    assert sorted(part.name for part in path.iterdir()) == ["part-00000.parquet", "part-00001.parquet"]


def test_a_part_is_written_when_it_is_large_or_old_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "table.parquet"
    monkeypatch.setattr(parts, "_MOST_ROWS", 2)
    with closing(open_table(path)) as table:
        list(table.resume())
        for row in ROWS:
            table.add(row)
        assert names(read_parquet(path)) == names(ROWS[:2])
        monkeypatch.setattr(parts, "_LONGEST_S", 0.0)
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
def test_somebody_else_s_file_is_left_as_it_is(name: str, content: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content.encode())
    with pytest.raises(StartError, match="something else"):
        go_on(path, ROWS[0])
    assert path.read_bytes() == content.encode()


def test_somebody_else_s_folder_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").touch()
    with pytest.raises(StartError, match="is a file"):
        go_on(tmp_path / "a.parquet")
    (tmp_path / "b.parquet").mkdir()
    (tmp_path / "b.parquet" / "part-00000.parquet").write_text("else")
    with pytest.raises(StartError, match="no part of ours"):
        go_on(tmp_path / "b.parquet", ROWS[0])


@pytest.mark.parametrize("kind", KINDS)
def test_two_do_not_write_at_a_time(kind: str, tmp_path: Path) -> None:
    with closing(open_table(tmp_path / f"table{kind}")), pytest.raises(StartError, match="another process"):
        open_table(tmp_path / f"table{kind}")


@pytest.mark.parametrize(("name", "said"), [("table.xlsx", "end it in"), ("nowhere/table.csv", "cannot be written")])
def test_a_table_that_cannot_be_is_refused(name: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(StartError, match=said):
        open_table(tmp_path / name)
