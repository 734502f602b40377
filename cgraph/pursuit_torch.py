"""Orthogonal matching pursuit in torch: `cgraph.pursuit` on accelerators.

The same problem, greedy rule and reasons to stop; all rows of a block take their step together, so
it pays where wide products are cheap. Correlations are single precision; residuals, least squares
and coefficients are double precision. The residual itself is correlated with the atoms, not the
token minus products of the Gram matrix: small residuals lose no digits that way, and the atoms
taken are those of `cgraph.pursuit.omp` but where two correlations are equal to rounding.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

# A correlation below this share of the norm of the token is rounding of single precision.
_NEGLIGIBLE = 1e-6
# An atom whose squared distance from the span of the support is below this depends on it.
_DEPENDENT = 1e-6
# Steps of the non-negative pursuit per place in the code; atoms that leave cost extra steps.
_STEPS_PER_PLACE = 3


class _Rows(NamedTuple):
    """Codes of the rows of one block, changed in place; unused places hold atom 0 and x = 0."""

    tokens: Tensor  # float64 (n_rows, n_features)
    norms: Tensor  # float64 (n_rows,)
    support: Tensor  # int64 (n_rows, max_nnz)
    x: Tensor  # float64 (n_rows, max_nnz)
    length: Tensor  # int64 (n_rows,)


def omp_torch(
    tokens: Tensor,
    atoms: Tensor,
    max_nnz: int,
    *,
    nonnegative: bool = False,
    tolerance: float = 0.0,
    block_size: int = 1024,
) -> tuple[Tensor, Tensor]:
    """Code tokens where the atoms are: on a processor or an accelerator.

    `cgraph.pursuit.omp` checks what it is given and calls this where it is told a device; here
    nothing is checked.

    Parameters
    ----------
    tokens : float32 Tensor of shape (n_samples, n_features)
        On any device; blocks of it are copied to that of the atoms.
    atoms : float32 Tensor of shape (n_atoms, n_features)
        Of unit norm.
    max_nnz, nonnegative, tolerance
        As for `cgraph.pursuit.omp`.
    block_size : int
        Rows that are coded together. A block takes about ``block_size * (8 * n_atoms + 16 *
        max_nnz * n_features)`` bytes on the device.

    Returns
    -------
    indices : int32 Tensor of shape (n_samples, max_nnz)
    coefficients : float32 Tensor of shape (n_samples, max_nnz)
        As for `cgraph.pursuit.omp`, on the device of `tokens`.
    """
    indices = torch.full((len(tokens), max_nnz), -1, dtype=torch.int32, device=tokens.device)
    coefficients = torch.zeros((len(tokens), max_nnz), device=tokens.device)
    with torch.inference_mode():
        for start in range(0, len(tokens), block_size):
            rows = slice(start, start + block_size)
            found = _code_block(
                tokens[rows].to(atoms.device), atoms, max_nnz, nonnegative, tolerance
            )
            indices[rows], coefficients[rows] = (part.to(tokens.device) for part in found)
    return indices, coefficients


def _code_block(
    tokens: Tensor, atoms: Tensor, max_nnz: int, nonnegative: bool, tolerance: float
) -> tuple[Tensor, Tensor]:
    n_rows = len(tokens)
    exact = tokens.double()
    whole = _Rows(
        exact,
        torch.linalg.vector_norm(exact, dim=1),
        torch.zeros((n_rows, max_nnz), dtype=torch.int64, device=atoms.device),
        torch.zeros((n_rows, max_nnz), dtype=torch.float64, device=atoms.device),
        torch.zeros(n_rows, dtype=torch.int64, device=atoms.device),
    )
    active = torch.arange(n_rows, device=atoms.device)
    for _ in range(max_nnz * (_STEPS_PER_PLACE if nonnegative else 1)):
        if not len(active):
            break
        part = _Rows(*(array[active] for array in whole))
        goes_on = _step(part, atoms, nonnegative, tolerance)
        for array, changed in zip(whole[2:], part[2:], strict=True):
            array[active] = changed
        active = active[goes_on]
    return _compact(whole)


def _step(part: _Rows, atoms: Tensor, nonnegative: bool, tolerance: float) -> Tensor:
    """Take one more atom in each row; return which rows go on."""
    residual = _residual(part, atoms)
    left = torch.linalg.vector_norm(residual, dim=1)
    correlations = residual.float() @ atoms.T
    places = _places(part)
    # What rounding leaves of the atoms taken must not be taken again.
    taken = torch.where(places, part.support, part.support[:, :1])
    correlations.scatter_(
        1, taken, torch.where(part.length[:, None] > 0, 0.0, correlations.gather(1, taken))
    )
    j = (correlations if nonnegative else correlations.abs()).argmax(dim=1)
    correlation = (residual * atoms[j].double()).sum(dim=1)
    size = correlation if nonnegative else correlation.abs()
    goes_on = (size > _NEGLIGIBLE * part.norms) & (left > tolerance * part.norms)
    goes_on &= left > _NEGLIGIBLE * part.norms
    goes_on &= _append(part, atoms, j, goes_on)
    _solve(part, atoms, goes_on, nonnegative)
    return goes_on & (part.length < part.support.shape[1])


def _places(part: _Rows) -> Tensor:
    """Return which places of the codes are in use."""
    return torch.arange(part.support.shape[1], device=part.length.device) < part.length[:, None]


def _residual(part: _Rows, atoms: Tensor) -> Tensor:
    chosen = atoms[part.support].double()
    return part.tokens - torch.bmm(part.x[:, None], chosen)[:, 0]


def _factor(part: _Rows, atoms: Tensor) -> tuple[Tensor, Tensor]:
    """Return the atoms taken, and the Cholesky factor of their Gram matrix.

    Unused places hold zeros, and ones on the diagonal.
    """
    places = _places(part)
    chosen = atoms[part.support].double() * places[:, :, None]
    gram = torch.bmm(chosen, chosen.transpose(1, 2)) + torch.diag_embed((~places).double())
    return chosen, torch.linalg.cholesky_ex(gram).L


def _append(part: _Rows, atoms: Tensor, j: Tensor, wanted: Tensor) -> Tensor:
    """Put atom j in the next place of the rows that want it; return where it is independent."""
    rows = torch.nonzero(wanted)[:, 0]
    part.support[rows, part.length[rows]] = j[rows]
    part.length[rows] += 1
    _, factor = _factor(part, atoms)
    last = (part.length - 1).clamp(min=0)
    distance = factor[torch.arange(len(last), device=last.device), last, last] ** 2
    squared_norm = (atoms[j].double() ** 2).sum(dim=1)
    independent = distance > _DEPENDENT * squared_norm  # false for nan, where there is no factor
    refused = torch.nonzero(wanted & ~independent)[:, 0]
    part.length[refused] -= 1
    part.support[refused, part.length[refused]] = 0
    return independent


def _solve(part: _Rows, atoms: Tensor, wanted: Tensor, nonnegative: bool) -> None:
    """Make the coefficients of the rows the (non-negative) least-squares solution."""
    rows = torch.nonzero(wanted)[:, 0]
    while len(rows):
        some = _Rows(*(array[rows] for array in part))
        chosen, factor = _factor(some, atoms)
        products = torch.bmm(chosen, some.tokens[:, :, None])
        solution = torch.cholesky_solve(products, factor)[:, :, 0]
        places = _places(some)
        below = places & (solution <= 0) if nonnegative else torch.zeros_like(places)
        done = ~below.any(dim=1)
        part.x[rows[done]] = torch.where(places, solution, 0.0)[done]
        rows = rows[~done]
        if len(rows):
            _step_within_bounds(part, rows, solution[~done], below[~done], places[~done])


def _step_within_bounds(
    part: _Rows, rows: Tensor, solution: Tensor, below: Tensor, places: Tensor
) -> None:
    """Go from x, which is feasible, towards the solution until coefficients reach zero.

    The inner loop of Lawson and Hanson. Atoms at zero leave the support.
    """
    x = part.x[rows]
    reach = torch.where(below, torch.where(x > 0, x / (x - solution), 0.0), torch.inf)
    step, first_out = reach.min(dim=1)
    value = x + step[:, None] * (solution - x)
    value.scatter_(1, first_out[:, None], 0.0)
    stays = places & (value > 0)
    order = torch.argsort((~stays).int(), dim=1, stable=True)
    part.x[rows] = torch.where(stays, value, 0.0).gather(1, order)
    part.support[rows] = torch.where(stays, part.support[rows], 0).gather(1, order)
    part.length[rows] = stays.sum(dim=1)


def _compact(whole: _Rows) -> tuple[Tensor, Tensor]:
    """Leave out coefficients that only rounding keeps from zero."""
    coefficients = whole.x.float()
    stays = _places(whole) & (whole.x.abs() > _NEGLIGIBLE * whole.norms[:, None])
    stays &= coefficients != 0
    order = torch.argsort((~stays).int(), dim=1, stable=True)
    indices = torch.where(stays, whole.support, -1).gather(1, order)
    return indices.int(), torch.where(stays, coefficients, 0.0).gather(1, order)
