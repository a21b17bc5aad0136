"""One process per core, one thread in each; or one thread for PyTorch's operations, so that bits repeat."""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import TypeVar

_THREAD_SETTINGS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
Job = TypeVar("Job")
Result = TypeVar("Result")


def results(work: Callable[[Job], Result], jobs: Sequence[Job], workers: int) -> Iterator[Result]:
    """Results as they are finished, in any order.

    Args:
        work: a function of a module; it and everything it takes and gives must be picklable.
        jobs: what to do.
        workers: processes; with fewer than two everything happens here, in order.
    """
    if workers < 2 or len(jobs) < 2:
        yield from map(work, jobs)
        return
    # Spawned, not forked: a fork of a process with running threads can hang.
    with _one_thread_each(), ProcessPoolExecutor(min(workers, len(jobs)), get_context("spawn")) as pool:
        futures = [pool.submit(work, job) for job in jobs]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def single_thread() -> Iterator[int]:
    """PyTorch's operations run in one thread inside; gives the number of threads they would have had.

    Several threads add in another order than one, and some operations (`interpolate`) choose another kernel
    for them, so that results of different machines and settings differ in their last bits.
    """
    import torch

    threads = torch.get_num_threads()  # heeds OMP_NUM_THREADS and the cores this process may use
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)


@contextlib.contextmanager
def _one_thread_each() -> Iterator[None]:
    """Child processes started inside read these settings: the cores are shared out by process."""
    before = {name: os.environ.get(name) for name in _THREAD_SETTINGS}
    os.environ.update(dict.fromkeys(_THREAD_SETTINGS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
