from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Malformed
from kloister.kubernetes.quantity import whole


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *(
            ("10Mi", 10485760),
            ("5", 5),
            (7, 7),
            ("1.5Gi", 1610612736),
            ("1k", 1000),
            ("2000m", 2),
            ("+3", 3),
            ("1.", 1),
        ),
        *(("1e3", 1000), ("1.5E+3", 1500), ("2500e-2", 25), (".5Gi", 1 << 29), ("3000000u", 3), ("1E", 10**18)),
    ],
)
def test_quantities(text: object, number: int) -> None:
    assert whole(text) == number


@given(st.text(max_size=8) | st.floats() | st.booleans() | st.none() | st.integers(max_value=-1))
def test_anything_else_is_refused(value: object) -> None:
    if isinstance(value, str) and value.strip("0123456789.+-kMGTPEimnue") == "" and value.strip("+.-"):
        return  # may be one
    with pytest.raises(Malformed, match="quantity"):
        whole(value)


@pytest.mark.parametrize(
    "text", ["1500m", "0.3", "9Ei", "1e-3", "1e99", "1e", "e3", ".", ".Gi", "1 e3", "1eMi", "", "Mi", "\u0661"]
)
def test_what_is_no_whole_number_is_refused(text: str) -> None:
    with pytest.raises(Malformed, match="quantity"):
        whole(text)
