"""Compiled loops, also where numba finds no place to keep them."""

import numba
import numpy as np
import pytest

from occface_core.occlusion import kernels


def test_a_read_only_install_compiles_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def njit(**options: bool):  # type: ignore[no-untyped-def]
        asked.append(options.pop("cache", False))
        if asked[-1]:
            raise RuntimeError("cannot cache function: no locator available")
        return numba.njit(**options)

    monkeypatch.setattr(kernels, "njit", njit)

    def double(values, out):  # type: ignore[no-untyped-def]
        for i in range(values.shape[0]):
            out[i] = 2 * values[i]

    values, out = np.arange(4.0), np.zeros(4)
    kernels.compiled(double)(values, out)
    np.testing.assert_array_equal(out, 2 * values)
    assert asked == [True, False]
