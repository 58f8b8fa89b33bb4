"""The store of model files: download, verification, and the manifest."""

import hashlib
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from pydantic import ValidationError

from faceattr_aio.errors import StartError
from faceattr_aio.inference.models import Model, ModelStore, default_folder, load_manifest
from faceattr_aio.pipeline import ModelFile

CONTENT = b"weights" * 1000
ROOT = Path(__file__).parents[2]


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and the URL at which it is served on loopback."""
    folder = tmp_path / "served"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def make(served: tuple[Path, str], tmp_path: Path) -> Callable[..., ModelStore]:
    """Make a store with one model, which the loopback server provides."""
    folder, url = served
    (folder / "m.onnx").write_bytes(CONTENT)

    def make(**changes: object) -> ModelStore:
        entry = {
            "file": "m.onnx",
            "size": len(CONTENT),
            "sha256": hashlib.sha256(CONTENT).hexdigest(),
            "licence": "MIT",
            "author": "us",
            "input": "any",
            "url": f"{url}/m.onnx",
        }
        return ModelStore(tmp_path / "models", {"m": Model.model_validate(entry | changes)})

    return make


def files(store: ModelStore) -> list[str]:
    return sorted(path.name for path in store.folder.iterdir())


def test_pull_downloads_a_missing_file_and_reports_its_bytes(make: Callable[..., ModelStore]) -> None:
    store, received = make(), list[int]()
    assert not store.is_intact("m")
    store.pull(["m"], received.append)
    assert store.is_intact("m")
    assert store.path("m").read_bytes() == CONTENT
    assert sum(received) == len(CONTENT)
    assert files(store) == ["m.onnx"]


def test_refuses_a_wrong_hash_and_keeps_the_existing_file(make: Callable[..., ModelStore]) -> None:
    store = make(sha256="1" * 64)
    store.folder.mkdir()
    store.path("m").write_bytes(b"old")
    with pytest.raises(StartError) as refused:
        store.pull(["m"], lambda _: None)
    assert "1" * 64 in str(refused.value)
    assert hashlib.sha256(CONTENT).hexdigest() in str(refused.value)
    assert store.path("m").read_bytes() == b"old"
    assert files(store) == ["m.onnx"]


def test_accepts_any_file_of_the_expected_size_if_the_hash_is_not_known(make: Callable[..., ModelStore]) -> None:
    store = make(sha256=None, size=len(CONTENT) + 9)
    assert not store.is_intact("m")
    with pytest.raises(StartError, match="is missing"):
        store.verify("m")
    store.pull(["m"], lambda _: None)
    assert store.is_intact("m")
    assert store.verify("m").sha256 == hashlib.sha256(CONTENT).hexdigest()
    longer = make(sha256=None, size=len(CONTENT) - 1)
    with pytest.raises(StartError, match=f"longer than {len(CONTENT) - 1} bytes"):
        longer.pull(["m"], lambda _: None)


def test_an_interrupted_pull_leaves_no_partial_file(make: Callable[..., ModelStore]) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    store = make()
    with pytest.raises(KeyboardInterrupt):
        store.pull(["m"], interrupt)
    assert files(store) == []


def test_stops_reading_a_file_that_is_longer_than_expected(make: Callable[..., ModelStore]) -> None:
    store, received = make(size=100), list[int]()
    with pytest.raises(StartError, match="refused"):
        store.pull(["m"], received.append)
    assert sum(received) == 101


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/m", "file:///etc/passwd", "http://example.org/m"])
def test_refuses_an_insecure_url(url: str, make: Callable[..., ModelStore]) -> None:
    with pytest.raises(StartError, match="only https"):
        make(url=url).pull(["m"], lambda _: None)


def test_reports_a_source_that_does_not_exist(make: Callable[..., ModelStore], served: tuple[Path, str]) -> None:
    with pytest.raises(StartError, match="cannot be downloaded"):
        make(url=f"{served[1]}/nothing").pull(["m"], lambda _: None)


def test_verifies_an_intact_file(make: Callable[..., ModelStore]) -> None:
    store = make()
    store.pull(["m"], lambda _: None)
    assert store.verify("m") == ModelFile(store.path("m"), hashlib.sha256(CONTENT).hexdigest())


def test_reports_a_missing_file_with_the_command_to_run(make: Callable[..., ModelStore]) -> None:
    with pytest.raises(StartError, match=r"m\.onnx is missing: run 'faceattr-aio models pull'"):
        make().verify("m")


def test_reports_a_damaged_file_and_downloads_it_again(make: Callable[..., ModelStore]) -> None:
    store = make()
    store.pull(["m"], lambda _: None)
    store.path("m").write_bytes(CONTENT[:-1] + b"?")
    with pytest.raises(StartError, match=r"is damaged .* run 'faceattr-aio models pull'"):
        store.verify("m")
    assert not store.is_intact("m")
    store.pull(["m"], lambda _: None)
    assert store.is_intact("m")


def test_reports_a_folder_that_cannot_be_written(make: Callable[..., ModelStore], tmp_path: Path) -> None:
    (tmp_path / "models").touch()
    with pytest.raises(StartError, match="cannot be stored in"):
        make().pull(["m"], lambda _: None)


def test_refuses_an_unknown_name_and_lists_the_known_ones(make: Callable[..., ModelStore]) -> None:
    with pytest.raises(StartError, match="no model 'x'; there are m"):
        make().verify("x")


@pytest.mark.parametrize("wrong", [{"file": "../m"}, {"sha256": "abc"}, {"size": 0}, {"url": None}, {"colour": 1}])
def test_refuses_an_invalid_manifest_entry(wrong: dict[str, object], make: Callable[..., ModelStore]) -> None:
    with pytest.raises(ValidationError):
        make(**wrong)


def test_the_manifest_in_models_is_a_link_to_the_shipped_one() -> None:
    link = ROOT / "models" / "manifest.toml"
    assert link.is_symlink()
    assert link.resolve() == ROOT / "faceattr_aio" / "inference" / "manifest.toml"
    assert {"blazeface-full-range", "dlib-age-v1", "dlib-gender-v1"} <= set(load_manifest())
    assert all(model.licence for model in load_manifest().values())


def test_the_default_folder_is_models_in_a_checkout() -> None:
    assert default_folder() == ROOT / "models"


def test_does_not_cache_the_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_manifest()
    (tmp_path / "manifest.toml").write_text("")
    monkeypatch.setattr("faceattr_aio.inference.models.resources.files", lambda _: tmp_path)
    assert load_manifest() == {}
