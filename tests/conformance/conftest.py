"""Nothing may be logged as an error of the server or the application, unless the test takes it."""

import pytest


@pytest.fixture(autouse=True)
def no_logged_errors(server_log):
    yield
    assert not server_log.errors, [record.getMessage() for record in server_log.errors]
