"""The public estimators in several settings, and what scikit-learn's checks say of them.

As a script it prints one JSON object: for each estimator the checks in their order, each with its
name, status and error. It is run in a process of its own, since one of the checks is skipped unless
SCIPY_ARRAY_API was set before SciPy was imported, and SciPy behaves otherwise from then on.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from functools import cache
from typing import Any

from cgraph.balanced_logistic import BalancedBagLogistic
from cgraph.ksvd import KSVD
from cgraph.sae import BatchTopKSAE, ReluSAE, TopKSAE

ESTIMATORS = {
    "KSVD": KSVD(),
    "KSVD-nonnegative": KSVD(4, max_nnz=2, nonnegative=True, residual_tol=0.1),
    "KSVD-chunks": KSVD(3, max_nnz=2, window=20, extrapolation=0),
    "KSVD-exact": KSVD(4, max_nnz=2, exact_update=True, max_iter=3),
    "TopKSAE": TopKSAE(max_steps=20),
    "TopKSAE-two": TopKSAE(2, max_nnz=1, max_steps=20, usage_target=0, random_state=None),
    "BatchTopKSAE": BatchTopKSAE(max_steps=20),
    "ReluSAE": ReluSAE(3, max_nnz=3, mean_nnz=1, max_steps=20, random_state=None),
    "BalancedBagLogistic": BalancedBagLogistic(),
    "BalancedBagLogistic-prior": BalancedBagLogistic(
        10, penalty_unit="absolute", bag_cap=40, n_bags=5, world="prior", random_state=None
    ),
}


def check_names() -> list[tuple[str, int, str]]:
    """Give all checks of all estimators: estimator, place and name of the check."""
    from sklearn.utils.estimator_checks import estimator_checks_generator

    return [
        (name, place, check.func.__name__ if hasattr(check, "func") else str(check))
        for name, estimator in ESTIMATORS.items()
        for place, (_, check) in enumerate(estimator_checks_generator(estimator))
    ]


@cache
def reports() -> dict[str, list[dict[str, Any]]]:
    """Run all checks in a process with SCIPY_ARRAY_API=1."""
    done = subprocess.run(
        [sys.executable, __file__],
        env={**os.environ, "SCIPY_ARRAY_API": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def _main() -> None:
    from sklearn.utils.estimator_checks import check_estimator

    warnings.simplefilter("ignore")
    found = {}
    for name, estimator in ESTIMATORS.items():
        results = check_estimator(estimator, on_fail=None, on_skip=None)
        found[name] = [
            {
                "check": result["check_name"],
                "status": result["status"],
                "error": repr(result["exception"]),
            }
            for result in results
        ]
    print(json.dumps(found))


if __name__ == "__main__":
    _main()
