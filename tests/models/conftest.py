import pytest


@pytest.fixture(autouse=True)
def _two_groups(two_groups):
    """Every test here traces small models, many times."""
