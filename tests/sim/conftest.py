"""Outages are meant here."""

import logging
from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """What our code rightly logs about outages is not for the terminal."""
    logging.disable(logging.CRITICAL)
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.configure(**before)
    logging.disable(logging.NOTSET)
