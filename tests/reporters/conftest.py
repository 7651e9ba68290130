import pytest

from reporters.samples import SAMPLES


@pytest.fixture(params=SAMPLES)
def diagnosis(request):
    return SAMPLES[request.param]()
