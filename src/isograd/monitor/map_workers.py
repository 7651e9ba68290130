"""Calls spread over processes by joblib, or over a Ray or Dask cluster behind it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, Literal

from isograd.errors import IsogradError

Backend = Literal["loky", "ray", "dask"]
Call = tuple[Callable[..., Any], tuple[Any, ...]]
BACKENDS = ("loky", "ray", "dask")
# Calls between two looks at the clock, for a back end that gives its results all at once.
_ROUND = 4


def results(
    calls: Sequence[Call],
    *,
    jobs: int = 1,
    backend: Backend = "loky",
    cluster: str | None = None,
) -> Generator[Any]:
    """Results of calls as they come in, in any order.

    Stop iterating to drop what has not been started.

    Args:
        calls: Pairs of a function and its arguments.
        jobs: Processes; 1 with `loky` runs all in this one, without joblib.
        backend: `loky` (processes of this machine), `ray` or `dask`.
        cluster: Address of a running Ray or Dask cluster; None starts one of this machine.

    Raises:
        IsogradError: If a package is not installed, or the cluster does not answer.
    """
    if not calls:
        return
    if backend == "loky" and jobs == 1:
        for function, arguments in calls:
            yield function(*arguments)
        return
    try:
        import joblib
    except ImportError as error:
        raise _not_installed("joblib", "map", error) from None
    with _started(backend, jobs, cluster), joblib.parallel_config(backend, n_jobs=jobs):
        delayed = [joblib.delayed(_alone)(function, *arguments) for function, arguments in calls]
        one_by_one: Any = {"batch_size": 1}  # joblib's own type says "auto" alone
        try:
            pool = joblib.Parallel(return_as="generator_unordered", **one_by_one)
            running: Any = pool(delayed)
        except ValueError:  # this back end cannot hand results over one by one
            for start in range(0, len(delayed), _ROUND * jobs):
                yield from joblib.Parallel(**one_by_one)(delayed[start : start + _ROUND * jobs])
            return
        try:
            yield from running
        finally:
            running.close()


def _alone(function: Callable[..., Any], *arguments: Any) -> Any:
    """A call in a worker that leaves the other cores to the other workers."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import torch

    torch.set_num_threads(1)
    return function(*arguments)


@contextlib.contextmanager
def _started(backend: Backend, jobs: int, cluster: str | None) -> Iterator[None]:
    """The cluster behind a back end, ended again if it was started here."""
    with contextlib.ExitStack() as stack:
        if backend == "ray":
            _start_ray(stack, jobs, cluster)
        elif backend == "dask":
            _start_dask(stack, jobs, cluster)
        yield


def _start_ray(stack: contextlib.ExitStack, jobs: int, cluster: str | None) -> None:
    try:
        import ray  # pyright: ignore[reportMissingImports]
        from ray.util.joblib import register_ray  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise _not_installed("ray", "ray", error) from None
    if not ray.is_initialized():
        own: dict[str, Any] = {"include_dashboard": False, "num_cpus": jobs}
        try:
            ray.init(log_to_driver=False, **({"address": cluster} if cluster else own))
        except (ConnectionError, ValueError) as error:
            raise _no_cluster("Ray", cluster, error) from error
        stack.callback(ray.shutdown)
    register_ray()


def _start_dask(stack: contextlib.ExitStack, jobs: int, cluster: str | None) -> None:
    try:
        from dask.distributed import Client  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise _not_installed("dask.distributed", "dask", error) from None
    own: dict[str, Any] = {
        "n_workers": jobs,
        "threads_per_worker": 1,
        "dashboard_address": None,
    }
    try:
        client = Client(cluster) if cluster else Client(**own)
    except OSError as error:
        raise _no_cluster("Dask", cluster, error) from error
    stack.enter_context(client)


def _not_installed(package: str, extra: str, error: ImportError) -> IsogradError:
    return IsogradError(
        f"the map needs {package}, which could not be imported.",
        facts=(str(error),),
        causes=(f"it is not installed: run `pip install 'isograd[{extra}]'`.",),
    )


def _no_cluster(name: str, address: str | None, error: Exception) -> IsogradError:
    return IsogradError(
        f"no {name} cluster at {address or 'this machine'}.",
        facts=(str(error).splitlines()[0] if str(error) else type(error).__name__,),
        causes=("the address is wrong, or the cluster is not running.",),
    )
