"""Small cases shared by the tests of metrics and of ROC curves."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse

from cgraph.codes import Codes

EXACT = {"rtol": 0, "atol": 1e-12}


def column(*values, dtype=np.float32):
    return np.array(values, dtype=dtype)[:, None]


def to_codes(labels):
    rows = sparse.csr_array(labels)
    coefficients = np.full(rows.nnz, -0.5, dtype=np.float32)
    return Codes(
        rows.indptr.astype(np.int64), rows.indices.astype(np.int32), coefficients, labels.shape[1]
    )


@st.composite
def predictions(draw):
    """Scores with many ties, and labels in which a class is often missing."""
    shape = (draw(st.integers(1, 30)), draw(st.integers(1, 4)))
    values = st.integers(-3, 3) | st.floats(-2, 2, width=32)
    return (
        draw(hnp.arrays(np.float32, shape, elements=values)),
        draw(hnp.arrays(bool, shape)),
    )
