from pathlib import Path

import pytest

from faceattr_aio.config.load import load_config
from faceattr_aio.errors import StartError


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_without_any_source_there_are_the_defaults() -> None:
    config, origins = load_config()
    assert config.server.port == 5000
    assert origins == {}


def test_file_environment_and_flags_go_over_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[server]\nhost = 'a'\nport = 1\ndrain_s = 1\n[upload]\nmax_parts = 3\n")
    monkeypatch.setenv("FACEATTR_SERVER__PORT", "2")
    monkeypatch.setenv("FACEATTR_SERVER__HOST", "b")
    config, origins = load_config({"server": {"host": "c"}}, file)
    assert (config.server.host, config.server.port, config.server.drain_s) == ("c", 2, 1)
    assert origins == {
        "server.host": "flag",
        "server.port": "environment",
        "server.drain_s": str(file),
        "upload.max_parts": str(file),
    }


def test_the_file_can_be_named_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "named.toml").write_text("[server]\nport = 7\n")
    monkeypatch.setenv("FACEATTR_CONFIG", str(tmp_path / "named.toml"))
    assert load_config()[0].server.port == 7


def test_the_usual_file_is_read_when_it_is_there(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "faceattr.toml").write_text("[server]\nport = 8\n")
    assert load_config()[0].server.port == 8


def test_keys_of_a_pipeline_come_from_the_environment_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEATTR_PIPELINES__FACES__DETECTOR", "yunet")
    monkeypatch.setenv("FACEATTR_IMAGE__FORMATS", "jpeg, png")
    config, _ = load_config()
    assert config.pipelines["faces"].settings.model_dump()["detector"] == "yunet"
    assert config.image.formats == ("jpeg", "png")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[server]\nport = 70000", "server.port = 70000, from FILE: Input should be less than or equal to 65535"),
        ("[server]\nprot = 1", "server.prot, from FILE: there is no such key"),
        ("[sevrer]\nport = 1", "sevrer, from FILE: there is no such key"),
        (
            "[inference]\npool = 'fork'",
            "inference.pool = 'fork', from FILE: Input should be 'auto', 'process' or 'thread'",
        ),
        ("[pipelines.faces]\ndetector = 'x'", "pipelines.faces.detector = 'x', from FILE: Input should be 'blazeface'"),
        ("[pipelines.faces]\ncolour = 1", "pipelines.faces.colour, from FILE: there is no such key"),
        ("[pipelines.faces]\nclassifier = 'caffe'", "needs age_weights, age_prototxt"),
        ("[pipelines.a]\nfactory = 'no.such:Thing'\npath = '/a'", "'no.such:Thing' cannot be imported"),
        ("[server", "cannot be read"),
    ],
)
def test_a_wrong_key_is_refused_with_its_value_and_what_is_allowed(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text(text)
    with pytest.raises(StartError) as refused:
        load_config(None, file)
    assert said.replace("FILE", str(file)) in str(refused.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"nowhere\.toml does not exist"):
        load_config(None, tmp_path / "nowhere.toml")


@pytest.mark.parametrize("name", ["FACEATTR_SEVRER__PORT", "FACEATTR___PORT"])
def test_a_misspelt_section_in_the_environment_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(StartError, match=name):
        load_config()


def test_the_origin_of_what_went_over_another_value_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.toml").write_text("[server]\nport = 7\n")
    monkeypatch.setenv("FACEATTR_SERVER__PORT__X", "3")
    with pytest.raises(StartError, match=r"server\.port, from environment"):
        load_config(None, tmp_path / "mine.toml")


def test_a_misspelt_key_in_the_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEATTR_SERVER__PROT", "1")
    with pytest.raises(StartError, match=r"server\.prot, from environment: there is no such key"):
        load_config()


def test_a_section_that_is_no_table_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEATTR_PIPELINES", "3")
    with pytest.raises(StartError, match="pipelines = 3, from environment"):
        load_config()


def test_networks_and_keys_come_from_the_environment_as_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEATTR_CLIENTS__TRUSTED_PROXIES", "10.0.0.0/8, ::1")
    monkeypatch.setenv("FACEATTR_AUTH__KEYS", "one-key-of-sixteen,another-of-sixteen")
    config, origins = load_config()
    assert [str(network) for network in config.clients.trusted_proxies] == ["10.0.0.0/8", "::1/128"]
    assert [key.get_secret_value() for key in config.auth.keys] == ["one-key-of-sixteen", "another-of-sixteen"]
    assert origins["auth.keys"] == "environment"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[auth]\nkeys = ['hush-hush']", "auth.keys.0, from FILE: Value error, an API key is at least 16 letters"),
        ("[auth]\nkeys = ['one-key-of-sixteen', 'hush hush hush hush']", "auth.keys.1, from FILE: Value error, an API"),
        ("[auth]\nkeys = [['hush-hush-hush-hush']]", "auth.keys.0, from FILE: Input should be a valid string"),
        ("[auth]\nkeys = ''", "auth.keys, from FILE: Value error, there is no key in it"),
        ("[auth]\nkey = 'hush-hush-hush-hush'", "auth.key, from FILE: there is no such key"),
        ("auth = 'hush-hush-hush-hush'", "auth, from FILE: Input should be a valid dictionary"),
        ("keys = ['hush-hush-hush-hush']", "keys, from FILE: there is no such key"),
        ("[clients]\nkeys = ['hush-hush-hush-hush']", "clients.keys, from FILE: there is no such key"),
        ("[auth]\nkeys = ['hush-hush-hush-hush'", "cannot be read"),
        (
            "[clients]\ntrusted_proxies = ['10.0.0.1/8']",
            "clients.trusted_proxies.0 = '10.0.0.1/8', from FILE: value",
        ),
        ("[clients]\nrequests_per_minute = 0", "clients.requests_per_minute = 0, from FILE: Input should be greater"),
    ],
)
def test_what_is_wrong_with_a_key_is_said_without_it(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text(text)
    with pytest.raises(StartError) as refused:
        load_config(None, file)
    assert said.replace("FILE", str(file)) in str(refused.value)
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FACEATTR_AUTH", "hush-hush-hush-hush"),
        ("FACEATTR_AUTH", '"hush-hush-hush-hush"'),
        ("FACEATTR_AUTH", '{"keys": "hush-hush'),
        ("FACEATTR_AUTH__KEY", "hush-hush-hush-hush"),
        ("FACEATTR_AUTH__KEYS", "hush-hush"),
        ("FACEATTR_AUTH__KEYS", ""),
        ("FACEATTR_AUTH__KEYS__0", "hush-hush-hush-hush"),
        ("FACEATTR_AUHT__KEYS", "hush-hush-hush-hush"),
    ],
)
def test_nor_is_a_key_of_the_environment_told(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(StartError) as refused:
        load_config()
    assert "hush" not in str(refused.value)


def test_a_flag_out_of_range_is_refused() -> None:
    with pytest.raises(
        StartError, match=r"inference\.workers = '0', from flag: Input should be greater than or equal to 1"
    ):
        load_config({"inference": {"workers": "0"}})


def test_other_variables_with_our_prefix_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEATTR_PORT", "tcp://10.0.0.1:5000")  # what Kubernetes sets for a service named faceattr
    assert load_config()[0].server.port == 5000
