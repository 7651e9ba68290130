def pytest_configure(config):
    config.addinivalue_line("markers", "ray: needs Ray")
    config.addinivalue_line("markers", "dask: needs dask.distributed")
