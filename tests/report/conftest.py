"""A campaign whose texts try to leave their places, made once."""

import pytest

from tests.report.hostile import hostile_campaign


@pytest.fixture(scope="session")
def hostile(tmp_path_factory):
    """Its run folder; do not change it."""
    return hostile_campaign(tmp_path_factory.mktemp("hostile"))
