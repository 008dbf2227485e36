"""What tests of several stages share."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], Path]:
    """A file of real seed data by its name; a test that asks for one that is not there is skipped."""
    folder = Path(os.environ.get("LINKSYN_DATA") or REPOSITORY.parent / "shared" / "data")

    def find(name: str) -> Path:
        path = folder / name
        if not path.is_file():
            pytest.skip(f"needs real seed data: {name} is not in {folder} (set LINKSYN_DATA)")
        return path

    return find
