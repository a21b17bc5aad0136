"""Running out of memory, told with a batch size to try."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from occface_core.errors import ConfigError


@contextmanager
def enough_memory(batch_size: int) -> Iterator[None]:
    """Work on a batch.

    Raises:
        ConfigError: memory ran out; the message has a batch size to try.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        raise ConfigError(
            f"out of memory at batch size {batch_size}; try --batch-size {max(2, batch_size // 2)}"
        ) from error


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: a GPU has an error class for it, the CPU's allocator only a message."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
