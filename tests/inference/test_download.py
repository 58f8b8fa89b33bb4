"""Downloads of members of wheels with pip."""

import zipfile
from pathlib import Path

import pytest

from faceattr_aio.errors import StartError
from faceattr_aio.inference.models import Wheel, from_wheel


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Settings of the user for pip: it finds wheels in a folder and nowhere else."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def add_wheel(index: Path, tags: str = "py3-none-any", content: bytes = b"net") -> None:
    with zipfile.ZipFile(index / f"carrier-1.0-{tags}.whl", "w") as wheel:
        wheel.writestr("carrier/net.onnx", content)
        wheel.writestr("carrier-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: carrier\nVersion: 1.0\n")
        wheel.writestr("carrier-1.0.dist-info/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tags}\n")
        wheel.writestr("carrier-1.0.dist-info/RECORD", "")


def test_extracts_a_member_of_a_wheel_from_the_users_index(index: Path, tmp_path: Path) -> None:
    add_wheel(index)
    received: list[int] = []
    from_wheel(Wheel(package="carrier", version="1.0", member="carrier/net.onnx"), tmp_path / "net", received.append)
    assert (tmp_path / "net").read_bytes() == b"net"
    assert sum(received) == 3


def test_can_select_a_wheel_for_another_python_and_platform(index: Path, tmp_path: Path) -> None:
    add_wheel(index, "cp39-cp39-manylinux2014_aarch64", b"other")
    wheel = Wheel(
        package="carrier",
        version="1.0",
        member="carrier/net.onnx",
        python="3.9",
        abi="cp39",
        platform="manylinux2014_aarch64",
    )
    from_wheel(wheel, tmp_path / "net", lambda _: None)
    assert (tmp_path / "net").read_bytes() == b"other"


def test_reports_a_package_that_does_not_exist_in_one_sentence(index: Path, tmp_path: Path) -> None:
    assert not list(index.iterdir())
    with pytest.raises(StartError, match=r"pip could not download carrier==1\.0") as refused:
        from_wheel(Wheel(package="carrier", version="1.0", member="x"), tmp_path / "net", lambda _: None)
    assert "\n" not in str(refused.value)


def test_reports_a_member_that_does_not_exist(index: Path, tmp_path: Path) -> None:
    add_wheel(index)
    with pytest.raises(StartError, match="no readable member"):
        from_wheel(Wheel(package="carrier", version="1.0", member="carrier/x"), tmp_path / "net", lambda _: None)
