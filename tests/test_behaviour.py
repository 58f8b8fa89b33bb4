"""Compare the outward behaviour with its record in tests/behaviour.json. After a change on purpose, run
`python -m tests.support.behaviour --write` and review the difference.
"""

import pkgutil
import re
from importlib.util import find_spec

from tests.docs.pages import PAGES, blocks
from tests.support import source
from tests.support.behaviour import SECTIONS, differences, recorded
from tests.support.process import ROOT


def check(section: str) -> None:
    found = differences(section)
    assert not found, "\n".join([f"{section}:", *found])


def test_every_section_is_recorded_and_no_other() -> None:
    assert set(recorded()) == set(SECTIONS)


def test_the_routes_are_as_recorded() -> None:
    check("routes by default")


def test_the_routes_of_all_pipelines_with_keys_and_jobs_are_as_recorded() -> None:
    check("routes with everything")


def test_the_routes_without_pages_metrics_and_jobs_are_as_recorded() -> None:
    check("routes without pages, metrics and jobs")


def test_the_routes_with_redis_celery_and_traces_are_as_recorded() -> None:
    check("routes with redis, celery and traces")


def test_the_openapi_document_means_the_same() -> None:
    check("openapi by default")


def test_the_openapi_document_of_all_pipelines_with_keys_and_jobs_means_the_same() -> None:
    check("openapi with everything")


def test_every_setting_has_its_type_range_and_default() -> None:
    check("settings")


def test_a_reload_applies_the_same_settings() -> None:
    check("settings that a reload applies")


def test_the_pipelines_have_the_same_settings_options_and_answers() -> None:
    check("pipelines")


def test_every_problem_type_has_its_status_and_class() -> None:
    check("problems")


def test_responses_have_the_same_statuses_headers_and_shapes() -> None:
    check("responses")


def test_metrics_have_the_same_names_types_and_labels() -> None:
    check("metrics")


def test_a_line_of_the_json_log_has_the_same_keys() -> None:
    check("log line")


def test_commands_have_the_same_flags_and_arguments() -> None:
    check("commands")


def test_the_same_models_are_listed() -> None:
    check("models")


def test_commands_end_with_the_same_exit_statuses() -> None:
    check("exit statuses")


def test_public_names_can_be_imported_and_have_the_same_signatures() -> None:
    check("public names")


def test_modules_that_are_loaded_by_name_exist() -> None:
    for name in source.loaded():
        if ":" in name:
            assert pkgutil.resolve_name(name)
        else:
            assert find_spec(name)  # not imported: faceattr_aio.fork_server ignores signals


def test_names_in_documentation_and_settings_are_recorded() -> None:
    code = [block.text for page in PAGES for block in blocks(page) if block.language.startswith("python")]
    lines = [found for text in code for found in re.findall(r"from (faceattr_aio[\w.]*) import ([\w, ]+)", text)]
    imported = {f"{module}:{name}" for module, names in lines for name in names.split(", ")}
    factories = set(re.findall(r'"(faceattr_aio[\w.]+:\w+)"', (ROOT / "conf" / "faceattr.toml").read_text()))
    names = recorded()["public names"]
    known = {f"{module}:{name}" for module in names for name in names[module]}
    assert imported
    assert factories
    assert imported | factories <= known | {"faceattr_aio:imaging"}


def test_public_methods_have_the_same_signatures() -> None:
    check("public methods")


def test_answers_of_the_client_have_the_same_fields() -> None:
    check("answers of the client")


def test_loggers_have_the_same_names() -> None:
    check("loggers")


def test_keys_and_documents_in_redis_are_the_same() -> None:
    check("redis")


def test_messages_and_queues_of_celery_are_the_same() -> None:
    check("celery")


def test_keys_of_apps_and_requests_have_the_same_names() -> None:
    check("keys of an app")


def test_spans_have_the_same_attributes() -> None:
    check("span attributes")


def test_the_same_environment_variables_are_used() -> None:
    check("environment")


def test_temporary_files_have_the_same_prefixes() -> None:
    check("temporary files")


def test_the_package_has_the_same_program_and_extras() -> None:
    check("packaging")
