import pytest

pytest.register_assert_rewrite("tests.docs.commands", "tests.docs.languages", "tests.docs.session")
