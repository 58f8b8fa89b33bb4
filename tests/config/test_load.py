"""Sources of the settings, their order, and the messages for invalid values."""

from pathlib import Path

import pytest

from faceattr_aio.config.load import load_config, load_extra
from faceattr_aio.errors import StartError


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_without_sources_all_values_are_defaults() -> None:
    config, origins = load_config()
    assert config.server.port == 5000
    assert origins == {}


def test_flags_override_the_environment_which_overrides_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_the_environment_can_name_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "named.toml").write_text("[server]\nport = 7\n")
    monkeypatch.setenv("FACEATTR_CONFIG", str(tmp_path / "named.toml"))
    assert load_config()[0].server.port == 7


def test_reads_the_default_file_if_it_exists(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "faceattr.toml").write_text("[server]\nport = 8\n")
    assert load_config()[0].server.port == 8


def test_the_environment_can_set_keys_of_a_pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEATTR_PIPELINES__FACES__DETECTOR", "yunet")
    monkeypatch.setenv("FACEATTR_IMAGE__FORMATS", "jpeg, png")
    config, _ = load_config()
    assert config.pipelines["faces"].settings.model_dump()["detector"] == "yunet"
    assert config.image.formats == ("jpeg", "png")


@pytest.mark.parametrize(
    ("text", "message"),
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
def test_refuses_an_invalid_key_with_its_value_and_the_allowed_values(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text(text)
    with pytest.raises(StartError) as refused:
        load_config(None, file)
    assert message.replace("FILE", str(file)) in str(refused.value)


def test_refuses_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"nowhere\.toml does not exist"):
        load_config(None, tmp_path / "nowhere.toml")


@pytest.mark.parametrize("name", ["FACEATTR_SEVRER__PORT", "FACEATTR___PORT"])
def test_refuses_a_misspelt_section_in_the_environment(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(StartError, match=name):
        load_config()


def test_the_message_names_the_origin_of_the_overriding_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.toml").write_text("[server]\nport = 7\n")
    monkeypatch.setenv("FACEATTR_SERVER__PORT__X", "3")
    with pytest.raises(StartError, match=r"server\.port, from environment"):
        load_config(None, tmp_path / "mine.toml")


def test_refuses_a_misspelt_key_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEATTR_SERVER__PROT", "1")
    with pytest.raises(StartError, match=r"server\.prot, from environment: there is no such key"):
        load_config()


def test_refuses_a_section_that_is_not_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEATTR_PIPELINES", "3")
    with pytest.raises(StartError, match="pipelines = 3, from environment"):
        load_config()


def test_the_environment_lists_networks_and_keys_as_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEATTR_CLIENTS__TRUSTED_PROXIES", "10.0.0.0/8, ::1")
    monkeypatch.setenv("FACEATTR_AUTH__KEYS", "one-key-of-sixteen,another-of-sixteen")
    config, origins = load_config()
    assert [str(network) for network in config.clients.trusted_proxies] == ["10.0.0.0/8", "::1/128"]
    assert [key.get_secret_value() for key in config.auth.keys] == ["one-key-of-sixteen", "another-of-sixteen"]
    assert origins["auth.keys"] == "environment"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[auth]\nkeys = ['hush-hush']", "auth.keys.0, from FILE: Value error, an API key is at least 16 printable"),
        ("[auth]\nkeys = ['one-key-of-sixteen', 'hush hush hush hush']", "auth.keys.1, from FILE: Value error, an API"),
        ("[auth]\nkeys = [['hush-hush-hush-hush']]", "auth.keys.0, from FILE: Input should be a valid string"),
        ("[auth]\nkeys = ''", "auth.keys, from FILE: Value error, it contains no key"),
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
def test_messages_do_not_contain_an_api_key(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text(text)
    with pytest.raises(StartError) as refused:
        load_config(None, file)
    assert message.replace("FILE", str(file)) in str(refused.value)
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
def test_messages_do_not_contain_an_api_key_from_the_environment(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(StartError) as refused:
        load_config()
    assert "hush" not in str(refused.value)


def test_refuses_a_flag_out_of_range() -> None:
    with pytest.raises(
        StartError, match=r"inference\.workers = '0', from flag: Input should be greater than or equal to 1"
    ):
        load_config({"inference": {"workers": "0"}})


def test_ignores_variables_with_the_prefix_that_name_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEATTR_PORT", "tcp://10.0.0.1:5000")  # Kubernetes sets this for a service named faceattr
    assert load_config()[0].server.port == 5000


def test_a_missing_extra_is_reported_with_the_command_that_installs_it() -> None:
    with pytest.raises(StartError, match=r"^No module named 'nowhere': run pip install 'faceattr-aio\[some\]', or"):
        load_extra("nowhere", "some")


def test_loads_a_module_whose_extra_is_installed() -> None:
    assert load_extra("faceattr_aio.telemetry.tracing", "otel").Traces
