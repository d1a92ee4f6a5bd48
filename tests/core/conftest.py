"""Nothing may be logged as an error of the server or the application, unless the test takes it."""

import pytest


@pytest.fixture(autouse=True)
def no_logged_errors(server_log):
    yield
    assert not server_log.errors, [record.getMessage() for record in server_log.errors]


@pytest.fixture
def traced():
    """Gives a function for the bytes of Python objects that are alive, and for the most there ever were."""
    tracemalloc = pytest.importorskip("tracemalloc", exc_type=ImportError, reason="PyPy cannot trace memory")
    tracemalloc.start()
    yield tracemalloc.get_traced_memory
    tracemalloc.stop()
